"""loss_floor: the loss that no network can go below."""

import torch
from torch import Tensor

from diffusion_lab.exercises.inputs import near_ends
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def loss_floor(alpha_bar_t: Tensor, std: float, target: str) -> Tensor:
    """The mean square error of the best possible guess, for normal data.

    Args:
        alpha_bar_t: (N,), levels in (0, 1).
        std: standard deviation of the clean data.
        target: what is guessed from x_t: "eps", "x0", or "v" = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0.

    Returns:
        (N,), of the dtype of the levels: the variance of the target given x_t.
    """
    variance = alpha_bar_t * std**2 + 1 - alpha_bar_t  # of x_t
    if target == "eps":
        return alpha_bar_t * std**2 / variance
    if target == "x0":
        return (1 - alpha_bar_t) * std**2 / variance
    return std**2 / variance


def _variance(kept, std):
    return kept * std**2 + 1 - kept


def zero_everywhere(alpha_bar_t, std, target):
    """The floor is not zero. Different data and noises make the same x_t, and no network can tell which of them it was:
    that spread stays."""
    return torch.zeros_like(alpha_bar_t)


def one_floor_for_all(alpha_bar_t, std, target):
    """This is the floor of x0, also where another target is asked for. Each target has a scale of its own: given x_t,
    an error of x0 makes another error of eps or v."""
    return loss_floor(alpha_bar_t, std, "x0")


def eps_and_x0_swapped(alpha_bar_t, std, target):
    """eps and x0 have each other's floor. With little noise x0 is nearly known, and the noise is what is hard to
    guess."""
    return loss_floor(alpha_bar_t, std, {"eps": "x0", "x0": "eps"}.get(target, target))


def guessing_without_looking(alpha_bar_t, std, target):
    """This is the variance of the target itself, the loss of a guess that does not look at x_t. A network sees x_t, and
    what x_t explains is no longer an error."""
    kept = alpha_bar_t
    return {"eps": torch.ones_like(kept), "x0": 0 * kept + std**2, "v": kept + (1 - kept) * std**2}[target]


def what_is_explained(alpha_bar_t, std, target):
    """This is the part of the variance that the best guess explains. The loss is the part that is left."""
    return guessing_without_looking(alpha_bar_t, std, target) - loss_floor(alpha_bar_t, std, target)


def std_for_variance(alpha_bar_t, std, target):
    """std was used where a variance belongs. Variances of independent parts add, standard deviations do not."""
    return loss_floor(alpha_bar_t, std**0.5, target)


def root_of_the_error(alpha_bar_t, std, target):
    """This is the typical size of the error. The loss is its square."""
    return loss_floor(alpha_bar_t, std, target).sqrt()


def alpha_bar_squared(alpha_bar_t, std, target):
    """alpha_bar was taken for the factor of the data and squared. It is already a square: the share of the variance."""
    kept = alpha_bar_t**2
    scale = {"eps": kept, "x0": 1 - alpha_bar_t, "v": kept + 1 - alpha_bar_t}[target]
    return scale * std**2 / (kept * std**2 + 1 - alpha_bar_t)


def factor_not_squared(alpha_bar_t, std, target):
    """The variance of x0 was multiplied by the factor of x0 itself. A variance is multiplied by the square of a
    factor."""
    kept = alpha_bar_t
    factor = {"x0": torch.ones_like(kept), "eps": (kept / (1 - kept)).sqrt(), "v": 1 / (1 - kept).sqrt()}[target]
    return factor * loss_floor(kept, std, "x0")


def parts_of_v_independent(alpha_bar_t, std, target):
    """The variances of the two parts of v were added, as if eps and x0 were independent. Given x_t one of them tells
    the other: write v with x0 alone, and square the factor that x0 then has."""
    if target != "v":
        return loss_floor(alpha_bar_t, std, target)
    kept = alpha_bar_t
    return kept * loss_floor(kept, std, "eps") + (1 - kept) * loss_floor(kept, std, "x0")


def parts_of_v_subtracted(alpha_bar_t, std, target):
    """The variance of one part of v was subtracted from that of the other. Variances are never subtracted like this:
    write v with x0 alone, and square the factor that x0 then has."""
    if target != "v":
        return loss_floor(alpha_bar_t, std, target)
    kept = alpha_bar_t
    return kept * loss_floor(kept, std, "eps") - (1 - kept) * loss_floor(kept, std, "x0")


def eps_counts_as_known(alpha_bar_t, std, target):
    """In v only the x0 that is written there was counted. eps is not known either: put in what x_t says it is, and it
    holds x0 once more."""
    if target != "v":
        return loss_floor(alpha_bar_t, std, target)
    return (1 - alpha_bar_t) * loss_floor(alpha_bar_t, std, "x0")


def ratio_upside_down(alpha_bar_t, std, target):
    """For eps the ratio is upside down. eps is (x_t - sqrt(alpha_bar) x0) / sqrt(1 - alpha_bar): with little noise an
    error of x0 becomes a large one of eps."""
    if target != "eps":
        return loss_floor(alpha_bar_t, std, target)
    return (1 - alpha_bar_t) / alpha_bar_t * loss_floor(alpha_bar_t, std, "x0")


def data_of_unit_variance(alpha_bar_t, std, target):
    """The variance of x_t was taken for 1, which it is for data of standard deviation 1 only. It is V_t."""
    kept = alpha_bar_t
    return {"eps": kept, "x0": 1 - kept, "v": torch.ones_like(kept)}[target] * std**2


