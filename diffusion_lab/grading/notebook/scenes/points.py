"""Scenes of the chapters about points: 1 to 4 and 6."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from diffusion_lab.exact.gaussian import Gaussian
from diffusion_lab.exact.mixture import Mixture
from diffusion_lab.grading.notebook.scenes.stage import (
    Piece,
    Scene,
    data,
    exact_samples,
    from_eps,
    from_score,
    generator,
    items,
    kept_at,
    opened,
    sampled,
    trained,
)
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.plots import Curves, Items, View

STEPS = 1000
MEAN, STD = 1.5, 0.5
"""Of the data of chapter 1."""
COUNT = 1500


def _start(dimensions: int, count: int = COUNT) -> Tensor:
    return torch.randn(count, dimensions, generator=generator(3))


def _tuned(name: str, steps: int = 60, sample_steps: int = 100) -> Scene:
    play = trained(name, COUNT, sample_steps, steps=steps, batch=256, rate=3e-3)
    chapter = {"eps_loss": "normal_1d", "v_loss": "normal_2d", "dsm_loss": "mixture", "edm_loss": "normal_nd"}
    return Scene(
        f"Samples of the shipped network after {steps} more steps of training with each loss. A loss that is only a "
        "constant factor off trains alike and looks right here; its check tells.",
        lambda piece: [play(piece)],
        data(chapter.get(name, "spiral"), COUNT),
    )


# Chapter 1


def _linear_betas(piece: Piece) -> Iterator[View]:
    betas = piece(STEPS, 1e-4, 0.02)
    kept = torch.cumprod(1 - torch.as_tensor(betas).double(), dim=0)
    curve = Curves(torch.arange(STEPS), {"": kept}, "step t", "alpha_bar, of these betas")
    yield curve
    yield sampled("linear_betas", COUNT, 100)(piece)


def _alpha_bar(piece: Piece) -> Iterator[View]:
    betas = torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64)
    curve = Curves(torch.arange(STEPS), {"": piece(betas)}, "step t", "alpha_bar")
    yield curve
    yield sampled("alpha_bar", COUNT, 100)(piece)


def _q_sample(piece: Piece) -> list[View]:
    draw = generator()
    x0 = MEAN + STD * torch.randn(COUNT, generator=draw)
    t = torch.linspace(0, STEPS - 1, COUNT).long()
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64), dim=0)
    noisy = piece(x0, t, torch.randn(COUNT, generator=draw), kept)
    return [Items("points", torch.stack([t / STEPS, noisy], dim=1), axes=("t / T", "noisy x_t"))]


def _formula(x: Tensor, piece: Piece, ylabel: str) -> Curves:
    levels = {f"alpha_bar {kept:g}": piece(x, torch.full((len(x),), kept), MEAN, STD) for kept in (0.9, 0.5, 0.1)}
    return Curves(x, levels, "noisy x", ylabel)


def _optimal_eps(piece: Piece) -> Iterator[View]:
    def estimate(x: Tensor, level: Level) -> Prediction:
        return from_eps(x, piece(x, kept_at(x, level), MEAN, STD), level)

    yield _formula(torch.linspace(-3, 4, 100), piece, "E[eps | x]")
    yield Items("points", exact_samples(estimate, _start(1), noisy=True))


def _optimal_score(piece: Piece) -> Iterator[View]:
    def estimate(x: Tensor, level: Level) -> Prediction:
        return from_score(x, piece(x, kept_at(x, level), MEAN, STD), level)

    yield _formula(torch.linspace(-3, 4, 100), piece, "score")
    yield Items("points", exact_samples(estimate, _start(1), noisy=True))


def _loss_floor(piece: Piece) -> list[View]:
    log_snr = torch.linspace(-8, 8, 81, dtype=torch.float64)
    lines = {target: piece(torch.sigmoid(log_snr), STD, target) for target in ("eps", "x0", "v")}
    return [Curves(log_snr, lines, "log-SNR, from noise to data", "lowest loss")]


# Chapters 2 and 3


def _cosine(piece: Piece) -> Iterator[View]:
    curve = Curves(torch.arange(STEPS), {"": piece(STEPS, 0.008, 0.999)}, "step t", "alpha_bar")
    yield curve
    yield sampled("cosine_alpha_bar", COUNT, 100)(piece)


def _score_2d(piece: Piece) -> list[View]:
    exact: Gaussian = opened("normal_2d").exact

    def estimate(x: Tensor, level: Level) -> Prediction:
        return from_score(x, piece(x, kept_at(x, level), exact.mean.float(), exact.cov.float()), level)

    return [Items("points", exact_samples(estimate, _start(2)))]


def _mixture() -> Mixture:
    return opened("mixture").exact


def _parameters() -> tuple[Tensor, Tensor, Tensor]:
    exact = _mixture()
    return exact.weights.float(), exact.means.float(), exact.covs.float()


def _geometric_sigmas(piece: Piece) -> Iterator[View]:
    curve = Curves(torch.arange(50), {"": piece(50, 15.0, 0.02)}, "level", "sigma", log=True)
    yield curve
    yield sampled("geometric_sigmas", 500, 25)(piece)


def _responsibilities(piece: Piece) -> list[View]:
    angle = torch.linspace(0, 2 * torch.pi, 181)
    weights, means, covs = _parameters()
    radius = means.norm(dim=1).mean()
    x = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
    shares = piece(x, torch.full((len(x),), 0.7), weights, means, covs)
    lines = {f"mode {k + 1}": shares[:, k] for k in range(len(weights))}
    return [Curves(angle, lines, "angle on the circle of modes (rad)", "probability of each mode")]


def _gmm_score(piece: Piece) -> list[View]:
    parameters = _parameters()

    def estimate(x: Tensor, level: Level) -> Prediction:
        return from_score(x, piece(x, kept_at(x, level), *parameters), level)

    return [Items("points", exact_samples(estimate, _start(2), steps=60))]


def _tweedie(piece: Piece) -> list[View]:
    exact = _mixture()

    def estimate(x: Tensor, level: Level) -> Prediction:
        x0 = piece(x, kept_at(x, level), exact.score(x.double(), level).to(x))
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)

    return [Items("points", exact_samples(estimate, _start(2), steps=60))]


# Chapter 4


def _karras_sigmas(piece: Piece) -> Iterator[View]:
    curve = Curves(torch.arange(41), {"": piece(40, 0.002, 80.0, 7.0)}, "level", "sigma", log=True)
    yield curve
    yield sampled("karras_sigmas", COUNT, 12)(piece)


def _preconditioning(piece: Piece) -> Iterator[View]:
    sigma = torch.logspace(-2.5, 1.8, 80, dtype=torch.float64)
    named = dict(zip(("c_skip", "c_out", "c_in", "c_noise"), piece(sigma, 1.0), strict=True))
    curve = Curves(sigma.log10(), named, "log10 of sigma", "factor")
    yield curve
    yield sampled("edm_preconditioning", COUNT, 20)(piece)


def _inpaint_step(piece: Piece) -> list[View]:
    """Half of the 16 coordinates are known, and 100 samples fill in the others."""
    run = opened("normal_nd")
    count, width = 100, run.dataset.test.shape[1]
    known = run.dataset.test[:1].expand(count, width).clone()
    mask = (torch.arange(width) < width // 2).expand(count, width).clone()
    draw = generator(4)

    def estimate(x: Tensor, level: Level) -> Prediction:
        x = piece(x, known, mask, kept_at(x, level), torch.randn(x.shape, generator=draw))
        return _both(run.exact, x, level)

    x = exact_samples(estimate, _start(width, count), steps=60, noisy=True)
    x = piece(x, known, mask, torch.ones(count), torch.randn(x.shape, generator=draw))
    place = torch.arange(width).float().expand(count, width)
    return [Items("points", torch.stack([place.flatten(), x.flatten()], dim=1), axes=("coordinate", "value"))]


def _both(exact: Gaussian, x: Tensor, level: Level) -> Prediction:
    return Prediction(*(value.to(x) for value in exact.denoise(x.double(), level)))


# Chapter 6


def _flow_times(t: Tensor, like: Tensor) -> Level:
    return opened("spiral").pieces.schedule.at(t, like=like)


class Velocity(torch.nn.Module):
    """The shipped network of chapter 6 as the velocity model(x, t) with t (B,)."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        run = opened("spiral")
        level = _flow_times(torch.as_tensor(t).double().clamp(min=run.pieces.schedule.t_min), x)
        answer = run.denoiser()(x, level)
        return level.dalpha * answer.x0 + level.dsigma * answer.eps


