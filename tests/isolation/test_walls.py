"""What code in the sandbox can reach: nothing. Each attack says what it got, and the next submission is untouched."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
import torch
from saying import said

from diffusion_lab.grading.isolation import sandbox
from diffusion_lab.grading.isolation.replies import Gone
from diffusion_lab.grading.isolation.sandbox import Limits, Sandbox, below_tmp

SECRET = "a secret of the machine"
WAYS = sorted({str(above) for path in below_tmp() for above in Path(path).parents if above.is_relative_to("/tmp")})
"""Where this environment lies below /tmp: the folders in a submission's own /tmp that lead to it, /tmp among them."""


@pytest.fixture
def session(sandbox):
    with sandbox.open() as opened:
        yield opened


def test_files_of_the_machine_are_not_there(session, tmp_path: Path, monkeypatch):
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    here = Path(__file__).resolve()
    for path in (secret, here, Path.home() / ".bashrc", Path("/etc/passwd"), Path("/etc/shadow")):
        assert SECRET not in said(session, f"raise ValueError(open({str(path)!r}).read())")
        assert said(session, f"open({str(path)!r}).read()").startswith(("FileNotFoundError", "PermissionError"))


def test_nbgraders_exchange_is_not_there(tmp_path: Path, monkeypatch):
    """By default it is below /usr, of which the sandbox sees most."""
    from nbgrader.exchange.default import Exchange

    exchange = Path(Exchange().root)
    assert any(exchange.is_relative_to(folder) for folder in sandbox.HIDDEN)
    shared = Path(sysconfig.get_paths()["purelib"]) / "a shared folder"  # such a place, and one that a test can write
    if shared.is_relative_to("/tmp"):
        pytest.skip("this environment lies below /tmp, of which a submission sees nothing: it has a /tmp of its own")
    (shared / "inbound").mkdir(parents=True, exist_ok=True)
    try:
        monkeypatch.setattr(sandbox, "HIDDEN", (shared, tmp_path / "not there"))
        with Sandbox() as fresh, fresh.open() as session:
            assert said(session, f"import os; raise ValueError(os.listdir({str(shared)!r}))") == "ValueError: []"
            assert said(session, f"open('{shared}/x', 'w')").startswith(("OSError", "PermissionError"))
    finally:
        shutil.rmtree(shared)


def test_the_environment_is_not_there(sandbox, monkeypatch):
    monkeypatch.setenv("SECRET", SECRET)
    with Sandbox() as fresh, fresh.open() as session:
        assert SECRET not in said(session, "import os; raise ValueError(dict(os.environ))")
        assert SECRET not in said(session, "raise ValueError(open('/proc/self/environ').read())")


@pytest.mark.parametrize(
    "attempt",
    [
        "import diffusion_lab.exercises.catalogue",
        "from diffusion_lab.exercises import library",
        "import diffusion_lab.chapters",
        "import diffusion_lab.levels",
        "import sys\nfor m in [m for m in sys.modules if m.startswith('diffusion_lab')]: del sys.modules[m]\n"
        "sys.path = [p for p in sys.path if p != '/course']\nimport diffusion_lab",
    ],
)
def test_the_reference_cannot_be_imported(session, attempt: str):
    assert said(session, attempt).startswith(("ImportError", "ModuleNotFoundError"))


def test_no_file_of_the_reference_is_anywhere(session):
    found = said(
        session,
        "import os\nfound = []\n"
        "for folder, _, files in os.walk('/'):\n"
        "    if folder.startswith(('/proc', '/sys')): continue\n"
        "    found += [f for f in files if f in ('ddpm_step.py', 'q_sample.py', 'expecting.py')]\n"
        "raise ValueError(found)",
        limit=30,
    )
    assert found == "ValueError: []"


@pytest.mark.parametrize(
    ("place", "command"), [("open('/tmp/x', 'w')", "F_SETLEASE, fcntl.F_WRLCK"), ("os.open('/', 0)", "F_NOTIFY, 1")]
)
def test_nobody_is_kept_from_a_file_or_watched(session, place: str, command: str):
    """A lease on a file of the environment would let no other submission import it, and its owner may have one."""
    assert said(session, f"import fcntl, os\nfcntl.fcntl({place}, fcntl.{command})").startswith("PermissionError")
    assert said(session, f"import fcntl, os\nassert fcntl.fcntl({place}, fcntl.F_GETFD) >= 0") == ""


