"""What a guided denoiser of one's own answers."""

import math

import torch

from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.exercises.record import right, wrong


def guided_guess(scale: float, place: float, spread: float, noise: float, seen: float) -> float:
    """What guidance makes of the best guesses with and without a class.

    Args:
        scale: of guidance; 1 is the class alone.
        place: half of the data are around +place, the class that is asked for, and half around -place.
        spread: the standard deviation of both classes.
        noise: the standard deviation of the noise that was added.
        seen: the noisy value.

    Returns:
        The guided guess of the clean value.
    """
    variance = spread**2 + noise**2
    shrink = spread**2 / variance
    upper = place + shrink * (seen - place)
    lower = -place + shrink * (seen + place)
    share = 1 / (1 + math.exp(-2 * place * seen / variance))  # of the upper class, after what was seen
    without = share * upper + (1 - share) * lower
    return without + scale * (upper - without)


def one_scale_more(scale, place, spread, noise, seen):
    """Scale 0 gives the class here. Two ways to count are in use: in this course scale 1 is the class alone."""
    return guided_guess(scale + 1, place, spread, noise, seen)


def away_from_the_other_class(scale, place, spread, noise, seen):
    """This steps away from the other class. Guidance steps away from the guess that knows no class: it lies between."""
    shrink = spread**2 / (spread**2 + noise**2)
    upper, lower = place + shrink * (seen - place), -place + shrink * (seen + place)
    return lower + scale * (upper - lower)


def without_guidance(scale, place, spread, noise, seen):
    """This is the guess for the class alone, which is guidance with a scale of 1."""
    return guided_guess(1, place, spread, noise, seen)


def even_shares(scale, place, spread, noise, seen):
    """Without a class both hills count alike here. What was seen makes one of them more likely."""
    shrink = spread**2 / (spread**2 + noise**2)
    upper, without = place + shrink * (seen - place), shrink * seen
    return without + scale * (upper - without)


def middles_alone(scale, place, spread, noise, seen):
    """These guesses are the middles of the hills. Within its hill, a value moves towards what was seen."""
    without = place * math.tanh(place * seen / (spread**2 + noise**2))
    return without + scale * (place - without)


def by_sums(scale, place, spread, noise, seen):
    x0 = torch.linspace(-place - 9 * spread, place + 9 * spread, 20_001, dtype=torch.float64)
    likely = (-((seen - x0) ** 2) / (2 * noise**2)).exp()
    upper, lower = ((-((x0 - m) ** 2) / (2 * spread**2)).exp() * likely for m in (place, -place))
    conditional = (x0 * upper).sum() / upper.sum()
    free = (x0 * (upper + lower)).sum() / (upper + lower).sum()
    return scale * conditional + (1 - scale) * free


def by_what_is_added(scale, place, spread, noise, seen):
    variance = spread**2 + noise**2
    other = 1 / (1 + math.exp(2 * place * seen / variance))
    upper = (spread**2 * seen + noise**2 * place) / variance
    return upper + (scale - 1) * other * 2 * place * noise**2 / variance


def numbers(draw):
    return {
        "scale": round(draw.number(2, 6), 1),
        "place": round(draw.number(0.8, 1.5), 1),
        "spread": round(draw.number(0.3, 0.6), 1),
        "noise": round(draw.number(0.6, 1.5), 1),
        "seen": round(draw.number(-0.5, 0.8), 1),
    }


TASK = OwnNumber(
    chapter="mnist",
    title="What does your guidance answer?",
    question="""
Half of the data are N(-{place}, {spread}²) and half N({place}, {spread}²). Noise with a standard deviation of {noise}
was added to one of them, and you see {seen}. You ask for the upper half with guidance scale {scale}. Which clean value
does the guided denoiser answer?
""",
    about=r"""
The book asks what guidance makes of a mixture of two normals. Here the mixture, the scale and one noisy value are your
own, and the question is about a single answer of the guided denoiser.

`guided_guess` computes $D(x) + w\,(D_c(x) - D(x))$, where $D$ is the best guess without a class and $D_c$ the one for
the upper half. Compare the result with where the data are.
""",
    reference=guided_guess,
    numbers_from=numbers,
    wrong_answers=(
        wrong(one_scale_more),
        wrong(away_from_the_other_class),
        wrong(without_guidance),
        wrong(even_shares),
        wrong(middles_alone),
    ),
    right_answers=(right(by_sums), right(by_what_is_added)),
    hints=("What are the best guesses with the class and without it?",),
    source="Ho & Salimans 2022, equation 6, with the scale counted from 1",
)
