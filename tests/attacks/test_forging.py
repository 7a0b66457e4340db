"""Submissions that would rather have marks than earn them, graded beside honest ones in one run.

Without its attack each of them has no point at all, so whatever it gets is forged.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from pathlib import Path

import pytest
from forgeries import BESIDE, METADATA, SOURCES
from handed_in import CHAPTER, filled, put, right, worthless

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.parallel import Classroom
from diffusion_lab.grading.classroom.records import find

pytestmark = pytest.mark.slow  # a whole class is graded for it

EXERCISES = notebook(CHAPTER).exercises
POINTS = notebook(CHAPTER).points
FIRST = EXERCISES[0].name
SECRET = "secret-5b1f"
"""In files and variables that no submission may see."""


def digest(folder: Path) -> dict[str, str]:
    """Every file below, as it is now."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


class Class:
    """All attacks and honest submissions, graded in one run."""

    def __init__(self, room: Classroom, course: Path):
        submitted = course / "submitted"
        self.secrets = [course / "gradebook.db", course / "solutions" / "secret.txt", course / "reward.txt"]
        for place in self.secrets:
            place.parent.mkdir(exist_ok=True)
            place.write_text(SECRET)
        self.exploded = [Path("/tmp/exploded"), Path("/tmp/magic"), course / "imported"]
        listening = socket.create_server(("127.0.0.1", 0))
        places = [str(place) for place in self.secrets]
        port = listening.getsockname()[1]
        for name, sources in SOURCES.items():
            told = {k: s.replace("{places!r}", repr(places)).replace("{port}", str(port)) for k, s in sources.items()}
            put(submitted, name, filled(worthless() | told))
        for name, change in METADATA.items():
            document = filled(worthless())
            change(document)
            put(submitted, name, document)
        beside = put(submitted, "files_beside", filled(worthless())).parent
        for name in BESIDE:
            (beside / name).write_text(f"open({str(course / 'imported')!r}, 'w')")
        (beside / "solutions").symlink_to(course / "solutions")
        (beside / "diffusion_lab").mkdir()
        (beside / "diffusion_lab" / "__init__.py").write_text(f"open({str(course / 'imported')!r}, 'w')")
        put(submitted, "nothing_done", filled(worthless()))
        self.honest = [f"{letter}_honest" for letter in "adgjmpsvz"]
        for student in self.honest:
            put(submitted, student, filled(right()))
        self.before = digest(course)
        began = time.monotonic()
        room.course = course
        self.results = {r.student: r for r in room.grade(find(submitted, [CHAPTER]))}
        self.seconds = time.monotonic() - began
        self.after = digest(course)
        listening.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listening.accept()
        listening.close()


@pytest.fixture(scope="module")
def graded(workers: Classroom, tmp_path_factory: pytest.TempPathFactory) -> Class:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REWARD", SECRET)
        return Class(workers, tmp_path_factory.mktemp("course"))


REACH_FOR_THE_REFERENCE = (
    "reference_package", "reference_by_reload", "patched_caller", "reference_in_pieces", "reference_by_its_file",
)  # fmt: skip
ATTACKS = [*SOURCES, *METADATA, "files_beside", "nothing_done"]


@pytest.mark.parametrize("student", ATTACKS)
def test_no_mark_is_forged(graded: Class, student: str):
    result = graded.results[student]
    assert result.state in ("graded", "refused"), result.reason
    assert result.points == 0 and all(item["points"] == 0 for item in result.exercises), result.exercises
    assert result.out_of == POINTS
    for item, exercise in zip(result.exercises, EXERCISES, strict=True):
        assert item["name"] == exercise.name and {k: v for k, (_, v) in item["parts"].items()} == dict(exercise.parts)
        assert item["state"] != "passed"


@pytest.mark.parametrize("student", ATTACKS)
def test_every_exercise_has_its_message(graded: Class, student: str):
    for item in graded.results[student].exercises:
        assert item["text"].startswith(("✗", "○")) and len(item["text"]) < 20_000
        assert all(character.isprintable() or character == "\n" for character in item["text"])
        assert not [line for line in item["text"].splitlines() if line.lstrip().startswith("✓")], "nothing is right"


def test_nothing_leaked(graded: Class):
    for result in graded.results.values():
        told = json.dumps([*result.exercises, *result.notes, result.reason])
        assert SECRET not in told and "BEGIN SOLUTION" not in told, result.student


def test_honest_submissions_beside_them_are_graded_right(graded: Class):
    assert {student: graded.results[student].points for student in graded.honest} == dict.fromkeys(
        graded.honest, POINTS
    )
    assert all(graded.results[student].notes == () for student in graded.honest)


def test_nothing_was_changed(graded: Class):
    kept = f".diffusion-lab{os.sep}grading"
    assert {name: value for name, value in graded.after.items() if not name.startswith(kept)} == graded.before
    assert not any(place.exists() for place in graded.exploded)


def test_who_names_the_reference_is_reported(graded: Class):
    for student in REACH_FOR_THE_REFERENCE:
        assert any("diffusion_lab" in note for note in graded.results[student].notes), student
