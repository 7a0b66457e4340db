"""Chapter 5's derivation: from two scores to the guided one, and to the normal density that it belongs to."""

import math

from diffusion_lab.exercises.derivations import Derivation, Step
from diffusion_lab.exercises.record import right, wrong


def guide_two_scores(
    label_mean: float, label_spread: float, mean: float, spread: float, sigma: float, seen: float, scale: float
):
    """The guided score at a noisy value, and the normal density whose score it is.

    Args:
        label_mean: mean of the data with the label.
        label_spread: their standard deviation.
        mean: mean of all data.
        spread: their standard deviation, larger than that of the data with the label.
        sigma: standard deviation of the noise.
        seen: the noisy value.
        scale: of the guidance: 0 ignores the label, 1 is the score with the label.

    Returns:
        A value for each step; a step that you have not done yet stays None.
    """
    with_label = (label_mean - seen) / (label_spread**2 + sigma**2)
    without = (mean - seen) / (spread**2 + sigma**2)
    guided = without + scale * (with_label - without)
    precision = scale / (label_spread**2 + sigma**2) + (1 - scale) / (spread**2 + sigma**2)
    centre = seen + guided / precision
    width = 1 / math.sqrt(precision)
    return with_label, without, guided, precision, centre, width


def noise_left_out(label_mean, label_spread, seen):
    """This is the score of clean values. Noisy ones spread wider."""
    return (label_mean - seen) / label_spread**2


def noise_alone(label_mean, sigma, seen):
    """The values of a label spread by themselves too, not by the noise alone."""
    return (label_mean - seen) / sigma**2


def deviation_for_variance(label_mean, label_spread, sigma, seen):
    """The score of a normal density has its variance below, and not its standard deviation."""
    return (label_mean - seen) / math.hypot(label_spread, sigma)


def downhill(label_mean, label_spread, sigma, seen):
    """This points away from the mean. The density grows towards it."""
    return (seen - label_mean) / (label_spread**2 + sigma**2)


def all_without_noise(mean, spread, seen):
    """This is the score of clean values. Noisy ones spread wider."""
    return (mean - seen) / spread**2


def width_of_the_label(mean, label_spread, sigma, seen):
    """Without a label, all data count, and they spread wider than those with it."""
    return (mean - seen) / (label_spread**2 + sigma**2)


def all_downhill(mean, spread, sigma, seen):
    """This points away from the mean. The density grows towards it."""
    return (seen - mean) / (spread**2 + sigma**2)


def paper_scale(with_label, without, scale):
    """This goes one step too far, as with the paper's w, which is scale - 1: at scale 0 the label should not count."""
    return (1 + scale) * with_label - scale * without


def the_difference_alone(with_label, without, scale):
    """This is only the way that guidance adds. It starts from the score without a label."""
    return scale * (with_label - without)


def the_other_direction(with_label, without, scale):
    """Guidance goes from the score without a label towards the one with it, and this goes away."""
    return without - scale * (with_label - without)


def variances_mixed(label_spread, spread, sigma, scale):
    """The scores are mixed, and in a score stands one over the variance: mix those."""
    return 1 / (scale * (label_spread**2 + sigma**2) + (1 - scale) * (spread**2 + sigma**2))


def label_alone(label_spread, sigma, scale):
    """Guidance takes something away too: the part of the density without a label has a negative weight."""
    return scale / (label_spread**2 + sigma**2)


def added_instead(label_spread, spread, sigma, scale):
    """The weights of the two scores are scale and 1 - scale, and add up to 1. The second is negative here."""
    return scale / (label_spread**2 + sigma**2) + (scale - 1) / (spread**2 + sigma**2)


def noise_forgotten(label_spread, spread, scale):
    """The densities are those of noisy values, so the noise adds to both variances."""
    return scale / label_spread**2 + (1 - scale) / spread**2


def means_mixed(label_mean, mean, scale):
    """Means are mixed here as if both densities were as wide. Each counts by its precision as well."""
    return scale * label_mean + (1 - scale) * mean


def where_the_label_is(label_mean):
    """Guidance does more than go to the label's mean: it goes beyond, away from the other data."""
    return label_mean


def multiplied(seen, guided, precision):
    """The score is the precision times the way to the centre: divide by it, do not multiply."""
    return seen + guided * precision


def backwards(seen, guided, precision):
    """The score points to the centre, so from your value go along with it."""
    return seen - guided / precision


