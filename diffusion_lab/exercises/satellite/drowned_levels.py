"""drowned_levels: the noise level at which each wave number of an image goes under."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def drowned_levels(power: Tensor) -> Tensor:
    """The levels at which the noise is as strong as the image, wave number for wave number.

    Args:
        power: (K,), positive: the mean power of images at each wave number, where white noise of variance 1 has the
            power 1 at all of them. In any order.

    Returns:
        (K,): alpha_bar of the K levels, falling. At the first the weakest wave number goes under, at the last the
        strongest.
    """
    return (1 / (1 + power)).sort(descending=True).values


def _falling(kept):
    return kept.sort(descending=True).values


def power_of_the_image_alone(power):
    """This is power over 1 + power, the level at which alpha_bar and power have changed places: a strong wave number
    needs much noise to drown, so its alpha_bar is small. Solve alpha_bar times power = 1 - alpha_bar."""
    return _falling(power / (1 + power))


def data_not_shrunk(power):
    """The noise was set equal to the whole power, 1 - alpha_bar = power. The image shrinks too: its power at that level
    is alpha_bar times what it was."""
    return _falling((1 - power).clamp(min=0))


def amplitudes_for_powers(power):
    """The root of the power was taken. Powers are squares already, like alpha_bar and 1 - alpha_bar."""
    return _falling(1 / (1 + power.sqrt()))


def power_squared(power):
    """The power was squared. It is the square of an amplitude already."""
    return _falling(1 / (1 + power.square()))


def alpha_for_alpha_bar(power):
    """This is alpha, the factor of the image. alpha_bar is its square."""
    return _falling((1 / (1 + power)).sqrt())


def share_of_the_noise(power):
    """These are the values of 1 - alpha_bar. Return the share of the image, alpha_bar, falling."""
    return (power / (1 + power)).sort().values


def left_unsorted(power):
    """The levels stand in the order of the wave numbers given. A table of alpha_bar falls from entry to entry,
    whatever the order of the powers."""
    return 1 / (1 + power)


def rising(power):
    """These levels rise. Entry 0 is the level with the least noise, as in every table of alpha_bar."""
    return (1 / (1 + power)).sort().values


def turned_around(power):
    """The levels were reversed and not sorted. That is right only where the powers already rise or fall; they can come
    in any order."""
    return (1 / (1 + power)).flip(0)


def ratio_left_as_it_is(power):
    """This is 1 over the power, the ratio alpha_bar / (1 - alpha_bar). Turn the ratio into alpha_bar."""
    return _falling(1 / power)


def power_made_to_sum_to_one(power):
    """The powers were divided by their sum. They are counted in units of the noise's, and that must stay so."""
    return _falling(1 / (1 + power / power.sum()))


def by_sigmoid(power):
    return torch.sigmoid(-power.log()).sort(descending=True).values


def sorted_first(power):
    return torch.stack([1 / (1 + p) for p in power.sort().values])


def one_by_one(power):
    levels = sorted((1 / (1 + float(p)) for p in power), reverse=True)
    return torch.tensor(levels, dtype=power.dtype)


def cases(draw: Draw):
    for label, low, high in (
        ("powers around that of the noise", -1.0, 1.0),
        ("strong images", 1.0, 4.0),
        ("weak images", -3.0, -0.5),
    ):
        yield Case(label, (10 ** draw.uniform(draw.integer(5, 9), low=low, high=high),))
    fall = 100.0 / (1 + torch.arange(draw.integer(6, 10), dtype=torch.float64)) ** 3
    yield Case("powers that fall with the wave number", (fall,), "order")
    yield Case("powers that rise", (fall.flip(0),), "order")
    yield Case("one wave number", (draw.uniform(1, low=0.2, high=5.0),), "order")


def as_strong_as_the_noise(piece, draw: Draw):
    """At each level one wave number of the shrunken image has the power of the noise there."""
    power = 10 ** draw.uniform(7, low=-1.5, high=2.5)
    kept = piece(power)
    if kept.shape != power.shape:
        return f"for 7 powers the shape is {tuple(kept.shape)}"
    image, noise = kept[:, None] * power, (1 - kept)[:, None]  # (levels, wave numbers)
    gap = ((image - noise).abs() / (image + noise)).min(dim=1).values
    if bool((gap < 1e-6).all()):
        return None
    row = int(gap.argmax())
    return f"at level {row}, alpha_bar = {float(kept[row]):.4g}, no wave number is as strong as the noise"


EXERCISE = Exercise(
    chapter="satellite",
    kind="schedule",
    title="What drowns first",
    statement=r"""
Images have much power in coarse shapes and little in fine detail; white noise has the same power at every wave number.
So noise drowns an image from its finest detail on, and a sampler gives it back from its coarsest shapes on. If images
have the power $P_k$ at wave number $k$, that of the noisy image

$$
x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon
$$

is $\bar\alpha_t P_k + (1 - \bar\alpha_t)$. Return the levels $\bar\alpha$ at which the two parts are equal, one for
each wave number, as a table that falls.
""",
    reference=drowned_levels,
    parts={"values": 3, "order": 1, CARE: 1},
    cases=cases,
    properties=(Property("one wave number at each level is as strong as the noise", as_strong_as_the_noise),),
    wrong_answers=(
        wrong(power_of_the_image_alone),
        wrong(data_not_shrunk),
        wrong(amplitudes_for_powers),
        wrong(power_squared),
        wrong(alpha_for_alpha_bar),
        wrong(share_of_the_noise),
        wrong(left_unsorted),
        wrong(rising),
        wrong(turned_around),
        wrong(ratio_left_as_it_is),
        wrong(power_made_to_sum_to_one),
    ),
    right_answers=(right(by_sigmoid), right(sorted_first), right(one_by_one)),
    hints=(
        "Which of the two parts of x_t carries the power of the image, and with which factor?",
        "Set the two parts equal, solve for alpha_bar, and sort.",
    ),
    source="Rissanen, Heinonen & Solin 2023, section 2: generation from coarse to fine",
)
