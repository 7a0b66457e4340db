"""What runs in a worker: it has one sandbox, which stays warm as long as the class is graded."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import diffusion_lab
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import Notebook, notebook
from diffusion_lab.exercises.offers import Offer, in_force, offered
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading.classroom.marking import mark
from diffusion_lab.grading.classroom.result import GRADED, Result, of_verdict, refused
from diffusion_lab.grading.classroom.submission import Intake, IntakeError, another_name, parsed
from diffusion_lab.grading.classroom.timing import TooLong, at_most
from diffusion_lab.grading.isolation import SandboxError, sandbox_of
from diffusion_lab.grading.judge import Verdict

DATA_LIMIT = 12 << 30
"""Bytes that a worker may allocate: what a submission makes the grader's side do must end in an error, not a kill."""

READING_LIMIT = 30.0
"""Seconds of processor time to read a submission's notebook; the largest that is accepted takes a few."""
ROBBED = "robbed"
"""Whether something of it was late while other programs kept it from running: it deserves another try."""

_one_at_a_time = threading.Lock()
_warm: dict[str, Any] = {}


def ready(version: str, isolation: str) -> None:
    """Have a sandbox that works. Raises where there is none, or where this worker's package is another one."""
    if version != diffusion_lab.__version__:
        raise LabError(
            f"this worker has version {diffusion_lab.__version__} of the package, and {version} is asked for"
        )
    with _one_at_a_time, _sandbox(isolation).open() as session:
        fault = session.run_cell("a first cell", "x = torch.ones(3).sum()", 60)
    if fault is not None:
        raise SandboxError(f"the sandbox does not work: {fault.name}: {fault.message}")


def graded(order: Mapping[str, Any]) -> dict[str, Any]:
    """Grade one submission, given as bytes; its `Result` as a dictionary, with `ROBBED` beside it."""
    _same_version(order["version"])
    with in_force(Offer.from_dict(given) for given in order.get("offers", ())):
        return _graded(order)


def _graded(order: Mapping[str, Any]) -> dict[str, Any]:
    owner = Owner(order["student"], order.get("course", ""))
    chapter = notebook(order["chapter"]).drawn_for(owner)
    about = {name: order[name] for name in ("digest", "seed_id", "version")}
    about |= {"course": owner.course if chapter.is_drawn else "", "offer": offered(order["chapter"])}
    with _one_at_a_time, _bounded():
        try:
            intake = _taken_in(order["data"], chapter)
        except IntakeError as error:
            return refused(order["student"], chapter, str(error), **about).as_dict()
        try:
            other = another_name(intake, owner, order.get("known", "")) if chapter.is_drawn else ""
            marked = mark(_sandbox(order["isolation"]), chapter, intake, order["seed"], order.get("limit"))
        except BaseException:
            _close(order["isolation"])
            raise
    return Result(
        student=order["student"],
        chapter=order["chapter"],
        state=GRADED,
        points=marked.points,
        out_of=chapter.points,
        exercises=tuple(of_verdict(_noted(verdict, chapter, other)) for verdict in marked.verdicts),
        notes=(*filter(None, [order.get("note"), other]), *marked.notes),
        solutions={name: cell.written for name, cell in intake.solutions.items()},
        answers=intake.answers,
        pages=tuple(intake.pages),
        seconds=marked.seconds,
        **about,
    ).as_dict() | {ROBBED: marked.robbed}


def _noted(verdict: Verdict, chapter: Notebook, note: str) -> Verdict:
    """With this note, where something of the task is drawn; with one, the student has worked on another draw."""
    drawn = {task.name for task in chapter.exercises if hasattr(task, "drawn_for")}
    if verdict.exercise not in drawn:
        return verdict
    return replace(verdict, note=f"{verdict.note} {note}".strip(), facts={**verdict.facts, "another draw": note})


def _taken_in(data: bytes, chapter: Notebook) -> Intake:
    """What is taken from a submission's bytes. Raises IntakeError: whatever is wrong with them is its own fault."""
    try:
        with at_most(READING_LIMIT):
            return parsed(data, chapter)
    except TooLong as error:
        raise IntakeError(f"it takes more than {READING_LIMIT:g} s to read") from error
    except IntakeError:
        raise
    except Exception as error:
        raise IntakeError(f"it cannot be read ({type(error).__name__})") from error


def done() -> None:
    """End this worker's sandbox."""
    with _one_at_a_time:
        for isolation in list(_warm):
            _close(isolation)


def _same_version(wanted: str) -> None:
    if wanted != diffusion_lab.__version__:
        raise LabError(f"a worker has version {diffusion_lab.__version__} of the package, and {wanted} is asked for")


def _sandbox(isolation: str) -> Any:
    if isolation not in _warm:
        _warm[isolation] = sandbox_of(isolation)
        _warm[isolation].start()
    return _warm[isolation]


def _close(isolation: str) -> None:
    sandbox = _warm.pop(isolation, None)
    if sandbox is not None:
        with contextlib.suppress(Exception):
            sandbox.close()


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    try:
        import resource

        before = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (DATA_LIMIT, before[1]))
    except (ImportError, AttributeError, ValueError, OSError):  # not on this system, or a lower limit is set already
        yield
        return
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
