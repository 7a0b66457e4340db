"""The class report's sections on a lab, and the page of questions: both are made from results, and run nothing."""

from __future__ import annotations

import inspect
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffusion_lab.cli import app
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.bugs import BugTask
from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.derivations import Derivation
from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading.classroom import asking
from diffusion_lab.grading.classroom.records import Records
from diffusion_lab.grading.classroom.reports.class_report import page as report
from diffusion_lab.grading.classroom.result import GRADED, Result, of_verdict
from diffusion_lab.grading.judge import LocalCaller, check, deriving, suppose, with_prediction, without_points

LAB, FOLDER, COURSE = "mnist_lab", "05_mnist_lab", "0123456789abcdef"


def solved(student: str, guess: float | None = 1.05, wrong: bool = False, **about) -> Result:
    """A result as `grade` keeps it, of somebody who has written the check and the number.

    Args:
        guess: their prediction, as a multiple of the truth.
    """
    lab = notebook(LAB).drawn_for(Owner(student, COURSE))
    verdicts, solutions = [], {}
    for task in lab.exercises:
        if isinstance(task, BugTask):
            verdicts.append(without_points(task, "failed"))
            continue
        function = task.reference
        if wrong and isinstance(task, Derivation):
            verdicts.append(check(task, LocalCaller(slipping(task)), 3))
            continue
        if wrong:
            function = task.naive[0] if isinstance(task, CheckTask) else task.wrong_answers[0].function
        solutions[task.name] = inspect.getsource(function).replace(f"def {function.__name__}", f"def {task.name}")
        values = {task.variable: guess * task.truth} if guess and isinstance(task, OwnNumber) else {}
        verdicts.append(with_prediction(task, check(task, LocalCaller(function), 3), values))
    items = tuple(json.loads(json.dumps(of_verdict(verdict))) for verdict in verdicts)
    points = sum(verdict.points for verdict in verdicts)
    about |= {"points": points, "out_of": lab.points, "exercises": items, "solutions": solutions, "course": COURSE}
    return Result(student, LAB, GRADED, **about)


def slipping(task: Derivation):
    """What somebody answers who makes the first slip of the second step, and leaves out the last one."""
    answer = deriving.with_slip(task, task.steps[1], task.steps[1].slips[0])
    return lambda *numbers: (*answer[:-1], None)


@pytest.fixture(scope="module")
def class_of_three() -> list[Result]:
    return [solved("ada"), solved("ben", 1e9, wrong=True), solved("cem", None)]


def number_of(result: Result) -> tuple[OwnNumber, dict]:
    task = next(t for t in notebook(LAB).exercises if isinstance(t, OwnNumber)).drawn_for(Owner(result.student, COURSE))
    return task, next(item for item in result.exercises if item["name"] == task.name)


@pytest.mark.slow
def test_the_report_has_a_section_for_each_kind(class_of_three):
    text = report(LAB, class_of_three)
    headings = ("Checks written", "Bugs to find", "Numbers of one&#x27;s own", "Numbers of one's own")
    assert [heading in text for heading in headings[:2]] == [True, True]
    assert headings[2] in text or headings[3] in text
    assert "2 of 3 have guessed it first. 1 came within 10% of the truth, 1 guessed too much and 0 too little" in text
    assert "1 prediction beyond the picture" in text
    for result in class_of_three:
        task, _ = number_of(result)
        assert f"<td>{task.truth:.4g}</td>" in text


def derivation_of(result: Result) -> tuple[Derivation, dict]:
    task = next(t for t in notebook(LAB).exercises if isinstance(t, Derivation)).drawn_for(
        Owner(result.student, COURSE)
    )
    return task, next(item for item in result.exercises if item["name"] == task.name)


def test_the_report_tells_what_became_of_each_step(class_of_three):
    text = report(LAB, class_of_three)
    task, _ = derivation_of(class_of_three[0])
    second, last = task.steps[1], task.steps[-1]
    assert "3 of 3 have worked on it, and 2 have all steps right" in text
    row = f"<td><code>{second.name}</code></td><td>2</td><td>0</td><td>1</td><td>0</td>"
    assert f"{row}<td>{second.slips[0].name} (1)</td>" in text
    assert f"<td><code>{last.name}</code></td><td>2</td><td>0</td><td>0</td><td>1</td>" in text
    _, item = derivation_of(class_of_three[1])
    other = {**item, "facts": {**item["facts"], "another draw": True}}
    items = tuple(other if one is item else one for one in class_of_three[1].exercises)
    alone = report(LAB, [replace(class_of_three[1], exercises=items)])
    assert f"Nobody has filled in a step of <code>{task.name}</code>" in alone


