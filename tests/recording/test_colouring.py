"""Feedback has colours, and no cell can keep it busy."""

from __future__ import annotations

import threading

import pytest

from diffusion_lab.grading.classroom.gradebook import colouring
from diffusion_lab.grading.classroom.gradebook.colouring import NOT_COLOURED, Coloured, without_blanks


def test_ordinary_code_has_the_colours_of_nbconvert():
    from nbconvert.filters import Highlight2HTML

    source = "def half(x):\n    return x / 2  # <b>\n"
    assert Coloured()(source, metadata={}) == Highlight2HTML(pygments_lexer="ipython3")(source, metadata={})


def test_a_cell_that_would_take_minutes_is_shown_without(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(colouring, "LONGEST_TIME", 0.2)
    shown = Coloured()("<script>" + " \n" * 25_000)
    assert NOT_COLOURED in shown and "&lt;script&gt;" in shown and "<script>" not in shown


def test_where_no_time_can_be_taken_long_cells_have_none():
    found = []
    thread = threading.Thread(target=lambda: found.extend(map(Coloured(), ("x = 1\n", "x = 1\n" * 1000))))
    thread.start()
    thread.join()
    assert NOT_COLOURED not in found[0] and NOT_COLOURED in found[1]


def test_lines_of_blanks_are_empty_and_all_others_as_they_were():
    assert without_blanks("a  \n \t\n\n  b\n   ") == "a  \n\n\n  b\n"
