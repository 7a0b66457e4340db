"""Labs on platforms: what is drawn follows from whom the platform names, and from nothing in the notebook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from downloads import laid
from handed_in import filled
from test_platform_graders import in_a_container
from typer.testing import CliRunner

from diffusion_lab.cli import app
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.bugs import bug_task
from diffusion_lab.exercises.catalogue import folder_name
from diffusion_lab.exercises.offers import Offer
from diffusion_lab.exercises.owner import Owner, course_text
from diffusion_lab.grading.classroom.gradebook import Book
from diffusion_lab.grading.classroom.platforms import Settings, gradescope, prairielearn
from diffusion_lab.grading.classroom.platforms.alone import grade_folder
from diffusion_lab.grading.classroom.platforms.exporting import github_workflow, gradescope_zip
from diffusion_lab.grading.classroom.platforms.exporting import prairielearn_question as question
from diffusion_lab.grading.classroom.platforms.identity import for_its_students, guessed_at, on_gradescope
from diffusion_lab.grading.classroom.platforms.people import Person
from diffusion_lab.grading.classroom.result import GRADED, Result, refused
from diffusion_lab.grading.notebook.authoring import solution

CHAPTER = "normal_2d_lab"
NAME, BUG = folder_name(CHAPTER), bug_task(CHAPTER).name
COURSE = course_text("a secret of the test")
SETTINGS = Settings(CHAPTER, course=COURSE, identity="email")
ADA, TYPED = "ada@example.edu", "Ada@Example.edu"


def metadata(*emails: object, scores: tuple[float, ...] = ()) -> dict:
    """As the documentation of Gradescope shows it."""
    return {
        "created_at": "2027-03-01T09:00:00-08:00",
        "users": [{"email": email, "id": 1234, "name": "Student User"} for email in emails],
        "previous_submissions": [{"score": score, "results": {}} for score in scores],
    }


def by_numbers(owner: Owner) -> dict[str, str]:
    """A submission of somebody who has typed the right number into each task with numbers of their own, and no more."""
    (task,) = (task for task in notebook(CHAPTER).drawn_for(owner).exercises if hasattr(task, "truth"))
    return {task.name: f"def {task.name}(*numbers, **named):\n    return {task.truth!r}"}


def document(sources: dict[str, str], typed: str = TYPED) -> bytes:
    set_up = next(cell for cell in filled({}, CHAPTER)["cells"] if cell["id"] == "set-up")["source"]
    text = "".join(set_up).replace('course=""', f'course="{COURSE}"')
    return json.dumps(filled({**sources, "student": f"student = {typed!r}", "set-up": text}, CHAPTER)).encode()


def perfect() -> dict[str, str]:
    """Scripts that find whatever is drawn."""
    return {task.name: solution(task.reference) for task in notebook(CHAPTER).exercises}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "no users"),
        ({"users": []}, "no users"),
        ({"users": "ada"}, "no users"),
        (metadata(None), "names no address"),
        ({"users": [None]}, "names no address"),
        (metadata(ADA, "ben@example.edu"), "2 people handed this in together (ada@example.edu, ben@example.edu)"),
        (metadata("x" * 300), "at most 200 characters"),
    ],
)
def test_nothing_is_marked_for_somebody_who_is_not_known(told, words, tmp_path: Path, monkeypatch, capsys):
    def graded(*_):
        raise AssertionError("graded without a name")

    monkeypatch.setattr(gradescope, "grade_folder", graded)
    root = laid(
        tmp_path, {"source/grader.json": SETTINGS.written(), "submission_metadata.json": json.dumps(told).encode()}
    )
    assert gradescope.main(root) == 1 and not (root / "results").exists()
    said = capsys.readouterr().out
    assert "not graded, and no zero" in said and words in said


def test_who_it_is_comes_from_the_platform():
    assert on_gradescope(SETTINGS, metadata(TYPED))[0] == ADA
    listed = for_its_students(Settings(CHAPTER), COURSE, "list", [Person("ada", email="Ada@Example.edu"), Person("cy")])
    assert on_gradescope(listed, metadata(ADA))[0] == "ada"
    with pytest.raises(LabError, match=r"cy@example\.edu is not on the class list"):
        on_gradescope(listed, metadata("cy@example.edu"))
    with pytest.raises(LabError, match="does not know for whom"):
        grade_folder(Path("nowhere"), SETTINGS)


def test_a_list_that_cannot_serve_is_refused():
    twins = [Person("ada", email="a@x.edu"), Person("ben", email="A@x.edu")]
    for people, words in (([], "nobody in the gradebook has an address"), (twins, "ada and ben have the same address")):
        with pytest.raises(LabError, match=words):
            for_its_students(Settings(CHAPTER), COURSE, "list", people)
    with pytest.raises(LabError, match="can read the class list"):
        for_its_students(Settings(CHAPTER, "none"), COURSE, "list", twins[:1])
    with pytest.raises(LabError, match="no release of 02_normal_2d_lab"):
        for_its_students(Settings(CHAPTER), "", "email")


def result(**about) -> Result:
    items = [
        {"name": task.name, "state": "failed", "points": 1.0, "out_of": task.points, "text": f"of {task.name}",
         "parts": {part: [1.0 if n == 0 else 0.0, most] for n, (part, most) in enumerate(task.parts.items())}}
        for task in notebook(CHAPTER).exercises
    ]  # fmt: skip
    return Result("ada", CHAPTER, GRADED, points=5.0, out_of=23, exercises=tuple(items), **about)


@pytest.mark.parametrize(
    ("visibility", "waits"),
    [("visible", "after_due_date"), ("after_published", "after_published"), ("hidden", "after_published")],
)
def test_no_attempt_tells_whether_a_bug_was_guessed(visibility: str, waits: str):
    """Marks shown at once would find it: the list of ideas is short, and attempts are free."""
    settings = Settings(CHAPTER, visibility=visibility, course=COURSE, identity="email", late={"best": True})
    made = gradescope.results(result(), settings, metadata(ADA, scores=(9.0,)))
    of_bug = [test for test in made["tests"] if test["name"].startswith(BUG)]
    assert len(of_bug) == 4 and {test["visibility"] for test in of_bug} == {waits}
    others = {test["visibility"] for test in made["tests"] if test["name"].startswith("check_")}
    assert others == {visibility}
    # An earlier attempt's points, which may be for the right guess, are the total: they are told with it.
    assert made["score"] == 9 and "9" not in made.get("output", "")
    assert any("its 9 points count" in test["output"] and test["visibility"] == waits for test in made["tests"]
               if "output" in test)  # fmt: skip
    # Gradescope keeps the total back as long as a test waits: also where a broken file follows a guess.
    broken = refused("ada", notebook(CHAPTER), "it is no JSON")
    made = gradescope.results(broken, settings, metadata(ADA, scores=(9.0,)))
    assert {test["visibility"] for test in made["tests"]} == {waits}
    assert "it is no JSON" in made["output"] and "9" not in made["output"]


def test_a_lab_without_its_bug_shows_points_at_once():
    offer = Offer(CHAPTER, leave_out=(BUG,)).as_dict()
    assert guessed_at(SETTINGS) == {BUG} and guessed_at(Settings(CHAPTER, offers=(offer,))) == set()


def test_githubs_comments_take_no_lab(tmp_path: Path):
    with pytest.raises(LabError, match="found by trying out the list") as told:
        github_workflow(SETTINGS, tmp_path)
    assert "Collect the clones" in str(told.value) and not list(tmp_path.iterdir())
    offer = Offer(CHAPTER, leave_out=(BUG,)).as_dict()  # its numbers are still a student's own
    with pytest.raises(LabError, match="does not say whose submission it is") as told:
        github_workflow(Settings(CHAPTER, offers=(offer,)), tmp_path)
    assert "trying out" not in str(told.value) and "Collect the clones" in str(told.value)


def test_a_question_names_its_variant_and_the_grader_takes_that(tmp_path: Path, monkeypatch, capsys):
    settings = for_its_students(Settings(CHAPTER), COURSE, "variant")
    question(settings, tmp_path / "course", "me/image")
    place = tmp_path / "course" / "questions" / "diffusion_lab" / NAME
    data = {"params": {}, "variant_seed": 2718281828}
    space: dict = {}
    exec((place / "server.py").read_text(), space)
    space["generate"](data)
    assert "{{params.student}}" in (place / "question.html").read_text()
    asked = []
    monkeypatch.setattr(prairielearn, "grade_folder", lambda *given: asked.append(given[2]) or result())
    root = laid(tmp_path / "grade", {"tests/grader.json": settings.written()})
    assert prairielearn.main(root) == 1 and "has no params.student" in capsys.readouterr().err
    laid(root, {"data/data.json": json.dumps({**data, "submitted_answers": {"student": "eve"}}).encode()})
    assert prairielearn.main(root) == 0 and asked == ["variant 2718281828"]
    laid(root, {"data/data.json": b'{"params": {"student": 3}}'})
    assert prairielearn.main(root) == 1 and "a student's name is a text" in capsys.readouterr().err


def test_an_export_takes_the_text_of_the_release_and_the_addresses_of_the_gradebook(course: Path):
    release = course / "exercises" / NAME / f"{NAME}.ipynb"
    asked = ["export", "gradescope", CHAPTER, "--course", str(course), "--to", str(course / "lab.zip")]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 2 and "release normal_2d_lab` comes first" in " ".join(done.output.split())
    laid(release.parent, {release.name: document({})})
    Book(course, CHAPTER).enter_students({"ada": {"email": ADA}, "cy": {}})
    done = CliRunner().invoke(app, [*asked, "--identity", "list"])
    told = " ".join(done.output.split())
    assert done.exit_code == 0 and "cy has no address" in told and "holds the addresses of 1 of them" in told, told
    assert "after the due date at the earliest" in told
    with zipfile.ZipFile(course / "lab.zip") as archive:
        said = json.loads(archive.read("grader.json"))
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert said["course"] == COURSE and said["students"] == {ADA: "ada"}
    assert b"a secret of the test" not in everything
    done = CliRunner().invoke(app, asked)
    with zipfile.ZipFile(course / "lab.zip") as archive:
        assert json.loads(archive.read("grader.json"))["students"] == {} and "type their address" in done.output


def test_an_identity_is_asked_for_where_something_is_drawn(course: Path):
    zipped = course / "plain.zip"
    asked = ["export", "gradescope", "normal_1d", "--course", str(course), "--to", str(zipped), "--identity", "list"]
    done = CliRunner().invoke(app, asked)
    told = " ".join(done.output.split())
    assert done.exit_code == 2 and "drawn for each student; in 'normal_1d' nothing is" in told and not zipped.exists()


def run_there(root: Path, content: bytes, email: str, isolation: str, wall: list[str]) -> dict:
    """What Gradescope would show of this submission."""
    settings = Settings(CHAPTER, isolation, course=COURSE, identity="email")
    with zipfile.ZipFile(gradescope_zip(settings, root / "export.zip")) as archive:
        archive.extractall(root / "source")
    said = json.dumps(metadata(email, scores=(3.25,))).encode()
    laid(root, {f"submission/{NAME}.ipynb": content, "submission_metadata.json": said})
    names = {"AUTOGRADER_ROOT": str(root), "AUTOGRADER_PYTHON": sys.executable, "PATH": os.environ["PATH"]}
    command = [*wall, "bash", str(root / "source" / "run_autograder")]
    done = subprocess.run(command, env=names, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done
    return json.loads((root / "results" / "results.json").read_text())


@pytest.mark.slow
def test_gradescope_draws_by_the_address_and_not_by_what_is_typed(tmp_path: Path):
    def shown(content: bytes) -> dict:
        laid(tmp_path, {f"{NAME}.ipynb": content})
        return gradescope.results(grade_folder(tmp_path, SETTINGS, *on_gradescope(SETTINGS, metadata(ADA))), SETTINGS)

    made = shown(document(perfect()))
    assert made["score"] == notebook(CHAPTER).points and "output" not in made, made
    # The numbers of another student, and her name typed: right in her notebook, and worth nothing in this one.
    made = shown(document(by_numbers(Owner("eve", COURSE)), "eve"))
    assert made["score"] == 0 and f"drawn for '{ADA}', the address by which Gradescope knows you" in made["output"]
    made = shown(document(by_numbers(Owner(ADA, COURSE))))
    assert made["score"] == 2, "two points for one's own numbers, and none for others"


THIEF = """
import os
def {name}({parameters}):
    found = []
    for path in {paths}:
        try:
            found.append(path + open(path).read())
        except OSError:
            pass
    raise RuntimeError("read: " + "; ".join(found)[:500])
"""


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["bubblewrap", "account"])
def test_a_submission_reads_neither_the_grader_nor_earlier_points(isolation: str, tmp_path_factory):
    wall = in_a_container() if isolation == "account" else []
    root = tmp_path_factory.mktemp("autograder")
    for folder in (root, *root.parents[:-2]):  # those of pytest are root's alone
        folder.chmod(0o755)
    paths = [str(root / name) for name in ("source/grader.json", "submission_metadata.json", "results/results.json")]
    task = bug_task(CHAPTER)
    others = {} if wall else perfect()
    code = THIEF.format(name=task.name, parameters=", ".join(task.parameters), paths=paths)
    made = run_there(root, document({**others, BUG: code}), ADA, isolation, wall)
    (told,) = (test["output"] for test in made["tests"] if test["name"] == f"{BUG}: what went wrong")
    told = "".join(told.split())  # lines break anywhere
    assert "read:" in told and not any(secret in told for secret in (COURSE, "3.25", "score", *paths)), told
    assert made["score"] == (notebook(CHAPTER).points - task.points if others else 0)
