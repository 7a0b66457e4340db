"""The built pages as files: nothing that gives an answer away, words for every picture, links that lead somewhere."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import textwrap
import zipfile
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from book_source import ROOT, WRITTEN, contents, pages
from bs4 import BeautifulSoup

from diffusion_lab import addresses
from diffusion_lab.exercises import Exercise, library, notebook

pytestmark = pytest.mark.slow

MARKERS = ("### BEGIN SOLUTION", "### END SOLUTION", "### BEGIN HIDDEN", "### END HIDDEN", "lab.grade(", "lab_grade")
TEXT = {".html", ".js", ".txt", ".ipynb", ".json", ".md", ".py", ".inv"}
BUILD = "from jupyter_book.cli.main import main; main()"  # what the command `jupyter-book` runs
SHORT = 40
"""Characters below which a function's body may well be in another place too."""


@cache
def page(folder: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((folder / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


@cache
def places(folder: Path, name: str) -> frozenset[str]:
    """The places of a page that links may lead to."""
    return frozenset(tag["id"] for tag in page(folder, name).find_all(id=True))


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def texts(folder: Path) -> dict[str, str]:
    """Everything that a reader is sent as text, tags taken out; MathJax's own files left out."""
    found = {}
    for file in folder.rglob("*"):
        name = file.relative_to(folder).as_posix()
        if file.suffix in TEXT and not name.startswith("_static/"):
            if file.suffix == ".html":
                found[name] = page(folder, name.removesuffix(".html")).get_text()
                continue
            found[name] = text = file.read_text(encoding="utf-8", errors="replace")
            if file.suffix == ".ipynb":
                found[name] = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return found


@pytest.fixture(scope="module")
def sent(built: Path) -> dict[str, str]:
    return texts(built)


def test_one_page_can_be_built_by_itself(tmp_path: Path):
    """As somebody does who writes it. What it refers to in other pages is not there then."""
    command = [sys.executable, "-c", BUILD, "build", "--path-output", str(tmp_path), "book/glossary.md"]
    done = subprocess.run(command, cwd=ROOT, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    assert list(tmp_path.rglob("glossary.html"))


def test_all_pages_are_built(built: Path):
    assert [name for name in contents() if not (built / f"{name}.html").is_file()] == []


def test_no_text_has_a_mark_of_a_solution(sent: dict[str, str]):
    assert [(name, mark) for name, text in sent.items() for mark in MARKERS if mark in text] == []


def body(function) -> str:
    """A function's code below its docstring, without spaces."""
    source = textwrap.dedent(inspect.getsource(function))
    return squeezed(source.rpartition('"""')[2] if '"""' in source else source.partition(":\n")[2])


def secrets(exercise: Exercise) -> list[str]:
    """What must not be sent to a reader: how it is solved, what is asked of it, what mistakes are known."""
    found = [body(exercise.reference), body(exercise.cases)]
    found += [body(item.holds) for item in exercise.properties if inspect.isfunction(item.holds)]
    found += [body(answer.function) for answer in (*exercise.right_answers, *exercise.wrong_answers)]
    found += [squeezed(answer.hint) for answer in exercise.wrong_answers]
    return [text for text in found if len(text) >= SHORT]


def test_no_text_has_an_answer_or_a_hidden_case(sent: dict[str, str]):
    sent = {name: squeezed(text) for name, text in sent.items()}
    found = [
        (name, exercise.name, secret[:60])
        for exercise in library().values()
        for secret in secrets(exercise)
        for name, text in sent.items()
        if secret in text
    ]
    assert found == []


def test_a_function_of_an_exercise_is_shown_as_a_stub_only(sent: dict[str, str]):
    for exercise in library().values():
        for name, text in sent.items():
            if f"def {exercise.name}(" not in text:
                continue
            for match in re.finditer(rf"\bdef {exercise.name}\(.*?:\n(.*?)(?=\ndef |\nclass |\Z)", text, re.DOTALL):
                code = re.sub(r'^\s*"""[\s\S]*?"""\s*', "", match[1])
                code = re.sub(r"^\s*#.*$", "", code, flags=re.MULTILINE)
                assert code.lstrip().startswith("raise NotImplementedError"), f"{name} shows {exercise.name}"


def test_an_answer_in_a_page_would_be_found():
    exercise = library()["q_sample"]
    assert secrets(exercise)[0] in squeezed(f"Look: {inspect.getsource(exercise.reference)}.")


@pytest.mark.parametrize("name", contents())
def test_every_picture_has_words(built: Path, name: str):
    for picture in page(built, name).select("main img"):
        alt = picture.get("alt", "")
        assert len(re.findall(r"[^\W\d_]{2,}", alt)) >= 5, f"{picture.get('src')}: {alt!r}"
        assert not re.search(r"\.(?:png|webp|svg|jpe?g)\b|_images/|^(?:image|figure|picture)\b", alt), alt


@pytest.mark.parametrize("name", contents())
def test_every_frame_of_a_slider_has_words_of_its_own(built: Path, name: str):
    for slider in page(built, name).select(".lab-slider"):
        frames = json.loads(slider.find("script", type="application/json").string)
        alts = [frame["alt"] for frame in frames]
        assert len(set(alts)) > len(alts) / 2, f"{len(set(alts))} descriptions for {len(alts)} frames"
        assert all((built / frame["src"]).is_file() for frame in frames)


def test_no_two_pictures_of_a_page_have_the_same_words(built: Path):
    for name in contents():
        alts = [picture["alt"] for picture in page(built, name).select("main img:not(.lab-slider img)")]
        assert len(alts) == len(set(alts)), f"{name}: {sorted(alt for alt in alts if alts.count(alt) > 1)}"


@pytest.mark.parametrize("name", [*contents(), "genindex", "search"])
def test_links_inside_the_book_lead_somewhere(built: Path, name: str):
    broken = []
    for link in page(built, name).select("[href], [src]"):
        address = urlsplit(link.get("href") or link.get("src"))
        if address.scheme or address.netloc or link.get("rel") == ["canonical"]:
            continue
        target = built / (unquote(address.path) or f"{name}.html")
        if not target.is_file():
            broken.append(address.geturl())
        elif address.fragment and target.suffix == ".html":
            if address.fragment not in places(built, target.relative_to(built).with_suffix("").as_posix()):
                broken.append(address.geturl())
    assert broken == []


@pytest.mark.parametrize("chapter", WRITTEN)
def test_the_cards_and_the_notebook_are_there(built: Path, chapter: str):
    name = next(name for name in contents() if name.endswith(f"_{chapter}"))
    found = page(built, name)
    records = notebook(chapter)
    assert [card["id"] for card in found.select("section.lab-exercise")] == [
        f"exercise-{exercise.name}" for exercise in records.exercises
    ]
    links = {link["href"] for link in found.select(".lab-how a")}
    released = [link for link in links if link.endswith(f"{name}.ipynb") and link.startswith("_downloads/")]
    colab = [link for link in links if link.startswith("https://colab.research.google.com/github/")]
    assert released and len(colab) == bool(addresses.owner_and_name())
    assert all((ROOT / link.partition("/blob/main/")[2]).is_file() for link in colab)
    assert f"diffusion-lab check exercises/{name}/{name}.ipynb" in found.select_one(".lab-how").get_text()


@pytest.mark.parametrize("name", [name for name in contents() if name[0].isdigit()])
def test_equations_are_numbered_within_their_chapter(built: Path, name: str):
    numbers = [number.get_text().strip("()#¶") for number in page(built, name).select("div.math .eqno")]
    assert numbers == [f"{int(name[:2])}.{place}" for place in range(1, len(numbers) + 1)]


def test_code_from_the_package_has_a_link_to_its_description(built: Path):
    missing = []
    for name in pages():
        for box in page(built, name).select(".lab-source > p"):
            if box.select_one("a.reference.internal") is None:
                missing.append((name, box.get_text()))
    assert missing == []


@pytest.mark.parametrize("name", contents())
def test_no_cell_failed_or_complained(built: Path, name: str):
    assert page(built, name).select(".output.stderr, .output.traceback, .cell_output .stderr, .problematic") == []


def test_what_a_cell_prints_is_one_box(built: Path):
    """A kernel hands over what it prints in one part or in several, as time falls."""
    apart = ".output.stream:not(.stderr) + .output.stream:not(.stderr)"
    assert [name for name in contents() if page(built, name).select(apart)] == []


def test_no_page_asks_another_host(built: Path):
    """Scripts, styles and pictures are files of the book; links that a reader follows may lead away."""
    for name in contents():
        for tag in page(built, name).select("script[src], link[rel=stylesheet], img[src], audio[src], source[src]"):
            assert not urlsplit(tag.get("src") or tag.get("href")).netloc, f"{name}: {tag}"


def test_downloads_are_what_they_say(built: Path):
    for file in (built / "_downloads").rglob("*"):
        if file.is_file():
            assert file.suffix == ".ipynb" and not zipfile.is_zipfile(file), file
