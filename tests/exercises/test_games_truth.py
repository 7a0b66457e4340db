"""The references of chapter 10 against enumeration and the project's mathematics."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from earned import DRAWS, SEEDS, assert_loses, points, share
from torch import Tensor
from torch.nn import functional

from diffusion_lab import chapters, discrete, metrics, schedules
from diffusion_lab.chapters import run_chapter
from diffusion_lab.data import games
from diffusion_lab.discrete import DiscreteProcess
from diffusion_lab.exact import FiniteTokens
from diffusion_lab.exercises.games import NOTEBOOK
from diffusion_lab.exercises.games.inputs import only_counted
from diffusion_lab.exercises.games.probes import Says
from diffusion_lab.exercises.games.slots import VARIANTS, token_schedule
from diffusion_lab.exercises.mnist.ema_update import EXERCISE as EMA_UPDATE
from diffusion_lab.exercises.normal_1d.alpha_bar import EXERCISE as ALPHA_BAR
from diffusion_lab.exercises.normal_2d.ddim_step import EXERCISE as DDIM_STEP
from diffusion_lab.exercises.normal_2d.v_loss import EXERCISE as V_LOSS
from diffusion_lab.levels import Level
from diffusion_lab.networks import build_network
from diffusion_lab.samplers import Context

OWN = {item.name: item.reference for item in (*NOTEBOOK.exercises, EMA_UPDATE, ALPHA_BAR, DDIM_STEP, V_LOSS)}
KINDS = ("uniform", "absorbing")


def uniforms(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tokens(high: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed))


def level(alpha_bar: float) -> Level:
    value = torch.tensor(alpha_bar, dtype=torch.float64)
    return Level(1 - value, value.sqrt(), (1 - value).sqrt(), value, value)


def chain(process: DiscreteProcess, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """Q and Q_bar (T, S, S) of the project's own process for alpha_bar (T,)."""
    steps = alpha_bar / torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    return process.transition_matrix(steps), process.transition_matrix(alpha_bar)


