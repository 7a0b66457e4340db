"""How long notebooks take: each says so, every sitting has 45 to 90 minutes, and the book agrees."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import diffusion_lab
from diffusion_lab.exercises.catalogue import CHAPTERS, LABS, NOTEBOOKS, as_written, chapter_of, folder_name
from diffusion_lab.exercises.minutes import LONGEST, SHORTEST, sittings, told
from diffusion_lab.exercises.offers import Offer
from diffusion_lab.grading.notebook.authoring import EXERCISES, path_of

ROOT = Path(diffusion_lab.__file__).resolve().parents[1]
IN_WORDS = {
    "an hour": (45, 65),
    "an hour or so": (50, 70),
    "an hour or more": (55, 90),
    "an hour and a half": (80, 90),
}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_sitting_is_between_45_and_90_minutes_and_the_notebook_says_how_long(name: str):
    notebook = as_written(name)
    parts = sittings(notebook)
    assert all(SHORTEST <= part.minutes <= LONGEST for part in parts), parts
    # Every task belongs to one sitting, and nobody is told to break off where one would do.
    assert [n for part in parts for n in range(part.first, part.last + 1)] == [*range(1, len(notebook.exercises) + 1)]
    assert len(parts) == 1 or sum(part.minutes for part in parts) > LONGEST
    cells = json.loads((ROOT / EXERCISES / path_of(name)).read_text(encoding="utf-8"))["cells"]
    (text,) = ("".join(cell["source"]) for cell in cells if cell["id"] == "how-to-work")
    assert told(notebook) in text and all(str(part.minutes) in told(notebook) for part in parts)


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if as_written(name).pause])
def test_a_course_that_leaves_a_task_out_is_told_of_its_own(name: str):
    lab = as_written(name)
    in_all = sum(part.minutes for part in sittings(lab))
    assert "two sittings" in told(lab)
    for task in lab.exercises:
        shorter = Offer(name, leave_out=(task.name,)).applied(lab)
        parts = sittings(shorter)
        assert sum(part.minutes for part in parts) < in_all
        assert all(SHORTEST <= part.minutes <= LONGEST for part in parts), (task.name, parts)
        assert len(parts) == 1 or sum(part.minutes for part in parts) > LONGEST, (task.name, parts)
        assert told(shorter).count("sittings") == len(parts) - 1


def test_a_pause_whose_task_is_left_out_comes_before_the_next():
    lab = as_written("normal_1d_lab")
    place = [task.name for task in lab.exercises].index(lab.pause)
    shorter = Offer("normal_1d_lab", leave_out=(lab.pause,)).applied(lab)
    assert shorter.pause == lab.exercises[place + 1].name
    # What is left behind it, 30 minutes, is too short for a sitting: the break comes earlier.
    assert [part.first for part in sittings(shorter)] == [1, place]


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name not in LABS])
def test_the_chapters_page_says_the_same(name: str):
    page = (ROOT / "book" / f"{folder_name(name)}.md").read_text(encoding="utf-8")
    words = re.search(r"minutes to read,\s+and\s+(an\s+hour[a-z\s]*?)\s+for\s+the\s+notebook", page)[1]
    least, most = IN_WORDS[" ".join(words.split())]
    assert least <= sittings(as_written(name))[0].minutes <= most


def test_the_front_page_adds_up():
    def hours(names) -> float:
        return sum(part.minutes for name in names for part in sittings(as_written(name))) / 60

    pages = [(ROOT / "book" / f"{folder_name(name)}.md").read_text(encoding="utf-8") for name in CHAPTERS]
    reading = sum(int(re.search(r"about (\d+) minutes to read", page)[1]) for page in pages) / 60
    front = " ".join((ROOT / "book" / "index.md").read_text(encoding="utf-8").split())
    said = re.search(r"count on (\d+) hours for all ten, (\d+) more with their labs, and (\d+) for the reading", front)
    exercises = hours(name for name in NOTEBOOKS if name in CHAPTERS)
    labs = hours(name for name in LABS if chapter_of(name) in CHAPTERS)
    for words, number in zip(said.groups(), (reading + exercises, labs, reading), strict=True):
        assert abs(int(words) - number) < 0.75, (words, number)
