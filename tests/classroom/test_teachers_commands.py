"""The commands for teachers, on a course of nbgrader's in a temporary folder."""

from __future__ import annotations

import copy
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from handed_in import CHAPTER, NOTHING, ROOT, filled, put, right
from typer.testing import CliRunner

from diffusion_lab.cli import app
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import folder_name
from diffusion_lab.grading.classroom import parallel
from diffusion_lab.grading.classroom.gradebook import Book
from diffusion_lab.grading.classroom.records import Records
from diffusion_lab.grading.notebook.authoring import CONFIGURATION, EXERCISES, SOLUTIONS, path_of

FOLDER = folder_name(CHAPTER)
POINTS = notebook(CHAPTER).points


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for kind in (SOLUTIONS, EXERCISES):
        target = tmp_path / kind / path_of(CHAPTER)
        target.parent.mkdir(parents=True)
        target.write_bytes((ROOT / kind / path_of(CHAPTER)).read_bytes())
    exchange = tmp_path / "exchange"
    settings = (ROOT / CONFIGURATION).read_text(encoding="utf-8")
    (tmp_path / CONFIGURATION).write_text(f"{settings}\nc.Exchange.root = {str(exchange)!r}\n", encoding="utf-8")
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"])
    return tmp_path


@pytest.fixture
def command(room, monkeypatch: pytest.MonkeyPatch):
    """Runs a command of the package, with workers that are there already."""

    class Ready:
        def __init__(self, course: Path, **_):
            room.course = course

        def __enter__(self):
            return room

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(parallel, "Classroom", Ready)
    return lambda *arguments: CliRunner().invoke(
        app,
        [str(argument) for argument in arguments],
        env={"COLUMNS": "200"},  # no cell of a table is broken
    )


def test_a_class_from_release_to_feedback(course: Path, command):
    wrong = {"alpha_bar": NOTHING.format(name="alpha_bar")}
    done = command("release", CHAPTER, "--course", course)
    assert done.exit_code == 0 and "there is no exchange" in done.output, done.output
    assert command("collect", "1", "--course", course).exit_code == 2
    put(course / "submitted", "ada", filled(right()))
    put(course / "submitted", "bob.s@x-1", filled(right() | wrong))
    put(course / "submitted", "cyd", b"not a notebook")
    done = command("grade", CHAPTER, "--course", course)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "2 graded, 1 refused, 0 not graded" in done.output and "bob.s@x-1" in done.output
    for name in ("grades.csv", "grades_canvas.csv", "grades_moodle.csv", "class_report.html", "gradebook.db"):
        assert (course / name).stat().st_size
    with (course / "grades.csv").open(newline="", encoding="utf-8") as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores == {"ada": POINTS, "bob.s@x-1": POINTS - notebook(CHAPTER).exercises[1].points, "cyd": 0}
    feedback = course / "feedback" / "ada" / FOLDER / f"{FOLDER}.html"
    first = feedback.read_text(encoding="utf-8")
    assert "alpha_bar" in first
    feedback.unlink()
    with Book(course, CHAPTER).gradebook() as gradebook:
        gradebook.find_grade("alpha_bar-check", FOLDER, FOLDER, "bob.s@x-1").manual_score = 2.5
        gradebook.db.commit()
    done = command("grade", CHAPTER, "--course", course)
    lost = notebook(CHAPTER).exercises[1].points
    assert f"{POINTS - lost} of {POINTS}" in done.output and f"{POINTS - lost + 2.5} of {POINTS}" in done.output
    done = command("feedback", CHAPTER, "--course", course)
    assert done.exit_code == 0 and feedback.exists(), done.output


@pytest.mark.slow
def test_a_complaint_can_be_looked_into(course: Path, command):
    wrong = "def q_sample(x0, t, eps, alpha_bar):\n    return x0 + 0 * eps"
    place = put(course / "submitted", "ada", filled(right() | {"q_sample": wrong}))
    assert command("grade", CHAPTER, "--course", course).exit_code == 0
    kept = course / ".diffusion-lab" / "grading" / CHAPTER
    told = json.loads((kept / "ada.json").read_text(encoding="utf-8"))["exercises"][2]["text"]
    (seed,) = (kept / "seeds").iterdir()
    assert seed.stat().st_mode & 0o077 == 0 and not (kept / "seed").exists()
    again = command("check", place, "--seed-file", seed).output
    shown = [line.strip() for line in told.splitlines() if line.strip().startswith(("expected", "yours"))]
    assert shown and all(line in again for line in shown)
    usual = command("check", place).output
    assert not any(line in usual for line in shown), "other cases than everybody sees"
    command("grade", CHAPTER, "--again", "--course", course)
    assert len(list((kept / "seeds").iterdir())) == 2, "every run has a seed of its own"


