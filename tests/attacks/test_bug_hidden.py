"""Find the bug, in the sandbox: answers get their marks there, and nothing leads from a piece to the bug behind it."""

from __future__ import annotations

import csv
import inspect
import json
import shutil

import pytest
from typer.testing import CliRunner

from diffusion_lab.cli import app
from diffusion_lab.exercises.bugs import EVIDENCE, IDEA, PIECE, bug_task
from diffusion_lab.exercises.owner import course_text
from diffusion_lab.grading.classroom import bug_marking, hear
from diffusion_lab.grading.isolation import sandbox_of
from diffusion_lab.grading.judge import told
from diffusion_lab.grading.notebook import bug_folder, bug_notebook

TASK = bug_task("normal_1d")
SECRET = "a secret of the test"
COURSE = course_text(SECRET)
SOLUTION = inspect.getsource(TASK.reference)
HEAD = SOLUTION[: SOLUTION.index(":\n") + 2]
"""The line with `def` and the pieces."""


@pytest.fixture(scope="module")
def sandbox():
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed on this machine")
    with sandbox_of("bubblewrap") as opened:
        yield opened


def handed_in(folder, code, student="ada", typed="ada"):
    document = json.loads(bug_notebook(TASK, COURSE))
    for cell in document["cells"]:
        cell["source"] = {TASK.name: code, "student": f"student = {typed!r}"}.get(cell["id"], cell["source"])
    file = folder / student / bug_folder("normal_1d") / f"{bug_folder('normal_1d')}.ipynb"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(document))
    return file


def heard(sandbox, folder, code, **about):
    return hear(sandbox, TASK, about.get("student", "ada"), handed_in(folder, code, **about), COURSE, "seed")


@pytest.mark.parametrize("student", ["ada", "bob", "cy"])
def test_the_chapters_script_gets_full_marks_whoever_hands_it_in(sandbox, tmp_path, student):
    item = heard(sandbox, tmp_path, SOLUTION, student=student, typed=student)
    assert item.verdict.points == TASK.points and not item.notes, told(item.verdict)


def test_another_name_than_the_folders_is_said(sandbox, tmp_path):
    assert "the name typed is 'eve'" in " ".join(heard(sandbox, tmp_path, SOLUTION, typed="eve").notes)
    assert not heard(sandbox, tmp_path / "b", SOLUTION, typed=" Ada ").notes


