"""An edit in words: what is wrong, with the quantities as the exercise calls them, and the idea behind it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from diffusion_lab.grading.judge.engine.casing import WHERE_ONLY, kind_of_case
from diffusion_lab.grading.judge.engine.edits import MIRROR, Edit
from diffusion_lab.grading.judge.engine.ideas import idea_behind
from diffusion_lab.grading.judge.engine.nodes import AXES, MODULES, root_of
from diffusion_lab.grading.judge.engine.quoting import LONGEST, WHOLE, local_names, quoted, set_anew
from diffusion_lab.grading.judge.engine.rebuilding import SHELL

SENTENCES = {
    "root missing": "The square root of {about} is missing.",
    "root of the difference": "You take the root of a whole difference, {about}; meant is that of what is subtracted.",
    "difference of the root": "You subtract a root from 1, in {about}; meant is the root of the whole difference.",
    "negative under a root": "By rounding, what is under the root can fall below 0, where there is no root: {about}.",
    "beside a root": "{about} belongs under the root, and was added to the root of the rest.",
    "roots": "The square roots of {about} are missing.",
    "bound": "The bound {about} is set at the wrong end: `{yours}` where `{right}` belongs.",
    "shares added": "What each step takes, {about}, is added up, and the sum taken from 1. But each step takes its "
    "share of what is left by then: multiply 1 minus each share.",
    "root too many": "The square root of {about} was taken where {about} itself belongs.",
    "square missing": "{about} is not squared, and must be.",
    "square too many": "{about} is squared, and must not be.",
    "factor missing": "The factor {about} is missing{beside}.",
    "factor too many": "There is a factor {about} too many{beside}.",
    "divisor missing": "{it} is not divided by {about}.",
    "divisor too many": "There is a division by {about} too many{beside}.",
    "term missing": "The term {about} is missing{beside}.",
    "term too many": "The term {about} does not belong here{beside}.",
    "term and sign": "The term {about} is missing, and what is left has the other sign.",
    "complement of the answer": "Your answer is one minus the right one.",
    "complement missing": "You have {about} where one minus it belongs.",
    "complement too many": "You have one minus {about} where {about} itself belongs.",
    "sign": "The sign of {about} is wrong.",
    "reversed": "The difference is taken the wrong way round: {right} against {yours}.",
    "upside down": "{about} is upside down: numerator and denominator have changed places.",
    "multiplied for divided": "It is multiplied by {about} where it must be divided.",
    "divided for multiplied": "It is divided by {about} where it must be multiplied.",
    "added for multiplied": "Two things are added that must be multiplied, in {where}.",
    "multiplied for added": "Two things are multiplied that must be added, in {where}.",
    "name": "{yours} is used where {right} belongs.",
    "name of few words": "In the place of {yours} another quantity belongs.",
    "index": "{yours} is used where {right} belongs: the index is off.",
    "index of few words": "An index or a count is off, in {right}.",
    "index missing": "All of {about} is used, and not the entry that belongs here.",
    "axis": "{yours} goes along the wrong axis.",
    "dtype": "{yours} and {about} can have different dtypes: bring them to the same one before you calculate.",
    "constant": "The number {yours} is not the right one{where}.",
    "constant of ours": "Where the number {right} belongs{where}, it looks as if you had {yours}.",
    "setting": "{yours} is given where {right} belongs.",
    "entry": "Entry {yours} is taken where entry {right} belongs.",
    "one in front": "There is a 1 in front of the answer that must not be there.",
    "one entry": "Only one entry of {about} counts here, and all of them must.",
    "first entry missing": "The first entry of {about} is missing.",
    "last entry missing": "The last entry of {about} is missing.",
    "first entry too many": "There is an entry too many at the start of {about}.",
    "last entry too many": "There is an entry too many at the end of {about}.",
    "case ignored": "The case {about} is not treated on its own, and must be.",
    "case everywhere": "What belongs to the case {about} alone is done in all cases.",
    "other cases": "All is right in the case {about}, and not in the others: what you do there is right for them too.",
    "case too many": "All is right but for the case {about}: look at what you do there.",
    "argument too many": "In {where}, {about} is given and must not be.",
    "index too many": "One entry of {about} is used where all of it belongs.",
    "text": "The case {yours} is asked for where {right} is meant.",
    "function": "{yours} is computed where {right} belongs.",
    "boundary": "At the boundary itself the condition is wrong: {yours} or {right}?",
    "comparison": "The condition {yours} asks the wrong question.",
    "condition ignored": "The case {about} is not treated on its own, and must be.",
    "condition too many": "The case {about} is treated on its own, and must not be.",
    "cases exchanged": "The two cases of {about} have changed places.",
    "call missing": "{about} is left out.",
    "call too many": "{about} is too many.",
    "power missing": "{about} is not raised to its power.",
    "power too many": "{about} is raised to a power, and must not be.",
    "inverse": "{about} stands where one over it belongs{where}.",
    "number": "The number {yours} is written where {right} belongs.",
    "numbers": "The numbers {yours} are written where {right} belong.",
    "axes": "{yours} must go over all axes but the first, however many there are.",
    "axis kept": "{yours} keeps the axis that it goes over, as one of size 1: leave out `keepdim`.",
    "condition turned": "The condition {yours} is the wrong way round.",
    "parts in another order": "The parts of the answer are in the wrong order.",
    "exchanged": "{about} have changed places.",
    "shares exchanged": "{about} have changed places: the two shares stand where the other one belongs.",
    "border": "The condition {yours} takes in too much or too little: the border is 0 itself.",
    "other end": "The entry at the wrong end is left out: {yours} where {right} belongs.",
    "size": "The size {about} is written there, and must come from the input: it can be any.",
    "along the last axis": "{about} goes along the last axis and belongs to the first: give it axes of size 1.",
    "factor of the answer": "The factor {about} is in it once too often, or it is to be divided by it.",
    "half": "The number {yours}{where} is twice what it should be.",
    "twice": "The number {yours}{where} is half of what it should be.",
    "line missing": "The step that sets {about} is left out.",
    "step missing": "The step that computes {about} is left out.",
    "line too many": "The step that sets {about} is too many.",
    "bracket": "A bracket is missing or in the wrong place: {yours} is not what is meant.",
    "divided by a part": "All of {about} belongs below the fraction line: the bracket around it is missing.",
    "multiplied by a part": "All of {about} is a factor: the bracket around it is missing.",
    "order": "The order is wrong in {yours}.",
    "slice": "The wrong range of entries is taken: {yours}.",
    "argument missing": "In {where}, {about} does not get the part it should have.",
    "own randomness": "{yours} draws random numbers of its own; {right} is passed in for that.",
    "shape": "The factor of each sample has a shape that fits one number of axes only; inputs can have any.",
}


ALL_AT_ONCE = ("exchanged", "numbers", "roots", "along the last axis")
"""Kinds of which nothing is said of the places where they are."""


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong, found by an edit."""

    kind: str
    hint: str
    name: str
    """Short and stable, for counting: "edit: root missing alpha_bar[t]"."""
    cost: int
    known: bool = False
    """Whether it is one of the exercise's own wrong answers."""
    line: int = 0
    """In the student's file or cell; 0 where it was found in the answers alone."""
    uncertain: bool = False
    """Whether it explains a part of what is wrong, or by few numbers alone."""