def variance_of_it(precision):
    """This is the variance. The standard deviation is its root."""
    return 1 / precision


def root_of_the_precision(precision):
    """The more precise, the narrower."""
    return math.sqrt(precision)


def as_wide_as_the_label(label_spread, sigma):
    """This is the width of the noisy values with the label. Guidance makes them narrower."""
    return math.hypot(label_spread, sigma)


def by_multiplying_densities(label_mean, label_spread, mean, spread, sigma, seen, scale):
    """p(x | label)^scale p(x)^(1 - scale) is normal: the terms of its exponent with x^2 and with x."""
    one, all_of_them = 1 / (label_spread**2 + sigma**2), 1 / (spread**2 + sigma**2)
    square, linear = (
        scale * one - (scale - 1) * all_of_them,
        scale * one * label_mean - (scale - 1) * all_of_them * mean,
    )
    return (
        one * (label_mean - seen),
        all_of_them * (mean - seen),
        linear - square * seen,
        square,
        linear / square,
        square**-0.5,
    )


def numbers(draw):
    """All data spread wider than those with the label, as they do; else guidance leads to no density."""
    label_spread = round(draw.number(0.2, 0.8), 1)
    return {
        "label_mean": draw.choice((-1, 1)) * round(draw.number(0.6, 2.0), 1),
        "label_spread": label_spread,
        "mean": round(draw.number(-0.5, 0.5), 1),
        "spread": round(label_spread + draw.number(0.5, 1.5), 1),
        "sigma": round(draw.number(0.3, 1.2), 1),
        "seen": round(draw.number(-2.0, 2.0), 1),
        "scale": round(draw.number(1.5, 6.0), 1),
    }


TASK = Derivation(
    chapter="mnist",
    title="What does guidance sample?",
    question="""
Your data with the label have mean {label_mean} and standard deviation {label_spread}; all data together have mean
{mean} and standard deviation {spread}. Take both as normal. Noise with a standard deviation of {sigma} was added, you
see {seen}, and the guidance scale is {scale}.
""",
    about=r"""
The chapter mixes two guesses of the noise: one that knows the label, and one that does not. A guess of the noise is a
score in other units, so guidance mixes two scores. Which density does the mixed score belong to? Here you find out for
one noisy value $x$, with all the noise in $\sigma$: $x = x_0 + \sigma \varepsilon$.
""",
    reference=guide_two_scores,
    numbers_from=numbers,
    minutes=15,
    steps=(
        Step(
            "with_label",
            r"""The noisy values with the label are normal, with the variance of the data plus that of the noise. What
is the score $\nabla \log p(x \mid c)$ at your value?""",
            (
                wrong(noise_left_out),
                wrong(noise_alone),
                wrong(deviation_for_variance),
                wrong(downhill),
            ),
        ),
        Step(
            "without",
            r"And what is the score $\nabla \log p(x)$ of all data at the same value?",
            (wrong(all_without_noise), wrong(width_of_the_label), wrong(all_downhill)),
        ),
        Step(
            "guided",
            r"""Guidance starts from the score without a label, and goes `scale` times the way to the one with it.
What is the guided score?""",
            (
                wrong(paper_scale),
                wrong(the_difference_alone),
                wrong(the_other_direction),
            ),
        ),
        Step(
            "precision",
            r"""As a function of $x$ the guided score is a straight line again, as only the score of a normal density
is. Its slope is minus the precision of that density. Differentiate the guided score: what is the precision?""",
            (
                wrong(variances_mixed),
                wrong(label_alone),
                wrong(added_instead),
                wrong(noise_forgotten),
            ),
        ),
        Step(
            "centre",
            r"""The score of a normal density is its precision times the way from $x$ to its mean. So where is the
mean of the density that guidance belongs to?""",
            (
                wrong(means_mixed),
                wrong(where_the_label_is),
                wrong(multiplied),
                wrong(backwards),
            ),
        ),
        Step(
            "width",
            r"What is its standard deviation? Compare it with that of the noisy values with the label.",
            (wrong(variance_of_it), wrong(root_of_the_precision), wrong(as_wide_as_the_label)),
        ),
    ),
    right_answers=(right(by_multiplying_densities),),
    hints=("The weights of the two scores are scale and 1 - scale.",),
    source="Ho and Salimans 2022, equation 6, for normal data",
)
