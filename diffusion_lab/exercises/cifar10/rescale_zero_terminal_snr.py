"""rescale_zero_terminal_snr: a schedule whose last level holds no data at all."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def rescale_zero_terminal_snr(alpha_bar: Tensor) -> Tensor:
    """Shift and stretch the square root of alpha_bar until it ends at 0.

    Args:
        alpha_bar: (T,), falling, T at least 2; the last entry is above 0.

    Returns:
        (T,), alpha_bar of the new schedule: the first entry is the old one, the last is 0.
    """
    root = alpha_bar.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()


def shifts_alpha_bar_itself(alpha_bar):
    """alpha_bar itself was shifted and stretched. The factor of the data is its square root: shift that one, and square
    the result."""
    return (alpha_bar - alpha_bar[-1]) * alpha_bar[0] / (alpha_bar[0] - alpha_bar[-1])


def shift_without_stretch(alpha_bar):
    """The roots were shifted and not stretched, so that the first level has more noise than before. It should keep its
    own value."""
    root = alpha_bar.sqrt()
    return (root - root[-1]).square()


def first_level_without_noise(alpha_bar):
    """The roots were stretched until the first one is 1, which leaves the first level without any noise. The first
    level should stay where it is."""
    root = alpha_bar.sqrt()
    return ((root - root[-1]) / (root[0] - root[-1])).square()


def square_forgotten(alpha_bar):
    """These are the new square roots. alpha_bar is their square."""
    root = alpha_bar.sqrt()
    return (root - root[-1]) * root[0] / (root[0] - root[-1])


def only_the_last_entry(alpha_bar):
    """Only the last entry became 0, and the step towards it is a cliff. All levels move, the noisy ones most."""
    return torch.cat([alpha_bar[:-1], torch.zeros_like(alpha_bar[:1])])


def shifts_the_ratio(alpha_bar):
    """The signal-to-noise ratio was shifted until it ends at 0. The shift belongs to the factor of the data, the square
    root of alpha_bar."""
    ratio = alpha_bar / (1 - alpha_bar)
    ratio = (ratio - ratio[-1]) * ratio[0] / (ratio[0] - ratio[-1])
    return ratio / (1 + ratio)


def ratio_inverted(alpha_bar):
    """The stretch is upside down, so that the roots were pressed together. The first root must come back to itself: put
    it into your formula."""
    root = alpha_bar.sqrt()
    return ((root - root[-1]) * (root[0] - root[-1]) / root[0]).square()


def shift_of_the_betas(alpha_bar):
    """These are the betas of the new schedule. Return its alpha_bar."""
    root = alpha_bar.sqrt()
    after = ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()
    return torch.cat([1 - after[:1], 1 - after[1:] / after[:-1]])


def ends_exchanged(alpha_bar):
    """The first and the last level are exchanged: yours starts at 0. Data come first, pure noise last."""
    root = alpha_bar.sqrt()
    return ((root - root[0]) * root[-1] / (root[-1] - root[0])).square()


def a_line_of_factors(alpha_bar):
    """alpha_bar was multiplied by a line from 1 to 0. The steps between the roots should keep their proportions: shift
    the roots and stretch them."""
    return alpha_bar * torch.linspace(1, 0, len(alpha_bar)).to(alpha_bar)


def interpolation(alpha_bar):
    root = alpha_bar.sqrt()
    place = (root - root[-1]) / (root[0] - root[-1])
    return alpha_bar[0] * place**2


def loop(alpha_bar):
    first, last = alpha_bar[0] ** 0.5, alpha_bar[-1] ** 0.5
    return torch.stack([(first * (kept**0.5 - last) / (first - last)) ** 2 for kept in alpha_bar])


def through_numpy(alpha_bar):
    import numpy as np

    root = np.sqrt(alpha_bar.numpy())
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    return torch.from_numpy(root * root)


def float64_inside(alpha_bar):
    root = alpha_bar.double().sqrt()
    return ((root - root[-1]) / (root[0] - root[-1]) * root[0]).pow(2).to(alpha_bar.dtype)


def cases(draw: Draw):
    yield Case("a short schedule", (draw.alpha_bar(draw.integer(8, 15)),))
    yield Case("two levels", (draw.alpha_bar(2),))
    yield Case("many levels", (torch.cumprod(1 - draw.betas(draw.integer(80, 120)) / 10, dim=0),))
    yield Case("a schedule that ends with half of the data", (torch.cumprod(1 - draw.betas(9) / 4, dim=0),))
    nearly = draw.alpha_bar(10)
    nearly[-1] = nearly[-2] * 2**-14
    yield Case("a last entry that is nearly 0 already", (nearly,))


def ends(piece, draw: Draw):
    """The last level is pure noise and the first is kept."""
    before = draw.alpha_bar(draw.integer(10, 20))
    after = piece(before)
    if after.shape != before.shape:
        return f"the shape is {tuple(after.shape)}, and {tuple(before.shape)} went in"
    if not abs(float(after[-1])) <= 1e-12:
        return f"the last entry is {float(after[-1]):.3g}, and with no data left it is 0"
    if not abs(float(after[0] - before[0])) <= 1e-9:
        return f"the first entry moved from {float(before[0]):.5g} to {float(after[0]):.5g}"
    return None


def roots_in_proportion(piece, draw: Draw):
    """Steps between square roots grow by one factor."""
    before = draw.alpha_bar(draw.integer(10, 20))
    factors = piece(before).sqrt().diff() / before.sqrt().diff()
    low, high = float(factors.min()), float(factors.max())
    if high - low < 1e-6 * high and low > 1:
        return None
    return f"the steps between the square roots grew by {low:.4g} to {high:.4g} times, and one factor for all is right"


EXERCISE = Exercise(
    chapter="cifar10",
    kind="schedule",
    title="A schedule that ends in pure noise",
    statement=r"""
The last level of the linear schedule still holds a trace of each image, above all its mean colour. The sampler starts
from pure noise, which the network has never seen, and the pictures come out grey. So the last level is made to hold
nothing. With $r_t = \sqrt{\bar\alpha_t}$,

$$
\begin{aligned}
r'_t &= (r_t - r_{T-1}) \, \frac{r_0}{r_0 - r_{T-1}}, \\
\bar\alpha'_t &= r'^{\,2}_t .
\end{aligned}
$$
""",
    reference=rescale_zero_terminal_snr,
    parts={"values": 3, "both ends": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("the last level is pure noise, the first stays", ends, "both ends"),
        Property("the square roots keep their proportions", roots_in_proportion),
    ),
    wrong_answers=(
        wrong(shifts_alpha_bar_itself),
        wrong(shift_without_stretch),
        wrong(first_level_without_noise),
        wrong(square_forgotten),
        wrong(only_the_last_entry),
        wrong(shifts_the_ratio),
        wrong(ratio_inverted),
        wrong(shift_of_the_betas),
        wrong(ends_exchanged),
        wrong(a_line_of_factors),
    ),
    right_answers=(right(interpolation), right(loop), right(through_numpy), right(float64_inside)),
    hints=(
        "By what is x0 multiplied: by alpha_bar or by its root?",
        "A straight line maps the last root to 0 and the first to itself.",
    ),
    source="Lin et al. 2024, algorithm 1",
)
