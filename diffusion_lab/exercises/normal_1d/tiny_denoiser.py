"""tiny_denoiser: a small network that is told the time."""

import torch
from torch import nn

from diffusion_lab.exercises.driving import driven
from diffusion_lab.exercises.normal_1d.probes import network_bench
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def tiny_denoiser(size: int, width: int) -> nn.Module:
    """A network that guesses the noise in points, and is told how noisy they are.

    Args:
        size: D, the numbers of each point.
        width: units of each hidden layer, at least 8.

    Returns:
        A module, called as network(x, time) with x (B, D) and time (B,) in (0, 1], both of one dtype, to (B, D). Each
        point is answered by itself, and the answer depends smoothly on x and on the time. All its weights can be
        trained.
    """
    waves = torch.tensor([1, 2])

    class Denoiser(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(size + 4, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, size)
            )

        def forward(self, x, time):
            angle = torch.pi * time[:, None] * waves.to(x)
            return self.layers(torch.cat([x, angle.sin(), angle.cos()], dim=1))

    return Denoiser()


class _Layers(nn.Module):
    """What the known answers share: layers on x and on whatever of the time is told."""

    def __init__(self, size, width, told=4, bend=nn.SiLU):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size + told, width), bend(), nn.Linear(width, width), bend(), nn.Linear(width, size)
        )

    def tell(self, x, time):
        angle = torch.pi * time[:, None] * torch.tensor([1, 2]).to(x)
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    def forward(self, x, time):
        return self.layers(torch.cat([x, self.tell(x, time)], dim=1))


def time_left_out(size, width):
    """The network never looks at the time. One answer has to serve all noise levels then: let the time into a layer."""

    class Network(_Layers):
        def tell(self, x, time):
            return x[:, :0]

    return Network(size, width, told=0)


def one_time_for_all(size, width):
    """All samples get the time of the first one. Each has its own: put the times of the batch into a column, (B, 1)."""

    class Network(_Layers):
        def tell(self, x, time):
            return super().tell(x, time[:1].expand(len(x)))

    return Network(size, width)


def input_left_out(size, width):
    """The network never looks at x. It guesses the noise in x: let it in beside the time."""

    class Network(_Layers):
        def forward(self, x, time):
            return self.layers(torch.cat([torch.zeros_like(x), self.tell(x, time)], dim=1))

    return Network(size, width)


def no_bend(size, width):
    """There is nothing between the layers, so that together they are one straight line, in x and in what is told of the
    time. Put a SiLU, or another bend, between two layers."""
    return _Layers(size, width, bend=nn.Identity)


def bend_at_the_end(size, width):
    """The last layer is followed by a bend that lets no negative number through. Noise may be any number: end with a
    plain layer."""

    class Network(_Layers):
        def forward(self, x, time):
            return nn.functional.softplus(super().forward(x, time))

    return Network(size, width)


