"""optimal_eps: the best guess of the noise that any network can make."""

import torch
from torch import Tensor

from diffusion_lab.exercises.inputs import data_shapes, near_ends
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def optimal_eps(x: Tensor, alpha_bar_t: Tensor, mean: float, std: float) -> Tensor:
    """E[eps | x_t = x], where every entry of the data is normal.

    Args:
        x: (B, *S), noisy data x_t; S can be empty.
        alpha_bar_t: (B,), the level of each sample, in (0, 1); it can be float64 where x is float32.
        mean, std: of an entry of the clean data; std is a standard deviation.

    Returns:
        (B, *S), of the dtype of x: the mean of all noises that fit x.
    """
    kept = alpha_bar_t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))  # (B, 1, ..., 1)
    variance = kept * std**2 + 1 - kept
    return (1 - kept).sqrt() * (x - kept.sqrt() * mean) / variance


def _kept(x, alpha_bar_t):
    return alpha_bar_t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def _variance(kept, std):
    return kept * std**2 + 1 - kept


def wrong_sign(x, alpha_bar_t, mean, std):
    """The sign is turned around. An x above its mean got there by positive noise: the score points back, the noise
    points away."""
    return -optimal_eps(x, alpha_bar_t, mean, std)


def score_instead_of_noise(x, alpha_bar_t, mean, std):
    """This is the score. The noise is the score times minus the standard deviation of the noise."""
    kept = _kept(x, alpha_bar_t)
    return -(x - kept.sqrt() * mean) / _variance(kept, std)


def std_for_variance(x, alpha_bar_t, mean, std):
    """std was used where a variance belongs. Variances of independent parts add, standard deviations do not."""
    kept = _kept(x, alpha_bar_t)
    return (1 - kept).sqrt() * (x - kept.sqrt() * mean) / (kept * std + 1 - kept)


def unscaled_mean(x, alpha_bar_t, mean, std):
    """x was compared with the mean of the clean data. x_t holds the data times the square root of alpha_bar, and so its
    mean shrinks too."""
    kept = _kept(x, alpha_bar_t)
    return (1 - kept).sqrt() * (x - mean) / _variance(kept, std)


def missing_root(x, alpha_bar_t, mean, std):
    """The deviation was multiplied by 1 - alpha_bar, a variance. x holds the noise times its standard deviation, and
    this is what it has in common with eps."""
    kept = _kept(x, alpha_bar_t)
    return (1 - kept) * (x - kept.sqrt() * mean) / _variance(kept, std)


def spread_of_the_data_forgotten(x, alpha_bar_t, mean, std):
    """All of the deviation was taken for noise, as if each clean sample were the mean. The data have a spread of their
    own, and a part of the deviation comes from them."""
    kept = _kept(x, alpha_bar_t)
    return (x - kept.sqrt() * mean) / (1 - kept).sqrt()


def noise_left_out_of_the_variance(x, alpha_bar_t, mean, std):
    """The variance of x_t lacks the noise. It is that of the scaled data plus 1 - alpha_bar."""
    kept = _kept(x, alpha_bar_t)
    return (1 - kept).sqrt() * (x - kept.sqrt() * mean) / (kept * std**2)


