"""Where no process for submissions can start, its own words are told, and what to do about them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from diffusion_lab.grading.isolation import kinds
from diffusion_lab.grading.isolation.kinds import Subprocesses
from diffusion_lab.grading.isolation.sandbox import Sandbox
from diffusion_lab.grading.isolation.session import SandboxError


def bwrap(folder: Path, does: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "bwrap"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("words", "advised"),
    [
        ("bwrap: setting up uid map: Permission denied", True),
        ("bwrap: No permissions to create new namespace", True),
        ("bwrap: Unknown option --unshare-all", False),
        ("ModuleNotFoundError: No module named 'torch'", False),
    ],
)
def test_its_own_words_are_told(words: str, advised: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bwrap(tmp_path, f'echo "{words}" >&2; exit 1', monkeypatch)
    sandbox = Sandbox()
    with pytest.raises(SandboxError) as told:
        sandbox.start()
    assert f"the sandbox did not start: {words}" in str(told.value)
    assert ("--isolation container" in str(told.value)) == advised and told.value.__context__ is None
    sandbox.close()


def test_what_says_nothing_is_told_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bwrap(tmp_path, "exit 3", monkeypatch)
    with pytest.raises(SandboxError, match="the sandbox did not start: no message"):
        Sandbox().start()


def test_words_that_a_child_holds_open_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("diffusion_lab.grading.isolation.starting.PATIENCE", 0.5)
    bwrap(tmp_path, f"echo bwrap: no >&2; sleep 60 & echo $! > {tmp_path}/child; exit 1", monkeypatch)
    with pytest.raises(SandboxError, match="bwrap: no"):
        Sandbox().start()
    os.kill(int((tmp_path / "child").read_text()), signal.SIGTERM)  # it is still there


def test_a_process_without_walls_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho no room for a python >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(kinds.sys, "executable", str(program))
    with Subprocesses() as started, pytest.raises(SandboxError, match="no room for a python"):
        started.open()
