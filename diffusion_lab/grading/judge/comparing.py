"""An answer beside the expected one: whether they agree, and in words where and how they do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.exercises.drawing import digits_apart
from diffusion_lab.grading.judge.calling import Foreign, leaves
from diffusion_lab.grading.judge.expecting import Leaf

SHOWN = 4
"""How many entries of a tensor are printed."""
DIGITS = 6
"""How many digits of a number are printed, where that tells it from another."""


@dataclass(frozen=True)
class Difference:
    """How an answer differs from the expected one."""

    summary: str
    """One sentence: a wrong type, a wrong shape, or how many entries are off."""
    expected: str = ""
    yours: str = ""


def as_tensor(answer: Any) -> Tensor | None:
    """A tensor or a number as a tensor; None for anything else, NumPy arrays among it."""
    if type(answer) in (Tensor, torch.nn.Parameter):
        return answer.detach().cpu()
    if type(answer) in (int, float, bool):
        return torch.tensor(answer, dtype=torch.float64 if type(answer) is float else None)
    return None


def agrees(answer: Tensor, leaf: Leaf) -> Tensor:
    """Entry by entry, whether `answer`, of the leaf's shape, is right."""
    if answer.is_complex():
        return torch.zeros(leaf.value.shape, dtype=torch.bool)
    value, answer = leaf.value.double(), answer.double()
    close = (answer - value).abs() <= leaf.tolerance
    return close | (answer == value) | (answer.isnan() & value.isnan())


def difference(answer: Any, expected: tuple[Leaf, ...], what: str = "") -> Difference | None:
    """None where the answer is right up to rounding; dtypes of floats are another matter."""
    given = leaves(answer)
    if len(given) != len(expected) or (isinstance(answer, (tuple, list, dict)) and len(expected) == 1):
        return Difference(
            f"it returned {kind_of(answer)}, and "
            + ("one tensor" if len(expected) == 1 else f"{len(expected)} values")
            + " are expected"
        )
    names = sorted(answer, key=str) if isinstance(answer, dict) else ()
    for i, (value, leaf) in enumerate(zip(given, expected, strict=True)):
        place = what or (f"value {i + 1} of {len(expected)}" if len(expected) > 1 else "")
        place = f"entry '{names[i]}'" if names and not what else place
        found = _leaf_difference(value, leaf, place)
        if found is not None:
            return found
    return None


def _leaf_difference(answer: Any, leaf: Leaf, place: str) -> Difference | None:
    where = f"{place}: " if place else ""
    tensor = as_tensor(answer)
    if tensor is None:
        wanted = "a number" if leaf.dtype is None else f"a tensor of shape {tuple(leaf.value.shape)}"
        return Difference(f"{where}it returned {kind_of(answer)}, and {wanted} is expected")
    if tensor.shape != leaf.value.shape:
        return Difference(f"{where}the shape is {tuple(tensor.shape)}, and {tuple(leaf.value.shape)} is expected")
    right = agrees(tensor, leaf)
    if bool(right.all()):
        return None
    off = (~right).nonzero()
    first = tuple(off[0].tolist())
    count = (
        f"{len(off)} of {right.numel()} entries differ; the first is at {list(first)}" if right.ndim else "it differs"
    )
    wanted, found = leaf.value[first], tensor[first]
    digits = DIGITS if tensor.is_complex() else digits_apart(wanted.item(), found.item(), DIGITS)
    return Difference(
        f"{where}{count}: expected {number(wanted, digits)}, yours {number(found, digits)}",
        preview(leaf.value, digits),
        preview(tensor, digits),
    )


def same_answer(one: Any, other: Any) -> bool:
    """Whether two answers, right or wrong, are the same up to what float32 and another order of operations do."""
    first, second = leaves(one), leaves(other)
    if len(first) != len(second):
        return False
    for left, right in zip(first, second, strict=True):
        a, b = as_tensor(left), as_tensor(right)
        if a is None and b is None and kind_of(left) == kind_of(right):
            continue
        if a is None or b is None or a.shape != b.shape or a.is_complex() != b.is_complex():
            return False
        if a.is_complex():
            a, b = torch.view_as_real(a), torch.view_as_real(b)
        a, b = a.double(), b.double()
        finite = b[b.isfinite()].abs()
        floor = 1e-5 * float(finite.max()) if finite.numel() else 0.0
        if not torch.allclose(a, b, rtol=1e-4, atol=floor, equal_nan=True):
            return False
    return True


