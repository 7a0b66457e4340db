"""Due dates, extensions, lateness and attempts where Gradescope's grader judges them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from test_platform_graders import CHAPTER, REFUSED, RESULT
from typer.testing import CliRunner

from diffusion_lab.cli import app
from diffusion_lab.grading.classroom.platforms import Settings, gradescope, settings_for
from diffusion_lab.grading.classroom.platforms.deadlines import METADATA, judged, metadata_in
from diffusion_lab.grading.classroom.rules import rules_of

RULES = f"""
attempts = "best"
late = {{percent_a_day = 10, at_most = 50, grace_minutes = 30}}
[{CHAPTER}]
due = 2027-03-02T12:00:00Z
extensions = {{ada = 2027-03-09T12:00:00Z, ben = 2027-03-09T12:00:00Z}}
leave_out = ["loss_floor"]
"""


def metadata(when: str, email: str = "cid@example.edu", *scores: object) -> dict:
    """As the documentation of Gradescope shows it."""
    return {
        "id": 123456,
        "created_at": when,
        "assignment": {"due_date": "2018-07-31T23:00:00.000000-07:00", "total_points": "20.0"},
        "submission_method": "upload",
        "users": [{"email": email, "id": 1234, "name": "Student User"}],
        "previous_submissions": [{"submission_time": when, "score": score, "results": {}} for score in scores],
    }


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "course.toml").write_text(RULES)
    late, unknown = settings_for(rules_of(tmp_path).of(CHAPTER), {"ada": "Ada@Example.edu"})
    assert unknown == ["ben"]
    return Settings(CHAPTER, late=json.loads(json.dumps(late)))


@pytest.mark.parametrize(
    ("when", "email", "scores", "score", "words"),
    [
        ("2027-03-02T04:20:00.365935-08:00", "cid@example.edu", (), 5, ""),  # 20 minutes late
        ("2027-03-02T04:31:00-08:00", "cid@example.edu", (), 4.5, "0.5 hours late: 0.5 of its 5 points"),
        ("2027-03-04T04:31:00-08:00", "cid@example.edu", (), 3.5, "2.0 days late: 1.5 of its 5 points"),
        ("2027-03-08T12:00:00+00:00", "ada@example.edu", (), 5, ""),
        ("2027-03-10T11:00:00+00:00", "ada@example.edu", (), 4.5, "23.0 hours late"),
        ("2027-03-08T12:00:00+00:00", "cid@example.edu", (1.0, "4.2", None), 4.2, "its 4.2 points count"),
        ("2027-03-01T12:00:00+00:00", "cid@example.edu", (1.0, 4.2), 5, ""),
        ("some day", "cid@example.edu", (), 5, ""),
    ],
)
def test_gradescope_scores_by_the_rules(when, email, scores, score, words, settings: Settings):
    found = gradescope.results(RESULT, settings, metadata(when, email, *scores))
    assert found["score"] == pytest.approx(score) and words in found.get("output", "")
    assert bool(words) == ("output" in found)
    assert sum(test.get("score", 0) for test in found["tests"]) == RESULT.points  # parts stay as they are


def test_a_refused_file_leaves_an_earlier_attempt_its_points(settings: Settings):
    found = gradescope.results(REFUSED, settings, metadata("2027-03-01T12:00:00Z", "cid@example.edu", 4.0))
    assert found["score"] == 4 and "refused" in found["output"] and "its 4 points count" in found["output"]


def test_without_rules_or_metadata_the_points_are_the_score(tmp_path: Path):
    assert gradescope.results(RESULT, Settings(CHAPTER), metadata("2030-01-01T00:00:00Z"))["score"] == 5
    assert metadata_in(tmp_path) == {}
    (tmp_path / METADATA).write_text("[1]")
    assert metadata_in(tmp_path) == {}


def test_an_export_carries_what_the_course_has_decided(tmp_path: Path):
    (tmp_path / "course.toml").write_text(RULES.replace("ada =", '"ada@example.edu" ='))
    zipped = tmp_path / "grader.zip"
    asked = ["export", "gradescope", CHAPTER, "--course", str(tmp_path), "--to", str(zipped)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0 and "no extension there for ben" in done.output, done.output
    with zipfile.ZipFile(zipped) as archive:
        said = json.loads(archive.read("grader.json"))
    assert said["late"]["extensions"] == {"ada@example.edu": "2027-03-09T12:00:00+00:00"}
    assert said["offers"][0]["leave_out"] == ["loss_floor"]
    asked = [
        "export",
        "prairielearn",
        CHAPTER,
        "--course",
        str(tmp_path),
        "--to",
        str(tmp_path / "pl"),
        "--image",
        "me/x",
    ]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0 and "the platform's to judge" in done.output, done.output


@pytest.mark.parametrize("users", [[None], ["cid"], [{"email": None}], [{}], "cid", None, []])
def test_a_student_whom_gradescope_does_not_name_has_no_extension(users: object, settings: Settings):
    told = metadata("2027-03-04T04:31:00-08:00", "", 1.0) | {"users": users}
    told["previous_submissions"].append(None)
    assert judged(5.0, settings.late, told)[0] == 3.5
