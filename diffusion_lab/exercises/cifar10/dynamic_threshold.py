"""dynamic_threshold: the estimated image brought back to the range of images."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def dynamic_threshold(x0: Tensor, p: float) -> Tensor:
    """Clip each sample to its own quantile s of |x0|, at least 1, and divide by s.

    Args:
        x0: (B, *S), estimates of images in [-1, 1]; S has at least one axis.
        p: which quantile, in (0, 1), interpolated between entries as `torch.quantile` does.

    Returns:
        (B, *S), in [-1, 1].
    """
    size = torch.quantile(x0.flatten(1).abs(), p, dim=1).clamp(min=1)
    size = size.reshape(-1, *[1] * (x0.ndim - 1))
    return x0.clamp(-size, size) / size


def _column(values, x0):
    return values.reshape(-1, *[1] * (x0.ndim - 1))


def _quantile(x0, p):
    return _column(torch.quantile(x0.flatten(1).abs(), p, dim=1), x0)


def batch_wide_quantile(x0, p):
    """One quantile was taken over the whole batch, so that one bright sample darkens all the others. Each sample has
    its own."""
    size = torch.quantile(x0.flatten().abs(), p).clamp(min=1)
    return x0.clamp(-size, size) / size


def clip_without_dividing(x0, p):
    """The values were clipped and not divided: they still reach beyond 1. Clip to s, then divide by s."""
    size = _quantile(x0, p).clamp(min=1)
    return x0.clamp(-size, size)


def dividing_without_clipping(x0, p):
    """The values were divided and not clipped: those above the quantile still reach beyond 1."""
    return x0 / _quantile(x0, p).clamp(min=1)


def static_clip(x0, p):
    """This clips to [-1, 1] whatever the sample looks like, and whole regions become flat. The threshold follows the
    quantile of each sample."""
    return x0.clamp(-1, 1)


def small_samples_blown_up(x0, p):
    """A sample inside [-1, 1] was stretched until it fills the range. The threshold is never below 1."""
    size = _quantile(x0, p)
    return x0.clamp(-size, size) / size


def quantile_of_signed_values(x0, p):
    """The quantile was taken of x0 with its signs, so that dark extremes do not count. Take it of the sizes |x0|."""
    size = _column(torch.quantile(x0.flatten(1), p, dim=1), x0).clamp(min=1)
    return x0.clamp(-size, size) / size


def quantile_of_each_row(x0, p):
    """Each last-axis row got a quantile of its own, which changes colours within one sample. One quantile over all
    entries of a sample is right."""
    size = torch.quantile(x0.abs(), p, dim=-1, keepdim=True)
    if x0.ndim == 2:
        size = torch.quantile(x0.abs(), p, dim=0, keepdim=True)
    size = size.clamp(min=1)
    return x0.clamp(-size, size) / size


def quantile_of_each_channel(x0, p):
    """Each channel got a quantile of its own, which changes the colours of a sample. One quantile over all entries of a
    sample is right."""
    flat = x0.flatten(2) if x0.ndim > 2 else x0.unsqueeze(1)
    size = torch.quantile(flat.abs(), p, dim=2).clamp(min=1)
    size = size.reshape(*size.shape, *[1] * (x0.ndim - 2)) if x0.ndim > 2 else size
    return x0.clamp(-size, size) / size


def quantile_not_interpolated(x0, p):
    """An entry was taken where the quantile lies between two. Interpolate: with few entries it makes a difference."""
    size = torch.quantile(x0.flatten(1).abs(), p, dim=1, interpolation="lower")
    size = _column(size, x0).clamp(min=1)
    return x0.clamp(-size, size) / size


def other_tail(x0, p):
    """The quantile 1 - p was taken, so that almost everything is clipped. p of the entries should lie below s."""
    size = _quantile(x0, 1 - p).clamp(min=1)
    return x0.clamp(-size, size) / size


def at_most_1(x0, p):
    """The threshold was kept below 1, where it should be kept above: max(1, s)."""
    size = _quantile(x0, p).clamp(max=1)
    return x0.clamp(-size, size) / size


def one_side_clipped(x0, p):
    """Only the bright side was clipped. Clip from -s to s."""
    size = _quantile(x0, p).clamp(min=1)
    return torch.minimum(x0, size) / size


def standard_deviations(x0, p):
    """The threshold follows the standard deviation, and `p` was not used. It is the p quantile of |x0|."""
    size = _column(x0.flatten(1).std(dim=1) * 2, x0).clamp(min=1)
    return x0.clamp(-size, size) / size


def largest_value(x0, p):
    """The largest value was taken in the place of the quantile, so that a single entry decides."""
    size = _column(x0.flatten(1).abs().amax(dim=1), x0).clamp(min=1)
    return x0 / size


def one_sample_at_a_time(x0, p):
    rows = []
    for row in x0:
        size = max(1.0, float(torch.quantile(row.abs().flatten(), p)))
        rows.append(row.clamp(-size, size) / size)
    return torch.stack(rows)


def divide_first(x0, p):
    size = torch.clamp(_quantile(x0, p), min=1.0)
    return (x0 / size).clamp(-1, 1)


def sorted_by_hand(x0, p):
    ordered = x0.abs().reshape(len(x0), -1).sort(dim=1).values
    place = p * (ordered.shape[1] - 1)
    low = int(place)
    high = min(low + 1, ordered.shape[1] - 1)
    size = ordered[:, low] + (place - low) * (ordered[:, high] - ordered[:, low])
    size = torch.maximum(size, torch.ones_like(size)).view(-1, *[1] * (x0.ndim - 1))
    return torch.minimum(torch.maximum(x0, -size), size) / size


def through_numpy(x0, p):
    import numpy as np

    values = x0.numpy()
    size = np.maximum(np.quantile(np.abs(values).reshape(len(values), -1), p, axis=1), 1)
    size = size.reshape(-1, *[1] * (values.ndim - 1))
    return torch.from_numpy(np.clip(values, -size, size) / size).to(x0.dtype)


def _mixed(draw, shape):
    """Samples of which the first is small, the second large, and the others anything."""
    scale = draw.uniform(shape[0], low=0.2, high=4.0)
    scale[0] = 3.0
    x0 = draw.normal(*shape)
    if shape[0] > 1:
        x0[1] = x0[1] / x0[1].abs().max()
        scale[1] = 0.7
    return x0 * scale.reshape(-1, *[1] * (len(shape) - 1))


def cases(draw: Draw):
    for shape in draw.shapes():
        square = len(set(shape)) == 1
        label = "every size equal" if square else "data of this shape"
        yield Case(label, (_mixed(draw, shape), draw.number(0.7, 0.95)), "each sample its own" if square else "values")
    shape = (draw.integer(3, 5), 3, 6, 5)
    yield Case("the quantile of the chapter's run", (_mixed(draw, shape), 0.995))


def in_range(piece, draw: Draw):
    """Everything in [-1, 1], and a second time changes nothing."""
    x0, p = _mixed(draw, (5, 3, 6, 6)), draw.number(0.8, 0.95)
    once = piece(x0, p)
    if not float(once.abs().max()) <= 1 + 1e-9:
        return f"a value of {float(once.abs().max()):.3g} is left, and images end at 1"
    change = float((piece(once, p) - once).abs().max())
    return (
        None if change < 1e-9 else f"used a second time, it changes values by {change:.3g} that were in range already"
    )


def neighbours_do_not_matter(piece, draw: Draw):
    """A sample alone and in a batch."""
    x0, p = _mixed(draw, (4, 3, 5, 5)), draw.number(0.8, 0.95)
    change = float((piece(x0, p)[:1] - piece(x0[:1], p)).abs().max())
    return None if change < 1e-9 else f"the first sample changes by {change:.3g} when the others are left out"


EXERCISE = Exercise(
    chapter="cifar10",
    kind="sampler",
    title="Estimates that stay in the range of images",
    statement=r"""