def mistake(
    edit: Edit,
    of_reference: bool,
    body: ast.AST | None = None,
    meanings: Mapping[str, str] | None = None,
    seen: Collection[str] | None = None,
) -> Mistake:
    """What an edit says about the student's function.

    Args:
        edit: of right code, which makes it compute what the student's computes; or of the student's code, which
            makes it right.
        of_reference: which of the two.
        body: the edited function, whose local names are replaced by what they stand for.
        meanings: parameter -> what it is, from `meanings`.
        seen: the exercise's parameters. What right code calls its quantities beside these, nobody else knows.
    """
    kind = edit.kind if of_reference else MIRROR.get(edit.kind, edit.kind)
    if edit.kind in ("case ignored", "condition ignored"):
        kind = kind_of_case(edit, of_reference)
    known = local_names(body) if body is not None else {}
    if of_reference and body is not None and seen is not None:
        seen = set(seen) - set_anew(body)
    say = partial(quoted, known=known, seen=seen) if of_reference else partial(_own, whole=_whole_of(edit))
    right, yours = (edit.old, edit.new) if of_reference else (edit.new, edit.old)
    about = edit.about if edit.about is not None else edit.old
    if kind in ("line missing", "line too many"):
        about = getattr(about, "value", about) if of_reference else _target(about)
    words = {
        "about": _all_quoted(edit, say) or say(about),
        "right": say(right),
        "yours": say(yours),
        "where": say(edit.old),
        "beside": _beside(edit, kind, say),
    }
    words["it"] = words["beside"].removeprefix(" after ") or "it"
    if kind == "line missing" and of_reference:
        kind = "step missing"
    kind, words = _sharpened(kind, words, right, yours)
    if kind in ("call missing", "call too many") and about is not None:
        power = isinstance(right if kind == "call missing" else yours, ast.BinOp)
        kind, words["about"] = (f"power {kind[5:]}", say(about)) if power else (kind, _call_in_words(about, say))
    if kind in ("sign", "factor missing", "term missing", "divisor missing", "square missing", "upside down"):
        words["about"] += _meaning(words["about"], meanings or {})
    if kind in ("factor missing", "term missing") and re.search(r"\bndim\b|\bdim\(\)", words["about"]):
        kind = "shape"
    if kind in ("axis", "axes", "axis kept"):
        words["yours"] = _name_of_call(yours) or words["yours"]
    if kind == "constant":
        words["where"] = _around_it(edit, say)
    if kind == "constant" and of_reference:
        kind = "constant of ours"
    if edit.function == SHELL and kind in ("index", "slice"):
        kind, words["about"] = _of_range(kind, right, yours), say(_whole(right, yours))
    kind, words = _clearer(kind, words, edit, right, yours, say)
    sentence = SENTENCES.get(kind, "Something is wrong at {about}.").format(**words)
    if " and `" in words["about"] and kind.startswith(("root", "square")):
        sentence = _in_plural(sentence)
    elif len(edit.changes) > 1 and " and " not in words["about"] and kind not in ALL_AT_ONCE:
        sentence += " It is so at every place where this stands."
    sentence = sentence[0].upper() + sentence[1:]
    if edit.case is not None and kind not in WHERE_ONLY:
        case = say(edit.case)
        sentence = f"In the case {case}: {sentence}" if case.startswith("`") else sentence
    idea = idea_behind(kind, f"{words['about']} {words['right']} {words['yours']}")
    start = f"Line {edit.line}: " if not of_reference and edit.function != SHELL and edit.line else ""
    subject = quoted(about if edit.about is not None else right, known, seen)
    if subject == WHOLE or not subject.startswith("`") or kind in ("function", "order", "shape"):
        subject = {"function": f"{words['yours']} for {words['right']}", "order": words["where"]}.get(kind, "")
    key = re.sub(r"[`\s]+", " ", f"edit: {kind} {subject}").strip()
    hint = f"{start}{sentence}{' ' + idea if idea else ''}"
    return Mistake(kind, hint, key[:80], edit.cost, line=edit.line if start else 0)


