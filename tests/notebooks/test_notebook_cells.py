"""The cells of the notebooks run from the top: as released without a point, as solved with all of them."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from sample_course import SEED, document, text_of

from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import BEYOND, CHAPTERS
from diffusion_lab.grading.notebook.authoring import EXERCISES, SOLUTIONS, path_of

chapters = pytest.mark.parametrize("chapter", (*CHAPTERS, *BEYOND))


@pytest.fixture(autouse=True)
def as_nbgrader_runs_them(monkeypatch: pytest.MonkeyPatch):
    """Without training, and with the same cases every time."""
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    monkeypatch.setenv("DIFFUSION_LAB_GRADING_SEED", SEED)


def run(source: str, namespace: dict[str, Any], name: str) -> Any:
    """Run a cell; the value of its last line, where that is an expression, as a notebook shows it."""
    body = ast.parse(source, name).body
    last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), name, "exec"), namespace)
    return eval(compile(last, name, "eval"), namespace) if last else None


def results(content: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> dict[str, tuple[Any, str]]:
    """Run all code cells: id of a cell -> its value and what it has printed."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    found = {}
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            value = run(text_of(cell), namespace, cell["id"])
            printed = capfd.readouterr()
            assert printed.err == "", cell["id"]  # nbgrader gives no mark to a cell that writes there
            found[cell["id"]] = value, printed.out
    return found


@chapters
def test_a_release_scores_nothing_and_says_what_to_do(
    built: dict[str, bytes], chapter: str, capfd: pytest.CaptureFixture[str]
):
    found = results(document(built[f"{EXERCISES}/{path_of(chapter)}"]), capfd)
    for item in notebook(chapter).exercises:
        value, printed = found[f"{item.name}-check"]
        assert repr(value) == "0.0"
        assert printed.count("\n") == 1 and f"{item.name}: 0 of {item.points} points. Not written yet" in printed
    assert "left out while grading" in found["run"][1]
    assert all(item.name in found["show"][1] for item in notebook(chapter).exercises)


@chapters
def test_a_solved_notebook_has_all_points(built: dict[str, bytes], chapter: str, capfd: pytest.CaptureFixture[str]):
    """On the visible cases and on fresh ones; nbgrader reads the value as text, and must find a number."""
    found = results(document(built[f"{SOLUTIONS}/{path_of(chapter)}"]), capfd)
    for item in notebook(chapter).exercises:
        value, printed = found[f"{item.name}-check"]
        assert repr(value) == f"{item.points}.0", printed
        assert printed.count(f"✓ {item.name}: {item.points} of {item.points} points") == 2
    assert f"{notebook(chapter).points}" in found["show"][1]
