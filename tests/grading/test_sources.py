"""Reading pieces from notebooks and files: what counts, what is lost with a fault, and what is said of bad input."""

from __future__ import annotations

import json
import linecache
import sys

import pytest

from diffusion_lab import __version__
from diffusion_lab.errors import LabError, SourceError
from diffusion_lab.exercises import notebook
from diffusion_lab.grading.notebook import sources
from diffusion_lab.grading.notebook.documents import LARGEST
from diffusion_lab.grading.notebook.sources import load, read
from diffusion_lab.grading.notebook.stand_ins import check_pieces

NAMES = [item.name for item in notebook("normal_1d").exercises]


def verdicts(found: sources.Sources) -> dict[str, str]:
    return {v.exercise: v.state for v in check_pieces(found.namespace, found.names, faults=found.faults)}


def test_a_solved_notebook_passes(make_notebook):
    found = load(make_notebook())
    assert found.chapter == "normal_1d" and found.names == NAMES
    assert found.faults == {} and found.notes == ()
    assert set(verdicts(found).values()) == {"passed"}


def test_neither_tests_nor_runs_nor_trials_are_run(make_notebook):
    own = """
    trial = lab.check("alpha_bar")
    raise SystemExit
    while True:
        pass
    """
    found = load(make_notebook(own=(own,)))
    assert "lab" not in found.namespace and "trial" not in found.namespace
    assert found.faults == {}