def _whole_of(edit: Edit) -> tuple[ast.AST, str] | None:
    """The code that an edit changes, where it is all that is assigned or returned there, and how the student calls it:
    by the name that it is given, or the answer."""
    parent, field, _ = edit.changes[0][0]
    if field != "value":
        return None
    if isinstance(parent, ast.Return) and edit.function != SHELL:
        return edit.old, WHOLE
    named = isinstance(parent, ast.Assign) and len(parent.targets) == 1 and isinstance(parent.targets[0], ast.Name)
    return (edit.old, f"`{parent.targets[0].id}`") if named else None


def _own(node: ast.AST, whole: tuple[ast.AST, str] | None) -> str:
    """The student's own code; what is long by its name."""
    text = quoted(node)
    if whole is not None and node is whole[0] and not text.startswith("`"):
        return whole[1]
    return text


def _clearer(
    kind: str, words: dict[str, str], edit: Edit, right: ast.AST, yours: ast.AST, say: Callable[[ast.AST], str]
) -> tuple[str, dict[str, str]]:
    """Another kind, where it says more: a step instead of a term 1, two things that have changed places."""
    about = edit.about
    if kind == "name" and words["right"] == words["yours"]:
        kind = "shape" if words["right"].startswith("`") else kind  # they differ by a reshape alone
    elif kind in ("term missing", "term too many") and isinstance(about, ast.Constant) and type(about.value) is int:
        kind = "index" if edit.changes[0][0][1] == "slice" else "name"
    elif kind == "reversed" and any(isinstance(n, ast.Constant) for n in (edit.old.left, edit.old.right)):
        kind, words = "sign", {**words, "about": say(edit.old)}
    elif kind == "upside down" and not (isinstance(edit.old, ast.BinOp) and isinstance(edit.old.op, ast.Div)):
        kind, words = "inverse", {**words, "where": _around_it(edit, say)}
    elif kind == "numbers" and isinstance(right, ast.Tuple) and isinstance(yours, ast.Tuple):
        both = {name: " and ".join(map(say, node.elts)) for name, node in (("right", right), ("yours", yours))}
        words = {**words, **both}
    elif kind == "bound" and isinstance(right, ast.Call) and isinstance(yours, ast.Call):
        words = {**words, "yours": str(yours.keywords[0].arg), "right": str(right.keywords[0].arg)}
    elif kind.startswith("complement") and words["about"] == WHOLE:
        kind = "complement of the answer"
    elif kind in ("exchanged", "shares exchanged", "roots") and isinstance(about, ast.Tuple):
        words = {**words, "about": " and ".join(say(name) for name in about.elts)}
    elif kind == "order" and isinstance(right, ast.Tuple) and isinstance(edit.changes[0][0][0], ast.Return):
        kind = "parts in another order"
    elif kind == "comparison" and isinstance(right, ast.Compare) and isinstance(yours, ast.Compare):
        turned = {type(right.ops[0]), type(yours.ops[0])}
        if turned in ({ast.Eq, ast.NotEq}, {ast.Lt, ast.GtE}, {ast.LtE, ast.Gt}):
            kind, words = "cases exchanged", {**words, "about": words["yours"]}
        elif turned in ({ast.Lt, ast.Gt}, {ast.LtE, ast.GtE}):
            kind = "condition turned"
    elif kind == "index" and isinstance(right, ast.Call) and isinstance(yours, ast.Call):
        pairs = [(one, other) for one, other in zip(right.args, yours.args, strict=False) if one is not other]
        if len(right.args) == len(yours.args) and len(pairs) == 1:
            words = {**words, "right": say(pairs[0][0]), "yours": f"{say(pairs[0][1])} in {_name_of_call(yours)}"}
    elif kind == "order" and isinstance(right, ast.Call) and isinstance(yours, ast.Call):
        pairs = zip(right.args, yours.args, strict=True)
        both = [say(one) for one, other in pairs if ast.dump(one) != ast.dump(other)]
        if len(both) == 2 and all(text.startswith("`") for text in both):
            kind, words = "exchanged", {**words, "about": " and ".join(both)}
    elif kind == "divisor missing" and edit.function != SHELL and right is edit.new and _is_in(about, edit.old):
        kind = "factor of the answer"
    elif kind.startswith("constant") and isinstance(right, ast.Constant) and isinstance(yours, ast.Constant):
        parent = edit.changes[0][0][0]
        if isinstance(parent, ast.keyword) and type(right.value) is type(yours.value) is bool:
            both = {name: f"`{parent.arg}={node.value}`" for name, node in (("right", right), ("yours", yours))}
            kind, words = "setting", {**words, **both}
        elif isinstance(parent, (ast.Subscript, ast.Tuple)) and type(right.value) is type(yours.value) is int:
            kind = "entry"
        product = kind == "constant" and isinstance(parent, ast.BinOp) and isinstance(parent.op, (ast.Mult, ast.Div))
        if (product or (kind == "constant" and isinstance(parent, ast.UnaryOp))) and isinstance(
            right.value, (int, float)
        ):
            kind = {2.0: "twice", 0.5: "half"}.get(right.value / yours.value if yours.value else 0.0, kind)
    if kind in ("name", "index") and words["right"] == words["yours"]:
        kind += " of few words"  # two quantities that cannot be told apart in words
    if kind.startswith(("term", "factor")):
        words = {**words, "about": words["about"].removeprefix("the expression ")}
    return kind, words


