"""What counts of a student's notebook or file: the one answer for `check`, `progress`, `run --pieces` and `grade`.

The last definition of an exercise's function counts, wherever it stands. With it comes what it needs: helpers, imports,
constants, and the statements that fill them. Everything else, such as trials, trainings, pictures and the course's own
checks, is not run. So the marks are those of the code, and no cell's label, place or neighbour decides about them.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from diffusion_lab.grading.notebook.documents import Document, Written
from diffusion_lab.grading.notebook.magics import NOT_PYTHON, python_of
from diffusion_lab.grading.notebook.naming import typed
from diffusion_lab.grading.notebook.predicting import predictions
from diffusion_lab.grading.notebook.statements import Statement, statements

CELL_LIMIT = 5.0
"""Seconds that one statement at the top of a cell may run, for `check` and for marks alike."""
MOST_NOTES = 20
MOST_PAGES = 100
MOST_STATEMENTS = 5000
"""That are run of one notebook; people need some fifty."""
PACKAGE = "diffusion_lab"
_PACKAGE = re.compile(rf"\b{PACKAGE}\b")
ANYTHING = {"globals", "locals", "vars", "exec", "eval"}
"""Whoever calls one of these may look up or bind any name."""
_SETTING = re.compile(r"\btorch\.(set_default_(?:dtype|device|tensor_type))\(")
_COURSES = re.compile(r"lab\.\w+\([^()]*\)")
"""A cell of the release, such as `lab.run()`."""
_SHELL = re.compile(r"(pip|conda|mamba|uv|ls|cd|pwd|cat|mkdir|time|timeit|matplotlib)\b[^=(]*")
"""What IPython takes for a magic where it is alone in its cell, though it has no `%`."""


@dataclass(frozen=True)
class Cell:
    """A piece of a student's code that is run: one statement, or all of a cell that is no Python."""

    name: str
    """Such as "cell 7, line 3"; no two are the same."""
    place: str
    """The cell that it stands in."""
    written: str = field(repr=False)
    """That cell, as the student wrote it."""
    text: str
    line: int = 1
    """Where it begins, counted from 1 in its cell, or in the file of a Python file."""
    gives: tuple[str, ...] = ()
    """The exercises whose functions it makes."""
    lazy: bool = False
    """Whether `from __future__ import annotations` is in force."""

    @property
    def source(self) -> str:
        """The text in its line, so that messages have the student's line numbers."""
        if self.lazy:
            return "from __future__ import annotations" + "\n" * max(1, self.line - 1) + self.text
        return "\n" * (self.line - 1) + self.text


@dataclass
class Intake:
    """What is taken from a notebook or file, before anything of it has run."""

    solutions: dict[str, Cell] = field(default_factory=dict)
    """exercise -> where its function is defined last, or the cell of that name where there is no such place."""
    order: list[Cell] = field(default_factory=list)
    """All that is run, in order."""
    notes: list[str] = field(default_factory=list)
    """What the student and the instructor should know."""
    uses: dict[str, set[str]] = field(default_factory=dict)
    """exercise -> those that it calls, itself or through helpers."""
    answers: dict[str, str] = field(default_factory=dict)
    """grade_id -> what was answered to a teacher's own question, which is marked by hand."""
    pages: list[str] = field(default_factory=list)
    """The student's own cells as they were written, for whoever wants to read them."""
    typed: dict[str, str] = field(default_factory=dict)
    """Whose it is by its own words, as `naming.typed` has it."""
    predictions: dict[str, float] = field(default_factory=dict)
    """Variable -> what the student predicted, as `predicting.predictions` reads it."""

    @property
    def own(self) -> list[Cell]:
        """What makes no exercise's function: helpers, imports and constants."""
        return [cell for cell in self.order if not cell.gives]

    def giving(self, name: str) -> list[Cell]:
        """What makes this exercise's function, the last first."""
        return [cell for cell in reversed(self.order) if name in cell.gives]

    def by_use(self, names: Iterable[str]) -> list[str]:
        """These exercises, each after those that it calls, as far as they do not call each other."""
        found: dict[str, None] = {}
        names = list(names)

        def add(name: str, above: tuple[str, ...]) -> None:
            if name in found or name in above:
                return
            for other in names:
                if other in self.uses.get(name, ()):
                    add(other, (*above, name))
            found.setdefault(name)

        for name in names:
            add(name, ())
        return list(found)


