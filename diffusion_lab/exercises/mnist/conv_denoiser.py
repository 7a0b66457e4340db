"""conv_denoiser: a small convolutional network that is told the time."""

import torch
from torch import nn

from diffusion_lab.exercises.driving import driven
from diffusion_lab.exercises.mnist.probes import REACH, image_bench
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def conv_denoiser(channels: int) -> nn.Module:
    """A convolutional network that guesses the noise in images of any size, and is told how noisy they are.

    Args:
        channels: of each hidden layer, at least 8.

    Returns:
        A module, called as network(x, time) with x (B, 1, H, W), H and W any multiples of 4, and time (B,) in (0, 1],
        both of one dtype, to (B, 1, H, W). Each image is answered by itself, the same in training and in evaluation.
        What is true of one place of an image is true of all: away from the borders the answer moves with the image.
    """
    waves = torch.tensor([1, 2])

    class Denoiser(nn.Module):
        def __init__(self):
            super().__init__()
            self.tell = nn.Sequential(nn.Linear(4, channels), nn.SiLU(), nn.Linear(channels, channels))
            self.stem = nn.Conv2d(1, channels, 3, padding=1)
            self.shrink = nn.Conv2d(channels, channels, 4, stride=4)  # (B, channels, H / 4, W / 4)
            self.middle = nn.Conv2d(channels, channels, 3, padding=1)
            self.grow = nn.ConvTranspose2d(channels, channels, 4, stride=4)
            self.mix = nn.Conv2d(channels, channels, 3, padding=1)
            self.last = nn.Conv2d(channels, 1, 3, padding=1)

        def forward(self, x, time):
            angle = torch.pi * time[:, None] * waves.to(x)
            told = self.tell(torch.cat([angle.sin(), angle.cos()], dim=1))[:, :, None, None]
            h = nn.functional.silu(self.stem(x) + told)
            low = nn.functional.silu(self.shrink(h))
            low = nn.functional.silu(self.middle(low) + told)
            return self.last(nn.functional.silu(self.mix(h + self.grow(low)) + told))

    return Denoiser()


class _Layers(nn.Module):
    """What the known answers share: layers of one width, the time behind the first of them."""

    def __init__(self, channels, bend=nn.SiLU, kernel=3, padding=1, out=1, dilations=(1, 2, 4, 2, 1)):
        super().__init__()
        self.tell, self.bend = nn.Linear(4, channels), bend()
        self.first = nn.Conv2d(1, channels, kernel, padding=padding)
        self.rest = nn.ModuleList(
            nn.Conv2d(channels, channels, kernel, padding=padding * step, dilation=step) for step in dilations
        )
        self.last = nn.Conv2d(channels, out, kernel, padding=padding)

    def told(self, x, time):
        angle = torch.pi * time[:, None] * torch.tensor([1, 2]).to(x)
        return self.tell(torch.cat([angle.sin(), angle.cos()], dim=1))[:, :, None, None]

    def between(self, h, number):
        return h

    def forward(self, x, time):
        h = self.bend(self.first(x) + self.told(x, time))
        for number, layer in enumerate(self.rest):
            h = self.bend(self.between(layer(h), number))
        return self.last(h)


def time_left_out(channels):
    """The network never looks at the time. One answer has to serve all noise levels then: let the time into a layer."""

    class Network(_Layers):
        def told(self, x, time):
            return super().told(x, torch.ones_like(time)) + 0 * self.tell.weight.sum()

    return Network(channels)


def one_time_for_all(channels):
    """All images get the time of the first one. Each has its own: what is told must be (B, channels, 1, 1)."""

    class Network(_Layers):
        def told(self, x, time):
            return super().told(x, time[:1])

    return Network(channels)


def time_on_the_last_axis(channels):
    """What is told of the time has the shape (B, channels), and lies along the height and the width of the image. Give
    it two more axes: (B, channels, 1, 1)."""

    class Network(_Layers):
        def told(self, x, time):
            return super().told(x, time)[:, :, 0, 0]

    return Network(channels)


def time_at_the_end(channels):
    """The time is added to the answer, where no layer follows that mixes it with the image. Let it in before a bend."""

    class Network(_Layers):
        def forward(self, x, time):
            h = self.bend(self.first(x))
            for layer in self.rest:
                h = self.bend(layer(h))
            return self.last(h) + self.told(x, time).mean(dim=1, keepdim=True)

    return Network(channels)


def input_left_out(channels):
    """The network never looks at x. It guesses the noise in x: let it in beside the time."""

    class Network(_Layers):
        def forward(self, x, time):
            return super().forward(0 * x, time)

    return Network(channels)


def no_padding(channels):
    """The answer is smaller than the image, because each layer loses its border. A kernel of 3 needs `padding=1`, one
    of 5 `padding=2`."""
    return _Layers(channels, padding=0, dilations=())


