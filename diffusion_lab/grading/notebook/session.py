"""What a notebook works with: checks of its pieces, and the chapter's run with them.

Everything is printed to standard output: nbgrader gives no mark to a cell that writes to standard error.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import textwrap
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from diffusion_lab.errors import LabError
from diffusion_lab.exercises import Task, exercise, notebook, task
from diffusion_lab.exercises.bugs import BugTask
from diffusion_lab.exercises.catalogue import find, home_of
from diffusion_lab.exercises.offers import adopt, offer_of
from diffusion_lab.exercises.own_numbers import OwnQuestion
from diffusion_lab.exercises.owner import Owner, by_chance
from diffusion_lab.grading.judge import (
    VISIBLE_SEED,
    WIDTH,
    Verdict,
    as_html,
    points,
    seed_of,
    shown,
    to_try,
    told,
    without_points,
)
from diffusion_lab.grading.notebook.choosing import Choice, choose
from diffusion_lab.grading.notebook.hunting import Hunt
from diffusion_lab.grading.notebook.kernel import watching
from diffusion_lab.grading.notebook.references import comparison, table
from diffusion_lab.grading.notebook.seeing import Sight, see
from diffusion_lab.grading.notebook.stand_ins import check_piece, uses_package
from diffusion_lab.report import Report

SEED_VARIABLE = "DIFFUSION_LAB_GRADING_SEED"
"""The environment variable that holds the seed of the cases that count, any text; `grade --seed-file` draws alike."""
BUDGET_VARIABLE = "DIFFUSION_LAB_RUN_BUDGET"
"""The environment variable that replaces the budget of every run in a notebook."""
GRADING_VARIABLE = "NBGRADER_EXECUTION"
"""Set by nbgrader, to "autograde" or "validate", while it runs a notebook."""


BY_CHANCE = (
    "No name is given, so what is drawn for you is drawn by chance, and is something else the next time. Write your "
    "name, such as student = 'ada', and it stays."
)


def start(
    chapter: str | int,
    namespace: dict[str, Any],
    student: str = "",
    course: str = "",
    offer: Mapping[str, Any] | None = None,
) -> Session:
    """Begin work on a chapter's exercises.

    Args:
        chapter: its name, number or folder; or the name of its lab.
        namespace: `globals()` of the notebook, where its functions are looked up at every check.
        student: your name, as the folder of your submission has it. What a notebook draws for each student is drawn
            from it; without a name, by chance.
        course: what `diffusion-lab release` has written into the notebook, so that another course draws other things;
            "" where you learn by yourself.
        offer: what your course has changed in this notebook, as `release` has written it: the exercises that are left
            out, other points, and names of exercises of the course's own.

    Raises:
        LabError: where there is no such chapter, or the name cannot be used.
    """
    name = find(chapter)
    adopt(offer_of(name, offer or {}))
    later = tuple((offer or {}).get("added", ()))
    if not notebook(name).is_drawn:
        return Session(name, namespace, later=later)
    if not student:
        print(BY_CHANCE)
    return Session(name, namespace, Owner(student, course) if student else by_chance(course), later)


class Session:
    """The state of a notebook: its functions, and the points so far."""

    def __init__(
        self, chapter: str, namespace: dict[str, Any], owner: Owner | None = None, later: Collection[str] = ()
    ):
        self.chapter, self.namespace = chapter, namespace
        self.later = later
        """Exercises of the course's own, which are checked where marks are given."""
        self.owner = owner
        """Whose notebook it is, where something in it is drawn for each student."""
        self.kernel = watching(namespace)
        """What its cells have run, where this is a kernel's namespace."""
        self.verdicts: dict[str, Verdict] = {}
        """The latest of each exercise."""
        self.report: Report | None = None
        """Of the latest run."""

    def __repr__(self) -> str:
        return f"<exercises of chapter '{self.chapter}'>"

    def check(self, name: str) -> float:
        """Check a function on the visible cases, print what came of it, and return its points."""
        return self._check(name, VISIBLE_SEED)

    def case(self, name: str, number: int) -> tuple[dict[str, Any], Any]:
        """A visible case to try by hand: its arguments by name, and the expected answer.

            arguments, expected = lab.case("q_sample", 1)
            q_sample(**arguments), expected

        Args:
            name: an exercise.
            number: of the case, from 1, as a check prints it.

        Raises:
            LabError: where there is no such exercise or case.
        """
        return shown(exercise(str(name)), number)

    def question(self, name: str) -> None:
        """Print a question with your own numbers, drawn from your name.

        Args:
            name: of the function that is to answer it.
        """
        with _to_stdout():
            try:
                item = task(str(name))
                if not isinstance(item, OwnQuestion):
                    raise LabError(f"{item.name} asks for no number of your own; its text says what it asks for")
                item = item.drawn_for(self.owner or by_chance())
            except LabError as error:
                print(f"✗ {error}")
                return
            print("\n".join(textwrap.wrap(item.asked, WIDTH)))
            print("\n".join(textwrap.wrap(item.then, WIDTH)))

    def hunt(self) -> Hunt:
        """The pipeline of this lab, in which one piece is wrong: your own, drawn from your name.

        Raises:
            LabError: where this notebook has no such pipeline.
        """
        for item in notebook(self.chapter).exercises:
            if isinstance(item, BugTask):
                return Hunt(item.drawn_for(self.owner or by_chance()), self.namespace)
        raise LabError(f"'{self.chapter}' has no pipeline with a bug; the labs have one")

    def grade(self, name: str) -> float:
        """Check a function on fresh cases, print what came of it, and return its points."""
        with _to_stdout():
            given = os.environ.get(SEED_VARIABLE, "").strip()
            text = given or _fresh_seed()
            if not given:
                print(f"Fresh cases, drawn with {SEED_VARIABLE}={text}")
        return self._check(name, seed_of(text))

    def _check(self, name: str, seed: int) -> float:
        with _to_stdout():
            if name in self.later:
                print(f"• {name} is an exercise of your course's own; it is checked when you have handed it in.")
                return 0.0
            try:
                verdict = self._verdict(task(str(name)), seed)
            except LabError as error:
                print(f"✗ {error}")
                return 0.0
            except Exception as error:
                # A learner's mistakes end in a verdict; what ends here is a mistake of the course.
                print(f"✗ {name} could not be checked, through a fault of the course: {type(error).__name__}: {error}")
                return 0.0
            self.verdicts[verdict.exercise] = verdict
            _tell(verdict)
        return float(verdict.points)

    def _verdict(self, item: Task, seed: int) -> Verdict:
        stale = self.kernel.stale(item.name) if self.kernel is not None else ""
        if stale:
            return without_points(item, "missing", stale)
        verdict = check_piece(item.name, self.namespace, seed, pieces=self._pieces(item.name), owner=self.owner)
        if verdict.passed and uses_package(self.namespace[item.name], self.namespace):
            alone = "It uses the package diffusion_lab, which is not there when marks are given."
            verdict = replace(verdict, note=f"{verdict.note} {alone}".strip())
        return verdict

    def _pieces(self, name: str) -> list[str]:
        return [other.name for other in notebook(home_of(name)).exercises]

    def see(self, name: str) -> None:
        """Draw what a function does to the chapter's samples, right or wrong, beside what ours does.

        It takes a few seconds, with the network that ships with the course. Nothing is drawn while grading.

        Args:
            name: an exercise.
        """
        with _to_stdout():
            if os.environ.get(GRADING_VARIABLE):
                print("The picture is left out while grading.")
                return
            try:
                item = task(str(name))
                stale = self.kernel.stale(item.name) if self.kernel is not None else ""
                if stale:
                    print(f"✗ {item.name}: {stale}")
                    return
                _show_sight(see(item.name, self.namespace, pieces=self._pieces(item.name)), self.chapter)
            except LabError as error:
                print(f"✗ {error}")
            except KeyboardInterrupt:
                print(f"Stopped before {name} was drawn.")
            except Exception as error:
                print(f"✗ {name} could not be drawn, through a fault of the course: {type(error).__name__}: {error}")

    def show(self) -> None:
        """Print the points so far."""
        rows = [("exercise", "points", "of", "")]
        items = notebook(self.chapter).exercises
        for item in items:
            verdict = self.verdicts.get(item.name)
            state = "not checked yet" if verdict is None else verdict.state
            rows.append((item.name, "" if verdict is None else points(verdict.points), str(item.points), state))
        reached = sum(self.verdicts[item.name].points for item in items if item.name in self.verdicts)
        rows.append(("together", points(reached), str(sum(item.points for item in items)), ""))
        print("\n".join(table(rows)))
        if not self.verdicts:
            print("Points are kept as long as the kernel runs. Run the checks again to see them here.")

    def run(self, budget: str = "quick", source: str = "auto", seed: int = 0) -> None:
        """Train, sample and score the chapter with your pieces, ours in the place of those that are not right yet.

        Args:
            budget: "smoke" (seconds; the scores mean nothing), "quick" or "full".
            source: "real", "bundled", or "auto": real data where they are on disk.
            seed: the source of all randomness.
        """
        with _to_stdout():
            if os.environ.get(GRADING_VARIABLE):
                print("The run is left out while grading.")
                return
            if notebook(self.chapter).is_lab:
                print("A lab runs no chapter; the chapter's own notebook does.")
                return
            pieces = [item.name for item in notebook(self.chapter).exercises]
            choice = choose(self.namespace, [self.chapter], pieces=pieces)
            try:
                print("\n".join(choice.lines))
                self.report = self._run(choice, os.environ.get(BUDGET_VARIABLE) or budget, source, seed)
            except LabError as error:
                print(f"✗ {error}")
            except Exception as error:
                print(f"✗ the run ended with {type(error).__name__}: {error}")
                for line in choice.lines_of(error)[-1:]:
                    print(f"  at {line}")

    def _run(self, choice: Choice, budget: str, source: str, seed: int) -> Report:
        from diffusion_lab.chapters import run_chapter

        progress = Progress()
        with choice.in_place():
            report = run_chapter(
                self.chapter,
                budget=budget,
                source=source,
                seed=seed,
                on_step=progress.tell,
                **choice.slots(self.chapter),
            )
        progress.end(f"{report.dataset} ({report.source}), {report.seconds['total']:.0f} s on {report.device}")
        print(comparison(report))
        if not report.meaningful:
            print("A smoke run proves that everything is connected. Its scores mean nothing.")
        _show_samples(report)
        return report


