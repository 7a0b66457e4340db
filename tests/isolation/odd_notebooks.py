"""Notebooks with right work in them, each odd in its own way: what people, editors and other tools do to notebooks."""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from handed_in import cell, filled, right

from diffusion_lab.exercises import exercise

Document = dict[str, Any]
NAME = "alpha_bar"
STUB = 'def alpha_bar(betas):\n    """The product."""\n    # YOUR CODE HERE\n    raise NotImplementedError()'
ANSWER = "def alpha_bar(betas):\n    return torch.cumprod(1 - betas, 0)"
HELPER = "def kept(betas):\n    return 1 - betas"
HELPED = "def alpha_bar(betas):\n    return torch.cumprod(kept(betas), 0)"
WRONG = "def alpha_bar(betas):\n    return betas"


def returning(what: str) -> str:
    return f"def alpha_bar(betas):\n    return {what}"


@dataclass(frozen=True)
class Odd:
    """A notebook, the points that it misses, and a word that its notes must have."""

    document: Document
    lost: int = 0
    lost_in_notebook: int | None = None
    """Where the running notebook cannot do as well."""
    note: str = ""
    """Part of what student and instructor are told; "" where there is nothing to tell."""


def source(*texts: str, **options: Any) -> Odd:
    """The solution cell of NAME holds this."""
    document = filled(right())
    cell(document, NAME)["source"] = "\n".join(texts)
    return Odd(document, **options)


def beside(own: str, text: str = HELPED, *, below: bool = False, **options: Any) -> Odd:
    """A cell of the student's own above the solution cell, or below the check."""
    document = filled(right())
    cell(document, NAME)["source"] = _dedented(text)
    insert(document, own, 2 if below else 0)
    return Odd(document, **options)


def changed(change: Callable[[Document], Any], **options: Any) -> Odd:
    document = filled(right() | {NAME: ANSWER})
    given = change(document)
    return Odd(given if isinstance(given, dict) else document, **options)


def insert(document: Document, text: str, distance: int, metadata: Document | None = None) -> None:
    place = document["cells"].index(cell(document, NAME)) + distance
    made = {"cell_type": "code", "source": _dedented(text), "metadata": metadata or {}, "outputs": [], "id": "own"}
    document["cells"].insert(place, made)


def split(*texts: str, **options: Any) -> Odd:
    """The solution cell cut up by an editor, which copies its metadata."""
    document = filled(right())
    whole = cell(document, NAME)
    place = document["cells"].index(whole)
    document["cells"][place : place + 1] = [
        copy.deepcopy(whole) | {"source": _dedented(text), "id": f"part{i}"} for i, text in enumerate(texts)
    ]
    return Odd(document, **options)


