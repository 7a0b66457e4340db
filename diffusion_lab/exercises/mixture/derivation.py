"""Chapter 3's derivation: from two hills to the chances of each, to the best guess, and to the score."""

import math

import torch

from diffusion_lab.exercises.derivations import Derivation, Step
from diffusion_lab.exercises.record import right as accepted
from diffusion_lab.exercises.record import wrong


def weigh_two_hills(
    share: float, left: float, right: float, left_spread: float, right_spread: float, kept: float, seen: float
):
    """What two hills of data make of a noisy value.

    Args:
        share: of the data in the left hill; the others are in the right one.
        left: mean of the left hill.
        right: mean of the right hill.
        left_spread: standard deviation of the left hill.
        right_spread: standard deviation of the right hill.
        kept: alpha_bar, the share of the data's variance in the noisy value.
        seen: the noisy value.

    Returns:
        A value for each step; a step that you have not done yet stays None. Of two hills the left one comes first.
    """
    shares = torch.tensor([share, 1 - share], dtype=torch.float64)
    means = torch.tensor([left, right], dtype=torch.float64)
    spreads = torch.tensor([left_spread, right_spread], dtype=torch.float64)
    alpha, noise = math.sqrt(kept), 1 - kept
    variances = kept * spreads**2 + noise
    densities = torch.exp(-((seen - alpha * means) ** 2) / (2 * variances)) / torch.sqrt(2 * math.pi * variances)
    chances = shares * densities / (shares * densities).sum()
    guesses = means + alpha * spreads**2 / variances * (seen - alpha * means)
    guess = float((chances * guesses).sum())
    score = (alpha * guess - seen) / noise
    return variances, densities, chances, guesses, guess, score


def _two(left, right):
    return torch.tensor([left, right], dtype=torch.float64)


def noise_left_out(left_spread, right_spread, kept):
    """These are the variances of the scaled clean values. The noise has a variance too."""
    return kept * _two(left_spread, right_spread) ** 2


def deviations_for_variances(left_spread, right_spread, kept):
    """These are standard deviations. What adds up are variances."""
    return (kept * _two(left_spread, right_spread) ** 2 + 1 - kept).sqrt()


def root_of_the_share(left_spread, right_spread, kept):
    """Values are multiplied by the root of alpha_bar, so their variances are multiplied by alpha_bar itself."""
    return math.sqrt(kept) * _two(left_spread, right_spread) ** 2 + 1 - kept


def means_not_scaled(left, right, seen, variances):
    """In a noisy value the data are smaller: the hills have moved towards 0 with them."""
    return (-((seen - _two(left, right)) ** 2) / (2 * variances)).exp() / (2 * math.pi * variances).sqrt()


def heights_alike(left, right, kept, seen, variances):
    """A wide hill is lower than a narrow one: divide by the root of 2 pi times its variance."""
    return (-((seen - math.sqrt(kept) * _two(left, right)) ** 2) / (2 * variances)).exp()


def exponent_not_halved(left, right, kept, seen, variances):
    """In the exponent of a normal density, the variance has a 2 beside it."""
    return (-((seen - math.sqrt(kept) * _two(left, right)) ** 2) / variances).exp() / (2 * math.pi * variances).sqrt()


def divided_by_the_variance(left, right, kept, seen, variances):
    """In front of a normal density stands one over the root of 2 pi times the variance."""
    return (-((seen - math.sqrt(kept) * _two(left, right)) ** 2) / (2 * variances)).exp() / (2 * math.pi * variances)


def not_divided(share, densities):
    """These do not add up to 1 yet: Bayes divides by the density of the value over both hills."""
    return _two(share, 1 - share) * densities


def hills_alike(densities):
    """Before you have seen anything, one hill is more likely than the other: its share counts."""
    return densities / densities.sum()


def the_likelier_hill(share, densities):
    """This decides for one of the hills. Bayes gives each its chance."""
    weighed = _two(share, 1 - share) * densities
    return (weighed == weighed.max()).double()


def shares_as_before(share):
    """These are the shares before anything was seen. The value tells which hill it is likely to come from."""
    return _two(share, 1 - share)


def means_of_the_hills(left, right):
    """These are the guesses before anything was seen. Within its hill, too, a value moves towards what was seen."""
    return _two(left, right)


def not_scaled_back(left, right, left_spread, right_spread, kept, seen, variances):
    """A covariance between a clean value and a noisy one has alpha in it once: the noisy one holds it alpha times."""
    alpha, spreads = math.sqrt(kept), _two(left_spread, right_spread)
    return _two(left, right) + spreads**2 / variances * (seen - alpha * _two(left, right))


def alpha_twice(left, right, left_spread, right_spread, kept, seen, variances):
    """The covariance of a clean value and a noisy one has alpha in it once, and this has it twice."""
    alpha, spreads = math.sqrt(kept), _two(left_spread, right_spread)
    return _two(left, right) + kept * spreads**2 / variances * (seen - alpha * _two(left, right))


def surprise_not_scaled(left, right, left_spread, right_spread, kept, seen, variances):
    """What was expected of a noisy value is the mean times alpha. Only what goes beyond that is news."""
    alpha, spreads = math.sqrt(kept), _two(left_spread, right_spread)
    return _two(left, right) + alpha * spreads**2 / variances * (seen - _two(left, right))


def mean_of_both(guesses):
    """This is the middle of the two guesses. Each counts as much as its hill is likely."""
    return guesses.mean()


def weighed_as_before(share, guesses):
    """The guesses are weighed by the shares before anything was seen. Use the chances after it."""
    return (_two(share, 1 - share) * guesses).sum()