@pytest.mark.slow
def test_the_best_attempt_counts_where_the_course_says_so(course: Path, command):
    others = [task.name for task in notebook(CHAPTER).exercises if task.name not in ("linear_betas", "alpha_bar")]
    rules = f"attempts = 'best'\n[{CHAPTER}]\nleave_out = {others!r}\npoints = {{alpha_bar = 6}}\n"
    (course / "course.toml").write_text(rules)
    assert command("release", CHAPTER, "--course", course).exit_code == 0
    wrong = {name: NOTHING.format(name=name) for name in ("linear_betas", "alpha_bar")}
    for student, sources in (("ada", {}), ("bob", wrong)):
        put(course / "submitted", student, filled(right() | sources))
    assert "10 of 10" in command("grade", CHAPTER, "--course", course).output
    put(course / "submitted", "ada", filled(right() | wrong))
    put(course / "submitted", "bob", filled(right() | {"linear_betas": wrong["linear_betas"]}))
    done = command("grade", CHAPTER, "--course", course)
    assert done.exit_code == 0 and "the best of 2 attempts, an earlier one" in done.output, done.output
    assert Book(course, CHAPTER).totals() == {"ada": (10, 10), "bob": (6, 10)}
    assert Records(course, CHAPTER).read("ada").points == 10  # what `questions` asks about
    assert command("questions", course / "submitted" / "ada" / FOLDER, "--course", course).exit_code == 0


def more_points(document: dict) -> None:
    cell_of(document, "q_sample-check")["metadata"]["nbgrader"]["points"] = 9


def one_left_out(document: dict) -> None:
    document["cells"].remove(cell_of(document, "q_sample-check"))


def one_too_many(document: dict) -> None:
    other = copy.deepcopy(cell_of(document, "q_sample-check"))
    other["metadata"]["nbgrader"]["grade_id"] = other["id"] = "mine"
    document["cells"].append(other)


def by_hand(document: dict) -> None:
    other = copy.deepcopy(cell_of(document, "q_sample-check"))
    other["metadata"]["nbgrader"] |= {"grade_id": "essay", "solution": True}
    other["id"] = "essay"
    document["cells"].append(other)


def cell_of(document: dict, name: str) -> dict:
    cells = document["cells"]
    return next(cell for cell in cells if cell["metadata"].get("nbgrader", {}).get("grade_id") == name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (more_points, "q_sample is worth 9 here, and the course gives 5"),
        (one_left_out, "q_sample is left out"),
        (one_too_many, "mine is a test that the course does not know"),
        (by_hand, ""),
    ],
)
def test_what_could_not_be_graded_is_not_released(course: Path, command, change, words: str):
    source = course / "solutions" / FOLDER / f"{FOLDER}.ipynb"
    document = json.loads(source.read_text(encoding="utf-8"))
    change(document)
    source.write_text(json.dumps(document), encoding="utf-8")
    done = command("release", CHAPTER, "--course", course)
    if words:
        assert done.exit_code == 2 and words in " ".join(done.output.split()), done.output
    else:
        assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_a_mark_that_somebody_has_to_give_is_asked_for(course: Path, command):
    """A question of the teacher's own, which no check marks."""
    source = course / "solutions" / FOLDER / f"{FOLDER}.ipynb"
    document = json.loads(source.read_text(encoding="utf-8"))
    by_hand(document)
    source.write_text(json.dumps(document), encoding="utf-8")
    answered = filled(right())
    by_hand(answered)
    cell_of(answered, "essay")["source"] = "why = 'the noise of every step adds up'"
    put(course / "submitted", "ada", answered)
    asked = f"in {CHAPTER}: start `jupyter lab {course}`"
    for words in (f"1 student waits for a mark by hand {asked}", f"2 students wait for a mark by hand {asked}"):
        done = command("grade", CHAPTER, "--course", course)
        assert done.exit_code == 0 and words in done.output, (done.output, done.exception)
        assert f"then `diffusion-lab feedback {CHAPTER} --course {course}`" in done.output
        put(course / "submitted", "bob", answered)
    with Book(course, CHAPTER).gradebook() as gradebook:
        for student in ("ada", "bob"):
            grade = gradebook.find_grade("essay", FOLDER, FOLDER, student)
            grade.manual_score, grade.needs_manual_grade = 3, False
        gradebook.db.commit()
    done = command("grade", CHAPTER, "--course", course)
    assert done.exit_code == 0 and "by hand in" not in done.output, done.output


