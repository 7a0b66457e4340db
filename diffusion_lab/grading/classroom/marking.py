"""The marks that a submission's pieces get in the sandbox."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from diffusion_lab.exercises import Exercise, Notebook, Task
from diffusion_lab.exercises.driving import driver_of, piece_of
from diffusion_lab.grading.classroom.submission import MOST_NOTES, Cell, Intake
from diffusion_lab.grading.classroom.timing import TooLong, at_most
from diffusion_lab.grading.isolation import Gone, Sandbox, SandboxError, Session, memory_bounded
from diffusion_lab.grading.judge import (
    Caller,
    Fault,
    LocalCaller,
    ProcessGone,
    Verdict,
    check,
    kept_waiting,
    prepare,
    with_prediction,
    without_points,
)
from diffusion_lab.grading.notebook import CELL_LIMIT

PIECE_LIMIT = 30.0
"""Seconds for all calls of one piece; the reference takes less than one."""
SUBMISSION_LIMIT = 300.0
"""Seconds for all of a submission together: its cells and pieces could each stay just below their own limits."""
COMPARING_LIMIT = 20.0
"""Seconds of processor time for what the grader makes of the answers of one piece; honest ones take less than one."""
COMPARING_MEMORY = 3 << 30
"""Bytes that it may take meanwhile."""
BUSY = 0.2
"""The part of its time for which a submission must have waited for others to be tried once more when it was late."""
MOST_LOST = 3
"""How many cells may end the process before the student's own cells are no longer run."""


@dataclass(frozen=True)
class Marked:
    """A graded submission."""

    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]
    """What the instructor should know, such as an attempt to import the reference."""
    seconds: float
    robbed: bool = False
    """Whether something was late and other programs had kept the submission from running meanwhile."""

    @property
    def points(self) -> float:
        return sum(verdict.points for verdict in self.verdicts)


def mark(sandbox: Sandbox, notebook: Notebook, intake: Intake, seed: int, limit: float | None = None) -> Marked:
    """Check every exercise of the notebook in the sandbox, on cases drawn from this seed.

    Args:
        limit: seconds for the whole submission; by default `SUBMISSION_LIMIT`.

    A piece that calls an earlier piece that is not right is checked with the grader's in its place, as in the notebook.
    """
    began, kept = time.monotonic(), kept_waiting()
    run = _Run(sandbox, intake, SUBMISSION_LIMIT if limit is None else limit)
    exercises = {exercise.name: exercise for exercise in notebook.exercises}
    verdicts: dict[str, Verdict] = {}
    stand_ins: dict[str, Callable] = {}
    try:
        again = []
        for name in intake.by_use(exercises):
            later = (intake.uses.get(name, set()) & exercises.keys()) - verdicts.keys()  # these call each other
            ours = {other: piece_of(exercises[other]) for other in later if isinstance(exercises[other], Exercise)}
            verdicts[name] = run.check(exercises[name], stand_ins | ours, seed)
            if not verdicts[name].passed and isinstance(exercises[name], Exercise):  # only pieces, as in the notebook
                stand_ins[name] = piece_of(exercises[name])
            again += [name] if later else []
        if again:
            run.close()  # what a piece was asked, and what stand-ins have answered since, is forgotten
        for name in exercises:
            if name in again:
                others = {other: function for other, function in stand_ins.items() if other != name}
                verdicts[name] = run.check(exercises[name], others, seed)
    finally:
        run.close()
    notes = intake.notes + run.notes
    if run.tried and not any("diffusion_lab" in note for note in notes):
        tried = ", ".join(sorted(run.tried)[:MOST_NOTES])
        notes.append(f"it tried to import or open what does not exist in the sandbox: {tried}")
    seconds = time.monotonic() - began
    outcomes = [outcome for verdict in verdicts.values() for outcome in verdict.outcomes]
    late = run.late or any(o.raised is not None and o.raised.kind == "time" for o in outcomes)
    ordered = tuple(with_prediction(task, verdicts[name], intake.predictions) for name, task in exercises.items())
    waited = run.waited + kept_waiting() - kept
    return Marked(ordered, tuple(notes), seconds, late and waited > BUSY * seconds)


