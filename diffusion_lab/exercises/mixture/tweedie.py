"""tweedie: the mean of the clean data, from the score alone."""

import torch
from torch import Tensor

from diffusion_lab.exercises.inputs import data_shapes, near_ends
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def tweedie(x: Tensor, alpha_bar_t: Tensor, score: Tensor) -> Tensor:
    """The mean of all clean data that fit the noisy x.

    Args:
        x: (B, *S), at the level alpha_bar_t: sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise; S can be empty.
        alpha_bar_t: (B,), in (0, 1], a level for each sample; it can be float64 where x is float32.
        score: (B, *S), the gradient of the log-density of noisy data at x.

    Returns:
        (B, *S), E[x0 | x], of the dtype of x.
    """
    kept = alpha_bar_t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))  # (B, 1, ..., 1)
    return (x + (1 - kept) * score) / kept.sqrt()


def _kept(x, alpha_bar_t):
    return alpha_bar_t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def away_from_the_data(x, alpha_bar_t, score):
    """The score was taken off, which leads away from the data. The clean data lie where the score points."""
    kept = _kept(x, alpha_bar_t)
    return (x - (1 - kept) * score) / kept.sqrt()


def deviation_for_variance(x, alpha_bar_t, score):
    """The score was multiplied by the standard deviation of the noise. That factor belongs to the noise; a score is the
    noise divided by the deviation once more, so it needs the variance."""
    kept = _kept(x, alpha_bar_t)
    return (x + (1 - kept).sqrt() * score) / kept.sqrt()


def score_for_noise(x, alpha_bar_t, score):
    """The score was used as if it were the noise. They differ in the sign and in a factor: score = -noise over its
    standard deviation."""
    kept = _kept(x, alpha_bar_t)
    return (x - (1 - kept).sqrt() * score) / kept.sqrt()


def still_shrunk(x, alpha_bar_t, score):
    """This is the mean of the shrunk data that are left in x. Divide by the factor which shrank them."""
    return x + (1 - _kept(x, alpha_bar_t)) * score


def shrunk_by_alpha_bar(x, alpha_bar_t, score):
    """The division is by alpha_bar, which is a share of the variance. The data in x were multiplied by its square
    root."""
    kept = _kept(x, alpha_bar_t)
    return (x + (1 - kept) * score) / kept


def score_not_divided(x, alpha_bar_t, score):
    """Only x was divided. Both terms are means of the shrunk data, and both are brought back to the data's own size."""
    kept = _kept(x, alpha_bar_t)
    return x / kept.sqrt() + (1 - kept) * score


