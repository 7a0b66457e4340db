"""optimal_score: in which direction the noisy data become more likely."""

import torch
from torch import Tensor

from diffusion_lab.exercises.inputs import data_shapes, near_ends
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def optimal_score(x: Tensor, alpha_bar_t: Tensor, mean: float, std: float) -> Tensor:
    """The gradient of log p_t at x, where every entry of the data is normal.

    Args:
        x: (B, *S), noisy data x_t; S can be empty.
        alpha_bar_t: (B,), the level of each sample, in (0, 1); it can be float64 where x is float32.
        mean, std: of an entry of the clean data; std is a standard deviation.

    Returns:
        (B, *S), of the dtype of x: d log p_t(x) / dx, entry by entry.
    """
    kept = alpha_bar_t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))  # (B, 1, ..., 1)
    return -(x - kept.sqrt() * mean) / (kept * std**2 + 1 - kept)


def _kept(x, alpha_bar_t):
    return alpha_bar_t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def _variance(kept, std):
    return kept * std**2 + 1 - kept


def wrong_sign(x, alpha_bar_t, mean, std):
    """The sign is turned around. The score points to where the density is higher, which is towards the mean."""
    return -optimal_score(x, alpha_bar_t, mean, std)


def std_for_variance(x, alpha_bar_t, mean, std):
    """std was used where a variance belongs. Variances of independent parts add, standard deviations do not."""
    kept = _kept(x, alpha_bar_t)
    return -(x - kept.sqrt() * mean) / (kept * std + 1 - kept)


def divided_by_the_standard_deviation(x, alpha_bar_t, mean, std):
    """The deviation was divided by the standard deviation of x_t: that is a z-score. The derivative of the square in
    the exponent leaves the variance below."""
    kept = _kept(x, alpha_bar_t)
    return -(x - kept.sqrt() * mean) / _variance(kept, std).sqrt()


def unscaled_mean(x, alpha_bar_t, mean, std):
    """x was compared with the mean of the clean data. x_t holds the data times the square root of alpha_bar, and so its
    mean shrinks too."""
    kept = _kept(x, alpha_bar_t)
    return -(x - mean) / _variance(kept, std)


def score_of_the_clean_data(x, alpha_bar_t, mean, std):
    """This is the score of the data without noise. At level t the density is wider: it is the score of x_t that a
    sampler needs."""
    return -(x - mean) / std**2


def noise_left_out_of_the_variance(x, alpha_bar_t, mean, std):
    """The variance of x_t lacks the noise. It is that of the scaled data plus 1 - alpha_bar."""
    kept = _kept(x, alpha_bar_t)
    return -(x - kept.sqrt() * mean) / (kept * std**2)


def minus_the_noise(x, alpha_bar_t, mean, std):
    """This is minus the guessed noise. The score is that divided by the standard deviation of the noise."""
    kept = _kept(x, alpha_bar_t)
    return -(1 - kept).sqrt() * (x - kept.sqrt() * mean) / _variance(kept, std)