def take_in(document: Document, names: Collection[str]) -> Intake:
    """What counts of a document.

    Args:
        names: the exercises whose functions are looked for.

    Raises:
        SourceError: where the file holds more code than anybody writes.
    """
    return _Reading(document, names).intake()


@dataclass(frozen=True)
class _Line:
    """A statement and the cell that it stands in."""

    cell: Written
    statement: Statement
    lazy: bool


@dataclass(frozen=True)
class _Broken:
    """A cell that is no Python."""

    cell: Written
    text: str
    """What is left of it without magics."""
    gives: tuple[str, ...]
    """The exercises that it is about."""
    fault: str


class _Reading:
    """One document on its way to an intake."""

    def __init__(self, document: Document, names: Collection[str]):
        self.names = list(names)
        self.document = document
        self.alone = document.is_notebook or len(document.cells) > 1
        """Whether it has to do without the course's package, as a notebook has where marks are given."""
        self.notes: list[str] = []
        self.lines: list[_Line] = []
        self.broken: list[_Broken] = []
        self.written = {cell.grade_id: cell for cell in document.cells if cell.grade_id in self.names}
        """exercise -> the last cell that nbgrader knows by its name."""
        lazy = False
        for cell in document.cells:
            for statement in self._statements(cell):
                lazy = lazy or statement.makes_lazy
                self.lines.append(_Line(cell, statement, lazy))
        self.course = self._course_names()

    def intake(self) -> Intake:
        naming = self._naming_package()
        lines = [line for line in self.lines if not self._is_courses(line.statement)]
        lines = self._counting(lines)
        intake = Intake()
        taken: dict[str, int] = {}
        for line in self._needed(lines):
            cell = self._cell(line, taken)
            intake.order.append(cell)
            intake.solutions |= dict.fromkeys(cell.gives, cell)
        self._add_broken(intake)
        for name, cell in self.written.items():
            intake.solutions.setdefault(name, Cell(cell.place, cell.place, cell.text, cell.text))
        intake.uses = {name: self._closure({name}, lines)[0] & set(self.names) - {name} for name in intake.solutions}
        intake.predictions, odd = predictions((line.statement for line in self.lines), self.names)
        intake.notes = _bounded([*self.notes, *naming, *self._settings(), *odd])
        intake.typed = typed(line.statement for line in self.lines)
        intake.answers = {name: text for name, text in self.document.answers.items() if name not in self.names}
        own = [cell for cell in self.document.cells if not cell.grade_id and self.document.is_notebook]
        intake.pages = [cell.text for cell in own if not _COURSES.fullmatch(cell.text.strip())][:MOST_PAGES]
        return intake

    def _statements(self, cell: Written) -> list[Statement]:
        python = python_of(cell.text)
        if python.other:
            if any(_defines(cell.text, name) for name in self.names):
                self.notes.append(f"{cell.place} is left out, because %%{python.other} stands on top of it")
            return []
        try:
            found = statements(python.text, MOST_STATEMENTS - len(self.lines))
        except NOT_PYTHON as error:
            gives = tuple(name for name in self.names if cell.grade_id == name or _defines(cell.text, name))
            if gives or not _SHELL.fullmatch(cell.text.strip()):
                self.broken.append(_Broken(cell, python.text, gives, _syntax(error, cell)))
            return []
        if not self.document.is_notebook:
            return [statement for statement in found if not statement.is_script_part]
        # What only the compiler finds, such as `return` outside of a function, is a fault of the cell's exercise.
        here = frozenset({cell.grade_id} & set(self.names))
        return [replace(item, binds=item.binds or here) if item.fault else item for item in found]

    def _course_names(self) -> set[str]:
        """Names that stand for the course's own, such as `start` and `lab`, and for what these give: `points`."""
        names: set[str] = set()
        while True:
            own, given, sessions = set(), set(), set()
            for line in self.lines:
                statement = line.statement
                is_given = self._imports_course(statement) or (not statement.defines and names & statement.loads)
                kind = sessions if statement.is_session else given if is_given else own
                kind.update(statement.binds)
            found = (given - own) | sessions
            if found <= names:
                return names
            names |= found

    def _imports_course(self, statement: Statement) -> bool:
        package = PACKAGE if self.alone else f"{PACKAGE}.grading"
        is_import = isinstance(statement.node, (ast.Import, ast.ImportFrom))
        return is_import and any(f"{module}.".startswith(f"{package}.") for module in statement.modules)

    def _is_courses(self, statement: Statement) -> bool:
        """Whether it has to do with the course's own checks, which have no place here."""
        if self._imports_course(statement) or statement.is_session:
            return True
        return not statement.defines and bool(self.course & statement.loads)

    def _naming_package(self) -> list[str]:
        """Who names the package elsewhere than to begin the course's own checks."""
        texts = [(line.cell, line.statement.text) for line in self.lines if not line.statement.begins]
        texts += [(item.cell, item.text) for item in self.broken]
        places = dict.fromkeys(cell.place for cell, text in texts if _PACKAGE.search(text))
        return [f"{place} names the package {PACKAGE}, which is not there when marks are given" for place in places]

    def _settings(self) -> list[str]:
        """Where settings of PyTorch's are changed that a function may lean on."""
        found = [(line, _SETTING.match(line.statement.text)) for line in self.lines]
        said = [f"{_where(line)} calls torch.{s[1]}" for line, s in found if s and not line.statement.defines]
        return [f"{text}; functions are checked with PyTorch's usual settings" for text in dict.fromkeys(said)]

    def _counting(self, lines: list[_Line]) -> list[_Line]:
        """Without what does not count: stubs where there is an answer, and other values under a function's name."""
        functions = {name for line in lines if line.statement.defines for name in line.statement.binds}
        dropped: set[int] = set()
        for name in self.names:
            binding = {i: line for i, line in enumerate(lines) if name in line.statement.binds}
            stubs = {i for i, line in binding.items() if line.statement.is_stub}
            faulty = {i for i, line in binding.items() if line.statement.fault}
            sound = binding.keys() - stubs - faulty
            answers = [i for i in sorted(sound) if lines[i].statement.makes_function(functions, set(self.names))]
            if answers:
                dropped |= binding.keys() - set(answers)
                self._tell(name, lines, answers, sorted(sound - set(answers)), sorted(faulty))
            elif sound:  # perhaps a function, which shows when it runs
                dropped |= stubs
        return [line for i, line in enumerate(lines) if i not in dropped]

    def _tell(self, name: str, lines: list[_Line], answers: list[int], values: list[int], faulty: list[int]) -> None:
        """What the student and the instructor should know of this exercise."""
        last = lines[answers[-1]]
        for i in faulty:
            self.notes.append(f"the {name} in {_where(lines[i])} is left out: {lines[i].statement.fault}")
        new = [lines[i] for i in answers if _is_new(lines[i].statement, name)]
        places = list(dict.fromkeys(map(_where, new)))
        if len(places) > 1:
            listed = f"{', '.join(places[:-1])} and {places[-1]}"
            self.notes.append(f"{name} is defined in {listed}; the last one counts")
        if values and values[-1] > answers[-1]:
            where = _where(lines[values[-1]])
            self.notes.append(f"{name} is given another value in {where}; the function in {_where(last)} counts")
        if self.written and last.cell.grade_id != name:
            self.notes.append(f"{name} is not in its own cell; the one in {_where(last)} counts")

    def _needed(self, lines: list[_Line]) -> list[_Line]:
        """The statements that these exercises need, in order; where one is missing, also what may be meant."""
        there = {name for line in lines for name in line.statement.binds}
        functions = {name for line in lines if line.statement.defines for name in line.statement.binds}
        missing = [name for name in self.names if name not in there]
        near = {other for name in missing for other in difflib.get_close_matches(name, functions, 2, 0.75)}
        near |= {other for other in functions if _plain(other) in set(map(_plain, missing))}
        _, needed = self._closure({*self.names, *near}, lines)
        return [line for i, line in enumerate(lines) if i in needed]

    def _closure(self, names: set[str], lines: list[_Line]) -> tuple[set[str], set[int]]:
        """All names that these functions look up, and the places of the statements that have to do with them."""
        touching: dict[str, list[int]] = {}
        variables, imported = set(), set()
        for i, line in enumerate(lines):
            statement = line.statement
            for name in statement.binds | statement.stores | statement.calls:
                touching.setdefault(name, []).append(i)
            (imported if statement.modules else set() if statement.defines else variables).update(statement.binds)
        always = {i for i, line in enumerate(lines) if line.statement.takes_all}
        always |= {i for i, line in enumerate(lines) if not line.statement.defines and ANYTHING & line.statement.loads}
        found: set[str] = set()
        kept: set[int] = set()
        waiting = [*names]

        def keep(i: int) -> None:
            if i not in kept:
                kept.add(i)
                waiting.extend(lines[i].statement.loads)

        for i in always if names else ():
            keep(i)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            if name in ANYTHING and not _bound_anywhere(name, touching, lines):
                for i in range(len(lines)):
                    keep(i)
            for i in touching.get(name, ()):
                statement = lines[i].statement
                changed = name in statement.calls and (
                    name in variables or (statement.defines and name not in imported)
                )
                if name in statement.binds or name in statement.stores or changed:
                    keep(i)
        return found, kept

    def _cell(self, line: _Line, taken: dict[str, int]) -> Cell:
        statement, cell = line.statement, line.cell
        number = cell.above + statement.line
        name = f"{cell.place}, line {number}"
        taken[name] = taken.get(name, 0) + 1
        if taken[name] > 1:  # several on a line
            name += f" ({taken[name]})"
        gives = tuple(sorted(statement.binds & set(self.names)))
        return Cell(name, cell.place, cell.text, statement.text, number, gives, line.lazy and statement.defines)

    def _add_broken(self, intake: Intake) -> None:
        """Cells that are no Python: run where nothing else gives their functions, so that the fault is told there."""
        for item in self.broken:
            missing = tuple(name for name in item.gives if name not in intake.solutions)
            if missing:
                cell = item.cell
                made = Cell(cell.place, cell.place, cell.text, item.text, 1 + cell.above, missing)
                intake.order.append(made)
                intake.solutions |= dict.fromkeys(missing, made)
            else:
                self.notes.append(f"left out: {item.fault}")


def _is_new(statement: Statement, name: str) -> bool:
    """Whether it is a function of its own, and not one that is made of the one before."""
    return statement.defines or name not in statement.loads


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _bound_anywhere(name: str, touching: dict[str, list[int]], lines: Sequence[_Line]) -> bool:
    return any(name in lines[i].statement.binds for i in touching.get(name, ()))


def _defines(text: str, name: str) -> bool:
    return re.search(rf"^[ \t]*(async +)?def +{name}\b", text, re.M) is not None


def _where(line: _Line) -> str:
    if line.cell.place.startswith("cell "):
        return line.cell.place
    return f"line {line.cell.above + line.statement.line}"


def _syntax(error: BaseException, cell: Written) -> str:
    if not isinstance(error, SyntaxError):
        return f"{cell.place}: {type(error).__name__}: {error}"
    text = f", in `{error.text.strip()}`" if error.text and error.text.strip() else ""
    return f"{cell.place}, line {(error.lineno or 1) + cell.above}: {type(error).__name__}: {error.msg}{text}"


def _bounded(notes: list[str]) -> list[str]:
    if len(notes) <= MOST_NOTES:
        return notes
    return [*notes[:MOST_NOTES], f"and {len(notes) - MOST_NOTES} more of the kind"]
