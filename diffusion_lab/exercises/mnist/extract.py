"""extract: one number of a table for each sample, in a shape that multiplies data of any rank."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def extract(values: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """values[t], ready to be multiplied with x.

    Args:
        values: (T,), one number for each step.
        t: (B,) int64 in 0..T-1, a step for each sample.
        x: (B, *S), data of any rank, (B,) included; only its rank matters, not its dtype.

    Returns:
        (B, 1, ..., 1), with as many axes as x and the dtype of `values`.
    """
    return values[t].reshape(-1, *[1] * (x.ndim - 1))


def flat(values, t, x):
    """This is (B,), without the axes of a sample. Such a factor is multiplied along the last axis of x, where it should
    go along the first, and there is no error where B is the width of the image."""
    return values[t]


def always_an_image(values, t, x):
    """The shape is (B, 1, 1, 1) whatever x is. Points (B, D) would silently become (B, 1, B, D): count the axes of
    x."""
    return values[t].reshape(-1, 1, 1, 1)


def along_the_last_axis(values, t, x):
    """The samples lie along the last axis, (1, ..., 1, B). The batch is the first axis of x, and of the factor."""
    return values[t].reshape(*[1] * (x.ndim - 1), -1)


def the_first_rows(values, t, x):
    """These are the first B entries of the table, in order. Each sample has its own step t: take entry t[b] for sample
    b."""
    rows = torch.arange(len(t)) % len(values)
    return values[rows].reshape(-1, *[1] * (x.ndim - 1))


def one_step_for_all(values, t, x):
    """Every sample got the number of the first one's step. Samples of a batch have steps of their own."""
    return values[t[:1].expand(len(t))].reshape(-1, *[1] * (x.ndim - 1))


def one_axis_too_many(values, t, x):
    """There is one axis too many at the end. The batch is an axis of x already: append one for each of the others."""
    return values[t].reshape(-1, *[1] * x.ndim)


def as_large_as_x(values, t, x):
    """Your factor is spread out to the shape of x. Axes of size 1 do this by themselves in a product, and take no
    memory: stop at (B, 1, ..., 1)."""
    return values[t].reshape(-1, *[1] * (x.ndim - 1)).expand(x.shape)


def already_multiplied(values, t, x):
    """You multiplied by x already. Return the factor alone: it will be used with noise and with pictures."""
    return values[t].reshape(-1, *[1] * (x.ndim - 1)) * x


def one_step_early(values, t, x):
    """This is the entry before: t counts from 0, so entry t is at index t. At t = 0 yours takes the last entry of the
    table."""
    return values[t - 1].reshape(-1, *[1] * (x.ndim - 1))


def gather(values, t, x):
    return values.gather(0, t).view(len(t), *(1 for _ in x.shape[1:]))


def indexing(values, t, x):
    return values.index_select(0, t)[(..., *[None] * (x.ndim - 1))]


def one_sample_at_a_time(values, t, x):
    return torch.stack([values[int(i)].expand([1] * (x.ndim - 1)) for i in t])


def one_hot(values, t, x):
    from torch.nn import functional

    found = functional.one_hot(t, len(values)).to(values) @ values
    while found.ndim < x.ndim:
        found = found.unsqueeze(-1)
    return found


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    b = draw.integer(3, 6)
    for shape in (*draw.shapes(), (b, 2, 3, 2, 4), (b,)):
        square = len(set(shape)) == 1 and len(shape) > 1
        label = "every size equal" if square else "data of this shape"
        arguments = draw.uniform(steps, low=0.2, high=0.9), draw.times(shape[0], steps), draw.normal(*shape)
        yield Case(label, arguments, "any shape" if square else "values")


def each_sample_its_own(piece, draw: Draw):
    """The product with x, sample by sample."""
    size = draw.integer(3, 5)
    values, t, x = draw.uniform(20), draw.permutation(20)[:size], draw.normal(size, size, size)
    product = piece(values, t, x) * x
    if product.shape != x.shape:
        return f"times x {tuple(x.shape)} it gives {tuple(product.shape)}"
    for b in range(size):
        worst = float((product[b] - x[b] * float(values[t[b]])).abs().max())
        if not worst <= 1e-9:
            return f"sample {b} with t = {int(t[b])} was not multiplied by values[t] = {float(values[t[b]]):.4g}"
    return None


def only_the_rank_matters(piece, draw: Draw):
    """Pictures as a file has them, in integers."""
    values, t = draw.uniform(20), draw.permutation(20)[:4]
    found = piece(values, t, draw.integers(0, 256, 4, 1, 3, 3).to(torch.uint8))
    if found.shape != (4, 1, 1, 1):
        return f"for x of shape (4, 1, 3, 3) the shape is {tuple(found.shape)}, and (4, 1, 1, 1) is expected"
    if found.dtype != values.dtype or not torch.equal(found.flatten(), values[t]):
        return (
            "for pictures of integers (uint8) the numbers are not those of the table: its dtype must stay, "
            "whatever the dtype of x"
        )
    return None


EXERCISE = Exercise(
    chapter="mnist",
    kind="data",
    title="A number for each sample",
    statement=r"""
Nearly every line of a diffusion model multiplies a sample by a number that depends on its step:
$\sqrt{\bar\alpha_{t_b}}\; x_b$ for each sample $b$ of the batch. The numbers $(B,)$ must get the shape
$(B, 1, \dots, 1)$ first. PyTorch lines up shapes from the *last* axis, so a flat $(B,)$ would go along the width of the
image: an error with luck, and a wrong result without one where both sizes are equal. The data can have any number of
axes, and only that number matters: the answer keeps the dtype of the table.
""",
    reference=extract,
    parts={"values": 2, "any shape": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("each sample is multiplied by its own number", each_sample_its_own, "any shape"),
        Property("only the rank of x matters", only_the_rank_matters, "any shape"),
    ),
    wrong_answers=(
        wrong(flat),
        wrong(always_an_image),
        wrong(along_the_last_axis),
        wrong(the_first_rows),
        wrong(one_step_for_all),
        wrong(one_axis_too_many),
        wrong(as_large_as_x),
        wrong(already_multiplied),
        wrong(one_step_early),
    ),
    right_answers=(right(gather), right(indexing), right(one_sample_at_a_time), right(one_hot)),
    hints=("A tensor of steps is also an index.", "Append one axis of size 1 for every axis of x but the first."),
    time="t",
    tables=("values",),
    like="values",
    source="the notation of Ho et al. 2020, equation 4",
)