def guess_of_the_likelier(chances, guesses):
    """This is the guess within the likelier hill. Where errors cost their square, the best guess is the mean."""
    return guesses[chances.argmax()]


def away_from_the_data(kept, seen, guess):
    """This points from the data to the noisy value. The score points the other way."""
    return (seen - math.sqrt(kept) * guess) / (1 - kept)


def by_the_deviation(kept, seen, guess):
    """Tweedie divides by the variance of the noise. This divides by its standard deviation: that is -eps."""
    return (math.sqrt(kept) * guess - seen) / math.sqrt(1 - kept)


def guess_not_scaled(kept, seen, guess):
    """The clean value sits in the noisy one alpha times: scale the guess before you subtract."""
    return (guess - seen) / (1 - kept)


def by_a_fine_grid(share, left, right, left_spread, right_spread, kept, seen):
    """Bayes on many clean values of each hill, and no formula of a normal posterior."""
    alpha, noise = math.sqrt(kept), 1 - kept
    x0 = torch.linspace(-12, 12, 48_001, dtype=torch.float64)
    hills = torch.distributions.Normal(_two(left, right)[:, None], _two(left_spread, right_spread)[:, None])
    joint = (
        hills.log_prob(x0).exp()
        * torch.distributions.Normal(alpha * x0, math.sqrt(noise))
        .log_prob(torch.tensor(seen, dtype=torch.float64))
        .exp()
    )  # (2, 48001)
    densities = joint.sum(1) * 24 / 48_000
    weighed = _two(share, 1 - share) * densities
    chances, guesses = weighed / weighed.sum(), (joint * x0).sum(1) / joint.sum(1)
    guess = (chances * guesses).sum()
    noisy = (alpha * _two(left_spread, right_spread)) ** 2 + noise
    slope = (weighed * (alpha * _two(left, right) - seen) / noisy).sum() / weighed.sum()
    return noisy.tolist(), densities, chances, guesses, guess, slope


def numbers(draw):
    """Hills that overlap in the noise, so that both count."""
    while True:
        found = {
            "share": round(draw.number(0.2, 0.8), 2),
            "left": -round(draw.number(0.5, 2.0), 1),
            "right": round(draw.number(0.5, 2.0), 1),
            "left_spread": round(draw.number(0.2, 0.9), 1),
            "right_spread": round(draw.number(0.2, 0.9), 1),
            "kept": round(draw.number(0.3, 0.8), 2),
            "seen": round(draw.number(-1.0, 1.0), 1),
        }
        chances = weigh_two_hills(**found)[2]
        if chances.min() > 0.1:
            return found


TASK = Derivation(
    chapter="mixture",
    title="Two hills, one score",
    question="""
A share {share} of your data lies in a hill around {left} with a standard deviation of {left_spread}; the others lie
around {right}, with {right_spread}. A share alpha_bar = {kept} of the variance is left in a noisy value, and you see
{seen}.
""",
    about=r"""
The chapter has three things that belong together: how likely each hill is, the best guess of the clean value, and the
score. Here you derive the third from the first, for one noisy value $x = \alpha x_0 + \sqrt{1 - \bar\alpha}\,
\varepsilon$ with $\alpha = \sqrt{\bar\alpha}$. Where a step asks for two numbers, the left hill's comes first.
""",
    reference=weigh_two_hills,
    numbers_from=numbers,
    minutes=20,
    steps=(
        Step(
            "variances",
            r"""Take only the clean values of one hill. Their noisy values are normal again, around $\alpha$ times the
mean of the hill. What is the variance of the noisy values of each hill?""",
            (wrong(noise_left_out), wrong(deviations_for_variances), wrong(root_of_the_share)),
        ),
        Step(
            "densities",
            r"What is the density of each hill's noisy values, $p(x \mid k)$, at the value that you see?",
            (
                wrong(means_not_scaled),
                wrong(heights_alike),
                wrong(exponent_not_halved),
                wrong(divided_by_the_variance),
            ),
        ),
        Step(
            "chances",
            r"""How likely is it that your value came from each of the hills? Bayes:
$p(k \mid x) \propto p(k)\, p(x \mid k)$.""",
            (wrong(not_divided), wrong(hills_alike), wrong(the_likelier_hill), wrong(shares_as_before)),
        ),
        Step(
            "guesses",
            r"""Suppose you knew the hill, with mean $\mu_k$ and standard deviation $s_k$. Then $x_0$ and $x$ are
jointly normal, and the best guess of $x_0$ is $\mu_k$ plus the covariance of $x_0$ and $x$ over the variance of $x$,
times the news $x - \alpha \mu_k$. What is it for each hill?""",
            (
                wrong(means_of_the_hills),
                wrong(not_scaled_back),
                wrong(alpha_twice),
                wrong(surprise_not_scaled),
            ),
        ),
        Step(
            "guess",
            r"You do not know the hill. What is $\mathbb E[x_0 \mid x]$?",
            (wrong(mean_of_both), wrong(weighed_as_before), wrong(guess_of_the_likelier)),
        ),
        Step(
            "score",
            r"""Now turn Tweedie's formula around: $\alpha\, \mathbb E[x_0 \mid x] = x + (1 - \bar\alpha)\, \nabla \log
p(x)$. What is the score at your value?""",
            (wrong(away_from_the_data), wrong(by_the_deviation), wrong(guess_not_scaled)),
        ),
    ),
    right_answers=(accepted(by_a_fine_grid),),
    hints=("How wide is a noisy hill?", "Bayes divides by the sum over both hills."),
    source="Bayes; Efron 2011 for the last step",
)
