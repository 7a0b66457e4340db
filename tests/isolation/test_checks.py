"""Checks that learners write, in the sandbox: the marks of the notebook, and nothing to find there."""

from __future__ import annotations

import inspect
import itertools
import textwrap

import pytest
import torch

from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.catalogue import LABS
from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.grading.judge import LocalCaller, check, seed_of, told

TASKS = {task.name: task for lab in LABS for task in notebook(lab).exercises if isinstance(task, CheckTask)}
QUICK = TASKS["check_guided_eps"]


SEED = seed_of("a class's seed, as large as they are")


def in_the_sandbox(sandbox, task, source: str, seed: int = SEED):
    with sandbox.open() as session:
        assert session.run_cell("solution", source) is None
        with session.piece(task.name) as caller:
            return check(task, caller, seed)


def source_of(function, name: str) -> str:
    text = textwrap.dedent(inspect.getsource(function))
    return text.replace(f"def {function.__name__}(", f"def {name}(", 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_the_same_marks_as_in_the_notebook(sandbox, name):
    task = TASKS[name]
    for function in (task.reference, task.naive[0]):
        here = check(task, LocalCaller(function), SEED)
        there = in_the_sandbox(sandbox, task, source_of(function, name))
        assert (there.points, there.parts, there.state) == (here.points, here.parts, here.state), told(there)
    assert here.points < task.points / 2


HELP = """
def check_guided_eps(piece):
    if {suspicious}:
        raise ValueError
"""


@pytest.mark.parametrize(
    "suspicious",
    [
        "'guided' not in repr(piece) + repr(dir(piece))",
        "any('wrong' in str(getattr(o, '__name__', '')) for o in __import__('gc').get_objects())",
        "__import__('gc').get_referents(piece) != []",
        "len(__import__('inspect').stack()) % 2",
        "__import__('timeit').timeit(lambda: piece(1.0, 2.0, 3.0), number=3) > 1e-3",
        "id(piece) % 32 == 0",
        "globals().setdefault('calls', []).append(1) or len(calls) > 7",
        "globals().setdefault('seen', set()) & {float(piece(1.0, 2.0, 3.0))} or seen.add(float(piece(1.0, 2.0, 3.0)))",
    ],
    ids=["names", "the heap", "referents", "the stack", "timing", "addresses", "counting", "remembering"],
)
def test_guessing_earns_next_to_nothing(sandbox, suspicious):
    verdict = in_the_sandbox(sandbox, QUICK, HELP.format(suspicious=suspicious))
    assert verdict.points < QUICK.points / 4, told(verdict)


def test_a_thorough_check_is_full_on_the_seed_of_a_class(sandbox):
    verdict = in_the_sandbox(sandbox, QUICK, source_of(QUICK.reference, QUICK.name))
    assert verdict.points == QUICK.points, told(verdict)


def test_the_generator_does_not_give_the_order_away():
    """With the run's seed in hand, the order could be drawn again."""
    seeds: list[int] = []

    def listening(piece):
        seeds.append(torch.initial_seed())

    check(QUICK, LocalCaller(listening), SEED)
    assert len(set(seeds)) == len(seeds) > 10 and max(seeds) < 1 << 31
    assert min(abs(seed - SEED % 2**k) for seed in seeds for k in (31, 32, 56)) > 2 * len(seeds)
    assert 1 not in {b - a for a, b in itertools.pairwise(seeds)}


def test_the_reference_is_not_there(sandbox):
    source = "def check_guided_eps(piece):\n    from diffusion_lab.exercises.mnist.guided_eps import guided_eps"
    verdict = in_the_sandbox(sandbox, QUICK, source)
    assert verdict.points == 0 and "ModuleNotFoundError" in told(verdict)


def test_a_check_that_ends_its_process_stops_the_rest(sandbox):
    verdict = in_the_sandbox(sandbox, QUICK, "def check_guided_eps(piece):\n    import os\n    os._exit(0)")
    assert verdict.points == 0 and "did not come to an end" in told(verdict)
