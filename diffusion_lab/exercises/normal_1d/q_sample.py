"""q_sample: the forward process in one jump."""

import torch
from torch import Tensor

from diffusion_lab.exercises.inputs import data_shapes, thousand_levels
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def q_sample(x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Draw x_t given x0, with the noise handed in.

    Args:
        x0: (B, *S), clean data of any rank; S can be empty.
        t: (B,) int64 in 0..T-1, a step for each sample.
        noise: (B, *S), standard normal.
        alpha_bar: (T,), in (0, 1); it can be float64 where the data are float32.

    Returns:
        x_t: (B, *S), of the dtype of x0.
    """
    kept = alpha_bar[t].to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))  # (B, 1, ..., 1)
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


def _kept(x0, t, alpha_bar):
    return alpha_bar[t].to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))


def missing_root_of_the_signal(x0, t, noise, alpha_bar):
    """alpha_bar is a share of the variance. The data are multiplied by its square root."""
    kept = _kept(x0, t, alpha_bar)
    return kept * x0 + (1 - kept).sqrt() * noise


def missing_root_of_the_noise(x0, t, noise, alpha_bar):
    """1 - alpha_bar is the variance of the noise. The noise is multiplied by its standard deviation, the square
    root."""
    kept = _kept(x0, t, alpha_bar)
    return kept.sqrt() * x0 + (1 - kept) * noise


def no_roots(x0, t, noise, alpha_bar):
    """alpha_bar and 1 - alpha_bar are variances. Data and noise are multiplied by their square roots."""
    kept = _kept(x0, t, alpha_bar)
    return kept * x0 + (1 - kept) * noise


def alpha_of_one_step(x0, t, noise, alpha_bar):
    """This uses alpha = alpha_bar[t] / alpha_bar[t-1], what a single step keeps. x_t has gone through all steps up to
    t."""
    before = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    kept = _kept(x0, t, alpha_bar / before)
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


def signal_and_noise_swapped(x0, t, noise, alpha_bar):
    """Data and noise have each other's factor: at t = 0 this is nearly all noise."""
    kept = _kept(x0, t, alpha_bar)
    return (1 - kept).sqrt() * x0 + kept.sqrt() * noise


def fresh_noise(x0, t, noise, alpha_bar):
    """Noise was drawn inside. The noise is handed in, because the loss must compare with the very same noise."""
    kept = _kept(x0, t, alpha_bar)
    return kept.sqrt() * x0 + (1 - kept).sqrt() * torch.randn_like(noise)


def in_place(x0, t, noise, alpha_bar):
    """x0 itself was changed. The caller still needs the clean data: make a new tensor."""
    kept = _kept(x0, t, alpha_bar)
    return x0.mul_(kept.sqrt()).add_((1 - kept).sqrt() * noise)


def factors_along_the_last_axis(x0, t, noise, alpha_bar):
    """The (B,) factors were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    return alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * noise


def counted_from_one(x0, t, noise, alpha_bar):
    """The table was read at t - 1. Entry t is what is left after step t, and steps are counted from 0: at t = 0 yours
    reads the last entry."""
    kept = _kept(x0, t - 1, alpha_bar)
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


def one_minus_the_root(x0, t, noise, alpha_bar):
    """The noise has the factor 1 - sqrt(alpha_bar). The shares of the variance add up to 1, not their roots: take
    1 - alpha_bar first, and the root of that."""
    factor = _kept(x0, t, alpha_bar).sqrt()
    return factor * x0 + (1 - factor) * noise


def data_not_scaled(x0, t, noise, alpha_bar):
    """The data were left at full size. Every step shrinks them before it adds noise, by the root of what it keeps, and
    after t steps the factor is the root of alpha_bar."""
    return x0 + (1 - _kept(x0, t, alpha_bar)).sqrt() * noise


def noise_subtracted(x0, t, noise, alpha_bar):
    """The noise was subtracted. It is added; a network that guesses it is compared with this very noise, sign and
    all."""
    kept = _kept(x0, t, alpha_bar)
    return kept.sqrt() * x0 - (1 - kept).sqrt() * noise


def multiplied_up_again(x0, t, noise, alpha_bar):
    """The table was multiplied up once more. alpha_bar is the cumulative product already: look up its entry t."""
    kept = _kept(x0, t, torch.cumprod(alpha_bar, dim=0))
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


def step_of_the_first_sample(x0, t, noise, alpha_bar):
    """All samples have the level of the first one. Every sample has a step of its own: look up all of t."""
    kept = alpha_bar[t[0]]
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


def table_read_backwards(x0, t, noise, alpha_bar):
    """The table was read from its end. Entry t belongs to step t, and t = 0 has the least noise: the forward process
    counts from the data to the noise."""
    kept = _kept(x0, len(alpha_bar) - 1 - t, alpha_bar)
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


def one_sample_at_a_time(x0, t, noise, alpha_bar):
    rows = []
    for i in range(len(x0)):
        kept = alpha_bar[t[i]].to(x0.dtype)
        rows.append(torch.sqrt(kept) * x0[i] + torch.sqrt(1 - kept) * noise[i])
    return torch.stack(rows)


def einsum(x0, t, noise, alpha_bar):
    kept = alpha_bar[t].to(x0.dtype)
    return torch.einsum("b,b...->b...", kept**0.5, x0) + torch.einsum("b,b...->b...", (1 - kept) ** 0.5, noise)


def through_numpy(x0, t, noise, alpha_bar):
    kept = alpha_bar.numpy()[t.numpy()].reshape(-1, *[1] * (x0.ndim - 1))
    return torch.from_numpy(kept**0.5 * x0.numpy() + (1 - kept) ** 0.5 * noise.numpy()).to(x0.dtype)


def float64_inside(x0, t, noise, alpha_bar):
    kept = alpha_bar.double()[t].view(-1, *[1] * (x0.ndim - 1))
    return (kept.sqrt() * x0 + (1 - kept).sqrt() * noise).to(x0.dtype)


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    for shape, label, part in data_shapes(draw):
        arguments = draw.normal(*shape), draw.times(shape[0], steps), draw.normal(*shape), draw.alpha_bar(steps)
        yield Case(label, arguments, part)
    shape = (draw.integer(3, 6), draw.integer(2, 5))
    arguments = draw.normal(*shape), draw.times(shape[0], 1000), draw.normal(*shape), thousand_levels()
    yield Case("the first and the last of a thousand steps", arguments, "values")


def many_small_steps(piece, draw: Draw):
    """The steps of the forward process one after the other: the factor of the data, and the variance of the noise."""
    steps = draw.integer(12, 30)
    betas = draw.betas(steps)
    t = torch.arange(steps)
    one, zero = torch.ones(steps, 1, dtype=torch.float64), torch.zeros(steps, 1, dtype=torch.float64)
    table = torch.cumprod(1 - betas, dim=0)
    of_data, of_noise = piece(one, t, zero, table).flatten(), piece(zero, t, one, table).flatten()
    factor, variance = 1.0, 0.0
    for i, beta in enumerate(betas.tolist()):
        factor, variance = (1 - beta) ** 0.5 * factor, (1 - beta) * variance + beta
        if abs(float(of_data[i]) - factor) > 1e-5:
            return f"after {i + 1} small steps the data have the factor {factor:.5g}, and yours {float(of_data[i]):.5g}"
        if abs(float(of_noise[i]) ** 2 - variance) > 1e-5:
            found = float(of_noise[i]) ** 2
            return f"after {i + 1} small steps the noise has the variance {variance:.5g}, and yours has {found:.5g}"
    return None


EXERCISE = Exercise(
    chapter="normal_1d",
    kind="data",
    title="Noise in one jump",
    statement=r"""
A sum of normal variables is normal, so $t$ small steps are one jump:

$$
\begin{gathered}
x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\; \varepsilon, \\
\varepsilon \sim \mathcal N(0, I).
\end{gathered}
$$

The data can have any rank, `(B,)` included, and every sample of the batch has its own $t$. What you return has the
dtype of the data, whatever the table has. Training never walks through the steps: it
jumps to a random one, which is what makes it cheap.
""",
    reference=q_sample,
    parts={"values": 3, "any shape": 1, CARE: 1},
    cases=cases,
    time="t",
    properties=(Property("one jump is many small steps", many_small_steps),),
    wrong_answers=(
        wrong(missing_root_of_the_signal),
        wrong(missing_root_of_the_noise),
        wrong(no_roots),
        wrong(alpha_of_one_step),
        wrong(signal_and_noise_swapped),
        wrong(counted_from_one),
        wrong(one_minus_the_root),
        wrong(data_not_scaled),
        wrong(noise_subtracted),
        wrong(multiplied_up_again),
        wrong(step_of_the_first_sample),
        wrong(factors_along_the_last_axis),
        wrong(fresh_noise, "random"),
        wrong(in_place, "modified"),
        wrong(table_read_backwards),
    ),
    right_answers=(right(one_sample_at_a_time), right(einsum), right(through_numpy), right(float64_inside)),
    hints=("Are these factors variances or standard deviations?", "Give the factors the shape (B, 1, ..., 1)."),
    source="Ho et al. 2020, equation 4",
    like="x0",
)
