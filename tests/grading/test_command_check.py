"""The commands check, progress and audit, and run --pieces, as a learner meets them."""

from __future__ import annotations

import inspect
import shutil

import pytest
import torch
from typer.testing import CliRunner

from diffusion_lab.cli import app
from diffusion_lab.exercises import exercise, notebook

POINTS = notebook("normal_1d").points
PIECES = len(notebook("normal_1d").exercises)
WRONG = "def alpha_bar(betas):\n    return 1 - torch.cumsum(betas, 0)"


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})


def test_a_right_notebook_exits_0(make_notebook):
    result = call("check", make_notebook())
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"{POINTS} of {POINTS} points, {PIECES} of {PIECES} pieces are right"
    assert result.stderr == ""


def test_a_wrong_one_is_told_with_its_idea_and_exits_1(make_notebook):
    result = call("check", make_notebook({"alpha_bar": WRONG, "q_sample": "def q_sample(:"}, own=("def half(",)))
    assert result.exit_code == 1
    assert "Idea: These are cumulative sums." in result.stdout
    assert "[" in result.stdout, "numbers in brackets are no markup"
    assert "✗ q_sample: 0 of" in result.stdout and "cell 8, line 1: SyntaxError" in result.stdout
    assert "left out: cell 3, line 1: SyntaxError" in result.stdout
    assert f"{PIECES - 2} of {PIECES} pieces are right" in result.stdout.splitlines()[-1]


def test_a_python_file_is_checked_for_what_it_defines(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\nfrom torch import Tensor\n" + WRONG + "\nHALF = undefined\ndef q_sample(*a):\n    return HALF\n"
    )
    result = call("check", path)
    assert result.exit_code == 1
    assert "line 5: NameError" in result.stdout and "0 of 9 points, 0 of 2 pieces are right" in result.stdout
    whole = call("check", path, "--chapter", "normal_1d")
    assert f"of {PIECES} pieces are right" in whole.stdout and "There is no function eps_loss" in whole.stdout


@pytest.mark.parametrize("device", ["meta", "xpu"])
def test_settings_of_pytorchs_in_a_file_stay_in_it(tmp_path, device: str):
    """One device on which no numbers are, and one that this machine does not have: there the run would fail."""
    path = tmp_path / "mine.py"
    settings = f"torch.set_default_dtype(torch.float64)\ntorch.set_default_device({device!r})\n"
    path.write_text("import torch\n" + settings + "def alpha_bar(betas):\n    return torch.cumprod(1 - betas, 0)\n")
    result = call("check", path)
    assert result.exit_code == 0 and "1 of 1 pieces are right" in result.output, result.output
    assert call("progress", path).exit_code == 0
    assert (torch.get_default_dtype(), torch.ones(1).device.type) == (torch.float32, "cpu")
    if device == "xpu":
        result = call("run", "1", "--pieces", path, "--budget", "smoke", "--out", tmp_path / "out")
        assert result.exit_code == 0, result.output


def test_bad_input_exits_2(tmp_path):
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "b.ipynb").write_text("{}")
    for arguments, message in (
        (["check", tmp_path / "none.py"], "there is no file"),
        (["check", tmp_path / "empty.py"], "has none of the course's functions"),
        (["check", tmp_path / "b.ipynb"], "it is not a notebook"),
        (["check", tmp_path / "empty.py", "--chapter", "mnits"], "there is no chapter 'mnits'"),
        (["progress", tmp_path / "nowhere"], "there is no folder or file"),
        (["audit", "mnits"], "there is no chapter 'mnits'"),
        (["run", "1", "--pieces", tmp_path / "none.py"], "there is no file"),
        (["run", "games", "--variant", "bits", "--pieces", tmp_path / "empty.py"], "do not go together"),
    ):
        result = call(*arguments)
        assert result.exit_code == 2, arguments
        assert message in result.stderr and "Traceback" not in result.output


