"""Chapter 4's derivation: two coordinates when one of them was seen in noise, by the Schur complement."""

import torch

from diffusion_lab.exercises.derivations import Derivation, Step
from diffusion_lab.exercises.record import right, wrong


def condition_on_a_coordinate(
    first_mean: float,
    second_mean: float,
    first_variance: float,
    second_variance: float,
    covariance: float,
    sigma: float,
    seen: float,
):
    """What is left open of two coordinates once the first was seen in noise.

    Args:
        first_mean: mean of the first coordinate of the clean data.
        second_mean: of the second one.
        first_variance: variance of the first coordinate.
        second_variance: of the second one.
        covariance: of the two.
        sigma: standard deviation of the noise that was added to the first coordinate.
        seen: the noisy first coordinate.

    Returns:
        A value for each step; a step that you have not done yet stays None.
    """
    cross = torch.tensor([first_variance, covariance], dtype=torch.float64)
    spread = first_variance + sigma**2
    gain = cross / spread
    mean = torch.tensor([first_mean, second_mean], dtype=torch.float64) + gain * (seen - first_mean)
    prior = torch.tensor([[first_variance, covariance], [covariance, second_variance]], dtype=torch.float64)
    left = prior - torch.outer(gain, cross)
    score = (mean[0] - seen) / sigma**2
    return cross, spread, gain, mean, left, score


def _two(first, second):
    return torch.tensor([first, second], dtype=torch.float64)


def _prior(first_variance, covariance, second_variance):
    return torch.tensor([[first_variance, covariance], [covariance, second_variance]], dtype=torch.float64)


def noise_counts_too(first_variance, covariance, sigma):
    """The noise has nothing to do with the clean coordinates, so it adds nothing to a covariance with them."""
    return _two(first_variance + sigma**2, covariance)


def variances_of_both(first_variance, second_variance):
    """These are the variances. The second number is about the second coordinate and the value that you see."""
    return _two(first_variance, second_variance)


def the_other_way_round(first_variance, covariance):
    """Right numbers, in the other order: the first coordinate comes first."""
    return _two(covariance, first_variance)


def noise_left_out(first_variance):
    """This is the variance of the clean coordinate. You see it with noise."""
    return first_variance


def noise_not_squared(first_variance, sigma):
    """Variances add up, and this adds a standard deviation."""
    return first_variance + sigma


def deviations_added(first_variance, sigma):
    """Standard deviations do not add up. Their squares do."""
    return (first_variance**0.5 + sigma) ** 2


def by_the_deviation(cross, spread):
    """A gain is a covariance over a variance. This divides by a standard deviation."""
    return cross / spread**0.5


def each_by_its_own_variance(cross, spread, second_variance):
    """Both are divided by the variance of what you see: the noisy first coordinate."""
    return _two(cross[0] / spread, cross[1] / second_variance)


def upside_down(cross, spread):
    """Divide the covariance by the variance of what you see, and not the other way round."""
    return spread / cross


def from_nothing(gain, seen, first_mean):
    """This is the correction. It is added to what you expected before."""
    return gain * (seen - first_mean)


def value_for_news(gain, seen, first_mean, second_mean):
    """Only what goes beyond the expected is news: subtract the mean of what you see."""
    return _two(first_mean, second_mean) + gain * seen


def each_own_mean(gain, seen, first_mean, second_mean):
    """You see the first coordinate only, so its mean is what both corrections are measured from."""
    means = _two(first_mean, second_mean)
    return means + gain * (seen - means)


def correction_taken_away(gain, seen, first_mean, second_mean):
    """A value above its mean raises what it goes along with."""
    return _two(first_mean, second_mean) - gain * (seen - first_mean)


def more_than_before(first_variance, covariance, second_variance, gain, cross):
    """Seeing something leaves less open, not more."""
    return _prior(first_variance, covariance, second_variance) + torch.outer(gain, cross)


def gain_squared(first_variance, covariance, second_variance, gain):
    """What is taken away is the gain times the covariance with what you see, and not the gain times itself."""
    return _prior(first_variance, covariance, second_variance) - torch.outer(gain, gain)


def off_the_diagonal_as_before(first_variance, covariance, second_variance, gain, cross):
    """The covariance of the two coordinates shrinks too."""
    return _prior(first_variance, covariance, second_variance) - torch.diag(gain * cross)


def only_what_is_taken_away(gain, cross):
    """This is what you have learned. What is left open is the covariance before less that."""
    return torch.outer(gain, cross)


def away_from_the_data(mean, seen, sigma):
    """This points away from the data. The score climbs the density."""
    return (seen - mean[0]) / sigma**2


def a_score_by_the_deviation(mean, seen, sigma):
    """Tweedie's formula has the variance of the noise in it. This divides by its standard deviation."""
    return (mean[0] - seen) / sigma


