"""A submission put back into the shape of its release, and what nbgrader makes of a value at the end of a cell."""

from __future__ import annotations

import copy

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from sample_course import ROOT

from diffusion_lab.grading.classroom.gradebook.rebuilding import rebuilt
from diffusion_lab.grading.notebook.authoring import EXERCISES, path_of


@pytest.fixture
def release() -> NotebookNode:
    return nbformat.read(ROOT / EXERCISES / path_of("normal_1d"), as_version=4)


@pytest.fixture
def submission(release: NotebookNode) -> NotebookNode:
    """The release with a line in two of its solution cells."""
    made = copy.deepcopy(release)
    place(made, "alpha_bar").source = "alpha_bar = 1"
    place(made, "q_sample").source = "q_sample = 2"
    return made


def place(content: NotebookNode, name: str) -> NotebookNode:
    return next(cell for cell in content.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == name)


def sources(content: NotebookNode) -> list[str]:
    return [cell.source for cell in content.cells]


def test_a_plain_submission_stays_as_it_is(release: NotebookNode, submission: NotebookNode):
    result = rebuilt(release, submission)
    assert sources(result) == sources(submission)
    assert [cell.metadata for cell in result.cells] == [cell.metadata for cell in release.cells]
    nbformat.validate(result)


@pytest.mark.parametrize("lost", ["set-up", "alpha_bar-check", "eps_loss", "title"])
def test_a_cell_that_was_deleted_is_there_again(release: NotebookNode, submission: NotebookNode, lost: str):
    wanted = sources(rebuilt(release, submission))
    submission.cells = [cell for cell in submission.cells if cell.id != lost]
    assert sources(rebuilt(release, submission)) == wanted


def test_without_both_cells_of_an_exercise_only_its_answer_is_gone(release: NotebookNode, submission: NotebookNode):
    submission.cells = [cell for cell in submission.cells if not cell.id.startswith("alpha_bar")]
    result = rebuilt(release, submission)
    assert place(result, "alpha_bar").source == place(release, "alpha_bar").source
    assert place(result, "q_sample").source == "q_sample = 2"


def test_what_is_not_the_learners_to_change_is_the_releases(release: NotebookNode, submission: NotebookNode):
    wanted = sources(submission)
    for cell in submission.cells:
        cell.metadata["tags"] = ["skip-execution"]
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader |= {"points": 99, "schema_version": "x", "locked": False, "grade": False}
    place(submission, "alpha_bar-check").source = "1.0"
    place(submission, "set-up").source = "lab = None"
    result = rebuilt(release, submission)
    assert sources(result) == wanted
    assert [cell.metadata for cell in result.cells] == [cell.metadata for cell in release.cells]


def test_moved_cells_are_back_in_their_order(release: NotebookNode, submission: NotebookNode):
    wanted = sources(submission)
    submission.cells.reverse()
    assert sources(rebuilt(release, submission)) == wanted


def test_cells_of_ones_own_stay_where_they_are(release: NotebookNode, submission: NotebookNode):
    above = submission.cells.index(place(submission, "q_sample"))
    own = [new_code_cell("helper = 1"), new_markdown_cell("a thought")]
    own[0].metadata["nbgrader"] = {"grade_id": "of an older release", "schema_version": 0}
    submission.cells[above - 1 : above - 1] = own
    result = rebuilt(release, submission)
    order = sources(result)
    assert order.index("alpha_bar = 1") < order.index("helper = 1") < order.index("q_sample = 2")
    assert "a thought" in order
    assert result.cells[order.index("helper = 1")].metadata == {}
    nbformat.validate(result)


@pytest.mark.parametrize("marks", [None, 3, [], {"grade_id": ["alpha_bar"]}, {"grade_id": None}])
def test_damaged_marks_make_a_cell_ones_own(release: NotebookNode, submission: NotebookNode, marks: object):
    place(submission, "alpha_bar").metadata["nbgrader"] = marks
    result = rebuilt(release, submission)
    assert place(result, "alpha_bar").source == place(release, "alpha_bar").source
    assert "alpha_bar = 1" in sources(result)


def test_of_two_cells_the_last_one_counts(release: NotebookNode, submission: NotebookNode):
    double = copy.deepcopy(place(submission, "alpha_bar"))
    double.source = "alpha_bar = 3"
    submission.cells.append(double)
    result = rebuilt(release, submission)
    assert place(result, "alpha_bar").source == "alpha_bar = 3"
    assert "alpha_bar = 1" not in sources(result)


@pytest.mark.parametrize(
    ("shown", "marks"),
    [("0.0", 0.0), ("2.5", 2.5), ("4.0", 4.0), ("-1.0", 4.0), ("nan", 4.0), ("np.float64(1.0)", 4.0), ("None", 4.0)],
)
def test_marks_that_nbgrader_reads_from_a_value(shown: str, marks: float):
    """Why a check returns a plain float that is finite and not negative: whatever else is shown gets full marks."""
    from nbgrader.utils import get_partial_grade

    assert get_partial_grade({"data": {"text/plain": shown}}, 4.0) == marks


def test_more_marks_than_there_are_stop_the_grading():
    from nbgrader.utils import get_partial_grade

    with pytest.raises(ValueError, match="greater than maximum"):
        get_partial_grade({"data": {"text/plain": "4.5"}}, 4.0)
