"""What is said of a network that a learner has built, on networks of which it can be worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffusion_lab.exercises.mnist.probes import REACH, image_bench

TIMES = torch.linspace(0.1, 1, 4)
IMAGES = torch.randn(4, 1, 8, 12, generator=torch.Generator().manual_seed(0))


def bench(network: nn.Module) -> dict[str, bool]:
    with torch.random.fork_rng(devices=[]):
        found = image_bench(lambda channels: network, 8, IMAGES, TIMES)
    return {name: bool(value) for name, value in found.items()}


class Tower(nn.Module):
    """Layers with a kernel of 3: n of them look exactly n pixels far."""

    def __init__(self, layers: int, **options):
        super().__init__()
        sizes = [1, *[8] * (layers - 1), 1]
        self.layers = nn.ModuleList(nn.Conv2d(sizes[i], sizes[i + 1], 3, padding=1, **options) for i in range(layers))
        self.tell = nn.Linear(1, 1)

    def forward(self, x, time):
        h = x * (1 + self.tell(time[:, None])[:, :, None, None])
        for layer in self.layers[:-1]:
            h = torch.tanh(layer(h))
        return self.layers[-1](h)


@pytest.mark.parametrize("layers", [REACH - 1, REACH])
def test_reach_is_counted_to_the_pixel(layers: int):
    found = bench(Tower(layers))
    assert found.pop(f"looks {REACH} pixels far") == (layers >= REACH)
    assert all(found.values()), found


@pytest.mark.parametrize(("by", "axis"), [(1, 2), (-1, 2), (1, 3), (-1, 3)])
def test_reach_is_asked_for_in_each_direction(by: int, axis: int):
    """An answer in the place of its neighbour's looks a pixel further to one side, and one less far to the other."""
    found = bench(Around(after=lambda x, answer: answer.roll(by, axis)))
    assert {name for name, holds in found.items() if not holds} == {f"looks {REACH} pixels far"}


def test_a_border_that_is_mirrored_is_as_good_as_one_of_zeros():
    assert all(bench(Tower(REACH, padding_mode="reflect")).values())


class Around(Tower):
    """A tower with something done around it."""

    def __init__(self, before=lambda x: x, after=lambda x, answer: answer):
        super().__init__(REACH)
        self.before, self.after = before, after

    def forward(self, x, time):
        return self.after(x, super().forward(self.before(x), time))


@pytest.mark.parametrize(
    ("network", "broken"),
    [
        (Around(after=lambda x, answer: answer + x.flip(0)), {"depends on no other sample"}),
        (Around(before=lambda x: x - 0.5 * x.mean(dim=(2, 3), keepdim=True)), set()),  # of each image: anybody may
        (Around(after=lambda x, answer: answer.abs()), {"answers below 0 too"}),
        (Around(after=lambda x, answer: answer + torch.linspace(0, 9, answer.shape[-1])), {"moves with the image"}),
        (Around(before=lambda x: x.add_(0)), set()),  # nothing changes
        (Around(before=lambda x: x.add_(1)), {"leaves its input as it is"}),
    ],
)
def test_each_fault_is_told_by_itself(network: nn.Module, broken: set[str]):
    assert {name for name, holds in bench(network).items() if not holds} == broken


def test_statistics_of_the_batch_are_another_network_in_evaluation():
    tower = Tower(REACH)
    tower.layers.insert(1, nn.BatchNorm2d(8))
    broken = {name for name, holds in bench(tower).items() if not holds}
    assert broken == {"depends on no other sample", "the same in evaluation mode"}


def test_a_last_layer_that_starts_at_zero_is_judged_by_what_it_can_become():
    tower = Tower(REACH)
    nn.init.zeros_(tower.layers[-1].weight)
    nn.init.zeros_(tower.layers[-1].bias)
    assert all(bench(tower).values())