def test_questions_on_a_derivation_begin_with_the_wrong_step(class_of_three):
    task, item = derivation_of(class_of_three[1])
    page = asking.page(class_of_three[1], 40)
    truth = float(task.truths(task.numbers)[task.blanks[1]])
    assert task.asked in page
    assert f"Take me through your step `{task.blanks[1]}` from the beginning. [It is {truth:.4g}.]" in page
    assert item["ideas"][0]["hint"] in page


def test_a_guess_for_other_numbers_is_left_out(class_of_three):
    task, item = number_of(class_of_three[0])
    other = {**item, "facts": {**item["facts"], "another draw": True}}
    items = tuple(other if one is item else one for one in class_of_three[0].exercises)
    text = report(LAB, [replace(class_of_three[0], exercises=items), *class_of_three[1:]])
    assert "1 of 3 have guessed it first" in text and "Left out: 1 submission" in text
    assert f"ada ({', '.join(f'{n} {v:g}' for n, v in task.numbers.items())})" not in text


def test_results_of_older_releases_have_no_facts(class_of_three):
    items = tuple({k: v for k, v in item.items() if k != "facts"} for item in class_of_three[0].exercises)
    old = replace(class_of_three[0], exercises=items)
    assert "Nobody has guessed" in report(LAB, [old])
    assert "## check_guided_eps" in asking.page(old)


def test_questions_come_from_code_mistakes_bug_and_numbers(class_of_three):
    ada, ben = (asking.page(result) for result in class_of_three[:2])
    task, _ = number_of(class_of_three[0])
    assert task.asked in ada and f"You guessed {1.05 * task.truth:.3g}." in ada
    bug = next(t for t in notebook(LAB).exercises if isinstance(t, BugTask)).drawn_for(Owner("ada", COURSE)).bug
    assert f"The bug was in {bug.piece}: {bug.idea}." in ada
    assert "Your code has the line" in ada and "The check told you" not in ada
    hint = " ".join(task.wrong_answers[0].hint.split())
    assert f'The check told you: "{hint}"' in ben and "This mistake passes your check" in ben
    assert asking.page(class_of_three[0]) == ada
    short = asking.page(class_of_three[0], 2)
    assert "\n\n2. " in short and "\n\n3. " not in short


@pytest.mark.parametrize(
    "code",
    ["", "def other(x):\n    return x", "def f(x):\n  return (", "f = lambda x: x", "(" * 3000, "def f():\n    pass"],
    ids=["nothing", "another", "broken", "no function", "deep", "empty"],
)
def test_code_that_says_nothing_has_no_supposition(code):
    assert suppose(code, "f", random.Random(0)) is None


def test_a_supposition_changes_one_line():
    """The line stands in the code, the other one does not, and the code is left as it was."""
    code = "def f(x, t):\n    kept = t.sqrt()\n    return kept * x + (1 - t).sqrt()\n"
    for seed in range(20):
        found = suppose(code, "f", random.Random(seed))
        assert f"    {found.line}\n" in code and f"    {found.changed}\n" not in code and found.says


def test_the_command(tmp_path: Path, class_of_three):
    run = CliRunner().invoke
    place = tmp_path / "submitted" / "ada" / FOLDER
    place.mkdir(parents=True)
    (place / f"{FOLDER}.ipynb").write_text("another file")
    there = ["--course", str(tmp_path)]
    missing = run(app, ["questions", str(place), *there])
    assert missing.exit_code and "comes first" in missing.output
    Records(tmp_path, LAB).keep(class_of_three[0])
    for path in (place, place / f"{FOLDER}.ipynb"):
        told = run(app, ["questions", str(path), *there])
        assert told.exit_code == 0 and told.output.startswith("The file has changed")
        assert asking.page(class_of_three[0]) in told.output
    assert run(app, ["questions", str(tmp_path), *there]).exit_code


def test_what_is_no_submission(tmp_path: Path):
    with pytest.raises(LabError, match="is no submission"):
        asking.graded(tmp_path, tmp_path / "ada")
