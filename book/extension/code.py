"""Python code as the book shows it: without docstrings, and narrow enough for a page."""

from __future__ import annotations

import ast
import functools
import io
import re
import subprocess
import textwrap
import tokenize

from ruff import find_ruff_bin

COLUMNS = 76


def without_docstrings(source: str) -> str:
    """The source without the docstrings of its functions and classes."""
    source = textwrap.dedent(source)
    lines: list[str | None] = list(source.splitlines())
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        first = node.body[0]
        if not (isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)):
            continue
        if not isinstance(first.value.value, str):
            continue
        for number in range(first.lineno - 1, first.end_lineno):
            lines[number] = None
        if len(node.body) == 1:
            lines[first.lineno - 1] = " " * first.col_offset + "..."
    return "\n".join(line for line in lines if line is not None)


def narrow(source: str, columns: int = COLUMNS) -> str:
    """The same code in lines of at most `columns`, where its strings allow that."""
    source = _formatted(source, columns)
    moved = _comments_above(source, columns)
    if moved != source:
        source = _formatted(moved, columns)
    return _wrapped_comments(source, columns).strip("\n")


@functools.cache
def _formatted(source: str, columns: int) -> str:
    command = [find_ruff_bin(), "format", "--isolated", "--line-length", str(columns), "-"]
    done = subprocess.run(command, input=source, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise ValueError(f"ruff cannot format this code: {done.stderr.strip()}")
    return done.stdout


def _comments_above(source: str, columns: int) -> str:
    """Comments that make a line too long, on a line of their own above it."""
    lines = source.splitlines()
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(source).readline))):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            line = lines[row - 1]
            code = line[:column].rstrip()
            if code and len(line) > columns:
                indent = line[: len(line) - len(line.lstrip())]
                lines[row - 1 : row] = [indent + token.string, code]
    return "\n".join(lines) + "\n"


def _wrapped_comments(source: str, columns: int) -> str:
    out = []
    for line in source.splitlines():
        match = re.match(r"(\s*# )(.*)", line)
        if match and len(line) > columns:
            out += textwrap.wrap(match[2], columns, initial_indent=match[1], subsequent_indent=match[1])
        else:
            out.append(line)
    return "\n".join(out)


def wrapped_text(text: str, columns: int = COLUMNS) -> str:
    """Every line of a docstring that is too long, broken at the depth at which it goes on."""
    out = []
    for line in text.splitlines():
        indent = re.match(r"\s*", line)[0]
        if re.match(r"\s+\w+: ", line):
            indent += "    "  # the entry of an argument
        out += textwrap.wrap(line, columns, initial_indent="", subsequent_indent=indent) or [""]
    return "\n".join(out)
