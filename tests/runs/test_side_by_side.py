"""Several chapters at once, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pooled
import psutil
import pytest
import torch
from typer.testing import CliRunner

from diffusion_lab import chapters, run_chapter, threads
from diffusion_lab.cli import app, side_by_side


@pytest.fixture(autouse=True)
def real_work(monkeypatch):
    """Whatever a test puts in the place of a chapter's run is taken away again."""
    monkeypatch.setattr(side_by_side, "_work", side_by_side._work)


def test_each_chapter_ends_with_what_came_of_it():
    ended, steps, notes = pooled.together(["one", "two", "three"])
    assert ended == {name: f"{name} ran with {{'seed': 3}}" for name in ("one", "two", "three")}
    assert notes == {(name, "read from memory") for name in ended}
    assert steps >= {(name, "training", 1, 2) for name in ended}
    assert steps >= {(name, "starting", 0, 1) for name in ("two", "three")}


def test_a_process_that_is_killed_is_told_and_loses_no_finished_chapter():
    ended, _, _ = pooled.together(["gone", "one"], jobs=1)
    assert "--jobs 1" in ended["gone"] and ended["one"].startswith("one ran")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_runs_on_when_the_command_is_gone(how):
    command = subprocess.Popen(
        [sys.executable, pooled.__file__], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    worker = psutil.Process(int(command.stdout.readline()))
    # A terminal sends Ctrl-C to all processes of the command.
    (os.killpg if how == signal.SIGINT else os.kill)(command.pid, how)
    worker.wait(timeout=60)
    command.communicate(timeout=60)


@pytest.mark.parametrize(
    "memory, cores, graphics, rank, jobs",
    [(64, 4, False, "", 4), (8, 4, False, "", 3), (1, 4, False, "", 1), (64, 4, True, "", 1), (64, 4, False, "0", 1)],
)
def test_as_many_at_once_as_the_machine_allows(monkeypatch, memory, cores, graphics, rank, jobs):
    monkeypatch.setattr(side_by_side, "free_memory", lambda: memory * 2**30)
    monkeypatch.setattr(threads, "processors", lambda: cores)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: graphics)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.delenv("RANK", raising=False)
    if rank:
        monkeypatch.setenv("RANK", rank)
    assert side_by_side.fitting(10) == jobs
    assert side_by_side.fitting(2) == min(jobs, 2)


def test_a_container_has_less_memory_than_its_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64e9))
    monkeypatch.setattr(side_by_side, "CONTAINER", tmp_path)
    assert side_by_side.free_memory() == 64e9
    (tmp_path / "memory.current").write_text("1000000000\n")
    for limit, free in (("max", 64e9), ("4000000000", 3e9), ("90000000000", 64e9)):
        (tmp_path / "memory.max").write_text(limit + "\n")
        assert side_by_side.free_memory() == free


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["spiral", "--jobs", "2"], "--jobs goes with all and beyond, not with one chapter"),
        (["all", "--jobs", "2", "--pieces", "mine.py"], "with your own pieces run one after the other"),
    ],
)
def test_jobs_go_with_several_chapters_of_ours(arguments, message):
    told = CliRunner().invoke(app, ["run", *arguments])
    assert told.exit_code == 2 and message in " ".join(told.stderr.split())


@pytest.mark.slow
def test_two_chapters_side_by_side_are_the_runs_that_each_is_alone(monkeypatch, tmp_path):
    names = ("normal_1d", "normal_2d")
    monkeypatch.setattr(chapters, "NAMES", names)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = ["run", "all", "--budget", "smoke", "--jobs", "2", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert done.stdout.index("1 normal_1d") < done.stdout.index("2 normal_2d")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = run_chapter("normal_1d", budget="smoke").comparable()
    finally:
        torch.set_num_threads(before)
    found = [json.loads((tmp_path / name / "report.json").read_text()) for name in names]
    assert {key: value for key, value in found[0].items() if key in alone} == alone
    assert found[1]["chapter"] == "normal_2d"


def test_a_chapter_that_fails_is_told_in_words(monkeypatch, tmp_path):
    monkeypatch.setattr(chapters, "NAMES", ("normal_1d", "normal_2d"))
    refused = CliRunner().invoke(app, ["run", "all", "--budget", "gpu", "--jobs", "2", "--out", str(tmp_path)])
    assert refused.exit_code == 2 and refused.stderr.count("there is no budget 'gpu'") == 2
