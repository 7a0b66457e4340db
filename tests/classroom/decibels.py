"""decibels: how loud the data are above the noise."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise


def decibels(alpha_bar: Tensor) -> Tensor:
    """The signal-to-noise ratio of x_t, in decibels.

    Args:
        alpha_bar: (T,), in (0, 1).

    Returns:
        (T,), of its dtype.
    """
    ratio = alpha_bar / (1 - alpha_bar)
    return 10 * torch.log10(ratio)


def cases(draw: Draw):
    yield Case("twelve steps", (draw.alpha_bar(12),))
    yield Case("a single step", (draw.alpha_bar(1),))
    yield Case("many steps", (draw.alpha_bar(draw.integer(60, 90)),))


EXERCISE = Exercise(
    chapter="normal_1d",
    kind="schedule",
    title="Decibels",
    statement="The ratio of signal and noise is $\\bar\\alpha_t / (1 - \\bar\\alpha_t)$. Give it in decibels.",
    reference=decibels,
    parts={"values": 2, CARE: 1},
    cases=cases,
    wrong_answers=(),
    right_answers=(),
)
