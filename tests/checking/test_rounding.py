"""Where rounding alone decides, it decides the same way on every seed: for the right answers."""

from __future__ import annotations

import pytest

from diffusion_lab.exercises import exercise, library, notebook
from diffusion_lab.exercises.bugs import BugTask
from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.derivations import Derivation
from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.grading.judge import accusing, deriving, kinds, numbering, trying
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.checking import check
from diffusion_lab.grading.judge.telling import told

TRAINED = [item for item in library().values() if item.trains]
LOSS = exercise("rounding_loss")


def refused(item, seed: int) -> list[str]:
    verdicts = {answer.name: check(item, LocalCaller(answer.function), seed) for answer in item.right_answers}
    return [f"{name}: {told(verdict)}" for name, verdict in verdicts.items() if not verdict.passed]


@pytest.mark.parametrize("seed", [10, 18, 101])
def test_a_small_weights_gradient_may_round_as_a_large_ones(seed: int):
    """On these seeds the terms of a normal density, which cancel, lost more than a small gradient could."""
    assert refused(LOSS, seed) == []


@pytest.mark.slow
@pytest.mark.parametrize("item", TRAINED, ids=lambda item: item.name)
def test_no_right_gradient_is_refused_by_luck(item):
    assert [fault for seed in range(100, 104) for fault in refused(item, seed)] == []


@pytest.mark.parametrize(("share", "passes"), [(1e-3, False), (1e-8, True)])
def test_a_small_gradient_that_is_wrong_is_refused_all_the_same(share: float, passes: bool):
    """The value is right, and the gradient for one of the weights is off."""

    def nearly(model, *others):
        weight = model.gain.to(others[0])
        return LOSS.reference(model, *others) + share * (weight - weight.detach())

    def asked(model, *others):
        return nearly(model, *others) if hasattr(model, "gain") else LOSS.reference(model, *others)

    verdict = check(LOSS, LocalCaller(asked), 18)
    assert verdict.passed == passes and ("gradient for the network's weights" in told(verdict)) != passes


@pytest.mark.parametrize(
    ("kind", "home"),
    [(CheckTask, trying), (BugTask, accusing), (OwnNumber, numbering), (Derivation, deriving)],
    ids=lambda x: x.__name__,
)
def test_what_a_lab_asks_for_is_audited_on_all_seeds(kind: type, home, monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr(home, "audit", lambda task, seeds: seen.extend(seeds))
    task = next(task for task in notebook("normal_2d_lab").exercises if isinstance(task, kind))
    kinds.audit(task, (0, 1, 2, 3), range(4, 7))
    assert seen == [0, 1, 4, 5, 6]