def _walk(step: Piece, times: Tensor, count: int = COUNT) -> Items:
    run, model = opened("spiral"), Velocity()
    x = torch.randn(count, run.dataset.test.shape[1], generator=generator(5))
    for now, after in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        x = step(model, x, now, after)
    return items(run, x)


def _straight(model: torch.nn.Module, x: Tensor, t: float, t_next: float) -> Tensor:
    with torch.no_grad():
        return x + (t_next - t) * model(x, x.new_full((len(x),), t))


def _flow_path(piece: Piece) -> Iterator[View]:
    yield sampled("flow_path", COUNT, 50)(piece)
    yield _on_the_way(piece)


def _on_the_way(piece: Piece) -> Items:
    """The data half way to noise."""
    run = opened("spiral")
    x0 = run.dataset.test[:COUNT]
    return items(run, piece(torch.randn(x0.shape, generator=generator(6)), x0, torch.full((len(x0),), 0.15)))


def _shifted_times(piece: Piece) -> Iterator[View]:
    times = torch.as_tensor(piece(20, 3.0))
    yield Curves(torch.arange(len(times)), {"": times}, "step", "time t")
    yield _walk(_straight, times)


def _velocity_to_score(piece: Piece) -> list[View]:
    run, model = opened("spiral"), Velocity()

    def step(_: torch.nn.Module, x: Tensor, t: float, t_next: float) -> Tensor:
        time = x.new_full((len(x),), t)
        with torch.no_grad():
            eps = -t * piece(model(x, time), x, time)
        if t_next == 0 or t == 1:  # at pure noise the data cannot be found from eps
            return _straight(model, x, t, t_next)
        return (1 - t_next) * (x - t * eps) / (1 - t) + t_next * eps

    return [items(run, _walk(step, torch.linspace(1, 0, 51)).values)]