def layers_in_a_list(size, width):
    """The layers are in a plain list, where PyTorch does not find their weights, and no optimizer will move them. Use
    `nn.ModuleList` or `nn.Sequential`."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = [_Layers(size, width)]
            self.last = nn.Linear(size, size)

        def forward(self, x, time):
            return self.last(self.inside[0].to(x)(x, time))

    return Network()


def cut_off(size, width):
    """No gradient reaches the first layer: something in `forward` cuts the graph, such as `detach`, `no_grad`, or a
    tensor made anew."""

    class Network(_Layers):
        def forward(self, x, time):
            first = self.layers[0](torch.cat([x, self.tell(x, time)], dim=1)).detach()
            return self.layers[1:](first)

    return Network(size, width)


def a_number_for_each_point(size, width):
    """The network answers with one number for each point. The noise has D: the last layer needs D outputs."""

    class Network(_Layers):
        def forward(self, x, time):
            return super().forward(x, time)[:, :1]

    return Network(size, width)


def over_the_batch(size, width):
    """The answer to a point depends on the other points of the batch, as it does where a mean is taken over dimension
    0. Treat each point by itself."""

    class Network(_Layers):
        def forward(self, x, time):
            return super().forward(x - x.mean(dim=0), time)

    return Network(size, width)


def random_each_time(size, width):
    """The same call gives another answer each time: the network draws random numbers in `forward`. Leave dropout and
    noise out of it."""

    class Network(_Layers):
        def forward(self, x, time):
            return super().forward(x + 0.1 * torch.randn_like(x), time)

    return Network(size, width)


def changed_in_place(size, width):
    """The network changes the x that it is given. Whoever called it still needs x: make a new tensor instead of writing
    into the old one, as `x += ...` and `x.mul_(...)` do."""

    class Network(_Layers):
        def forward(self, x, time):
            x.mul_(2)
            return super().forward(x, time)

    return Network(size, width)


def as_a_scale(size, width):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside, self.time = nn.Linear(size, width), nn.Linear(1, 2 * width)
            self.middle, self.out = nn.Linear(width, width), nn.Linear(width, size)

        def forward(self, x, time):
            scale, shift = self.time(4 * time[:, None] - 2).chunk(2, dim=1)
            h = torch.tanh(self.inside(x) * (1 + scale) + shift)
            return self.out(torch.tanh(self.middle(h)))

    return Network()


def time_as_it_is(size, width):
    class Network(_Layers):
        def tell(self, x, time):
            return time.unsqueeze(1)

    return Network(size, width, told=1, bend=nn.GELU)


def with_an_embedding(size, width):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.told = nn.Sequential(nn.Linear(8, width), nn.SiLU(), nn.Linear(width, width))
            self.stem, self.head = nn.Linear(size, width), nn.Linear(width, size)
            self.block = nn.Linear(width, width)

        def forward(self, x, time):
            waves = time[:, None] * torch.pi * 2.0 ** torch.arange(4).to(x)
            h = self.stem(x) + self.told(torch.cat([waves.sin(), waves.cos()], dim=1))
            h = nn.functional.silu(h)
            return self.head(h + nn.functional.silu(self.block(h)))

    return Network()


def cases(draw: Draw):
    for size in (2, draw.integer(3, 4)):
        b = draw.integer(5, 8)
        x, time = draw.normal(b, size), draw.uniform(b, low=0.05)
        yield Case(f"D = {size}", (size, 4 * draw.integer(4, 8), x, time), "shape and dependence")


def learns(piece, draw: Draw):
    """The exact guess for normal data at two dozen points and times; asked at others, of which it has seen no
    answer."""
    count, size = 256, 1
    x, time = 2 * draw.normal(count, size), draw.uniform(count, low=0.05)
    asked, when = 1.5 * draw.normal(100, size), draw.uniform(100, low=0.1)

    def exact(x, time):
        kept = (1 - time[:, None]).square().clamp(min=0.01)
        return (1 - kept).sqrt() * (x - kept.sqrt()) / (kept / 4 + 1 - kept)

    found = piece(size, 32, x, time, exact(x, time), asked, when)
    wanted = exact(asked, when)
    before, after = ((found[name] - wanted).square().mean() / wanted.square().mean() for name in ("before", "after"))
    if not after < 0.1:
        return (
            f"trained on {count} pairs of points and exact guesses, it is asked for others: its mean square error went "
            f"from {before:.3f} to {after:.3f} of what guessing 0 costs, and at most 0.1 is expected"
        )
    return None


RUN = driven(network_bench)

EXERCISE = Exercise(
    chapter="normal_1d",
    kind="data",
    title="A network that is told the time",
    statement=r"""
Write a function that builds the network of your first diffusion model: points $x$ of `size` numbers and their times go
in, a guess of the noise comes out. Three things are asked of it.

- **Shape.** (B, D) and (B,) to (B, D), and no point looks at another one.
- **Dependence.** The answer depends on $x$ and on the time of each point, and every weight has a gradient.
- **It learns.** The check trains your network on points for which it knows the exact answer, for 400 steps of Adam, and
  then asks for others, whose answers your network has never seen.

You are free in everything else: sines and cosines of the time, two or three layers with a bend between them. In PyTorch
a network is a class that inherits from `nn.Module`; you may define it inside the function.
""",
    reference=RUN(tiny_denoiser),
    driver=network_bench,
    parts={"shape and dependence": 3, "it learns": 2, CARE: 1},
    cases=cases,
    properties=(Property("it learns", learns, "it learns"),),
    wrong_answers=tuple(
        wrong(RUN(answer))
        for answer in (
            time_left_out,
            one_time_for_all,
            input_left_out,
            no_bend,
            bend_at_the_end,
            layers_in_a_list,
            cut_off,
            a_number_for_each_point,
            over_the_batch,
            random_each_time,
            changed_in_place,
        )
    ),
    right_answers=tuple(right(RUN(answer)) for answer in (as_a_scale, time_as_it_is, with_an_embedding)),
    hints=(
        "How does the network know how noisy its input is, for each point of the batch?",
        "What would three `nn.Linear` in a row, with nothing between them, be able to draw?",
    ),
    source="Ho et al. 2020, section 3; Vaswani et al. 2017 for the waves",
)
