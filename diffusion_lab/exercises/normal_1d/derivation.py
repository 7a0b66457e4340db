"""Chapter 1's derivation: one step back when both ends are known, by completing the square, and what it weighs."""

import math

from diffusion_lab.exercises.derivations import Derivation, Step
from diffusion_lab.exercises.record import right, wrong


def complete_the_square(seen: float, clean: float, kept: float, beta: float, error: float):
    """The normal density of x_{t-1}, given x_t and x_0, and what a wrong guess of x_0 costs.

    Args:
        seen: x_t.
        clean: x_0.
        kept: alpha_bar_{t-1}, the share of the variance that is left before step t.
        beta: beta_t.
        error: by how much a network's guess of x_0 is off.

    Returns:
        A value for each step; a step that you have not done yet stays None.
    """
    precision = (1 - beta) / beta + 1 / (1 - kept)
    pull = math.sqrt(1 - beta) * seen / beta + math.sqrt(kept) * clean / (1 - kept)
    mean = pull / precision
    deviation = 1 / math.sqrt(precision)
    shift = math.sqrt(kept) / (1 - kept) * error / precision
    cost = shift**2 / (2 * deviation**2)
    return precision, pull, mean, deviation, shift, cost


def unscaled(kept, beta):
    """Before the noise comes, step t multiplies x_{t-1} by a factor. It stands in the square of the first term too."""
    return 1 / beta + 1 / (1 - kept)


def deviations_as_variances(kept, beta):
    """The squares are divided by variances. This divides by standard deviations."""
    return (1 - beta) / math.sqrt(beta) + 1 / math.sqrt(1 - kept)


def added_variances(kept, beta):
    """When densities are multiplied, their precisions add up. This adds the variances."""
    return 1 / (beta / (1 - beta) + 1 - kept)


def the_last_step_only(beta):
    """This is the precision that x_t alone gives. The other term knows something of x_{t-1} too."""
    return (1 - beta) / beta


def share_for_factor_of_seen(seen, clean, kept, beta):
    """The share of the variance is 1 - beta_t. Numbers are multiplied by its root."""
    return (1 - beta) * seen / beta + math.sqrt(kept) * clean / (1 - kept)


def share_for_factor_of_clean(seen, clean, kept, beta):
    """The share of the variance is alpha_bar. Numbers are multiplied by its root."""
    return math.sqrt(1 - beta) * seen / beta + kept * clean / (1 - kept)


def factors_forgotten(seen, clean, kept, beta):
    """When you multiply out a square, both of its terms bring their factors along."""
    return seen / beta + clean / (1 - kept)


def never_divided(pull):
    """This is the factor of x_{t-1} itself. The top of the parabola is where the slope of the exponent is 0."""
    return pull


def half_the_mean(pull, precision):
    """Take the derivative of -precision x^2 / 2 + pull x: the 2 of the square and the half cancel."""
    return pull / (2 * precision)


def multiplied(pull, precision):
    """A larger precision makes the mean care less about each unit of pull: divide, do not multiply."""
    return pull * precision


def variance_of_it(precision):
    """This is the variance. The standard deviation is its root."""
    return 1 / precision


def root_of_the_precision(precision):
    """The more precise, the narrower: the precision is one over the variance."""
    return math.sqrt(precision)


def moved_like_clean(error):
    """The mean does not move by all of the error: x_t holds it back."""
    return error


def share_moves(kept, error, precision):
    """In the pull, x_0 stands with the root of alpha_bar, and not with alpha_bar itself."""
    return kept / (1 - kept) * error / precision


def pull_moves(kept, error):
    """This is by how much the pull changes. The mean is the pull over the precision."""
    return math.sqrt(kept) / (1 - kept) * error


def without_the_half(shift, deviation):
    """The divergence of two normal densities of the same width has the half of the exponent in it."""
    return shift**2 / deviation**2


def cost_in_bits(shift, deviation):
    """This is in bits. With natural logarithms it is in nats."""
    return shift**2 / (2 * deviation**2) / math.log(2)


def deviation_not_squared(shift, deviation):
    """The squared shift is measured by the variance, and this divides by the standard deviation."""
    return shift**2 / (2 * deviation)


