"""`course.toml`: what it decides, what is wrong with it in words, and that release, gradebook and feedback obey."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import nbformat
import pytest
from recorded_course import CHAPTER, NAME, Course, item, read, result, table

from diffusion_lab.errors import LabError
from diffusion_lab.exercises import notebook, tasks
from diffusion_lab.exercises.offers import Offer, adopt, in_force, shared_out
from diffusion_lab.grading import load, start
from diffusion_lab.grading.classroom import best_of
from diffusion_lab.grading.classroom.attempts import with_earlier
from diffusion_lab.grading.classroom.gradebook import Book, record, release, write_feedback
from diffusion_lab.grading.classroom.gradebook.tailoring import tailored
from diffusion_lab.grading.classroom.records import find
from diffusion_lab.grading.classroom.reports.exports import write_exports
from diffusion_lab.grading.classroom.result import REFUSED
from diffusion_lab.grading.classroom.rules import Dates, Late, ruled, rules_of

WHOLE = """
timezone = "Europe/Berlin"

[late]
percent_a_day = 10
at_most = 50
grace_minutes = 30

[normal_1d]
due = 2027-03-02T12:00:00
leave_out = ["loss_floor"]
attempts = "best"

[normal_1d.points]
ddpm_step = 10
alpha_bar = 2.5

[normal_1d.extensions]
ada = "2027-03-09 12:00 Asia/Tokyo"