def kind_of(value: Any) -> str:
    """A value's type in words, with its shape where it has one."""
    if value is None:
        return "None (is `return` missing?)"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, dict):
        return f"a dictionary of {len(value)} values"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)} values"
    if isinstance(value, Foreign):
        return value.kind
    if type(value).__module__ == "numpy":
        return f"a NumPy {type(value).__name__}"
    return f"a value of type {type(value).__name__}"


def number(value: Tensor, digits: int = DIGITS) -> str:
    """One entry, in as many digits as help."""
    value = value.item()
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def preview(tensor: Tensor, digits: int = DIGITS, most: int = SHOWN) -> str:
    """The first entries of a tensor and its shape, never more."""
    flat = tensor.flatten()
    entries = ", ".join(number(v, digits) for v in flat[:most]) + (", …" if flat.numel() > most else "")
    if tensor.ndim == 0:
        return entries
    shape = "" if tensor.ndim == 1 and flat.numel() <= most else f"   shape {tuple(tensor.shape)}"
    return f"[{entries}]{shape}"


def relation(answer: Any, expected: tuple[Leaf, ...], other_times: Callable[[int], Any]) -> str | None:
    """How a wrong answer is made from the right one, where that is simple.

    Args:
        other_times: shift -> the right answer with the step count shifted, or None.
    """
    given = [as_tensor(leaf) for leaf in leaves(answer)]
    if len(given) != len(expected) or any(g is None for g in given):
        return None
    if len(given) == 2 and _all_agree(given[::-1], expected):
        return "the two values have changed places"
    for tensor, leaf in zip(given, expected, strict=True):
        if tensor.is_complex():
            return "it is complex"
        if tensor.shape == leaf.value.shape and bool(agrees(tensor, leaf).all()):
            continue
        found = _tensor_relation(tensor, leaf)
        if found:
            return found
        break
    for shift, words in ((1, "one step later"), (-1, "one step earlier")):
        other = other_times(shift)
        if other is not None and _all_agree(given, other):
            return f"it is the right answer {words}: t is off by one"
    return None


def _all_agree(given: list[Tensor], expected: tuple[Leaf, ...]) -> bool:
    return all(g.shape == e.value.shape and bool(agrees(g, e).all()) for g, e in zip(given, expected, strict=True))


def _tensor_relation(answer: Tensor, leaf: Leaf) -> str | None:
    value = leaf.value
    if answer.shape != value.shape:
        if answer.numel() == value.numel():
            return "it has the right number of entries in another shape"
        if answer.ndim == 0 or value.ndim == 0:
            return "one number for each sample is expected" if answer.ndim == 0 else "one number is expected"
        if set(answer.shape) <= set(value.shape) | {1} or answer.ndim != value.ndim:
            return "a factor was multiplied along the wrong axis, or an axis was summed that should stay"
        return None
    answer = answer.double()
    if not bool(answer.isfinite().all()) and bool(value.double().isfinite().all()):
        bad = "nan" if bool(answer.isnan().any()) else "infinite"
        return (
            f"some entries are {bad}: look for a division by 0, a logarithm or root of a negative number, an overflow"
        )
    value = value.double()

    def close(tensor: Tensor) -> bool:
        return bool(agrees(tensor, leaf).all())

    if close(-answer):
        return "the sign is turned around"
    if value.ndim and value.numel() > 1:
        for axis in range(value.ndim):
            if value.shape[axis] > 1 and close(answer.flip(axis)):
                return "it runs in the opposite order" + (f" along axis {axis}" if value.ndim > 1 else "")
        if value.ndim >= 2 and value.shape[-1] == value.shape[-2] and close(answer.transpose(-1, -2)):
            return "it is transposed"
    if bool((answer >= 0).all()) and close(answer.sqrt()):
        return "it is the square of the right answer"
    if close(answer.square()):
        return "it is the root of the right answer"
    if bool((answer != 0).all()) and close(1 / answer):
        return "it is one divided by the right answer"
    if close(1 - answer):
        return "it is one minus the right answer"
    large = value.abs() > 0.05 * value.abs().max()
    if bool(large.any()) and value.numel() > 1:
        ratios = answer[large] / value[large]
        middle = float(ratios.median())
        if abs(middle) > 1e-12 and close(answer / middle):
            return f"it is the right answer times {middle:.6g}"
        offset = float((answer - value).median())
        if close(answer - offset):
            return f"it is the right answer plus {offset:.6g}"
    return None
