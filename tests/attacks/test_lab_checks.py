"""A check that a learner has written asks pieces which the grader computes. Checks that cheat at it earn nothing.

Each speaks to the grader past the course's own code, on the line over which its process is asked and asks.
"""

from __future__ import annotations

import json

import pytest
from handed_in import filled, right

import diffusion_lab
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.grading.classroom import marking, workers

pytestmark = pytest.mark.usefixtures("warm")
LAB = "normal_2d_lab"
TASK = next(task for task in notebook(LAB).exercises if isinstance(task, CheckTask))
LINE = """
import gc, json, os, socket, struct, sys, threading, time
wire = sys.modules["__main__"].wire
talk = [o for o in gc.get_objects() if isinstance(o, socket.socket) and o.fileno() > 0][-1]
def say(message, *blobs):
    text = json.dumps(message).encode()
    sizes = struct.pack(f"<{len(blobs)}Q", *map(len, blobs))
    talk.sendall(struct.pack("<II", len(text), len(blobs)) + sizes + text + b"".join(blobs))
def asked(message, *blobs):
    say(message, *blobs)
    return wire.receive(talk)
def question(box=0, arguments={"tuple": []}, named={"dict": {}}):
    return {"box": box, "arguments": arguments, "named": named}
"""
CHECKS = {
    "answers before it is asked": """
    for _ in range(3):
        say({"value": None, "mode_kept": True})""",
    "questions after its answer": """
    def later():
        while True:
            time.sleep(0.01)
            say(question())
    threading.Thread(target=later, daemon=True).start()""",
    "questions that are none": """
    for box in (True, -1, 10**6, "0", None):
        for named in ({"dict": {"self": 1, "": 2}}, {"dict": {str(i): i for i in range(900)}}, 3):
            asked(question(box, {"list": []}, named))
    asked(question(0, {"tuple": [{"tensor": ["float32", [0, 2000000], None, 0]}] * 1}), b"")
    asked(question(0, {"tuple": [{"probe": ["os", "system", {"tuple": ["true"]}, {"dict": {}}]}]}))""",
    "a stand-in for the piece": """
    for name in ("convert", "__class__", TASK):
        asked({"stand_in": name, "arguments": {"tuple": [1, 2]}, "vector": None, "box": 0, "named": {"dict": {}}})""",
    "questions of a megabyte": """
    wide = question(0, {"tuple": [{"list": [{"list": [1.5] * 990}] * 9}]}) | {"more": "x" * 900000}
    while True:
        asked(wide)""",
    "tensors of megabytes": """
    while True:
        asked(question(0, {"tuple": [{"tensor": ["float32", [7 << 18], None, 0]}]}), bytes(7 << 20))""",
    "forks on one line": """
    for _ in range(20):
        if os.fork() == 0:
            while True:
                asked({"value": True})""",
    "forks that come and go": """
    def storm():
        while True:
            try:
                if os.fork() == 0:
                    os._exit(0)
                os.waitpid(-1, os.WNOHANG)
            except OSError:
                time.sleep(0)
    for _ in range(3):
        threading.Thread(target=storm, daemon=True).start()""",
}


def graded(source: str) -> dict:
    order = {"student": "s", "chapter": LAB, "digest": "", "seed": 5, "seed_id": "", "isolation": "bubblewrap"}
    data = json.dumps(filled(right(LAB) | {TASK.name: source}, LAB)).encode()
    return workers.graded(order | {"data": data, "version": diffusion_lab.__version__})


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(CHECKS))
def test_a_check_that_speaks_past_its_pieces_earns_nothing(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(marking, "COMPARING_LIMIT", 1.0)
    monkeypatch.setattr(marking, "PIECE_LIMIT", 4.0)
    # Whoever calls `globals` may need every line, so all of them are run.
    body = CHECKS[kind].replace("TASK", repr(TASK.name))
    result = graded(f"{LINE}\ndef {TASK.name}(piece):\n    globals(){body}\n    return None\n")
    (item,) = (item for item in result["exercises"] if item["name"] == TASK.name)
    assert result["state"] == "graded" and item["points"] == 0 and item["text"].startswith("✗")
    others = sum(exercise.points for exercise in notebook(LAB).exercises) - TASK.points
    assert result["points"] == others


BY_HAND = """
honest = {name}
def by_hand(*arguments, **named):
    wire.send(talk, question(0, arguments, named))
    return wire.receive(talk)["value"]
def {name}(piece):
    globals()
    return honest(by_hand)
"""


@pytest.mark.slow
def test_an_honest_check_after_them_has_all_its_points_even_if_it_speaks_for_itself():
    """So the line that the others abuse is the right one."""
    source = right(LAB)[TASK.name]
    assert graded(source)["points"] == notebook(LAB).points
    assert graded(f"{LINE}\n{source}\n{BY_HAND.format(name=TASK.name)}")["points"] == notebook(LAB).points
