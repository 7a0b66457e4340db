"""What a notebook predicts before it computes: `predicted_lowest_loss = 0.4`. Runs nothing."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Collection, Iterable

from diffusion_lab.grading.notebook.statements import Statement

PREDICTED = "predicted_"
"""How the name of a prediction begins, as in `own_numbers.PREDICTED`. It brings PyTorch, which is too large for
the process in which submissions are read."""
_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def predictions(statements: Iterable[Statement], names: Collection[str]) -> tuple[dict[str, float], list[str]]:
    """The last number that is given to the variable of each prediction, and notes on what is no number.

    Args:
        statements: of a notebook, in order.
        names: the tasks whose predictions are looked for.

    Returns:
        Variable -> number, for `0.4`, `-2` and `2 / 5` alike; and sentences about others, where no number came later.
    """
    wanted = {PREDICTED + name for name in names}
    found: dict[str, float] = {}
    odd: dict[str, str] = {}
    for statement in statements:
        node = statement.node
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if not isinstance(target, ast.Name) or target.id not in wanted:
                continue
            value = _number(node.value)
            if value is not None:
                found[target.id] = value
                odd.pop(target.id, None)
            elif not (isinstance(node.value, ast.Constant) and node.value.value is None):
                odd[target.id] = f"{target.id} is no number that can be read; write it as 0.4 or 2 / 5"
    return found, list(odd.values())


def _number(node: ast.expr, depth: int = 8) -> float | None:
    if isinstance(node, ast.Constant):
        value = node.value
        plain = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
        return float(value) if plain else None
    if depth and isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _number(node.operand, depth - 1)
        return value if value is None or isinstance(node.op, ast.UAdd) else -value
    if depth and isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = _number(node.left, depth - 1), _number(node.right, depth - 1)
        if left is None or right is None or (right == 0 and isinstance(node.op, ast.Div)):
            return None
        value = _OPERATIONS[type(node.op)](left, right)
        return value if math.isfinite(value) else None
    return None