def factors_along_the_last_axis(x, alpha_bar_t, mean, std):
    """The (B,) levels were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    return -(x - alpha_bar_t.sqrt() * mean) / _variance(alpha_bar_t, std)


def mean_scaled_without_the_root(x, alpha_bar_t, mean, std):
    """The mean was multiplied by alpha_bar. The data in x_t have the factor sqrt(alpha_bar), and so has their mean."""
    kept = _kept(x, alpha_bar_t)
    return -(x - kept * mean) / _variance(kept, std)


def mean_left_out(x, alpha_bar_t, mean, std):
    """`mean` was not used, as if the data lay around 0. The score leads to the mean of x_t."""
    kept = _kept(x, alpha_bar_t)
    return -x / _variance(kept, std)


def std_left_out(x, alpha_bar_t, mean, std):
    """`std` was not used: this takes the variance of x_t for 1, which it is for data of standard deviation 1 only."""
    kept = _kept(x, alpha_bar_t)
    return kept.sqrt() * mean - x


def spread_of_the_data_forgotten(x, alpha_bar_t, mean, std):
    """The deviation was divided by the variance of the noise alone, as if each clean sample were the mean. The data
    have a spread of their own, and the density of x_t is wider."""
    kept = _kept(x, alpha_bar_t)
    return -(x - kept.sqrt() * mean) / (1 - kept)


def spread_of_the_data_not_scaled(x, alpha_bar_t, mean, std):
    """The variance of the data went into that of x_t at full size. x_t holds the data times a factor, and their
    variance shrinks by the square of it, alpha_bar."""
    kept = _kept(x, alpha_bar_t)
    return -(x - kept.sqrt() * mean) / (std**2 + 1 - kept)


def alpha_bar_squared(x, alpha_bar_t, mean, std):
    """In the variance alpha_bar was taken for the factor of the data and squared. It is already a square: the share of
    the variance."""
    kept = _kept(x, alpha_bar_t)
    return -(x - kept.sqrt() * mean) / (kept**2 * std**2 + 1 - kept)


def the_log_density_itself(x, alpha_bar_t, mean, std):
    """This is the logarithm of the density. The score is its slope: differentiate it by x."""
    kept = _kept(x, alpha_bar_t)
    return torch.distributions.Normal(kept.sqrt() * mean, _variance(kept, std).sqrt()).log_prob(x)


def slope_of_the_density(x, alpha_bar_t, mean, std):
    """This is the slope of the density, not of its logarithm. The logarithm takes away the density in front, so that a
    score is large also where data are rare."""
    kept = _kept(x, alpha_bar_t)
    density = torch.distributions.Normal(kept.sqrt() * mean, _variance(kept, std).sqrt()).log_prob(x).exp()
    return -(x - kept.sqrt() * mean) / _variance(kept, std) * density


def divided_by_the_variance_of_the_noise(x, alpha_bar_t, mean, std):
    """The mean noise was divided by 1 - alpha_bar. That is the variance of the noise in x_t; from the noise to the
    score it is one division by the standard deviation."""
    kept = _kept(x, alpha_bar_t)
    return -(x - kept.sqrt() * mean) / _variance(kept, std) / (1 - kept).sqrt()


def bracket_below_missing(x, alpha_bar_t, mean, std):
    """The bracket around the variance is missing. What stands below the fraction line is the whole sum, and Python
    divides by its first factor alone."""
    kept = _kept(x, alpha_bar_t)
    return -(x - kept.sqrt() * mean) / kept * std**2 + 1 - kept


def derivative_by_autograd(x, alpha_bar_t, mean, std):
    kept = _kept(x, alpha_bar_t)
    variable = x.detach().clone().requires_grad_()
    log_density = -((variable - kept.sqrt() * mean) ** 2) / (2 * _variance(kept, std))
    return torch.autograd.grad(log_density.sum(), variable)[0]


def one_sample_at_a_time(x, alpha_bar_t, mean, std):
    rows = []
    for sample, kept in zip(x, alpha_bar_t.to(x.dtype), strict=True):
        rows.append((torch.sqrt(kept) * mean - sample) / (1 - kept * (1 - std * std)))
    return torch.stack(rows)


def through_the_noise(x, alpha_bar_t, mean, std):
    kept = _kept(x, alpha_bar_t)
    noise_std = (1 - kept).sqrt()
    return -(noise_std * (x - kept.sqrt() * mean) / _variance(kept, std)) / noise_std


def through_numpy(x, alpha_bar_t, mean, std):
    kept = alpha_bar_t.numpy().reshape(-1, *[1] * (x.ndim - 1))
    return torch.from_numpy((kept**0.5 * mean - x.numpy()) / _variance(kept, std)).to(x.dtype)


def float64_inside(x, alpha_bar_t, mean, std):
    return optimal_score(x.double(), alpha_bar_t.double(), mean, std).to(x.dtype)


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


def slope_of_the_log_density(piece, draw: Draw):
    """Automatic differentiation of PyTorch's own normal density."""
    mean, std, kept = draw.number(-1.5, 1.5), draw.number(0.4, 1.6), draw.uniform(6, 1, low=0.1, high=0.9)
    x = 1.5 * draw.normal(6, 1)
    found = piece(x, kept.flatten(), mean, std)
    noisy = torch.distributions.Normal(kept.sqrt() * mean, (kept * std**2 + 1 - kept).sqrt())
    with torch.enable_grad():
        variable = x.clone().requires_grad_()
        truth = torch.autograd.grad(noisy.log_prob(variable).sum(), variable)[0]
    worst = int((found - truth).abs().argmax())
    if float((found - truth).abs().max()) < 1e-5:
        return None
    return (
        f"for x = {float(x[worst]):.4g}, alpha_bar = {float(kept[worst]):.4g}, mean {mean:g} and std {std:g}, the "
        f"slope of log p_t is {float(truth[worst]):.7g}, and yours is {float(found[worst]):.7g}"
    )


EXERCISE = Exercise(
    chapter="normal_1d",
    kind="data",
    title="The score",
    statement=r"""
The score is the slope of the log-density. At level $t$ normal data have the density
$\mathcal N(\sqrt{\bar\alpha_t}\, m,\ \bar\alpha_t s^2 + 1 - \bar\alpha_t)$, and so

$$\nabla_x \log p_t(x) = -\frac{x - \sqrt{\bar\alpha_t}\, m}{\bar\alpha_t s^2 + 1 - \bar\alpha_t}.$$

Compare it with `optimal_eps`: $\nabla_x \log p_t(x) = -\mathbb E[\varepsilon \mid x] / \sqrt{1 - \bar\alpha_t}$. To
guess the noise is to know in which direction data become more likely, for any data at all.
""",
    reference=optimal_score,
    parts={"values": 3, "any shape": 1, CARE: 1},
    cases=cases,
    properties=(Property("the slope of the log-density", slope_of_the_log_density),),
    wrong_answers=(
        wrong(wrong_sign),
        wrong(std_for_variance),
        wrong(divided_by_the_standard_deviation),
        wrong(unscaled_mean),
        wrong(score_of_the_clean_data),
        wrong(noise_left_out_of_the_variance),
        wrong(minus_the_noise),
        wrong(mean_scaled_without_the_root),
        wrong(mean_left_out),
        wrong(std_left_out),
        wrong(spread_of_the_data_forgotten),
        wrong(spread_of_the_data_not_scaled),
        wrong(alpha_bar_squared),
        wrong(the_log_density_itself),
        wrong(slope_of_the_density),
        wrong(factors_along_the_last_axis),
        wrong(divided_by_the_variance_of_the_noise),
        wrong(bracket_below_missing),
    ),
    right_answers=(
        right(derivative_by_autograd),
        right(one_sample_at_a_time),
        right(through_the_noise),
        right(through_numpy),
        right(float64_inside),
    ),
    hints=(
        "Write the logarithm of the normal density and differentiate it by x.",
        "Two independent normal parts make up x_t. What are the variances of each?",
    ),
    source="Song et al. 2021b, section 3.1; Vincent 2011 for the link to the noise",
    tables=("alpha_bar_t",),
    like="x",
)
