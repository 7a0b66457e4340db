"""The walls of a container, where docker or podman runs and has the image; and what is said where not."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import torch
from handed_in import CHAPTER, NOTHING, filled, right
from saying import said

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.marking import mark
from diffusion_lab.grading.classroom.submission import parsed
from diffusion_lab.grading.isolation import kinds, wire
from diffusion_lab.grading.isolation.kinds import IMAGE, Containers
from diffusion_lab.grading.isolation.replies import Gone
from diffusion_lab.grading.isolation.sandbox import Limits
from diffusion_lab.grading.isolation.session import SandboxError

EXERCISES = notebook(CHAPTER).exercises
POINTS = notebook(CHAPTER).points


@pytest.fixture(scope="module")
def containers():
    try:
        with Containers() as started:
            yield started
    except SandboxError as error:
        pytest.skip(f"no container can be had on this machine: {error}")


@pytest.fixture(scope="module")
def session(containers: Containers):
    """One container for all attacks that leave it alive."""
    with containers.open() as opened:
        yield opened


def running(containers: Containers) -> set[str]:
    asked = [containers.engine, "ps", "--all", "--filter", "name=diffusion-lab-", "--format", "{{.Names}}"]
    return set(subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.split())


@pytest.mark.slow
def test_honest_and_wrong_submissions_get_their_marks(containers: Containers):
    wrong = {EXERCISES[1].name: NOTHING.format(name=EXERCISES[1].name)}
    ends = {EXERCISES[2].name: f"def {EXERCISES[2].name}(*arguments):\n    import os; os._exit(0)"}
    for sources, lost in (({}, 0), (wrong, EXERCISES[1].points), (ends, EXERCISES[2].points)):
        intake = parsed(json.dumps(filled(right() | sources)).encode(), notebook(CHAPTER))
        assert mark(containers, notebook(CHAPTER), intake, seed=7).points == POINTS - lost


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "answers"),
    [
        ("import socket; socket.create_connection(('192.0.2.1', 80), 1)", "OSError: [Errno 97]"),
        ("import os; raise ValueError(os.listdir('/sys/class/net'))", "ValueError: ['lo']"),
        ("raise ValueError([line for line in open('/proc/self/status') if 'CapEff' in line])", "0000000000000000"),
        ("import os; raise ValueError(os.getuid(), os.listdir('/home'))", "ValueError: (1000, [])"),
        ("import os; os.setuid(0)", "PermissionError"),
        ("import os; os.memfd_create('x')", "PermissionError"),
        ("import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)", "[Errno 97]"),
        ("import ctypes; raise ValueError(ctypes.CDLL(None).unshare(0x10000000))", "ValueError: -1"),
        ("import diffusion_lab.exercises.catalogue", "ModuleNotFoundError"),
        ("open('/course/x', 'w')", "OSError: [Errno 30]"),
        ("open('/tmp/x', 'wb').write(b'0' * (65 << 20))", "OSError"),
        ("x = bytearray(20 << 30)", "MemoryError"),
        ("open('/proc/1/mem', 'rb').read(1)", "Error"),
    ],
    ids=["network", "interfaces", "rights", "home", "root", "file in memory", "host", "namespace", "reference",
         "course", "disk", "memory", "first process"],
)  # fmt: skip
def test_out_of_reach(session, attack: str, answers: str):
    assert answers in said(session, attack)


@pytest.mark.slow
def test_files_and_variables_of_the_machine_are_not_there(containers: Containers, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SECRET", "secret-5b1f")
    (tmp_path / "secret").write_text("secret-5b1f")
    with containers.open() as session:
        for path in (tmp_path / "secret", Path(__file__).resolve()):
            assert said(session, f"open({str(path)!r})").startswith(("FileNotFoundError", "PermissionError"))
        assert "secret-5b1f" not in said(session, "import os; raise ValueError(dict(os.environ))")


@pytest.mark.slow
def test_the_system_is_read_only(session):
    writable = said(
        session,
        "import os\nfound = []\nfor folder, _, _ in os.walk('/'):\n"
        "    if not folder.startswith(('/proc', '/sys')):\n"
        "        try:\n            open(folder + '/x', 'w').close(); found.append(folder)\n"
        "        except OSError: pass\n"
        "raise ValueError(found)",
        limit=60,
    )
    # The queues are those of the container's own IPC namespace.
    assert writable.replace(", '/dev/mqueue'", "") == "ValueError: ['/tmp']"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "limits"),
    [
        ("x = []\nwhile True: x.append(b'x' * 10**7)", Limits(memory=1 << 20)),
        ("import os, time\nfor _ in range(999):\n    if os.fork() == 0: time.sleep(60)", Limits(processes=8)),
        ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", Limits()),
        ("import os\nos.kill(1, 15); os.kill(1, 9); os.kill(os.getpid(), 9)", Limits()),
    ],
    ids=["memory", "forks", "loop", "kill"],
)  # fmt: skip
def test_what_does_not_come_back_is_ended_and_nothing_is_left(
    containers: Containers, attack: str, limits: Limits, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("diffusion_lab.grading.isolation.session.PATIENCE", 0.5)
    monkeypatch.setattr(containers, "limits", limits)
    before = running(containers)
    opened = containers.open()
    began = time.monotonic()
    try:
        fault = opened.run_cell("attack", attack, limit=8.0)
        assert fault is not None and fault.name in ("MemoryError", "BlockingIOError")
    except Gone:
        pass
    finally:
        opened.close()
    assert time.monotonic() - began < 30
    assert running(containers) == before


@pytest.mark.slow
def test_where_the_grader_is_killed_the_container_ends_by_itself(containers: Containers, monkeypatch):
    monkeypatch.setattr(kinds, "LONGEST_LIFE", 10)
    before = running(containers)
    left = containers.open()
    source = torch.tensor(list(b"import time\nwhile True: time.sleep(1)"), dtype=torch.uint8)
    wire.send(left._talk, {"op": "cell", "name": "attack", "source": source})
    time.sleep(1)
    left._process.kill()  # the engine's own program, which dies with the grader
    left._talk.close()
    assert len(running(containers) - before) == 1
    ends = time.monotonic() + 60
    while running(containers) - before:
        assert time.monotonic() < ends
        time.sleep(0.5)


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Programs in the place of the engines: name -> what it does."""

    def made(**programs: str) -> None:
        for name, does in programs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return made


