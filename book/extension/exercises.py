"""The directive `exercises`: the cards of a chapter's exercises, made from their records.

    ```{exercises} normal_1d
    ```

A card has the statement, the stub that the notebook has too, and the hints. What is below the docstring of the
reference, the cases and the wrong answers stay where they are.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from diffusion_lab import addresses
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import Exercise, notebook
from diffusion_lab.exercises.catalogue import LAB, LABS, find, folder_name, number_of

from .code import COLUMNS, narrow, wrapped_text

HOW = """
{count} exercises, {points} points. Write the functions in the notebook, or in a Python file of your own.

- {{download}}`Download the notebook </../{path}>`{colab}, or let
  `diffusion-lab start` lay all notebooks out in a folder.
- The cell below each function checks it. In a terminal all checks of the chapter are

  ```sh
  diffusion-lab check {path}
  diffusion-lab check my_pieces.py --chapter {chapter}
  ```
"""
HOW_LAB = """
- A second notebook, {{download}}`the chapter's lab </../{lab}>`, asks you for one of the predictions again, with
  numbers of your own. There you also write the check of a piece, and find a bug.
"""
IN_COLAB = """, or
  [open it in Colab]({address}); there, first run
  `%pip install git+{repository}` in a cell of its own"""


def stub(exercise: Exercise) -> str:
    """The function as the notebook shows it before anything is written: signature, description, nothing else."""
    lines = textwrap.dedent(inspect.getsource(exercise.reference)).splitlines()
    first = ast.parse("\n".join(lines)).body[0].body[0]
    head = narrow("\n".join([*lines[: first.lineno - 1], "    raise NotImplementedError"])).splitlines()
    text = wrapped_text(f'"""{inspect.getdoc(exercise.reference)}', COLUMNS - 4).splitlines()
    if len(text) == 1 and len(text[0]) <= COLUMNS - 7:
        text[0] += '"""'
    else:
        text.append('"""')
    return "\n".join([*head[:-1], *(f"    {line}".rstrip() for line in text), head[-1]])


def hints(exercise: Exercise) -> str:
    """Each hint in a dropdown, inside the one before it."""
    depth = len(exercise.hints)
    opening, closing = [], []
    for number, hint in enumerate(exercise.hints, 1):
        fence = ":" * (3 + depth - number)
        title = "Hint" if number == 1 else "Another hint"
        opening.append(f"{fence}{{dropdown}} {title}\n\n{hint.strip()}\n")
        closing.insert(0, fence)
    return "\n".join(opening + closing)


def card(exercise: Exercise) -> str:
    """The body of a card, in MyST."""
    source = f"*{exercise.source}.*" if exercise.source else ""
    return f"{exercise.statement.strip()}\n\n```python\n{stub(exercise)}\n```\n\n{source}\n\n{hints(exercise)}\n"


def how_to_work(chapter: str) -> str:
    """What stands above the cards, in MyST; the link to Colab only where the repository has an address there."""
    records, folder = notebook(chapter), folder_name(chapter)
    path = f"exercises/{folder}/{folder}.ipynb"
    colab, repository = addresses.colab_address(path), addresses.repository_address()
    lab = f"{chapter}{LAB}"
    return (HOW + (HOW_LAB if lab in LABS else "")).format(
        count=len(records.exercises),
        points=records.points,
        path=path,
        lab=path.replace(folder, folder_name(lab)),
        chapter=chapter,
        colab=IN_COLAB.format(address=colab, repository=repository) if colab else "",
    )


def points(count: int) -> str:
    return f"{count} point{'' if count == 1 else 's'}"


class Exercises(SphinxDirective):
    """How to work, and a section for each exercise."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        try:
            chapter = find(self.arguments[0])
        except LabError as error:
            raise self.error(str(error)) from None
        records, number = notebook(chapter), number_of(chapter)
        self.env.note_dependency(inspect.getsourcefile(inspect.getmodule(records.slots)))
        found = [self._parsed(how_to_work(chapter), "lab-how")]
        for place, exercise in enumerate(records.exercises, 1):
            self.env.note_dependency(str(Path(inspect.getsourcefile(exercise.reference))))
            section = nodes.section(ids=[f"exercise-{exercise.name}"], names=[f"exercise-{exercise.name}"])
            section["classes"].append("lab-exercise")
            title = f"Exercise {number}.{place}: {exercise.title} ({points(exercise.points)})"
            section += [nodes.title(title, title), *self._parsed(card(exercise), "").children]
            found.append(section)
        return found

    def _parsed(self, text: str, name: str) -> nodes.container:
        box = nodes.container(classes=[name] if name else [])
        lines = StringList(text.splitlines(), source=self.get_source_info()[0])
        self.state.nested_parse(lines, self.content_offset, box)
        return box


def setup(app: Sphinx) -> None:
    app.add_directive("exercises", Exercises)