class _Run:
    """The submission's process, started again where a piece has ended it."""

    def __init__(self, sandbox: Sandbox, intake: Intake, limit: float):
        self.sandbox, self.intake = sandbox, intake
        self.session: Session | None = None
        self.faults: dict[str, Fault] = {}
        self.left_out: set[str] = set()
        self.defined: set[str] = set()
        self.all: list[str] = []
        self.notes: list[str] = []
        self.tried: set[str] = set()
        self.limit, self.ends = limit, time.monotonic() + limit
        self.late, self.waited = False, 0.0

    def check(self, exercise: Task, stand_ins: dict[str, Callable], seed: int) -> Verdict:
        name = exercise.name
        if name not in self.intake.solutions:
            return without_points(exercise, "missing", "Neither the function nor its cell is in the notebook.")
        try:
            self._ready()
            if name not in self.defined:
                return self._undefined(exercise)
            together, driver = min(PIECE_LIMIT, self._left()), driver_of(exercise)
            with self.session.piece(name, stand_ins=stand_ins, together=together, driver=driver) as caller:
                verdict = self._compared(exercise, caller, seed)
        except Gone as gone:
            self.late = self.late or "time" in gone.why
            self.close()
            return without_points(exercise, "missing", f"It could not be called: {gone.why}.")
        if self.session is not None and (self.session.lost or self.session.left):
            self.close()
        used = sorted(caller.used)
        if used:
            note = f"Checked with our {', '.join(used)}, because yours is not right yet."
            verdict = replace(verdict, note=f"{note} {verdict.note}".strip())
        return verdict

    def _compared(self, exercise: Task, caller: Caller, seed: int) -> Verdict:
        """The verdict on a piece, whatever it answers."""
        prepare(exercise, seed)
        try:
            with memory_bounded(COMPARING_MEMORY), at_most(COMPARING_LIMIT):
                return check(exercise, caller, seed)
        except TooLong:
            why = "it took the grader too long to compare its answers with the right ones"
        except (Gone, SandboxError, OSError):
            raise
        except Exception as error:
            # An answer made the check fail, unless the reference's own answers do.
            check(exercise, LocalCaller(exercise.reference), seed)
            why = f"its answers cannot be compared with the right ones ({type(error).__name__})"
        self.notes.append(f"'{exercise.name}': {why}")
        self.close()
        return without_points(exercise, "missing", f"{why[0].upper()}{why[1:]}.")

    def close(self) -> None:
        if self.session is not None:
            self.waited += self.session.waited()
            self.tried |= self.session.tried
            self.session.close()
            self.session = None

    def _left(self) -> float:
        """Seconds; raises Gone where there are none."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise Gone(f"the submission took more than {self.limit:g} s in all")
        return left

    def _ready(self) -> None:
        """A session in which all cells have run. A cell that does not end is left out from then on."""
        while self.session is None:
            self.session = self.sandbox.open()
            for cell in self._cells():
                try:
                    fault = self.session.run_cell(cell.name, cell.source, min(CELL_LIMIT, self._left()))
                except Gone as gone:
                    self.late = self.late or "time" in gone.why
                    self.left_out.add(cell.name)
                    self.faults[cell.name] = ProcessGone("time", "ProcessGone", gone.why)
                    self.notes.append(f"running '{cell.name}': {gone.why}")
                    self.close()
                    break
                if fault is not None:
                    self.faults[cell.name] = fault
            else:
                try:
                    self.defined, self.all = self.session.names(list(self.intake.solutions))
                except Gone as gone:
                    self.close()
                    raise gone

    def _cells(self) -> Iterable[Cell]:
        without_own = len(self.left_out) >= MOST_LOST
        return [
            cell
            for cell in self.intake.order
            if cell.name not in self.left_out and not (without_own and not cell.gives)
        ]

    def _undefined(self, exercise: Task) -> Verdict:
        failed = [cell.name for cell in self.intake.giving(exercise.name) if cell.name in self.faults]
        fault = self.faults[failed[0]] if failed else None
        if fault is not None:
            where = f" at {fault.line}" if fault.line else ""
            return without_points(exercise, "missing", f"Its cell failed: {fault.name}: {fault.message}{where}.")
        near = difflib.get_close_matches(exercise.name, self.all, n=1)
        hint = f" There is a function {near[0]}." if near else ""
        return without_points(exercise, "missing", f"Its cell defines no function {exercise.name}.{hint}")
