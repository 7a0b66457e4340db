"""The page about a class: what it says, that it stands alone, and that nothing of a student becomes part of it."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

import pytest
from recorded_course import CHAPTER, result

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.reports.class_report import page
from diffusion_lab.grading.classroom.result import NOT_GRADED, Result, refused

MOST = notebook(CHAPTER).points
LOADS = {"script", "link", "img", "iframe", "object", "embed", "video", "audio", "source", "form", "base", "image"}
EMPTY = {"meta", "br", "hr", "rect", "line"}


class Page(HTMLParser):
    """The page's elements and words; fails where they are not nested."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def figures(self) -> list[str]:
        """The words that stand for each figure."""
        return [attributes["aria-label"] for tag, attributes in self.elements if tag == "svg"]


@pytest.fixture(scope="module")
def of_a_class(right, mixed) -> list[Result]:
    return [
        result("ann", right, seconds=0.5),
        result("bob", mixed, seconds=7.25, notes=("'q_sample' names the package diffusion_lab",)),
        result("cay", mixed, seconds=1.0),
        refused("dan", notebook(CHAPTER), "it is not a notebook"),
        result("eve", (), state=NOT_GRADED, reason="the worker was lost"),
    ]


@pytest.fixture(scope="module")
def read(of_a_class) -> Page:
    return Page(page(CHAPTER, of_a_class))


def test_marks_and_pass_rates(read: Page, mixed):
    assert "5 submissions: 3 graded, 1 refused, 1 not graded." in read.text
    lower = f"{sum(item['points'] for item in mixed):g}"
    marks, exercises = read.figures
    assert marks.startswith(f"Histogram of the marks of 3 submissions, of {MOST} points.")
    assert marks.endswith(f"median: {lower}.")
    assert f"lowest and highest {lower} to {MOST}" in read.text
    assert "alpha_bar: 1 of 3 right" in exercises and "linear_betas: 3 of 3 right" in exercises
    partly = next(item for item in mixed if item["name"] == "ddpm_step")
    assert ("ddpm_step: 1 of 3 right, 2 with some points" in exercises) == (0 < partly["points"])


def test_wrong_ideas_and_who_holds_them(read: Page, mixed):
    ideas = [(item["name"], idea) for item in mixed for idea in item["ideas"]]
    assert ideas
    for name, idea in ideas:
        assert f"{idea['name']} in {name} : 2 of 3" in read.text
        assert " ".join(idea["hint"].split()) in read.text
    assert "Who bob, cay" in read.text


def test_an_idea_that_no_list_has_is_counted_beside_the_listed_ones(right):
    found = {"name": "edit: root missing 1 - alpha_bar", "hint": "The square root is missing.", "known": False}
    seen = {"name": "dtype", "hint": "The dtype is not kept.", "known": False}
    item = {**right[0], "state": "failed", "points": 0, "ideas": [found, seen]}
    text = Page(page(CHAPTER, [result(name, [item, *right[1:]]) for name in ("ann", "bob")])).text
    ideas, _, symptoms = text.partition("Symptoms")
    assert f"root missing 1 - alpha_bar in {item['name']} : 2 of 2" in ideas
    assert "edit:" not in text
    assert f"dtype in {item['name']} : 2 of 2" in symptoms


def test_what_the_instructor_should_look_at(read: Page):
    assert "eve : the worker was lost" in read.text
    assert "dan : it is not a notebook" in read.text
    assert "bob : 'q_sample' names the package diffusion_lab" in read.text
    table = read.text.partition("student seconds points")[2]
    assert table.split()[:2] == ["bob", "7.2"]


def test_it_stands_alone(of_a_class):
    text = page(CHAPTER, of_a_class)
    read = Page(text)
    assert not {tag for tag, _ in read.elements} & LOADS
    for _, attributes in read.elements:
        assert not {name for name in attributes if name in ("src", "href", "srcset", "action") or name.startswith("on")}
    assert not re.search(r"https?:|//|url\(|@import|javascript:", text)
    assert "default-src 'none'" in text


def test_it_opens_in_light_and_dark_and_on_a_narrow_screen(of_a_class):
    """Every colour of a figure is a variable, and each variable has a value for both; nothing has a width in pixels."""
    text = page(CHAPTER, of_a_class)
    light, dark = re.findall(r":root \{(.*?)\}", text, flags=re.DOTALL)
    names = set(re.findall(r"(--\w+):", light))
    assert names == set(re.findall(r"(--\w+):", dark)) == set(re.findall(r"var\((--\w+)\)", text))
    rest = text.replace(light, "").replace(dark, "")
    assert "color-scheme: light dark" in light
    assert not re.search(r"#[0-9a-f]{3,8}\b", rest)
    assert 'name="viewport"' in text and "overflow-wrap: anywhere" in text
    wide = re.findall(r"[^-]width: ?(\d+)(px|rem)", rest)
    assert all(float(size) * (16 if unit == "rem" else 1) < 150 for size, unit in wide)
    for tag, attributes in Page(text).elements:
        assert tag != "svg" or ("viewbox" in attributes and "width" not in attributes)


def test_every_figure_has_words(read: Page):
    assert len(read.figures) == 2
    for tag, attributes in read.elements:
        if tag == "svg":
            assert attributes["role"] == "img" and len(attributes["aria-label"] or "") > 80


def test_headings_come_in_order(read: Page):
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


@pytest.mark.parametrize(
    "attack", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><b>", "&lt;{x}"]
)
def test_text_of_a_student_stays_text(right, mixed, attack: str):
    items = [dict(item) for item in mixed]
    items[1]["ideas"] = [{"name": attack, "hint": attack + "\x1b[31m\u202e", "known": False}]
    results = [
        result(f"ann {attack}", tuple(items), notes=(attack,)),
        refused(attack, notebook(CHAPTER), attack),
        result("bob" + attack, (), state=NOT_GRADED, reason=attack + "z" * 5000),
    ]
    text = page(CHAPTER, results)
    read = Page(text)
    assert not {tag for tag, _ in read.elements} & LOADS
    assert read.text.count(attack) >= 6
    assert not set(text) & {"\x1b", "\u202e"}
    assert "z" * 1000 not in text


@pytest.mark.parametrize("size", [0, 1, 2])
def test_small_classes(right, size: int):
    read = Page(page(CHAPTER, [result(f"s{number}", right) for number in range(size)]))
    assert len(read.figures) == (2 if size else 0)
    assert f"{size} submission{'' if size == 1 else 's'}" in read.text
    assert "by name" in read.text or not size


def test_a_class_that_could_not_be_graded_at_all():
    failed = [result(f"s{number}", (), state=NOT_GRADED, reason="disk full") for number in range(3)]
    read = Page(page(CHAPTER, failed))
    assert "3 submissions: 3 not graded." in read.text
    assert "No submission was graded." in read.text


def test_a_large_class_makes_no_large_page(right, mixed):
    results = [result(f"student{number:04d}", mixed if number % 3 else right) for number in range(1000)]
    text = page(CHAPTER, results)
    assert len(text) < 60_000
    assert "and 606 more" in text
