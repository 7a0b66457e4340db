"""What a right answer is: the reference's in float64, and how far from it rounding alone can lead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.grading.judge.calling import LocalCaller, Returned, leaves

SLACK = 64.0
"""How many times the measured rounding error an answer may be off: another order of operations rounds otherwise."""
TRIALS = 4
"""How often the inputs are disturbed by one unit of rounding, to see how much the answer depends on it."""
FINEST = 1e-13
"""The least unit of rounding. In float64 the reference's own error is not measured, for it is what others are held to;
and nothing is asked there but that an answer has far more digits than float32 could give."""


@dataclass(frozen=True)
class Leaf:
    """One tensor or number of the expected answer."""

    value: Tensor
    """float64, int64 or bool."""
    tolerance: Tensor
    """Of the same shape: the largest absolute error that is no mistake; 0 for what is not float."""
    dtype: torch.dtype | None
    """None for a plain number."""


@dataclass(frozen=True)
class Expected:
    """A right answer to one call."""

    leaves: tuple[Leaf, ...]
    gradients: tuple[Leaf, ...]
    graph: bool
    """Whether the reference's own answer hangs on an autograd graph."""


def with_floats(arguments: tuple, dtype: torch.dtype) -> tuple:
    """The arguments with every floating-point tensor in this dtype, holding numbers that float32 can hold."""
    return tuple(a.float().to(dtype) if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments)


def laid_out_otherwise(arguments: tuple) -> tuple:
    """The same numbers: every vector with gaps between its entries, every matrix and more stored last axis first."""

    def spread(a: Any) -> Any:
        if not isinstance(a, Tensor) or a.ndim == 0 or a.numel() < 2:
            return a
        if a.ndim > 1:
            return a.transpose(0, -1).contiguous().transpose(0, -1)
        wide = torch.zeros((*a.shape, 2), dtype=a.dtype)
        wide[..., 0] = a
        return wide[..., 0]

    return tuple(spread(a) for a in arguments)


def in_both(arguments: tuple, finer: tuple, tables: tuple[int, ...]) -> tuple:
    """The arguments as a run has them: those at these positions in float64, the others in float32."""
    return tuple(fine if i in tables else a for i, (a, fine) in enumerate(zip(arguments, finer, strict=True)))


def expect(reference: Callable, arguments: tuple, trains: bool = False) -> Expected:
    """The reference's answer to these arguments, computed in float64, with tolerances for the arguments' own dtype.

    An entry may be off by `SLACK` times the larger of two measured errors: that of the reference in the arguments'
    dtype, and the change of the answer when the inputs change by one unit of rounding; and by a few units of its own.
    Without floating-point tensors among the arguments the dtype is float32.
    """
    units = [torch.finfo(a.dtype).eps for a in arguments if isinstance(a, Tensor) and a.is_floating_point()]
    return _expect(reference, arguments, trains, max(units, default=torch.finfo(torch.float32).eps))


def expect_finer(reference: Callable, finer: tuple) -> Expected:
    """The same with the digits of float64, or of the dtype that the reference returns where no argument has any."""
    if any(isinstance(a, Tensor) and a.is_floating_point() for a in finer):
        return expect(reference, finer)
    found = [leaf for leaf in leaves(_answer(reference, finer, False).value) if isinstance(leaf, Tensor)]
    units = [torch.finfo(leaf.dtype).eps for leaf in found if leaf.is_floating_point()]
    return _expect(reference, finer, False, max(units, default=torch.finfo(torch.float32).eps))


def _answer(reference: Callable, arguments: tuple, trains: bool) -> Returned:
    returned = LocalCaller(reference)(arguments, gradients=trains)
    if returned.fault is not None:
        raise RuntimeError(f"the reference {reference.__name__} failed: {returned.fault}")
    return returned


def _expect(reference: Callable, arguments: tuple, trains: bool, unit: float) -> Expected:
    unit = max(unit, FINEST)
    exact_arguments = tuple(a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments)
    exact = _answer(reference, exact_arguments, trains)
    same = all(a.dtype == b.dtype for a, b in zip(arguments, exact_arguments, strict=True) if isinstance(a, Tensor))
    plain = exact if same else _answer(reference, arguments, trains)
    call, generator = LocalCaller(reference), torch.Generator().manual_seed(0)
    disturbed = []
    # Rounding has nothing to say about an answer without floats, and a network that is built and tried takes long.
    found = (*leaves(exact.value), *exact.gradients)
    floats = any(torch.as_tensor(leaf).is_floating_point() for leaf in found)
    for _ in range(TRIALS if floats else 0):
        returned = call(tuple(_disturb(a, unit, generator) for a in exact_arguments), gradients=trains)
        if returned.fault is None:
            disturbed.append(returned)
    same_shape = [d for d in disturbed if _shapes(d.value) == _shapes(exact.value)]
    return Expected(
        leaves=_leaves(exact.value, plain.value, [d.value for d in same_shape], unit),
        gradients=_leaves(exact.gradients, plain.gradients, [d.gradients for d in same_shape], unit),
        graph=plain.graph,
    )


def _shapes(value: Any) -> list[tuple[int, ...]]:
    return [tuple(torch.as_tensor(leaf).shape) for leaf in leaves(value)]


def _disturb(argument: Any, unit: float, generator: torch.Generator) -> Any:
    if not isinstance(argument, Tensor) or not argument.is_floating_point():
        return argument
    signs = torch.randint(0, 2, argument.shape, generator=generator) * 2 - 1
    # In the argument's own dtype: an int64 tensor times a number is float32, in which 1 + 1e-13 is 1.
    return argument * (1 + unit * signs.to(argument))


def _leaves(exact: Any, plain: Any, disturbed: list[Any], unit: float) -> tuple[Leaf, ...]:
    found = []
    others = [leaves(value) for value in disturbed]
    for i, (value, rounded) in enumerate(zip(leaves(exact), leaves(plain), strict=True)):
        dtype = rounded.dtype if isinstance(rounded, Tensor) else None
        value = torch.as_tensor(value)
        if not value.is_floating_point():
            found.append(Leaf(value, torch.zeros(value.shape, dtype=torch.float64), dtype))
            continue
        value = value.double()
        error = (torch.as_tensor(rounded).double() - value).abs()
        for other in others:
            error = torch.maximum(error, (torch.as_tensor(other[i]).double() - value).abs())
        size = value.abs()
        largest = size[size.isfinite()].max() if bool(size.isfinite().any()) else torch.tensor(0.0)
        error, size = error.nan_to_num(0.0, 0.0, 0.0), size.nan_to_num(0.0, 0.0, 0.0)
        # An entry can be lucky: it gets at least the mean error of all.
        error = error.clamp(min=error.mean()) if error.numel() else error
        found.append(Leaf(value, SLACK * error + 8 * unit * size + unit * largest, dtype))
    return tuple(found)
