"""Solved notebooks in a real kernel, with the run at their end."""

from __future__ import annotations

import nbformat
import pytest
from sample_course import ROOT

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.notebook.authoring import EXERCISES, SOLUTIONS, path_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("graders_environment")]


def executed(kind: str, chapter: str) -> dict[str, list]:
    """id of a cell -> its outputs."""
    from nbclient import NotebookClient

    content = nbformat.read(ROOT / kind / path_of(chapter), as_version=4)
    NotebookClient(content, timeout=300, kernel_name="python3", shutdown_kernel="immediate").execute()
    return {cell.id: cell.outputs for cell in content.cells if cell.cell_type == "code"}


def printed(outputs: list) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream")


@pytest.mark.parametrize("chapter", ["normal_1d", pytest.param("mnist", marks=pytest.mark.nightly)])
def test_a_solved_notebook_runs_from_the_top(chapter: str):
    found = executed(SOLUTIONS, chapter)
    outputs = [output for cell in found.values() for output in cell]
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}
    assert "error" not in {output.output_type for output in outputs}
    for item in notebook(chapter).exercises:
        (result,) = (output for output in found[f"{item.name}-check"] if output.output_type == "execute_result")
        assert result.data["text/plain"] == f"{item.points}.0"
    assert any("image/png" in output.get("data", {}) for output in found["run"])
    points = notebook(chapter).points
    assert f"{points}" in printed(found["show"]).splitlines()[-1]


def test_a_release_runs_from_the_top_with_our_pieces():
    found = executed(EXERCISES, "normal_1d")
    outputs = [output for cell in found.values() for output in cell]
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}
    # The cells of solutions define functions; nothing raises before a function is called.
    assert "error" not in {output.output_type for output in outputs}
    assert any("image/png" in output.get("data", {}) for output in found["run"])