def many_channels_out(channels):
    """The answer has more than one channel. The noise in x has one, as x has: so has the last layer."""
    return _Layers(channels, out=channels)


def single_pixels(channels):
    """Each pixel is answered by itself, as a kernel of 1 does it. Whether a pixel belongs to a stroke is told by its
    neighbours: use kernels of 3."""
    return _Layers(channels, kernel=1, padding=0, dilations=(1, 1))


def short_sighted(channels):
    """The network does not look far enough: each layer with a kernel of 3 sees one pixel further. Add layers, or look
    at a smaller image in between, as with `stride=2` and back with `ConvTranspose2d`."""
    return _Layers(channels, dilations=(1,))


def places_told(channels):
    """The answer depends on where in the image something is, and not on what is there. Leave coordinates and maps of
    weights out: a convolution treats all places alike."""

    class Network(_Layers):
        def __init__(self):
            super().__init__(channels)
            self.place = nn.Conv2d(2, channels, 1)

        def told(self, x, time):
            rows, columns = (torch.linspace(-1, 1, n).to(x) for n in x.shape[2:])
            grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
            return super().told(x, time) + 2 * self.place(grid[None])

    return Network()


def no_bend(channels):
    """There is nothing between the layers, so that together they are one convolution. Put a SiLU, or another bend,
    between two layers."""
    return _Layers(channels, bend=nn.Identity)


def bend_at_the_end(channels):
    """The last layer is followed by a bend that lets no negative number through, such as a ReLU or a sigmoid. Noise may
    be any number: end with a plain layer."""

    class Network(_Layers):
        def forward(self, x, time):
            return nn.functional.softplus(super().forward(x, time))

    return Network(channels)


def normalised_over_the_batch(channels):
    """The answer to an image depends on the other images of the batch, and is another one in evaluation: that is what
    BatchNorm does. In a batch every image has noise of its own strength: use `nn.GroupNorm`, or nothing."""

    class Network(_Layers):
        def __init__(self):
            super().__init__(channels)
            self.norm = nn.BatchNorm2d(channels)

        def between(self, h, number):
            return self.norm(h)

    return Network()


def over_the_batch(channels):
    """The answer to an image depends on the other images of the batch, as it does where a mean is taken over dimension
    0. Treat each image by itself."""

    class Network(_Layers):
        def between(self, h, number):
            return h - h.mean(dim=0)

    return Network(channels)


def layers_in_a_list(channels):
    """The layers are in a plain list, where PyTorch does not find their weights, and no optimizer will move them. Use
    `nn.ModuleList` or `nn.Sequential`."""
    layers = [_Layers(channels)]

    class Network(nn.Module):
        def forward(self, x, time):
            return layers[0].to(x)(x, time)

    return Network()


def cut_off(channels):
    """No gradient reaches the first layers: something in `forward` cuts the graph, such as `detach`, `no_grad`, or a
    tensor made anew."""

    class Network(_Layers):
        def between(self, h, number):
            return h.detach() if number == 0 else h

    return Network(channels)


def random_each_time(channels):
    """The same call gives another answer each time: the network draws random numbers in `forward`. Leave dropout and
    noise out of it."""

    class Network(_Layers):
        def between(self, h, number):
            return nn.functional.dropout(h, 0.2, self.training)

    return Network(channels)


def changed_in_place(channels):
    """The network changes the x that it is given. Whoever called it still needs x: make a new tensor instead of writing
    into the old one, as `x += ...` and `x.mul_(...)` do."""

    class Network(_Layers):
        def forward(self, x, time):
            x.mul_(2)
            return super().forward(x, time)

    return Network(channels)


def one_layer_after_the_other(channels):
    return _Layers(channels)


def time_as_a_channel(channels):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            sizes = [(2, channels), (channels, channels), (channels, channels), (channels, 1)]
            self.layers = nn.ModuleList(nn.Conv2d(a, b, 5, padding=2) for a, b in sizes)

        def forward(self, x, time):
            h = torch.cat([x, time.reshape(-1, 1, 1, 1).expand_as(x)], dim=1)
            for layer in self.layers[:-1]:
                h = torch.relu(layer(h))
            return self.layers[-1](h)

    return Network()


def starting_at_zero(channels):
    class Network(_Layers):
        def __init__(self):
            super().__init__(channels)
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    return Network()


