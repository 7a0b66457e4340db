"""The running notebook, `check` and `grade` give the same points for the same notebook, full ones for right work."""

from __future__ import annotations

import ast
import asyncio
import codeop
import contextlib
import inspect
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from handed_in import CHAPTER
from odd_notebooks import ANSWER, ODD, Odd

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.marking import mark
from diffusion_lab.grading.classroom.submission import parsed
from diffusion_lab.grading.notebook import check_pieces, load
from diffusion_lab.grading.notebook.session import Session

NOTEBOOK = notebook(CHAPTER)
MOST = NOTEBOOK.points
SOME = list(ODD)[::12]
"""Enough to see at once that something is wrong with one of the three; the slow tests take all."""


class Shell:
    """A kernel's shell as far as cells need one. IPython itself says what a cell means."""

    def __init__(self) -> None:
        self.transformer = pytest.importorskip("IPython.core.inputtransformer2").TransformerManager()
        self.namespace: dict[str, Any] = {"__name__": "__main__", "get_ipython": lambda: self}
        self.lab = Session(CHAPTER, self.namespace)
        self.compile = codeop.Compile()  # what is imported from __future__ stays in force, as in a kernel
        self.compile.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def run_cell(self, text: str) -> None:
        with contextlib.suppress(Exception, SystemExit), contextlib.redirect_stdout(io.StringIO()):
            ran = eval(self.compile(self.transformer.transform_cell(text), "cell", "exec"), self.namespace)
            if inspect.iscoroutine(ran):
                asyncio.run(ran)

    def run_cell_magic(self, name: str, line: str, body: str) -> None:
        if name in ("time", "capture"):
            self.run_cell(body)

    def run_line_magic(self, name: str, line: str) -> None:
        if name == "time":
            exec(line, self.namespace)

    def system(self, line: str) -> None:
        pass

    getoutput = system


def cells_of(document: dict[str, Any]) -> list[str]:
    cells = document["cells"] if "cells" in document else document["worksheets"][0]["cells"]
    texts = [cell.get("source", cell.get("input")) for cell in cells if cell["cell_type"] == "code"]
    return [text if isinstance(text, str) else "".join(text) for text in texts]


def in_a_notebook(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    shell = Shell()
    shell.run_cell("import math, torch\nfrom torch import Tensor, nn\nfrom torch.nn import functional")
    monkeypatch.setattr(Session, "run", lambda *_, **__: None)
    for text in cells_of(document):
        shell.run_cell(text)
    with contextlib.redirect_stdout(io.StringIO()):
        return sum(shell.lab.check(exercise.name) for exercise in NOTEBOOK.exercises)


@pytest.mark.parametrize(
    "name", [*SOME, *(pytest.param(name, marks=pytest.mark.slow) for name in ODD if name not in SOME)]
)
def test_all_three_agree(name: str, sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    odd: Odd = ODD[name]
    path = tmp_path / "01_normal_1d.ipynb"
    data = json.dumps(odd.document).encode()
    path.write_bytes(data)
    found = load(path)
    assert (torch.get_default_dtype(), torch.ones(1).device.type) == (torch.float32, "cpu")
    verdicts = check_pieces(found.namespace, found.names, faults=found.faults, pieces=found.pieces)
    marked = mark(sandbox, NOTEBOOK, parsed(data, NOTEBOOK), seed=0)
    states = [(v.exercise, v.points, v.note) for v in marked.verdicts if not v.passed], marked.notes, found.faults
    assert marked.points == MOST - odd.lost, states
    assert sum(verdict.points for verdict in verdicts) == marked.points, [
        (v.exercise, v.points, v.note) for v in verdicts
    ]
    assert [v.points for v in verdicts] == [v.points for v in marked.verdicts]
    for notes in (found.notes, marked.notes):
        assert any(odd.note in note for note in notes) if odd.note else not notes, notes
    lost = odd.lost if odd.lost_in_notebook is None else odd.lost_in_notebook
    settings = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        with monkeypatch.context() as patch:
            assert in_a_notebook(odd.document, patch) == MOST - lost
    finally:
        torch.set_default_dtype(settings[0])
        torch.set_default_device(None)
        torch.set_grad_enabled(settings[1])


def test_the_notebook_says_that_the_package_is_not_there_for_marks(capsys):
    from diffusion_lab.schedules import from_betas

    namespace = {"given": from_betas}
    exec("import torch\n" + ANSWER.replace("return", "given\n    return"), namespace)
    assert Session(CHAPTER, namespace).check("alpha_bar") == 4
    assert "uses the package diffusion_lab" in capsys.readouterr().out
    exec(ANSWER, namespace)
    assert Session(CHAPTER, namespace).check("alpha_bar") == 4
    assert "package" not in capsys.readouterr().out


def test_there_are_many():
    assert len(ODD) >= 75