def from_the_error_of_x0(alpha_bar_t, std, target):
    noise = 1 - alpha_bar_t
    error = 1 / (1 / std**2 + alpha_bar_t / noise)
    return error * {"x0": torch.ones_like(noise), "eps": alpha_bar_t / noise, "v": 1 / noise}[target]


def total_minus_explained(alpha_bar_t, std, target):
    kept, noise = alpha_bar_t.double(), 1 - alpha_bar_t.double()
    c, d = {"eps": (0 * kept, 0 * kept + 1), "x0": (0 * kept + 1, 0 * kept), "v": (-noise.sqrt(), kept.sqrt())}[target]
    shared = kept.sqrt() * c * std**2 + noise.sqrt() * d
    return (c**2 * std**2 + d**2 - shared**2 / _variance(kept, std)).to(alpha_bar_t.dtype)


def one_level_at_a_time(alpha_bar_t, std, target):
    def single(kept):
        return {"eps": kept, "x0": 1 - kept, "v": 1.0}[target] / (kept + (1 - kept) / std**2)

    return torch.tensor([single(kept) for kept in alpha_bar_t.tolist()], dtype=alpha_bar_t.dtype)


def through_numpy(alpha_bar_t, std, target):
    kept = alpha_bar_t.numpy()
    share = {"eps": kept, "x0": 1 - kept, "v": kept + (1 - kept)}[target]
    return torch.from_numpy(share * std**2 / (kept * std**2 + 1 - kept)).to(alpha_bar_t.dtype)


def cases(draw: Draw):
    for part in ("eps", "x0", "v"):
        yield Case(f'nearly noise and nearly clean data, target "{part}"', (near_ends(draw, 4), 0.5, part), part)
        for label, std in (("narrow data", draw.number(0.3, 0.7)), ("wide data", draw.number(1.4, 2.5))):
            levels = draw.alpha_bar(draw.integer(12, 30))
            yield Case(f'{label} of std {std:g}, target "{part}"', (levels, std, part), part)
        yield Case(
            f'one level, target "{part}"', (draw.uniform(1, low=0.2, high=0.8), draw.number(0.3, 0.7), part), part
        )


def best_line(target: str):
    """A straight line through many pairs (x_t, target), by least squares: its error is the floor."""

    def holds(piece, draw: Draw):
        std, kept, n = draw.number(0.4, 0.8), draw.number(0.2, 0.8), 20_000
        x0, eps = draw.number(-1, 1) + std * draw.normal(n), draw.normal(n)
        x = kept**0.5 * x0 + (1 - kept) ** 0.5 * eps
        y = {"eps": eps, "x0": x0, "v": kept**0.5 * eps - (1 - kept) ** 0.5 * x0}[target]
        slope = ((x - x.mean()) * (y - y.mean())).mean() / x.var(correction=0)
        measured = float((y - y.mean() - slope * (x - x.mean())).square().mean())
        found = float(piece(torch.tensor([kept], dtype=torch.float64), std, target))
        # The measured variance is off by 1 % (one standard deviation).
        if abs(found / measured - 1) < 0.08:
            return None
        return (
            f'for alpha_bar = {kept:g}, std {std:g} and target "{target}", the best straight line through {n} noisy '
            f"samples has the loss {measured:.4g}, and yours is {found:.4g}"
        )

    return holds


EXERCISE = Exercise(
    chapter="normal_1d",
    kind="loss",
    title="The loss that no network can go below",
    statement=r"""
Noise cannot be told from data exactly, so the loss of a perfect network is not zero. It is the variance of what is
guessed, given $x_t$. With $V_t = \bar\alpha_t s^2 + 1 - \bar\alpha_t$, the variance of $x_t$, for data of standard
deviation $s$:

$$\operatorname{Var}[x_0 \mid x_t] = \frac{(1 - \bar\alpha_t)\, s^2}{V_t}.$$

The other two targets follow from it, because $x_t$ is known: solve $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 -
\bar\alpha_t}\, \varepsilon$ for $\varepsilon$, put it into $v = \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 -
\bar\alpha_t}\, x_0$, and look at the factor of $x_0$ that is left. A training curve is judged by this floor, never by
zero.
""",
    reference=loss_floor,
    parts={"eps": 2, "x0": 1, "v": 2, CARE: 1},
    cases=cases,
    properties=tuple(
        Property(f'least squares agrees for "{target}"', best_line(target), target) for target in ("eps", "x0", "v")
    ),
    wrong_answers=(
        wrong(zero_everywhere),
        wrong(one_floor_for_all),
        wrong(eps_and_x0_swapped),
        wrong(guessing_without_looking),
        wrong(what_is_explained),
        wrong(std_for_variance),
        wrong(root_of_the_error),
        wrong(alpha_bar_squared),
        wrong(factor_not_squared),
        wrong(parts_of_v_independent),
        wrong(parts_of_v_subtracted),
        wrong(eps_counts_as_known),
        wrong(ratio_upside_down),
        wrong(data_of_unit_variance),
    ),
    right_answers=(
        right(from_the_error_of_x0),
        right(total_minus_explained),
        right(one_level_at_a_time),
        right(through_numpy),
    ),
    hints=(
        "Given x_t, eps is a straight line in x0. How does a variance change under a straight line?",
        "For eps the factor of x0 is alpha / sigma, for v it is 1 / sigma; variances take their squares.",
    ),
    source="Karras et al. 2022, appendix B.3; Salimans & Ho 2022, section 4, for v",
)
