"""What the newer sections of chapters 5, 6, 7 and 10 claim: pairs, maps, widths, costs, readers of sentences."""

from __future__ import annotations

import itertools
import math
import sys

import pages
import pytest
import torch
from book_source import ROOT, chapter_page
from experiments import cifar10_magnitudes as sizes
from experiments import spiral_pairs
from scipy import integrate, stats
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffusion_lab import samplers, schedules
from diffusion_lab.denoisers import guided
from diffusion_lab.discrete import DiscreteProcess
from diffusion_lab.exact import FiniteTokens, Gaussian
from diffusion_lab.networks.transformer import TransformerBlock

sys.path.insert(0, str(ROOT / "scripts"))
import record_experiments


def run_cell(chapter: str, words: str, **space) -> dict:
    """What is there after the one cell of a page that holds these words."""
    (cell,) = [cell for cell in chapter_page(chapter).cells if words in cell]
    found = {"__name__": "page", "torch": torch, **space}
    exec(compile(cell, "page", "exec"), found)
    return found


def normal(mean: float, std: float) -> Gaussian:
    return Gaussian(torch.tensor([mean]).double(), torch.tensor([[std**2]]).double())


@pytest.mark.parametrize(("good", "weak", "scale"), [(0.6, 0.72, 2.0), (0.8, 0.9, 3.0), (0.5, 0.4, 1.5)])
def test_autoguidance_of_two_normals_has_the_width_of_the_law(good: float, weak: float, scale: float):
    schedule = schedules.cosine()
    start = torch.special.ndtri((torch.arange(400).double() + 0.5) / 400)[:, None]
    denoiser = guided(normal(1.0, good).denoise, normal(1.0, weak).denoise, scale)
    x, _ = samplers.sample(denoiser, schedule, samplers.ddim(), start, steps=600)
    assert float(x.std() / start.std()) == pytest.approx(good * (good / weak) ** (scale - 1), rel=0.01)


@pytest.mark.parametrize("pair", ["page", "experiment"])
def test_nearest_pairs_are_the_best_of_all_pairings(pair: str):
    nearest = spiral_pairs.nearest_pairs
    if pair == "page":
        nearest = run_cell("spiral", "linear_sum_assignment")["nearest_pairs"]
    x0, eps = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(0))
    best = min(float((x0 - eps[list(order)]).square().sum()) for order in itertools.permutations(range(6)))
    chosen = nearest(x0, eps)
    assert float((x0 - chosen).square().sum()) == pytest.approx(best, rel=1e-5)
    assert sorted(chosen.tolist()) == sorted(eps.tolist())


def test_the_square_is_uniform():
    drawn = spiral_pairs.square(torch.randn(4000, generator=torch.Generator().manual_seed(0)))
    assert stats.kstest(drawn.numpy(), "uniform").pvalue > 0.01


def test_the_mean_velocity_of_the_page_is_that_of_the_exact_flow(capsys):
    schedule = schedules.flow()
    found = run_cell("spiral", "def exact_mean", schedule=schedule)
    exact = normal(1.5, 0.5)
    for r, t in ((0.0, 1.0), (0.2, 0.9), (0.5, 0.6)):
        x = torch.linspace(-2, 3, 7).double()[:, None]
        end = exact.flow_map(x, *(schedule.at(torch.tensor(s).double()) for s in (t, r)))
        ours = found["exact_mean"](x, torch.tensor(r).double(), torch.tensor(t).double())
        assert torch.allclose(ours, (x - end) / (t - r), atol=1e-6)
    left, right = (part.split("=")[1] for part in capsys.readouterr().out.split(","))
    assert left.strip() == right.strip()


def test_the_reader_of_sentences_is_the_exact_posterior():
    found = run_cell("games", "grammar.vocabulary", F=torch.nn.functional)
    texts, mask = found["texts"], found["MASK"]
    truth = FiniteTokens(texts, DiscreteProcess("absorbing", mask))
    generator = torch.Generator().manual_seed(0)
    x = texts[torch.randint(len(texts), (12,), generator=generator)]
    x = x.masked_fill(torch.rand(x.shape, generator=generator) < 0.6, mask)
    exact = truth.denoise(x, schedules.masking().at(torch.tensor(0.5), like=torch.zeros(1)))
    assert torch.allclose(found["read"](x), exact, atol=1e-5)
    assert len(texts.unique(dim=0)) == len(texts)
    score = torch.rand(12, 8, generator=generator)
    hidden = found["hide"](x, score, 3)
    assert (hidden.sum(dim=1) == 3).all()
    assert (score[hidden].reshape(12, 3).amin(dim=1) > score[~hidden].reshape(12, 5).amax(dim=1)).all()


@pytest.mark.parametrize(("tokens", "width"), [(16, 64), (64, 32)])
def test_a_block_costs_what_the_page_says(tokens: int, width: int):
    block = TransformerBlock(width, width)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        block(torch.randn(1, tokens, width), torch.randn(1, width), None)
    told = 6 * width**2  # what the time says to the block, once for all tokens
    assert counter.get_total_flops() == 2 * (12 * tokens * width**2 + 2 * tokens**2 * width + told)


def test_even_layers_and_sums_keep_a_variance_of_one():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 20_000, 16, generator=generator)
    assert float(sizes.even_sum(a, b).var()) == pytest.approx(1, abs=0.01)
    square = integrate.quad(lambda x: float(sizes.even_silu(torch.tensor(x))) ** 2 * stats.norm.pdf(x), -12, 12)[0]
    assert square == pytest.approx(1, abs=0.005)
    layer = sizes.Layer(16, 8, even=True)
    with torch.no_grad():
        layer.weight *= torch.linspace(0.1, 9, 8)[:, None]
        assert layer(a).var(dim=0).numpy() == pytest.approx(1, abs=0.05)
    assert layer.weight.norm(dim=1).detach().numpy() == pytest.approx(1, abs=1e-5)


def test_the_network_with_the_rule_begins_at_size_one():
    found: dict[bool, list[float]] = {}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x, t = torch.randn(500, 48), torch.rand(500)
        for even in (True, False):
            sizes.Net(48, even)(x, t, found.setdefault(even, []))
    assert found[True] == pytest.approx([1] * 8, abs=0.2)
    assert found[False][-1] > math.sqrt(2) ** 8


@pytest.mark.parametrize(
    ("experiment", "name"),
    [("spiral", "06_spiral"), (6, "06_spiral"), ("spiral_pairs", "06_spiral_pairs"), ("normal_1d", "01_normal_1d")],
)
def test_the_name_of_a_record(experiment, name: str):
    assert pages.record_name(experiment) == name


def test_recording_a_chapter_leaves_its_other_experiments_alone(tmp_path):
    for name in ("06_spiral_old.png", "06_spiral_pairs_paths.png"):
        (tmp_path / name).write_bytes(b"png")
    record_experiments.record("spiral", lambda on_step: {}, lambda *step: None, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["06_spiral.json", "06_spiral_pairs_paths.png"]


def test_what_can_be_recorded_is_named(capsys):
    assert record_experiments.chosen_of(["spiral_pairs", "6"]) == ["spiral_pairs", "spiral"]
    with pytest.raises(Exception, match="no chapter 'spiral_stairs'"):
        record_experiments.chosen_of(["spiral_stairs"])
