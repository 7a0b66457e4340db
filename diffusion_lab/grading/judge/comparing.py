"""An answer beside the expected one: whether they agree, and in words where and how they do not."""

from __future__ import annotations

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
    """A tensor or a number as a tensor; None for all else, as NumPy arrays and integers beyond 64 bits."""
    if type(answer) in (Tensor, torch.nn.Parameter):
        return answer.detach().cpu()
    if type(answer) is int and abs(answer) >= 2**63:
        return None
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


def same_answer(one: Any, other: Any, expected: tuple[Leaf, ...] = (), digits: float = 1e-4) -> bool:
    """Whether two answers, right or wrong, are the same up to what float32 and another order of operations do.

    Args:
        expected: the right answer. Where the two have its parts, what rounding does to these is allowed for as well.
        digits: the largest relative difference between the same.
    """
    first, second = leaves(one), leaves(other)
    if len(first) != len(second):
        return False
    slack = [_slack(leaf) for leaf in expected] if len(expected) == len(first) else [0.0] * len(first)
    for left, right, rounding in zip(first, second, slack, strict=True):
        a, b = as_tensor(left), as_tensor(right)
        if a is None and b is None and kind_of(left) == kind_of(right):
            continue
        if a is None or b is None or a.shape != b.shape or a.is_complex() != b.is_complex():
            return False
        if a.is_complex():
            a, b = torch.view_as_real(a), torch.view_as_real(b)
        a, b = a.double(), b.double()
        finite = b[b.isfinite()].abs()
        floor = 0.1 * digits * float(finite.max()) if finite.numel() else 0.0
        if not torch.allclose(a, b, rtol=digits, atol=max(floor, rounding), equal_nan=True):
            return False
    return True


def _slack(leaf: Leaf) -> float:
    return float(leaf.tolerance.max()) if leaf.tolerance.numel() else 0.0


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
