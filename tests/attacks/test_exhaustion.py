"""Submissions that cost time or memory end within the limits, with a message, and the next one is graded right."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from handed_in import CHAPTER, filled, right

import diffusion_lab
from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom import marking, submission, workers
from diffusion_lab.grading.isolation import session

pytestmark = pytest.mark.usefixtures("warm")
EXERCISES = notebook(CHAPTER).exercises
POINTS = notebook(CHAPTER).points
SLACK = 10.0
"""Seconds more than the limits say, on a machine that is busy."""


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(marking, "CELL_LIMIT", 1.0)
    monkeypatch.setattr(marking, "PIECE_LIMIT", 2.0)
    monkeypatch.setattr(marking, "SUBMISSION_LIMIT", 8.0)
    monkeypatch.setattr(session, "PATIENCE", 0.5)


def graded(sources: dict[str, str]) -> tuple[dict[str, Any], float]:
    """The result of a submission that is right but for these cells, and the seconds that it took."""
    order = {"student": "s", "chapter": CHAPTER, "digest": "", "seed": 5, "seed_id": "", "isolation": "bubblewrap"}
    order["version"] = diffusion_lab.__version__
    data = json.dumps(filled(right() | sources)).encode()
    workers.ready(diffusion_lab.__version__, "bubblewrap")
    began = time.monotonic()
    return workers.graded(order | {"data": data}), time.monotonic() - began


def of(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in result["exercises"] if item["name"] == name)


def body(name: str, *lines: str) -> dict[str, str]:
    return {name: "\n    ".join([f"def {name}(*arguments):", *lines])}


ONE = EXERCISES[1]
BODIES = {
    "a loop that swallows": ("while True:", "    try:", "        while True: pass", "    except BaseException: pass"),
    "sleep in each call": ("import time; time.sleep(0.7)", "return torch.zeros(())"),
    "memory": ("x = []", "while True: x.append(torch.ones(10**7))"),
    "an endless generator": ("yield from iter(int, 1)",),
    "recursion": (f"return {ONE.name}(*arguments)",),
    "a drop at a time": (
        "import os, time",
        "for descriptor in range(3, 40):",
        "    try: os.write(descriptor, b'\\0')",
        "    except OSError: continue",
        "    for _ in range(600):",
        "        time.sleep(0.1)",
        "        try: os.write(descriptor, b'\\0')",
        "        except OSError: break",
    ),
    "a value of many megabytes": ("return [torch.zeros(2**24), 'x' * 10**9]",),
    "much to read": ("print('x' * 10**8)", "raise ValueError('x' * 10**8)"),
    "lists of lists": ("x = []", "for _ in range(10**5): x = [x, x]", "return x"),
    "a list in itself": ("x = []", "x.append(x)", "return x"),
    "threads": (
        "import threading, time",
        "for _ in range(2000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    ),
    "memory that processes share": (
        "import mmap",
        "x = mmap.mmap(-1, 6 << 30)",
        "for i in range(0, 6 << 30, 4096): x[i] = 1",
    ),
    "a file system of its own": (
        "import ctypes",
        "library = ctypes.CDLL(None)",
        "library.unshare(0x10020000)",
        "library.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, b'size=10g')",
        "for i in range(200): open(f'/tmp/{i}', 'wb').write(b'0' * 10**7)",
    ),
    "disk": ("f = open('/tmp/x', 'wb')", "while True: f.write(b'0' * 10**6)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(BODIES))
def test_one_piece_costs_its_own_points_alone(kind: str, monkeypatch: pytest.MonkeyPatch):
    # The other pieces need their time too, on a busy machine.
    monkeypatch.setattr(marking, "SUBMISSION_LIMIT", 16.0)
    result, seconds = graded(body(ONE.name, *BODIES[kind]))
    assert result["points"] == POINTS - ONE.points
    assert of(result, ONE.name)["points"] == 0 and of(result, ONE.name)["text"].startswith("✗")
    assert seconds < marking.SUBMISSION_LIMIT + SLACK


def _waiting(name: str) -> dict[str, str]:
    """A solution that needs a value which takes long."""
    leaning = right()[name].replace("    return ", f"    wait_{name}\n    return ", 1)
    return {name: f"import time\nwait_{name} = time.sleep(100)\n{leaning}"}


@pytest.mark.slow
def test_cells_that_are_slow_one_by_one_end():
    trial = {ONE.name: "import time\ntime.sleep(100)\n" + right()[ONE.name]}
    assert graded(trial)[0]["points"] == POINTS, "what no function needs is not run"
    result, _ = graded(_waiting(ONE.name))
    assert result["points"] == POINTS - ONE.points
    assert any("did not answer in time" in note for note in result["notes"])
    sources = {name: source for exercise in EXERCISES for name, source in _waiting(exercise.name).items()}
    result, seconds = graded(sources)
    assert result["points"] == 0 and seconds < marking.SUBMISSION_LIMIT + SLACK


def test_a_notebook_of_many_cells_is_refused_at_once():
    """A copied cell takes the place of the one before it; to look for that one among all others took an hour."""
    document = filled(right())
    copied = {"cell_type": "code", "source": "1", "metadata": {"nbgrader": {"grade_id": ONE.name}}}
    document["cells"] += [{"cell_type": "code", "source": "1", "metadata": {}}] * 150_000 + [copied] * 80_000
    began = time.monotonic()
    with pytest.raises(submission.IntakeError, match="more than 2000 cells"):
        submission.parsed(json.dumps(document).encode(), notebook(CHAPTER))
    assert time.monotonic() - began < SLACK


def test_what_an_instructor_is_told_of_one_submission_is_bounded():
    document = filled(right())
    reaching = {"cell_type": "code", "source": "import diffusion_lab", "metadata": {}}
    copied = {"cell_type": "code", "source": "1", "metadata": {"nbgrader": {"grade_id": ONE.name}}}
    document["cells"] += [reaching, copied] * 400
    notes = submission.parsed(json.dumps(document).encode(), notebook(CHAPTER)).notes
    assert len(notes) == submission.MOST_NOTES + 1 and notes[-1] == "and 380 more of the kind"


def test_a_long_cell_arrives_whole(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(marking, "SUBMISSION_LIMIT", 60.0)  # this is not about time
    result, _ = graded({ONE.name: "# é\n" * 50_000 + right()[ONE.name]})
    assert result["points"] == POINTS


def test_numbers_for_stand_ins_are_bounded():
    sources = body(EXERCISES[0].name, "return None") | {
        "alpha_bar": "def alpha_bar(betas):\n    return linear_betas(2**33)",
        "q_sample": "def q_sample(*arguments):\n    return linear_betas(torch.zeros(2**22))",
    }
    result, _ = graded(sources)
    for name in ("alpha_bar", "q_sample"):
        assert "tensors of moderate size" in of(result, name)["text"]
