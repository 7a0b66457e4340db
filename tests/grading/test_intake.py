"""What counts of a file: Python files that tools have made of notebooks, which of several notebooks, and the order."""

from __future__ import annotations

import os
import shutil

import pytest

from diffusion_lab.grading.notebook import check_pieces, load, survey
from diffusion_lab.grading.notebook.documents import Document, Written
from diffusion_lab.grading.notebook.intake import take_in

ANSWER = "def alpha_bar(betas):\n    return torch.cumprod(ONE - betas, 0)\n"
EXPORTS = {
    "nbconvert": (
        "#!/usr/bin/env python\n# coding: utf-8\n\n# # Chapter 1\n\n# In[1]:\n\n\nimport torch\n"
        "from diffusion_lab.grading import start\n\nlab = start('normal_1d', globals())\n\n\n# In[ ]:\n\n\n"
        "get_ipython().run_line_magic('matplotlib', 'inline')\nONE = torch.tensor(1.)\n\n\n# In[7]:\n\n\n{answer}\n\n"
        "# In[8]:\n\n\npoints = lab.check('alpha_bar')\npoints\n\n\n# In[9]:\n\n\nlab.run()\n"
    ),
    "percent": (
        "# ---\n# jupyter:\n#   kernelspec: x\n# ---\n\n# %% [markdown]\n# # Chapter 1\n\n# %%\nimport torch\n"
        "from diffusion_lab.grading import start\nlab = start('normal_1d', globals())\n\n"
        "# %% nbgrader\n%matplotlib inline\n!ls\nONE = torch.tensor(1.)\n\n# %%\n{answer}\n# %%\nlab.run()\n"
    ),
}


@pytest.mark.parametrize("tool", EXPORTS)
def test_a_file_made_of_a_notebook_is_read_in_its_cells(tool, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(EXPORTS[tool].replace("{answer}", ANSWER))
    found = load(path)
    assert found.faults == {} and found.names == ["alpha_bar"] and "lab" not in found.namespace
    assert check_pieces(found.namespace, found.names)[0].passed
    line = path.read_text().split("\n").index("def alpha_bar(betas):") + 1
    assert found.namespace["alpha_bar"].__code__.co_firstlineno == line, "lines are those of the file"
    path.write_text(path.read_text() + "\n# %%\ndef half(\n")
    found = load(path)
    assert check_pieces(found.namespace, found.names)[0].passed and "SyntaxError" in found.notes[0]


def test_a_piece_comes_after_those_that_it_calls():
    text = "def a(): return c()\ndef b(): return 1\ndef helper(): return b()\n"
    text += "def c(): return helper() + d()\ndef d(): return c()"
    intake = take_in(Document((Written("cell 1", text),)), ["a", "b", "c", "d"])
    assert intake.uses == {"a": {"b", "c", "d"}, "b": set(), "c": {"b", "d"}, "d": {"b", "c"}}
    assert intake.by_use(["a", "b", "c", "d"]) == ["b", "d", "c", "a"]


@pytest.fixture
def folder(make_notebook, tmp_path):
    """A folder of notebooks, and how to put a copy of a right one there."""
    home = tmp_path / "work"

    def put(place: str, changed=None, age: int = 0):
        path = home / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(make_notebook(changed), path)
        os.utime(path, (1e9 - age, 1e9 - age))
        return path

    put.home = home
    return put


def first(folder):
    return survey(folder.home)[0]


@pytest.mark.parametrize("place", ["01_normal_1d (1).ipynb", "01_normal_1d/01_normal_1d-Copy1.ipynb", "mine.ipynb"])
def test_a_copy_alone_is_found_by_its_metadata(place, folder):
    folder(place)
    state = first(folder)
    assert state.points == state.out_of and state.notes == ()


def test_of_several_the_one_with_the_plain_name_is_taken_and_said(folder):
    plain = folder("01_normal_1d/01_normal_1d.ipynb", {"alpha_bar": None}, age=100)
    copy = folder("01_normal_1d/01_normal_1d-Copy1.ipynb")
    older = folder("01_normal_1d (1).ipynb", age=200)
    state = first(folder)
    assert state.points == state.out_of - 4
    assert state.notes == (f"{plain} is counted, and not {copy} (newer), {older}",)


def test_of_copies_alone_the_newest_is_taken(folder):
    folder("a.ipynb", {"alpha_bar": None}, age=100)
    folder("b.ipynb")
    state = first(folder)
    assert state.points == state.out_of and "b.ipynb is counted, and not" in state.notes[0]
