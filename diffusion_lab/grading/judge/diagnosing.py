"""Why a piece is wrong: symptoms that any piece can have, the exercise's known mistakes, simple relations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.exercises import Exercise, WrongAnswer
from diffusion_lab.grading.judge.calling import Caller, LocalCaller, Returned, leaves
from diffusion_lab.grading.judge.comparing import as_tensor, difference, same_answer
from diffusion_lab.grading.judge.engine import explain
from diffusion_lab.grading.judge.expecting import Expected, expect, laid_out_otherwise
from diffusion_lab.grading.judge.hearing import sharper
from diffusion_lab.grading.judge.questions import Question, Trial
from diffusion_lab.grading.judge.relating import ROUNDED, Relation, only_reshaped, relation

LOOKED_AT_TWICE = 3
"""How many cases are called a second time, to see whether the answer stays the same."""
MOST = 0.5
"""A known mistake that explains a smaller share of the failing cases may agree there by accident, or be one of two."""
REPEATED = 1e-6
"""The largest relative difference between two calls with the same inputs: threads may sum in another order."""

IDEAS = {
    "random": "The answer changes from call to call with the same inputs. All randomness is passed in: draw none.",
    "modified": "Your function changes its input `{argument}` in place. The caller still needs it: make a new tensor.",
    "dtype": "The dtype is not kept: {detail}",
    "dtype asked for": "The dtype is not the one asked for: {detail}",
    "digits": "Digits are lost: {detail}",
    "layout": "The answer depends on how the input lies in memory. `reshape` works where `view` does not.",
    "graph": "The answer still hangs on an autograd graph, which grows with every sampler step. Use `torch.no_grad()`.",
    "mode": "The network is not in the mode (training or evaluation) in which it came. Restore `model.training`.",
}


@dataclass(frozen=True)
class Symptom:
    """What a piece does that no right one does, whatever it computes."""

    kind: str
    """A key of `IDEAS`."""
    detail: str = ""
    """What its words have a place for."""

    @property
    def hint(self) -> str:
        """The symptom in words."""
        return IDEAS[self.kind].format(argument=self.detail, detail=self.detail)


@dataclass(frozen=True)
class Idea:
    """What probably went wrong."""

    name: str
    """The known wrong answer's, or a symptom's."""
    hint: str
    known: bool
    """Whether it is one of the exercise's wrong answers."""


def symptoms_of(exercise: Exercise, caller: Caller, trials: list[Trial]) -> dict[str, Symptom]:
    """The symptoms that the piece has, by the name that wrong answers call them; "dtype" is all of `dtype_fault`."""
    symptoms: dict[str, Symptom] = {}
    answered = [t for t in trials if t.returned.fault is None]
    for trial in answered:
        if trial.returned.modified:
            names = exercise.parameters
            symptoms["modified"] = Symptom("modified", names[min(trial.returned.modified[0], len(names) - 1)])
        if not trial.returned.mode_kept:
            symptoms["mode"] = Symptom("mode")
        if trial.returned.graph and not trial.expected.graph:
            symptoms["graph"] = Symptom("graph")
    kinds: set[tuple] = set()
    careful = {t for t in trials if t.passed and _careful(exercise, caller, t, kinds)}
    for trial in [t for t in answered if t not in careful][:LOOKED_AT_TWICE]:
        again = caller(trial.arguments, seed=1)
        if again.fault is not None or not same_answer(again.value, trial.returned.value, digits=REPEATED):
            symptoms["random"] = Symptom("random")
    for trial in (t for t in trials if t.passed and t not in careful):
        fault = dtype_fault(exercise, caller, trial)
        if fault is not None:
            symptoms["dtype"] = fault
        moved = caller(laid_out_otherwise(trial.arguments))
        if moved.fault is not None or difference(moved.value, trial.expected.leaves) is not None:
            symptoms["layout"] = Symptom("layout")
    return symptoms


def _careful(exercise: Exercise, caller: Caller, trial: Trial, kinds: set[tuple]) -> bool:
    """Whether one call in float64, in another memory layout and with another seed, is right in all three at once.

    Most right answers are. The symptoms of the others are told apart by a call for each. Mixed dtypes take a call of
    their own, which is made once for each of the `kinds` of question.
    """
    if wrong_dtype(trial.returned.value, trial.expected):
        return False
    finer = trial.question.finer_expected
    returned = caller(laid_out_otherwise(trial.question.finer), seed=1)
    if returned.fault is not None or difference(returned.value, finer.leaves) is not None:
        return False
    if wrong_dtype(returned.value, finer):
        return False
    kind = _kind(trial)
    if kind in kinds:
        return True
    kinds.add(kind)
    return not _mixed_fault(exercise, caller, trial)


