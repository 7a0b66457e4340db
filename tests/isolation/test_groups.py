"""Where the system lends the grader a control group, each submission has one below it; elsewhere there is none."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from kernel import FILES, Kernel, processes
from saying import said

from diffusion_lab.grading.isolation import groups, guarding
from diffusion_lab.grading.isolation.replies import Gone
from diffusion_lab.grading.isolation.session import SandboxError

LIMITS = {"memory": 5000, "tmp": 300, "threads": 40, "processes": 3}


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path / "cgroup", monkeypatch)


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_group_of_ones_own_is_divided(kernel: Kernel, sleeper):
    group, own = kernel.own("user/run-7.scope", os.getpid(), sleeper.pid)
    assert groups.lent(kernel.root, own) == group
    assert processes(group) == [] and processes(group / groups.GRADER) == [os.getpid(), sleeper.pid]
    assert set((group / "cgroup.subtree_control").read_text().split()) == {"memory", "pids"}
    assert [path.name for path in group.iterdir() if path.is_dir()] == [groups.GRADER], "no trial is left"
    # One of the grader's workers starts where the first has put it.
    own.write_text(f"0::/user/run-7.scope/{groups.GRADER}\n")
    assert groups.lent(kernel.root, own) == group and processes(group / groups.GRADER) == [os.getpid(), sleeper.pid]


def without(name: str) -> dict[str, str]:
    return {key: text for key, text in FILES.items() if key != name}


NOT_LENT = {
    "somebody else is in it": (FILES, "0::/scope\n", ""),
    "old groups alone": (FILES, "4:memory:/scope\n", ""),
    "outside of what can be seen": (FILES, "0::/../scope\n", ""),
    "gone": (FILES, "0::/another\n", ""),
    "no control of processes": (FILES | {"cgroup.controllers": "cpu memory\n"}, "0::/scope\n", ""),
    "not to be divided": (FILES, "0::/scope\n", "cgroup.subtree_control"),
    "nothing may move": (FILES, "0::/scope\n", "cgroup.procs"),
    "no limits": (FILES, "0::/scope\n", "pids.max"),
    **{f"without {name}": (without(name), "0::/scope\n", "") for name in ("memory.events", "pids.events")},
}


@pytest.mark.parametrize("kind", list(NOT_LENT))
def test_what_is_not_wholly_ones_own_is_let_alone(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files, line, refused = NOT_LENT[kind]
    kernel = Kernel(tmp_path / "cgroup", monkeypatch, files)
    group, own = kernel.own("scope", os.getpid(), *([1] if kind == "somebody else is in it" else []))
    own.write_text(line)
    if refused:
        kernel.refused[refused] = PermissionError(13, "Permission denied")
    assert groups.lent(kernel.root, own) is None
    assert not list(group.glob("submission-*"))
    if kind == "somebody else is in it":
        assert processes(group) == [os.getpid(), 1] and not (group / groups.GRADER).exists()


def test_a_submissions_group_has_its_limits_and_ends(kernel: Kernel, sleeper):
    folder, _ = kernel.own("scope")
    group = groups.made(folder, LIMITS)
    read = {name: (group / name).read_text().strip() for name in FILES}
    assert (int(read["memory.max"]), int(read["pids.max"])) == (5300, 40)
    assert read["memory.oom.group"] == "1" and read["memory.swap.max"].startswith("0")
    (group / "cgroup.procs").write_text(f"{sleeper.pid}\n")
    assert groups.remove(group) and not group.exists()
    assert groups.remove(group), "one that somebody else has removed"


def test_one_that_cannot_have_all_limits_is_not_kept(kernel: Kernel):
    folder, _ = kernel.own("scope")
    kernel.files = without("memory.swap.max")
    assert groups.made(folder, LIMITS).exists(), "a kernel that moves no memory to disk"
    kernel.files = without("pids.max")
    with pytest.raises(FileNotFoundError):
        groups.made(folder, LIMITS)
    assert len(list(folder.glob("submission-*"))) == 1


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("memory.events", "oom 1\noom_kill 0\n", "memory"),
        ("memory.events", "oom 0\noom_kill 2\n", "memory"),
        ("memory.events", "max 900\noom 0\noom_kill 0\n", ""),  # files that were read again, and no harm done
        ("pids.events", "max 1\n", "processes"),
        ("cgroup.procs", "1\n2\n3\n", ""),
        ("cgroup.procs", "1\n2\n3\n4\n", "processes"),
        ("memory.events", "", None),
        ("memory.events", "oom many\noom_kill 0\n", None),
        ("pids.events", "no words at all\n", None),
        ("pids.events", None, None),
        ("cgroup.procs", None, None),
    ],
)
def test_the_kernels_counts_are_read_and_what_cannot_be_read_is_no_zero(kernel: Kernel, name, text, found):
    folder, _ = kernel.own("scope")
    group = groups.made(folder, LIMITS)
    with groups.handles(group) as (descriptor, _):
        if text is None:
            (group / name).unlink()
        else:
            (group / name).write_text(text)
        if found is None:
            with pytest.raises(groups.Unreadable, match="its control group cannot be read"):
                groups.too_much(descriptor, LIMITS)
        else:
            assert groups.too_much(descriptor, LIMITS) == found


@pytest.mark.parametrize("kind", ["unreadable", "ended by the kernel"])
def test_the_guard_ends_what_it_cannot_count(kernel: Kernel, sleeper, kind: str):
    group = groups.made(kernel.own("scope")[0], LIMITS)
    ours, theirs = socket.socketpair()
    with groups.handles(group) as (descriptor, _):
        if kind == "unreadable":
            (group / "memory.events").unlink()
        else:
            (group / "memory.events").write_text("oom 1\noom_kill 1\n")
            sleeper.kill()
        guarding.watch(sleeper.pid, theirs, LIMITS, descriptor)
    theirs.close()
    words = ours.recv(500).decode()
    assert words.startswith("failed: its control group" if kind == "unreadable" else "memory")
    with pytest.raises(ProcessLookupError):
        os.kill(sleeper.pid, 0)


def test_submissions_enter_their_groups_and_end_with_them(kernel: Kernel, sandbox, monkeypatch: pytest.MonkeyPatch):
    folder, _ = kernel.own("scope")
    monkeypatch.setattr(sandbox, "_groups", folder)
    look, sleep = "import os\nraise ValueError(len(os.listdir('/proc/self/fd')))", "import time\ntime.sleep(9)"

    def only() -> Path:
        (group,) = folder.glob("submission-*")
        return group

    with sandbox.open() as session:
        open_files = said(session, look)
        assert (only() / "cgroup.procs").read_text() == "0", "it has entered by its own hand, before all else"
        (only() / "memory.events").write_text("oom 1\noom_kill 0\n")
        with pytest.raises(Gone, match="memory"):
            session.run_cell("x", sleep, 20)
    with sandbox.open() as session:
        (only() / "pids.events").unlink()
        with pytest.raises(SandboxError, match="control group cannot be read"):
            session.run_cell("x", sleep, 20)
    assert not list(folder.glob("submission-*"))
    monkeypatch.setattr(sandbox, "_groups", None)
    with sandbox.open() as session:
        assert said(session, look) == open_files, "no descriptor of a group stays open in a submission"
