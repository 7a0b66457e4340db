"""Networks with known answers, and a driver, for the exercises of this chapter. PyTorch alone is imported here."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.networks.probes import as_tensors, built, near, trained, traits
from diffusion_lab.exercises.probes import Described


class Silent(Described):
    """A network that answers 0 to everything, with a weight for a loss to be differentiated by."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, *S), t (B,) to zeros (B, *S)."""
        return self.weight.to(x) * x


class NormalPixels(Described):
    """The best guess of v for pixels that are independent and normal: v = alpha E[eps | x] - sigma E[x0 | x].

    Args:
        mean, std: of the pixels, on the scale from -1 to 1.
        alpha_bar: (T,).
    """

    def __init__(self, mean: float, std: float, alpha_bar: Tensor):
        super().__init__()
        self.mean, self.std = mean, std
        self.register_buffer("alpha_bar", alpha_bar)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (B, *S), t (B,) to v (B, *S)."""
        kept = self.alpha_bar[t].to(x).reshape(-1, *[1] * (x.ndim - 1))
        alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
        away = (x - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2)
        return alpha * sigma * away - sigma * (self.mean + alpha * self.std**2 * away)


class Counted(Described):
    """A small network with all that a state dictionary can hold: weights, running numbers, an integer counter.

    Args:
        seed: each seed gives other weights.
        features: the size of a layer.
        count: where the counter stands.
    """

    def __init__(self, seed: int, features: int, count: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.layer = nn.Linear(features, features + 1)
        self.norm = nn.BatchNorm1d(features + 1)
        self.gain = nn.Parameter(torch.ones((), dtype=torch.float64))
        with torch.no_grad():
            for entry in self.state_dict().values():
                if entry.is_floating_point():
                    entry.copy_(0.5 + torch.rand(entry.shape, generator=generator))
            self.norm.num_batches_tracked.fill_(count)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, features) to (B, features + 1)."""
        return self.gain.to(x) * self.norm(self.layer(x))


STEPS = 60
"""Of Adam, in which the network is to learn."""
REACH = 6
"""How many pixels away, in each direction, the answer at a pixel must still depend on the image."""
SIDE, PATCH, SHIFT = 64, 4, 12
"""Of the image on which reach and shifts are looked at: its side, that of what is in it, and how far this moves."""


def image_bench(
    build: Callable,
    channels: int,
    x: Tensor,
    time: Tensor,
    target: Tensor | None = None,
    asked: Tensor | None = None,
    when: Tensor | None = None,
) -> dict[str, Tensor]:
    """Build a network for images and say what it is like, or, given targets, train it and ask it for more.

    Args:
        build: the function under test, channels -> network.
        x, time: (B, 1, H, W) and (B,).
        target: (B, 1, H, W); with it the network is trained, and its answers at `asked` (A, 1, H, W), `when` (A,) come
            back.
    """
    network = built(build, channels).to(x.dtype)
    if target is not None:
        return trained(network, x, time, target, asked, when, steps=STEPS)
    found = traits(network, x, time)
    shape = found.pop("shape")
    found["as many images as x"] = shape[:1] == list(x.shape[:1])
    found["one channel"] = len(shape) == 4 and shape[1] == 1
    found["as high and as wide as x"] = shape[2:] == list(x.shape[2:])
    found["the same in evaluation mode"] = near(network(x.clone(), time), network.eval()(x.clone(), time))
    network.train()
    changes = [network(image, time) - network(image.clone(), time / 2) for image in (x.clone(), x + 1)]
    found["the time changes what it makes of x"] = not near(*changes)
    right = shape == list(x.shape)
    found |= _across_the_image(network, x, time) if right else dict.fromkeys(ACROSS, False)
    return as_tensors(found)


ACROSS = ("looks beyond a pixel", f"looks {REACH} pixels far", "moves with the image")


def _across_the_image(network: nn.Module, x: Tensor, time: Tensor) -> dict[str, bool]:
    """How far the network looks, and whether its answer moves where the image moves."""
    generator = torch.Generator().manual_seed(0)
    patch = 2 * torch.randn(PATCH, PATCH, generator=generator, dtype=torch.float64).to(x)
    images = torch.zeros(2, 1, SIDE, SIDE).to(x)
    first = SIDE // 2 - (SHIFT + PATCH) // 2
    starts = (first, first + SHIFT)
    for image, start in zip(images, starts, strict=True):
        image[0, start : start + PATCH, start : start + PATCH] = patch
    # Each by itself: what a network does that mixes the images of a batch would hang on its first weights.
    answers = torch.cat([network(image[None].clone(), time[:1].clone()) for image in images]).detach()
    here, there = (
        answer[0, start - 2 : start + PATCH + 2, start - 2 : start + PATCH + 2]
        for answer, start in zip(answers, starts, strict=True)
    )
    size = (here - answers[0].mean()).abs().max()
    moves = bool((here - there).abs().max() <= 0.05 * size)
    beyond, far = True, True
    for place in (SIDE // 2, SIDE // 2 + 3):  # both ends of a block, where blocks of pixels are looked at together
        image = torch.randn(1, 1, SIDE, SIDE, generator=generator, dtype=torch.float64).to(x).requires_grad_()
        answer = network(image * 1, time[:1].clone())
        seen = torch.zeros_like(image)
        if answer.requires_grad:
            (slope,) = torch.autograd.grad(answer[0, 0, place, place], image, allow_unused=True)
            seen = seen if slope is None else slope
        rows, columns = seen[0, 0].abs().amax(dim=1) > 0, seen[0, 0].abs().amax(dim=0) > 0
        beyond = beyond and int(rows.sum()) > 1 and int(columns.sum()) > 1
        for line in (rows, columns):
            far = far and bool(line[: place - REACH + 1].any()) and bool(line[place + REACH :].any())
    return dict(zip(ACROSS, (beyond, far, moves), strict=True))