def of_the_wrong_coordinate(mean, seen, sigma):
    """The noise was added to the first coordinate, so the guess of that one belongs here."""
    return (mean[1] - seen) / sigma**2


def by_precisions(first_mean, second_mean, first_variance, second_variance, covariance, sigma, seen):
    """The precision of the clean pair, and that of what was seen, add up: a formula without a Schur complement."""
    prior = torch.linalg.inv(_prior(first_variance, covariance, second_variance))
    news = torch.tensor([[1 / sigma**2, 0], [0, 0]], dtype=torch.float64)
    left = torch.linalg.inv(prior + news)
    mean = left @ (prior @ _two(first_mean, second_mean) + _two(seen / sigma**2, 0))
    gain = left[:, 0] / sigma**2
    spread = sigma**2 / (1 - gain[0])
    return gain * spread, spread, gain, mean, left, -(seen - first_mean) / spread


def numbers(draw):
    first, second = round(draw.number(0.3, 3.0), 1), round(draw.number(0.3, 3.0), 1)
    return {
        "first_mean": round(draw.number(-2.0, 2.0), 1),
        "second_mean": round(draw.number(-2.0, 2.0), 1),
        "first_variance": first,
        "second_variance": second,
        "covariance": draw.choice((-1, 1)) * round(draw.number(0.3, 0.9) * (first * second) ** 0.5, 2),
        "sigma": round(draw.number(0.3, 1.6), 1),
        "seen": round(draw.number(-3.0, 3.0), 1),
    }


TASK = Derivation(
    chapter="normal_nd",
    title="Fill in what was not seen",
    question="""
Your data have two coordinates with means {first_mean} and {second_mean}, variances {first_variance} and
{second_variance}, and a covariance of {covariance}. Noise with a standard deviation of {sigma} was added to the first
coordinate, and you see {seen}. The second was not seen at all.
""",
    about=r"""
The chapter fills in missing coordinates, and says what the exact answer is for normal data. Here you derive it. The
clean pair $x = (x_1, x_2)$ and the value that you see, $y = x_1 + \sigma \varepsilon$, are jointly normal: three
numbers with one covariance matrix,

$$\begin{pmatrix} C & b \\ b^\top & v \end{pmatrix}, \qquad C = \operatorname{Cov}(x),\quad b = \operatorname{Cov}(x,
y),\quad v = \operatorname{Var}(y).$$

What is left of such a matrix once $y$ is known is called the Schur complement of $v$.
""",
    reference=condition_on_a_coordinate,
    numbers_from=numbers,
    minutes=15,
    steps=(
        Step(
            "cross",
            r"""What is $b$, the covariance of each of the two clean coordinates with $y$? Put $y = x_1 + \sigma
\varepsilon$ in, and remember that the noise is drawn by itself.""",
            (wrong(noise_counts_too), wrong(variances_of_both), wrong(the_other_way_round)),
        ),
        Step(
            "spread",
            r"What is $v$, the variance of $y$?",
            (wrong(noise_left_out), wrong(noise_not_squared), wrong(deviations_added)),
        ),
        Step(
            "gain",
            r"""Look for two numbers $g$ such that what is left of the pair, $x - g\, y$, has no covariance with $y$.
From $\operatorname{Cov}(x - g\, y,\; y) = b - g\, v = 0$ follows $g$. What is it?""",
            (wrong(by_the_deviation), wrong(each_by_its_own_variance), wrong(upside_down)),
        ),
        Step(
            "mean",
            r"""For normal numbers, no covariance means that the one tells nothing of the other. So $x - g\, y$ keeps
its mean whatever you see, and $\mathbb E[x \mid y] = \mathbb E[x] + g\, (y - \mathbb E[y])$. What is it for your
$y$?""",
            (
                wrong(from_nothing),
                wrong(value_for_news),
                wrong(each_own_mean),
                wrong(correction_taken_away),
            ),
        ),
        Step(
            "left",
            r"""For the same reason the covariance of $x$ given $y$ is that of $x - g\, y$. Multiply it out, with $b =
g\, v$: it is $C - g\, b^\top$, the Schur complement. What is it? Give its two rows.""",
            (
                wrong(more_than_before),
                wrong(gain_squared),
                wrong(off_the_diagonal_as_before),
                wrong(only_what_is_taken_away),
            ),
        ),
        Step(
            "score",
            r"""You have the best guess of $x_1$ now, so Tweedie's formula gives you the score of the noisy coordinate:
$\mathbb E[x_1 \mid y] = y + \sigma^2\, \nabla \log p(y)$. What is the score at your $y$?""",
            (wrong(away_from_the_data), wrong(a_score_by_the_deviation), wrong(of_the_wrong_coordinate)),
        ),
    ),
    right_answers=(right(by_precisions),),
    hints=("Cov(x1, x1 + noise) is a variance that you know.",),
    source="Bishop 2006, section 2.3.1; Efron 2011 for the last step",
)
