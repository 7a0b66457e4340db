"""What a notebook works with: messages and points, never an exception and never a word on standard error."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys

import pytest
import torch

from diffusion_lab.errors import LabError
from diffusion_lab.exercises import exercise, notebook
from diffusion_lab.grading import start
from diffusion_lab.grading.classroom.records import Seed
from diffusion_lab.grading.notebook import references, session
from diffusion_lab.grading.notebook.choosing import choose
from diffusion_lab.report import Report

FUNCTIONS = {item.name: item.reference for item in notebook("normal_1d").exercises}


def define(namespace: dict, source: str) -> None:
    exec(compile(source, "student's", "exec"), namespace)


@pytest.fixture
def lab(namespace):
    return start("normal_1d", namespace)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    for name in (session.SEED_VARIABLE, session.BUDGET_VARIABLE, session.GRADING_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)  # where pictures go


@pytest.mark.parametrize("name", ["normal_1d", 1, "01_normal_1d"])
def test_a_session_starts_by_any_name_of_the_chapter(name):
    assert repr(start(name, {})) == "<exercises of chapter 'normal_1d'>"


def test_an_unknown_chapter_is_named():
    with pytest.raises(LabError, match=r"there is no chapter 'mnits' with exercises; the chapters are normal_1d"):
        start("mnits", {})


def test_a_right_piece_gets_its_points(lab, capfd):
    points = lab.check("alpha_bar")
    assert points == exercise("alpha_bar").points and type(points) is float
    assert capfd.readouterr() == ("✓ alpha_bar: 4 of 4 points\n", "")


def test_the_function_is_looked_up_at_every_check(lab):
    define(lab.namespace, "def alpha_bar(betas):\n    return betas")
    assert lab.check("alpha_bar") == 0
    define(lab.namespace, "def alpha_bar(betas):\n    return (1 - betas).cumprod(0)")
    assert lab.check("alpha_bar") == 4


MISTAKES = {
    "wrong": ("def alpha_bar(betas):\n    return 1 - torch.cumsum(betas, 0)", "Idea: These are cumulative sums."),
    "not written": ("def alpha_bar(betas):\n    raise NotImplementedError()", "Not written yet"),
    "raises": ("def alpha_bar(betas):\n    return 1 / 0", "it raised ZeroDivisionError"),
    "exits": ("import sys\ndef alpha_bar(betas):\n    sys.exit(1)", "it raised SystemExit"),
    "arguments": ("def alpha_bar():\n    return 1", "it raised TypeError"),
    "number": ("alpha_bar = 4", "`alpha_bar` is an int here, and must be a function."),
    "missing": ("del alpha_bar", "There is no function alpha_bar yet"),
    "loud": (
        "import sys, warnings, logging\ndef alpha_bar(betas):\n    print(1, file=sys.stderr)\n"
        "    warnings.warn('x')\n    logging.getLogger('a').warning('b')\n    return betas",
        "0 of 4 points",
    ),
    "strange": (
        "class Odd:\n    def __repr__(self):\n        raise ValueError\n    def __getattr__(self, name):\n"
        "        raise KeyError(name)\ndef alpha_bar(betas):\n    return Odd()",
        "✗ alpha_bar",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
@pytest.mark.parametrize("how", ["check", "grade"])
def test_a_mistake_is_a_message_and_a_number(case, how, lab, capfd):
    source, message = MISTAKES[case]
    define(lab.namespace, source)
    points = getattr(lab, how)("alpha_bar")
    assert points == 0.0 and type(points) is float
    said = capfd.readouterr()
    assert message in said.out and said.err == ""


@pytest.mark.parametrize("name", ["alphabar", "", None, 3, ["alpha_bar"]])
def test_a_check_of_no_exercise_is_a_message_too(name, lab, capfd):
    assert lab.check(name) == 0.0
    said = capfd.readouterr()
    assert "there is no exercise" in said.out and said.err == ""


def test_a_fault_of_the_course_is_no_exception_and_says_whose_it_is(lab, capfd, monkeypatch):
    def breaks(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(session, "check_piece", breaks)
    assert lab.check("alpha_bar") == 0.0
    assert "through a fault of the course: RuntimeError: a bug" in capfd.readouterr().out
    assert lab.verdicts == {}, "it is not counted"


def seeds_of(monkeypatch) -> list[int]:
    seen = []
    whole = session.check_piece
    monkeypatch.setattr(session, "check_piece", lambda *a, **given: seen.append(a[2]) or whole(*a, **given))
    return seen


def test_grades_are_for_the_cases_of_the_environment(lab, monkeypatch, capsys):
    seen = seeds_of(monkeypatch)
    for value in ("17", "autumn term", "autumn term", "spring term"):
        monkeypatch.setenv(session.SEED_VARIABLE, value)
        assert lab.grade("alpha_bar") == 4
    lab.check("alpha_bar")
    assert seen[1] == seen[2] != seen[3] and seen[4] == 0
    assert seen[:2] == [Seed("17").number, Seed("autumn term").number], "the cases that a class is graded on"
    assert "Fresh cases" not in capsys.readouterr().out, "the seed of a class is not told"


def test_fresh_cases_are_the_same_in_one_process_and_can_be_had_again(lab, monkeypatch, capsys):
    seen = seeds_of(monkeypatch)
    lab.grade("alpha_bar")
    lab.grade("q_sample")
    assert seen[0] == seen[1] != 0
    told = re.search(f"{session.SEED_VARIABLE}=(\\S+)", capsys.readouterr().out)
    monkeypatch.setenv(session.SEED_VARIABLE, told[1])
    lab.grade("alpha_bar")
    assert seen[2] == seen[0]


def test_the_table_of_points_has_the_latest_of_each(lab, capsys):
    define(lab.namespace, "def q_sample(*a):\n    return 1")
    lab.check("alpha_bar")
    lab.check("q_sample")
    capsys.readouterr()
    lab.show()
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["alpha_bar"] == ["4", "4", "passed"]
    assert rows["q_sample"] == ["0", str(exercise("q_sample").points), "failed"]
    assert rows["eps_loss"][1:] == ["not", "checked", "yet"]
    assert rows["together"] == ["4", str(notebook("normal_1d").points)]


def test_a_run_uses_the_students_pieces_and_names_what_is_lent(lab, capfd):
    define(lab.namespace, "def alpha_bar(betas):\n    return betas")
    define(lab.namespace, "def ddpm_step(*a):\n    raise NotImplementedError()")
    assert lab.run(budget="smoke") is None
    said = capfd.readouterr()
    assert said.err == ""
    assert "ours, because not written: ddpm_step" in said.out
    assert "ours, because the check fails: alpha_bar" in said.out
    assert "yours: " in said.out and "q_sample" in said.out
    assert "Wasserstein-2 to the exact normal" in said.out and "reference" in said.out
    assert os.path.exists(os.path.join("runs", "normal_1d", "samples.png"))
    assert lab.report.samples.shape == (500, 1)


def test_right_pieces_give_the_samples_of_the_references(lab, capsys):
    from diffusion_lab import run_chapter

    lab.run(budget="smoke")
    reference = run_chapter("normal_1d", budget="smoke", **notebook("normal_1d").slots(choose({}, []).functions))
    assert torch.equal(lab.report.samples, reference.samples)


@pytest.mark.parametrize("value", ["autograde", "validate"])
def test_a_run_is_left_out_while_grading(value, lab, monkeypatch, capsys):
    monkeypatch.setenv(session.GRADING_VARIABLE, value)
    lab.run()
    assert capsys.readouterr().out == "The run is left out while grading.\n"
    assert lab.report is None


def test_the_name_of_the_variable_is_nbgraders():
    converters = pytest.importorskip("nbgrader.converters.autograde")
    with open(converters.__file__, encoding="utf-8") as file:
        assert f"setenv({session.GRADING_VARIABLE}=" in file.read()


def test_the_environment_can_set_the_budget(lab, monkeypatch, capsys):
    monkeypatch.setenv(session.BUDGET_VARIABLE, "smoke")
    lab.run()
    assert lab.report.budget == "smoke"
    monkeypatch.setenv(session.BUDGET_VARIABLE, "huge")
    lab.run()
    assert "there is no budget 'huge'" in capsys.readouterr().out


def test_a_crash_in_a_run_is_told_with_the_students_line(lab, capfd):
    define(
        lab.namespace,
        "def linear_betas(steps, start, end):\n"
        "    if steps == 1000:\n"
        "        raise KeyError('a thousand')\n"
        "    return torch.linspace(start, end, steps)",
    )
    lab.run(budget="smoke")
    said = capfd.readouterr()
    if "yours: linear_betas" in said.out:  # where no case has a thousand steps
        assert "the run ended with KeyError" in said.out and "of linear_betas" in said.out
    assert said.err == ""


def test_a_piece_that_calls_a_wrong_one_runs_with_ours(lab, capsys):
    define(
        lab.namespace,
        "def eps_loss(model, x0, t, noise, alpha_bar):\n"
        "    return (model(q_sample(x0, t, noise, alpha_bar), t) - noise).square().reshape(len(x0), -1).mean(1)\n"
        "def q_sample(x0, t, noise, alpha_bar):\n    return x0\n",
    )
    wrong = lab.namespace["q_sample"]
    lab.run(budget="smoke")
    lent = lab.report.samples
    assert lab.namespace["q_sample"] is wrong
    define(lab.namespace, "def q_sample(*a):\n    raise NotImplementedError()")
    lab.run(budget="smoke")
    assert torch.equal(lent, lab.report.samples)


def test_unchecked_pieces_can_be_asked_for(namespace):
    define(namespace, "def alpha_bar(betas):\n    return betas\ndef q_sample(*a):\n    raise NotImplementedError()")
    choice = choose(namespace, ["normal_1d"], unchecked=True)
    assert choice.unchecked == ("alpha_bar",) and choice.unwritten == ("q_sample",)
    assert choice.functions["alpha_bar"] is namespace["alpha_bar"]
    assert choice.functions["q_sample"] is FUNCTIONS["q_sample"]
    assert "yours, although the check fails: alpha_bar" in choice.lines


def test_pieces_of_other_chapters_are_ours_without_a_word(namespace):
    choice = choose(namespace, ["normal_1d"])
    assert choice.yours == tuple(FUNCTIONS)
    assert " ".join(choice.lines).split() == ["yours:", *", ".join(FUNCTIONS).split()]
    assert len(choice.functions) > len(FUNCTIONS)


def recorded(tmp_path, report: Report):
    path = tmp_path / "references.json"
    path.write_text(json.dumps({"runs": [references.record(report)]}), encoding="utf-8")
    return path


def test_scores_stand_beside_the_references(lab, tmp_path, capsys):
    from dataclasses import replace

    lab.run(budget="smoke")
    report = replace(lab.report, budget="quick")
    path = recorded(tmp_path, report)
    reference = references.reference_scores("1", "generated", "quick", path)
    assert reference.seed == 0 and reference.scores == {score.name: score for score in report.scores}
    text = references.comparison(report, path)
    value = f"{report.scores[0].value:.4g}"
    assert text.splitlines()[1].split("normal")[1].split()[:2] == [value, value]
    assert "The reference: our pieces, seed 0" in text
    assert references.reference_scores("normal_1d", "real", "quick", path) is None
    assert references.reference_scores("mnist", "real", "quick", tmp_path / "none.json") is None
    assert "No run with our pieces was recorded" in references.comparison(report, tmp_path / "none.json")


@pytest.mark.slow
def test_references_are_recorded_by_a_script(tmp_path, monkeypatch):
    from pathlib import Path

    script = Path(__file__).resolve().parents[2] / "scripts" / "record_references.py"
    out = tmp_path / "references.json"
    command = [str(script), "1", "--budget", "smoke", "--out", str(out)]

    def alone():
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, encoding="utf-8", timeout=120)
        assert done.returncode == 0, done.stderr

    def here():  # where torch is imported already
        monkeypatch.setattr(sys, "argv", command)
        runpy.run_path(str(script), run_name="__main__")

    for record in (alone, here):  # the second time replaces the run
        record()
        runs = json.loads(out.read_text(encoding="utf-8"))["runs"]
        assert [(run["chapter"], run["source"], run["budget"]) for run in runs] == [("normal_1d", "generated", "smoke")]
    assert references.reference_scores("normal_1d", "generated", "smoke", out).versions.keys() >= {"torch", "python"}


def test_progress_is_rewritten_in_a_notebook(monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    notebooks = pytest.importorskip("IPython.display")
    monkeypatch.setattr(session, "_in_notebook", lambda: True)
    monkeypatch.setattr(notebooks, "display", lambda data, raw, display_id: shown.append(data) or Handle())
    progress = session.Progress()
    monkeypatch.setattr(progress, "EVERY", 0.0)
    progress.tell("training", 1, 4)
    progress.tell("training", 2, 4)
    progress.end("done")
    assert shown == [{"text/plain": "training, 25%"}, "training, 50%", "done"]