def test_the_transition_matrix_is_the_projects():
    alpha_bar = uniforms(7)
    theirs = DiscreteProcess("uniform", 4).transition_matrix(alpha_bar)
    torch.testing.assert_close(OWN["transition_matrix"](alpha_bar, 4), theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_of_steps_is_the_jump(kind: str):
    Q, Q_bar = chain(DiscreteProcess(kind, 3), torch.tensor([0.9, 0.6, 0.55, 0.1], dtype=torch.float64))
    torch.testing.assert_close(OWN["cumulative_transitions"](Q), Q_bar)


@pytest.mark.parametrize("kind", KINDS)
def test_the_posterior_is_the_projects(kind: str):
    process, alpha_bar = DiscreteProcess(kind, 3), torch.tensor([0.9, 0.6, 0.3], dtype=torch.float64)
    Q, Q_bar = chain(process, alpha_bar)
    x0, p_x0 = tokens(3, 2, 8), uniforms(2, 8, 3).softmax(dim=-1)
    states = functional.pad(p_x0, (0, process.states - 3))
    for t, before in enumerate([1.0, 0.9, 0.6]):
        now = level(float(alpha_bar[t]))
        x_t = process.noisy(x0, now, uniforms(2, 8, seed=t).float())
        found = OWN["d3pm_posterior"](x_t, states, torch.full((2,), t), Q, Q_bar)
        torch.testing.assert_close(found, process.posterior(x_t, p_x0, now, level(before)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_posterior_of_cells_that_depend_on_one_another_is_counted(kind: str):
    """Four boards of two cells. Every data, every x_s and every x_t is gone through; cells are disturbed alone."""
    process, boards = DiscreteProcess(kind, 3), torch.tensor([[0, 0], [0, 1], [1, 2], [2, 2]])
    alpha_bar = torch.tensor([0.8, 0.35], dtype=torch.float64)
    Q, Q_bar = chain(process, alpha_bar)
    states = list(product(range(process.states), repeat=2))
    joint = torch.zeros(len(states), len(states), dtype=torch.float64)  # (x_s, x_t)
    for board in boards.tolist():
        for (i, x_s), (j, x_t) in product(enumerate(states), enumerate(states)):
            way = [Q_bar[0, board[c], x_s[c]] * Q[1, x_s[c], x_t[c]] for c in range(2)]
            joint[i, j] += float(way[0] * way[1]) / len(boards)
    for j, x_t in enumerate(states):
        if joint[:, j].sum() == 0:
            continue
        seen = torch.tensor([x_t])
        belief = FiniteTokens(boards, process).denoise(seen, level(0.35)).double()
        belief = functional.pad(belief, (0, process.states - 3))
        found = OWN["d3pm_posterior"](seen, belief, torch.tensor([1]), Q, Q_bar)[0]
        truth = torch.zeros_like(found)
        for i, x_s in enumerate(states):
            for c in range(2):
                truth[c, x_s[c]] += joint[i, j] / joint[:, j].sum()
        torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-5)


def test_the_cross_entropy_is_pytorchs():
    logits, x0 = 3 * uniforms(4, 9, 3), tokens(3, 4, 9)
    found = OWN["d3pm_loss"](Says(logits), x0, tokens(3, 4, 9, seed=1), torch.arange(4))
    truth = torch.stack([functional.cross_entropy(logits[i], x0[i]) for i in range(4)])
    torch.testing.assert_close(found, truth)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_the_projects(kind: str):
    process, schedule, steps = DiscreteProcess(kind, 3), schedules.masking(), 20
    times = torch.arange(1, steps, dtype=torch.float64) / steps
    Q, Q_bar = chain(process, 1 - times)
    x0, logits = tokens(3, len(times), 9), 3 * uniforms(len(times), 9, 3)
    noise = uniforms(len(times), 9, seed=1)
    here = schedule.at(times, like=noise)
    theirs = discrete.variational_bound(process, schedule, T=steps)(lambda x, t: logits, x0, noise, here, {})
    states = functional.pad(logits, (0, process.states - 3), value=-torch.inf)
    found = OWN["d3pm_bound"](states, x0, process.noisy(x0, here, noise), torch.arange(len(times)), Q, Q_bar)
    torch.testing.assert_close(steps * found, theirs, rtol=1e-6, atol=1e-8)


def test_the_bound_of_the_exact_belief_about_boards_is_above_their_entropy():
    """Few steps of a model that draws cells one by one cannot reach the entropy; more steps come nearer to it."""
    boards, process = games.enumerate_tic_tac_toe(), DiscreteProcess("absorbing", 3)
    exact, entropy = FiniteTokens(boards, process), math.log(5478) / 9
    x0, totals = boards[tokens(len(boards), 400)], []
    for steps in (4, 32):
        alpha_bar = 1 - torch.arange(1, steps + 1, dtype=torch.float64) / steps
        alpha_bar[-1] = 1e-9
        Q, Q_bar = chain(process, alpha_bar)
        total = 0.0
        for t, value in enumerate(alpha_bar.tolist()):
            x_t = process.noisy(x0, level(value), uniforms(400, 9, seed=t).float())
            logits = functional.pad(exact.denoise(x_t, level(value)).double().log(), (0, 1), value=-torch.inf)
            total += float(OWN["d3pm_bound"](logits, x0, x_t, torch.full((400,), t), Q, Q_bar).mean())
        totals.append(total)
    assert totals[0] > totals[1] > entropy - 0.03
    assert totals[1] == pytest.approx(entropy, abs=0.06)


def test_revealing_is_the_ancestral_step():
    process = DiscreteProcess("absorbing", 3)
    x0, p_x0 = tokens(3, 50, 9), (3 * uniforms(50, 9, 3)).softmax(dim=-1)
    for now, after in ((0.0, 0.3), (0.3, 0.8), (0.8, 1.0)):
        x = process.noisy(x0, level(now), uniforms(50, 9, seed=1).float())
        context = Context(lambda *_: None, torch.Generator().manual_seed(2))
        known = functional.one_hot(x.clamp(max=2), 3).double()
        belief = torch.where((x < 3)[..., None], known, p_x0)
        theirs = discrete.ancestral(process)(x, level(now), level(after), belief, context)
        uniform = context_uniform(x, 2).double()
        chance = (after - now) / (1 - now)
        here, there = (torch.tensor(value, dtype=torch.float64) for value in (now, after))
        assert torch.equal(OWN["unmask_step"](x, p_x0, here, there, uniform, uniform / chance), theirs)


def context_uniform(like: Tensor, seed: int) -> Tensor:
    return Context(lambda *_: None, torch.Generator().manual_seed(seed)).uniform(like)


def test_revealing_by_the_exact_belief_reconstructs_legal_boards_around_trusted_cells():
    boards, process, steps = games.enumerate_tic_tac_toe(), DiscreteProcess("absorbing", 3), 64
    exact, truth = FiniteTokens(boards, process), boards[tokens(len(boards), 300)]
    trusted = uniforms(300, 9) < 0.4
    x = torch.where(trusted, truth, 3)
    for i in range(steps):
        now, after = (torch.tensor(value / steps) for value in (i, i + 1))
        p_x0 = exact.denoise(x, level(float(now)))
        draws = uniforms(2, 300, 9, seed=i).float()
        x = OWN["unmask_step"](x, p_x0, now, after, *draws)
    assert torch.equal(x[trusted], truth[trusted])
    assert int(x.max()) < 3
    # Two cells of one step are drawn alone, and sometimes do not fit; by chance 28 of 100 boards would be legal.
    assert OWN["legal_rate"](x, boards) > 0.94


def test_bits_are_the_projects_there_and_back():
    boards = games.enumerate_tic_tac_toe()
    bits = OWN["board_to_bits"](boards)
    assert torch.equal(bits, games.board_to_bits(boards))
    noisy = bits + 1.2 * torch.randn(bits.shape, generator=torch.Generator().manual_seed(0))
    for found, truth in zip(OWN["bits_to_board"](noisy), games.bits_to_board(noisy), strict=True):
        assert torch.equal(found, truth)
    back, valid = OWN["bits_to_board"](bits)
    assert torch.equal(back, boards)
    assert bool(valid.all())


def test_play_reaches_5478_boards_and_marks_admit_6046():
    boards = games.enumerate_tic_tac_toe()
    every = torch.tensor(list(product(range(3), repeat=9)))
    more = (every == 1).sum(dim=1) - (every == 2).sum(dim=1)
    counted = every[(more == 0) | (more == 1)]
    assert (len(boards), len(counted), len(only_counted())) == (5478, 6046, 568)
    assert OWN["legal_rate"](every, boards) == 5478 / 3**9
    assert OWN["legal_rate"](counted, boards) == 5478 / 6046
    assert OWN["legal_rate"](only_counted(), boards) == 0.0


def test_the_rate_is_the_projects_also_where_a_mask_is_left():
    boards = games.enumerate_tic_tac_toe()
    samples = torch.where(uniforms(500, 9) < 0.02, 3, boards[tokens(len(boards), 500)])
    assert OWN["legal_rate"](samples, boards) == pytest.approx(metrics.legality_rate(samples, boards))


def test_the_schedule_of_one_over_the_steps_left_is_the_chapters():
    t = torch.linspace(0.001, 0.999, 77, dtype=torch.float64)
    for own, theirs in zip(token_schedule(OWN["alpha_bar"]).at(t), schedules.masking().at(t), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("variant", ["", "uniform"])
def test_loss_and_step_of_the_references_are_the_chapters(variant: str):
    chapter = chapters.get("games", variant)
    dataset = chapter.load("bundled", None, 0)
    network = build_network((9,), seed=1, **chapter.network)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    pieces, schedule = VARIANTS[variant](OWN), chapter.schedule(dataset)
    x0, noise = dataset.train[tokens(5478, 64)], uniforms(64, 9).float()
    there = schedule.at(torch.linspace(0.002, 0.999, 64, dtype=torch.float64), like=noise)
    own = pieces["loss"](network, x0, noise, there, {})
    torch.testing.assert_close(
        own, chapter.loss(None, schedule, dataset)(network, x0, noise, there, {}), rtol=2e-3, atol=2e-4
    )
    for now, after in ((0.99, 0.5), (0.5, 0.2), (0.2, 0.0)):
        levels = [Level(*(f.float() for f in schedule.at(torch.tensor(t, dtype=torch.float64)))) for t in (now, after)]
        x = chapter.process.noisy(x0, levels[0], noise)
        belief = discrete.token_denoiser(network, chapter.process)(x, levels[0])
        found = [
            step(x, *levels, belief, Context(lambda *_: None, torch.Generator().manual_seed(3)))
            for step in (pieces["step"], chapter.step(dataset))
        ]
        assert float((found[0] != found[1]).double().mean()) < 0.005  # a uniform may lie on a border


@pytest.mark.slow
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_run_with_the_references_is_nearly_the_chapters_own(variant: str):
    """The same method; over 60 steps of a network in bfloat16 a last digit may change a token here and there."""
    arguments = {"variant": variant, "budget": "smoke", "source": "bundled", "device": "cpu"}
    own, default = run_chapter("games", **arguments, **VARIANTS[variant](OWN)), run_chapter("games", **arguments)
    assert default.variant == variant and default.samples.shape[1] == 9
    assert {"loss", "step", "average"} <= set(own.own_pieces)
    assert own.final_loss == pytest.approx(default.final_loss, rel=1e-3)
    assert float((own.samples != default.samples).double().mean()) < 0.05
    for mine, theirs in zip(own.scores, default.scores, strict=True):
        assert mine.value == pytest.approx(theirs.value, abs=0.05)


def zero_is_on(bits):
    on = (bits >= 0).long()
    boards = 2 * on[:, 0::2] + on[:, 1::2]
    return boards, ~(boards == 3).any(1)


def bits_by_rounding(bits):
    on = torch.round(bits / 2 + 0.5).to(torch.int64)
    boards = 2 * on[:, 0::2] + on[:, 1::2]
    return boards, (boards <= 2).all(1)


def sum_that_reaches(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    token = torch.searchsorted(p_x0.cumsum(-1).contiguous(), uniform_what[..., None].contiguous())[..., 0]
    hidden = (x == p_x0.shape[-1]) & (uniform_when < (alpha_bar_s - alpha_bar_t) / (1 - alpha_bar_t))
    return torch.where(hidden, token.clamp(max=p_x0.shape[-1] - 1), x)


def at_the_chance_too(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    out, chance = x.clone(), 1 - (1 - alpha_bar_s) / (1 - alpha_bar_t)
    above = p_x0.cumsum(-1) > uniform_what[..., None]
    above[..., -1] = True
    change = (x == p_x0.shape[-1]) & ~(uniform_when > chance)
    out[change] = above.int().argmax(-1)[change]
    return out


def log_of_softmax(model, x0, x_t, t):
    p = torch.softmax(model(x_t, t), -1)
    return -torch.take_along_dim(p, x0[..., None], -1)[..., 0].log().mean(1)


def log_of_softmax_and_a_bit(model, x0, x_t, t):
    p = torch.softmax(model(x_t, t), -1)
    return -torch.take_along_dim(p, x0[..., None], -1)[..., 0].add(1e-8).log().mean(1)


def by_bayes(x_t, p, t, Q, Q_bar, evidence_counts=True):
    """Cell by cell, in words of conditional probabilities."""
    out = torch.zeros_like(p)
    for b, cell in product(range(x_t.shape[0]), range(x_t.shape[1])):
        s, x = int(t[b]), int(x_t[b, cell])
        before = Q_bar[s - 1] if s else torch.eye(Q.shape[-1], dtype=Q.dtype)
        joint = before * Q[s, :, x]  # (x0, x_{t-1})
        total = joint.sum(1, keepdim=True)
        given = torch.where(total > 0, joint / torch.where(total > 0, total, torch.ones_like(total)), joint)
        if s == 0 and not evidence_counts:
            out[b, cell] = p[b, cell]
        else:
            found = p[b, cell] @ given
            out[b, cell] = found / found.sum()
    return out


def belief_kept_at_the_first_step(x_t, p_x0, t, Q, Q_bar):
    return by_bayes(x_t, p_x0, t, Q, Q_bar, evidence_counts=False)


def bound(logits, x0, x_t, t, Q, Q_bar):
    truth = by_bayes(x_t, functional.one_hot(x0, Q.shape[-1]).to(Q), t, Q, Q_bar)
    guess = by_bayes(x_t, logits.softmax(-1), t, Q, Q_bar)
    inside = truth > 0
    terms = truth * (truth.masked_fill(~inside, 1).log() - guess.masked_fill(~inside, 1).log())
    return terms.sum(-1).mean(1)


def bound_without_gradient(logits, x0, x_t, t, Q, Q_bar):
    with torch.no_grad():
        return bound(logits, x0, x_t, t, Q, Q_bar)


def bound_of_the_plain_softmax_at_the_first_step(logits, x0, x_t, t, Q, Q_bar):
    plain = functional.cross_entropy(logits.transpose(1, 2), x0, reduction="none").mean(1)
    return torch.where(t == 0, plain, bound(logits, x0, x_t, t, Q, Q_bar))


def bound_of_the_logits(logits, x0, x_t, t, Q, Q_bar):
    truth = by_bayes(x_t, functional.one_hot(x0, Q.shape[-1]).to(Q), t, Q, Q_bar)
    guess = by_bayes(x_t, logits, t, Q, Q_bar)
    inside = truth > 0
    return torch.where(inside, truth * torch.log(truth / guess), torch.zeros_like(truth)).sum(-1).mean(1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("bits_to_board", zero_is_on, "exactly 0"),
        ("bits_to_board", bits_by_rounding, "rounded"),
        ("unmask_step", sum_that_reaches, "reaches the uniform"),
        ("unmask_step", at_the_chance_too, "equals the chance"),
        ("d3pm_loss", log_of_softmax, "minus infinity"),
        ("d3pm_loss", log_of_softmax_and_a_bit, "small number"),
        ("d3pm_posterior", belief_kept_at_the_first_step, "At t = 0 the belief came back"),
        ("d3pm_bound", bound_without_gradient, "detached"),
        ("d3pm_bound", bound_of_the_plain_softmax_at_the_first_step, "At t = 0 the softmax"),
    ],
)
def test_what_is_wrong_only_at_an_end_loses_points_and_is_named(name: str, function: Callable, words: str, seed: int):
    assert_loses(name, function, seed, words)


@pytest.mark.parametrize("seed", SEEDS)
def test_logits_taken_for_probabilities_are_named_or_their_nan_is_told(seed: int):
    got, hint = points("d3pm_bound", bound_of_the_logits, seed)
    assert got < 1
    assert "as if they were probabilities" in hint or "nan in some entries, because a negative number" in hint


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "function"), [("d3pm_posterior", by_bayes), ("d3pm_bound", bound)])
def test_bayes_in_other_words_is_right(name: str, function: Callable, seed: int):
    assert share(name, function, seed) == 1


@DRAWS
def test_a_small_number_in_the_logarithm_costs_the_same_on_every_draw(draws: range):
    assert len({share("d3pm_loss", log_of_softmax_and_a_bit, seed) for seed in draws}) == 1
