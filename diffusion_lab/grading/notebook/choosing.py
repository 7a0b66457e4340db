"""Whose pieces a run is made of: the student's where they pass their check, ours elsewhere, and which are which."""

from __future__ import annotations

import contextlib
import textwrap
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from diffusion_lab.exercises import library, notebook
from diffusion_lab.exercises.driving import piece_of
from diffusion_lab.grading.judge import VISIBLE_SEED, WIDTH
from diffusion_lab.grading.notebook.stand_ins import Namespace, check_pieces, reached, standing_in


@dataclass(frozen=True)
class Choice:
    """Every function of the course, and where those of the chapters that are run come from."""

    namespace: Namespace
    functions: dict[str, Callable]
    yours: tuple[str, ...] = ()
    unwritten: tuple[str, ...] = ()
    """Ours, because the student has not written them."""
    wrong: tuple[str, ...] = ()
    """Ours, because the student's do not pass their check."""
    unchecked: tuple[str, ...] = ()
    """The student's, although they do not pass."""

    def slots(self, chapter: str) -> dict[str, Any]:
        """The pieces that `run_chapter` takes, made of these functions."""
        return notebook(chapter).slots(self.functions)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """While a run lasts: a student's piece that calls one that is not right yet calls ours."""
        with contextlib.ExitStack() as stack:
            for name in (*self.yours, *self.unchecked):
                stack.enter_context(
                    standing_in(reached(self.functions[name], self.namespace), {*self.unwritten, *self.wrong})
                )
            yield

    def lines_of(self, error: BaseException) -> list[str]:
        """The student's own lines on the way to this error, such as `line 3 of eps_loss: return x / 0`."""
        codes = [getattr(self.functions[name], "__code__", None) for name in (*self.yours, *self.unchecked)]
        files = {code.co_filename for code in codes if code is not None}
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
        return [f"line {frame.lineno} of {frame.name}: {frame.line}" for frame in frames]

    @property
    def lines(self) -> list[str]:
        """Whose pieces they are, in words."""
        groups = [
            ("yours", self.yours),
            ("yours, although the check fails", self.unchecked),
            ("ours, because not written", self.unwritten),
            ("ours, because the check fails", self.wrong),
        ]
        return [
            line
            for what, names in groups
            if names
            for line in textwrap.wrap(f"{what}: {', '.join(names)}", WIDTH, subsequent_indent="    ")
        ]


def choose(
    namespace: Namespace,
    chapters: Iterable[str],
    *,
    unchecked: bool = False,
    faults: Mapping[str, str] | None = None,
    seed: int = VISIBLE_SEED,
    pieces: Collection[str] | None = None,
) -> Choice:
    """Check the student's pieces and take those that pass.

    Args:
        namespace: the student's globals.
        chapters: the chapters that are to be run. Pieces of other chapters are taken where the student has them.
        unchecked: take the student's pieces even where their check fails.
        faults, pieces: as in `check_pieces`.
    """
    wanted = [exercise.name for chapter in chapters for exercise in notebook(chapter).exercises]
    names = [name for name in library() if name in wanted or callable(namespace.get(name))]
    states = {verdict.exercise: verdict.state for verdict in check_pieces(namespace, names, seed, faults, pieces)}
    failing = tuple(name for name, state in states.items() if state == "failed")
    yours = tuple(name for name, state in states.items() if state == "passed")
    taken = (*yours, *failing) if unchecked else yours
    return Choice(
        namespace=namespace,
        functions={name: namespace[name] if name in taken else piece_of(item) for name, item in library().items()},
        yours=yours,
        unwritten=tuple(name for name, state in states.items() if state in ("not written", "missing")),
        wrong=() if unchecked else failing,
        unchecked=failing if unchecked else (),
    )
