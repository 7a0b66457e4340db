"""Solutions in colours, within a limit: a colouring that a few lines of a student's can keep busy is left out."""

from __future__ import annotations

import contextlib
import html
import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

LONGEST_TIME = 2.0
"""Seconds of processor time for one cell; an ordinary one takes a hundredth of one."""
LONGEST_UNTIMED = 5000
"""Characters that are coloured where no time can be taken: outside of the main thread, and on Windows."""
NOT_COLOURED = "This cell is shown without colours: they would take too long."


class _TooLong(BaseException):
    pass


class Coloured:
    """The filter that nbconvert's pages call for a cell of code, with a limit.

    Args:
        lexer: Pygments' name of the language.
    """

    def __init__(self, lexer: str = "ipython3"):
        from nbconvert.filters import Highlight2HTML

        self._colour = Highlight2HTML(pygments_lexer=lexer)

    def __call__(self, source: str, *arguments: Any, **options: Any) -> str:
        try:
            with _at_most(LONGEST_TIME, len(source)):
                return self._colour(source, *arguments, **options)
        except (_TooLong, Exception):  # whatever it is that colouring cannot do with it
            return f'<div class="highlight" title="{NOT_COLOURED}"><pre>{html.escape(source)}</pre></div>'


def without_blanks(source: str) -> str:
    """Lines of nothing but blanks made empty: Pygments looks at each run of them again from every line."""
    return re.sub(r"(?m)^[^\S\n]+$", "", source)


@contextlib.contextmanager
def _at_most(seconds: float, length: int) -> Iterator[None]:
    """Raise _TooLong after so many seconds; expressions being matched listen too."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        if length > LONGEST_UNTIMED:
            raise _TooLong
        yield
        return

    def ring(*_: Any) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