def _kind(trial: Trial) -> tuple:
    """What code may branch on: the part, words and switches, the signs of numbers, how many axes tensors have."""

    def of(argument: Any) -> Any:
        if isinstance(argument, Tensor):
            return argument.ndim
        if isinstance(argument, (int, float)) and not isinstance(argument, bool):
            return (argument > 0) - (argument < 0)
        return argument if isinstance(argument, (str, bool, type(None))) else type(argument)

    return (trial.case.part, *map(of, trial.arguments))


AS_GIVEN = "Make new tensors with the dtype and device of the inputs."
AS_ASKED = "Name the dtype where you make the tensor."
DIGITS_LOST = (
    "Either something on the way is float32 (a new tensor without a `dtype`, or a cast), or a small number like 1e-8 "
    "was added that bends every answer a little."
)


def dtype_fault(exercise: Exercise, caller: Caller, trial: Trial) -> Symptom | None:
    """What is wrong with the dtypes or the digits of a right answer, and what to do; None where nothing is.

    Where no input is a float there is nothing to keep, and the dtype is one that the exercise asks for.
    """
    arguments, expected = trial.question.finer, trial.question.finer_expected
    floats = any(isinstance(a, Tensor) and a.is_floating_point() for a in arguments)
    found = wrong_dtype(trial.returned.value, trial.expected, AS_GIVEN if floats else AS_ASKED)
    if found:
        kept = floats and any(leaf.value.is_floating_point() for leaf in trial.expected.leaves)
        return Symptom("dtype", f"for float32 inputs {found}") if kept else Symptom("dtype asked for", found)
    returned = caller(arguments) if floats else trial.returned
    inputs = "for float64 inputs " if floats else ""
    if returned.fault is not None:
        return Symptom("dtype", f"{inputs}it raised {returned.fault.name}: {returned.fault.message}. {AS_GIVEN}")
    found = wrong_dtype(returned.value, expected, AS_GIVEN)
    if found:
        return Symptom("dtype" if floats else "dtype asked for", f"{inputs}{found}")
    if difference(returned.value, expected.leaves) is not None:
        what = "" if floats else ", though its dtype is float64"
        return Symptom("digits", f"{inputs}the answer has no more digits than float32 has{what}. {DIGITS_LOST}")
    mixed = _mixed_fault(exercise, caller, trial)
    return Symptom("dtype", mixed) if mixed else None


def wrong_dtype(value: Any, expected: Expected, advice: str = "") -> str:
    """Which dtype a right answer has and which is expected; empty where they are the same."""
    for part, leaf in zip(leaves(value), expected.leaves, strict=False):
        if isinstance(part, Tensor) and leaf.dtype is not None and part.dtype != leaf.dtype:
            if not leaf.dtype.is_floating_point:
                advice = "These numbers count something or point at entries, and PyTorch's type for that is int64."
                advice = advice if leaf.dtype == torch.int64 else ""
            return f"it returned {_dtype(part)}, and {_dtype(leaf)} is expected. {advice}".strip()
    return ""


def _mixed_fault(exercise: Exercise, caller: Caller, trial: Trial) -> str:
    """What is wrong where tables are float64 and data float32, as they are in a run; empty where nothing is."""
    question = trial.question
    if question.mixed is None:
        return ""
    names = " and ".join(f"`{name}`" for name in exercise.kept_finer if name in exercise.parameters)
    inputs = f"with {names} in float64 and data in float32" if names else "with a float32 network"
    returned = caller(question.mixed)
    if returned.fault is not None:
        return f"{inputs}, as in a run, it raised {returned.fault.name}: {returned.fault.message}"
    if difference(returned.value, question.expected.leaves) is not None:
        return f"{inputs}, as in a run, the answer is another one"
    if exercise.like:
        for part, dtype in zip(leaves(returned.value), question.mixed_dtypes, strict=False):
            if isinstance(part, Tensor) and dtype is not None and part.dtype != dtype:
                wanted = str(dtype).removeprefix("torch.")
                return f"{inputs} it returned {_dtype(part)}, and {wanted}, the dtype of `{exercise.like}`, is expected"
    return ""