[[normal_1d.questions]]
name = "why_a_root"
after = "alpha_bar"
text = "Why is there a root?"
points = 4
"""
UTC = timezone.utc


def rules(folder: Path, text: str):
    (folder / "course.toml").write_text(text, encoding="utf-8")
    return rules_of(folder)


def test_a_file_is_read(tmp_path: Path):
    found = rules(tmp_path, WHOLE).of(CHAPTER)
    assert found.dates.due == datetime(2027, 3, 2, 11, tzinfo=UTC)  # Berlin is an hour ahead of UTC in winter
    assert found.dates.due_for("ada") == datetime(2027, 3, 9, 3, tzinfo=UTC)  # and Tokyo nine
    assert found.late == Late(10, 50, timedelta(minutes=30)) and found.best
    names = [task.name for task in found.notebook.exercises]
    assert "loss_floor" not in names and len(names) == len(notebook(CHAPTER).exercises) - 1
    worth = {task.name: task.points for task in found.notebook.exercises}
    assert (worth["ddpm_step"], worth["alpha_bar"]) == (10, 2.5)
    other = rules_of(tmp_path).of("mnist")
    assert other.late == found.late and not other.best and other.notebook.points == notebook("mnist").points


def test_a_course_without_a_file_changes_nothing(tmp_path: Path):
    found = rules_of(tmp_path).of(CHAPTER)
    assert found.notebook.exercises == notebook(CHAPTER).exercises and found.late is None and found.dates.due is None


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[normal_1d]\n\n# a remark\ndew = 1\n", 4, "did you mean 'due'"),
        ("\n[normal1d]\n", 2, "did you mean 'normal_1d'"),
        ("[normal_1d]\nleave_out = [\n  'loss_flor',\n]\n", 2, "did you mean 'loss_floor'"),
        ("[normal_1d.points]\nalpha_bar = 3\nddpm_step = -2\n", 3, "are a number from 0.5"),
        ("[normal_1d.points]\nalpha_bar = 0\n", 2, "leave it out"),
        ("[normal_1d.points]\nalpha_bar = 2.3\n", 2, "whole or half"),
        ("[normal_1d]\nleave_out = ['alpha_bar']\npoints = {alpha_bar = 2}\n", 3, "left out"),
        ("[normal_1d]\ndue = 2027-03-02T12:00:00\n", 2, 'timezone = "Europe/Berlin"'),
        ("[normal_1d]\ndue = 2027-03-02\n", 2, "2027-03-02T23:59:00"),
        ("[normal_1d]\ndue = '02.03.2027 12:00 UTC'\n", 2, "which number is the day"),
        ("[normal_1d]\nextensions = {ada = 2027-03-02T12:00:00Z}\n", 2, "has no 'due'"),
        ("timezone = 'Europe/Berlim'\n", 1, "no 'Europe/Berlim'"),
        ("[late]\nat_most = 50\n", 1, "percent_a_day"),
        ("[late]\npercent_a_day = 101\n", 2, "from 0 to 100"),
        ("attempts = 'first'\n", 1, "'last' or 'best'"),
        ("[normal_1d]\n[1]\n", 2, "has a table already"),
        ("normal_1d = 3\n", 1, "[normal_1d]"),
        (2 * "[[normal_1d.questions]]\nname = 'a'\ntext = 'A'\npoints = 1\n", 6, "is called 'a'"),
        ("[normal_1d]\ndue = = 3\n", 2, "no TOML"),
        ("[[normal_1d.exercises]]\nfile = 'nowhere.py'\n", 2, "nowhere.py"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, words: str, tmp_path: Path):
    with pytest.raises(LabError) as told:
        rules(tmp_path, text)
    assert f"line {line}" in str(told.value) and "course.toml" in str(told.value), told.value
    assert words in str(told.value)


def test_lateness_costs_what_the_rule_says():
    rule = Late(10, 35, timedelta(minutes=30))
    hours = {0: 0, 0.5: 0, 0.51: 10, 24: 10, 24.01: 20, 60: 30, 80: 35, 1000: 35}
    assert {h: rule.percent(timedelta(hours=h)) for h in hours} == hours
    assert rule.penalty(20, timedelta(hours=25)) == 4
    dates = Dates(datetime(2027, 3, 2, 12, tzinfo=UTC), {"ada": datetime(2027, 3, 4, 12, tzinfo=UTC)})
    handed_in = datetime(2027, 3, 3, 12, tzinfo=UTC)
    assert dates.late("ben", handed_in) == timedelta(days=1) and not dates.late("ada", handed_in)
    assert not dates.late("ben", None) and not Dates().late("ben", handed_in)


def test_points_are_shared_out_in_halves():
    assert shared_out({"values": 3, "care": 1}, 8) == {"values": 6, "care": 2}
    assert shared_out({"values": 3, "care": 1}, 10) == {"values": 7.5, "care": 2.5}
    for points in (1.5, 2, 3.5, 7, 11, 100.5):
        shares = shared_out({"a": 5, "b": 3, "c": 1}, points)
        assert sum(shares.values()) == points and all(2 * s == int(2 * s) > 0 for s in shares.values())
    for points in (1, 2.25, float("nan")):
        with pytest.raises(LabError):
            shared_out({"a": 5, "b": 3, "c": 1}, points)


def test_an_offer_is_in_force_for_as_long_as_it_is_open():
    with in_force([Offer(CHAPTER, ("loss_floor",), (("alpha_bar", 8.0),))]):
        assert notebook(CHAPTER).points == 43 - 6 - 4 + 8
        assert "loss_floor" in tasks() and tasks()["alpha_bar"].points == 8  # chapters run with all of them
        assert Offer.from_dict(json.loads(json.dumps(Offer(CHAPTER, ("loss_floor",)).as_dict()))).leave_out
    assert notebook(CHAPTER).points == 43


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """A course with rules, and a word of its teacher's own in the source."""
    course = Course.made(tmp_path_factory.mktemp("ruled") / "course")
    (course.root / "course.toml").write_text(WHOLE, encoding="utf-8")
    source = course.root / "solutions" / NAME / f"{NAME}.ipynb"
    document = nbformat.read(source, as_version=4)
    document.cells.insert(2, nbformat.v4.new_markdown_cell("A word of the teacher's own.", id="own"))
    nbformat.write(document, source)
    return course


@pytest.fixture(scope="module")
def changed(made: Course) -> nbformat.NotebookNode:
    """What becomes of the source before nbgrader takes the solutions out."""
    source = nbformat.read(made.root / "solutions" / NAME / f"{NAME}.ipynb", as_version=4)
    return tailored(source, rules_of(made.root).of(CHAPTER))


