"""Find the bug, in the sandbox: answers get their marks there, and nothing leads from a piece to the bug behind it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

import diffusion_lab
from diffusion_lab.exercises import boxes, notebook
from diffusion_lab.exercises.bugs import EVIDENCE, IDEA, PIECE, bug_task
from diffusion_lab.exercises.owner import Owner, course_text
from diffusion_lab.grading.classroom import marking, workers
from diffusion_lab.grading.notebook.authoring import path_of

CHAPTER = "normal_1d_lab"
TASK = bug_task(CHAPTER)
COURSE = course_text("a secret of the test")
SOLUTION = inspect.getsource(TASK.reference)
HEAD = SOLUTION[: SOLUTION.index(":\n") + 2]
"""The line with `def` and the pieces."""
OWNER = Owner("the student called so", COURSE)
RELEASES = Path(__file__).resolve().parents[2] / "exercises"
pytestmark = pytest.mark.usefixtures("warm")


def handed_in(code, typed="ada", course=COURSE, chapter=CHAPTER):
    """The lab with this function in it, and nothing else written."""
    document = json.loads((RELEASES / path_of(chapter)).read_text(encoding="utf-8"))
    for cell in document["cells"]:
        text = "".join(cell["source"])
        new = {"student": f"student = {typed!r}", "set-up": text.replace('course=""', f'course="{course}"')}
        cell["source"] = (new | {bug_task(chapter).name: code}).get(cell["id"], text)
    return json.dumps(document).encode()


def graded(data, student="ada", course=COURSE, chapter=CHAPTER):
    """The whole result, and what it says of the bug."""
    order = {"student": student, "chapter": chapter, "data": data, "digest": "", "seed": 5, "seed_id": ""}
    result = workers.graded(order | {"course": course, "isolation": "bubblewrap", "version": diffusion_lab.__version__})
    return result, next(item for item in result["exercises"] if item["name"] == bug_task(chapter).name)


def heard(code, student="ada", **about):
    return graded(handed_in(code, **{"typed": student} | about), student)[1]


# The last two have pieces that take and give tuples, truths and None, over the wire as in a notebook.
SCRIPTS = (("ada", CHAPTER), ("bob", "audio_lab"), ("Zo\u00eb \u200cde la Cruz", "text_lab"))


@pytest.mark.parametrize(("student", "chapter"), SCRIPTS)
def test_the_chapters_script_gets_full_marks_whoever_hands_it_in(student, chapter):
    code = inspect.getsource(bug_task(chapter).reference)
    result, item = graded(handed_in(code, student, chapter=chapter), student, chapter=chapter)
    assert item["points"] == item["out_of"] and not result["notes"], item["text"]
    assert result["course"] == COURSE and result["out_of"] == notebook(chapter).points


def test_marks_are_the_folders_and_another_name_or_release_is_said():
    for about, said in (
        ({"typed": "eve"}, "is 'eve'; what counts is drawn for 'ada'"),
        ({"typed": ""}, "No name is typed"),
        ({"course": "0123"}, "of another release"),
    ):
        result, item = graded(handed_in(SOLUTION, **about))
        assert item["points"] == TASK.points  # the script finds whichever bug it is shown
        assert any(said in note for note in result["notes"]) and said in " ".join(item["text"].split())
    assert not graded(handed_in(SOLUTION, typed=" Ada "))[0]["notes"]


def test_the_answer_of_another_student_is_none():
    """Eve has found her bug, and hands her answer on: the numbers that she found, typed, and her code's conclusion."""
    mine = TASK.drawn_for(Owner("ada", COURSE)).bug
    other = next(
        drawn for i in range(99) if (drawn := TASK.drawn_for(Owner(f"eve{i}", COURSE))).bug.piece != mine.piece
    )
    *_, found, expected = TASK.reference(*other.pieces(other.bug).values())
    handed_on = f"{HEAD}    return {other.bug.piece!r}, {other.bug.idea!r}, {found}, {expected}\n"
    assert heard(handed_on)["points"] == 0
    # Even the right conclusion, typed, is a guess without evidence.
    known = f"{HEAD}    return {mine.piece!r}, {mine.idea!r}, {found}, {expected}\n"
    parts = heard(known)["parts"]
    assert parts[EVIDENCE][0] == 0 and parts[PIECE][0] > 0


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
    for place in (".", "/tmp", "/course"):
        for folder, _, files in os.walk(place):
            for file in files:
                try:
                    seen += open(os.path.join(folder, file), errors="replace").read()
                except OSError:
                    pass
