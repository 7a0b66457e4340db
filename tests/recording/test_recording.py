"""Results in the gradebook, and what nbgrader makes of them: marks, formgrader, export, feedback."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sqlite3
import stat
from pathlib import Path

import nbformat
import pytest
from nbgrader.utils import notebook_hash
from recorded_course import CHAPTER, NAME, Course, by_name, item, read, result

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.gradebook.recording import Book, RecordingError, record, write_feedback
from diffusion_lab.grading.classroom.gradebook.verdict_notebook import name_of
from diffusion_lab.grading.classroom.marking import mark
from diffusion_lab.grading.classroom.result import GRADED, NOT_GRADED, Result, of_verdict, refused
from diffusion_lab.grading.classroom.submission import take_in


def test_the_gradebook_has_the_marks_of_the_results(course: Course, right, mixed):
    told = []
    record(course.root, CHAPTER, [result("ann", right), result("bob", mixed)], lambda *step: told.append(step))
    assert course.marks("ann") == by_name(right)
    assert course.marks("bob") == by_name(mixed)
    assert 0 < sum(course.marks("bob").values()) < sum(course.marks("ann").values()) == notebook(CHAPTER).points
    assert told == [("recording", 0, 2), ("recording", 1, 2), ("recording", 2, 2)]


def test_a_course_that_was_never_released_is_released_first(tmp_path: Path, right):
    course = Course.made(tmp_path / "a new course")
    record(course.root, CHAPTER, [result("ann", right)])
    assert course.marks("ann") == by_name(right)
    assert (course.root / "exercises" / NAME / f"{NAME}.ipynb").is_file()
    assert (course.root / "gradebook.db").is_file()


def test_a_submission_graded_in_the_sandbox(course: Course, sandbox, right, tmp_path: Path):
    """From the release, with two right answers and a known mistake in it, to the feedback."""
    release = nbformat.read(course.root / "exercises" / NAME / f"{NAME}.ipynb", as_version=4)
    exercises = {exercise.name: exercise for exercise in notebook(CHAPTER).exercises}
    mistake = exercises["alpha_bar"].wrong_answers[0]
    sources = {
        "linear_betas": inspect.getsource(exercises["linear_betas"].reference),
        "q_sample": inspect.getsource(exercises["q_sample"].reference),
        "alpha_bar": inspect.getsource(mistake.function).replace(mistake.function.__name__, "alpha_bar", 1),
    }
    for cell in release.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = sources.get(name, cell.source)
    place = course.submit("ann", nbformat.writes(release))
    intake = take_in(place, notebook(CHAPTER))
    marked = mark(sandbox, notebook(CHAPTER), intake, seed=11)
    graded = Result(
        student="ann",
        chapter=CHAPTER,
        state=GRADED,
        points=marked.points,
        out_of=notebook(CHAPTER).points,
        exercises=tuple(map(of_verdict, marked.verdicts)),
        solutions={name: cell.written for name, cell in intake.solutions.items()},
        seconds=marked.seconds,
    )
    record(course.root, CHAPTER, [Result.from_dict(json.loads(json.dumps(graded.as_dict())))])
    marks = course.marks("ann")
    assert marks["linear_betas"] == exercises["linear_betas"].points
    assert marks["q_sample"] == exercises["q_sample"].points
    assert marks["alpha_bar"] < exercises["alpha_bar"].points
    assert marks["ddpm_step"] == 0
    (page,) = write_feedback(course.root, CHAPTER)
    words = " ".join(text_of(read(page)).split())
    assert " ".join(mistake.hint.split()) in words
    assert "○ ddpm_step: 0 of" in words


def text_of(page: str) -> str:
    from bs4 import BeautifulSoup

    return BeautifulSoup(page, "html.parser").get_text()


def test_the_formgrader_sees_a_submission_as_any_other(course: Course, mixed):
    course.submit("bob")
    record(course.root, CHAPTER, [result("bob", mixed)])
    api, points = course.api, sum(by_name(mixed).values())
    (submission,) = api.get_submissions(NAME)
    assert submission["student"] == "bob"
    assert submission["autograded"] and not submission["needs_manual_grade"]
    assert submission["score"] == points and submission["max_score"] == notebook(CHAPTER).points
    (one,) = api.get_notebook_submissions(NAME, NAME)
    assert one["score"] == points
    assert one["failed_tests"]
    (same,) = api.get_student_notebook_submissions("bob", NAME)
    assert same["score"] == points
    assert api.get_student("bob")["score"] == points


def test_nbgraders_own_export_and_feedback_go_on_working(course: Course, mixed):
    course.submit("bob")
    record(course.root, CHAPTER, [result("bob", mixed)])
    row = course.export()["bob"]
    assert float(row["score"]) == float(row["raw_score"]) == sum(by_name(mixed).values())
    done = course.api.generate_feedback(NAME, "bob")
    assert done["success"], done
    assert "✗ alpha_bar" in read(course.root / "feedback" / "bob" / NAME / f"{NAME}.html")


def test_feedback_tells_verdict_and_hint_and_hides_the_tests(course: Course, mixed):
    record(course.root, CHAPTER, [result("bob", mixed)])
    (page,) = write_feedback(course.root, CHAPTER, ["bob"])
    words = " ".join(text_of(read(page)).split())
    for each in mixed:
        assert each["text"].splitlines()[0] in words
        for idea in each["ideas"]:
            assert " ".join(idea["hint"].split()) in words
    for secret in ("lab.grade", "HIDDEN TESTS", "BEGIN SOLUTION"):
        assert secret not in read(page) and secret not in words
    stored = read(course.autograded("bob"))
    assert "lab.grade" not in stored and "HIDDEN" not in stored


def test_a_refused_submission_has_no_points_and_says_why(course: Course):
    reason = "it is not a notebook: JSONDecodeError <b>&"
    record(course.root, CHAPTER, [refused("eve", notebook(CHAPTER), reason)])
    assert set(course.marks("eve").values()) == {0.0}
    assert float(course.export()["eve"]["score"]) == 0
    (page,) = write_feedback(course.root, CHAPTER)
    assert f"It holds no submission: {reason}" in text_of(read(page))
    assert "<b>&" not in read(page)


def test_a_refused_submission_without_exercises_has_no_points_either(course: Course):
    """Nothing below a test cell would be full marks for nbgrader."""
    bare = dataclasses.replace(refused("eve", notebook(CHAPTER), "it is a link"), exercises=(), solutions=None)
    record(course.root, CHAPTER, [bare])
    assert set(course.marks("eve").values()) == {0.0}


def test_what_was_not_graded_is_not_in_the_gradebook(course: Course, right):
    course.submit("ann")
    record(course.root, CHAPTER, [result("ann", (), state=NOT_GRADED, reason="lost worker"), result("bob", right)])
    assert course.students() == {"bob"}
    assert not course.autograded("ann").exists()


def test_what_was_not_graded_keeps_an_earlier_mark(course: Course, right):
    record(course.root, CHAPTER, [result("ann", right)])
    record(course.root, CHAPTER, [result("ann", (), state=NOT_GRADED)])
    assert course.marks("ann") == by_name(right)


def test_a_new_result_replaces_the_old_one(course: Course, right, mixed):
    record(course.root, CHAPTER, [result("ann", mixed)])
    record(course.root, CHAPTER, [result("ann", right)])
    assert course.marks("ann") == by_name(right)
    assert "✗" not in read(course.autograded("ann"))
    assert len(course.export()) == 1


def test_the_same_result_is_left_as_it_is(course: Course, mixed):
    record(course.root, CHAPTER, [result("ann", mixed)])
    before = course.autograded("ann").stat().st_mtime_ns
    record(course.root, CHAPTER, [result("ann", mixed, seconds=9.0)])
    assert course.autograded("ann").stat().st_mtime_ns == before


@pytest.mark.parametrize("lost", ["gradebook", "file", "mark"])
def test_what_was_lost_is_recorded_again(course: Course, mixed, lost: str):
    record(course.root, CHAPTER, [result("ann", mixed)])
    if lost == "gradebook":
        with course.api.gradebook as gradebook:
            gradebook.remove_submission(NAME, "ann")
    elif lost == "file":
        course.autograded("ann").unlink()
    else:
        with sqlite3.connect(course.root / "gradebook.db") as database:
            database.execute("UPDATE grade SET auto_score = 0")
    record(course.root, CHAPTER, [result("ann", mixed)])
    assert course.marks("ann") == by_name(mixed)
    assert course.autograded("ann").is_file()


def by_hand(course: Course, student: str) -> None:
    """What a grader does in formgrader: other points, extra credit and a comment."""
    with course.api.gradebook as gradebook:
        grade = gradebook.find_grade("alpha_bar-check", NAME, NAME, student)
        grade.manual_score, grade.extra_credit, grade.needs_manual_grade = 2.5, 0.5, False
        gradebook.find_comment("alpha_bar", NAME, NAME, student).manual_comment = "Nearly: see page 3."
        gradebook.db.commit()


def test_what_was_given_by_hand_survives_as_with_nbgrader(course: Course, right, mixed):
    record(course.root, CHAPTER, [result("ann", mixed)])
    by_hand(course, "ann")
    record(course.root, CHAPTER, [result("ann", right)])
    with course.api.gradebook as gradebook:
        grade = gradebook.find_grade("alpha_bar-check", NAME, NAME, "ann")
        assert (grade.manual_score, grade.extra_credit, grade.score) == (2.5, 0.5, 3.0)
        assert grade.auto_score == by_name(right)["alpha_bar"]
        assert grade.needs_manual_grade  # as nbgrader has it: somebody should look whether it still holds
    (page,) = write_feedback(course.root, CHAPTER)
    assert "Nearly: see page 3." in read(page)


def test_the_same_result_asks_for_no_other_look(course: Course, mixed):
    record(course.root, CHAPTER, [result("ann", mixed)])
    by_hand(course, "ann")
    record(course.root, CHAPTER, [result("ann", mixed)])
    with course.api.gradebook as gradebook:
        assert not gradebook.find_grade("alpha_bar-check", NAME, NAME, "ann").needs_manual_grade


def test_an_unwritten_answer_has_nbgraders_comment(course: Course, mixed):
    stub = next(cell.source for cell in Book(course.root, CHAPTER).release.cells if name_of(cell) == "alpha_bar")
    record(course.root, CHAPTER, [result("ann", mixed, solutions={"alpha_bar": stub, "q_sample": "q_sample = 1"})])
    with course.api.gradebook as gradebook:
        assert gradebook.find_comment("alpha_bar", NAME, NAME, "ann").comment == "No response."
        assert gradebook.find_comment("q_sample", NAME, NAME, "ann").comment is None


def test_a_late_submission_is_late(course: Course, right):
    configuration = course.root / "nbgrader_config.py"
    configuration.write_text(
        configuration.read_text(encoding="utf-8") + "c.LateSubmissionPlugin.penalty_method = 'zero'\n", encoding="utf-8"
    )
    with course.api.gradebook as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate="2026-03-01 12:00:00 UTC")
    course.submit("ann", when="2026-03-01 11:59:00 UTC")
    course.submit("bob", when="2026-03-02 12:00:00 UTC")
    record(course.root, CHAPTER, [result("ann", right), result("bob", right)])
    rows = course.export()
    assert float(rows["ann"]["score"]) == float(rows["bob"]["raw_score"]) == notebook(CHAPTER).points
    assert float(rows["bob"]["score"]) == 0
    assert rows["bob"]["timestamp"] == "2026-03-02 12:00:00"


def test_a_penalty_that_comes_later_counts(course: Course, right):
    with course.api.gradebook as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate="2026-03-01 12:00:00 UTC")
    course.submit("bob", when="2026-03-02 12:00:00 UTC")
    record(course.root, CHAPTER, [result("bob", right)])
    assert float(course.export()["bob"]["score"]) == notebook(CHAPTER).points
    configuration = course.root / "nbgrader_config.py"
    configuration.write_text(
        configuration.read_text(encoding="utf-8") + "c.LateSubmissionPlugin.penalty_method = 'zero'\n", encoding="utf-8"
    )
    record(course.root, CHAPTER, [result("bob", right)])
    assert float(course.export()["bob"]["score"]) == 0


@pytest.mark.filterwarnings("ignore:Passing unrecognized arguments")
def test_nbgrader_can_release_the_feedback(course: Course, right, tmp_path: Path):
    exchange = tmp_path / "exchange"
    exchange.mkdir()
    exchange.chmod(0o777)
    configuration = course.root / "nbgrader_config.py"
    settings = configuration.read_text(encoding="utf-8") + f"c.Exchange.root = {str(exchange)!r}\n"
    configuration.write_text(settings, encoding="utf-8")
    secret = "0123456789abcdef" * 8
    when = "2026-03-01 11:59:00 UTC"
    (course.submit("ann", when=when).parent / "submission_secret.txt").write_text(secret)
    course.submit("bob", when=when)
    outside = course.submit("cyd", when=when).parent / "submission_secret.txt"
    (tmp_path / "outside.txt").write_text(secret[::-1])
    outside.symlink_to(tmp_path / "outside.txt")
    record(course.root, CHAPTER, [result(student, right) for student in ("ann", "bob", "cyd")])
    write_feedback(course.root, CHAPTER)
    assert course.api.release_assignment(NAME)["success"]
    released = course.api.release_feedback(NAME)
    assert released["success"], released["log"]
    names = {path.stem for path in exchange.glob("*/feedback/*.html")}
    assert len(names) == 3
    assert notebook_hash(secret=secret, notebook_id=NAME) in names
    assert notebook_hash(secret=secret[::-1], notebook_id=NAME) not in names


def test_submissions_may_lie_elsewhere(course: Course, right, tmp_path: Path):
    elsewhere = tmp_path / "inbox"
    (elsewhere / "ann" / NAME).mkdir(parents=True)
    (elsewhere / "ann" / NAME / "timestamp.txt").write_text("2026-03-02 12:00:00 UTC")
    record(course.root, CHAPTER, [result("ann", right)], submitted=elsewhere)
    assert course.export()["ann"]["timestamp"] == "2026-03-02 12:00:00"


def test_nothing_of_the_submitted_folder_is_copied(course: Course, right, tmp_path: Path):
    """nbgrader copies other files of a submission into the feedback, and follows links in it."""
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    folder = course.submit("ann", "not even JSON").parent
    (folder / "link.txt").symlink_to(secret)
    (folder / "page.html").write_text("<script>1</script>")
    (folder / "timestamp.txt").symlink_to(secret)
    record(course.root, CHAPTER, [result("ann", right)])
    (page,) = write_feedback(course.root, CHAPTER)
    for place in (course.autograded("ann"), page):
        assert [path.name for path in place.parent.iterdir()] == [place.name]
    assert not (course.root / ".diffusion-lab" / "recording").exists()


def test_a_question_for_marking_by_hand_waits_for_it(tmp_path: Path, right):
    """nbgrader gives 0 to an answer that is the release's own; here it is in the submitted file."""
    course = Course.made(tmp_path / "course")
    source = course.root / "solutions" / NAME / f"{NAME}.ipynb"
    document = nbformat.read(source, as_version=4)
    essay = nbformat.v4.new_markdown_cell("Why does it work?")
    essay.metadata["nbgrader"] = {
        "grade": True, "grade_id": "essay", "locked": False, "points": 3, "schema_version": 3, "solution": True,
        "task": False,
    }  # fmt: skip
    document.cells.append(essay)
    nbformat.write(document, source)
    record(course.root, CHAPTER, [result("ann", right), refused("bob", notebook(CHAPTER), "it is a link")])
    with course.api.gradebook as gradebook:
        grade = gradebook.find_grade("essay", NAME, NAME, "ann")
        assert grade.auto_score is None and grade.needs_manual_grade
        assert gradebook.find_grade("essay", NAME, NAME, "bob").auto_score == 0


def test_feedback_of_nobody_recorded(course: Course):
    assert write_feedback(course.root, CHAPTER) == []
    with pytest.raises(RecordingError, match="ann: nothing is recorded"):
        write_feedback(course.root, CHAPTER, ["ann"])


def test_files_are_as_nbgrader_leaves_them(course: Course, right):
    record(course.root, CHAPTER, [result("ann", right)])
    assert stat.S_IMODE(course.autograded("ann").stat().st_mode) == 0o444
    nbformat.validate(nbformat.read(course.autograded("ann"), as_version=4))


def test_a_partly_right_answer_keeps_its_points(course: Course, right):
    partly = item("ddpm_step", "first")
    items = tuple(partly if each["name"] == "ddpm_step" else each for each in right)
    record(course.root, CHAPTER, [result("ann", items)])
    assert course.marks("ann")["ddpm_step"] == partly["points"]
