"""Progressive distillation: a student learns to take in one step what its teacher takes in several."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.losses.prediction import Loss
from diffusion_lab.schedules import Schedule
from diffusion_lab.targets import Target
from diffusion_lab.times import Density, Timeline

Teacher = Callable[[Tensor, Level, dict], Prediction]
"""(x (B, *S), level, cond) -> Prediction(x0, eps): a denoiser that is told the conditions of each batch."""


def grid_density(steps: int) -> Density:
    """One of the `steps` times at which an even walk from t_max to 0 asks the network, all equally likely."""

    def density(uniforms: Tensor, schedule: Timeline) -> Tensor:
        return schedule.t_max * ((uniforms * steps).floor() + 1).clamp(max=steps) / steps

    return density


def x0_that_lands(x: Tensor, now: Level, after: Level, landed: Tensor) -> Tensor:
    """The clean data (B, *S) from which one DDIM step leads from x at `now` to `landed` at `after`.

    Salimans & Ho 2022, algorithm 2: landed = alpha' x0 + sigma' (x - alpha x0) / sigma, solved for x0.
    """
    return (now.sigma * landed - after.sigma * x) / (now.sigma * after.alpha - after.sigma * now.alpha)


def distillation_loss(teacher: Teacher, target: Target, schedule: Schedule, steps: int, parts: int = 2) -> Loss:
    """The mean-square error of a student of `steps` even steps, against a teacher that takes `parts` times as many.

    From x at one of the student's times the teacher walks to the next in `parts` steps of DDIM; the student's answer is
    right where its one step lands there too (Salimans & Ho 2022, algorithm 2). Times come from `grid_density(steps)`.

    Args:
        teacher: called without gradients.
        target: what the student predicts; for v the weight is theirs of 1 + SNR on x0 (section 4).
        steps: of the student, at times t_max k / steps.
        parts: steps of the teacher for each of the student's, 2 or more.

    Raises:
        PieceError: for fewer than 1 step or 2 parts, and in the loss for a time that is not one of the student's.
    """
    if steps < 1 or parts < 2:
        raise PieceError(f"distillation needs at least 1 step of the student and 2 parts, got {steps} and {parts}")

    def loss(network: Callable[..., Tensor], x0: Tensor, eps: Tensor, level: Level, cond: dict) -> Tensor:
        x, place = level.noisy(x0, eps), level.t.flatten().double().expand(len(x0)) * steps / schedule.t_max
        whole = place.round()
        if bool((whole < 1).any()) or bool(((place - whole).abs() > 1e-4).any()):
            raise PieceError(
                f"a student of {steps} steps learns at its own times only: draw them by grid_density({steps})"
            )
        landed, here = x, level
        with torch.no_grad():
            for part in range(1, parts + 1):
                there = schedule.at((whole - part / parts) * schedule.t_max / steps, like=x)
                guess = teacher(landed, here, cond)
                landed, here = there.alpha * guess.x0 + there.sigma * guess.eps, there
        wanted = x0_that_lands(x, level, here, landed)
        answer = target.of(wanted, (x - level.alpha * wanted) / level.sigma, level)
        return (target.evaluate(network, x, level, cond) - answer).square().flatten(1).mean(dim=1)

    return loss
