"""Results in nbgrader's gradebook and files, so that formgrader, feedback and export go on working.

What nbgrader reads is never the submitted file: it is the release with the learner's solutions, as text, in their
cells, and the verdicts as the outputs of the test cells. nbgrader's own autograding takes the marks from there; nothing
is run.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import re
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.catalogue import find, folder_name
from diffusion_lab.files import write_atomically
from diffusion_lab.grading.classroom import NOT_GRADED, RecordingError, Result, place_of
from diffusion_lab.grading.classroom.gradebook.assignment import Assignment
from diffusion_lab.grading.classroom.gradebook.dates import enter_due, settle
from diffusion_lab.grading.classroom.gradebook.inscription import drawn_from, inscribing
from diffusion_lab.grading.classroom.gradebook.moments import MomentError, moment
from diffusion_lab.grading.classroom.gradebook.tailoring import tailoring
from diffusion_lab.grading.classroom.gradebook.verdict_notebook import is_test, misfits, name_of, points_of, rebuilt
from diffusion_lab.grading.classroom.rules import rules_of

KEPT = ".diffusion-lab"
"""The folder below a course's for what grading keeps between runs."""
STEPS_LEFT_OUT = {"Execute", "CheckCellMetadata"}
"""Of nbgrader's autograding: nothing is run, and the cells are the release's own; their check takes a fifth of it."""
LOCKED = "database is locked"
TRIES = 4
"""How often a gradebook is written to that another program holds; sqlite itself waits five seconds each time."""

Told = Callable[[str, int, int], None]
"""What is being done, how many submissions are done, of how many."""


def record(
    course: Path,
    chapter: str,
    results: Iterable[Result],
    on_step: Told | None = None,
    *,
    submitted: Path | None = None,
) -> None:
    """Write results into the gradebook and `autograded/` of a course.

    A submission that was not graded is left out: what the gradebook has of it stays as it is. A result that is already
    recorded stays as it is too, so that a mark given by hand does not ask for another look.

    Args:
        course: the course's folder, with nbgrader's configuration, `solutions/` and `exercises/`.
        chapter: its name, number or folder.
        results: in any order. Of two of the same student the last one counts.
        on_step: told of progress.
        submitted: the folder of submissions, for their time stamps; by default the course's own.

    Raises:
        RecordingError: with `failures` where some could not be recorded; without, where none could.
    """
    wanted = {result.student: result for result in results if result.state != NOT_GRADED}
    book = Book(Path(course), chapter, submitted)
    failures: dict[str, str] = {}
    with book.held():
        if not wanted:
            return
        book.prepare()
        there = book.marks()
        for done, (student, result) in enumerate(sorted(wanted.items())):
            if on_step is not None:
                on_step("recording", done, len(wanted))
            with _uninterrupted():
                try:
                    book.record(result, there.get(student))
                except LabError as error:
                    failures[student] = str(error)
                except Exception as error:  # one submission's, and the class goes on
                    failures[student] = f"{type(error).__name__}: {error}"
        book.settle()
        if on_step is not None:
            on_step("recording", len(wanted), len(wanted))
    if failures:
        told = "; ".join(f"{student}: {why}" for student, why in failures.items())
        raise RecordingError(f"{len(failures)} of {len(wanted)} results could not be recorded: {told}", failures)


def write_feedback(
    course: Path, chapter: str, students: Iterable[str] | None = None, on_step: Told | None = None
) -> list[Path]:
    """Have nbgrader write the feedback of these students, or of all that are recorded.

    Returns:
        The files, `feedback/STUDENT/CHAPTER/CHAPTER.html`.

    Raises:
        RecordingError: with `failures` where some could not be written.
    """
    book = Book(Path(course), chapter)
    book.settle()
    wanted = sorted(book.marks() if students is None else set(students))
    written, failures = book.feedback(wanted, on_step)
    if failures:
        told = "; ".join(f"{student}: {why}" for student, why in failures.items())
        raise RecordingError(f"feedback could not be written: {told}", failures)
    return written