def test_nothing_is_passed_on_by_which_a_process_goes_before_others(session):
    for name in ("RTPRIO", "NICE", "MEMLOCK", "MSGQUEUE"):
        limit = f"import resource; raise ValueError(resource.getrlimit(resource.RLIMIT_{name}))"
        assert said(session, limit) == "ValueError: (0, 0)", name


def test_there_is_no_network(session):
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    port = listening.getsockname()[1]
    for address in (f"'127.0.0.1', {port}", "'192.0.2.1', 80", "'::1', 80"):
        refused = said(session, f"import socket; socket.create_connection(({address}), 1)")
        assert refused.startswith(("OSError: [Errno 97]", "gaierror")), refused
    assert said(session, "import socket; socket.gethostbyname('example.org')").startswith("gaierror")
    # A second wall stands behind the first: there is no way out of the namespace.
    interfaces = "raise ValueError([line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line])"
    assert said(session, interfaces) == "ValueError: ['lo']"
    listening.settimeout(0.2)
    with pytest.raises(TimeoutError):
        listening.accept()


def test_the_system_is_read_only(session):
    writable = said(
        session,
        "import os\nfound = []\n"
        "for folder, _, _ in os.walk('/'):\n"
        "    if folder.startswith('/proc'): continue\n"
        "    try:\n        open(folder + '/x', 'w').close(); found.append(folder)\n"
        "    except OSError: pass\n"
        "raise ValueError(found)",
        limit=30,
    )
    assert writable == f"ValueError: {WAYS or ['/tmp']}"


def test_other_processes_are_out_of_reach(session):
    assert said(session, "import os; raise ValueError(os.getpid())") == "ValueError: 1"
    for target in (2, 3, os.getpid()):
        assert said(session, f"import os; os.kill({target}, 9)").startswith("ProcessLookupError")
    assert said(session, "import os; os.kill(-1, 9)") in ("", "ProcessLookupError: [Errno 3] No such process")
    assert said(session, "raise ValueError(open('/proc/2/environ').read())").startswith("PermissionError")
    assert said(session, "raise ValueError(open('/proc/2/mem', 'rb').read(1))").startswith("PermissionError")


def test_privileges_are_gone_for_good(session):
    rights = "raise ValueError([line.split()[1] for line in open('/proc/self/status') if line.startswith('Cap')])"
    assert set(said(session, rights).removeprefix("ValueError: ").strip("[]").split(", ")) == {repr("0" * 16)}
    umount = (
        "import ctypes\nlibrary = ctypes.CDLL(None, use_errno=True)\n"
        "library.umount2(b'/tmp', 2)\nraise ValueError(ctypes.get_errno())"
    )
    assert said(session, umount) == "ValueError: 1"


def test_what_one_submission_leaves_the_next_one_does_not_find(sandbox):
    leave = (
        "import os, torch, builtins, sys, time\n"
        "open('/tmp/left', 'w').write('x'); os.makedirs('/tmp/torch')\n"
        "torch.allclose = lambda *a, **k: True; builtins.sum = lambda x: 7\n"
        "if os.fork() == 0:\n    time.sleep(60)\n"
    )
    ways = sorted({Path(path).relative_to("/tmp").parts[0] for path in below_tmp()})
    with sandbox.open() as first:
        assert said(first, leave) == ""
    with sandbox.open() as second:
        assert said(second, "import os; raise ValueError(os.listdir('/tmp'))") == f"ValueError: {ways}"
        assert said(second, "raise ValueError(sum([1]))") == "ValueError: 1"
        assert said(second, "raise ValueError(torch.allclose(torch.ones(1), torch.zeros(1)))") == "ValueError: False"


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("import os; os._exit(0)", "ended"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL); os.abort()", "ended"),
        ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", "in time"),
        ("import time\ntime.sleep(100)", "in time"),
        ("x = [b'x' * 10**8 for _ in range(100)]", ("memory", "in time")),
        ("import os, time\nfor _ in range(999): os.fork() or time.sleep(30)\ntime.sleep(5)", ("processes", "in time")),
        ("import mmap\nx = mmap.mmap(-1, 6 << 30)\nfor i in range(0, 6 << 30, 4096): x[i] = 1", ("memory", "in time")),
        ("import threading, time\nfor _ in range(900): threading.Thread(target=time.sleep, args=(30,)).start()\n"
         "time.sleep(5)", ("threads", "in time")),
        ("import ctypes; ctypes.string_at(0)", "ended"),
        ("import sys; sys.setrecursionlimit(10**9)\ndef f(): return f()\nf()", ("memory", "ended", "in time")),
    ],
    ids=["exit", "kill", "loop", "sleep", "memory", "forks", "shared memory", "threads", "crash", "recursion"],
)  # fmt: skip
def test_what_does_not_come_back_is_ended_and_the_sandbox_lives_on(sandbox, attack: str, words, monkeypatch):
    monkeypatch.setattr("diffusion_lab.grading.isolation.session.PATIENCE", 0.5)
    began = time.monotonic()
    session = sandbox.open()
    try:
        fault = session.run_cell("attack", attack, limit=1.0)
        assert fault is not None
        assert fault.name in ("MemoryError", "RecursionError") or "Cannot allocate memory" in fault.message, fault
    except Gone as gone:
        assert any(word in gone.why for word in ((words,) if isinstance(words, str) else words))
    finally:
        session.close()
    assert time.monotonic() - began < 15
    with sandbox.open() as after:
        assert said(after, "raise ValueError(1 + 1)") == "ValueError: 2"


