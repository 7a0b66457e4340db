"""nbgrader without its command line: what it knows of an assignment, and its converters."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
from nbformat import NotebookNode

import diffusion_lab
from diffusion_lab.grading.classroom import RecordingError
from diffusion_lab.grading.notebook import CONFIGURATION, EXERCISES, SOLUTIONS


def settings_of(course: Path) -> Any:
    """nbgrader's settings for a course: its own file's, else this checkout's, else only the names of the folders."""
    from traitlets.config import Config
    from traitlets.config.loader import PyFileConfigLoader

    course = Path(course).resolve()
    ours = Path(diffusion_lab.__file__).resolve().parents[1]
    place = next((folder for folder in (course, ours) if (folder / CONFIGURATION).is_file()), None)
    if place is None:
        settings = Config()
        settings.CourseDirectory.course_id = "diffusion-lab"
        settings.CourseDirectory.source_directory = SOLUTIONS
        settings.CourseDirectory.release_directory = EXERCISES
    else:
        settings = PyFileConfigLoader(CONFIGURATION, path=str(place)).load_config()
    settings.CourseDirectory.root = str(course)
    return settings


class Assignment:
    """One assignment of a course, of one notebook with its name: nbgrader's settings, gradebook and files."""

    def __init__(self, course: Path, name: str):
        from nbgrader.coursedir import CourseDirectory

        self.course, self.name = course.resolve(), name
        self.settings = settings_of(course)
        self.directory = CourseDirectory(config=self.settings)

    @contextlib.contextmanager
    def gradebook(self) -> Iterator[Any]:
        """nbgrader's gradebook, open."""
        from nbgrader.api import Gradebook
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with Gradebook(self.directory.db_url, self.directory.course_id) as opened:
                yield opened
        except SQLAlchemyError as error:
            raise RecordingError(f"the gradebook: {error}") from error

    def marks(self) -> dict[str, dict[str, float | None]]:
        """student -> test cell -> what autograding gave."""
        with self._submissions() as submissions:
            return {s.student.id: {grade.name: grade.auto_score for grade in s.grades} for s in submissions}

    def totals(self) -> dict[str, tuple[float, float]]:
        """student -> the points in the gradebook, those given by hand among them, and the most there are."""
        with self._submissions() as submissions:
            return {s.student.id: (float(s.score), float(s.max_score)) for s in submissions}

    def penalties(self) -> dict[str, float]:
        """student -> the points that are taken off for lateness."""
        with self._submissions() as submissions:
            return {s.student.id: float(s.late_submission_penalty or 0.0) for s in submissions}

    def waiting(self) -> set[str]:
        """The students of whom formgrader asks for a mark by hand, or for a second look at one."""
        with self._submissions() as submissions:
            return {s.student.id for s in submissions if s.needs_manual_grade}

    def students(self) -> list[tuple[str, str, str, str, str]]:
        """Who is in the gradebook: the name of their folder, first and last name, email, and number on the platform."""
        if not self._has_gradebook():
            return []
        with self.gradebook() as gradebook:
            return [
                (s.id, s.first_name or "", s.last_name or "", s.email or "", s.lms_user_id or "")
                for s in gradebook.students
            ]

    def enter_students(self, people: Mapping[str, Mapping[str, str]]) -> None:
        """Enter students, or what is newly known of them; what is empty leaves alone what the gradebook has.

        Args:
            people: the name of the folder -> first_name, last_name, email, lms_user_id.
        """
        with self.gradebook() as gradebook:
            for student, told in people.items():
                known = {name: value for name, value in told.items() if value}
                gradebook.update_or_create_student(student, **known)

    @contextlib.contextmanager
    def _submissions(self) -> Iterator[list[Any]]:
        if not self._has_gradebook():
            yield []
            return
        with self.gradebook() as gradebook:
            yield gradebook.notebook_submissions(self.name, self.name)

    def _has_gradebook(self) -> bool:
        """Whether there is one; nbgrader makes an empty one to look into. Of a server's this cannot be told: yes."""
        from sqlalchemy import make_url

        url = make_url(self.directory.db_url)
        is_file = url.get_backend_name() == "sqlite" and url.database and not url.database.startswith(("file:", ":"))
        return not is_file or Path(url.database).is_file()

    @cached_property
    def release(self) -> NotebookNode:
        """The notebook that learners get."""
        try:
            return nbformat.read(self.release_path, as_version=4)
        except (OSError, ValueError, nbformat.ValidationError) as error:
            raise RecordingError(f"{self.release_path} is no notebook: {type(error).__name__}") from error

    @property
    def release_path(self) -> Path:
        return self.path(self.directory.release_directory)

    def path(self, step: str, student: str = ".") -> Path:
        """The notebook in the folder of one of nbgrader's steps, such as `directory.release_directory`."""
        return Path(self.directory.format_path(step, student, self.name)) / f"{self.name}.ipynb"

    def known(self) -> bool:
        """Whether the gradebook has heard of it."""
        from nbgrader.api import MissingEntry

        if not self._has_gradebook():
            return False
        with self.gradebook() as gradebook:
            try:
                gradebook.find_notebook(self.name, self.name)
            except MissingEntry:
                return False
        return True

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """All that nbgrader writes into the gradebook meanwhile is there at the end, or nothing of it is.

        nbgrader opens the gradebook eight times for a submission and commits some forty times. Here each of them gets
        the same connection, whose transaction ends once. It takes less than half as long, too.
        """
        import nbgrader.api
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._engine.connect() as connection, connection.begin():
                connection.dispose = lambda: None  # called when a gradebook is closed; only engines have it
                with mock.patch.object(nbgrader.api, "create_engine", lambda *_, **__: connection):
                    yield
        except SQLAlchemyError as error:
            raise RecordingError(f"the gradebook: {error}") from error

    @cached_property
    def _engine(self) -> Any:
        from sqlalchemy import create_engine

        return create_engine(self.directory.db_url)

    def run(self, converter: type, settings: Any = None, students: Iterable[str] | None = None, **options: Any) -> None:
        """Run one of nbgrader's converters. What it logs becomes the message of an error."""
        from nbgrader.coursedir import CourseDirectory

        settings = settings or self.settings
        directory = CourseDirectory(config=settings)
        directory.assignment_id = self.name
        made = converter(coursedir=directory, config=settings)
        made.force = True
        if students is not None:  # found without nbgrader's patterns, in which [ and * have a meaning
            folders = [made._format_source(self.name, student) for student in students]
            made.assignments = {folder: [os.path.join(folder, f"{self.name}.ipynb")] for folder in folders}
            made.init_notebooks = lambda: None
        for name, value in options.items():
            setattr(made, name, value)
        try:
            with _listening(made.log) as heard, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # SQLAlchemy's, about nbgrader's ways with it
                made.start()
        except Exception as error:
            raise RecordingError(_reason(heard) or f"{type(error).__name__}: {error}") from error


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, entry: logging.LogRecord) -> None:
        self.lines += entry.getMessage().splitlines()


@contextlib.contextmanager
def _listening(log: logging.Logger) -> Iterator[list[str]]:
    heard, spreads = _Heard(), log.propagate
    log.addHandler(heard)
    log.propagate = False
    try:
        yield heard.lines
    finally:
        log.removeHandler(heard)
        log.propagate = spreads


def _reason(lines: Iterable[str]) -> str:
    """The exception among nbgrader's lines, such as "OSError: [Errno 28] No space left on device"."""
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line for line in lines if re.match(r"\(?[\w.]+(Error|Exception|Entry)\b", line)]
    return (errors or lines or [""])[-1 if errors else 0]
