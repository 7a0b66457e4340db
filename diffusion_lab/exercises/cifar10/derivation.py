"""Chapter 7's derivation: what to put around a network so that its inputs and targets have unit variance."""

import math

from diffusion_lab.exercises.derivations import Derivation, Step
from diffusion_lab.exercises.record import right, wrong


def unit_variance_for_the_network(spread: float, kept: float, clean: float, noise: float):
    """The factors around a network, on a variance-preserving level, from the demand of unit variance.

    Args:
        spread: standard deviation of the data, which have mean 0.
        kept: alpha^2, the share of the data's variance that is left; the noise has the variance 1 - kept.
        clean: a data point.
        noise: the noise that was added to it, before it is scaled.

    Returns:
        A value for each step; a step that you have not done yet stays None.
    """
    alpha, sigma = math.sqrt(kept), math.sqrt(1 - kept)
    c_in = 1 / math.sqrt(kept * spread**2 + 1 - kept)
    c_skip = alpha * spread**2 * c_in**2
    c_out = math.sqrt(spread**2 - 2 * c_skip * alpha * spread**2 + c_skip**2 / c_in**2)
    weight = 1 / c_out**2
    x = alpha * clean + sigma * noise
    target = (clean - c_skip * x) / c_out
    return c_in, c_skip, c_out, weight, target


def noise_left_out(spread, kept):
    """The input has noise in it, and the noise has a variance too."""
    return 1 / (math.sqrt(kept) * spread)


def variance_for_deviation(spread, kept):
    """Dividing numbers by their variance does not make it 1. Divide by the root."""
    return 1 / (kept * spread**2 + 1 - kept)


def the_wrong_way(spread, kept):
    """This multiplies by the standard deviation. To make it 1, divide by it."""
    return math.sqrt(kept * spread**2 + 1 - kept)


def data_not_scaled(spread, kept):
    """On this path the data shrink while the noise grows. With all of the data in it, this is another path."""
    return 1 / math.sqrt(spread**2 + 1 - kept)


def spread_not_squared(spread, kept):
    """`spread` is a standard deviation. What adds up are variances."""
    return 1 / math.sqrt(kept * spread + 1 - kept)


def alpha_forgotten(spread, c_in):
    """The covariance of the clean and the noisy value has alpha in it: the noisy one holds the clean one alpha
    times."""
    return spread**2 * c_in**2


def alpha_twice(spread, kept, c_in):
    """The covariance of the clean and the noisy value has alpha in it once. Its square is in the variance below."""
    return kept * spread**2 * c_in**2


def scaled_back(kept):
    """This undoes the factor of the data, and blows the noise up with it. Demand the smallest rest instead."""
    return 1 / math.sqrt(kept)


def by_the_deviation(spread, kept, c_in):
    """The best factor is a covariance over a variance, and this divides by a standard deviation."""
    return math.sqrt(kept) * spread**2 * c_in


def variance_of_the_rest(spread, kept, c_in):
    """This is the variance of the rest. For the factor, take the root."""
    return spread**2 * (1 - kept) * c_in**2


def all_of_the_data(spread):
    """The rest is smaller than the data: what was skipped tells of them already."""
    return spread


def deviation_of_the_noise(kept):
    """That is the spread of the noise in the input. The rest is what is unknown about the clean value."""
    return math.sqrt(1 - kept)


def rest_of_the_skip(spread, kept, c_skip):
    """The skip brings some noise along, and shrinks the data. Count the variance of both."""
    return math.sqrt((1 - c_skip * math.sqrt(kept)) ** 2 * spread**2)


def not_squared(c_out):
    """The loss is a square, so the factor is in it squared."""
    return 1 / c_out


def multiplied_once_more(c_out):
    """The square of c_out is in the error already. The weight takes it out again."""
    return c_out**2


def signal_to_noise(kept):
    """With this weight an error of the guessed noise counts alike on all levels. It is not the same demand."""
    return kept / (1 - kept)


def not_divided(clean, noise, kept, c_skip):
    """This is what is left for the network. Its own output is smaller or larger, by c_out."""
    return clean - c_skip * (math.sqrt(kept) * clean + math.sqrt(1 - kept) * noise)


def skip_forgotten(clean, c_out):
    """The skip brings a part of the clean value. The network is asked for the rest only."""
    return clean / c_out


