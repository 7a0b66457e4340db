"""The one loop that all samplers share.

A step is a function (x, now, next, prediction, context) -> x. The loop owns the rest: the levels, the generator, the
count of network evaluations, progress and the trajectory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.denoisers import Denoiser
from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level
from diffusion_lab.schedules import Schedule


@dataclass
class Context:
    """What a step may use besides x and its two levels."""

    denoiser: Denoiser
    generator: torch.Generator | None
    history: list[tuple[Level, Any]] = field(default_factory=list)
    """(level, prediction) of the steps before this one; only the last is kept."""
    evaluations: int = 0
    """Denoiser calls so far, also for a part of the batch: the cost by which samplers are compared."""

    def predict(self, x: Tensor, level: Level) -> Any:
        """One more evaluation of the denoiser."""
        self.evaluations += 1
        return self.denoiser(x, level)

    def noise(self, like: Tensor) -> Tensor:
        """Standard normal noise shaped like `like`."""
        # Drawn on the generator's device, so that a seed means the same on every device.
        device = self.generator.device if self.generator is not None else like.device
        return torch.randn(like.shape, generator=self.generator, dtype=like.dtype, device=device).to(like.device)

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform float32 numbers in [0, 1) shaped like `like`."""
        device = self.generator.device if self.generator is not None else like.device
        return torch.rand(like.shape, generator=self.generator, device=device).to(like.device)


Step = Callable[[Tensor, Level, Level, Any, Context], Tensor]
"""(x (B, *S), now, next, prediction at now, context) -> x at next (B, *S)."""


def asks_itself(step: Step) -> Step:
    """Mark a step that calls `context.predict` itself, when it knows for which samples it needs to.

    The loop then evaluates nothing for it, and hands it None as the prediction.
    """
    step.asks_itself = True
    return step


@dataclass(frozen=True)
class Trajectory:
    """What happened on the way: x after each step, the first entry being the start."""

    times: Tensor
    """(steps + 1,), from noise to data."""
    states: list[Tensor]
    """steps + 1 tensors (kept, *S), on the CPU; only the first few samples are kept."""
    evaluations: int


def initial_noise(schedule: Schedule, noise: Tensor) -> Tensor:
    """Scale standard normal noise (B, *S) to the noisiest level of the schedule."""
    return noise * schedule.at(torch.tensor(schedule.t_max), like=noise).sigma


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    schedule: Schedule,
    step: Step,
    x: Tensor,
    *,
    steps: int | None = None,
    times: Tensor | None = None,
    generator: torch.Generator | None = None,
    keep: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Trajectory]:
    """Walk from noise to data.

    Args:
        denoiser: (x, level) -> prediction.
        step: one of `diffusion_lab.samplers.STEPS`, or your own.
        x: the start (B, *S) at the first time; see `initial_noise`.
        steps: how many steps of the schedule's own spacing; or
        times: decreasing times (steps + 1,) of your own choice.
        generator: the source of all noise drawn on the way.
        keep: how many samples of the batch the trajectory keeps.
        on_step: called with (steps done, steps in all).

    Returns:
        The samples (B, *S), and the trajectory.
    """
    if (steps is None) == (times is None):
        raise PieceError("give either `steps` or `times` to `sample`, not both and not neither")
    if times is None:
        times = schedule.times(steps)
    elif times.ndim != 1 or len(times) < 2 or not (times.diff() < 0).all():
        raise PieceError(f"times must be at least two decreasing numbers, got shape {tuple(times.shape)}")
    like = x if x.is_floating_point() else torch.empty(0, device=x.device).expand(*[0] * x.ndim)
    path = schedule.at(times)  # all levels at once
    levels = [Level(*(f[i].to(like.device, like.dtype) for f in path)) for i in range(len(times))]
    context = Context(denoiser, generator)
    # A copy: a view would keep the whole batch of every step in memory.
    states = [x[:keep].cpu().clone()]
    for i, (now, after) in enumerate(pairwise(levels)):
        prediction = None if getattr(step, "asks_itself", False) else context.predict(x, now)
        x = step(x, now, after, prediction, context)
        context.history = [(now, prediction)]
        if keep:
            states.append(x[:keep].cpu().clone())
        if on_step is not None:
            on_step(i + 1, len(levels) - 1)
    return x, Trajectory(times, states, context.evaluations)


def denoise_from(
    denoiser: Denoiser,
    schedule: Schedule,
    step: Step,
    x: Tensor,
    t: float,
    *,
    steps: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Sample clean data given x at a known time t: the walk of `sample`, started in the middle.

    One evaluation of the denoiser gives the mean of all clean data that fit x, which is blurred; this gives one.
    """
    if not schedule.t_min <= t <= schedule.t_max:
        raise PieceError(f"t must be in [{schedule.t_min:g}, {schedule.t_max:g}], got {t:g}")
    grid = schedule.times(steps)
    times = torch.cat([torch.tensor([t], dtype=grid.dtype), grid[grid < t]])
    return sample(denoiser, schedule, step, x, times=times, generator=generator)[0]
