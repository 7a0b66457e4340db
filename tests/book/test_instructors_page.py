"""What the instructors' pages name is there: commands with their options, files, statuses, states, limits, messages."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from book_source import BOOK, pages, read
from test_book_commands import SHOWN, course_commands

import diffusion_lab
from diffusion_lab.cli.grading import INTERRUPTED, NOT_ALL_GRADED, Isolation
from diffusion_lab.errors import LabError
from diffusion_lab.grading.classroom import records
from diffusion_lab.grading.classroom.gradebook import recording
from diffusion_lab.grading.classroom.marking import CELL_LIMIT, PIECE_LIMIT, SUBMISSION_LIMIT
from diffusion_lab.grading.classroom.reports.class_report import write_reports
from diffusion_lab.grading.classroom.reports.exports import COLUMNS
from diffusion_lab.grading.classroom.result import STATES
from diffusion_lab.grading.classroom.rules import rules_of
from diffusion_lab.grading.classroom.rules.reading import COMMON, OF_EXERCISE, OF_LATE, OF_NOTEBOOK, OF_QUESTION
from diffusion_lab.grading.isolation.kinds import IMAGE, NONE_GIVES_UP
from diffusion_lab.grading.isolation.sandbox import Limits
from diffusion_lab.grading.notebook.authoring import CONFIGURATION, EXERCISES, SOLUTIONS

NAMES = ("instructors", "course_file", "instructors_beyond", "instructors_safety")
PAGES = {name: read(BOOK / f"{name}.md") for name in NAMES}
TEXT = "\n".join(page.text for page in PAGES.values())
FLAT = " ".join(TEXT.split())


def shown(program: str) -> list[list[str]]:
    """The arguments of each command of this program on the page."""
    lines = [line for block in SHOWN.findall(TEXT) for line in block.splitlines()]
    lines += re.findall(rf"`({program} [^`]+)`", FLAT)
    found = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in found if words[:1] == [program]]


@pytest.mark.parametrize("words", shown("diffusion-lab"), ids=" ".join)
def test_a_command_is_taken_by_the_commands_own_parser(words: list[str]):
    group = course_commands()
    group.commands[words[0]].make_context(words[0], words[1:])  # raises where it is not


def test_nbgrader_has_its_commands():
    from nbgrader.apps.dbapp import DbApp
    from nbgrader.apps.nbgraderapp import NbGraderApp

    for words in shown("nbgrader"):
        command = NbGraderApp.subcommands[words[0].replace("-", "_")][0]
        if command is DbApp:
            assert words[2] in DbApp.subcommands[words[1]][0].subcommands


def test_every_option_of_grade_is_explained():
    options = {name for option in course_commands().commands["grade"].params for name in option.opts}
    assert [name for name in options if name.startswith("--") and name not in TEXT] == []
    assert all(f"| `{kind.value}`" in TEXT for kind in Isolation)


def test_the_files_are_those_that_are_written(tmp_path: Path):
    written = {path.name for path in write_reports(tmp_path, "normal_1d", [])}
    folders = (SOLUTIONS, EXERCISES, "submitted", "autograded", "feedback")
    assert {name for name in written if f"`{name}`" not in TEXT} == set()
    assert [name for name in folders if f"{name}/" not in TEXT] == []
    assert CONFIGURATION in TEXT and f"`{recording.KEPT}/`" in TEXT
    assert records.KEPT.parts[0] == recording.KEPT
    place = recording.Book(tmp_path, "normal_1d").kept / "recorded" / "01_normal_1d"
    assert f"`{place.relative_to(tmp_path).as_posix()}/`" in TEXT
    assert all(column in TEXT for column in ("raw_score,late_submission_penalty,score,max_score", *COLUMNS[:4]))


def test_states_statuses_and_limits_are_those_of_the_code():
    assert [state for state in STATES if f"\n{state}\n: " not in TEXT] == []
    listed = re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)
    assert listed == ["0", "2", str(NOT_ALL_GRADED), str(INTERRUPTED)]
    limits = Limits()
    assert (
        f"{CELL_LIMIT:g} seconds for a statement at the top of a cell, {PIECE_LIMIT:g} for all calls of one exercise, "
        f"{SUBMISSION_LIMIT:g} in all, {limits.memory >> 30} GiB of memory beyond PyTorch's own, "
        f"{limits.processes} processes, {limits.tmp >> 20} MiB of files"
    ) in FLAT


def test_messages_are_the_programs_own():
    package = Path(diffusion_lab.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in package.glob("**/*.py"))
    code = re.sub(r'"\n\s*f?"', "", code)
    for words in (
        "grading needs bubblewrap to keep student code apart, and there is no `bwrap` on this machine",
        "the same command goes on from there",
        "which it may not hold; give it another one",
        "another run is writing to the gradebook of",
        "does not fit this version of the course",
        "the sandbox did not start",
        "no Dask scheduler answers at",
        "its timestamp.txt holds no time",
        "there is no exchange",
    ):
        assert words in code and words in FLAT, words
    assert NONE_GIVES_UP in FLAT and f"docker has no image '{IMAGE}'" in FLAT


def test_labels_that_the_page_refers_to_exist():
    defined = {label for page in pages().values() for label in re.findall(r"^\(([\w-]+)\)=$", page.text, re.MULTILINE)}
    assert {label for page in PAGES.values() for label in page.roles("ref")} <= defined and "instructors" in defined


def test_the_rules_that_the_page_shows_are_rules(tmp_path: Path):
    """Its course.toml and its exercise, as somebody would copy them; and the mistake that it tells of."""
    page = PAGES["course_file"].text
    (rules,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (exercise,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "decibels.py").write_text(exercise, encoding="utf-8")
    (tmp_path / "course.toml").write_text(rules, encoding="utf-8")
    found = rules_of(tmp_path).of("normal_1d")
    assert [task.name for task in found.notebook.exercises][:3] == ["linear_betas", "alpha_bar", "decibels"]
    assert found.best and found.late and found.questions and "ada" in found.dates.extensions
    (tmp_path / "course.toml").write_text(rules.replace('["loss_floor"]', '["loss_flor"]'), encoding="utf-8")
    with pytest.raises(LabError) as told:
        rules_of(tmp_path)
    (said,) = re.findall(r"error: (course\.toml, line \d+: .*? It has linear_betas, alpha_bar)", FLAT)
    assert said in str(told.value)
    keys = {*COMMON, *OF_NOTEBOOK, *OF_LATE, *OF_QUESTION, *OF_EXERCISE}
    assert [key for key in keys if key not in page] == []
