"""Find the bug: every bug can be found, only evidence counts, and the visible check of a course gives nothing away."""

from __future__ import annotations

import json
import math
import socket
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from diffusion_lab.cli import app
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import tasks
from diffusion_lab.exercises.boxes import BlackBox
from diffusion_lab.exercises.bugs import EVIDENCE, IDEA, PIECE, BugTask, bug_task
from diffusion_lab.exercises.owner import LONGEST, Owner, course_text
from diffusion_lab.grading import hunt, start
from diffusion_lab.grading.isolation import wire
from diffusion_lab.grading.judge import LocalCaller, audit, check, told
from diffusion_lab.grading.judge.accusing import owned
from diffusion_lab.grading.notebook import bug_notebook

TASKS = [task for task in tasks().values() if isinstance(task, BugTask)]
EVERY = [(task, bug) for task in TASKS for bug in task.bugs]
ONE = bug_task("normal_1d")


def named(pair):
    return f"{pair[1].piece}-{pair[1].mistake}".replace(" ", "_")


class Travelling(LocalCaller):
    """A caller in this process whose boxes are asked in messages, as those in the sandbox are."""

    def __call__(self, arguments, **options):
        near, far = socket.socketpair()

        def carried(value):
            wire.send(near, {"value": value})
            return wire.receive(far)["value"]

        def box(piece):
            return BlackBox(lambda *given: carried(piece(*carried(given))))

        with near, far:
            return super().__call__(tuple(box(one.function) for one in arguments), **options)


@pytest.mark.parametrize(("task", "bug"), EVERY, ids=map(named, EVERY))
def test_the_chapters_own_script_finds_every_bug(task, bug):
    verdict = check(owned(task, bug, "a course"), Travelling(task.reference), 5)
    assert verdict.passed, told(verdict)
    assert verdict.points == task.points


@pytest.mark.parametrize(("task", "bug"), EVERY, ids=map(named, EVERY))
def test_every_bug_shows_in_what_the_pipeline_gives(task, bug):
    drawn = owned(task, bug)
    right, wrong = drawn.outputs(None), drawn.outputs(bug)
    assert all(torch.isfinite(value.double()).all() for value in right.values())
    assert any(
        right[name].shape != wrong[name].shape or (right[name] - wrong[name]).abs().max() > 1e-3 for name in right
    )


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.chapter)
def test_the_script_accuses_no_right_piece_and_answers_are_distinct(task):
    *_, found, expected = task.reference(*task.pieces(None).values())
    assert found == pytest.approx(expected, abs=1e-3)
    assert len({(bug.piece, bug.idea) for bug in task.bugs}) == len(task.bugs)
    assert {bug.piece for bug in task.bugs} == set(task.parameters)
    assert not set(task.decoys) & {bug.idea for bug in task.bugs} and len(task.decoys) >= 3
    assert {drawn.bug.mistake for i in range(400) if (drawn := task.drawn_for(Owner(f"{i}")))} == {
        bug.mistake for bug in task.bugs
    }


def points(function, seed=5, course=""):
    verdict = check(owned(ONE, ONE.bugs[0], course), LocalCaller(function), seed)
    return {part: got for part, (got, _) in verdict.parts.items()}


BUG = ONE.bugs[0]  # the last step of linear_betas is missed


def last_beta(linear_betas, *others):
    return BUG.piece, BUG.idea, float(linear_betas(50, 0.01, 0.3)[-1]), 0.3


def test_evidence_is_a_number_from_the_accused_piece():
    full = {PIECE: 2, IDEA: 2, EVIDENCE: 2}
    assert points(last_beta) == full
    assert points(lambda *pieces: (BUG.piece, BUG.idea, 0.29, 0.3)) == full | {EVIDENCE: 0}  # typed, not computed
    assert points(lambda *pieces: (BUG.piece, BUG.idea, 0.3, 0.3)) == full | {EVIDENCE: 0}
    # The number comes from the piece, but no right piece would give what is expected.
    guess = lambda betas, *others: (BUG.piece, BUG.idea, float(betas(50, 0.01, 0.3)[-1]), 0.5)  # noqa: E731
    assert points(guess) == full | {EVIDENCE: 0}
    other = ONE.bugs[1].idea
    assert points(lambda *p: (BUG.piece, other, *last_beta(*p)[2:])) == full | {IDEA: 0}
    assert points(lambda *p: ("ddpm_step", BUG.idea, *last_beta(*p)[2:])) == {PIECE: 0, IDEA: 0, EVIDENCE: 0}


def test_an_answer_that_hangs_on_chance_is_told():
    def by_chance(*pieces):
        piece = BUG.piece if torch.rand(()) < 0.5 else "ddpm_step"
        return piece, BUG.idea, *last_beta(*pieces)[2:]

    answers = [check(owned(ONE, BUG), LocalCaller(by_chance), seed) for seed in range(1, 12)]
    assert any("asked a second time" in told(verdict) for verdict in answers)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (3, "two texts and two numbers"),
        ((BUG.piece, BUG.idea, 1.0), "two texts and two numbers"),
        (("linear_beta", BUG.idea, 1, 2), 'did you mean "linear_betas"'),
        ((BUG.piece, "gremlins", 1, 2), "which is not in the list"),
        ((BUG.piece, 3, 1, 2), "a text is expected"),
        ((BUG.piece, BUG.idea, math.nan, 2), "a finite number is expected"),
        ((BUG.piece, BUG.idea, 10**400, 2), "a finite number is expected"),
        ((BUG.piece, BUG.idea, torch.zeros(3), 2), "one number is expected"),
        ((BUG.piece, BUG.idea, True, 2), "one number is expected"),
    ],
)
@pytest.mark.parametrize("seed", [0, 5])
def test_another_form_of_answer_is_told_what_is_expected(answer, said, seed):
    verdict = check(owned(ONE, BUG, "a course"), LocalCaller(lambda *pieces: answer), seed)
    assert verdict.points == 0 and said in " ".join(told(verdict).split())