def _in_plural(sentence: str) -> str:
    for one, more in (
        ("The square root of", "The square roots of"),
        ("is missing", "are missing"),
        ("was taken where", "were taken where"),
        ("itself belongs", "themselves belong"),
        ("is not squared", "are not squared"),
        ("is squared", "are squared"),
    ):
        sentence = sentence.replace(one, more, 1)
    return sentence


def _meaning(quote: str, known: Mapping[str, str]) -> str:
    words = known.get(quote.strip("`"))
    return f" ({words})" if words else ""


def _name_of_call(node: ast.AST) -> str:
    name = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
    return f"`{name}`" if name else ""


def _around_it(edit: Edit, say: Callable[[ast.AST], str]) -> str:
    """The expression in which a number stands."""
    parent = edit.changes[0][0][0]
    text = say(parent) if isinstance(parent, (ast.BinOp, ast.UnaryOp, ast.Call)) else ""
    return f" in {text}" if text.startswith("`") and len(text) > 5 else ""


def _all_quoted(edit: Edit, say: Callable[[ast.AST], str]) -> str:
    """All that was changed at once, where that is not the same everywhere."""
    if edit.kind not in ("root missing", "square missing", "complement missing"):
        return ""
    texts = list(dict.fromkeys(say(new) for _, new in edit.changes))
    return " and ".join(texts[:3]) if 1 < len(texts) <= 3 else ""