def _dedented(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


def metadata_lost(document: Document) -> None:
    cell(document, NAME)["metadata"] = {}


def all_metadata_lost(document: Document) -> None:
    document["metadata"].pop("diffusion_lab")
    for item in document["cells"]:
        item["metadata"] = {}
        item.pop("id", None)


def merged(document: Document) -> None:
    other = cell(document, "q_sample")
    other["source"] = ANSWER + "\n\n\n" + other["source"]
    document["cells"].remove(cell(document, NAME))


def as_lists(document: Document) -> None:
    for item in document["cells"]:
        item["source"] = item["source"].splitlines(keepends=True) if isinstance(item["source"], str) else item["source"]


def of_format_3(document: Document) -> Document:
    as_lists(document)
    for item in document["cells"]:
        if item["cell_type"] == "code":
            item |= {"input": item.pop("source"), "language": "python", "prompt_number": 3}
            item.pop("id", None)
    sheets = [{"cells": document["cells"], "metadata": {}}]
    return {"nbformat": 3, "nbformat_minor": 0, "metadata": document["metadata"], "worksheets": sheets}


def of_colab(document: Document) -> None:
    document["nbformat_minor"] = 0
    document["metadata"] |= {"colab": {"provenance": []}, "accelerator": "GPU"}
    for i, item in enumerate(document["cells"]):
        item.pop("id", None)
        item["metadata"] = {**item["metadata"], "id": f"x{i}", "cellView": "form"}
    cell_of = next(c for c in document["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == NAME)
    cell_of["source"] = "#@title My answer\n" + ANSWER


def with_outputs(document: Document) -> None:
    for item in document["cells"]:
        if item["cell_type"] == "code":
            item["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["def alpha_bar(betas):\n", "  1"]}]
            item["execution_count"] = 7


def old_line_ends(document: Document) -> None:
    for item in document["cells"]:
        text = item["source"] if isinstance(item["source"], str) else "".join(item["source"])
        item["source"] = text.replace("\n", "\r\n")


def in_set_up(document: Document) -> None:
    set_up = cell(document, "set-up")
    text = set_up["source"] if isinstance(set_up["source"], str) else "".join(set_up["source"])
    set_up["source"] = "import numpy as np\n" + text
    cell(document, NAME)["source"] = "def alpha_bar(betas):\n    return torch.cumprod(float(np.ones(1)[0]) - betas, 0)"


def no_set_up(document: Document) -> None:
    document["cells"].remove(cell(document, "set-up"))


def shuffled(document: Document) -> None:
    """A later exercise above the one that it calls, and its helper below both."""
    cell(document, "q_sample")["source"] = (
        "def q_sample(x0, t, noise, alpha_bar):\n    a = at(alpha_bar, t, x0)\n"
        "    return a.sqrt() * x0 + (1 - a).sqrt() * noise"
    )
    insert(document, "def at(table, t, x):\n    return table[t].reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)", 9)


def wrong_below(document: Document) -> None:
    """The one that it calls comes later and is wrong: ours stands in for it."""
    cell(document, NAME)["source"] = (
        "def alpha_bar(betas):\n"
        "    zero, one = torch.zeros_like(betas), torch.ones_like(betas)\n"
        "    t = torch.arange(len(betas))\n"
        "    return q_sample(1 - betas, t, zero, one).cumprod(0)"
    )
    cell(document, "q_sample")["source"] = "def q_sample(x0, t, noise, alpha_bar):\n    return 7 * x0"


def calling_each_other(document: Document) -> None:
    """Two exercises that call each other."""
    cell(document, NAME)["source"] = (
        "def alpha_bar(betas):\n"
        "    if len(betas) == 1:\n        return 1 - betas\n"
        "    if len(betas) > 10**6:\n        return q_sample(betas, betas, betas, betas)\n"
        "    head = alpha_bar(betas[:-1])\n    return torch.cat([head, head[-1:] * (1 - betas[-1:])])"
    )
    cell(document, "q_sample")["source"] = (
        "def q_sample(x0, t, noise, table):\n"
        "    assert alpha_bar(torch.full((2,), 0.25)).tolist() == [0.75, 0.5625]\n"
        "    a = table[t].reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype)\n"
        "    return a.sqrt() * x0 + (1 - a).sqrt() * noise"
    )


POINTS = exercise(NAME).points
TWICE = "the last one counts"
MOVED = "alpha_bar is not in its own cell"

ODD: dict[str, Odd] = {
    # IPython's own lines
    "time on top": source("%%time", ANSWER),
    "capture on top": source("", "%%capture out", ANSWER, "print(alpha_bar(torch.rand(3)))"),
    "two magics on top": source("%%time", "%%capture", ANSWER),
    "timeit on top": source("%%timeit -n1 -r1", ANSWER, lost_in_notebook=POINTS),
    "line that begins with a percent sign": source(
        "def alpha_bar(betas):\n    n = (len(betas)\n         % 700000)\n    return torch.cumprod(1 - betas[:n], 0)"
    ),
    "percent sign after a backslash": source(
        "def alpha_bar(betas):\n    n = len(betas) \\\n    % 700000\n    return torch.cumprod(1 - betas[:n], 0)"
    ),
    "percent sign in a string of lines": source(
        'def alpha_bar(betas):\n    text = """\n%%time\n!ls\n?\n"""\n    assert text.count("\\n") == 4\n'
        "    return torch.cumprod(1 - betas, 0)"
    ),
    "a question": source("torch.cumprod?", ANSWER, "??alpha_bar", "torch.cumsum??"),
    "shell lines": source("!ls -l (", ANSWER, "files = !ls", "!pip install it's \\\n   nothing", "%cd ."),
    "magics inside": source(
        "def alpha_bar(betas):\n    %precision 3\n    if len(betas):\n        !ls\n",
        "    return torch.cumprod(1 - betas, 0)",
    ),
    "time of one line": source("%time TABLE = torch.ones(1)", returning("(TABLE[0] - betas).cumprod(0)")),
    "magics of all kinds": source(
        "%matplotlib inline", "%load_ext autoreload", "%autoreload 2", ANSWER, "%timeit alpha_bar(torch.rand(9))"
    ),
    "prompts pasted": source(">>> def alpha_bar(betas):", "...     return torch.cumprod(1 - betas, 0)", "..."),
    "indented as a whole": source("    def alpha_bar(betas):\n        return torch.cumprod(1 - betas, 0)"),
    "a cell of bash": beside("%%bash\nls (", ANSWER),
    "a cell of html": beside("%%html\n<b>def alpha_bar(betas):</b>", ANSWER),
    "a file written": beside(f"%%writefile mine.py\n{ANSWER}", ANSWER, note="%%writefile"),
    "pip alone": beside("pip install einops", ANSWER),
    # Lines
    "strange line ends": source(
        "def alpha_bar(betas):\n    # one\u2028two\x0cthree\u0085four\n"
        "    text = 'a\u2028b'\n    assert len(text) == 3\n"
        "    return torch.cumprod(1 - betas, 0)"
    ),
    "a form feed between": source("HALF = 0.5\n\x0c", returning("torch.cumprod(2 * HALF - betas, 0)")),
    "several on a line": source(
        "é = 'é'; ONE = 1; import math as m", "def alpha_bar(betas): return torch.cumprod(ONE * m.cos(0) - betas, 0)"
    ),
    "old line ends": changed(old_line_ends),
    # Where the function stands
    "metadata lost": changed(metadata_lost, note=MOVED),
    "all metadata lost": changed(all_metadata_lost),
    "merged into another": changed(merged, note=MOVED),
    "stub kept, answer below": beside(ANSWER, STUB, below=True, note=MOVED),
    "stub kept, answer above": beside(ANSWER, STUB, lost_in_notebook=POINTS, note=MOVED),
    "a copied cell below": changed(
        lambda d: insert(d, ANSWER, 1, copy.deepcopy(cell(d, NAME)["metadata"])), note=TWICE
    ),
    "a copy in comments below": changed(
        lambda d: insert(d, "# def alpha_bar(betas):\n#     return betas", 1, copy.deepcopy(cell(d, NAME)["metadata"]))
    ),
    "an empty copy below": changed(lambda d: insert(d, " \n", 1, copy.deepcopy(cell(d, NAME)["metadata"]))),
    "a stub copied below": changed(
        lambda d: insert(d, STUB, 1, copy.deepcopy(cell(d, NAME)["metadata"])), lost_in_notebook=POINTS
    ),
    "a wrong attempt above": beside(WRONG, ANSWER, note=TWICE),
    "a wrong attempt below": beside(WRONG, ANSWER, below=True, lost=POINTS, note=TWICE),
    "a broken copy below": beside("def alpha_bar(betas:\n    return", ANSWER, below=True, note="left out: cell"),
    "in a cell of the check": changed(
        lambda d: cell(d, f"{NAME}-check").update(source=HELPER) or cell(d, NAME).update(source=HELPED)
    ),
    "split, helper first": split(HELPER, HELPED),
    "split, helper last": split(HELPED, HELPER),
    "split, constant first": split("import math\nHALF = 0.5", returning("(2 * HALF - betas).cumprod(0)")),
    "split, trial last": split(ANSWER, "alpha_bar(torch.rand(10))\nprint('works')"),
    "split, comment last": split(ANSWER, "# I split here"),
    "other order": changed(shuffled),
    # What it needs from elsewhere
    "helper above": beside(HELPER),
    "helper below": beside(HELPER, below=True),
    "helper beside an import of the package": beside(
        f"from diffusion_lab.schedules import *\n{HELPER}", note="names the package"
    ),
    "helper beside the course's calls": beside(
        f"from diffusion_lab.grading import start\nlab = start('normal_1d', globals())\n{HELPER}\n"
        "points = lab.check('q_sample')\nlab.show()"
    ),
    "a function called start": beside(
        "def start(x):\n    return 1 - x\nlab.show()", returning("start(betas).cumprod(0)")
    ),
    "helper after get_ipython": beside(f"get_ipython().run_line_magic('matplotlib', 'inline')\n{HELPER}"),
    "helper after torchvision": beside(f"import torchvision\nimport matplotlib.pyplot as plt\n{HELPER}"),
    "helper in a slow cell": beside(
        f"import time\ntime.sleep(6)\n{HELPER}\nfor _ in range(3): time.sleep(6)\nprint(kept(1))"
    ),
    "helper below a loop that trains": beside(
        f"losses = []\nimport time\nfor step in range(100):\n    time.sleep(0.2)\n    losses.append(step)\n{HELPER}"
    ),
    "helper above what fails": beside(f"{HELPER}\nprint(kept('x'))"),
    "a constant tensor": beside("ONE = torch.tensor(1.)", returning("torch.cumprod(ONE - betas, 0)")),
    "a constant that is filled": beside(
        "TABLE = []\nfor i in range(3):\n    TABLE.append(i)\nTABLE[0] = 5\ndel TABLE[2]",
        "def alpha_bar(betas):\n    assert TABLE == [5, 1]\n    return torch.cumprod(1 - betas, 0)",
    ),
    "a constant filled by a call": beside(
        "ones = torch.zeros(1)\ntorch.nn.init.ones_(ones)\nsizes = {}\ndef fill(d): d['a'] = 1\nfill(sizes)",
        returning("torch.cumprod(ones[0] * sizes['a'] - betas, 0)"),
    ),
    "a name bound by globals": beside("globals()['ONE'] = 1", returning("torch.cumprod(ONE - betas, 0)")),
    "a class with a constant": beside(
        "from dataclasses import dataclass\n@dataclass\nclass Box:\n    one: float = 1.0\nbox = Box()\nbox.one = 1",
        returning("torch.cumprod(box.one - betas, 0)"),
    ),
    "a helper under try": beside(
        "try:\n    from nowhere import kept\nexcept ImportError:\n    def kept(betas):\n        return 1 - betas"
    ),
    "imports in the set-up": changed(in_set_up),
    "set-up deleted": changed(no_set_up),
    "annotations that are not there": beside(
        "from __future__ import annotations\nx: int = 3",
        returning("torch.cumprod(1 - betas, 0)").replace("betas)", "betas: Numbers) -> Numbers", 1),
    ),
    "a value that was awaited": beside(
        "import asyncio\nasync def one():\n    await asyncio.sleep(0)\n    return 1\nONE = await one()",
        returning("torch.cumprod(ONE - betas, 0)"),
    ),
    "a trial that awaits": source(ANSWER, "import asyncio", "await asyncio.sleep(0)"),
    "points looked at, and a name bound by globals": source(
        "globals()['ONE'] = 1", returning("torch.cumprod(ONE - betas, 0)"), "points"
    ),
    "a very long sum": beside("ONE = " + " + ".join(["0"] * 900 + ["1"]), returning("torch.cumprod(ONE - betas, 0)")),
    "Colab's drive": beside(
        f"from google.colab import drive\ndrive.mount('/content/drive')\n{HELPER}", lost_in_notebook=POINTS
    ),
    "torchvision's transforms": beside(
        "from torchvision import transforms as T\nflip = T.Lambda(lambda b: 1 - b)\n"
        "def kept(betas):\n    return flip(betas)"
    ),
    # Settings of PyTorch's
    "another dtype as the usual one": beside(
        "torch.set_default_dtype(torch.float64)\nHALF = torch.tensor([0.5])\nassert HALF.dtype == torch.float64",
        "def alpha_bar(betas):\n    assert HALF.dtype == torch.float64 and torch.ones(1).dtype == torch.float32\n"
        "    return torch.cumprod(1 - betas, 0)",
        note="calls torch.set_default_dtype; functions are checked with PyTorch's usual settings",
    ),
    "a device without numbers as the usual one": beside(
        "torch.set_default_device('meta')",
        returning("torch.cumprod(torch.ones(1, dtype=betas.dtype) - betas, 0)"),
        note="calls torch.set_default_device; functions are checked with PyTorch's usual settings",
    ),
    "a device that is not there as the usual one": beside(
        "torch.set_default_device('xpu')\nONE = torch.ones(1)",
        returning("torch.cumprod(ONE.to(betas) - betas, 0)"),
        note="calls torch.set_default_device; functions are checked with PyTorch's usual settings",
        lost_in_notebook=POINTS,
    ),
    "gradients turned off": source("torch.set_grad_enabled(False)", ANSWER),
    # Functions made otherwise
    "a lambda": source("alpha_bar = lambda betas: torch.cumprod(1 - betas, 0)"),
    "a partial": source(
        "import functools\ndef table(axis, betas):\n    return torch.cumprod(1 - betas, axis)",
        "alpha_bar = functools.partial(table, 0)",
    ),
    "another name": beside("def mine(betas):\n    return torch.cumprod(1 - betas, 0)", "alpha_bar = mine"),
    "decorated": beside(
        "def loud(f):\n    def g(*a):\n        return f(*a)\n    return g", f"@loud\n@torch.enable_grad()\n{ANSWER}"
    ),
    "wrapped afterwards": source(ANSWER, "alpha_bar = torch.no_grad()(alpha_bar)"),
    "its name used for a table": beside(
        "betas = torch.linspace(1e-4, .02, 10)\nalpha_bar = alpha_bar(betas)\nsignal = alpha_bar.sqrt()",
        ANSWER,
        below=True,
        lost_in_notebook=POINTS,
        note="is given another value in",
    ),
    "trials below": source(ANSWER, "x = alpha_bar(torch.rand(10))\nassert x.shape == (10,)\nx"),
    "a trial that fails below": source(ANSWER, "alpha_bar(3)\nraise SystemExit"),
    "main part": source(ANSWER, "if __name__ == '__main__':\n    ONE = 1\n"),
    "a helper called as another chapter's piece": beside(
        "def convert(betas):\n    return 1 - betas", "def alpha_bar(betas):\n    return convert(betas).cumprod(0)"
    ),
    "calls one that is wrong and comes later": changed(wrong_below, lost=exercise("q_sample").points),
    "two that call each other": changed(calling_each_other),
    "two that call each other, the earlier one wrong": changed(
        lambda d: (
            calling_each_other(d)
            or cell(d, NAME).update(source=cell(d, NAME)["source"].replace("(1 - betas[", "(betas["))
        ),
        lost=POINTS,
    ),
    # The file
    "source in lists": changed(as_lists),
    "format 3": changed(of_format_3),
    "from Colab": changed(of_colab),
    "with outputs": changed(with_outputs),
    # What is wrong stays wrong
    "nothing written": source(STUB, lost=POINTS),
    "not there": changed(lambda d: d["cells"].remove(cell(d, NAME)), lost=POINTS),
    "misspelt": source(ANSWER.replace("alpha_bar", "alphabar"), lost=POINTS),
    "no Python": source("def alpha_bar(betas)\n    return torch.cumprod(1 - betas, 0)", lost=POINTS),
    "a helper that is not there": source(HELPED, lost=POINTS),
    "a needed value that fails": source("ONE = undefined", returning("torch.cumprod(ONE - betas, 0)"), lost=POINTS),
    "the package called": source(
        "def alpha_bar(betas):\n    from diffusion_lab.exercises import exercise",
        "    return exercise('alpha_bar').reference(betas)",
        lost=POINTS,
        lost_in_notebook=0,
        note="names the package",
    ),
}
"""Each by what is odd about it."""