def by_the_posterior_of_the_course(seen, clean, kept, beta, error):
    """Ho's two coefficients and his variance; the cost as the weight of a squared error of x_0."""
    after = kept * (1 - beta)
    variance = (1 - kept) / (1 - after) * beta
    from_clean, from_seen = math.sqrt(kept) * beta / (1 - after), math.sqrt(1 - beta) * (1 - kept) / (1 - after)
    mean = from_clean * clean + from_seen * seen
    cost = (kept / (1 - kept) - after / (1 - after)) / 2 * error**2  # half of the fall of the SNR
    return 1 / variance, mean / variance, mean, math.sqrt(variance), from_clean * error, cost


def numbers(draw):
    """A cost that is not the error itself where all of the error moves the mean, which would look like a repetition."""
    while True:
        found = {
            "seen": round(draw.number(-2.0, 2.0), 1),
            "clean": round(draw.number(-2.0, 2.0), 1),
            "kept": round(draw.number(0.3, 0.9), 2),
            "beta": round(draw.number(0.05, 0.4), 2),
            "error": round(draw.number(0.2, 0.9), 1),
        }
        precision = complete_the_square(**found)[0]
        if abs(found["error"] * precision / 2 - 1) > 0.05:
            return found


TASK = Derivation(
    chapter="normal_1d",
    title="Complete the square",
    question="""
Before step t a share alpha_bar = {kept} of the variance is left. Step t adds beta = {beta}. Your clean value is
x_0 = {clean}, and after step t you see x_t = {seen}. A network's guess of x_0 is off by {error}.
""",
    about=r"""
Your `ddpm_step` walks back with a mean and a width. Here you find both by yourself: the density of $x_{t-1}$ when
$x_t$ and $x_0$ are known. Bayes says that it is proportional to the product of two densities that you know,

$$q(x_{t-1} \mid x_t, x_0) \;\propto\; q(x_t \mid x_{t-1})\; q(x_{t-1} \mid x_0),$$

the step that came after $x_{t-1}$, and all the steps before it. Write $\bar\alpha$ for $\bar\alpha_{t-1}$, `kept`.
""",
    reference=complete_the_square,
    numbers_from=numbers,
    minutes=15,
    steps=(
        Step(
            "precision",
            r"""Both densities are normal. Up to a constant, the exponent of their product is

$$-\frac{(x_t - \sqrt{1 - \beta}\; x_{t-1})^2}{2 \beta} - \frac{(x_{t-1} - \sqrt{\bar\alpha}\; x_0)^2}{2 (1 -
\bar\alpha)}.$$

Multiply out, and collect the terms with $x_{t-1}^2$. They are $-\tfrac12 \Lambda\, x_{t-1}^2$. What is $\Lambda$?""",
            (
                wrong(unscaled),
                wrong(deviations_as_variances),
                wrong(added_variances),
                wrong(the_last_step_only),
            ),
        ),
        Step(
            "pull",
            r"Now collect the terms with $x_{t-1}$ itself. They are $+\,h\, x_{t-1}$. What is $h$?",
            (wrong(share_for_factor_of_seen), wrong(share_for_factor_of_clean), wrong(factors_forgotten)),
        ),
        Step(
            "mean",
            r"""So the exponent is $-\tfrac12 \Lambda x_{t-1}^2 + h x_{t-1}$ plus a constant, a parabola. Complete the
square: it is $-\tfrac12 \Lambda (x_{t-1} - m)^2$ plus another constant. What is $m$, the mean of $x_{t-1}$?""",
            (wrong(never_divided), wrong(half_the_mean), wrong(multiplied)),
        ),
        Step(
            "deviation",
            r"Compare with the exponent of a normal density. What is the standard deviation of $x_{t-1}$?",
            (wrong(variance_of_it), wrong(root_of_the_precision)),
        ),
        Step(
            "shift",
            r"""A network does not know $x_0$; it guesses it, and is off by `error`. It puts its guess in the place of
$x_0$ in your formulas, so the width stays and the mean moves. By how much, if the guess is too large?""",
            (wrong(moved_like_clean), wrong(share_moves), wrong(pull_moves)),
        ),
        Step(
            "cost",
            r"""This step's term of the evidence bound is the divergence between the true density and the network's.
For two normal densities of the same standard deviation it is the expectation of the difference of their exponents: only
the means are left in it. What is it, in nats?""",
            (wrong(without_the_half), wrong(cost_in_bits), wrong(deviation_not_squared)),
        ),
    ),
    right_answers=(right(by_the_posterior_of_the_course),),
    hints=("What is multiplied out in (a - b x)^2 / c, and what of it stands before x^2, and before x?",),
    source="Ho et al. 2020, equations 6 and 7, and 8 for the cost",
)