BROKEN = {
    "syntax": (
        "def q_sample(x0, t, noise, alpha_bar):\n    retvrn x0",
        "cell 7, line 2: SyntaxError",
        "retvrn x0",
    ),
    "raises": ("q_sample = 1 / 0", "cell 7, line 1: ZeroDivisionError: division by zero", "q_sample = 1 / 0"),
    "exits": (
        "import sys\nq_sample = sys.exit('over')",
        "cell 7, line 2: SystemExit: over",
        "sys.exit",
    ),
    "return outside": ("return 3", "cell 7, line 1: SyntaxError", "return"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_cell_loses_that_cell_alone(case, make_notebook):
    source, where, text = BROKEN[case]
    found = load(make_notebook({"q_sample": source}))
    assert where in found.faults["q_sample"] and text in found.faults["q_sample"]
    states = verdicts(found)
    assert states.pop("q_sample") == "missing"
    assert set(states.values()) == {"passed"}


def test_a_function_above_a_crash_in_its_cell_is_kept(make_notebook):
    source = "def alpha_bar(betas):\n    return torch.cumprod(1 - betas, 0)\n\nalpha_bar(3)\n"
    found = load(make_notebook({"alpha_bar": source}))
    assert found.faults == {}
    assert verdicts(found)["alpha_bar"] == "passed"


def test_a_missing_cell_is_told_for_its_piece(make_notebook):
    found = load(make_notebook({"alpha_bar": None}))
    assert found.faults == {
        "alpha_bar": "01_normal_1d.ipynb has no function alpha_bar and no cell for it any more. "
        "Take it from a fresh notebook."
    }
    states = verdicts(found)
    assert states.pop("alpha_bar") == "missing" and set(states.values()) == {"passed"}


def test_helpers_imports_and_constants_of_own_cells_count(make_notebook):
    own = (
        '%matplotlib inline\nimport math as m; print("é"); ONE = 1\nclass Box:\n    one = m.cos(0)\n',
        "from functools import cache\n@cache\ndef kept(beta):\n    return ONE - beta * Box.one\n\nprint(kept(1))",
        "def alpha_bar(betas):\n    return 'a trial of an earlier day'",
    )
    source = "def alpha_bar(betas):\n    return torch.stack([kept(b) for b in betas]).cumprod(0)"
    found = load(make_notebook({"alpha_bar": source}, own=own))
    assert found.faults == {}
    assert found.notes == ("alpha_bar is defined in cell 5 and cell 8; the last one counts",)
    assert verdicts(found)["alpha_bar"] == "passed"


def test_an_own_cell_that_is_not_python_is_left_out_with_a_note(make_notebook):
    found = load(make_notebook(own=("def half(",)))
    assert len(found.notes) == 1 and found.notes[0].startswith("left out: cell 3, line 1: SyntaxError")
    assert set(verdicts(found).values()) == {"passed"}


def test_magics_in_a_solution_cell_are_left_out(make_notebook):
    source = "%load_ext autoreload\n!ls\ndef alpha_bar(betas):\n    return undefined"
    found = load(make_notebook({"alpha_bar": source}))
    verdict = check_pieces(found.namespace, ["alpha_bar"])[0]
    assert verdict.outcomes[0].raised.line == "line 4: return undefined", "lines keep their numbers"


def test_tracebacks_show_the_students_lines(make_notebook):
    found = load(make_notebook({"alpha_bar": "def alpha_bar(betas):\n    # divides\n    return betas / 'two'"}))
    verdict = check_pieces(found.namespace, ["alpha_bar"])[0]
    assert verdict.outcomes[0].raised.line == "line 3: return betas / 'two'"
    place = found.namespace["alpha_bar"].__code__.co_filename
    assert place == "01_normal_1d.ipynb, cell 5"
    linecache.checkcache()
    assert linecache.getline(place, 3).strip() == "return betas / 'two'"


def test_what_cells_print_and_warn_is_not_shown(make_notebook, capfd):
    source = "import sys, warnings\nprint(1)\nprint(2, file=sys.stderr)\nwarnings.warn('three')\ndef alpha_bar(b): pass"
    load(make_notebook({"alpha_bar": source}))
    assert capfd.readouterr() == ("", "")


def test_dataclasses_and_future_imports_work(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Kept:\n    share: Undefined\n"
        "def alpha_bar(betas: Undefined):\n    return Kept((1 - betas).cumprod(0)).share\n"
    )
    found = load(path)
    assert found.faults == {} and verdicts(found) == {"alpha_bar": "passed"}


def test_a_file_is_about_the_pieces_that_it_defines(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import helpers_of_mine\n"
        "def alpha_bar(betas):\n    return helpers_of_mine.kept(betas).cumprod(0)\n"
        "def unknown(): pass\n"
        "kept = alpha_bar(undefined)\n"
        "def q_sample(x0, t, noise, alpha_bar):\n    raise NotImplementedError()\n"
        "if __name__ == '__main__':\n    raise SystemExit\n"
    )
    (tmp_path / "helpers_of_mine.py").write_text("def kept(betas):\n    return 1 - betas\n")
    found = load(path)
    assert found.chapter is None and found.names == ["alpha_bar", "q_sample"]
    assert verdicts(found) == {"alpha_bar": "passed", "q_sample": "not written"}
    assert found.faults == {}, "what no piece needs is not run"
    path.write_text(path.read_text() + "def eps_loss(*a):\n    return kept\n")
    assert list(load(path).faults.values()) == [
        f"{path}, line 5: NameError: name 'undefined' is not defined, in `kept = alpha_bar(undefined)`"
    ]
    assert load(path, "1").names == NAMES


def test_a_definition_that_fails_in_a_file_is_a_fault_of_its_piece(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def alpha_bar(betas: Sequence):\n    return betas\n")
    found = load(path)
    assert found.names == ["alpha_bar"] and "line 1: NameError: name 'Sequence'" in found.faults["alpha_bar"]


def test_an_older_release_is_a_note_and_costs_nothing(make_notebook):
    found = load(make_notebook(metadata={"diffusion_lab": {"chapter": "normal_1d", "release": "0.0.1"}}))
    assert found.notes == (
        f"01_normal_1d.ipynb was made for release 0.0.1, and this is {__version__}; names still count.",
    )
    assert set(verdicts(found).values()) == {"passed"}


def test_a_notebook_whose_metadata_an_editor_dropped_is_known_by_its_cells(make_notebook):
    assert load(make_notebook(metadata={})).chapter == "normal_1d"


def write(path, content) -> str:
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


EMPTY = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
BAD = {
    "missing": (lambda p: p / "none.py", r"there is no file .*none\.py"),
    "folder": (lambda p: p, r"is a folder$"),
    "other": (lambda p: write(p / "a.txt", b"x"), r"a\.txt is neither a Python file \(\.py\) nor a notebook"),
    "json": (lambda p: write(p / "a.ipynb", b"{"), r"a\.ipynb: it is not a notebook: it is no JSON, at line 1"),
    "list": (lambda p: write(p / "a.ipynb", [1]), r"a\.ipynb: it is not a notebook: it has no list of cells"),
    "cells": (lambda p: write(p / "a.ipynb", {**EMPTY, "cells": 3}), r"it is not a notebook: it has no list of cells"),
    "version": (lambda p: write(p / "a.ipynb", {"nbformat": 2, "worksheets": []}), r"is not a notebook"),
    "course": (lambda p: write(p / "a.ipynb", EMPTY), r"is not a notebook of this course"),
    "chapter": (
        lambda p: write(p / "a.ipynb", {**EMPTY, "metadata": {"diffusion_lab": {"chapter": "mnits"}}}),
        r"a\.ipynb: there is no chapter 'mnits' with exercises; the chapters are normal_1d",
    ),
    "bytes": (lambda p: write(p / "a.py", b"\xff\xfe"), r"is not text in UTF-8"),
    "python": (lambda p: write(p / "a.py", b"def f(:\n"), r"not Python: .*a\.py, line 1: SyntaxError.*`def f\(:`"),
    "null": (lambda p: write(p / "a.py", b"x = 1\0"), r"this is not Python"),
    "large": (lambda p: write(p / "a.ipynb", b" " * (LARGEST + 1)), r"21 MB.*clear the outputs"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case, tmp_path, capfd):
    make, message = BAD[case]
    path = make(tmp_path)
    with pytest.raises(SourceError, match=message):
        read(path)
    assert capfd.readouterr().err == ""


def test_a_notebook_is_read_without_the_libraries_of_notebooks(make_notebook, monkeypatch):
    for name in ("nbformat", "IPython"):
        monkeypatch.setitem(sys.modules, name, None)
    assert set(verdicts(load(make_notebook())).values()) == {"passed"}


def test_a_folder_names_the_notebooks_in_it(make_notebook):
    with pytest.raises(SourceError, match=r"name a file in it: 01_normal_1d\.ipynb"):
        read(make_notebook().parent)


def test_a_notebook_of_another_chapter_is_refused(make_notebook):
    with pytest.raises(SourceError, match=r"a notebook of chapter 'normal_1d', not of 'mnist'"):
        load(make_notebook(), "05_mnist")
    with pytest.raises(LabError, match=r"there is no chapter 'mnits'"):
        load(make_notebook(), "mnits")
