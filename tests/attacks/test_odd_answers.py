"""Whatever a piece answers, the check gives a verdict: none of what comes out of the sandbox may break the grader."""

from __future__ import annotations

import math

import pytest
import torch

from diffusion_lab.exercises import library
from diffusion_lab.grading.judge.calling import Foreign, Returned
from diffusion_lab.grading.judge.checking import check
from diffusion_lab.grading.judge.telling import told

NAN, INF = math.nan, math.inf
ODD = {
    "none": None, "true": True, "nan": NAN, "inf": INF, "zero": 0, "text": "x", "nothing": "", "large": 2**53 - 1,
    "foreign": Foreign("a generator"), "list": [], "tuple": (), "dict": {}, "nested": [[1, (2, {"a": [3]})]],
    "tensors": (torch.zeros(1),) * 3, "mixed": (torch.zeros(2), None, "x"), "keys": {"": torch.zeros(1), "0": 1},
    "empty": torch.zeros(0), "empty_2d": torch.zeros(0, 5), "scalar": torch.tensor(NAN), "complex": torch.tensor([1j]),
    "bool": torch.ones(2, 3, dtype=torch.bool), "half": torch.full((3,), INF, dtype=torch.float16),
    "bytes": torch.zeros(4, dtype=torch.uint8), "many_axes": torch.zeros([1] * 20), "int64": torch.tensor([2**62]),
    "long": 10**30,
}  # fmt: skip
LIKE = {
    "nans": lambda x: torch.full_like(x, NAN) if x.is_floating_point() else x,
    "infinite": lambda x: torch.full_like(x, -INF) if x.is_floating_point() else x,
    "huge": lambda x: torch.full_like(x, 1e38) if x.is_floating_point() else x,
    "complex": lambda x: x.to(torch.complex64),
    "negative": lambda x: -x if x.is_floating_point() else x.long() - 10**9,
    "first": lambda x: x[:1] if x.ndim else x,
    "integers": lambda x: x.to(torch.int8),
    "transposed": lambda x: x.mT if x.ndim > 1 else x,
}


def answers(make):
    def call(arguments, *, seed=0, gradients=False):
        return Returned(value=make(arguments), gradients=(torch.full((2, 2), NAN), "x"), modified=(-1, 99), graph=True)

    return call


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.nightly) if n == "tiny_denoiser" else n for n in library()]
)
def test_odd_answers_get_a_verdict(name: str):
    exercise = library()[name]

    def changed(change):
        def make(arguments):
            found = exercise.reference(*arguments)
            found = found if isinstance(found, (tuple, list)) else (found,)
            parts = [change(part.detach()) if isinstance(part, torch.Tensor) else part for part in found]
            return tuple(parts) if len(parts) > 1 else parts[0]

        return make

    made = {kind: lambda arguments, value=value: value for kind, value in ODD.items()}
    made |= {f"like {kind}": changed(change) for kind, change in LIKE.items()}
    for kind, make in made.items():
        verdict = check(exercise, answers(make), seed=3)
        assert 0 <= verdict.points <= verdict.out_of == exercise.points, kind
        assert not verdict.passed, kind
        assert told(verdict), kind
