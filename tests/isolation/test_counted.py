"""Nothing that a submission holds escapes its guard, and honest code that looks unusual is let alone."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from saying import said

from diffusion_lab.grading.isolation import guarding
from diffusion_lab.grading.isolation import sandbox as sandboxes
from diffusion_lab.grading.isolation.guarding import Process, Usage
from diffusion_lab.grading.isolation.replies import Gone
from diffusion_lab.grading.isolation.sandbox import Limits, Sandbox

LIMITS = {"memory": 1000, "processes": 20, "threads": 50}
HOARDS = {
    "a name that is no text": (
        "import ctypes, time\nctypes.CDLL(None).prctl(15, b'\\xff\\xfe\\xff', 0, 0, 0)\n"
        "x = [torch.ones(10**7) for _ in range(80)]\ntime.sleep(9)"
    ),
    "a first thread that has ended": (
        "import ctypes, threading\nx = []\ndef go():\n    while True: x.append(torch.ones(10**6))\n"
        "threading.Thread(target=go).start()\n"
        "ctypes.CDLL(None).syscall({'x86_64': 60}.get(__import__('os').uname().machine, 93), 0)"
    ),
    "many small programs": (
        "import subprocess, sys, time\n"
        "program = 'import time; x = bytes(100 << 20); y = bytearray(x); time.sleep(30)'\n"
        "kept = [subprocess.Popen([sys.executable, '-c', program]) for _ in range(40)]\ntime.sleep(20)"
    ),
    "buffers of sockets": (
        "import os, socket, time\nfor _ in range(60):\n    if os.fork() == 0:\n        kept = []\n        try:\n"
        "            while True: kept += socket.socketpair()\n        except OSError: time.sleep(30)\ntime.sleep(20)"
    ),
    "forks that write": (
        "import os, time\nx = bytearray(200 << 20)\nfor _ in range(15):\n    if os.fork() == 0:\n"
        "        y = bytearray(b'1') * (200 << 20); time.sleep(30)\ntime.sleep(20)"
    ),
}


@pytest.fixture
def session(sandbox: Sandbox):
    with sandbox.open() as opened:
        yield opened


@pytest.mark.parametrize("kind", list(HOARDS))
def test_what_is_hoarded_is_counted(session, kind: str):
    with pytest.raises(Gone, match="too m"):
        session.run_cell("hoard", HOARDS[kind], limit=30.0)


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        ("import mmap; mmap.mmap(-1, 1 << 20)", "Cannot allocate memory"),
        ("open('/dev/zero', 'r+b')", "FileNotFoundError"),
        ("for i in range(10**5): open(f'/tmp/{i}', 'w').close()", "No space left"),
        ("import ctypes; raise ValueError(ctypes.CDLL(None).prctl(4, 1, 0, 0, 0))", "ValueError: -1"),
        ("import ctypes; raise ValueError(ctypes.CDLL(None).vmsplice(1, None, 0, 0))", "ValueError: -1"),
    ],
    ids=["shared memory", "/dev/zero", "files", "hiding", "pages in pipes"],
)
def test_what_cannot_be_counted_cannot_be_had(session, attempt: str, words: str):
    assert words in said(session, attempt)


def test_forks_and_memory_of_an_honest_size_are_left_alone(session):
    honest = (
        "import os\nx = torch.ones(2 * 10**6)\nchildren = []\nfor i in range(12):\n    child = os.fork()\n"
        "    if child == 0:\n        import time; time.sleep(0.5); os._exit(i)\n    children.append(child)\n"
        "raise ValueError([os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children])"
    )
    assert said(session, honest, 20) == f"ValueError: {list(range(12))}"


def test_programs_started_anew_share_nothing_and_forks_do():
    """Sizes as a guard may see them; what a fork has inherited is counted from the ninth on."""

    def found(*processes: Process, sockets: int = 0) -> str:
        return Usage(processes, sockets, inherited=300).too_much(LIMITS)

    fork, program = Process(300, 1, forked=True), Process(300, 1)
    assert found(*[fork] * 8) == found(*[program] * 3) == ""
    assert found(*[program] * 4) == "memory" and found(*[fork] * 12) == "processes"
    assert found(Process(1301, 1, forked=True)) == "memory" and found(Process(1300, 1, forked=True)) == ""
    assert found(*[Process(0, 1)] * 21) == found(Process(0, 51)) == "processes"
    assert found(sockets=1) == "memory"


def test_a_process_is_looked_at_through_what_the_kernel_says():
    seen = guarding.looked_at("self")
    status = Path("/proc/self/status").read_text()
    assert seen.threads == int(status.split("Threads:")[1].split()[0])
    anonymous = 1024 * int(status.split("RssAnon:")[1].split()[0])
    assert 0.5 * anonymous < seen.memory < 2 * anonymous + (64 << 20) and not seen.forked


def test_what_is_there_and_cannot_be_read_is_too_much(monkeypatch: pytest.MonkeyPatch):
    def denied(process: str):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(guarding, "looked_at", denied)
    with pytest.raises(guarding.Unreadable):
        guarding.usage(set(), 0)
    monkeypatch.setattr(guarding, "looked_at", lambda process: open(f"/nowhere/{process}"))
    assert guarding.usage(set(), 0).processes == (), "one that has ended since"


def test_devices_keep_nothing_for_the_next_submission(sandbox: Sandbox):
    before = {name: os.stat(f"/dev/{name}") for name in sandboxes.DEVICES}
    with sandbox.open() as session:
        for name in sandboxes.DEVICES:
            assert "Error" in said(session, f"import os; os.chmod('/dev/{name}', 0o600)")
            assert "Error" in said(session, f"import os; os.utime('/dev/{name}')")
        assert said(session, "open('/dev/null', 'w').write('x'); open('/dev/urandom', 'rb').read(8)") == ""
    for name, was in before.items():
        now = os.stat(f"/dev/{name}")
        assert (stat.S_IMODE(now.st_mode), now.st_mtime) == (stat.S_IMODE(was.st_mode), was.st_mtime)


def test_worker_and_guard_are_no_more_likely_to_be_ended_than_before(session):
    for process in (1, 2, 3, "self"):
        refused = said(session, f"open('/proc/{process}/oom_score_adj', 'w').write('1000')")
        assert refused.startswith(("PermissionError", "FileNotFoundError")), refused
    assert said(session, "raise ValueError(open('/proc/self/oom_score_adj').read())") == "ValueError: 1000"


@pytest.mark.skipif(not sandboxes.is_root(), reason="for the machine's own root alone")
def test_root_has_given_its_rights_up(session):
    mapped = said(session, "raise ValueError(open('/proc/self/uid_map').read().split())")
    assert mapped.startswith("ValueError: ['1000', ") and "'0'" not in mapped, "no number is root's"


HONEST = {
    "gradients of functions": "torch.func.grad(lambda x: (x ** 2).sum())(torch.ones(2))",
    "jacobians": "torch.func.jacrev(lambda x: x ** 2)(torch.ones(2))",
    "an optimiser": "torch.optim.Adam([torch.ones(2, requires_grad=True)])",
    "torch.compile": "assert torch.compile(lambda x: x + 1)(torch.ones(2)).tolist() == [2, 2]",
    "torchvision": "import torchvision",
    "a name": "import getpass; assert getpass.getuser()",
    "plug-ins": "import importlib.metadata; importlib.metadata.entry_points()",
}


@pytest.mark.parametrize("kind", list(HONEST))
def test_honest_code_runs_and_nobody_is_accused(session, kind: str):
    assert said(session, HONEST[kind], 60) == ""
    session.names([])
    assert session.tried == set()


def test_an_environment_below_tmp_is_seen_and_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if not tmp_path.is_relative_to("/tmp"):
        pytest.skip("temporary files of this machine are elsewhere")
    place = tmp_path / "environment"
    place.mkdir()
    (place / "late.py").write_text("VALUE = 7")
    for above in (place, *place.parents):
        if above != Path("/tmp") and above.is_relative_to("/tmp"):
            above.chmod(0o755)
    there = sandboxes.environment()
    monkeypatch.setattr(sandboxes, "environment", lambda: [*there, str(place)])
    with Sandbox() as fresh, fresh.open() as session:
        assert said(
            session, f"import sys; sys.path.append({str(place)!r}); import late; raise ValueError(late.VALUE)"
        ) == ("ValueError: 7")
        assert "Error" in said(session, f"open({str(place / 'new')!r}, 'w')")
        assert said(session, "import tempfile; tempfile.NamedTemporaryFile().write(b'x')") == ""
    assert sorted(path.name for path in place.iterdir()) == ["late.py"]


def test_time_in_which_others_ran_does_not_count(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch):
    """Its guard says how long it was ready and not let, and it is not more than has passed."""
    began = time.monotonic()
    with sandbox.open() as session:
        assert said(session, "x = sum(range(10**6))") == ""
        assert 0.0 <= session.waited() <= time.monotonic() - began
        assert said(session, "raise ValueError(7)") == "ValueError: 7"
    monkeypatch.setattr(sandbox, "limits", Limits(memory=50 << 20))
    with sandbox.open() as session:
        session.waited()
        with pytest.raises(Gone, match="memory"):
            session.run_cell("large", "x = b'x' * (300 << 20)\nimport time\ntime.sleep(9)", 20)