@cache
def _fresh_seed() -> str:
    """One for each process, so that the cells of a notebook are checked alike."""
    return secrets.token_hex(6)


@contextlib.contextmanager
def _to_stdout() -> Iterator[None]:
    with contextlib.redirect_stderr(sys.stdout), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Progress:
    """One line that says how far a run is: rewritten in place in a notebook or terminal, else once for each phase."""

    EVERY = 0.5
    """Seconds between two changes."""

    def __init__(self) -> None:
        self._last, self._phase = 0.0, ""
        self._handle: Any = None
        self._place = "notebook" if _in_notebook() else "terminal" if sys.stdout.isatty() else "file"

    def tell(self, what: str, done: int, total: int) -> None:
        """Called by the run with what is being done, the steps done and the steps in all."""
        if what == self._phase and time.monotonic() - self._last < self.EVERY:
            return
        new, self._phase, self._last = what != self._phase, what, time.monotonic()
        if self._place != "file":
            self._write(f"{what}, {done / max(total, 1):.0%}")
        elif new:
            print(what, flush=True)

    def end(self, line: str) -> None:
        """The last line."""
        self._write(line)
        if self._place == "terminal":
            print()

    def _write(self, line: str) -> None:
        if self._place == "terminal":
            print(f"\r{line:<78}", end="", flush=True)
        elif self._place == "file":
            print(line, flush=True)
        else:
            from IPython.display import display

            if self._handle is None:
                self._handle = display({"text/plain": line}, raw=True, display_id=True)
            else:
                self._handle.update({"text/plain": line}, raw=True)


