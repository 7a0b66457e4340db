"""The loops that chapter 1 shows: PyTorch alone, and as good as the closed form says they can be."""

from __future__ import annotations

import ast
import math

import pytest
import torch
from book_source import chapter_page
from scipy import stats


def shown(chapter: str, *words: str) -> list[str]:
    """The cells of a chapter's page that hold these words, one for each, in the page's order."""
    cells = [cell for cell in chapter_page(chapter).cells if any(word in cell for word in words)]
    assert len(cells) == len(words)
    return [cell.replace(":tags: [hide-input]", "") for cell in cells]


def three_cells() -> list[str]:
    return shown("normal_1d", "class Denoiser(nn.Module)", "optimizer.step()", "reversed(range(1000))")


@pytest.fixture(scope="module")
def space() -> dict:
    """What is there when the cells have run, one after the other, in a namespace of their own."""
    found: dict = {"__name__": "page"}
    with torch.random.fork_rng(devices=[]):
        for cell in three_cells():
            exec(compile(cell, "page", "exec"), found)
    return found


def test_they_import_torch_and_the_standard_library_alone():
    trees = [ast.parse(cell) for cell in three_cells()]
    modules = {
        name.split(".")[0]
        for tree in trees
        for line in ast.walk(tree)
        if isinstance(line, (ast.Import, ast.ImportFrom))
        for name in ([alias.name for alias in line.names] if isinstance(line, ast.Import) else [line.module])
    }
    assert modules == {"copy", "torch"}


def test_they_are_sixty_lines_at_most():
    assert sum(len([line for line in cell.splitlines() if line.strip()]) for cell in three_cells()) <= 60


@pytest.mark.slow
def test_the_loss_comes_down_to_the_floor(space):
    """Var[eps | x] = alpha^2 s^2 / (alpha^2 s^2 + sigma^2), averaged over the thousand levels."""
    kept = torch.linspace(0.0001, 0.02, 1000, dtype=torch.float64).neg().add(1).cumprod(0)
    floor = (kept * 0.25 / (kept * 0.25 + 1 - kept)).mean().item()
    last = torch.tensor(space["losses"][-1000:], dtype=torch.float64)
    chance = last.std().item() / math.sqrt(len(last))
    assert floor - 4 * chance < last.mean() < floor + 0.01
    assert space["losses"][0] > 3 * floor


def test_the_samples_are_those_of_the_truth(space):
    samples = space["own_samples"][:, 0].double()
    distance = stats.wasserstein_distance(samples.numpy(), stats.norm(1.5, 0.5).ppf((torch.arange(5000) + 0.5) / 5000))
    assert distance < 0.05


def test_the_sampling_loop_follows_the_exact_moments(space):
    """With the exact guess in the network's place each step multiplies and adds, so the moments are known."""
    beta, kept = space["beta"], space["kept"]

    def exact(x, t):
        left = kept[(t[0] * 1000).round().long() - 1]
        return (1 - left).sqrt() / (0.25 * left + 1 - left) * (x - 1.5 * left.sqrt())

    mean, variance = 0.0, 1.0
    for n in reversed(range(1000)):
        b, left = beta[n].item(), kept[n].item()
        pull = b / (0.25 * left + 1 - left)
        mean = (mean - pull * (mean - 1.5 * math.sqrt(left))) / math.sqrt(1 - b)
        variance = ((1 - pull) ** 2 * variance) / (1 - b) + (b if n else 0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        found = {**space, "average": exact}
        exec(compile(three_cells()[2], "page", "exec"), found)
    samples = found["own_samples"].double()
    assert abs(samples.mean() - mean) < 4 * math.sqrt(variance / 5000)
    assert abs(samples.std() - math.sqrt(variance)) < 4 * math.sqrt(variance / 10000)


def test_the_last_step_adds_no_noise(space):
    """Data that are one point are met exactly; noise at the end would leave a spread of the first beta's root, .01."""
    kept = space["kept"]

    def exact(x, t):
        left = kept[(t[0] * 1000).round().long() - 1]
        return (x - 1.5 * left.sqrt()) / (1 - left).sqrt()

    with torch.random.fork_rng(devices=[]):
        found = {**space, "average": exact}
        exec(compile(three_cells()[2], "page", "exec"), found)
    assert (found["own_samples"] - 1.5).abs().max() < 1e-4