""",
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_a_search_finds_no_mistake_no_owner_and_no_course(search):
    pieces = ", ".join(TASK.parameters)
    hidden = [TASK.mistake(bug).function.__name__ for bug in TASK.bugs]
    hidden += [COURSE, OWNER.student, str(OWNER.draw(f"{TASK.name} bug").generator.initial_seed())]
    answer = f"""
    hidden = {[name[::-1] for name in hidden]!r}
    found = [name for name in hidden if name[::-1] in seen]
    if found or not seen:
        raise ValueError("leaked: " + repr(found))
    return "ddpm_step", "the last step adds noise", 0.0, 0.0
"""
    code = f"{HEAD}    pieces = ({pieces})\n{search}{answer}"
    item = heard(code, OWNER.student)
    assert "leaked" not in item["text"], item["text"]
    assert item["parts"][EVIDENCE][0] == 0 and item["state"] == "failed"


def test_guessing_earns_the_share_of_a_guess_and_no_evidence():
    guess = f"{HEAD}    return 'eps_loss', 'the loss is added up instead of averaged', 2.0, 1.0\n"
    parts, bug = heard(guess)["parts"], TASK.drawn_for(Owner("ada", COURSE)).bug
    right = (bug.piece, bug.idea) == ("eps_loss", "the loss is added up instead of averaged")
    assert parts[EVIDENCE][0] == 0
    assert (parts[PIECE][0] > 0) == (bug.piece == "eps_loss")
    assert (parts[IDEA][0] > 0) == right


def test_state_between_calls_does_not_help():
    """It accuses in half of its calls, those that it hopes are about the bug, and has computed nothing."""
    bug = TASK.drawn_for(Owner("ada", COURSE)).bug
    counting = f"""calls = []
{HEAD}    calls.append(1)
    return {bug.piece!r}, {bug.idea!r}, (1.0 if len(calls) <= 4 else 0.0), 0.0
"""
    item = heard(counting)
    assert item["parts"][EVIDENCE][0] == 0, item["text"]


ODD = {
    "never ends": ("    while True:\n        pass\n", "took 1 s"),
    "asks too often": (
        "    for _ in range(100000):\n        linear_betas(3, 0.1, 0.2)\n    return 1\n",
        "more than 50",
    ),
    "asks for too much": ("    return q_sample(torch.zeros(1, 100000), 0, 0, 0)\n", "at most"),
    "hands over a function": ("    return q_sample(lambda: 0, 0, 0, 0)\n", "at most"),
    "prints pages": ("    print('x' * 10**6)\n    return 3\n", "two texts and two numbers"),
}


@pytest.mark.parametrize(("code", "said"), ODD.values(), ids=ODD)
def test_odd_functions_get_a_message(monkeypatch, code, said):
    if "took" in said:
        monkeypatch.setattr(marking, "PIECE_LIMIT", 1.0)
    if "more than" in said:  # 2,000 calls take too long on a busy machine
        monkeypatch.setattr(boxes, "MOST_CALLS", 50)
    item = heard(HEAD + code)
    assert item["points"] == 0 and said in " ".join(item["text"].split()), item["text"]


def test_a_check_of_ones_own_may_be_used_and_no_solution_stands_in_for_it():
    """In a lab the check stands beside the bug. Where it is not right, ours must not do the student's work."""
    with_check = f"""def check_ddpm_step(piece):
    step = piece(torch.ones(1, 2), 0, torch.zeros(1, 2), torch.full((3,), 0.5), torch.ones(1, 2), "beta")
    return f"{{step.sum()}} is wrong" if step.sum() > 4 else None

{HEAD}    said = check_ddpm_step(ddpm_step)
    raise ValueError(f"the check says {{said}}")
"""
    assert "the check says" in heard(with_check)["text"]
