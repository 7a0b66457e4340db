"""The addresses in the pages: named where they are set, and left out where not."""

from __future__ import annotations

import re

import pytest
from book_source import ROOT
from extension.exercises import how_to_work
from extension.places import filled

from diffusion_lab import addresses
from diffusion_lab.exercises.catalogue import BEYOND, CHAPTERS

CLONE = ["git clone {repository}", "cd {folder}", "make demo"]


def test_commands_with_and_without_an_address():
    assert filled(CLONE, "https://git.example/ada/dm") == "git clone https://git.example/ada/dm\ncd dm\nmake demo"
    assert filled(CLONE, "") == "cd diffusion-lab\nmake demo"
    assert filled(CLONE[:1], "") == ""


@pytest.mark.parametrize("repository", ["", "https://github.com/ada/dm", "https://git.example/ada/dm"])
def test_colab_is_named_where_it_can_open_the_notebook(repository: str, monkeypatch):
    monkeypatch.setattr(addresses, "REPOSITORY", repository)
    for chapter in (*CHAPTERS, *BEYOND):
        links = re.findall(r"\((https://[^)]*)\)", how_to_work(chapter))
        assert len(links) == ("github.com" in repository)
        for link in links:
            place, _, path = link.partition("/blob/main/")
            assert place == "https://colab.research.google.com/github/ada/dm" and (ROOT / path).is_file()
        assert ("%pip install git+https://github.com/ada/dm`" in how_to_work(chapter)) == bool(links)
