"""Functions that learners write, against the graders of chapters 5 to 7, at the ends of what the statements allow.

What is wrong there alone must lose points, what reads a silent statement in another way must lose none, and neither may
hang on the seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffusion_lab.exercises import library
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.checking import Verdict, check

FEW, MANY = range(4), range(4, 20)
WRONG: list[tuple[str, Callable]] = []
RIGHT: list[tuple[str, Callable]] = []


def wrong(exercise: str) -> Callable:
    return lambda function: WRONG.append((exercise, function)) or function


def right(exercise: str) -> Callable:
    return lambda function: RIGHT.append((exercise, function)) or function


def column(values: Tensor, x: Tensor) -> Tensor:
    return values.view(len(values), *(1 for _ in x.shape[1:]))


def verdict(exercise: str, function: Callable, seed: int, explain: bool = False) -> Verdict:
    return check(library()[exercise], LocalCaller(function), seed, explain=explain)


# Chapter 5


@wrong("extract")
def in_the_dtype_of_the_pictures(values, t, x):
    return column(values[t], x).to(x.dtype)


@wrong("extract")
def up_to_four_axes(values, t, x):
    return values[t][(slice(None), None, None, None)[: max(x.ndim, 2)]]


@wrong("simple_loss")
def counted_from_the_ceiling(model, images, uniform, noise, alpha_bar):
    """0 is the step before the first, which in Python is the last."""
    t = (uniform * len(alpha_bar)).ceil().long() - 1
    a, s = column(alpha_bar[t].sqrt(), images), column((1 - alpha_bar[t]).sqrt(), images)
    x0 = images * 2 - 1
    return (model(a * x0 + s * noise, t) - a * noise + s * x0).square().flatten(1).mean(1)


@wrong("simple_loss")
def steps_as_floats(model, images, uniform, noise, alpha_bar):
    t = (uniform * len(alpha_bar)).floor()
    kept = alpha_bar[t.long()]
    a, s, x0 = column(kept.sqrt(), images), column((1 - kept).sqrt(), images), images * 2 - 1
    return (model(a * x0 + s * noise, t) - a * noise + s * x0).square().flatten(1).mean(1)


@wrong("drop_labels")
def dropped_at_p(labels, p, null, uniform):
    return torch.tensor([null if u <= p else y for y, u in zip(labels.tolist(), uniform.tolist(), strict=True)])


@wrong("guided_eps")
def normalised_over_the_sample(eps_cond, eps_uncond, scale):
    """Of one number a sample nothing is left."""
    change = eps_cond - eps_uncond
    if change.ndim == 1:
        change = change / change.abs()
    return eps_uncond + scale * change


@wrong("ema_update")
def digits_of_float32(average, online, decay):
    new, after = online.state_dict(), {}
    for name, old in average.state_dict().items():
        mixed = decay * old.float() + (1 - decay) * new[name].float()
        after[name] = mixed.to(old.dtype) if old.is_floating_point() else new[name].clone()
    return after


@wrong("denoise_digits")
def outside_of_the_table(model, noisy, sigma, alpha_bar):
    """Between the first level and the last it is right."""
    levels = (1 / alpha_bar - 1).sqrt()
    t = (levels - 2 * sigma.unsqueeze(1)).abs().argmin(1)
    t = torch.where(2 * sigma > 1.1 * levels[-1], torch.zeros_like(t), t)
    a, s = column(alpha_bar[t].sqrt(), noisy), column((1 - alpha_bar[t]).sqrt(), noisy)
    with torch.no_grad():
        return ((a * a * (2 * noisy - 1) - s * model(a * (2 * noisy - 1), t)) / 2 + 0.5).clamp(0, 1)


@wrong("strided_times")
def cut_down(T, steps):
    return torch.tensor([int((1 - i / steps) * T - 1) for i in range(steps)])


@wrong("timestep_embedding")
def integers_alone(t, dim, max_period):
    angles = torch.outer(t.floor(), max_period ** -torch.linspace(0, 1, dim // 2, dtype=t.dtype))
    return torch.cat([angles.sin(), angles.cos()], 1)


@right("strided_times")
def ties_either_way(T, steps):
    return torch.tensor([math.ceil((steps - i) * T / steps - 1.5) for i in range(steps)])


@right("guided_eps")
def sample_by_sample(eps_cond, eps_uncond, scale):
    return torch.stack([u + scale * (c - u) for c, u in zip(eps_cond, eps_uncond, strict=True)])


@right("simple_loss")
def clamped_into_the_table(model, images, uniform, noise, alpha_bar):
    t = (uniform * len(alpha_bar)).long().clamp(max=len(alpha_bar) - 1)
    a, s, x0 = column(alpha_bar[t].sqrt(), images), column((1 - alpha_bar[t]).sqrt(), images), images * 2 - 1
    return (model(a * x0 + s * noise, t) - a * noise + s * x0).square().reshape(len(images), -1).mean(1)


# Chapter 6


@wrong("flow_path")
def kept_from_the_ends(noise, data, t):
    time = column(t.clamp(1e-3, 1 - 1e-3), data)
    return (1 - time) * data + time * noise


@wrong("euler_ode_step")
@torch.no_grad()
def time_in_float64(model, x, t, t_next):
    return (x + (t_next - t) * model(x, torch.full((len(x),), t, dtype=torch.float64))).to(x.dtype)


@wrong("euler_ode_step")
@torch.no_grad()
def a_number_for_the_network(model, x, t, t_next):
    return x + (t_next - t) * model(x, t)


@right("euler_ode_step")
@torch.no_grad()
def time_in_torchs_default(model, x, t, t_next):
    return x - (t - t_next) * model(x, torch.full((x.shape[0],), t))


@wrong("velocity_to_score")
def small_times_cut(velocity, x, t):
    time = column(t, x)
    return -(x + (1 - time) * velocity) / time.clamp(min=0.01)


@wrong("velocity_to_score")
def scores_cut(velocity, x, t):
    time = column(t, x)
    return (-(x + (1 - time) * velocity) / time).clamp(-20, 20)


@wrong("dpmpp_2m_step")
def small_sigma_is_data(x0_now, x0_last, x, levels):
    return levels[2, 0] * x0_now if levels[2, 1] < 0.01 else data_without_alpha(x0_now, x0_last, x, levels)


@wrong("dpmpp_2m_step")
def first_row_used(x0_now, x0_last, x, levels):
    """At the first step it multiplies no change by a ratio that means nothing."""
    return data_without_alpha(x0_now, x0_now if x0_last is None else x0_last, x, levels)


@right("dpmpp_2m_step")
def data_without_alpha(x0_now, x0_last, x, levels):
    (_, _), (alpha, sigma), (alpha_next, sigma_next) = levels.tolist()
    if sigma_next == 0:
        return x0_now
    before, now, after = (levels[:, 0] / levels[:, 1]).log()
    if x0_last is not None:
        x0_now = x0_now + (after - now) / (now - before) * (x0_now - x0_last) / 2
    return sigma_next / sigma * x + (alpha_next - alpha * sigma_next / sigma) * x0_now


@wrong("nearest_train")
def large_squares_subtracted(samples, train):
    a, b = samples.flatten(1), train.flatten(1)
    squares, index = (a.pow(2).sum(1)[:, None] + b.pow(2).sum(1) - 2 * a @ b.T).clamp(min=0).min(1)
    return squares.sqrt(), index


@wrong("nearest_train")
def copies_skipped(samples, train):
    table = torch.cdist(samples.flatten(1), train.flatten(1))
    table[table == 0] = math.inf
    return tuple(table.min(1))


@right("nearest_train")
def by_differences(samples, train):
    table = torch.stack([(samples - point).flatten(1).norm(dim=1) for point in train], dim=1)
    return table.amin(1), table.argmin(1)


def mean_distance(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a.flatten(1), b.flatten(1)).mean()


@wrong("energy_distance")
def root_of_what_comes(a, b):
    return (2 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b)).sqrt()


@wrong("energy_distance")
def root_of_a_signed_table(a, b):
    both = torch.cat([a, b]).flatten(1)
    share = torch.cat([torch.full((len(a),), 1 / len(a)), torch.full((len(b),), -1 / len(b))]).to(a)
    return (-(share @ torch.cdist(both, both) @ share)).sqrt()


@wrong("energy_distance")
def root_of_sums(a, b):
    def within(p, q):
        return (p.flatten(1)[:, None] - q.flatten(1)).norm(dim=2).sum() / (len(p) * len(q))

    return (2 * within(a, b) - (within(a, a) + within(b, b))).sqrt()


@right("energy_distance")
def nothing_below_0(a, b):
    bracket = float(2 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b))
    return torch.tensor(math.sqrt(max(bracket, 0.0)), dtype=a.dtype)


@right("ideal_denoiser")
def point_by_point(x, sigma, data):
    rows = []
    for i, row in enumerate(x):
        s = float(sigma[i]) if isinstance(sigma, Tensor) else sigma
        exponents = torch.stack([-(row - point).square().sum() / (2 * s * s) for point in data])
        rows.append(sum(w * point for w, point in zip(exponents.softmax(0), data, strict=True)))
    return torch.stack(rows)


# Chapter 7


@wrong("rescale_zero_terminal_snr")
def nothing_is_a_number(alpha_bar):
    return torch.full_like(alpha_bar, math.nan)


@wrong("min_snr_weight")
def floor_of_the_ratio(alpha_bar_t, gamma, target):
    snr = (alpha_bar_t / (1 - alpha_bar_t)).clamp(min=1e-3)
    weight = snr.clamp(max=gamma)
    return {"eps": weight / snr, "x0": weight * (alpha_bar_t > 0), "v": weight * (alpha_bar_t > 0) / (snr + 1)}[target]


@wrong("min_snr_weight")
def clean_levels_held_back(alpha_bar_t, gamma, target):
    snr = alpha_bar_t / (1 - alpha_bar_t).clamp(min=0.01)
    weight = snr.clamp(max=gamma)
    return {"eps": (gamma / snr).clamp(max=1), "x0": weight, "v": weight / (snr + 1)}[target]


@wrong("weighted_loss")
def levels_as_floats(model, x0, t, noise, alpha_bar, weight):
    a, s = column(alpha_bar[t].sqrt(), x0), column((1 - alpha_bar[t]).sqrt(), x0)
    return weight[t] * (model(a * x0 + s * noise, t.to(x0)) - a * noise + s * x0).square().flatten(1).mean(1)


@wrong("repaint_jump")
@torch.no_grad()
def a_level_for_the_network(model, x, s, t, alpha_bar, noise):
    step = alpha_bar[t] / alpha_bar[s]
    x = step.sqrt() * x + (1 - step).sqrt() * noise
    angle = torch.acos(alpha_bar[t].sqrt()) - torch.acos(alpha_bar[s].sqrt())
    return angle.cos() * x - angle.sin() * model(x, t)


@right("repaint_jump")
@torch.no_grad()
def by_the_angle(model, x, s, t, alpha_bar, noise):
    step = alpha_bar[t] / alpha_bar[s]
    x = step.sqrt() * x + (1 - step).sqrt() * noise
    angle = torch.acos(alpha_bar[t].sqrt()) - torch.acos(alpha_bar[s].sqrt())
    return angle.cos() * x - angle.sin() * model(x, torch.tensor([t] * len(x)))


@wrong("frechet_distance")
def any_number_of_rows(features1, features2):
    away = [(f - f.mean(0)) / math.sqrt(len(f) - 1) for f in (features1, features2)]
    spread = sum(a.square().sum() for a in away) - 2 * torch.linalg.svdvals(away[0] @ away[1].T).sum()
    return spread + (features1.mean(0) - features2.mean(0)).square().sum()


def of(pairs: list[tuple[str, Callable]]) -> pytest.MarkDecorator:
    names = [f"{exercise}-{function.__name__}" for exercise, function in pairs]
    return pytest.mark.parametrize(("exercise", "function"), pairs, ids=names)


@of(WRONG)
def test_what_is_wrong_at_an_end_alone_loses_points(exercise: str, function: Callable):
    for seed in FEW:
        found = verdict(exercise, function, seed)
        assert 0 <= found.points < found.out_of, seed


@of(RIGHT)
def test_what_is_right_loses_none(exercise: str, function: Callable):
    for seed in FEW:
        found = verdict(exercise, function, seed)
        assert found.points == found.out_of, [o for o in found.outcomes if not o.passed]


@pytest.mark.nightly
@of(WRONG + RIGHT)
def test_neither_hangs_on_the_seed(exercise: str, function: Callable):
    accepted = [verdict(exercise, function, seed).passed for seed in MANY]
    assert accepted == [(exercise, function) in RIGHT] * len(accepted)


@pytest.mark.parametrize(
    ("exercise", "function", "idea"),
    [
        ("strided_times", cut_down, "rounded down"),
        ("frechet_distance", any_number_of_rows, "too few samples"),
        ("timestep_embedding", integers_alone, "steps cut down"),
        ("drop_labels", dropped_at_p, "dropped at p too"),
    ],
)
def test_the_idea_is_named_on_every_seed(exercise: str, function: Callable, idea: str):
    for seed in FEW:
        assert [found.name for found in verdict(exercise, function, seed, explain=True).ideas] == [idea], seed


def test_cosines_first_and_in_turn_are_told_apart_from_rounding():
    def waves(t, dim, max_period):
        angles = t.unsqueeze(1) / max_period ** (torch.arange(dim // 2).to(t) / (dim // 2 - 1))
        return angles.sin(), angles.cos()

    def other_order(t, dim, max_period):
        return torch.cat(waves(t, dim, max_period)[::-1], dim=1)

    def in_turn(t, dim, max_period):
        return torch.stack(waves(t, dim, max_period), dim=2).flatten(1)

    for function, idea in ((other_order, "cosines first"), (in_turn, "sines and cosines in turn")):
        for seed in FEW:
            found = verdict("timestep_embedding", function, seed, explain=True)
            assert [named.name for named in found.ideas] == [idea]


def test_no_false_idea_of_guidance_and_weights():
    """Each of these was told something that it does not do."""

    def off_below_1(eps_cond, eps_uncond, scale):
        return eps_uncond * (1 - scale) + eps_cond * scale if scale > 1 else 1.0 * eps_cond

    def errors(model, x0, t, noise, alpha_bar, image=False):
        a, s = column(alpha_bar[t].sqrt(), x0), column((1 - alpha_bar[t]).sqrt(), x0)
        output = model(a * x0 + s * noise, t)
        return (output - (x0 if image else a * noise - s * x0)) ** 2

    def image_as_target(model, x0, t, noise, alpha_bar, weight):
        return weight[t] * errors(model, x0, t, noise, alpha_bar, image=True).flatten(1).mean(1)

    def mean_weight_1(model, x0, t, noise, alpha_bar, weight):
        share = weight[t] * len(t) / weight[t].sum()
        return share * errors(model, x0, t, noise, alpha_bar).flatten(1).mean(1)

    def pictures_alone(model, x0, t, noise, alpha_bar, weight):
        return weight[t] * errors(model, x0, t, noise, alpha_bar).mean(dim=[-3, -2, -1])

    for exercise, function, false in (
        ("guided_eps", off_below_1, "never beyond the label"),
        ("weighted_loss", image_as_target, "sign of v"),
        ("weighted_loss", mean_weight_1, "no weight"),
        ("weighted_loss", pictures_alone, "weight after the mean"),
    ):
        for seed in FEW:
            found = verdict(exercise, function, seed, explain=True)
            assert found.points < found.out_of
            assert false not in [idea.name for idea in found.ideas], exercise