def factors_along_the_last_axis(x, alpha_bar_t, score):
    """The (B,) factors were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    return (x + (1 - alpha_bar_t) * score) / alpha_bar_t.sqrt()


def factor_of_the_data(x, alpha_bar_t, score):
    """The score has the factor alpha_bar. How far the data lie along the score is told by the noise: the factor is its
    variance, 1 - alpha_bar."""
    kept = _kept(x, alpha_bar_t)
    return (x + kept * score) / kept.sqrt()


def guess_of_the_noise(x, alpha_bar_t, score):
    """This is the guess of the noise. The guess of the clean data is x without that noise, brought back to the size of
    the data."""
    return -(1 - _kept(x, alpha_bar_t)).sqrt() * score


def score_without_a_factor(x, alpha_bar_t, score):
    """The score was added without a factor. It is a slope: times the variance of the noise, 1 - alpha_bar, it becomes a
    way."""
    return (x + score) / _kept(x, alpha_bar_t).sqrt()


def levels_cut_off(x, alpha_bar_t, score):
    """alpha_bar was kept away from 0. It can be any number above it, and the mean there is large because the division
    is by a small root: a limit makes it wrong."""
    return tweedie(x, alpha_bar_t.clamp(min=0.01), score)


def in_place(x, alpha_bar_t, score):
    """x itself was changed. A sampler still needs it: make a new tensor."""
    kept = _kept(x, alpha_bar_t)
    return x.add_((1 - kept) * score).div_(kept.sqrt())


def through_the_noise(x, alpha_bar_t, score):
    kept = _kept(x, alpha_bar_t)
    noise = -(1 - kept).sqrt() * score
    return x / kept.sqrt() - (1 / kept - 1).sqrt() * noise


def one_sample_at_a_time(x, alpha_bar_t, score):
    rows = zip(x, alpha_bar_t.to(x.dtype), score, strict=True)
    return torch.stack([a * k**-0.5 + (1 - k) * s * k**-0.5 for a, k, s in rows])


def einsum(x, alpha_bar_t, score):
    kept = alpha_bar_t.to(x.dtype)
    return torch.einsum("b,b...->b...", kept.rsqrt(), x + torch.einsum("b,b...->b...", 1 - kept, score))


def through_numpy(x, alpha_bar_t, score):
    kept = alpha_bar_t.numpy().reshape(-1, *[1] * (x.ndim - 1))
    return torch.from_numpy((x.numpy() + (1 - kept) * score.numpy()) / kept**0.5).to(x.dtype)


def cases(draw: Draw):
    for shape, label, part in data_shapes(draw):
        kept = draw.uniform(shape[0], low=0.05, high=0.95)
        if shape[0] > 2:
            kept[0] = 1.0
        yield Case(label, (draw.normal(*shape), kept, draw.normal(*shape)), part)
    ends = draw.normal(4, 2), near_ends(draw, 4), draw.normal(4, 2)
    yield Case("nearly noise and nearly clean data", ends, "values")


def a_normal(piece, draw: Draw):
    """For N(m, v) the regression of x0 on x is a straight line, known from any textbook."""
    mean, variance = draw.number(-2, 2), draw.number(0.3, 2)
    kept, x = draw.uniform(6, low=0.1, high=0.9), draw.normal(6, 2)
    column = kept[:, None]
    total = column * variance + 1 - column
    wanted = mean + column.sqrt() * variance / total * (x - column.sqrt() * mean)
    worst = float((piece(x, kept, -(x - column.sqrt() * mean) / total) - wanted).abs().max())
    if worst < 1e-5:
        return None
    return f"for data from N({mean}, {variance}) the mean E[x0 | x] is known, and yours is off by {worst:.3g}"


def two_points(piece, draw: Draw):
    """Data at -a and a alone: the mean is a tanh(...), counted by Bayes; the score comes from autograd."""
    a = draw.number(0.5, 2)
    kept, x = draw.uniform(6, low=0.2, high=0.9), draw.normal(6, 1).requires_grad_()
    column = kept[:, None]
    places = torch.tensor([-a, a], dtype=torch.float64)
    logs = -((x - column.sqrt() * places) ** 2) / (2 * (1 - column))  # (6, 2)
    (score,) = torch.autograd.grad(logs.logsumexp(dim=1).sum(), x)
    wanted = (torch.softmax(logs, dim=1) * places).sum(dim=1, keepdim=True).detach()
    worst = float((piece(x.detach(), kept, score) - wanted).abs().max())
    if worst < 1e-5:
        return None
    return f"for data that are -{a} or {a}, the mean by Bayes' rule differs from yours by up to {worst:.3g}"


EXERCISE = Exercise(
    chapter="mixture",
    kind="data",
    title="From the score to the mean",
    statement=r"""
Who knows the score of noisy data knows the mean of the clean data that fit (Tweedie's formula):

$$
\begin{aligned}
&\mathbb E[x_0 \mid x] \\
&\quad = \frac{x + (1 - \bar\alpha_t)\, \nabla_x \log p_t(x)}{\sqrt{\bar\alpha_t}}.
\end{aligned}
$$

So a score, a guess of the noise and a guess of the clean data are one thing in three forms. The chapter's sampler ends
with this mean, which takes away the noise of the last level.
""",
    reference=tweedie,
    parts={"values": 3, "any shape": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("the line of a normal", a_normal),
        Property("two points, by Bayes' rule", two_points),
    ),
    wrong_answers=(
        wrong(away_from_the_data),
        wrong(deviation_for_variance),
        wrong(score_for_noise),
        wrong(still_shrunk),
        wrong(shrunk_by_alpha_bar),
        wrong(score_not_divided),
        wrong(factors_along_the_last_axis),
        wrong(factor_of_the_data),
        wrong(guess_of_the_noise),
        wrong(score_without_a_factor),
        wrong(levels_cut_off),
        wrong(in_place, "modified"),
    ),
    right_answers=(right(through_the_noise), right(one_sample_at_a_time), right(einsum), right(through_numpy)),
    hints=(
        "If x0 were known, what would the score be? Solve that for x0.",
        "Is the factor of the score a variance or a standard deviation?",
    ),
    source="Robbins 1956; Efron 2011, section 1; Song & Ermon 2019 for its use with scores",
    tables=("alpha_bar_t",),
    like="x",
)