def in_the_shape_of_a_u(channels):
    """Smaller and larger again, with groups that are normalised, and the time as a scale and a shift."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            c = 4 * (channels // 4)
            self.first, self.last = nn.Conv2d(1, c, 3, padding=1), nn.Conv2d(c, 1, 3, padding=1)
            self.low, self.high = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(2 * c, c, 3, padding=1)
            self.norm, self.tell = nn.GroupNorm(4, c), nn.Linear(8, 2 * c)

        def forward(self, x, time):
            angle = torch.pi * time[:, None] * 2 ** torch.arange(4).to(x)
            told = self.tell(torch.cat([angle.sin(), angle.cos()], dim=1))
            scale, shift = told[:, :, None, None].chunk(2, dim=1)
            h = self.first(x)
            low = nn.functional.silu(self.norm(h) * (1 + scale) + shift)
            low = nn.functional.silu(self.low(nn.functional.avg_pool2d(low, 4)))
            h = torch.cat([h, nn.functional.interpolate(low, scale_factor=4.0)], dim=1)
            return self.last(nn.functional.silu(self.high(h)))

    return Network()


def cases(draw: Draw):
    part = "shape and dependence"
    yield Case("every size equal", (8, draw.normal(8, 1, 8, 8), draw.uniform(8, low=0.05)), part)
    b, channels = draw.integer(3, 5), 4 * draw.integer(2, 4)
    yield Case("a wide image", (channels, draw.normal(b, 1, 12, 20), draw.uniform(b, low=0.05)), part)
    yield Case("one image", (channels, draw.normal(1, 1, 16, 8), draw.uniform(1, low=0.05)), part)


def learns(piece, draw: Draw):
    """Images that are grey all over, with noise: the exact guess uses all pixels and the time."""

    def drawn(count):
        time = draw.uniform(count, low=0.1).float()
        alpha = (1 - time).reshape(-1, 1, 1, 1)
        sigma = (1 - alpha.square()).sqrt()
        x = alpha * draw.normal(count, 1, 1, 1).float() + sigma * draw.normal(count, 1, 8, 8).float()
        grey = alpha * x.sum(dim=(2, 3), keepdim=True) / (64 * alpha.square() + sigma.square())  # posterior mean
        return x, time, (x - alpha * grey) / sigma

    x, time, exact = drawn(32)
    asked, when, wanted = drawn(32)
    found = piece(8, x, time, exact, asked, when)
    before, after = ((found[name] - wanted).square().mean() / wanted.square().mean() for name in ("before", "after"))
    if not after < 0.3:
        return (
            f"trained on {len(x)} noisy images and exact guesses, it is asked for others: its mean square error went "
            f"from {before:.3f} to {after:.3f} of what guessing 0 costs, and at most 0.3 is expected"
        )
    return None


RUN = driven(image_bench)

EXERCISE = Exercise(
    chapter="mnist",
    kind="data",
    title="A convolutional network that is told the time",
    statement=rf"""
Write a function that builds a network for images: noisy images and their times go in, a guess of the noise comes out.
In chapter 1 every number of a point had weights of its own. An image would need a great many, and a stroke that moves
by a pixel would be something new. Convolutions use the same few weights at every place.

- **Shape.** (B, 1, H, W) and (B,) to (B, 1, H, W), for any height and width that are multiples of 4, and no image looks
  at another one.
- **Dependence.** The answer at a pixel depends on the image at least {REACH} pixels away in each direction, and on the
  time of this image, which is let in before a bend. Away from the borders the answer moves with the image. Every weight
  has a gradient.
- **It learns.** The check trains your network for 60 steps of Adam on a batch of noisy images for which it knows the
  exact answer, and then asks for others.

You are free in everything else. One kernel of 3 sees one pixel to each side, so either let many layers follow each
other, or make the image smaller in between, with `stride`, and larger again, with `nn.ConvTranspose2d`. Tell the time
as in chapter 1, by sines and cosines. 15 to 25 lines are enough.
""",
    reference=RUN(conv_denoiser),
    driver=image_bench,
    parts={"shape and dependence": 3, "it learns": 2, CARE: 1},
    cases=cases,
    properties=(Property("it learns", learns, "it learns"),),
    wrong_answers=tuple(
        wrong(RUN(answer))
        for answer in (
            time_left_out,
            one_time_for_all,
            time_on_the_last_axis,
            time_at_the_end,
            input_left_out,
            no_padding,
            many_channels_out,
            single_pixels,
            short_sighted,
            places_told,
            no_bend,
            bend_at_the_end,
            normalised_over_the_batch,
            over_the_batch,
            layers_in_a_list,
            cut_off,
            random_each_time,
            changed_in_place,
        )
    ),
    right_answers=tuple(
        right(RUN(answer))
        for answer in (one_layer_after_the_other, time_as_a_channel, starting_at_zero, in_the_shape_of_a_u)
    ),
    hints=(
        "Which shape must what you say of the time have, so that it can be added to (B, channels, H, W)?",
        "How many pixels away does one kernel of 3 look? And two of them? And on an image of a quarter of the size?",
    ),
    source="Ronneberger et al. 2015; Ho et al. 2020, appendix B",
)
