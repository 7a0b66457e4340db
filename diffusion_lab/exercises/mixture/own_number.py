"""The best guess between two hills of one's own."""

import math

import torch

from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.exercises.record import right, wrong


def best_guess(weight: float, place: float, spread: float, noise: float, seen: float) -> float:
    """The best guess of a clean value, where errors cost their square.

    Args:
        weight: the share of clean values in the right hill, around +place; the others are around -place.
        place: where the hills are.
        spread: the standard deviation of both.
        noise: the standard deviation of the noise that was added.
        seen: the noisy value.

    Returns:
        E[x0 | x = seen].
    """
    variance = spread**2 + noise**2
    odds = weight / (1 - weight) * math.exp(2 * place * seen / variance)
    right_hill = odds / (1 + odds)
    centre = place * (2 * right_hill - 1)
    return centre + spread**2 / variance * (seen - centre)


def hills_alike(weight, place, spread, noise, seen):
    """Both hills count alike here. Before you have seen anything, the one with more data is more likely."""
    return best_guess(0.5, place, spread, noise, seen)


def hills_without_spread(weight, place, spread, noise, seen):
    """This guesses between the middles of the hills. Within its hill too, a value moves towards what was seen."""
    odds = weight / (1 - weight) * math.exp(2 * place * seen / (spread**2 + noise**2))
    return place * (odds - 1) / (odds + 1)


def noise_alone(weight, place, spread, noise, seen):
    """How likely a hill is hangs on the spread of its noisy values, in which the hill's own spread counts too."""
    odds = weight / (1 - weight) * math.exp(2 * place * seen / noise**2)
    centre = place * (odds - 1) / (odds + 1)
    return centre + spread**2 / (spread**2 + noise**2) * (seen - centre)


def the_likelier_hill(weight, place, spread, noise, seen):
    """This decides for one of the hills. If errors cost their square, the best guess is the mean over both."""
    odds = weight / (1 - weight) * math.exp(2 * place * seen / (spread**2 + noise**2))
    centre = place if odds > 1 else -place
    return centre + spread**2 / (spread**2 + noise**2) * (seen - centre)


def what_was_seen(weight, place, spread, noise, seen):
    """This is the noisy value itself. What you know of clean values tells you more."""
    return seen


def by_a_sum(weight, place, spread, noise, seen):
    x0 = torch.linspace(-place - 9 * spread, place + 9 * spread, 20_001, dtype=torch.float64)
    hills = weight * (-((x0 - place) ** 2) / (2 * spread**2)).exp()
    hills = hills + (1 - weight) * (-((x0 + place) ** 2) / (2 * spread**2)).exp()
    likely = hills * (-((seen - x0) ** 2) / (2 * noise**2)).exp()
    return (x0 * likely).sum() / likely.sum()


def by_tweedie(weight, place, spread, noise, seen):
    x = torch.tensor(seen, dtype=torch.float64, requires_grad=True)
    variance = spread**2 + noise**2
    hills = ((weight, place), (1 - weight, -place))
    terms = torch.stack([math.log(share) - (x - m) ** 2 / (2 * variance) for share, m in hills])
    (score,) = torch.autograd.grad(terms.logsumexp(0), x)
    return seen + noise**2 * score


def numbers(draw):
    """Not so near to 0 that a share of it means nothing."""
    while True:
        found = {
            "weight": round(draw.number(0.15, 0.4), 2),
            "place": round(draw.number(0.6, 2.0), 1),
            "spread": round(draw.number(0.2, 0.5), 2),
            "noise": round(draw.number(0.7, 1.4), 1),
            "seen": round(draw.number(-0.6, 1.2), 1),
        }
        if abs(best_guess(**found)) > 0.1:
            return found


TASK = OwnNumber(
    chapter="mixture",
    title="Your best guess between two hills",
    question="""
A share {weight} of the clean values lies around +{place}, the others around -{place}; both hills have a standard
deviation of {spread}. Noise with a standard deviation of {noise} was added to one of them, and you see {seen}. You pay
the square of your error. What do you say the clean value was?
""",
    about=r"""
The book asks what you say to a noisy value of 0 between two equal hills. Here the hills, the noise and the value are
your own.

`best_guess` computes $\mathbb E[x_0 \mid x]$. It needs how likely each hill is after what was seen, and the best guess
within each.
""",
    reference=best_guess,
    numbers_from=numbers,
    wrong_answers=(
        wrong(hills_alike),
        wrong(hills_without_spread),
        wrong(noise_alone),
        wrong(the_likelier_hill),
        wrong(what_was_seen),
    ),
    right_answers=(right(by_a_sum), right(by_tweedie)),
    hints=("Which standard deviation have the noisy values of one hill?",),
    source="Bayes; Efron 2011 for the form with a score",
)