def test_disk_is_bounded(session):
    fill = (
        "for i in range(10):\n    with open(f'/tmp/{i}', 'wb') as f:\n        for _ in range(30): f.write(b'0' * 10**6)"
    )
    assert said(session, fill).startswith("OSError")


def test_a_flood_of_output_is_cut(session):
    assert said(session, "def piece(x):\n    print('x' * 10**7)\n    return x") == ""
    with session.piece("piece") as call:
        returned = call((1.0,))
    assert returned.value == 1.0 and len(returned.printed) <= 10_000


def test_forged_replies_are_refused(sandbox):
    forge = (
        "import os, struct\n"
        "def piece(x):\n"
        "    for fd in range(3, 20):\n"
        "        try: os.write(fd, {forged!r})\n"
        "        except OSError: pass\n"
        "    return x"
    )
    import json
    import struct

    def frame(header: bytes, sizes: tuple[int, ...] = ()) -> bytes:
        return struct.pack("<II", len(header), len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes) + header

    messages = [
        b"\xff" * 64,
        frame(b"[]"),
        frame(b"{" * 5000),
        frame(json.dumps({"value": {"probe": ["os", "system", {"tuple": ["true"]}]}}).encode()),
        frame(json.dumps({"value": {"tensor": ["float32", [2**39], None, 0]}}).encode(), (0,)),
        frame(json.dumps({"value": {"tensor": ["float32", [2, 2], [2**23, 1], 0]}}).encode(), (16,)) + b"0" * 16,
        frame(b"{}", (2**40,)),
    ]
    for message in messages:
        with sandbox.open() as session:
            assert said(session, forge.replace("{forged!r}", repr(message))) == ""
            with session.piece("piece") as call:
                returned = call((1.0,))
            assert returned.fault is not None or returned.value is None or isinstance(returned.value, torch.Tensor)


@pytest.mark.slow
def test_nothing_is_left_when_the_sandbox_closes(tmp_path: Path):
    program = (
        "import os, sys\n"
        "from diffusion_lab.grading.isolation.sandbox import Sandbox\n"
        "with Sandbox() as sandbox:\n"
        "    for _ in range(20):\n"
        "        with sandbox.open() as session:\n"
        "            session.run_cell('a', 'import os, time\\nif os.fork() == 0: time.sleep(60)')\n"
        "    before = len(os.listdir('/proc/self/fd'))\n"
        "    for _ in range(20):\n"
        "        with sandbox.open() as session:\n"
        "            session.run_cell('a', 'x = 1')\n"
        "    assert len(os.listdir('/proc/self/fd')) == before\n"
        "children = open(f'/proc/self/task/{os.getpid()}/children').read().split()\n"
        "print('children', children)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "children []"
    assert list(tmp_path.iterdir()) == []
    assert SECRET not in done.stdout


def test_limits_are_the_callers(sandbox, monkeypatch: pytest.MonkeyPatch):
    """Those that it has when a submission comes."""
    monkeypatch.setattr(sandbox, "limits", Limits(memory=100 << 20))
    with sandbox.open() as session, pytest.raises(Gone, match="memory"):
        session.run_cell("large", "x = b'x' * (300 << 20)\nimport time\ntime.sleep(3)")
