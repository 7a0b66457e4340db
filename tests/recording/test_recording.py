"""Results in the gradebook, and what nbgrader makes of them: marks, formgrader, export, feedback."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import sqlite3
import stat
from pathlib import Path

import nbformat
import pytest
from nbgrader.utils import notebook_hash
from recorded_course import CHAPTER, NAME, Course, item, result

from diffusion_lab.exercises import notebook
from diffusion_lab.grading import recording
from diffusion_lab.grading.recording import Book, RecordingError, record, write_feedback
from diffusion_lab.grading.result import GRADED, NOT_GRADED, Result, of_verdict, refused
from diffusion_lab.grading.submission import mark, take_in
from diffusion_lab.grading.verdict_notebook import name_of


def by_name(items) -> dict[str, float]:
    return {each["name"]: each["points"] for each in items}


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


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
        solutions={name: cell.source for name, cell in intake.solutions.items()},
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


def test_whatever_goes_wrong_with_one_costs_nobody_else(course: Course, right, monkeypatch: pytest.MonkeyPatch):
    record_one = Book.record

    def failing(book: Book, result: Result, there) -> None:
        if result.student == "ann":
            raise ZeroDivisionError("of the library's own")
        record_one(book, result, there)

    monkeypatch.setattr(Book, "record", failing)
    with pytest.raises(RecordingError, match="ann: ZeroDivisionError: of the library's own") as caught:
        record(course.root, CHAPTER, [result("ann", right), result("bob", right)])
    assert set(caught.value.failures) == {"ann"} and course.students() == {"bob"}


def test_submissions_may_lie_elsewhere(course: Course, right, tmp_path: Path):
    elsewhere = tmp_path / "inbox"
    (elsewhere / "ann" / NAME).mkdir(parents=True)
    (elsewhere / "ann" / NAME / "timestamp.txt").write_text("2026-03-02 12:00:00 UTC")
    record(course.root, CHAPTER, [result("ann", right)], submitted=elsewhere)
    assert course.export()["ann"]["timestamp"] == "2026-03-02 12:00:00"


@pytest.mark.parametrize("when", ["yesterday evening, or so", "0" + "1" * 40 + "h", "\0", "nan", "2026-99-99"])
def test_a_damaged_time_stamp_costs_nobody_else(course: Course, right, when: str):
    course.submit("ann", when=when)
    with pytest.raises(RecordingError, match=r"ann: its timestamp.txt holds no time: ") as caught:
        record(course.root, CHAPTER, [result("ann", right), result("bob", right)])
    assert set(caught.value.failures) == {"ann"}
    assert course.students() == {"bob"}


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


ANGRY = (
    "def alpha_bar(betas):\n"
    '    """<script>alert(1)</script> <img src=x onerror=alert(1)> </pre></div><iframe src="//x"></iframe>"""\n'
    "    \x1b[31mred\x1b[0m = '\u202eesrever' + '\ud800' + '\x00'\n" + "    x = '" + "y" * 30_000 + "'\n"
)


def test_text_of_a_student_stays_text(course: Course, right):
    angry = copy.deepcopy(list(right))
    angry[1]["text"] = f"✗ alpha_bar: it raised {ANGRY}" + "long\n" * 5000
    record(course.root, CHAPTER, [result("ann", tuple(angry), solutions={"alpha_bar": ANGRY * 4})])
    (page,) = write_feedback(course.root, CHAPTER)
    shown, stored = read(page), read(course.autograded("ann"))
    assert course.marks("ann") == by_name(right)
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(shown, "html.parser")
    assert not soup.find_all(["iframe", "img", "object", "embed", "form"])
    assert all("alert" not in str(script) for script in soup.find_all("script"))
    assert not [tag for tag in soup.find_all(True) if any(name.startswith("on") for name in tag.attrs)]
    assert "<script>alert(1)</script>" in soup.get_text()
    for page_text in (shown, stored):
        assert not set(page_text) & {"\x1b", "\u202e", "\ud800", "\x00"}
    assert "more lines" in soup.get_text()
    assert "more characters, in the submitted file" in soup.get_text()
    assert len(shown) < 1_500_000


@pytest.mark.parametrize("points", [float("nan"), -1.0, 99.0, None, "5", float("inf")])
def test_points_that_nbgrader_would_take_for_others_are_refused(course: Course, right, points: object):
    """For nbgrader, a negative number, or none, is full marks."""
    odd = ({**right[0], "points": points}, *right[1:])
    with pytest.raises(RecordingError, match="are no points for linear_betas"):
        record(course.root, CHAPTER, [dataclasses.replace(result("ann", right), exercises=odd)])
    assert course.students() == set()


def test_a_result_without_an_exercise_is_no_mark(course: Course, right):
    with pytest.raises(RecordingError, match="says nothing of linear_betas"):
        record(course.root, CHAPTER, [result("ann", right[1:])])
    assert course.students() == set()


@pytest.mark.parametrize("student", ["../ann", "a/b", "..", "", " ann", "a\nb"])
def test_a_name_that_leads_elsewhere_is_refused(course: Course, right, student: str):
    with pytest.raises(RecordingError, match="no name of a student's folder"):
        record(course.root, CHAPTER, [result(student, right)])
    assert not (course.root / "autograded").exists()


@pytest.mark.parametrize("student", ["=1+1", "o'neil", "a b", "ann[1]", "zoë", "-x", "a.b@c.org"])
def test_any_other_name_will_do(course: Course, right, student: str):
    record(course.root, CHAPTER, [result(student, right)])
    assert course.marks(student) == by_name(right)
    (page,) = write_feedback(course.root, CHAPTER, [student])
    assert page.is_file()


def test_a_release_of_another_version_is_not_graded_by(course: Course, right):
    place = course.root / "exercises" / NAME / f"{NAME}.ipynb"
    other = nbformat.read(place, as_version=4)
    next(cell for cell in other.cells if name_of(cell) == "q_sample-check").metadata.nbgrader.points = 1
    nbformat.write(other, place)
    with pytest.raises(RecordingError, match="does not fit this version of the course: q_sample-check"):
        record(course.root, CHAPTER, [result("ann", right)])
    assert course.students() == set()


@pytest.mark.parametrize("damaged", ["gradebook.db", f"exercises/{NAME}/{NAME}.ipynb"])
def test_a_damaged_file_of_the_course_is_named(course: Course, right, damaged: str):
    (course.root / damaged).write_text("nothing that it should be" * 100)
    with pytest.raises(RecordingError, match=r"the gradebook: .*not a database|is no notebook: NotJSONError"):
        record(course.root, CHAPTER, [result("ann", right)])


def test_the_page_of_the_formgrader_shows_text_as_text(course: Course, right):
    """As the web server of nbgrader makes it; its own scripts are not looked at."""
    import nbgrader.server_extensions.formgrader as formgrader
    from bs4 import BeautifulSoup
    from nbconvert.exporters import HTMLExporter
    from traitlets.config import Config

    angry = ({**right[0], "text": ANGRY}, *right[1:])
    record(course.root, CHAPTER, [result("ann", angry, solutions={"alpha_bar": ANGRY})])
    settings = Config()
    settings.HTMLExporter.template_name = "formgrade"
    settings.HTMLExporter.extra_template_basedirs = [str(Path(formgrader.__file__).parent / "templates")]
    settings.Exporter.default_preprocessors = []
    keys = ("assignment_id", "notebook_id", "submission_id", "student", "last_name", "first_name", "notebook_path")
    about = dict.fromkeys(keys, "x") | {"index": 0, "total": 1, "base_url": ""}
    shown, _ = HTMLExporter(config=settings).from_filename(str(course.autograded("ann")), resources=about)
    soup = BeautifulSoup(shown, "html.parser")
    assert "<script>alert(1)</script>" in soup.get_text()
    assert not soup.find_all("iframe") and all("alert(1)" not in str(script) for script in soup.find_all("script"))
    assert not [tag for tag in soup.find_all("img") if "onerror" in tag.attrs]


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


def test_an_assignment_with_a_second_notebook_is_left_alone(course: Course, right):
    """nbgrader gives 0 for a notebook that was not handed in."""
    with course.api.gradebook as gradebook:
        gradebook.add_notebook("essay", NAME)
    with pytest.raises(RecordingError, match="has other notebooks too: essay"):
        record(course.root, CHAPTER, [result("ann", right)])
    assert course.students() == set()


def test_one_writer_at_a_time(course: Course, right):
    with Book(course.root, CHAPTER).held(), pytest.raises(RecordingError, match="another run is writing"):
        record(course.root, CHAPTER, [result("ann", right)])


@pytest.mark.slow
def test_a_gradebook_that_another_program_holds(course: Course, right, monkeypatch: pytest.MonkeyPatch):
    """The submission is recorded once the other one is done."""
    other = sqlite3.connect(course.root / "gradebook.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    waited = []
    monkeypatch.setattr(recording.time, "sleep", lambda seconds: (waited.append(seconds), other.execute("ROLLBACK")))
    record(course.root, CHAPTER, [result("ann", right)])
    other.close()
    assert waited == [1]
    assert course.marks("ann") == by_name(right)


def test_a_failure_half_way_leaves_the_old_marks(course: Course, right, mixed, monkeypatch: pytest.MonkeyPatch):
    from nbgrader.preprocessors import AssignLatePenalties

    record(course.root, CHAPTER, [result("ann", mixed)])
    with monkeypatch.context() as patch:
        patch.setattr(AssignLatePenalties, "init_plugin", lambda self: 1 / 0)
        with pytest.raises(RecordingError, match="ann: ZeroDivisionError: division by zero"):
            record(course.root, CHAPTER, [result("ann", right)])
        with pytest.raises(RecordingError):
            record(course.root, CHAPTER, [result("new", right)])
    assert course.marks("ann") == by_name(mixed)
    assert course.students() == {"ann"}
    record(course.root, CHAPTER, [result("ann", right)])
    assert course.marks("ann") == by_name(right)


def test_ctrl_c_waits_for_the_submission_at_hand(course: Course, right, monkeypatch: pytest.MonkeyPatch):
    import os
    import signal

    real = Book._autograde
    monkeypatch.setattr(
        Book, "_autograde", lambda self, student: (os.kill(os.getpid(), signal.SIGINT), real(self, student))
    )
    with pytest.raises(KeyboardInterrupt):
        record(course.root, CHAPTER, [result("ann", right), result("bob", right)])
    assert course.students() == {"ann"}
    assert course.marks("ann") == by_name(right)


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
