"""check_langevin_step: a check with statistics."""

import torch

from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.mixture import langevin_step


def check_langevin_step(piece) -> None:
    """Fail where the piece is not one step of Langevin dynamics.

    Args:
        piece: called as piece(x, score, step_size, noise), like `langevin_step` in chapter 3.
    """
    generator = torch.Generator().manual_seed(0)
    x, score, noise = (torch.randn(2500, generator=generator, dtype=torch.float64) for _ in range(3))
    still = torch.zeros_like(x)
    for step in (0.02, 0.3, 1.7):
        # Chance is taken out where it can be: without noise the step is known, and the noise alone is one factor.
        assert torch.allclose(piece(x, score, step, still), x + step * score), "along the score"
        moved = piece(still, still, step, noise)
        assert torch.allclose(moved.square(), 2 * step * noise.square()), "twice the step is the variance"
        assert moved.shape == x.shape and (moved * noise).min() >= 0, "the noise keeps its sign"
        assert torch.allclose(piece(x, score, step, noise), x + step * score + moved), "both together"
    # And where it cannot: a unit normal has the variance 1 + step^2 after a step, within four standard errors.
    variance = piece(x, -x, 0.3, noise).var()
    assert abs(variance - 1.09) < 4 * 1.09 * (2 / len(x)) ** 0.5, f"variance {variance:.3f}"


def mean_alone(piece):
    """The mean of many walkers knows nothing of the noise."""
    x, noise = torch.zeros(2000), torch.randn(2000, generator=torch.Generator().manual_seed(0))
    assert abs(piece(x, x + 1, 0.1, noise).mean() - 0.1) < 0.1


def threshold_of_comfort(piece):
    """A threshold without a standard error behind it: wide enough for most mistakes."""
    noise = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    assert 0.05 < piece(noise, -noise, 0.1, noise.flip(0)).var() < 2


def it_moves(piece):
    """That x changes says little."""
    x = torch.ones(5)
    assert not torch.equal(piece(x, x, 0.1, x), x)


TASK = CheckTask(
    exercise=langevin_step.EXERCISE,
    title="Check a walk",
    statement=r"""
The piece is `langevin_step` of chapter 3, called as `piece(x, score, step_size, noise)`. It promises to go
`step_size` along the score and to add the noise that it is given with the variance `2 * step_size`, both to every
entry by itself.

Test with **statistics and honest thresholds**. A mean over $n$ numbers has a standard error, and so has a variance:
$\operatorname{std} \cdot \sqrt{2 / n}$ of itself, for normal numbers. A threshold far above it lets mistakes through,
and one below it alarms for nothing. Where you can take chance out altogether, do: without noise, or without a score,
the step is known exactly. And mind what a variance does not see, such as a wrong distribution of the same width.
""",
    reference=check_langevin_step,
    naive=(mean_alone, threshold_of_comfort, it_moves),
    hints=("What is left of the step with the noise 0? With the score 0?", "Use more than one step size."),
    source="Song and Ermon 2019, equation 4",
)
