"""The references of chapter 9 against scipy, exact posteriors of words and the project's mathematics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from earned import SEEDS, assert_loses, points, share
from scipy.spatial import cKDTree
from scipy.stats import multivariate_normal
from torch import Tensor

from diffusion_lab import betas, chapters, denoisers, losses, schedules, targets
from diffusion_lab.chapters import run_chapter
from diffusion_lab.data import load
from diffusion_lab.errors import LabError
from diffusion_lab.exact import FiniteSet
from diffusion_lab.exercises.mnist.ema_update import EXERCISE as EMA_UPDATE
from diffusion_lab.exercises.normal_1d.q_sample import EXERCISE as Q_SAMPLE
from diffusion_lab.exercises.normal_2d.ddim_step import EXERCISE as DDIM_STEP
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.text import NOTEBOOK
from diffusion_lab.exercises.text.probes import Says
from diffusion_lab.exercises.text.slots import Vocabulary
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.losses.text import masked_mean
from diffusion_lab.networks import build_network
from diffusion_lab.samplers import Context

OWN = {item.name: item.reference for item in (*NOTEBOOK.exercises, Q_SAMPLE, DDIM_STEP, EMA_UPDATE)}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masks(lengths: list[int], length: int) -> Tensor:
    return torch.arange(length) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize(("steps", "s"), [(1000, 1e-4), (2000, 1e-4), (20, 0.01)])
def test_the_schedule_is_the_projects(steps: int, s: float):
    torch.testing.assert_close(OWN["sqrt_alpha_bar"](steps, s), betas.sqrt_alpha_bar(steps, s), rtol=0, atol=0)


def test_words_are_those_that_a_search_tree_finds():
    vectors, x = normal(80, 9), normal(40, 6, 9, seed=1)
    _, truth = cKDTree(vectors.numpy()).query(x.numpy())
    assert torch.equal(OWN["round_to_words"](x, vectors), torch.from_numpy(truth))


def test_masked_loss_is_the_projects():
    pred, x0, mask = normal(4, 7, 5), normal(4, 7, 5, seed=1), masks([1, 7, 3, 0], 7)
    torch.testing.assert_close(OWN["masked_x0_loss"](pred, x0, mask), masked_mean((pred - x0) ** 2, mask))


def test_rounding_loss_is_bayes_rule_for_normal_densities():
    vectors, x0, std = normal(6, 3), normal(2, 4, 3, seed=1), 0.7
    ids, mask = torch.tensor([[0, 5, 2, 1], [3, 3, 4, 0]]), masks([3, 4], 4)
    found = OWN["rounding_loss"](Says(x0), normal(2, 4, 3), torch.arange(2), vectors, ids, mask, std)
    densities = torch.stack(
        [torch.from_numpy(multivariate_normal(v.numpy(), std**2).pdf(x0.numpy())) for v in vectors], dim=-1
    )
    p = (densities / densities.sum(dim=-1, keepdim=True)).gather(-1, ids[..., None])[..., 0]
    truth = torch.stack([-p[i, mask[i]].log().mean() for i in range(2)])
    torch.testing.assert_close(found, truth, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(found, losses.rounding_loss(x0, vectors, ids, mask, std), rtol=1e-6, atol=1e-6)


def test_gradient_of_self_conditioning_leaves_the_first_estimate_alone():
    """By differences of a loss in which the first estimate is a fixed number."""
    model, x, t, uniform = Probe(3), normal(4, 5), torch.arange(4), torch.tensor([0.1, 0.9, 0.3, 0.7])
    OWN["self_conditioned_x0"](model, x, t, None, uniform).sum().backward()
    with torch.no_grad():
        fixed = model(x, t, None, torch.zeros_like(x)) * (uniform < 0.5)[:, None]
        for weight in model.parameters():
            before, h = weight.clone(), 1e-5
            values = []
            for side in (h, -h):
                weight.copy_(before + side)
                values.append(model(x, t, None, fixed).sum())
            weight.copy_(before)
            found = 0.0 if weight.grad is None else float(weight.grad)
            assert found == pytest.approx(float(values[0] - values[1]) / (2 * h), rel=1e-6, abs=1e-6)


def test_self_conditioning_walks_like_the_projects_denoiser():
    model, schedule = Probe(5), schedules.square_root()
    denoise = denoisers.self_conditioned(lambda x, t, last: model(x, t, None, last), targets.x0)
    last = None
    for time in (0.9, 0.5, 0.2):
        x = normal(3, 4, 5, seed=int(10 * time))
        level = schedule.at(torch.tensor(time, dtype=torch.float64), like=x)
        with torch.no_grad():
            last = OWN["self_conditioned_x0"](model, x, level.t.expand(3), last, None)
            torch.testing.assert_close(last, denoise(x, level).x0)


def test_clamping_is_the_projects():
    vectors, x0, x = normal(30, 6), normal(3, 5, 6, seed=1), normal(3, 5, 6, seed=2)
    level = schedules.square_root().at(torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64), like=x)
    theirs = denoisers.with_x0(lambda x, level: Prediction(x0, x), denoisers.nearest_rows(vectors))(x, level)
    found = OWN["clamp_x0"](x0, x, level.alpha_bar.flatten(), vectors)
    torch.testing.assert_close(found, tuple(theirs))


def test_no_rounding_of_a_posterior_mean_beats_the_likeliest_word():
    """Words at several noise levels: fewer are recovered as noise grows, and the nearest to x / alpha are the most."""
    vectors, schedule = load("text", source="bundled").info["vectors"][1:].double(), schedules.square_root()
    ids = torch.arange(len(vectors)).repeat(20)
    kept = []
    for log_snr in (2.0, 0.0, -2.0):
        level = schedule.at(schedule.time_at(torch.tensor(log_snr)), like=vectors)
        x = level.noisy(vectors[ids], normal(*vectors[ids].shape, seed=1))
        likeliest = float((OWN["round_to_words"](x / level.alpha, vectors) == ids).double().mean())
        mean = FiniteSet(vectors).denoise(x, Level(*(field.reshape(()) for field in level))).x0
        assert float((OWN["round_to_words"](mean, vectors) == ids).double().mean()) <= likeliest + 0.01
        kept.append(likeliest)
    assert kept[0] > 0.99
    assert kept[0] > kept[1] > kept[2] > 0.01


@pytest.fixture(scope="module")
def question():
    """A batch, a network that is no longer the identity, and levels: what a loss and a step are called with."""
    dataset = load("text", source="bundled")
    network = build_network(tuple(dataset.train.shape[1:]), self_condition=True, seed=1, **chapter().network)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    x0 = dataset.train[:16]
    times = torch.linspace(0.002, 1, 16, dtype=torch.float64)
    cond = {"mask": dataset.info["train_mask"][:16], "last": 0.5 * normal(*x0.shape, seed=3).float()}
    return dataset, network, x0, normal(*x0.shape, seed=4).float(), schedules.square_root().at(times, like=x0), cond


def chapter():
    return chapters.get("text")


def test_the_loss_of_the_references_is_the_chapters(question):
    dataset, network, x0, eps, level, cond = question
    own = NOTEBOOK.slots(OWN)["loss"](network, x0, eps, level, cond)
    default = chapter().loss(targets.x0, schedules.square_root(), dataset)(network, x0, eps, level, cond)
    torch.testing.assert_close(own, default, rtol=1e-4, atol=1e-5)


def test_the_step_of_the_references_is_the_chapters(question):
    dataset, _, x0, eps, _, _ = question
    schedule, polish = schedules.square_root(), chapter().polish(dataset)
    estimate = x0 + 0.7 * normal(*x0.shape, seed=5).float()
    for now, after in ((1.0, 0.8), (0.3, 0.2), (0.02, 0.0)):
        levels = [
            schedule.at(torch.tensor(time, dtype=torch.float64), like=torch.empty(0).float()) for time in (now, after)
        ]
        levels = [Level(*(field.flatten()[0] if field.ndim else field for field in level)) for level in levels]
        x = levels[0].noisy(x0, eps)
        found = []
        for step, change in ((NOTEBOOK.slots(OWN)["step"], lambda x0: x0), (chapter().step(dataset), polish)):
            # x0 is the estimate of the network, clamped by the chapter before the step and by ours within it.
            changed = change(estimate)
            prediction = Prediction(changed, (x - levels[0].alpha * changed) / levels[0].sigma)
            context = Context(lambda *_: None, torch.Generator().manual_seed(0))
            found.append(step(x, *levels, prediction, context))
        torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


def test_words_of_other_data_are_refused():
    with pytest.raises(LabError, match="other words"):
        Vocabulary().of(normal(2, 8, 32).float())
    with pytest.raises(LabError, match="7 numbers"):
        Vocabulary().for_width(normal(2, 8, 7).float())


@pytest.mark.slow
def test_run_with_the_references_is_nearly_the_chapters_own():
    """The same method; in bfloat16 a last digit can make another word here and there, so scores are compared."""
    arguments = {"budget": "smoke", "source": "bundled", "device": "cpu"}
    own, default = run_chapter("text", **arguments, **NOTEBOOK.slots(OWN)), run_chapter("text", **arguments)
    assert set(own.own_pieces) == {"schedule", "loss", "step", "polish", "average"}
    assert own.final_loss == pytest.approx(default.final_loss, rel=1e-3)
    assert float(((own.samples - default.samples).abs() > 1e-2).double().mean()) < 0.1
    for mine, theirs in zip(own.scores, default.scores, strict=True):
        assert mine.value == pytest.approx(theirs.value, abs=0.03), dataclasses.asdict(mine)


def mask_as_a_factor(pred, x0, mask):
    weight = mask[..., None].to(pred)
    return ((pred - x0) ** 2 * weight).sum((1, 2)) / (weight.sum((1, 2)) * pred.shape[-1]).clamp(min=1)


def words_in_front(pred, x0, mask):
    values = []
    for guess, truth, count in zip(pred, x0, mask.sum(1), strict=True):
        gap = guess[:count] - truth[:count]
        values.append(gap.square().mean() if count else gap.sum())
    return torch.stack(values)


def error_through_numpy(pred, x0, mask):
    pred, x0, real = pred.detach().numpy(), x0.numpy(), mask.numpy()
    return torch.tensor([((p - x)[r] ** 2).mean() if r.any() else 0.0 for p, x, r in zip(pred, x0, real, strict=True)])


def error_sentence_by_sentence(pred, x0, mask):
    values = [(p[r] - x[r]).pow(2).sum() / max(int(r.sum()), 1) for p, x, r in zip(pred, x0, mask, strict=True)]
    return torch.stack(values) / pred.shape[-1]


def error_filled_after_the_square(pred, x0, mask):
    gap = ((pred - x0) ** 2).masked_fill(~mask[..., None], 0)
    return gap.mean(-1).sum(1) / mask.sum(1).clamp(min=1)


def distances(x, embeddings):
    return (x[..., None, :] - embeddings).pow(2).sum(-1)


def rounding(model, x_t, t, embeddings, ids, mask, std, log_p):
    values = []
    for logits, words, real in zip(-distances(model(x_t, t), embeddings) / (2 * std**2), ids, mask, strict=True):
        values.append(-log_p(logits[real]).gather(1, words[real, None]).mean())
    return torch.stack(values)


def rounding_by_words(*arguments):
    return rounding(*arguments, lambda logits: logits - logits.logsumexp(1, keepdim=True))


def rounding_by_densities(*arguments):
    return rounding(*arguments, lambda logits: (logits.exp() / logits.exp().sum(1, keepdim=True)).log())


def rounding_with_a_bit(*arguments):
    return rounding(*arguments, lambda logits: (logits.softmax(1) + 1e-8).log())


def rounding_with_all_ids(model, x_t, t, embeddings, ids, mask, std):
    logits = -distances(model(x_t, t), embeddings) / (2 * std**2)
    values = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none", ignore_index=-12345)
    return (values * mask).sum(1) / mask.sum(1)


def estimate(model, x, t, last, uniform, zeros, below=torch.lt):
    if last is None:
        last = zeros(x)
        if uniform is not None:
            first = model(x, t, None, last).detach()
            coins = below(uniform, 0.5).reshape(-1, *[1] * (x.ndim - 1))
            last = torch.where(coins, first, torch.zeros_like(x))
    return model(x, t, None, last)


def estimate_from_zeros(*arguments):
    return estimate(*arguments, torch.zeros_like)


def estimate_from_none(*arguments):
    return estimate(*arguments, lambda x: None)


def estimate_up_to_a_half(*arguments):
    return estimate(*arguments, torch.zeros_like, torch.le)


def estimate_twice_at_the_first_step(model, x, t, last, uniform):
    if last is None and uniform is None:
        last = estimate_from_zeros(model, x, t, None, None).detach()
    return estimate_from_zeros(model, x, t, last, uniform)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("masked_x0_loss", mask_as_a_factor, "0 times nan"),
        ("masked_x0_loss", words_in_front, "from the front"),
        ("masked_x0_loss", error_through_numpy, "detached"),
        ("rounding_loss", rounding_by_densities, "0 / 0"),
        ("rounding_loss", rounding_with_a_bit, "small number"),
        ("rounding_loss", rounding_with_all_ids, ""),
        ("self_conditioned_x0", estimate_from_none, "None where it should see zeros"),
        ("self_conditioned_x0", estimate_up_to_a_half, ""),
        ("self_conditioned_x0", estimate_twice_at_the_first_step, "made on the spot"),
    ],
)
def test_what_is_wrong_only_at_an_end_loses_points_and_is_named(name: str, function: Callable, words: str, seed: int):
    assert_loses(name, function, seed, words)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("masked_x0_loss", error_sentence_by_sentence),
        ("masked_x0_loss", error_filled_after_the_square),
        ("rounding_loss", rounding_by_words),
        ("self_conditioned_x0", estimate_from_zeros),
    ],
)
def test_the_same_in_other_words_is_right(name: str, function: Callable, seed: int):
    assert share(name, function, seed) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_digits_lost_on_the_way_cost_one_point(seed: int):
    def schedule(T, s):
        return (1 - (torch.arange(T) / T + s).sqrt()).double()

    got, hint = points("sqrt_alpha_bar", schedule, seed)
    assert got == 0.75
    assert "digits" in hint