def _in_notebook() -> bool:
    """Whether output goes to a Jupyter kernel. IPython is not imported for the question."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def _tell(verdict: Verdict) -> None:
    """The verdict, as a page where a browser shows it, and as text everywhere."""
    text = "\n".join(filter(None, (told(verdict), to_try(verdict))))
    if _in_notebook() and not os.environ.get(GRADING_VARIABLE):
        from IPython.display import display

        display({"text/plain": text, "text/html": as_html(verdict)}, raw=True)
    else:
        print(text)


def _show_sight(sight: Sight, chapter: str) -> None:
    """A picture with its words, as a page where a browser shows it; else the words, and where the picture is."""
    if _in_notebook():
        from IPython.display import display

        display({"text/plain": sight.text, "text/html": sight.html}, raw=True)
        return
    print(sight.text)
    if sight.figure is not None:
        from diffusion_lab.plots import save

        print(f"picture: {save(sight.figure, Path('runs') / chapter / f'see_{sight.name}.png')}")


def _show_samples(report: Report) -> None:
    from diffusion_lab.chapters.figures import samples_figure
    from diffusion_lab.plots import save

    figure = samples_figure(report.experiment)
    if _in_notebook():
        from IPython.display import display

        display(figure)
    else:
        print(f"samples: {save(figure, Path('runs') / report.chapter / 'samples.png')}")