SEARCHES = {
    "the attributes of a piece": """
    names = {name: str(getattr(piece, name, "")) for piece in pieces for name in dir(piece)}
    seen = repr(names) + repr([getattr(piece, "__dict__", {}) for piece in pieces])
""",
    "all objects in memory": """
    import gc
    seen = repr([object for object in gc.get_objects() if "bug" in type(object).__name__.lower()])
    for function in gc.get_objects():
        code = getattr(function, "__code__", None)
        seen += f" {getattr(code, 'co_name', '')}"
""",
    "the package": """
    import sys
    try:
        from diffusion_lab.exercises.normal_1d import bug
        seen = repr(bug.TASK.bugs)
    except ImportError:
        seen = " ".join(sys.modules)
""",
    "what an error leads to": """
    seen = ""
    try:
        pieces[0]("a text", object(), 1)
    except Exception as error:
        frame = error.__traceback__
        while frame is not None:
            seen += repr(frame.tb_frame.f_locals)
            frame = frame.tb_next
        seen += repr(error)
""",
    "the environment": """
    import os
    seen = repr(dict(os.environ)) + open("/proc/self/cmdline").read()
""",
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_a_search_for_the_bug_finds_no_name_of_a_mistake(sandbox, tmp_path, search):
    pieces = ", ".join(TASK.parameters)
    mistakes = [TASK.mistake(bug).function.__name__ for bug in TASK.bugs]
    answer = f"""
    mistakes = {mistakes!r}
    found = [name for name in mistakes if name in seen.replace(repr(mistakes), "")]
    if found or not seen:
        raise ValueError("leaked: " + repr(found))
    return "ddpm_step", "the last step adds noise", 0.0, 0.0
"""
    # The list itself stands in the function's own constants, which the search must not count.
    verdict = heard(sandbox, tmp_path, f"{HEAD}    pieces = ({pieces})\n{search}{answer}").verdict
    assert "leaked" not in told(verdict), told(verdict)
    assert verdict.points == 0 and verdict.state == "failed"


def test_guessing_earns_the_share_of_a_guess_and_no_evidence(sandbox, tmp_path):
    guess = f"{HEAD}    return 'eps_loss', 'the loss is added up instead of averaged', 2.0, 1.0\n"
    item = heard(sandbox, tmp_path, guess)
    right = (item.bug.piece, item.bug.idea) == ("eps_loss", "the loss is added up instead of averaged")
    assert item.verdict.parts[EVIDENCE][0] == 0
    assert (item.verdict.parts[PIECE][0] > 0) == (item.bug.piece == "eps_loss")
    assert (item.verdict.parts[IDEA][0] > 0) == right


def test_state_between_calls_does_not_help(sandbox, tmp_path):
    """It accuses in half of its calls, those that it hopes are about the bug, and has computed nothing."""
    bug = TASK.drawn_for(bug_marking.Owner("ada", COURSE)).bug
    counting = f"""calls = []
{HEAD}    calls.append(1)
    return {bug.piece!r}, {bug.idea!r}, (1.0 if len(calls) <= 4 else 0.0), 0.0
"""
    verdict = heard(sandbox, tmp_path, counting).verdict
    assert verdict.parts[EVIDENCE][0] == 0, told(verdict)


ODD = {
    "never ends": ("    while True:\n        pass\n", "took 1 s"),
    "asks too often": ("    for _ in range(100000):\n        linear_betas(3, 0.1, 0.2)\n    return 1\n", "more than"),
    "asks for too much": ("    return q_sample(torch.zeros(1, 100000), 0, 0, 0)\n", "at most"),
    "hands over a function": ("    return q_sample(lambda: 0, 0, 0, 0)\n", "at most"),
    "prints pages": ("    print('x' * 10**6)\n    return 3\n", "two texts and two numbers"),
}


@pytest.mark.parametrize(("code", "said"), ODD.values(), ids=ODD)
def test_odd_functions_get_a_message_and_the_next_one_its_marks(sandbox, tmp_path, monkeypatch, code, said):
    with monkeypatch.context() as patched:
        if "took" in said:
            patched.setattr(bug_marking, "ASKING_LIMIT", 1.0)
        verdict = heard(sandbox, tmp_path, HEAD + code).verdict
    assert verdict.points == 0 and said in " ".join(told(verdict).split()), told(verdict)
    assert heard(sandbox, tmp_path / "next", SOLUTION).verdict.points == TASK.points


def test_the_command_writes_who_had_which(tmp_path, sandbox):
    handed_in(tmp_path, SOLUTION, "ada", "ada")
    handed_in(tmp_path, HEAD + "    return 1\n", "=bob()"[1:4], "bob")
    (tmp_path / "cy" / bug_folder("normal_1d")).mkdir(parents=True)
    (tmp_path / "cy" / bug_folder("normal_1d") / f"{bug_folder('normal_1d')}.ipynb").write_text("no notebook")
    secret, table = tmp_path / "secret.txt", tmp_path / "bugs.csv"
    secret.write_text(SECRET)
    arguments = ["grade-bugs", "1", "--secret-file", str(secret), "--to", str(table), "--submitted"]
    done = CliRunner().invoke(app, [*arguments, str(tmp_path)])
    assert done.exit_code == 0, done.output
    rows = {row["student"]: row for row in csv.DictReader(table.open())}
    assert [rows[name]["points"] for name in ("ada", "bob", "cy")] == ["6", "0", "0"]
    for name, row in rows.items():
        bug = TASK.drawn_for(bug_marking.Owner(name, COURSE)).bug
        assert (row["piece"], row["idea"]) == (bug.piece, bug.idea)
    assert "cannot be read" in rows["cy"]["notes"]
    nobody = CliRunner().invoke(app, [*arguments, str(tmp_path / "cy")])
    assert nobody.exit_code != 0 and "nobody has handed in" in nobody.output
