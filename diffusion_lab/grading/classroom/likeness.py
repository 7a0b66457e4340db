"""Pairs of submissions whose code is alike beyond what an exercise forces, for a person to look at.

Code is turned into tokens, in which names of the student's own choice do not count, and fingerprints of these are
picked by winnowing (Schleimer, Wilkerson and Aiken 2003, "Winnowing: local algorithms for document fingerprinting").
Left out is what needs no neighbour: the function's head, all answers that the course knows, and what many in the class
have.
"""

from __future__ import annotations

import ast
import inspect
import io
import itertools
import tokenize
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from diffusion_lab.exercises import Task
from diffusion_lab.grading.notebook import solution

GRAM, WINDOW = 6, 3
"""Tokens of a fingerprint, and fingerprints of which one is picked: whatever is alike over GRAM + WINDOW - 1 tokens in
a row is found, and nothing that is alike over fewer than GRAM."""
MANY, SHARE = 4, 0.25
"""What so many students have, and so large a part of the class, is common."""
LEAST, LEAST_SHARE = 4, 0.4
"""How many fingerprints a pair must share, and which part of those of the student who has fewer."""
SKIPPED = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
    tokenize.ENDMARKER,
}  # fmt: skip
STARTS = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.NL}
"""A text behind one of these stands alone, as docstrings do."""

Places = dict[int, set[int]]
"""Fingerprint -> the lines on which it is, from 1."""


@dataclass(frozen=True)
class Likeness:
    """What two students' answers to one exercise share."""

    exercise: str
    one: str
    other: str
    shared: int
    """Fingerprints that both have, and that are not common."""
    share: float
    """Of those of the student who has fewer, in 0..1."""
    sources: tuple[str, str]
    lines: tuple[frozenset[int], frozenset[int]]
    """Of each source, those on which the shared ones are."""


def alike(answers: Mapping[str, Mapping[str, str]], tasks: Iterable[Task]) -> list[Likeness]:
    """Pairs whose answers are alike, those that share most first.

    Args:
        answers: student -> exercise -> source.
        tasks: the exercises, whose known answers are left out.
    """
    found = []
    for task in tasks:
        sources = {student: given[task.name] for student, given in answers.items() if task.name in given}
        prints = {student: winnowed(source) for student, source in sources.items()}
        counted = Counter(mark for places in prints.values() for mark in places)
        many = max(MANY, SHARE * len(answers))
        common = forced(task) | {mark for mark, count in counted.items() if count >= many}
        own = {student: {m: p for m, p in places.items() if m not in common} for student, places in prints.items()}
        for one, other in itertools.combinations(sorted(own), 2):
            both = own[one].keys() & own[other].keys()
            fewer = min(len(own[one]), len(own[other]))
            if len(both) >= LEAST and len(both) >= LEAST_SHARE * fewer:
                lines = tuple(frozenset().union(*(own[who][m] for m in both)) for who in (one, other))
                texts = (sources[one], sources[other])
                found.append(Likeness(task.name, one, other, len(both), len(both) / fewer, texts, lines))
    return sorted(found, key=lambda pair: (-pair.shared, -pair.share, pair.exercise, pair.one, pair.other))


def forced(task: Task) -> set[int]:
    """Every fingerprint that a known answer has: to have it, nobody needs a neighbour."""
    functions = [answer.function for kind in ("right_answers", "wrong_answers") for answer in getattr(task, kind, ())]
    texts = [solution(task.reference), *(code for _, code in getattr(task, "opening", ()))]
    for function in functions:
        try:
            texts.append(inspect.getsource(function))
        except (OSError, TypeError):  # made by another function
            continue
    return {mark for text in texts for mark, _ in _grams(tokens(text))}


def winnowed(source: str) -> Places:
    """The fingerprints of a source: of each window the smallest, and of equal ones the last."""
    grams = _grams(tokens(source))
    picked: Places = {}
    for start in range(max(1, len(grams) - WINDOW + 1)):
        window = grams[start : start + WINDOW]
        if window:
            mark, lines = min(reversed(window), key=lambda gram: gram[0])
            picked.setdefault(mark, set()).update(lines)
    return picked


def _grams(found: list[tuple[str, int]]) -> list[tuple[int, set[int]]]:
    """A hash, and the lines, of every GRAM tokens in a row."""
    runs = (found[start : start + GRAM] for start in range(len(found) - GRAM + 1))
    return [(zlib.crc32("\0".join(text for text, _ in run).encode()), {line for _, line in run}) for run in runs]


def tokens(source: str) -> list[tuple[str, int]]:
    """The tokens of a source with their lines, without comments and docstrings, and names of one's own all alike.

    Of a source that is no Python there are none.
    """
    try:
        own = _own_names(ast.parse(source))
        listed = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (SyntaxError, ValueError, tokenize.TokenError, RecursionError, MemoryError):
        return []
    found, before, dot = [], tokenize.ENCODING, False
    for token in listed:
        alone = token.type == tokenize.STRING and before in STARTS
        if token.type not in SKIPPED and not alone:
            mine = token.string in own and not dot  # x.shape is torch's, whatever variables are called
            found.append(("·" if mine else token.string, token.start[0]))
            dot = token.string == "."
        before = token.type
    return found


def _own_names(tree: ast.Module) -> set[str]:
    """Names that the source itself gives: of variables, arguments and functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.alias) and node.asname:
            names.add(node.asname)
    return names