class Book(Assignment):
    """The assignment of one chapter, into which results are written."""

    def __init__(self, course: Path, chapter: str, submitted: Path | None = None):
        self.chapter = find(chapter)
        super().__init__(course, folder_name(self.chapter))
        self.rules = rules_of(self.course).of(self.chapter)
        self.submitted = submitted
        self.kept = self.course / KEPT
        self.staged = self.kept / "recording"
        self.due = ""

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """One writer at a time; the system lets go of the lock of a process that was killed."""
        self.kept.mkdir(parents=True, exist_ok=True)
        with (self.kept / "recording.lock").open("w") as lock:
            with contextlib.suppress(ImportError):  # on Windows it is the teacher who starts one run at a time
                import fcntl

                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    raise RecordingError(f"another run is writing to the gradebook of {self.course}") from error
            yield

    def prepare(self) -> None:
        """Have nbgrader release the chapter where the gradebook has nothing of it, and see that all fits together."""
        if not self.known() or not self.release_path.is_file():
            source = self.path(self.directory.source_directory)
            if not source.is_file():
                raise RecordingError(f"there is no {source}, from which nbgrader makes the release and the gradebook")
            from nbgrader.converters import GenerateAssignment

            text = drawn_from(self.course, self.chapter)  # students have the release, as far as there was one
            settings = tailoring(inscribing(self.settings, text), self.rules)
            self.run(GenerateAssignment, settings, create_assignment=True)
        expected = points_of(self.rules.notebook)
        wrong = misfits(self.release, self.rules.notebook)
        if wrong:
            raise RecordingError(
                f"{self.release_path} does not fit this version of the course: {'; '.join(wrong)}. "
                "Release the chapter again, or grade it with the version that it was released with; a change of "
                "course.toml asks for a new release too"
            )
        with self.gradebook() as gradebook:
            enter_due(gradebook, self.name, self.rules.dates)
            graded = gradebook.find_notebook(self.name, self.name).grade_cells
            known = {cell.name: cell.max_score for cell in graded if cell.name in expected}
            assignment = gradebook.find_assignment(self.name)
            self.due, others = str(assignment.duedate), {other.name for other in assignment.notebooks} - {self.name}
        if others:  # nbgrader gives 0 for a notebook that is not handed in, and only one can be
            raise RecordingError(f"the assignment {self.name} has other notebooks too: {', '.join(sorted(others))}")
        if known != expected:
            raise RecordingError(f"the gradebook's points of {self.name} are another version's; release it again")

    def record(self, result: Result, there: Mapping[str, float | None] | None) -> None:
        """Write one result down, unless it is there already."""
        student = _safe(result.student)
        document = rebuilt(self.release, result)
        stamp = self.handed_in_at(result)
        given = {
            name_of(cell): float(cell.outputs[-1]["data"]["text/plain"]) for cell in document.cells if is_test(cell)
        }
        mark = self.kept / "recorded" / self.name / f"{student}.txt"
        secret = self._secret(student)
        fingerprint = self._fingerprint(document, stamp, secret)
        if (
            there is not None
            and given.items() <= dict(there).items()
            and mark.is_file()
            and mark.read_text(encoding="utf-8") == fingerprint
            and self.path(self.directory.autograded_directory, student).is_file()
        ):
            return
        mark.unlink(missing_ok=True)
        folder = self.staged / student / self.name
        shutil.rmtree(self.staged, ignore_errors=True)
        try:
            folder.mkdir(parents=True)
            (folder / f"{self.name}.ipynb").write_text(nbformat.writes(document), encoding="utf-8")
            if stamp:
                (folder / "timestamp.txt").write_text(stamp, encoding="utf-8")
                # nbgrader's release of feedback stops for the whole class at a submission that has none.
                (folder / "submission_secret.txt").write_text(secret or secrets.token_hex(64), encoding="utf-8")
            self._autograde(student)
        finally:
            shutil.rmtree(self.staged, ignore_errors=True)
        write_atomically(mark, fingerprint.encode())

    def settle(self) -> None:
        """Bring extensions and penalties for lateness in line with the course's rules and the points there are now."""
        if (self.rules.late is not None or self.rules.dates.due is not None) and self.known():
            with self.gradebook() as gradebook:
                settle(gradebook, self.name, self.rules)

    def feedback(self, students: list[str], on_step: Told | None = None) -> tuple[list[Path], dict[str, str]]:
        """Have nbgrader write feedback: the files, and for whom there is none and why."""
        from nbgrader.converters import GenerateFeedback

        from diffusion_lab.grading.classroom.gradebook import feedback_page

        recorded: dict[Path, str] = {}
        failures: dict[str, str] = {}
        for student in students:
            try:
                place = self.path(self.directory.autograded_directory, _safe(student))
                if not place.is_file():
                    raise RecordingError("nothing is recorded")
                recorded[place] = student
            except RecordingError as error:
                failures[student] = str(error)

        class _OfThese(GenerateFeedback):
            """One converter for all, because it takes a while to make its templates."""

            done = 0

            def convert_single_notebook(self, notebook_filename: str) -> None:
                if on_step is not None:
                    on_step("feedback", self.done, len(recorded))
                self.done += 1
                super().convert_single_notebook(notebook_filename)

        why = "nbgrader wrote none"
        if recorded:
            try:
                with self.at_once():
                    self.run(_OfThese, feedback_page.settings(copy.deepcopy(self.settings)), recorded.values())
            except RecordingError as error:
                why = str(error)
        if on_step is not None:
            on_step("feedback", len(recorded), len(recorded))
        written = []
        for student in recorded.values():
            place = self.path(self.directory.feedback_directory, student).with_suffix(".html")
            if place.is_file():
                written.append(place)
            else:
                failures[student] = why
        return written, failures

    def submission_of(self, student: str, name: str = "") -> Path:
        """Where a student's submission to this chapter, or to another assignment, lies if there is one."""
        name = name or self.name
        if self.submitted is not None:
            return Path(self.submitted) / student / name / f"{name}.ipynb"
        return Path(self.directory.format_path(self.directory.submitted_directory, student, name)) / f"{name}.ipynb"

    def handed_in(self, result: Result) -> datetime | None:
        """When a submission, or this attempt of it, was handed in; None where nothing says so clearly."""
        try:
            text = self.handed_in_at(result)
        except RecordingError:
            return None
        return moment(text) if text else None

    def handed_in_at(self, result: Result) -> str:
        """When it was submitted, as `nbgrader collect` notes it beside the notebook, in UTC; "" where nothing does.

        Raises:
            RecordingError: what is noted names no single moment.
        """
        if result.attempt:
            place = place_of(self.course, result.student, self.chapter, result.attempt) / "timestamp.txt"
        else:
            place = self.submission_of(_safe(result.student)).parent / "timestamp.txt"
        if place.is_symlink() or not place.is_file():
            return ""
        with place.open("rb") as file:
            text = file.read(200).decode(errors="replace").strip()
        if not text:
            return ""
        try:
            # nbgrader's own reader takes +0900 for 900 seconds, and a zone that it does not know for UTC.
            return moment(text, str(self.settings.Exchange.get("timezone") or "")).strftime("%Y-%m-%d %H:%M:%S.%f UTC")
        except MomentError as error:
            raise RecordingError(f"its timestamp.txt holds no time: {error}") from error

    def _secret(self, student: str) -> str:
        """By which nbgrader's exchange gives feedback to one student and no other; "" where there is none."""
        place = self.submission_of(student).parent / "submission_secret.txt"
        if place.is_symlink() or not place.is_file():
            return ""
        with place.open("rb") as file:
            text = file.read(200).decode(errors="replace").strip()
        return text if re.fullmatch(r"[0-9a-f]{32,200}", text) else ""

    def _fingerprint(self, document: NotebookNode, stamp: str, secret: str) -> str:
        """Of all that a recorded submission is made of."""
        lateness = [str(self.settings.get(part) or "") for part in ("AssignLatePenalties", "LateSubmissionPlugin")]
        content = json.dumps([document, stamp, secret, self.due, lateness], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def _autograde(self, student: str) -> None:
        """nbgrader's autograding, without the steps that run a notebook or bring back hidden tests."""
        from nbgrader.converters import Autograde
        from nbgrader.converters.base import BaseConverter

        class _OnePass(Autograde):
            """The first pass makes a submission safe to run; here that is done, and nothing is run."""

            def convert_single_notebook(self, notebook_filename: str) -> None:
                self._sanitizing = False
                self._init_preprocessors()
                self._sanitizing = True
                BaseConverter.convert_single_notebook(self, notebook_filename)

        settings = copy.deepcopy(self.settings)
        settings.CourseDirectory.submitted_directory = f"{KEPT}/{self.staged.name}"
        steps = settings.Autograde.get("autograde_preprocessors") or Autograde.autograde_preprocessors.default_args[0]
        settings.Autograde.autograde_preprocessors = [
            step
            for step in steps
            if (step if isinstance(step, str) else step.__name__).split(".")[-1] not in STEPS_LEFT_OUT
        ]
        for attempt in range(1, TRIES + 1):
            try:
                with self.at_once():
                    return self.run(_OnePass, settings, [student], create_student=True)
            except RecordingError as error:
                if LOCKED not in str(error) or attempt == TRIES:
                    raise
                time.sleep(attempt)


def _safe(student: str) -> str:
    """The name of a folder, and not the way to another one."""
    if not student.strip(". ") or student != student.strip() or re.search(r"[/\\\x00-\x1f]", student):
        raise RecordingError(f"{student!r} is no name of a student's folder")
    return student


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until a submission is written down."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda *_: asked.append(1))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt
