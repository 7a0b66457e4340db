"""A class of chapter 1 through nbgrader itself: release, submissions of every kind, marks, feedback, export.

What `test_all_three_agree` tries as well, in a notebook, by `check` and by `grade`, goes through nbgrader at night.
"""

from __future__ import annotations

import copy
import html
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_course import ROOT, SEED, Course, cells_of, delete, document, pasted, text_of, write

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.checking import check
from diffusion_lab.grading.notebook.authoring import CONFIGURATION, EXERCISES, SOLUTIONS, path_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("graders_environment"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's own
]
CHAPTER, PIECE = "normal_1d", "alpha_bar"
"""The piece that most submissions differ in."""
Notebook = dict[str, Any]
Kind = Callable[[Notebook], Any]


@pytest.fixture(scope="module")
def course(graders_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Course:
    return Course(tmp_path_factory.mktemp("course").resolve(), CHAPTER)


def full() -> dict[str, float]:
    return {item.name: float(item.points) for item in notebook(CHAPTER).exercises}


def source(solved: Notebook) -> str:
    return text_of(cells_of(solved)[PIECE])


def test_the_release_is_the_one_in_the_repository(course: Course):
    assert course.released == document((ROOT / EXERCISES / path_of(CHAPTER)).read_bytes())


def untouched(solved: Notebook) -> None:
    pass


def loop_below(solved: Notebook) -> None:
    """The function is there before its cell hangs, and so are all its points."""
    write(solved, PIECE, f"{source(solved)}\nwhile True:\n    pass")


def writes_to_standard_error(solved: Notebook) -> None:
    noise = "print('careful', file=sys.stderr)\n    warnings.warn('careful')"
    code = source(solved).replace("### BEGIN SOLUTION", noise)
    write(solved, PIECE, f"import sys\nimport warnings\nprint('careful', file=sys.stderr)\n{code}")


def helper_in_a_cell_of_its_own(solved: Notebook) -> None:
    place = solved["cells"].index(cells_of(solved)[PIECE])
    own = {"cell_type": "code", "id": "own", "metadata": {}, "outputs": [], "execution_count": 7}
    solved["cells"].insert(place, own | {"source": "def product(x):\n    return torch.cumprod(x, dim=0)"})
    write(solved, PIECE, source(solved).replace("torch.cumprod(1 - betas, dim=0)", "product(1 - betas)"))
    assert "product(" in source(solved)


def without_test_cell(solved: Notebook) -> None:
    """nbgrader alone gives 0 here."""
    delete(solved, f"{PIECE}-check")


def without_set_up_cell(solved: Notebook) -> None:
    delete(solved, "set-up")


def with_another_test(solved: Notebook) -> None:
    write(solved, f"{PIECE}-check", "0.0")


def of_an_older_release(solved: Notebook) -> None:
    """With a cell that there is no more, which makes nbgrader alone give up on the whole submission."""
    solved["metadata"]["diffusion_lab"]["release"] = "0.0.1"
    write(solved, "linear_betas-check", "assert linear_betas(2, 0.1, 0.2) is not None")
    old = copy.deepcopy(cells_of(solved)["q_sample"])
    old["metadata"]["nbgrader"] |= {"grade_id": "old_name", "schema_version": 2}
    solved["cells"].append(old | {"id": "old"})


@pytest.mark.parametrize(
    "kind",
    [
        untouched,
        loop_below,
        writes_to_standard_error,
        pytest.param(helper_in_a_cell_of_its_own, marks=pytest.mark.nightly),
        without_test_cell,
        pytest.param(without_set_up_cell, marks=pytest.mark.nightly),
        with_another_test,
        of_an_older_release,
    ],
)
def test_right_answers_have_all_marks(course: Course, kind: Kind):
    solved = course.solved
    kind(solved)
    course.submit(kind.__name__, solved)
    course.expect(course.grade(kind.__name__))
    assert course.marks(kind.__name__) == full()


def no_python(solved: Notebook) -> None:
    write(solved, PIECE, f"def {PIECE}(betas:\n    return betas")


def loop_in_the_function(solved: Notebook) -> None:
    """It sleeps until its time is over; the loops beside it are busy."""
    write(solved, PIECE, f"def {PIECE}(betas):\n    import time\n    while 1:\n        time.sleep(0.01)")


def loop_above(solved: Notebook) -> None:
    write(solved, PIECE, f"while True:\n    pass\n{source(solved)}")


def another_name(solved: Notebook) -> None:
    write(solved, PIECE, source(solved).replace(f"def {PIECE}(", "def alphabar("))


def without_solution_cell(solved: Notebook) -> None:
    delete(solved, PIECE)


def without_both_cells(solved: Notebook) -> None:
    """nbgrader's own way of adding missing cells ends here with a KeyError and no marks at all."""
    delete(solved, PIECE, f"{PIECE}-check")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (no_python, "SyntaxError"),
        (loop_in_the_function, "no answer after"),
        (loop_above, "No reply from kernel before timeout"),
        pytest.param(another_name, "You have alphabar; the course asks for alpha_bar", marks=pytest.mark.nightly),
        pytest.param(without_solution_cell, "Not written yet", marks=pytest.mark.nightly),
        (without_both_cells, "Not written yet"),
    ],
)
def test_what_is_broken_costs_its_own_marks_alone(course: Course, kind: Kind, said: str):
    solved = course.solved
    kind(solved)
    course.submit(kind.__name__, solved)
    course.expect(course.grade(kind.__name__))
    assert course.marks(kind.__name__) == full() | {PIECE: 0.0}
    assert said in plain(course.feedback(kind.__name__))


def test_the_release_itself_has_no_marks(course: Course):
    course.submit("empty", course.released)
    course.expect(course.grade("empty"))
    assert course.marks("empty") == dict.fromkeys(full(), 0.0)


@pytest.mark.parametrize("place", [0, *(pytest.param(place, marks=pytest.mark.nightly) for place in (1, 2))])
def test_wrong_answers_have_the_marks_of_the_check_and_their_hints_in_the_feedback(course: Course, place: int):
    """Every exercise has another wrong answer: its marks are those of the same check outside nbgrader."""
    student, solved, expected, hints = f"wrong-{place}", course.solved, {}, []
    for item in course.notebook.exercises:
        wrong = item.wrong_answers[place]
        write(solved, item.name, pasted(wrong.function, item.name))
        expected[item.name] = check(item, LocalCaller(wrong.function), int(SEED), explain=False).points
        hints.append(wrong.hint)
    course.submit(student, solved)
    course.expect(course.grade(student))
    assert course.marks(student) == expected
    assert all(points < full()[name] for name, points in expected.items())
    shown = "".join(plain(course.feedback(student)).split())
    assert [hint for hint in hints if "".join(hint.split()) not in shown] == []


def plain(page: str) -> str:
    """The text of a page of feedback."""
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def test_export_and_a_file_that_is_no_notebook(course: Course):
    """One damaged file is reported, and the others have their marks."""
    solved = course.solved
    no_python(solved)
    course.submit("good", solved)
    course.submit("damaged", {"cells": 3})
    course.expect(course.grade("good"))
    assert not course.grade("damaged")["success"]
    rows = course.export()
    total = course.notebook.points
    lost = full()[PIECE]
    assert (rows["good"]["score"], rows["good"]["max_score"]) == (str(total - lost), f"{total}.0")
    assert float(rows["damaged"]["score"]) == 0


def test_nbgrader_reads_the_configuration_itself(tmp_path: Path):
    """The command as an instructor calls it, from an environment that is not active, over a release that exists."""
    shutil.copy(ROOT / CONFIGURATION, tmp_path)
    for folder in (SOLUTIONS, EXERCISES):
        place = tmp_path / folder / path_of(CHAPTER)
        place.parent.mkdir(parents=True)
        shutil.copy(ROOT / folder / path_of(CHAPTER), place)
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not (Path(p) / "alembic").exists())
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", "generate_assignment", Path(path_of(CHAPTER)).stem],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "gradebook.db").is_file()
    released = tmp_path / EXERCISES / path_of(CHAPTER)
    assert released.read_bytes() == (ROOT / EXERCISES / path_of(CHAPTER)).read_bytes()
