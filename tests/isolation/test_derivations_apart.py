"""Derivations in the sandbox: the marks of the notebook, whatever a step's value is."""

from __future__ import annotations

from diffusion_lab.exercises import task
from diffusion_lab.exercises.owner import Owner
from diffusion_lab.grading.judge import LocalCaller, check, told

TASK = task("walk_along_the_ode").drawn_for(Owner("ada", "a course"))


def test_the_same_marks_as_in_the_notebook(sandbox):
    """Lists, tensors, blanks and what is no value at all; and a step that follows from a wrong one."""
    truths = {name: value.tolist() for name, value in TASK.truths(TASK.numbers).items()}
    rows, away = truths["covariance"], [-value for value in truths["score"]]
    answers = (
        "covariance, precision, score, velocity",
        f"{rows}, None, torch.tensor({away}), 'much'",
        f"{rows}, torch.eye(2), (-{TASK.numbers['first']}, -{TASK.numbers['second']}), [[math.nan] * 2] * 2",
        "covariance",
    )
    with sandbox.open() as session:
        for number, answer in enumerate(answers):
            lines = [f"    {name} = torch.tensor({value})" for name, value in truths.items()]
            source = "\n".join([f"def {TASK.name}(*numbers):", *lines, f"    return {answer}"])
            assert session.run_cell(f"solution {number}", source) is None
            namespace: dict = {}
            exec(f"import math, torch\n{source}", namespace)
            here = check(TASK, LocalCaller(namespace[TASK.name]))
            with session.piece(TASK.name) as caller:
                there = check(TASK, caller)
            assert (there.parts, there.facts, there.state) == (here.parts, here.facts, here.state), told(there)
            assert there.points == (4, 1, 2, 0)[number], told(there)