def test_without_an_engine_it_says_so(engines):
    engines()
    with pytest.raises(SandboxError, match="neither is on this machine"):
        Containers().start()


def test_the_engine_that_has_the_image_is_taken(engines):
    engines(docker="echo Cannot connect to the Docker daemon >&2; exit 1", podman="exit 0")
    with Containers() as started:
        assert started.engine == "podman"


def test_where_no_engine_has_the_image_each_says_why(engines):
    engines(docker="echo Cannot connect to the Docker daemon >&2; exit 1", podman="echo no such image >&2; exit 125")
    with pytest.raises(SandboxError) as told:
        Containers().start()
    for words in (f"docker has no image '{IMAGE}' (Cannot connect", "podman has no image", "no such image", "build -t"):
        assert words in str(told.value)


def test_an_image_with_another_pytorch_is_refused(engines):
    header = json.dumps({"ready": "1.0.0"})
    frame = b"".join([len(header).to_bytes(4, "little"), bytes(4), header.encode()])
    spelled = "".join(f"\\{byte:03o}" for byte in frame)
    engines(podman=f"[ $1 = image ] && exit 0; [ $1 = run ] && printf '{spelled}'; exit 0")
    with Containers() as started, pytest.raises(SandboxError, match=r"it has PyTorch 1\.0\.0, and the grader has"):
        started.open()


def test_a_container_that_does_not_start_is_no_students_fault(engines):
    engines(podman="[ $1 = image ] && exit 0; echo 'no space left on device' >&2; exit 125")
    with Containers() as started, pytest.raises(SandboxError, match="no space left on device"):
        started.open()


def test_what_the_container_says_is_not_kept_on_the_machines_disk(engines):
    engines(docker="exit 0")
    with Containers() as started:
        command = started.command("name", Path("/course"))
    assert command[command.index("--log-driver") + 1] == "none"
    assert not any(part.startswith("PATH=") for part in command), "the image's own Python would not be found"
    assert os.environ.get("HOME", "/nowhere") not in command