def _call_in_words(node: ast.AST, say: Callable[[ast.AST], str]) -> str:
    """`clamp(-1, 1)` on `x0`: the call by its name and its settings, and what it is called on where that is short."""
    if isinstance(node, ast.Attribute):
        inner, name, settings = node.value, node.attr, ""
    elif isinstance(node, ast.Call):
        function, arguments = node.func, list(node.args)
        if isinstance(function, ast.Attribute):
            of_module = root_of(function) in MODULES
            inner = (arguments.pop(0) if arguments else None) if of_module else function.value
            name = function.attr
        else:
            inner, name = (arguments.pop(0) if arguments else None), getattr(function, "id", "")
        given = [say(a) for a in arguments] + [f"{k.arg}={say(k.value)}" for k in node.keywords]
        text = ", ".join(given).replace("`", "")
        settings = f"({text})" if len(text) <= LONGEST and "expression" not in text else "(…)"
    else:
        return say(node)
    text = say(inner) if inner is not None else ""
    return f"`{name}{settings}`" + (f" on {text}" if text.startswith("`") or text == WHOLE else "")


def _whole(right: ast.AST, yours: ast.AST) -> ast.AST:
    return yours if isinstance(right, ast.Subscript) else right


def _of_range(kind: str, right: ast.AST, yours: ast.AST) -> str:
    """What is wrong with the range, where one of the two is a part of the other."""
    part, missing = (yours, True) if isinstance(yours, ast.Subscript) else (right, False)
    if kind == "index" or not isinstance(part, ast.Subscript) or not isinstance(part.slice, ast.Slice):
        return "one entry" if missing and isinstance(part, ast.Subscript) else kind
    if part.slice.lower is not None:
        return "first entry missing" if missing else "first entry too many"
    if ast.unparse(part.slice.upper) == "-1":
        return "last entry missing" if missing else "last entry too many"
    return "one entry" if missing else kind


def _sharpened(kind: str, words: dict[str, str], right: ast.AST, yours: ast.AST) -> tuple[str, dict[str, str]]:
    """Where only a function's name differs, that is what is told, not the whole expression."""
    if kind == "function" and isinstance(right, ast.Call) and isinstance(yours, ast.Call):
        names = [f"`{getattr(n.func, 'attr', getattr(n.func, 'id', ''))}`" for n in (right, yours)]
        return kind, {**words, "right": names[0], "yours": names[1]}
    if kind == "function" and isinstance(right, ast.BinOp) and isinstance(yours, ast.BinOp):
        named = {ast.Div: "a true division", ast.FloorDiv: "a whole-number division", ast.MatMult: "a matrix product"}
        named[ast.Mult] = "a product entry by entry"
        return kind, {**words, "right": named[type(right.op)], "yours": named[type(yours.op)]}
    if kind == "constant" and isinstance(getattr(right, "value", None), str):
        return "text", words
    return kind, words


def _is_in(about: ast.AST | None, code: ast.AST) -> bool:
    """Whether it is a name that stands in this code already."""
    return isinstance(about, ast.Name) and any(isinstance(n, ast.Name) and n.id == about.id for n in ast.walk(code))


def _target(node: ast.AST) -> ast.AST:
    if isinstance(node, ast.Assign):
        return node.targets[0]
    return getattr(node, "target", node)


def _beside(edit: Edit, kind: str, say: Callable[[ast.AST], str]) -> str:
    """What a missing or surplus factor or term stands beside."""
    whole = edit.old if isinstance(edit.old, ast.BinOp) and edit.about in (edit.old.left, edit.old.right) else None
    other = (whole.left if edit.about is whole.right else whole.right) if whole is not None else None
    if other is None and isinstance(edit.new, ast.BinOp):
        other = edit.old
    if other is None or isinstance(other, ast.Constant):
        return ""
    text = say(other)
    word = "after" if kind.startswith("divisor") else "beside"
    return f" {word} {text}" if text.startswith("`") and not any(f"{axis}=" in text for axis in AXES) else ""
