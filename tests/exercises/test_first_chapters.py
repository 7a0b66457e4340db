"""Chapters 1 to 4, held against functions that are right almost everywhere, and against all readings of a statement.

A function here is called after its exercise, `exercise__what_is_special`. None of them is in the exercises' own lists.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from diffusion_lab.exercises import CARE, library
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.checking import check

SEEDS = (0, 3, 8, 21)


def column(level, x):
    return level.to(x.dtype).reshape((-1,) + (1,) * (x.ndim - 1))


def noisy(x0, t, noise, alpha_bar):
    kept = column(alpha_bar[t], x0)
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


# Right almost everywhere.


def linear_betas__float32_cast_at_the_end(T, beta_start, beta_end):
    return torch.linspace(beta_start, beta_end, T).double()


def cosine_alpha_bar__float32_cast_at_the_end(T, s, max_beta):
    f = torch.cos((torch.linspace(0, 1, T + 1) + s) / (1 + s) * math.pi / 2) ** 2
    return torch.cumprod((f[1:] / f[:-1]).clamp(min=1 - max_beta), dim=0).double()


def cosine_alpha_bar__only_the_last_step_clipped(T, s, max_beta):
    f = torch.cos((torch.arange(T + 1).double() / T + s) / (1 + s) * math.pi / 2) ** 2
    betas = 1 - f[1:] / f[:-1]
    betas[-1] = betas[-1].clamp(max=max_beta)
    return torch.cumprod(1 - betas, dim=0)


def alpha_bar__limited(betas):
    return torch.cumprod(1 - betas.clamp(max=0.5), dim=0)


def q_sample__limited(x0, t, noise, alpha_bar):
    return noisy(x0, t, noise, alpha_bar.clamp(0.01, 0.99))


def q_sample__two_axes_at_least(x0, t, noise, alpha_bar):
    kept = alpha_bar[t].view(-1, 1, *[1] * (x0.ndim - 2))
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


def eps_loss__mean_over_an_empty_tuple(model, x0, t, noise, alpha_bar):
    return (model(noisy(x0, t, noise, alpha_bar), t) - noise).pow(2).mean(dim=tuple(range(1, x0.ndim)))


def eps_loss__last_axis_and_then_the_rest(model, x0, t, noise, alpha_bar):
    square = (model(noisy(x0, t, noise, alpha_bar), t) - noise).pow(2).mean(dim=-1)
    return square.reshape(len(x0), -1).mean(dim=1) if x0.ndim > 1 else square.expand(len(x0))


def eps_loss__weights_through_a_copy(model, x0, t, noise, alpha_bar):
    said = torch.tensor(model(noisy(x0, t, noise, alpha_bar), t).tolist(), dtype=x0.dtype)
    return (said - noise).pow(2).reshape(len(x0), -1).mean(dim=1)


def optimal_eps__limited(x, alpha_bar_t, mean, std):
    kept = column(alpha_bar_t, x).clamp(0.01, 0.99)
    return (1 - kept).sqrt() * (x - kept.sqrt() * mean) / (kept * std**2 + 1 - kept)


def optimal_score__limited(x, alpha_bar_t, mean, std):
    kept = column(alpha_bar_t, x)
    return (kept.sqrt() * mean - x) / (kept * std**2 + 1 - kept).clamp(min=0.02)


def loss_floor__limited(alpha_bar_t, std, target):
    kept = alpha_bar_t.clamp(0.01, 0.99)
    return {"eps": kept, "x0": 1 - kept, "v": 1.0}[target] * std**2 / (kept * std**2 + 1 - kept)


def ddpm_step__two_steps_at_least(x, t, eps, betas, noise, variance):
    kept = torch.cumprod(1 - betas, dim=0)
    before = torch.cat([kept.new_ones(1), kept])[1:-1]  # one short: of a single step nothing is left
    mean = (x - betas[t] / (1 - kept[t]).sqrt() * eps) / (1 - betas[t]).sqrt()
    share = (1 - before[max(t - 1, 0)]) / (1 - kept[t]) if variance == "posterior" else 1.0
    return mean if t == 0 else mean + (share * betas[t]).sqrt() * noise


def convert__limited(prediction, x, alpha_bar_t, source, target):
    kept = column(alpha_bar_t, x)
    a, s = kept.sqrt().clamp(min=0.1), (1 - kept).sqrt().clamp(min=0.1)
    eps = {"eps": prediction, "x0": (x - kept.sqrt() * prediction) / s, "v": s * x + a * prediction}[source]
    x0 = {"eps": (x - s * prediction) / a, "x0": prediction, "v": a * x - s * prediction}[source]
    return {"eps": eps, "x0": x0, "v": a * eps - s * x0}[target]


def v_loss__mean_over_an_empty_tuple(model, x0, t, noise, alpha_bar):
    kept = column(alpha_bar[t], x0)
    v = kept.sqrt() * noise - (1 - kept).sqrt() * x0
    return (model(noisy(x0, t, noise, alpha_bar), t) - v).pow(2).mean(dim=tuple(range(1, x0.ndim)))


def score_2d__inverse_of_the_data_s_covariance(x, alpha_bar_t, mean, cov):
    """Woodbury, which needs the inverse of a covariance that may have none."""
    kept, eye = alpha_bar_t.reshape(-1, 1, 1), torch.eye(2).to(x)
    precision = torch.linalg.inv(eye / (1 - kept) + 0 * kept)
    inner = torch.linalg.inv(torch.linalg.inv(cov) / kept + eye / (1 - kept))
    away = (x - alpha_bar_t.sqrt()[:, None] * mean).unsqueeze(-1)
    return -((eye / (1 - kept) - eye / (1 - kept) @ inner @ eye / (1 - kept)) @ away).squeeze(-1) + 0 * precision[:, 0]


def ddim_step__limited(x, alpha_bar_t, alpha_bar_s, eps, eta, noise):
    t, s = alpha_bar_t.clamp(min=0.01), alpha_bar_s
    variance = eta**2 * (1 - s) / (1 - t) * (1 - t / s)
    x0 = (x - (1 - t).sqrt() * eps) / t.sqrt()
    return s.sqrt() * x0 + (1 - s - variance).clamp(min=0).sqrt() * eps + variance.sqrt() * noise


def dsm_loss__mean_over_an_empty_tuple(model, x0, sigma, noise):
    std = column(sigma, x0)
    return (std * model(x0 + std * noise, sigma) + noise).pow(2).mean(dim=tuple(range(1, x0.ndim)))


def dsm_loss__limited(model, x0, sigma, noise):
    std = column(sigma, x0).clamp(min=0.05)
    return (std * model(x0 + std * noise, std.flatten()) + noise).pow(2).reshape(len(x0), -1).mean(dim=1)


def tweedie__limited(x, alpha_bar_t, score):
    kept = column(alpha_bar_t, x)
    return (x + (1 - kept) * score) / kept.sqrt().clamp(min=0.1)


def responsibilities__limited(x, alpha_bar_t, weights, means, covs):
    return library()["responsibilities"].reference(x, alpha_bar_t, weights.clamp(min=1e-3), means, covs)


def edm_loss__mean_over_an_empty_tuple(model, x0, sigma, noise, sigma_data):
    std = column(sigma, x0)
    total = (std**2 + sigma_data**2).sqrt()
    x, out = x0 + std * noise, std * sigma_data / total
    wanted = (x0 - (sigma_data / total) ** 2 * x) / out
    return (model(x / total, sigma.log() / 4) - wanted).pow(2).mean(dim=tuple(range(1, x0.ndim)))


def heun_step__euler_near_the_end(denoise, x, sigma, sigma_next):
    with torch.no_grad():
        slope = (x - denoise(x, sigma)) / sigma
        trial = x + (sigma_next - sigma) * slope
        if sigma_next < 0.01:
            return trial
        return x + (sigma_next - sigma) * (slope + (trial - denoise(trial, sigma_next)) / sigma_next) / 2


def gaussian_w2__no_clamp_of_the_trace(mean1, cov1, mean2, cov2):
    values, axes = torch.linalg.eigh(cov1)
    root = axes * values.clamp(min=0).sqrt() @ axes.T
    overlap = torch.linalg.eigvalsh(root @ cov2 @ root).clamp(min=0).sqrt().sum()
    return ((mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * overlap).sqrt()


def gaussian_w2__no_clamp_of_the_eigenvalues(mean1, cov1, mean2, cov2):
    values, axes = torch.linalg.eigh(cov1)
    root = axes * values.sqrt() @ axes.T
    overlap = torch.linalg.eigvalsh(root @ cov2 @ root).sqrt().sum()
    return ((mean1 - mean2).square().sum() + (cov1.trace() + cov2.trace() - 2 * overlap).clamp(min=0)).sqrt()


def inpaint_step__mask_as_a_factor(x, known, mask, alpha_bar_s, noise):
    kept = column(alpha_bar_s, x)
    return x + mask * (kept.sqrt() * known + (1 - kept).sqrt() * noise - x)


ALMOST = [function for name, function in list(globals().items()) if "__" in name and not name.startswith("__")]


@pytest.mark.parametrize("function", ALMOST, ids=lambda function: function.__name__)
def test_what_is_wrong_at_the_ends_loses_points_on_every_draw(function):
    exercise = library()[function.__name__.split("__")[0]]
    for seed in SEEDS:
        verdict = check(exercise, LocalCaller(function), seed, explain=False)
        assert verdict.points < verdict.out_of, seed


# Other readings of a statement, and ways that rounding could betray.


def eps_loss__by_vmap(model, x0, t, noise, alpha_bar):
    said = model(noisy(x0, t, noise, alpha_bar), t)
    return torch.vmap(lambda one, other: torch.mean((one - other) ** 2))(said, noise)


def convert__the_very_tensor_where_kinds_agree(prediction, x, alpha_bar_t, source, target):
    if source == target:
        return prediction
    return convert__by_angles(prediction, x, alpha_bar_t, source, target)


def convert__by_angles(prediction, x, alpha_bar_t, source, target):
    """x and v are eps and x0 turned by an angle."""
    angle = torch.atan2((1 - column(alpha_bar_t, x)).sqrt(), column(alpha_bar_t, x).sqrt())
    a, s = torch.cos(angle), torch.sin(angle)
    v = {"eps": lambda y: (y - s * x) / a, "x0": lambda y: (a * x - y) / s, "v": lambda y: y}[source](prediction)
    return {"eps": s * x + a * v, "x0": a * x - s * v, "v": v}[target]


def heun_step__told_float32_for_each_sample(denoise, x, sigma, sigma_next):
    def noise_in(state, level):
        return (state - denoise(state, torch.full((len(state),), level, dtype=torch.float32))) / level

    with torch.no_grad():
        first = noise_in(x, sigma)
        trial = x + (sigma_next - sigma) * first
        return trial if sigma_next == 0 else x + (sigma_next - sigma) / 2 * (first + noise_in(trial, sigma_next))


def gaussian_w2__a_float_by_scipy(mean1, cov1, mean2, cov2):
    one, other = cov1.double().numpy(), cov2.double().numpy()
    root = sqrtm(one).real
    overlap = np.sqrt(np.linalg.eigvalsh((root @ other @ root + (root @ other @ root).T) / 2).clip(0)).sum()
    spread = max(float(np.trace(one) + np.trace(other)) - 2 * overlap, 0.0)
    return float((mean1.double() - mean2.double()).square().sum() + spread) ** 0.5


def gaussian_w2__a_tensor(mean1, cov1, mean2, cov2):
    def factor(cov):
        axes, values, _ = torch.linalg.svd(cov)
        return axes * values.sqrt()

    overlap = torch.linalg.svdvals(factor(cov1).T @ factor(cov2)).sum()
    spread = torch.relu(cov1.trace() + cov2.trace() - 2 * overlap)
    return torch.sqrt((mean1 - mean2).dot(mean1 - mean2) + spread)


def inpaint_step__by_index(x, known, mask, alpha_bar_s, noise):
    out, kept = x.clone(), column(alpha_bar_s, x).expand_as(x)
    out[mask] = kept[mask].sqrt() * known[mask] + (1 - kept[mask]).sqrt() * noise[mask]
    return out


def langevin_step__one_sample_at_a_time(x, score, step_size, noise):
    rows = zip(x, score, noise, strict=True)
    return torch.stack([a + step_size * s + (2 * step_size) ** 0.5 * z for a, s, z in rows])


def inpaint_step__one_sample_at_a_time(x, known, mask, alpha_bar_s, noise):
    rows = []
    for a, o, m, kept, z in zip(x, known, mask, alpha_bar_s.to(x.dtype), noise, strict=True):
        rows.append(torch.where(m, kept.sqrt() * o + (1 - kept).sqrt() * z, a))
    return torch.stack(rows)


FAIR = [
    function
    for name, function in list(globals().items())
    if "__" in name and not name.startswith("__") and function not in ALMOST
]


@pytest.mark.parametrize("function", FAIR, ids=lambda function: function.__name__)
def test_every_reading_of_a_statement_is_right(function):
    exercise = library()[function.__name__.split("__")[0]]
    for seed in SEEDS:
        verdict = check(exercise, LocalCaller(function), seed, explain=False)
        assert verdict.passed, [o for o in verdict.outcomes if not o.passed]


@pytest.mark.parametrize("name", ["alpha_bar", "q_sample", "optimal_score", "convert", "tweedie", "inpaint_step"])
def test_digits_lost_on_the_way_cost_the_point_for_care_alone(name):
    """Whatever the exercise, and whatever is known about it without the reference."""
    exercise = library()[name]

    def float32_inside(*arguments):
        floats = [isinstance(a, torch.Tensor) and a.is_floating_point() for a in arguments]
        given = [a.float() if f else a for a, f in zip(arguments, floats, strict=True)]
        return exercise.reference(*given).to(arguments[floats.index(True)].dtype)

    for seed in SEEDS:
        verdict = check(exercise, LocalCaller(float32_inside), seed, explain=False)
        lost = {part for part, (got, most) in verdict.parts.items() if got < most}
        assert lost == {CARE}, [o for o in verdict.outcomes if not o.passed]


SLOPPY_LEVELS = {
    "mean": lambda x, kept, mean, cov: (x - kept.sqrt() * mean, full(kept, cov)),
    "rows of the covariance": lambda x, kept, mean, cov: (
        away(x, kept, mean),
        kept[:, None] * cov + rest(kept[:, None]),
    ),
    "columns of the covariance": lambda x, kept, mean, cov: (away(x, kept, mean), kept * cov + rest(kept)),
}


def away(x, kept, mean):
    return x - kept.sqrt()[:, None] * mean


def rest(kept):
    return (1 - kept) * torch.eye(2).to(kept)


def full(kept, cov):
    return kept[:, None, None] * cov + rest(kept[:, None, None])


@pytest.mark.parametrize("place", SLOPPY_LEVELS)
def test_the_hint_about_levels_names_the_place_where_they_went_wrong(place):
    def piece(x, alpha_bar_t, mean, cov):
        deviation, noisy_cov = SLOPPY_LEVELS[place](x, alpha_bar_t, mean, cov)
        return -(torch.linalg.inv(noisy_cov.expand(len(x), 2, 2)) @ deviation.unsqueeze(-1)).squeeze(-1)

    (idea,) = check(library()["score_2d"], LocalCaller(piece)).ideas
    for word in place.split(" of the "):
        assert word in idea.hint


def test_factors_exchanged_are_not_taken_for_kinds_exchanged():
    def piece(prediction, x, alpha_bar_t, source, target):
        kept = column(alpha_bar_t, x)
        signal, spread = (1 - kept).sqrt(), kept.sqrt()
        eps = {"eps": prediction, "x0": (x - signal * prediction) / spread, "v": spread * x + signal * prediction}
        x0 = {"eps": (x - spread * prediction) / signal, "x0": prediction, "v": signal * x - spread * prediction}
        return {"eps": eps[source], "x0": x0[source], "v": signal * eps[source] - spread * x0[source]}[target]

    (idea,) = check(library()["convert"], LocalCaller(piece)).ideas
    assert idea.name == "alpha and sigma exchanged"
