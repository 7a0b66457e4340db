"""Chapter 7, photographs: how large the numbers inside a network become in training, with and without a rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffusion_lab import data, schedules

WIDTH, BLOCKS, STEPS, BATCH, EVERY = 64, 8, 800, 128, 50
RATES = (0.002, 0.01)
SIDE = 4
SCHEDULE = schedules.cosine()


def even_sum(a: Tensor, b: Tensor, t: float = 0.3) -> Tensor:
    """A mixture of two independent numbers of variance 1 that has variance 1 (Karras et al. 2024, equation 88)."""
    return ((1 - t) * a + t * b) / math.sqrt((1 - t) ** 2 + t**2)


def even_silu(x: Tensor) -> Tensor:
    """SiLU, scaled to a mean square of 1 for normal numbers of variance 1 (Karras et al. 2024, equation 81)."""
    return functional.silu(x) / 0.596


class Layer(nn.Module):
    """A linear layer whose rows begin with length 1, and keep it if `even` (Karras et al. 2024, algorithm 1)."""

    def __init__(self, inputs: int, outputs: int, even: bool):
        super().__init__()
        self.even = even
        self.weight = nn.Parameter(functional.normalize(torch.randn(outputs, inputs), dim=1))

    def forward(self, x: Tensor) -> Tensor:
        if not self.even:
            return x @ self.weight.T
        if self.training:
            with torch.no_grad():
                self.weight.copy_(functional.normalize(self.weight, dim=1))
        return x @ functional.normalize(self.weight, dim=1).T


class Net(nn.Module):
    """Residual blocks of two layers, for thumbnails as rows of numbers: (B, D) and (B,) to (B, D)."""

    def __init__(self, dimensions: int, even: bool):
        super().__init__()
        self.even = even
        self.stem = Layer(dimensions + 9, WIDTH, even)
        self.first = nn.ModuleList(Layer(WIDTH, WIDTH, even) for _ in range(BLOCKS))
        self.second = nn.ModuleList(Layer(WIDTH, WIDTH, even) for _ in range(BLOCKS))
        self.head = Layer(WIDTH, dimensions, even)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, sizes: list[float] | None = None) -> Tensor:
        """`sizes`, where it is given, gets the root mean square of what leaves each block."""
        angle = math.pi * t[:, None] * torch.tensor([0.5, 1, 2, 4])
        told = math.sqrt(2) * torch.cat([angle.sin(), angle.cos()], dim=1)  # mean square 1
        h = self.stem(torch.cat([x, told, torch.ones(len(x), 1)], dim=1))  # the last one does a bias's work
        for first, second in zip(self.first, self.second, strict=True):
            change = second(even_silu(first(even_silu(h))))
            h = even_sum(h, change) if self.even else h + change
            if sizes is not None:
                sizes.append(float(h.square().mean().sqrt()))
        return self.gain * self.head(h)

    def weight_length(self) -> float:
        """The mean length of a row of weights in the blocks."""
        return float(torch.cat([layer.weight.norm(dim=1) for layer in [*self.first, *self.second]]).mean())


def v_loss(network: Net, x0: Tensor, noise: Tensor, t: Tensor, sizes: list[float] | None = None) -> Tensor:
    level = SCHEDULE.at(t, like=x0)
    return (network(level.noisy(x0, noise), t, sizes) - (level.alpha * noise - level.sigma * x0)).square().mean()


def train(even: bool, rate: float, images: Tensor, test: Tensor) -> dict[str, Any]:
    """One training at a constant learning rate; sizes, lengths and held-out loss on the way."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Net(images.shape[1], even)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(test.shape, generator=generator)
    times = (torch.randperm(len(test), generator=generator) + 0.5) / len(test)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    found: dict[str, Any] = {"rate": rate, "even": even, "steps": [], "size": [], "length": [], "loss": []}
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            network.eval()
            sizes: list[float] = []
            with torch.no_grad():
                found["loss"].append(float(v_loss(network, test, noise, times, sizes)))
            found["steps"].append(step)
            found["size"].append(sizes[-1])
            found["length"].append(network.weight_length())
            network.train()
        x0 = images[torch.randint(len(images), (BATCH,), generator=generator)]
        eps = torch.randn(x0.shape, generator=generator)
        loss = v_loss(network, x0, eps, torch.rand(BATCH, generator=generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found


def run(on_step: Callable[[str, int, int], None]) -> dict[str, Any]:
    """The same network with and without the rule, at a gentle learning rate and at a bold one."""
    shapes = data.load("cifar10", source="bundled")
    shrunk = [functional.avg_pool2d(found, 32 // SIDE).flatten(1) for found in (shapes.train, shapes.test)]
    mean, std = shrunk[0].mean(dim=0), shrunk[0].std(dim=0)
    images, test = ((found - mean) / std for found in shrunk)
    jobs = [(even, rate) for rate in RATES for even in (False, True)]
    rows = []
    for done, (even, rate) in enumerate(jobs):
        on_step("sizes", done, len(jobs))
        rows.append(train(even, rate, images, test[:1000]))
    return {
        "data": f"{shapes.name}, {SIDE} by {SIDE} pixels",
        "training_steps": STEPS,
        "blocks": BLOCKS,
        "numbers": images.shape[1],
        "rows": rows,
    }