def test_the_release_is_what_the_rules_say(changed: nbformat.NotebookNode):
    names = [cell.id for cell in changed.cells]
    sources = {cell.id: cell.source for cell in changed.cells}
    assert not any("loss_floor" in name for name in names) and sources["own"] == "A word of the teacher's own."
    assert "Write `ddpm_step`. 10 points: " in sources["ddpm_step-text"] and "## 7. " in sources["ddpm_step-text"]
    assert "7 exercises with 38.5 points" in sources["how-to-work"]
    worth = {cell.id: cell.metadata.nbgrader.points for cell in changed.cells if cell.id.endswith("-check")}
    assert (worth["ddpm_step-check"], worth["alpha_bar-check"], worth["q_sample-check"]) == (10, 2.5, 5)
    place = names.index("why_a_root-text")
    assert names[place - 1] == "alpha_bar-check" and "Why is there a root?" in sources["why_a_root-text"]
    answer = changed.cells[place + 1]
    assert answer.cell_type == "markdown" and answer.metadata.nbgrader.points == 4 and answer.metadata.nbgrader.grade


def test_a_released_notebook_checks_by_its_own_points(changed: nbformat.NotebookNode, capsys: pytest.CaptureFixture):
    space: dict = {"start": start}
    line = next(line for cell in changed.cells for line in cell.source.splitlines() if line.startswith("lab = "))
    try:
        exec(line, space)
        space["alpha_bar"] = tasks()["alpha_bar"].reference
        assert space["lab"].check("alpha_bar") == 2.5
        space["lab"].show()
        assert "loss_floor" not in (shown := capsys.readouterr().out) and "38.5" in shown
    finally:
        adopt(Offer(CHAPTER))


def test_a_student_s_check_in_a_terminal_follows_the_release(changed: nbformat.NotebookNode, tmp_path: Path):
    path = tmp_path / f"{NAME}.ipynb"
    nbformat.write(changed, path)
    try:
        sources = load(path)
        assert "loss_floor" not in sources.names and "alpha_bar" in sources.names and not sources.faults
        assert notebook(CHAPTER).points == 38.5
        document = copy.deepcopy(changed)
        document.metadata.diffusion_lab.offer = {"leave_out": ["nothing_of_the_kind"], "points": {"alpha_bar": -1}}
        nbformat.write(document, tmp_path / "odd.ipynb")
        adopt(Offer(CHAPTER))
        assert "loss_floor" in load(tmp_path / "odd.ipynb").names  # what is not clear changes nothing
    finally:
        adopt(Offer(CHAPTER))


