"""Progressive distillation where two steps of the teacher are known in closed form: on a normal distribution."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from diffusion_lab import samplers, schedules, targets
from diffusion_lab.denoisers import from_network
from diffusion_lab.errors import PieceError
from diffusion_lab.exact import Gaussian
from diffusion_lab.losses import distillation_loss, grid_density, x0_that_lands
from diffusion_lab.schedules import Schedule

VARIANCES = torch.tensor([0.04, 0.5, 2.0], dtype=torch.float64)
NORMAL = Gaussian(torch.zeros(3, dtype=torch.float64), VARIANCES.diag())
GENERATOR = torch.Generator().manual_seed(0)


def factor(schedule: Schedule, begin: float, end: float) -> torch.Tensor:
    """What a DDIM step with the exact denoiser multiplies each axis by: x0 and eps are both in proportion to x."""
    (a, s), (b, r) = (schedule.path(torch.tensor(t, dtype=torch.float64)) for t in (begin, end))
    return (b * a * VARIANCES + r * s) / (a**2 * VARIANCES + s**2)


class Perfect(torch.nn.Module):
    """The v of a student of `steps` steps who does in each what the exact teacher does in `parts`."""

    def __init__(self, schedule: Schedule, steps: int, parts: int):
        super().__init__()
        self.schedule, self.steps, self.parts = schedule, steps, parts

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        rows = []
        for row, time in zip(x, t.tolist(), strict=True):
            part = self.schedule.t_max / (self.steps * self.parts)
            # Near 0 a cosine's sigma is 1e-8 where the time is 1e-16.
            stops = [max(0.0, round(time - i * part, 12)) for i in range(self.parts + 1)]
            grown = torch.ones(3, dtype=torch.float64)
            for begin, end in pairwise(stops):
                grown = grown * factor(self.schedule, begin, end)
            (a, s), (b, r) = (self.schedule.path(torch.tensor(v, dtype=torch.float64)) for v in (time, stops[-1]))
            # landed = b x0 + r (x - a x0) / s, for x0; then v = a eps - s x0.
            x0 = (grown - r / s) / (b - r * a / s) * row
            rows.append(a * (row - a * x0) / s - s * x0)
        return torch.stack(rows)


def batch(schedule: Schedule, steps: int):
    x0, eps = (torch.randn(64, 3, generator=GENERATOR, dtype=torch.float64) for _ in range(2))
    uniforms = (torch.arange(64) + 0.5).double() / 64
    return x0 * VARIANCES.sqrt(), eps, schedule.at(grid_density(steps)(uniforms, schedule), like=x0)


@pytest.mark.parametrize(("steps", "parts"), [(1, 2), (4, 2), (3, 4)])
@pytest.mark.parametrize("schedule", [schedules.cosine(), schedules.flow()], ids=lambda schedule: schedule.name)
def test_the_student_who_does_two_steps_in_one_has_no_loss_and_others_have_some(schedule, steps, parts):
    loss = distillation_loss(lambda x, level, cond: NORMAL.denoise(x, level), targets.v, schedule, steps, parts)
    given = batch(schedule, steps)
    assert loss(Perfect(schedule, steps, parts), *given, {}).max() < 1e-18
    assert loss(Perfect(schedule, steps, 2 * parts), *given, {}).mean() > 1e-5
    assert loss(lambda x, t: torch.zeros_like(x), *given, {}).mean() > 0.02


def test_a_student_of_four_steps_ends_where_its_teacher_of_eight_does():
    schedule = schedules.cosine()
    start = torch.randn(16, 3, generator=GENERATOR, dtype=torch.float64)
    student = from_network(Perfect(schedule, 4, 2), targets.v)
    ends = [
        samplers.sample(denoiser, schedule, samplers.ddim(), start, steps=steps)[0]
        for denoiser, steps in ((student, 4), (NORMAL.denoise, 8), (NORMAL.denoise, 4))
    ]
    torch.testing.assert_close(ends[0], ends[1], atol=1e-10, rtol=1e-10)
    assert (ends[0] - ends[2]).abs().max() > 0.01


def test_one_step_from_the_x0_found_lands_where_it_should():
    schedule = schedules.cosine()
    now, after = (schedule.at(torch.tensor(t)) for t in (0.9, 0.3))
    x, landed = torch.randn(2, 5, 3, generator=GENERATOR, dtype=torch.float64)
    x0 = x0_that_lands(x, now, after, landed)
    eps = (x - now.alpha * x0) / now.sigma
    torch.testing.assert_close(samplers.ddim()(x, now, after, samplers.steps.Prediction(x0, eps), None), landed)


def test_a_small_network_learns_to_halve_the_steps():
    """A linear student fitted by this loss reaches the closed form: gradients go through the student alone."""
    schedule = schedules.cosine()
    loss = distillation_loss(lambda x, level, cond: NORMAL.denoise(x, level), targets.v, schedule, 1)
    scale = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimiser = torch.optim.SGD([scale], lr=1.0)
    for _ in range(40):
        optimiser.zero_grad()
        loss(lambda x, t: scale * x, *batch(schedule, 1), {}).mean().backward()
        optimiser.step()
    top = torch.tensor([schedule.t_max], dtype=torch.float64)
    expected = Perfect(schedule, 1, 2)(torch.ones(1, 3, dtype=torch.float64), top)[0]
    torch.testing.assert_close(scale.detach(), expected, atol=1e-3, rtol=1e-3)


def test_times_and_numbers_that_do_not_fit_are_refused():
    schedule = schedules.cosine()
    loss = distillation_loss(lambda x, level, cond: NORMAL.denoise(x, level), targets.v, schedule, 4)
    x0 = torch.zeros(2, 3)
    for times in ([0.25, 0.3], [0.0, 0.5]):
        with pytest.raises(PieceError, match=r"draw them by grid_density\(4\)"):
            loss(lambda x, t: x, x0, x0, schedule.at(torch.tensor(times), like=x0), {})
    for steps, parts in ((0, 2), (4, 1)):
        with pytest.raises(PieceError, match="at least 1 step of the student and 2 parts"):
            distillation_loss(NORMAL.denoise, targets.v, schedule, steps, parts)
