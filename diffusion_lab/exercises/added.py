"""An exercise of a course's own, from a file: Python with an `EXERCISE`, like those of the package."""

from __future__ import annotations

import linecache
import types
from dataclasses import replace
from functools import lru_cache

from diffusion_lab.errors import LabError
from diffusion_lab.exercises.record import Exercise


@lru_cache(maxsize=128)
def loaded(file: str, source: str) -> Exercise:
    """The `EXERCISE` that a file's content makes. It runs the content, which is its author's own.

    Args:
        file: its name, for messages and tracebacks.
        source: its content.

    Raises:
        LabError: it does not run, or makes no exercise that can be checked; the message names the file and the line.
    """
    place = f"<{file}>"
    # The source of the reference is looked up later, for the notebook with solutions.
    linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
    module = types.ModuleType(f"diffusion_lab_added_{file.removesuffix('.py')}")
    module.__file__ = place
    try:
        exec(compile(source, place, "exec", dont_inherit=True), module.__dict__)
    except Exception as error:
        said = error.msg if isinstance(error, SyntaxError) else str(error)  # else it names the line once more
        raise LabError(f"{file}, line {_line(error, place)}: {type(error).__name__}: {said}") from error
    found = module.__dict__.get("EXERCISE")
    if not isinstance(found, Exercise):
        raise LabError(f"{file} makes no EXERCISE = Exercise(...), as the files of the package do")
    if found.driver is not None:
        raise LabError(f"{file}: an exercise of a course's own cannot have a driver, which only the package's may")
    return replace(found, own=True)


def _line(error: BaseException, place: str) -> int:
    """The last line of the file that an error came through."""
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == place:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line or 1