def _ideal_denoiser(piece: Piece) -> list[View]:
    run = opened("spiral")
    training = run.dataset.train[:300]

    def estimate(x: Tensor, level: Level) -> Prediction:
        x0 = piece(x / level.alpha, (level.sigma / level.alpha).flatten().expand(len(x)), training)
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)

    return [items(run, exact_samples(estimate, _start(training.shape[1], 150), steps=25))]


def _nearest_train(piece: Piece) -> Iterator[View]:
    run = opened("spiral")
    training, samples = run.dataset.train[:300], run.dataset.test[:100]
    distance, index = piece(samples, training)
    yield Curves(torch.arange(len(samples)), {"": distance.sort().values}, "sample, sorted", "distance to the nearest")
    yield items(run, training[index])


SCENES: dict[str, Scene] = {
    "linear_betas": Scene(
        "alpha_bar made of these betas, and samples of the shipped network on this schedule.", _linear_betas,
        data("normal_1d", COUNT),
    ),
    "alpha_bar": Scene(
        "alpha_bar of linear betas, and samples of the shipped network on this schedule.", _alpha_bar,
        data("normal_1d", COUNT),
    ),
    "q_sample": Scene("Data on their way to noise: each dot is a value of x_t at a step t of its own.", _q_sample),
    "optimal_eps": Scene(
        "The function at three levels, and samples by DDPM with it in the place of a network.", _optimal_eps,
        data("normal_1d", COUNT),
    ),
    "optimal_score": Scene(
        "The function at three levels, and samples by DDPM with it in the place of a network.", _optimal_score,
        data("normal_1d", COUNT),
    ),
    "eps_loss": _tuned("eps_loss"),
    "loss_floor": Scene("The lowest loss that any network can have at each level, for each target.", _loss_floor),
    "ddpm_step": Scene(
        "1,500 samples of the shipped network, each in 100 steps of the function.",
        lambda piece: [sampled("ddpm_step", COUNT, 100)(piece)], data("normal_1d", COUNT),
    ),
    "cosine_alpha_bar": Scene(
        "The schedule, and samples of the shipped network on it.", _cosine, data("normal_2d", COUNT)
    ),
    "score_2d": Scene(
        "Samples by DDIM with the function in the place of a network.", _score_2d, data("normal_2d", COUNT)
    ),
    "convert": Scene(
        "Samples of the shipped network, whose guess of v the function turns into x0 and eps.",
        lambda piece: [sampled("convert", COUNT, 50)(piece)], data("normal_2d", COUNT),
    ),
    "v_loss": _tuned("v_loss"),
    "ddim_step": Scene(
        "1,500 samples of the shipped network, each in 50 steps of the function.",
        lambda piece: [sampled("ddim_step", COUNT, 50)(piece)], data("normal_2d", COUNT),
    ),
    "geometric_sigmas": Scene(
        "The levels, and samples of the shipped network that visits them.", _geometric_sigmas, data("mixture", 500)
    ),
    "dsm_loss": _tuned("dsm_loss", sample_steps=20),
    "langevin_step": Scene(
        "500 samples of the shipped network by 25 levels of 20 Langevin steps each.",
        lambda piece: [sampled("langevin_step", 500, 25)(piece)], data("mixture", 500),
    ),
    "responsibilities": Scene(
        "How likely each mode is for points on the circle that the modes lie on.", _responsibilities
    ),
    "gmm_score": Scene(
        "Samples by DDIM with the function in the place of a network.", _gmm_score, data("mixture", COUNT)
    ),
    "tweedie": Scene(
        "Samples by DDIM, whose x0 the function finds from the exact score.", _tweedie, data("mixture", COUNT)
    ),
    "karras_sigmas": Scene(
        "The levels, and samples of the shipped network that visits 12 of them; two of 16 coordinates.",
        _karras_sigmas, data("normal_nd", COUNT),
    ),
    "edm_preconditioning": Scene(
        "The four factors, and samples of the shipped network that is used with them; two of 16 coordinates.",
        _preconditioning, data("normal_nd", COUNT),
    ),
    "edm_loss": _tuned("edm_loss", sample_steps=20),
    "heun_step": Scene(
        "1,500 samples of the shipped network, each in 20 steps of the function; two of 16 coordinates.",
        lambda piece: [sampled("heun_step", COUNT, 20)(piece)], data("normal_nd", COUNT),
    ),
    "inpaint_step": Scene(
        "Coordinates 0 to 7 are known, and 100 samples fill in the others, by DDPM with the exact denoiser.",
        _inpaint_step,
    ),
    "flow_path": Scene(
        "Samples of the shipped network on this path; below, data at t = 0.15.", _flow_path, data("spiral", COUNT)
    ),
    "flow_loss": _tuned("flow_loss", steps=100, sample_steps=40),
    "euler_ode_step": Scene(
        "150 samples of the shipped network, each in 30 steps of the function.",
        lambda piece: [_walk(piece, torch.linspace(1, 0, 31), 150)], data("spiral", COUNT),
    ),
    "shifted_times": Scene(
        "20 times with a shift of 3, and samples by Euler's steps that visit them.", _shifted_times,
        data("spiral", COUNT),
    ),
    "dpmpp_2m_step": Scene(
        "1,500 samples of the shipped network, each in 15 steps of the function.",
        lambda piece: [sampled("dpmpp_2m_step", COUNT, 15)(piece)], data("spiral", COUNT),
    ),
    "velocity_to_score": Scene(
        "Samples by DDIM, whose noise is found from the score that the function gives.", _velocity_to_score,
        data("spiral", COUNT),
    ),
    "ideal_denoiser": Scene(
        "150 samples with the function in the place of a network; it should end on its 300 training points.",
        _ideal_denoiser, lambda: items(opened("spiral"), opened("spiral").dataset.train[:300]),
    ),
    "nearest_train": Scene(
        "How far 100 new points are from the 300 training points, and which of these are nearest to one.",
        _nearest_train, lambda: items(opened("spiral"), opened("spiral").dataset.train[:300]),
    ),
}  # fmt: skip
