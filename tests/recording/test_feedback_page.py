"""The page of feedback: what a student reads, without a network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from recorded_course import CHAPTER, NAME, Course, read, result

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.classroom.gradebook import feedback_page
from diffusion_lab.grading.classroom.gradebook.recording import record, write_feedback

HOSTILE = "def alpha_bar(betas):\n    return '</pre></section><script>alert(1)</script><img src=x onerror=alert(2)>'"


@pytest.fixture
def page(course: Course, mixed) -> BeautifulSoup:
    """Of a student with two wrong answers, one of them hostile to whoever opens the page."""
    given = result("ada", mixed)
    record(course.root, CHAPTER, [result("ada", mixed, solutions=dict(given.solutions) | {"alpha_bar": HOSTILE})])
    with course.api.gradebook as gradebook:
        comment = gradebook.find_comment("alpha_bar", NAME, NAME, "ada")
        comment.manual_comment = "Look at $\\prod_i (1 - \\beta_i)$ again. <script>alert(3)</script>"
        gradebook.db.commit()
    (place,) = write_feedback(course.root, CHAPTER)
    return BeautifulSoup(read(place), "html.parser")


def test_exercises_are_called_by_their_names(page: BeautifulSoup):
    rows = [[cell.get_text(strip=True) for cell in row("td")] for row in page.table.tbody("tr")]
    titles = [exercise.title for exercise in notebook(CHAPTER).exercises]
    assert [row[0] for row in rows] == titles
    assert [row[1] for row in rows[:2]] == ["4 of 4", "0 of 4"]
    for link in page.table("a"):
        assert page.find(id=link["href"][1:]) is not None
    assert "Test cell" not in page.get_text()
    assert page.h1.get_text() == "Chapter 1: 1D normal distribution"


def test_the_page_needs_no_network_and_no_script(page: BeautifulSoup):
    assert page("script") == [] and page("link") == [] and page("img") == []
    assert not re.search(r"url\(|@import", page.style.get_text())
    assert "default-src 'none'" in page.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]


def test_formulas_are_set(page: BeautifulSoup):
    assert len(page("math")) > 20
    assert page.find("math", display="block") is not None
    assert "$" not in page.get_text()


def test_the_opening_of_the_notebook_is_left_out(page: BeautifulSoup):
    assert "How to work" not in page.get_text()
    assert "One step back" in page.get_text()


def test_what_a_student_wrote_is_shown_and_does_nothing(page: BeautifulSoup):
    assert "<script>alert(1)</script>" in page.get_text()
    assert all(not tag.has_attr("onerror") for tag in page(True))


def test_a_comment_is_shown_beside_the_answer(page: BeautifulSoup):
    comment = page.find(class_="comment")
    assert comment.math is not None and "alert(3)" in comment.get_text()


def test_a_formula_that_cannot_be_set_stays_readable():
    assert r"<code>\left( a</code>" in feedback_page.with_formulas(r"this $\left( a$ is broken")


@pytest.mark.parametrize("text", ["<img src=x onerror=alert(1)>", "$<img src=x onerror=alert(1)>$", "$\\text{<b>}$"])
def test_html_in_markdown_does_nothing(text: str):
    shown = BeautifulSoup(feedback_page.with_formulas(text), "html.parser")
    assert shown("img") == [] and shown("b") == []


def test_light_and_dark(page: BeautifulSoup):
    style = page.style.get_text()
    assert "color-scheme: light dark" in style and style.count("prefers-color-scheme: dark") == 2


def test_a_template_of_the_courses_own_is_left_alone(course: Course):
    from traitlets.config import Config

    own = Config()
    own.HTMLExporter.template_name = "feedback"
    assert "with_formulas" not in feedback_page.settings(own).HTMLExporter.filters
    assert Path(feedback_page.TEMPLATES / feedback_page.NAME / "index.html.j2").is_file()