def _dtype(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.")


def ideas_behind(
    exercise: Exercise, trials: list[Trial], symptoms: dict[str, Symptom], caller: Caller | None = None
) -> tuple[Idea, ...]:
    """The known mistakes that compute what this piece computes; else a small edit that explains it (see
    `explaining.py`; `caller` is the piece); else how its answers are made from the right ones."""
    failing = [t for t in trials if not t.passed]
    ideas = []
    if failing and "random" not in symptoms:
        matching, share = _matching(exercise, trials, failing)
        if matching and share < 1 and caller is not None:
            found = explain(exercise, caller, trials)
            more = share < MOST or any(mistake.name == w.name for mistake in found for w in matching)
            if found and more and not any(mistake.uncertain for mistake in found):  # it fits all cases
                return tuple(Idea(mistake.name, mistake.hint, mistake.known) for mistake in found)
        ideas = [Idea(w.name, w.hint, True) for w in matching]
    beside: list[Idea] = []  # of the answers that are right, where others are not
    for name, symptom in symptoms.items():
        known = next((w for w in exercise.wrong_answers if w.symptom == name), None)
        if known is not None and name == "dtype" and not _same_dtype(known, trials, symptom):
            known = None
        if name == "dtype" and failing:  # the words of the known one say that the numbers are right
            beside += [Idea(known.name, symptom.hint, True)] if known else []
        elif known is not None:
            ideas.append(Idea(known.name, known.hint, True))
        elif name in ("random", "modified") or not failing:
            ideas.append(Idea(name, symptom.hint, False))
    if ideas or not failing:
        return (*ideas, *beside)
    if caller is not None:
        found = explain(exercise, caller, trials)
        if found:
            return (*(Idea(mistake.name, mistake.hint, mistake.known) for mistake in found), *beside)
    return (*_related(exercise, failing), *beside)


def _same_dtype(known: WrongAnswer, trials: list[Trial], symptom: Symptom) -> bool:
    """Whether a known mistake in dtypes is this one. Its words may speak of floats where whole numbers belong, which
    means nothing to somebody whose whole numbers are too short, or whose digits are lost before the last cast."""
    trial = next((t for t in trials if t.passed), None)
    if trial is None or symptom.kind == "digits":
        return False
    other = LocalCaller(known.function)(trial.arguments)
    pairs = zip(leaves(trial.returned.value), leaves(other.value), trial.expected.leaves, strict=False)
    return all(
        one.dtype == two.dtype or (one.is_floating_point() and two.is_floating_point() and not right)
        for one, two, right in ((a, b, leaf.value.is_floating_point()) for a, b, leaf in pairs)
        if isinstance(one, Tensor) and isinstance(two, Tensor)
    )


def _related(exercise: Exercise, failing: list[Trial]) -> tuple[Idea, ...]:
    """How answers are made from the right ones, as far as that holds in half of the failing cases of a part.

    In a single case it can be an accident: where an axis has size 1, a mean over it changes only the shape.
    """
    answered = [t for t in failing if t.returned.fault is None]
    reshaped = all(_right_but_for_shape(t) for t in answered)
    for part in dict.fromkeys(t.case.part for t in answered):
        found: dict[str, list[tuple[str, Relation]]] = {}
        of_part = [t for t in answered if t.case.part == part]
        for trial in of_part:
            related = relation(
                trial.returned.value,
                trial.expected.leaves,
                lambda shift, trial=trial: _shifted(exercise, trial, shift),
                sizes_of(trial.question),
                reshaped,
            )
            if related is not None:
                found.setdefault(related.kind, []).append((trial.question.label, related))
        told = max(found.values(), key=len, default=[])
        if not told:
            continue
        label, related = told[0]
        if 2 * len(told) >= len(answered if related.kind == ROUNDED else of_part):
            return (Idea("relation", f"For {label}: {related.words}.", False),)
    return ()


def _right_but_for_shape(trial: Trial) -> bool:
    """Whether each value that it returned is right, or would be if it were laid out in another way."""
    given, expected = [as_tensor(leaf) for leaf in leaves(trial.returned.value)], trial.expected.leaves
    return len(given) == len(expected) and all(
        value is not None and not value.is_complex() and (value.shape == leaf.value.shape or only_reshaped(value, leaf))
        for value, leaf in zip(given, expected, strict=True)
    )


def sizes_of(question: Question) -> dict[str, float]:
    """Sizes of the first tensor of data among the arguments, by the names that the course gives them."""
    data = next((a for a in question.arguments if isinstance(a, Tensor) and a.ndim > 0), None)
    if data is None:
        return {}
    entries = data[0].numel()
    return {"the batch size B": len(data), **({"the entries of one sample, D": entries} if entries > 1 else {})}


def _matching(exercise: Exercise, trials: list[Trial], failing: list[Trial]) -> tuple[list[WrongAnswer], float]:
    """The wrong answer that agrees with the piece in every case; else one for each part, if only one agrees there; and
    the share of the failing cases that are explained so.

    A wrong answer counts only by cases that tell it from the right one, and there by numbers: that both raise an error
    of the same class, or have no number anywhere, says little.
    """
    candidates = [w for w in exercise.wrong_answers if w.symptom is None]

    def agree(w: WrongAnswer, among: list[Trial]) -> bool:
        return all(_same(_answer_of(w, t.question, exercise.trains), t, exercise.trains) for t in among)

    def tells(w: WrongAnswer, among: list[Trial]) -> bool:
        return any(_evidence(_answer_of(w, t.question, exercise.trains), t) for t in among)

    everywhere = [w for w in candidates if agree(w, trials)]
    if everywhere:
        sure = [w for w in everywhere if tells(w, failing)]
        alike = everywhere[:1] if len(failing) < len(trials) else _with_the_same_words(everywhere, failing)
        return sure[:1] or alike, 1.0
    where_it_fails = [w for w in candidates if agree(w, failing) and tells(w, failing)]
    if len(where_it_fails) == 1:
        return where_it_fails, 1.0
    found: dict[str, WrongAnswer] = {}
    explained = 0
    for part in dict.fromkeys(t.case.part for t in failing):
        of_part = [t for t in trials if t.case.part == part]
        agreeing = [w for w in candidates if agree(w, of_part) and tells(w, [t for t in of_part if not t.passed])]
        if len(agreeing) == 1:
            explained += sum(1 for t in of_part if not t.passed and agree(agreeing[0], [t]))
        if len(agreeing) == 1 and agreeing[0] not in found.values():
            found[part] = agreeing[0]
    if len(found) > 1 and all(_shows_beside(w, part, failing, exercise.trains) for part, w in found.items()):
        said = 'In the part "{}", your answers are those of a known mistake: {}'
        return [replace(w, hint=said.format(part, w.hint)) for part, w in found.items()], explained / len(failing)
    return list(found.values()), explained / len(failing)


def _shows_beside(mistake: WrongAnswer, part: str, failing: list[Trial], gradients: bool) -> bool:
    """Whether a mistake found in one part would be seen in others too, and is not what is seen there: then it is not
    one of two, but much like the one that was made."""
    others = [t for t in failing if t.case.part != part]
    for trial in others:
        answer = _answer_of(mistake, trial.question, gradients)
        wrong = answer.fault is not None or difference(answer.value, trial.expected.leaves) is not None
        if wrong and not _same(answer, trial, gradients):
            return True
    return False


def _evidence(answer: Returned, trial: Trial) -> bool:
    """Whether an answer that agrees with the piece's says something by its numbers, or by where it has none.

    An argument handed back does not: many mistakes come to that in some case.
    """
    if answer.fault is not None or any(isinstance(a, Tensor) and same_answer(a, answer.value) for a in trial.arguments):
        return False
    found = [as_tensor(leaf) for leaf in leaves(answer.value)]
    return any(
        tensor is not None and (tensor.is_complex() or not tensor.numel() or bool(tensor.isfinite().any()))
        for tensor in found
    )


def _with_the_same_words(candidates: list[WrongAnswer], failing: list[Trial]) -> list[WrongAnswer]:
    """The first that raises the very same error."""
    said = {t.returned.fault.message for t in failing if t.returned.fault is not None}

    def words(w: WrongAnswer) -> set[str]:
        answers = [_answer_of(w, t.question, False) for t in failing]
        return {answer.fault.message for answer in answers if answer.fault is not None}

    return [w for w in candidates if said and words(w) == said][:1]


@lru_cache(maxsize=8192)
def _answer_of(mistake: WrongAnswer, question: Question, gradients: bool) -> Returned:
    """Kept, because a class makes the same mistakes in the same cases."""
    return LocalCaller(mistake.function)(question.arguments, gradients=gradients)


def _same(one: Returned, trial: Trial, gradients: bool) -> bool:
    other, expected = trial.returned, trial.expected
    if one.fault is not None or other.fault is not None:
        return one.fault is not None and other.fault is not None and one.fault.name == other.fault.name
    return same_answer(one.value, other.value, expected.leaves) and (
        not gradients or same_answer(one.gradients, other.gradients, expected.gradients)
    )


def _shifted(exercise: Exercise, trial: Trial, shift: int) -> Any:
    if exercise.time is None:
        return None
    position = exercise.parameters.index(exercise.time)
    arguments = list(trial.arguments)
    arguments[position] = arguments[position] + shift
    if isinstance(arguments[position], Tensor) and bool((arguments[position] < 0).any()):
        return None
    try:
        # Right at a threshold the tolerance is so large that every answer would agree.
        return tuple(sharper(leaf) for leaf in expect(exercise.reference, tuple(arguments)).leaves)
    except RuntimeError:  # beyond the last step
        return None
