"""How a wrong answer is made from the right one, where that is simple."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffusion_lab.grading.judge.calling import leaves
from diffusion_lab.grading.judge.comparing import agrees, as_tensor
from diffusion_lab.grading.judge.expecting import Leaf

CONSTANTS = {
    "2": 2.0,
    "3": 3.0,
    "4": 4.0,
    "pi": math.pi,
    "2 pi": 2 * math.pi,
    "log(2)": math.log(2),
    "log(10)": math.log(10),
    "10 / log(10)": 10 / math.log(10),
    "20 / log(10)": 20 / math.log(10),
}
"""Factors that people lose or find, by name."""
ROUNDED = "it agrees with the right answer to {} digits: something small is added on the way, or something is rounded"
"""The kind of relation that a part may show because it hardly feels what is wrong elsewhere."""


@dataclass(frozen=True)
class Relation:
    """How a wrong answer is made from the right one."""

    kind: str
    """A sentence with a place, perhaps, for what is another in each case."""
    filling: str = ""
    """What stands there."""

    @property
    def words(self) -> str:
        """The whole sentence."""
        return self.kind.format(self.filling)


def relation(
    answer: Any,
    expected: tuple[Leaf, ...],
    other_times: Callable[[int], Any],
    sizes: Mapping[str, float] | None = None,
    reshaped: bool = True,
) -> Relation | None:
    """The relation, or None.

    Args:
        other_times: shift -> the right answer with the step count shifted, or None.
        reshaped: whether it may be said that only the shape is wrong.
        sizes: numbers of this case by name, such as the batch size, which a factor may turn out to be.
    """
    given = [as_tensor(leaf) for leaf in leaves(answer)]
    if len(given) != len(expected) or any(g is None for g in given):
        return None
    if len(given) == 2 and _all_agree(given[::-1], expected):
        return Relation("the two values have changed places")
    for tensor, leaf in zip(given, expected, strict=True):
        if tensor.is_complex():
            return Relation("it is complex")
        if tensor.shape == leaf.value.shape and bool(agrees(tensor, leaf).all()):
            continue
        if tensor.shape != leaf.value.shape:
            found = _of_shapes(tensor, leaf, sizes or {}, reshaped)
        else:
            found = _of_values(tensor, leaf, sizes or {})
        if found:
            return found
        break
    for shift, words in ((1, "one step later"), (-1, "one step earlier")):
        other = other_times(shift)
        if other is not None and _all_agree(given, other):
            return Relation(f"it is the right answer {words}: t is off by one")
    return None


def _all_agree(given: list[Tensor], expected: tuple[Leaf, ...]) -> bool:
    return all(g.shape == e.value.shape and bool(agrees(g, e).all()) for g, e in zip(given, expected, strict=True))


def _of_shapes(answer: Tensor, leaf: Leaf, sizes: Mapping[str, float], reshaped: bool) -> Relation | None:
    value = leaf.value
    if value.is_floating_point() and not answer.is_floating_point():
        return Relation(
            "it has whole numbers, and the numbers that are asked for are not whole: an index is not what it points at"
        )
    if reshaped and only_reshaped(answer, leaf):
        return Relation("it has the right numbers, in another shape")
    if answer.ndim == 0 and value.ndim == 1 and len(value) == sizes.get("the batch size B"):
        return Relation("one number for each sample is expected: do not take the mean, or the sum, over the batch")
    if answer.ndim == 0:
        words = "it is a single number, and shape {} is expected: a mean or a sum goes over too much"
        return Relation(words, str(tuple(value.shape)))
    if value.ndim == 0:
        return Relation("one number is expected")
    if answer.numel() > value.numel() and _spread(answer, value):
        return Relation(
            "a factor was multiplied along the wrong axis: give it one axis of size 1 for each axis it must not touch"
        )
    if answer.ndim < value.ndim:
        return Relation("an axis is missing: it was summed over, averaged or indexed away, and should stay")
    if answer.ndim > value.ndim:
        return Relation("there is an axis too many: it was to be summed over or averaged, or should not have been made")
    return None


def only_reshaped(answer: Tensor, leaf: Leaf) -> bool:
    """Whether it has the right entries in another shape."""
    return answer.shape != leaf.value.shape and answer.numel() == leaf.value.numel() and _same_numbers(answer, leaf)


def _same_numbers(answer: Tensor, leaf: Leaf) -> bool:
    """Whether it has the right entries, in whatever order."""
    value, order = leaf.value.double().flatten().sort()
    found = answer.double().flatten().sort().values
    slack = leaf.tolerance.flatten()[order].max() if leaf.tolerance.numel() else 0.0
    return bool(((found - value).abs() <= slack).all())


def _spread(answer: Tensor, value: Tensor) -> bool:
    """Whether its shape is the expected one with some axis repeated, as broadcasting makes them."""
    return set(answer.shape) <= set(value.shape) | {1}


def _of_values(answer: Tensor, leaf: Leaf, sizes: Mapping[str, float]) -> Relation | None:
    answer, value = answer.double(), leaf.value.double()
    if not bool(answer.isfinite().all()) and bool(value.isfinite().all()):
        bad = "nan" if bool(answer.isnan().any()) else "infinite"
        return Relation(
            f"some entries are {bad}: look for a division by 0, a logarithm or root of a negative number, an overflow"
        )

    def close(tensor: Tensor) -> bool:
        return bool(agrees(tensor, leaf).all())

    if close(-answer):
        return Relation("the sign is turned around")
    if value.ndim and value.numel() > 1:
        for axis in range(value.ndim):
            if value.shape[axis] > 1 and close(answer.flip(axis)):
                return Relation("it runs in the opposite order{}", f" along axis {axis}" if value.ndim > 1 else "")
        if value.ndim >= 2 and value.shape[-1] == value.shape[-2] and close(answer.transpose(-1, -2)):
            return Relation("it is transposed")
    if bool((answer >= 0).all()) and close(answer.sqrt()):
        return Relation("it is the square of the right answer")
    if close(answer.square()):
        return Relation("it is the root of the right answer")
    if bool((answer != 0).all()) and close(1 / answer):
        return Relation("it is one divided by the right answer")
    if close(1 - answer):
        return Relation("it is one minus the right answer")
    large = value.abs() > 0.05 * value.abs().max()
    if bool(large.any()) and value.numel() > 1:
        middle = float((answer[large] / value[large]).median())
        if abs(middle) > 1e-12 and close(answer / middle):
            return Relation("it is the right answer times {}", f"{middle:.6g}{_name_of(middle, sizes)}")
        offset = float((answer - value).median())
        if close(answer - offset):
            return Relation("it is the right answer plus {}", f"{offset:.6g}")
    if value.ndim == 1 and len(value) != sizes.get("the batch size B"):
        wrong = _where_wrong(answer, agrees(answer, leaf))
        if wrong:
            return wrong
    worst = float((answer - value).abs().max() / value.abs().max().clamp(min=1e-300))
    if 0 < worst < 1e-3:
        return Relation(ROUNDED, str(int(-math.log10(worst))))
    return None


def _where_wrong(answer: Tensor, right: Tensor) -> Relation | None:
    """ "all is right but the last entry", where only one end of a list is wrong."""
    if len(answer) < 4 or int((~right).sum()) != 1:
        return None
    place = {0: "first", len(answer) - 1: "last"}.get(int((~right).nonzero()))
    return Relation(f"all is right but the {place} entry: {{}}", f"{answer[~right].item():.6g}") if place else None


def _name_of(factor: float, sizes: Mapping[str, float]) -> str:
    """ ", which is 1 / log(2)", where the factor is made of a number that has a name; sizes of the case come first."""
    for name, size in {**sizes, **CONSTANTS}.items():
        if size in (0, 1) or f"{factor:.6g}" == name:
            continue
        words = f"{name}, {size:g}" if name in sizes else name
        said = {
            1.0: words,
            -1.0: f"1 / {_bracketed(name)}",
            0.5: f"the root of {words}",
            -0.5: f"1 / the root of {words}",
        }
        for power, text in (said | {2.0: f"the square of {words}"} if name in sizes else said).items():
            if math.isclose(abs(factor), size**power, rel_tol=2e-5):
                return f", which is {'minus ' if factor < 0 else ''}{text}{' here' if name in sizes else ''}"
    return ""


def _bracketed(name: str) -> str:
    return f"({name})" if " / " in name else name
