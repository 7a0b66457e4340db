"""What goes wrong while results are recorded: damaged files, odd names, other programs, interruptions."""

from __future__ import annotations

import copy
import dataclasses
import sqlite3
from pathlib import Path

import nbformat
import pytest
from recorded_course import CHAPTER, NAME, Course, by_name, read, result

from diffusion_lab.grading.classroom.gradebook import recording
from diffusion_lab.grading.classroom.gradebook.recording import Book, RecordingError, record, write_feedback
from diffusion_lab.grading.classroom.gradebook.verdict_notebook import name_of
from diffusion_lab.grading.classroom.result import Result


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


@pytest.mark.parametrize("when", ["yesterday evening, or so", "0" + "1" * 40 + "h", "\0", "nan", "2026-99-99"])
def test_a_damaged_time_stamp_costs_nobody_else(course: Course, right, when: str):
    course.submit("ann", when=when)
    with pytest.raises(RecordingError, match=r"ann: its timestamp.txt holds no time: ") as caught:
        record(course.root, CHAPTER, [result("ann", right), result("bob", right)])
    assert set(caught.value.failures) == {"ann"}
    assert course.students() == {"bob"}


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
    with pytest.raises(
        RecordingError,
        match="does not fit this version of the course: q_sample is worth 1 here, and the course gives 5",
    ):
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