def factors_along_the_last_axis(x, alpha_bar_t, mean, std):
    """The (B,) levels were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    return (1 - alpha_bar_t).sqrt() * (x - alpha_bar_t.sqrt() * mean) / _variance(alpha_bar_t, std)


def divided_by_the_standard_deviation(x, alpha_bar_t, mean, std):
    """The deviation was divided by the standard deviation of x_t. The best guess is a regression: what x_t and the
    noise have in common, over the variance of x_t."""
    kept = _kept(x, alpha_bar_t)
    return (1 - kept).sqrt() * (x - kept.sqrt() * mean) / _variance(kept, std).sqrt()


def mean_scaled_without_the_root(x, alpha_bar_t, mean, std):
    """The mean was multiplied by alpha_bar. The data in x_t have the factor sqrt(alpha_bar), and so has their mean."""
    kept = _kept(x, alpha_bar_t)
    return (1 - kept).sqrt() * (x - kept * mean) / _variance(kept, std)


def mean_left_out(x, alpha_bar_t, mean, std):
    """`mean` was not used, as if the data lay around 0. Only the deviation of x from its mean says something about the
    noise."""
    kept = _kept(x, alpha_bar_t)
    return (1 - kept).sqrt() * x / _variance(kept, std)


def std_left_out(x, alpha_bar_t, mean, std):
    """`std` was not used: this takes the variance of x_t for 1, which it is for data of standard deviation 1 only."""
    kept = _kept(x, alpha_bar_t)
    return (1 - kept).sqrt() * (x - kept.sqrt() * mean)


def spread_of_the_data_not_scaled(x, alpha_bar_t, mean, std):
    """The variance of the data went into that of x_t at full size. x_t holds the data times a factor, and their
    variance shrinks by the square of it, alpha_bar."""
    kept = _kept(x, alpha_bar_t)
    return (1 - kept).sqrt() * (x - kept.sqrt() * mean) / (std**2 + 1 - kept)


def estimate_of_the_data(x, alpha_bar_t, mean, std):
    """This is the best guess of the clean data. The noise is what is left: x less the shrunk data, in units of the
    noise's standard deviation."""
    kept = _kept(x, alpha_bar_t)
    return mean + kept.sqrt() * std**2 / _variance(kept, std) * (x - kept.sqrt() * mean)


def factor_of_the_data(x, alpha_bar_t, mean, std):
    """The root of alpha_bar stands in front, the factor of the data. x_t holds the noise times the root of
    1 - alpha_bar, and that is what the two have in common."""
    kept = _kept(x, alpha_bar_t)
    return kept.sqrt() * (x - kept.sqrt() * mean) / _variance(kept, std)


def bracket_below_missing(x, alpha_bar_t, mean, std):
    """The bracket around the variance is missing. What stands below the fraction line is the whole sum, and Python
    divides by its first factor alone."""
    kept = _kept(x, alpha_bar_t)
    return (1 - kept).sqrt() * (x - kept.sqrt() * mean) / kept * std**2 + 1 - kept


def through_the_data(x, alpha_bar_t, mean, std):
    kept = _kept(x, alpha_bar_t)
    x0 = mean + kept.sqrt() * std**2 / _variance(kept, std) * (x - kept.sqrt() * mean)
    return (x - kept.sqrt() * x0) / (1 - kept).sqrt()


def one_sample_at_a_time(x, alpha_bar_t, mean, std):
    rows = []
    for sample, kept in zip(x, alpha_bar_t.to(x.dtype), strict=True):
        weight = torch.sqrt(1 - kept) / (1 - kept * (1 - std * std))
        rows.append(weight * sample - weight * torch.sqrt(kept) * mean)
    return torch.stack(rows)


def einsum(x, alpha_bar_t, mean, std):
    kept = alpha_bar_t.to(x.dtype)
    weight = (1 - kept) ** 0.5 / _variance(kept, std)
    shift = torch.einsum("b,b...->b...", kept**0.5, torch.full_like(x, mean))
    return torch.einsum("b,b...->b...", weight, x - shift)


def through_numpy(x, alpha_bar_t, mean, std):
    kept = alpha_bar_t.numpy().reshape(-1, *[1] * (x.ndim - 1))
    found = (1 - kept) ** 0.5 * (x.numpy() - kept**0.5 * mean) / _variance(kept, std)
    return torch.from_numpy(found).to(x.dtype)


