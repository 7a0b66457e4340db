"""Commands that the pages print exist."""

from __future__ import annotations

import functools
import re
import shlex

import pytest
import typer
from book_source import ROOT, pages

from diffusion_lab.cli import app

PAGES = pages()
# Made once: typer makes its commands anew each time that it is asked.
course_commands = functools.cache(lambda: typer.main.get_command(app))
SHOWN = re.compile(
    r"^[ >]*```(?:\{commands\} )?(?:sh|shell|bash|console|powershell)\n(.*?)^[ >]*```", re.MULTILINE | re.DOTALL
)


def commands(text: str) -> list[list[str]]:
    """The commands of this course in the shell blocks of a page, and in its code between backticks."""
    lines = [line.strip() for block in SHOWN.findall(text) for line in block.splitlines()]
    lines += [" ".join(code.split()) for code in re.findall(r"(?<!`)`((?:diffusion-lab|make|python) [^`]+)`", text)]
    found = [shlex.split(line.partition("#")[0]) for line in lines]
    return [words for words in found if words and words[0] in ("diffusion-lab", "make", "python")]


def fault(words: list[str]) -> str | None:
    """What is wrong with a command, as far as that can be seen without running it."""
    if words[0] == "make":
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        return next((f"no target {word}" for word in words[1:] if "=" not in word and word not in targets), None)
    if words[0] == "python":
        script = next((word for word in words[1:] if word.endswith(".py")), None)
        return None if script is None or (ROOT / script).is_file() else f"no script {script}"
    command, rest = course_commands(), words[1:]
    while rest and hasattr(command, "commands"):
        if rest[0] not in command.commands:
            return f"no command {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    options = {name for option in command.params for name in option.opts} | {"--help"}
    return next((f"no option {word}" for word in rest if word.startswith("-") and word not in options), None)


def test_the_page_of_commands_has_them_all():
    """Each command and each option of `run`, so that a new one is not forgotten there."""
    group = course_commands()
    named = {words[1] for words in commands(PAGES["commands"].text) if len(words) > 1 and words[0] == "diffusion-lab"}
    assert set(group.commands) - named == set()
    options = {name for option in group.commands["run"].params for name in option.opts if name.startswith("--")}
    assert {name for name in options if f"`{name}`" not in PAGES["commands"].text} == set()


def test_the_first_page_is_short_and_its_commands_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) < 8000
    assert len(commands(text)) > 5
    assert [(words, wrong) for words in commands(text) if (wrong := fault(words))] == []
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_commands_in_a_page_exist(page):
    assert [(words, wrong) for words in commands(page.text) if (wrong := fault(words))] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```sh\ndiffusion-lab run spiral --budget quick\nmake book pdf\n```", []),
        ("```sh\ndiffusion-lab walk spiral\n```", ["no command walk"]),
        ("Run `diffusion-lab sample mnist --colour red` now.", ["no option --colour"]),
        ("1. ```sh\n   make dinner\n   ```", []),
        ("   ```sh\n   make dinner  # at seven\n   ```", ["no target dinner"]),
        ("`python scripts/forget_experiments.py`", ["no script scripts/forget_experiments.py"]),
    ],
)
def test_a_command_that_does_not_exist_is_found(text: str, wrong: list[str]):
    assert [fault(words) for words in commands(text) if fault(words)] == wrong