Guidance pushes the estimate of $x_0$ out of the range of images, step by step, until colours are burnt out. With $s$
the $p$ quantile of $|x_0|$ over all entries of one sample, and never below 1,

$$
\begin{aligned}
x_0 &\leftarrow \frac{\mathrm{clip}(x_0, -s, s)}{s}, \\
s &= \max\left(1, Q_p(|x_0|)\right).
\end{aligned}
$$

The sampler then computes the noise again from $x_t$ and the new $x_0$, so that both still agree with $x_t$.
""",
    reference=dynamic_threshold,
    parts={"values": 3, "each sample its own": 2, CARE: 1},
    cases=cases,
    properties=(
        Property("in [-1, 1], and once is enough", in_range),
        Property("a sample does not depend on its neighbours", neighbours_do_not_matter, "each sample its own"),
    ),
    wrong_answers=(
        wrong(batch_wide_quantile),
        wrong(clip_without_dividing),
        wrong(dividing_without_clipping),
        wrong(static_clip),
        wrong(small_samples_blown_up),
        wrong(quantile_of_signed_values),
        wrong(quantile_of_each_row),
        wrong(quantile_of_each_channel),
        wrong(quantile_not_interpolated),
        wrong(other_tail),
        wrong(at_most_1),
        wrong(one_side_clipped),
        wrong(standard_deviations),
        wrong(largest_value),
    ),
    right_answers=(right(one_sample_at_a_time), right(divide_first), right(sorted_by_hand), right(through_numpy)),
    hints=(
        "What should happen to a sample that is inside [-1, 1] already?",
        "Flatten each sample, take the quantile of the sizes, and give it the shape (B, 1, ..., 1).",
    ),
    source="Saharia et al. 2022, section 2.3",
)
