"""The notebooks in solutions/ and exercises/: fresh, valid, and without answers in the released ones."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from sample_course import ROOT, cells_of, document, text_of

from diffusion_lab.errors import LabError
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import BEYOND, CHAPTERS
from diffusion_lab.grading.notebook.authoring import EXERCISES, SOLUTIONS, path_of, solution

SCRIPT = ROOT / "scripts" / "build_notebooks.py"
chapters = pytest.mark.parametrize("chapter", (*CHAPTERS, *BEYOND))
kinds = pytest.mark.parametrize("kind", [SOLUTIONS, EXERCISES])


@kinds
@chapters
def test_notebooks_are_what_their_records_say(built: dict[str, bytes], chapter: str, kind: str):
    path = f"{kind}/{path_of(chapter)}"
    assert (ROOT / path).is_file() and (ROOT / path).read_bytes() == built[path], f"{path} is stale: make notebooks"


def test_there_are_no_other_notebooks(built: dict[str, bytes]):
    found = [file for kind in (SOLUTIONS, EXERCISES) for file in (ROOT / kind).rglob("*") if file.is_file()]
    assert {file.relative_to(ROOT).as_posix() for file in found} == set(built)


def run_script(*arguments: str, folder: Path, seed: str = "1") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, "--root", str(folder)],
        cwd=folder,
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )


@pytest.mark.slow
def test_script_writes_and_checks_and_leaves_nothing_else(tmp_path: Path, built: dict[str, bytes]):
    """In processes with other orders of sets and dictionaries, too, the bytes are the same."""
    first = run_script("normal_1d", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    paths = {f"{kind}/{path_of('normal_1d')}" for kind in (SOLUTIONS, EXERCISES)}
    assert {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()} == paths
    assert all((tmp_path / path).read_bytes() == built[path] for path in paths)

    released = tmp_path / EXERCISES / path_of("normal_1d")
    released.write_bytes(released.read_bytes().replace(b"alpha_bar", b"alphabar", 1))
    stale = run_script("normal_1d", "--check", folder=tmp_path, seed="2")
    assert stale.returncode == 1
    assert f"stale: {EXERCISES}/{path_of('normal_1d')}" in stale.stdout
    assert SOLUTIONS not in stale.stdout


@kinds
@chapters
def test_notebooks_are_valid(built: dict[str, bytes], chapter: str, kind: str):
    from nbgrader.nbgraderformat import MetadataValidator

    content = nbformat.reads(built[f"{kind}/{path_of(chapter)}"].decode(), as_version=4)
    nbformat.validate(content)
    MetadataValidator().validate_nb(content)
    ids = [cell.id for cell in content.cells]
    assert len(set(ids)) == len(ids)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in content.cells if "outputs" in cell)
    assert content.metadata.diffusion_lab.chapter == chapter


@kinds
@chapters
def test_every_exercise_has_its_cells(built: dict[str, bytes], chapter: str, kind: str):
    content = document(built[f"{kind}/{path_of(chapter)}"])
    exercises = notebook(chapter).exercises
    marks = [cell["metadata"]["nbgrader"] for cell in content["cells"] if "nbgrader" in cell["metadata"]]
    expected = [name for item in exercises for name in (item.name, f"{item.name}-check")]
    assert [mark["grade_id"] for mark in marks] == ["set-up", *expected]
    points = {mark["grade_id"]: mark["points"] for mark in marks if mark["grade"]}
    assert points == {f"{item.name}-check": item.points for item in exercises}
    assert [mark["grade_id"] for mark in marks if mark["solution"]] == [item.name for item in exercises]
    texts = cells_of(content, "markdown")
    for item in exercises:
        text = text_of(texts[f"{item.name}-text"])
        assert item.title in text and item.statement.strip() in text and f"{item.points} points" in text


@chapters
def test_a_released_function_has_a_docstring_and_no_body(built: dict[str, bytes], chapter: str):
    content = document(built[f"{EXERCISES}/{path_of(chapter)}"])
    for item in notebook(chapter).exercises:
        (function,) = ast.parse(text_of(cells_of(content)[item.name])).body
        assert isinstance(function, ast.FunctionDef) and function.name == item.name
        assert ast.get_docstring(function) == inspect.getdoc(item.reference)
        assert [ast.unparse(statement) for statement in function.body[1:]] == ["raise NotImplementedError()"]
        assert text_of(cells_of(content)[f"{item.name}-check"]) == f'points = lab.check("{item.name}")\npoints'


def code_lines(function: Callable) -> set[str]:
    """The lines below a function's docstring that are long enough to give something away."""
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    first = ast.parse("\n".join(lines)).body[0].body[0]
    start = first.end_lineno if inspect.getdoc(function) else first.lineno - 1
    return {line.strip() for line in lines[start:] if len(line.strip()) > 12}


@chapters
def test_releases_give_nothing_away(built: dict[str, bytes], chapter: str):
    content = document(built[f"{EXERCISES}/{path_of(chapter)}"])
    text = "\n".join(text_of(cell) for cell in content["cells"])
    # Answers may import what the set-up cell imports for everybody.
    lines = {line.strip() for line in text.splitlines()} - set(text_of(cells_of(content)["set-up"]).splitlines())
    for item in notebook(chapter).exercises:
        answers = [item.reference, *(other.function for other in (*item.wrong_answers, *item.right_answers))]
        for answer in answers:
            given = {line for line in code_lines(answer) if line in lines}
            assert given == set(), f"{item.name}: {answer.__name__}"
        assert not [line for line in code_lines(item.reference) if line in text], item.name
        flat = " ".join(text.split())
        assert not [wrong.name for wrong in item.wrong_answers if " ".join(wrong.hint.split()) in flat]
    for mark in ("lab.grade", "BEGIN", "END SOLUTION", "HIDDEN"):
        assert mark not in text


@chapters
def test_solutions_would_be_found(built: dict[str, bytes], chapter: str):
    """The search above finds every reference in the notebook that holds them."""
    text = built[f"{SOLUTIONS}/{path_of(chapter)}"].decode()
    text = "\n".join(text_of(cell) for cell in document(text.encode())["cells"])
    for item in notebook(chapter).exercises:
        assert code_lines(item.reference) and all(line in text for line in code_lines(item.reference)), item.name


def no_docstring(x):
    return x + 1


def only_docstring(x):
    """Nothing else."""


@staticmethod
def decorated(x):
    """With a decorator."""
    return x + 1


@pytest.mark.parametrize("function", [no_docstring, only_docstring, decorated.__func__])
def test_a_reference_that_makes_no_exercise_is_refused(function: Callable):
    with pytest.raises(LabError, match=re.escape(repr(function.__name__))):
        solution(function)


def test_the_folders_are_not_ignored():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    paths = [f"{kind}/{path_of('mnist')}" for kind in (SOLUTIONS, EXERCISES)]
    done = subprocess.run(["git", "check-ignore", "--no-index", *paths], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == ""