def shares_for_factors(clean, noise, kept, c_skip, c_out):
    """The shares of the variance are kept and 1 - kept. The numbers are multiplied by their roots."""
    return (clean - c_skip * (kept * clean + (1 - kept) * noise)) / c_out


def added_back(clean, noise, kept, c_skip, c_out):
    """What the skip brings is taken away from what the network has to give."""
    return (clean + c_skip * (math.sqrt(kept) * clean + math.sqrt(1 - kept) * noise)) / c_out


def by_an_angle(spread, kept, clean, noise):
    """Data and noise of unit variance, and the angle between the noisy value and the data."""
    angle = math.atan2(math.sqrt(1 - kept), math.sqrt(kept) * spread)
    length = math.sqrt(1 - kept) / math.sin(angle)
    return (
        1 / length,
        spread * math.cos(angle) / length,
        spread * math.sin(angle),
        1 / (spread * math.sin(angle)) ** 2,
        math.sin(angle) * clean / spread - math.cos(angle) * noise,
    )


def numbers(draw):
    return {
        "spread": round(draw.number(0.3, 3.0), 1),
        "kept": round(draw.number(0.15, 0.9), 2),
        "clean": draw.choice((-1, 1)) * round(draw.number(0.3, 1.5), 1),
        "noise": draw.choice((-1, 1)) * round(draw.number(0.3, 1.5), 1),
    }


TASK = Derivation(
    chapter="cifar10",
    title="What should the network see, and what should it say?",
    question="""
Your data have mean 0 and a standard deviation of {spread}. At your level a share alpha^2 = {kept} of their variance is
left, and the noise has the variance 1 - alpha^2. One of your data points is {clean}, and the noise {noise} comes to it.
""",
    about=r"""
The chapter says that to choose a target is to choose a weight. Where do good targets come from? Here you derive one
from a single demand: whatever the level, the network gets inputs of variance 1 and is asked for outputs of variance
1. At the level $x = \alpha x_0 + \sigma \varepsilon$ with $\sigma^2 = 1 - \alpha^2$, the guess of $x_0$ is put
together as

$$D(x) = c_\text{skip}\, x + c_\text{out}\, F(c_\text{in}\, x), \qquad F \text{ the network}.$$
""",
    reference=unit_variance_for_the_network,
    numbers_from=numbers,
    minutes=15,
    steps=(
        Step(
            "c_in",
            r"The network sees $c_\text{in}\, x$. Which $c_\text{in}$ gives it the variance 1?",
            (
                wrong(noise_left_out),
                wrong(variance_for_deviation),
                wrong(the_wrong_way),
                wrong(data_not_scaled),
                wrong(spread_not_squared),
            ),
        ),
        Step(
            "c_skip",
            r"""What $c_\text{skip}\, x$ leaves of $x_0$ is the network's work, so demand that this rest is as small
as it can be: minimize $\mathbb E[(x_0 - c_\text{skip}\, x)^2]$. It is a parabola in $c_\text{skip}$; where is its
bottom?""",
            (wrong(alpha_forgotten), wrong(alpha_twice), wrong(scaled_back), wrong(by_the_deviation)),
        ),
        Step(
            "c_out",
            r"""The network's target is the rest over $c_\text{out}$, $(x_0 - c_\text{skip}\, x) / c_\text{out}$. Which
positive $c_\text{out}$ gives it the variance 1?""",
            (
                wrong(variance_of_the_rest),
                wrong(all_of_the_data),
                wrong(deviation_of_the_noise),
                wrong(rest_of_the_skip),
            ),
        ),
        Step(
            "weight",
            r"""An error of the network is an error of $D$, times $c_\text{out}$. By which weight do you multiply
$(D(x) - x_0)^2$, so that the network's own square errors count alike on all levels?""",
            (wrong(not_squared), wrong(multiplied_once_more), wrong(signal_to_noise)),
        ),
        Step(
            "target",
            r"""What is the network asked for at your data point with your noise? (For data of standard deviation 1 this
is $-v$, the chapter's target with the other sign.)""",
            (wrong(not_divided), wrong(skip_forgotten), wrong(shares_for_factors), wrong(added_back)),
        ),
    ),
    right_answers=(right(by_an_angle),),
    hints=("The covariance of x0 and x is alpha times the variance of the data.",),
    source="Karras et al. 2022, appendix B.6, on the path of Salimans and Ho 2022",
)