def test_errors_and_stubs_are_told():
    def stub(*pieces):
        raise NotImplementedError

    drawn = owned(ONE, BUG)
    assert check(drawn, LocalCaller(stub)).state == "not written"
    assert "ZeroDivisionError" in told(check(drawn, LocalCaller(lambda *pieces: 1 / 0)))
    assert "no answer after" in told(check(drawn, LocalCaller(forever, limit=0.2)))


def forever(*pieces):
    while True:
        pass


def test_in_a_course_the_visible_check_says_the_same_of_right_and_wrong_answers():
    drawn, said = owned(ONE, BUG, "a course"), set()
    for piece in ONE.parameters:
        for idea in ONE.ideas:
            verdict = check(drawn, LocalCaller(lambda *p, a=(piece, idea): (*a, *last_beta(*p)[2:])))
            said.add((told(verdict), verdict.state, verdict.points))
    assert len(said) == 1 and next(iter(said))[1:] == ("open", 0)
    # Without a course it tells: nobody else will.
    assert points(last_beta, seed=0) == {PIECE: 2, IDEA: 2, EVIDENCE: 2}


def test_a_bug_hangs_on_the_name_and_the_course_alone():
    same = [ONE.drawn_for(Owner(name, "x")) for name in ("Ada Lovelace", " ada  lovelace ", "ADA LOVELACE")]
    assert len({(drawn.bug, tuple(drawn.numbers.items())) for drawn in same}) == 1
    assert Owner("Jos\u00e9").name == Owner("Jose\u0301").name
    for others in ([Owner(f"s{i}", "x") for i in range(60)], [Owner("ada", f"{i}") for i in range(60)]):
        drawn = [ONE.drawn_for(owner) for owner in others]
        assert len({item.bug for item in drawn}) > 8
        assert len({tuple(item.numbers.values()) for item in drawn}) == 60
    assert course_text("one") != course_text("two") and course_text(" one\n") == course_text("one")
    assert "one" not in course_text("one")


@pytest.mark.parametrize("name", ["", "   ", "a" * (LONGEST + 1), "a\nb", 3, None])
def test_a_name_that_cannot_be_used_is_told(name):
    with pytest.raises(LabError, match="name"):
        Owner(name)


def test_a_task_without_an_owner_and_chapters_without_a_pipeline_are_told():
    with pytest.raises(LabError, match="drawn for a student"):
        _ = ONE.bug
    with pytest.raises(LabError, match="there is no chapter"):
        bug_task("chess")
    with pytest.raises(LabError, match="empty"):
        course_text("  ")


def test_a_hunt_in_a_notebook(capsys):
    space = {}
    bug = hunt("1", space, student="student 3")
    bug.show()
    out = capsys.readouterr().out
    assert all(idea in out for idea in ONE.ideas) and "samples" in out and "chance" not in out
    assert bug.check() == 0 and "no function find_bug_normal_1d yet" in capsys.readouterr().out
    space[ONE.name] = ONE.reference
    assert bug.check() == ONE.points
    assert torch.equal(bug.samples, hunt("1", space, student="Student 3").samples)
    hunt("1", space)
    assert "drawn by chance" in capsys.readouterr().out


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.chapter)
def test_the_notebook_begins_empty_and_runs(task, capsys):
    cells = {cell["id"]: "".join(cell["source"]) for cell in json.loads(bug_notebook(task))["cells"]}
    everything = "\n".join(cells.values())
    assert cells[task.name].endswith("raise NotImplementedError()")
    assert not any(bug.idea in everything for bug in task.bugs) and "found.append" not in everything
    space = {}
    for name in ("student", "set-up", "look", task.name, "check"):
        exec(cells[name], space)
    assert "Not written yet" in capsys.readouterr().out


def test_the_command_writes_a_notebook_once(tmp_path):
    arguments = ["bug", "10", "--to", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and (tmp_path / "10_games_bug" / "10_games_bug.ipynb").is_file()
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code != 0 and "is there already" in again.output


def test_a_lab_hunts_and_checks_the_same_bug_and_another_course_another(capsys):
    labs = [
        start("normal_1d_lab", {ONE.name: ONE.reference}, student="ada", course=course) for course in ("a", "a", "b")
    ]
    first, same, other = (lab.hunt() for lab in labs)
    assert torch.equal(first.samples, same.samples) and not torch.equal(first.samples, other.samples)
    assert labs[0].check(ONE.name) == 0 and "you will read when marks are given" in capsys.readouterr().out
    assert labs[0].grade(ONE.name) == ONE.points
    start("normal_1d_lab", {})
    assert "drawn by chance" in capsys.readouterr().out
    with pytest.raises(LabError, match="one line"):
        start("normal_1d_lab", {}, student="a\nb")
    with pytest.raises(LabError, match="no pipeline"):
        start("normal_1d", {}).hunt()


def test_the_audit_finds_a_script_that_misses_a_bug_and_one_that_accuses_a_right_piece():
    assert audit(ONE).gaps == ()
    blind = replace(ONE, reference=lambda *pieces: ("ddpm_step", "the last step adds noise", 1.0, 0.0))
    assert any("does not find it" in gap for gap in audit(blind).gaps)
    assert any("all is right" in gap for gap in audit(blind).gaps)