def float64_inside(x, alpha_bar_t, mean, std):
    return optimal_eps(x.double(), alpha_bar_t.double(), mean, std).to(x.dtype)


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    column = (draw.integer(4, 9), 1), "data of this shape", "values"
    for i, (shape, label, part) in enumerate([column, *data_shapes(draw)]):
        std = draw.number(0.3, 0.7) if i % 2 else draw.number(1.4, 2.5)
        mean = draw.choice((-1, 1)) * draw.number(0.5, 2.0)
        levels = draw.alpha_bar(steps)[draw.times(shape[0], steps)]
        yield Case(f"{label}, mean {mean:g}, std {std:g}", (draw.normal(*shape), levels, mean, std), part)
    for std in (draw.number(0.05, 0.1), draw.number(0.2, 0.4)):
        arguments = draw.normal(4, 2), near_ends(draw, 4), draw.number(0.5, 2.0), std
        yield Case(f"nearly noise and nearly clean data, std {std:g}", arguments, "values")


def mean_of_all_noises(piece, draw: Draw):
    """E[eps | x] by adding up over a fine grid of noises, each weighted by how well it explains x."""
    mean, std, kept = draw.number(-1.5, 1.5), draw.number(0.4, 1.6), draw.uniform(6, low=0.1, high=0.9)
    x = 1.5 * draw.normal(6, 1)
    found = piece(x, kept, mean, std)
    noise = torch.linspace(
        -12, 12, 8001, dtype=torch.float64
    )  # the data behind each noise: x0 = (x - sigma eps) / alpha
    x0 = (x - (1 - kept).sqrt()[:, None] * noise) / kept.sqrt()[:, None]  # (6, 8001)
    weight = torch.softmax(-(noise**2) / 2 - ((x0 - mean) / std) ** 2 / 2, dim=1)
    truth = (weight * noise).sum(dim=1, keepdim=True)
    worst = int((found - truth).abs().argmax())
    if float((found - truth).abs().max()) < 1e-5:
        return None
    return (
        f"for x = {float(x[worst]):.4g}, alpha_bar = {float(kept[worst]):.4g}, mean {mean:g} and std {std:g}, the mean "
        f"over all noises that fit is {float(truth[worst]):.7g}, and yours is {float(found[worst]):.7g}"
    )


EXERCISE = Exercise(
    chapter="normal_1d",
    kind="data",
    title="The best guess of the noise",
    statement=r"""
A network that minimises the square error learns the mean of all noises that fit what it sees. For normal data
$x_0 \sim \mathcal N(m, s^2)$ this mean is known. The noisy $x_t$ is normal too, with mean $\sqrt{\bar\alpha_t}\, m$ and
variance $\bar\alpha_t s^2 + 1 - \bar\alpha_t$, and

$$\mathbb E[\varepsilon \mid x_t] = \sqrt{1 - \bar\alpha_t}\;
\frac{x_t - \sqrt{\bar\alpha_t}\, m}{\bar\alpha_t s^2 + 1 - \bar\alpha_t}.$$

Every entry of $x$ is such a number, and every sample has a level of its own. The network of this chapter learns this
function: you can draw the two on top of each other.
""",
    reference=optimal_eps,
    parts={"values": 4, "any shape": 1, CARE: 1},
    cases=cases,
    properties=(Property("the mean over all noises that fit", mean_of_all_noises),),
    wrong_answers=(
        wrong(wrong_sign),
        wrong(score_instead_of_noise),
        wrong(std_for_variance),
        wrong(unscaled_mean),
        wrong(missing_root),
        wrong(spread_of_the_data_forgotten),
        wrong(noise_left_out_of_the_variance),
        wrong(divided_by_the_standard_deviation),
        wrong(mean_scaled_without_the_root),
        wrong(mean_left_out),
        wrong(std_left_out),
        wrong(spread_of_the_data_not_scaled),
        wrong(estimate_of_the_data),
        wrong(factor_of_the_data),
        wrong(factors_along_the_last_axis),
        wrong(bracket_below_missing),
    ),
    right_answers=(
        right(through_the_data),
        right(one_sample_at_a_time),
        right(einsum),
        right(through_numpy),
        right(float64_inside),
    ),
    hints=(
        "What are the mean and the variance of x_t?",
        "The best guess of one normal variable from another is a straight line: covariance over variance.",
    ),
    source="Karras et al. 2022, appendix B.3; for one dimension any text on linear regression",
    tables=("alpha_bar_t",),
    like="x",
)