def test_progress_shows_every_chapter(make_notebook, tmp_path):
    folder = tmp_path / "work"
    (folder / "01_normal_1d").mkdir(parents=True)
    shutil.move(make_notebook({"alpha_bar": WRONG}), folder / "01_normal_1d" / "01_normal_1d.ipynb")
    (folder / "02_normal_2d").mkdir()
    (folder / "02_normal_2d" / "02_normal_2d.ipynb").write_text("{}")
    result = call("progress", folder)
    assert result.exit_code == 0, result.output
    rows = {line.split("│")[2].strip(): line for line in result.stdout.splitlines() if line.count("│") == 7}
    assert f"{PIECES - 1} of {PIECES}" in rows["normal_1d"] and f"{POINTS - 4} of {POINTS}" in rows["normal_1d"]
    assert "alpha_bar (failed)" in rows["normal_1d"] and "█" in rows["normal_1d"]
    assert "cannot be read" in rows["normal_2d"]
    assert "normal_2d: " in result.stdout.splitlines()[-1] and "it is not a notebook" in result.stdout
    assert "no notebook" in rows["games"] and "0 of" in rows["games"]
    assert f"{POINTS - 4} of" in rows["together"] and "heartbeats" not in rows


RIGHT = inspect.getsource(exercise("decibel_levels").reference)


@pytest.mark.parametrize(
    ("written", "right"),
    [(RIGHT, 1), ("def decibel_levels(levels):\n    return None", 0), (f"@nothing\n{RIGHT}", 0)],
    ids=["right", "wrong", "cannot be made"],
)
def test_progress_shows_a_chapter_beyond_the_ten_once_it_is_begun(tmp_path, written, right):
    path = tmp_path / "mine.py"
    path.write_text(f"import torch\nfrom torch import Tensor\n\n{written}")
    result = call("progress", path)
    lines = [line for line in result.stdout.splitlines() if line.count("│") == 7]
    assert "together" in lines[-2] and "0 of" in lines[-2]
    assert "heartbeats" in lines[-1] and f"{right} of 5" in lines[-1] and "│ 11 " in lines[-1]


def test_progress_of_one_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import torch\ndef alpha_bar(betas):\n    return torch.cumprod(1 - betas, 0)\n")
    result = call("progress", path)
    assert result.exit_code == 0, result.output
    assert f"1 of {PIECES}" in result.stdout and "karras_sigmas (missing)" in result.stdout


def test_audit_is_a_table_and_exits_1_on_a_gap(monkeypatch):
    from diffusion_lab.grading.judge import auditing

    def examine(item, *_):
        gaps = ("wrong answer 'x' is named nothing",) if item.name == "q_sample" else ()
        return auditing.Audit(item, 5, 4, gaps)

    monkeypatch.setattr(auditing, "audit", examine)
    result = call("audit", "normal_1d")
    assert result.exit_code == 1
    assert "q_sample: wrong answer 'x' is named nothing" in result.stdout
    assert result.stdout.splitlines()[-1] == f"{PIECES} exercises, 1 gap"
    monkeypatch.setattr(auditing, "audit", lambda item, *_: auditing.Audit(item, 5, 4, ()))
    assert call("audit", "1").exit_code == 0


@pytest.mark.usefixtures("no_figures")
def test_a_run_takes_own_pieces_and_says_which(make_notebook, tmp_path):
    path = make_notebook({"alpha_bar": WRONG, "ddpm_step": "def ddpm_step(*a):\n    raise NotImplementedError()"})
    result = call("run", "normal_1d", "--budget", "smoke", "--pieces", path, "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    assert "ours, because not written: ddpm_step" in result.stdout
    assert "ours, because the check fails: alpha_bar" in result.stdout
    assert "reference" in result.stdout and "largest excess kurtosis" in result.stdout
    assert (tmp_path / "runs" / "normal_1d" / "report.json").exists()


def test_an_unchecked_piece_that_cannot_run_is_told_with_its_line(make_notebook, tmp_path):
    source = "def eps_loss(model, x0, t, noise, alpha_bar):\n    return model(x0, t) / nothing"
    path = make_notebook({"eps_loss": source})
    # Without `--unchecked` ours takes its place, as in the test above.
    arguments = ("run", "1", "--budget", "smoke", "--pieces", path, "--out", tmp_path / "runs")
    result = call(*arguments, "--unchecked")
    assert result.exit_code == 2
    assert "yours, although the check fails: eps_loss" in result.stdout
    assert "NameError" in result.stderr and "cell" in result.stderr
