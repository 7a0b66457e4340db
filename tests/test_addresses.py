"""The addresses are set in one place; where none is set, everything leads to the local book."""

from __future__ import annotations

import json
import re
import webbrowser
from pathlib import Path

import pytest
import yaml
from test_repository import ROOT, tracked_files
from typer.testing import CliRunner

from diffusion_lab import addresses
from diffusion_lab.cli import app
from diffusion_lab.exercises.catalogue import NOTEBOOKS, chapter_of, folder_name, notebook
from diffusion_lab.grading.notebook.authoring import source

runner = CliRunner()


def book(*arguments: str):
    return runner.invoke(app, ["book", *arguments])


@pytest.fixture
def nowhere(monkeypatch):
    monkeypatch.setattr(addresses, "REPOSITORY", "")
    monkeypatch.setattr(addresses, "BOOK", "")
    monkeypatch.setattr(addresses, "BUILT", ())


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(found.append(address)) or True)
    return found


@pytest.fixture
def local(nowhere, tmp_path: Path, monkeypatch) -> Path:
    """A built book of a few pages, in a folder whose name has to be quoted."""
    folder = tmp_path / "the book"
    folder.mkdir()
    for name in ("index", "glossary", "03_mixture"):
        (folder / f"{name}.html").touch()
    monkeypatch.setattr(addresses, "BUILT", (tmp_path / "none", folder))
    return folder


@pytest.mark.parametrize(
    ("repository", "published", "expected"),
    [
        ("", "", ("", "", "")),
        ("https://github.com/Ada/course", "", ("https://ada.github.io/course/latest", "Ada/course", "main/x.ipynb")),
        (
            "https://github.com/ada/course.git",
            "",
            ("https://ada.github.io/course/latest", "ada/course", "main/x.ipynb"),
        ),
        ("https://github.com/ada/ada.github.io/", "", ("https://ada.github.io/latest", "ada/ada.github.io", "x.ipynb")),
        ("https://codeberg.org/ada/course", "", ("", "", "")),
        ("", "https://uni.example/dm/", ("https://uni.example/dm", "", "")),
        (
            "https://github.com/ada/course",
            "https://uni.example/dm",
            ("https://uni.example/dm", "ada/course", "x.ipynb"),
        ),
    ],
)
def test_what_follows_from_the_setting(nowhere, monkeypatch, repository, published, expected):
    monkeypatch.setattr(addresses, "REPOSITORY", repository)
    monkeypatch.setattr(addresses, "BOOK", published)
    found = addresses.book_address(), addresses.owner_and_name(), addresses.colab_address("x.ipynb")
    assert found[:2] == expected[:2] and found[2].endswith(expected[2]) and bool(found[2]) == bool(expected[2])
    assert not found[2] or f"github/{found[1]}/blob/main/" in found[2]


def test_links_of_the_notebooks_lead_to_pages(nowhere, monkeypatch):
    pages = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    names = {entry["file"] for part in pages for entry in part["chapters"]}
    assert set(map(folder_name, map(chapter_of, NOTEBOOKS))) <= names
    for name in NOTEBOOKS:
        monkeypatch.setattr(addresses, "BOOK", "https://uni.example/dm")
        assert (
            f"](https://uni.example/dm/{folder_name(chapter_of(name))}.html)" in source(notebook(name)).cells[0].source
        )
        monkeypatch.setattr(addresses, "BOOK", "")
        title = source(notebook(name)).cells[0].source
        assert "http" not in title and re.search(r"`diffusion-lab book \d+` opens it", title)


def test_no_file_names_an_address_of_its_own():
    """Whatever names the repository or the site has it from the one place, or is made from it anew."""
    ours = re.compile(r"https?://[^\s)\"'`>]*diffusion-lab[^\s)\"'`>]*")
    allowed = [address for address in (addresses.repository_address(), addresses.book_address()) if address]
    own = Path(__file__).relative_to(ROOT).as_posix()
    found = {}
    for name in tracked_files():
        data = (ROOT / name).read_bytes()
        if b"\0" in data or name in (own, "diffusion_lab/addresses.py"):
            continue
        strange = [link for link in ours.findall(data.decode("utf-8")) if not link.startswith(tuple(allowed))]
        found |= {name: strange} if strange else {}
    assert found == {}


def test_the_local_book_comes_first(local: Path, opened, monkeypatch):
    monkeypatch.setattr(addresses, "BOOK", "https://uni.example/dm")
    for words, page in (
        ((), "index"),
        (("3",), "03_mixture"),
        (("mixture_lab",), "03_mixture"),
        (("Glossary",), "glossary"),
    ):
        done = book(*words)
        assert done.exit_code == 0 and done.stdout.strip() == opened[-1] == (local / f"{page}.html").as_uri()
    assert book("--where", "3").stdout.strip() == (local / "03_mixture.html").as_uri() and len(opened) == 4


def test_the_published_book_is_opened_where_none_is_here(nowhere, opened, monkeypatch):
    monkeypatch.setattr(addresses, "REPOSITORY", "https://github.com/ada/course")
    assert book("5").exit_code == 0 and opened == ["https://ada.github.io/course/latest/05_mnist.html"]


def test_without_a_browser_the_book_can_still_be_found(local: Path, monkeypatch):
    def none(_: str):
        raise webbrowser.Error("could not locate runnable browser")

    for opening in (none, lambda _: False):
        monkeypatch.setattr(webbrowser, "open", opening)
        done = book()
        assert done.exit_code == 0 and (local / "index.html").as_uri() in done.stdout
        assert f"python -m http.server --directory '{local}'" in done.stdout


@pytest.mark.parametrize("page", ["12", "normal", "../setup", "glossary#x", "a b"])
def test_a_page_that_is_not_there(local: Path, opened, page: str):
    done = book(page)
    assert done.exit_code == 2 and repr(page) in done.stderr and "glossary" in done.stderr and not opened


def test_a_machine_without_the_book_says_so(nowhere, opened):
    done = book()
    assert done.exit_code == 2 and "the book is not on this machine" in done.stderr and not opened


def test_notebooks_and_readme_are_made_with_the_setting():
    """`make notebooks` is what brings a change of the setting into them."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"-->\n{addresses.first_links()}\n<!--" in readme
    for file in sorted((ROOT / "exercises").glob("*/*.ipynb")):
        text = "".join(json.loads(file.read_text(encoding="utf-8"))["cells"][0]["source"])
        assert text == source(notebook(file.stem)).cells[0].source