@pytest.mark.parametrize("arguments", [["feedback", CHAPTER], ["release", CHAPTER], ["grade", CHAPTER]])
def test_a_command_in_the_wrong_folder_leaves_nothing_there(tmp_path: Path, arguments: list[str]):
    done = CliRunner().invoke(app, [*arguments, "--course", str(tmp_path)])
    assert done.exit_code == 2 and not list(tmp_path.iterdir()), (done.output, list(tmp_path.iterdir()))


def test_release_and_collect_go_through_the_exchange(course: Path, command):
    exchange = course / "exchange"
    exchange.mkdir()
    exchange.chmod(0o777)
    done = command("release", CHAPTER, "--course", course)
    assert done.exit_code == 0 and str(exchange) in done.output.replace("\n", ""), (done.output, done.exception)
    assert (exchange / "diffusion-lab" / "outbound" / FOLDER / f"{FOLDER}.ipynb").is_file()
    inbound = exchange / "diffusion-lab" / "inbound" / f"ada+{FOLDER}+2026-01-31 10:00:00.000000 UTC+0"
    inbound.mkdir(parents=True)
    (inbound / f"{FOLDER}.ipynb").write_text("{}", encoding="utf-8")
    (inbound / "timestamp.txt").write_text("2026-01-31 10:00:00.000000 UTC", encoding="utf-8")
    done = command("collect", CHAPTER, "--course", course)
    assert done.exit_code == 0 and "1 submission" in done.output, (done.output, done.exception)
    assert (course / "submitted" / "ada" / FOLDER / f"{FOLDER}.ipynb").is_file()


@pytest.mark.slow
def test_what_was_not_graded_shows_in_the_exit_status(course: Path, command, monkeypatch: pytest.MonkeyPatch):
    put(course / "submitted", "ada", filled(right()))
    put(course / "submitted", "bob", filled(right()))

    def broken(order):
        from diffusion_lab.grading.classroom.workers import graded

        if order["student"] == "bob":
            raise OSError(28, "No space left on device")
        return graded(order)

    with monkeypatch.context() as patch:
        patch.setattr(parallel.workers, "graded", broken)
        done = command("grade", CHAPTER, "--course", course)
    assert done.exit_code == 3
    assert "1 graded, 0 refused, 1 not graded" in done.output
    assert "bob, normal_1d: not graded: OSError: [Errno 28] No space left on device" in done.output
    assert not (course / "autograded" / "bob").exists()
    done = command("grade", CHAPTER, "--course", course)
    assert done.exit_code == 0 and "2 graded" in done.output, done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["grade", "nonsense"], "there is no chapter"),
        (["grade", CHAPTER], "there is no folder"),
        (["grade", CHAPTER, "--submitted", str(ROOT / "tests")], "there are no submissions of chapter"),
        (["grade", CHAPTER, "--seed-file", "missing"], "No such file"),
        (["feedback", CHAPTER], "`grade` comes first"),
    ],
)
def test_bad_input_is_told_and_ends_with_2(course: Path, arguments: list[str], words: str):
    done = CliRunner().invoke(app, [*arguments, "--course", str(course)])
    assert done.exit_code == 2 and words in done.output


def running(course: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "diffusion_lab", "grade", CHAPTER, "--course", str(course), "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # What a shell starts in the background ignores Ctrl-C, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.nightly)])
def test_an_interrupted_run_goes_on_where_it_stopped(course: Path, how: signal.Signals, workers):
    one = next(item for item in notebook(CHAPTER).exercises if item.name == "alpha_bar")
    slowly = f"import time\ntime.sleep(1)\n{right()[one.name]}"  # and nothing else is written
    for i in range(6):
        put(course / "submitted", f"s{i:02d}", filled({one.name: slowly}))
    first, folder = running(course), Records(course, CHAPTER).folder
    ends = time.monotonic() + 300
    while len(list(folder.glob("s*.json"))) < 2:
        assert time.monotonic() < ends and first.poll() is None
        time.sleep(0.02)
    first.send_signal(how)
    said = first.communicate(timeout=300)[0]
    if how is signal.SIGINT:
        assert first.returncode == 130 and "the same command goes on" in said, said
    there = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    assert 2 <= len(there) < 6
    assert not (course / "gradebook.db").exists()

    second = running(course)
    said = second.communicate(timeout=300)[0]
    assert second.returncode == 0 and "6 graded" in said, said
    assert {path: path.stat().st_mtime_ns for path in there} == there
    results = Records(course, CHAPTER).all()
    assert [result.points for result in results] == [one.points] * 6
    assert len({result.seed_id for result in results}) == 1