@pytest.mark.slow
def test_release_marks_penalties_and_feedback_follow_the_rules(made: Course):
    release(made.root, CHAPTER)
    with made.api.gradebook as gradebook:
        assignment = gradebook.find_assignment(NAME)
        assert assignment.max_score == 42.5 and assignment.duedate == datetime(2027, 3, 2, 11)
    document = nbformat.read(made.root / "exercises" / NAME / f"{NAME}.ipynb", as_version=4)
    assert any(cell.source == "A word of the teacher's own." for cell in document.cells)
    book = Book(made.root, CHAPTER)
    with in_force([book.rules.offer]):
        given = tuple(item(task.name) for task in book.rules.notebook.exercises)
    assert sum(each["points"] for each in given) == 38.5
    people = {
        "ada": "2027-03-08 12:00:00 UTC",
        "ben": "2027-03-03 11:30:00 UTC",
        "cid": "2027-03-02 11:20:00 UTC",
    }
    for student, when in people.items():
        made.submit(student, when=when)
    answers = {"why_a_root": "Because variances add."}
    record(made.root, CHAPTER, [result(student, given, answers=answers, out_of=38.5) for student in people])
    assert book.penalties() == {"ada": 0.0, "ben": round(0.2 * 38.5, 2), "cid": 0.0}  # a day and half an hour; in grace
    with made.api.gradebook as gradebook:
        grade = gradebook.find_grade("why_a_root", NAME, NAME, "ben")
        assert grade.needs_manual_grade
        grade.manual_score, grade.needs_manual_grade = 4.0, False
        gradebook.db.commit()
    write_feedback(made.root, CHAPTER, ["ben"])
    page = read(made.root / "feedback" / "ben" / NAME / f"{NAME}.html")
    assert "<dd>8.5</dd>" in page and "34 of 42.5" in page  # a fifth of all points, those by hand among them
    files = write_exports(book, [], made.root)
    rows = {row["student_id"]: row for row in table(files[0])}
    assert (rows["ben"]["score"], rows["ada"]["score"], rows["ben"]["max_score"]) == ("34.0", "38.5", "42.5")
    record(made.root, CHAPTER, [result("ben", given, answers=answers, out_of=38.5, digest="1" * 64)])
    assert book.totals()["ben"] == (42.5, 42.5)  # the mark by hand is still there
    text = (made.root / "course.toml").read_text().replace("alpha_bar = 2.5", "alpha_bar = 5")
    (made.root / "course.toml").write_text(text)
    with pytest.raises(LabError, match="asks for a new release"):
        record(made.root, CHAPTER, [result("ben", given, out_of=38.5)])
    release(made.root, CHAPTER)  # points may change once there are marks
    with in_force([rules_of(made.root).of(CHAPTER).offer]):
        given = tuple(item(task.name) for task in notebook(CHAPTER).exercises)
    record(made.root, CHAPTER, [result("ben", given, answers=answers, out_of=41)])
    assert Book(made.root, CHAPTER).totals()["ben"] == (45, 45)
    (made.root / "course.toml").write_text(text.replace('["loss_floor"]', '["loss_floor", "q_sample"]'))
    with pytest.raises(LabError, match="no cells then: q_sample would go"):  # but what is asked may not
        release(made.root, CHAPTER)
    assert (made.root / "exercises" / NAME / f"{NAME}.ipynb").exists()


def test_the_best_attempt_counts_after_lateness(tmp_path: Path):
    found = rules(tmp_path, WHOLE).of(CHAPTER)
    times = {"1": datetime(2027, 3, 1, tzinfo=UTC), "2": datetime(2027, 3, 4, 12, tzinfo=UTC), "3": None}

    def tries(*points: float):
        return [replace(result("ben", ()), points=given, attempt=str(number)) for number, given in enumerate(points, 1)]

    def best(*points: float) -> str:
        (chosen,) = best_of(tries(*points), found, lambda each: times[each.attempt])
        return chosen.attempt

    assert best(30, 40) == "1" and best(30, 44) == "2"  # 40 less three tenths are 28, and 44 are 30.8
    assert best(30, 40, 30) == "3" and best(30, 40, 29) == "1"  # of equal ones the last
    refused = replace(result("ben", ()), state=REFUSED, points=0.0, attempt="3")
    (chosen,) = best_of([*tries(0, 0), refused], found, lambda each: times[each.attempt])
    assert chosen.attempt == "2"


def test_every_file_that_was_handed_in_stays_an_attempt(tmp_path: Path):
    course = Course(tmp_path)
    for number in range(3):
        course.submit("ada", content=json.dumps({"cells": [], "n": number}), when=f"2027-03-0{number + 1} 12:00 UTC")
        attempts = with_earlier(course.root, find(course.root / "submitted", [CHAPTER]))
        assert len(attempts) == number + 1 and json.loads(attempts[-1].path.read_text())["n"] == number
        assert Book(course.root, CHAPTER).handed_in(
            replace(result("ada", ()), attempt=attempts[-1].attempt)
        ) == datetime(2027, 3, number + 1, 12, tzinfo=UTC)
    assert len({attempt.attempt for attempt in attempts}) == 3
    assert len(with_earlier(course.root, find(course.root / "submitted", [CHAPTER]))) == 3  # the same file is the same


def test_rules_are_in_force_by_the_courses_folder(tmp_path: Path):
    rules(tmp_path, WHOLE)
    with ruled(tmp_path):
        assert notebook(CHAPTER).points == 38.5
    assert notebook(CHAPTER).points == 43
