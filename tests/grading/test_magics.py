"""What a cell means to IPython, compared with IPython itself; and that reading a cell does not need it."""

from __future__ import annotations

import ast

import pytest

from diffusion_lab.grading.notebook.magics import python_of

CELLS = {
    "line magic": "%matplotlib inline\nx = 1\ndef f():\n    return 1",
    "shell": "!ls (\nfiles = !ls -l\ndef f(): pass",
    "assigned magic": "t = %timeit -o f()\ndef f(): pass",
    "indexed": "d = {}\nd['a'] = 3\nd.b = %who\ndef f(): pass",
    "help": "torch.cumprod?\n?torch\nx = torch.cumprod??\ndef f(): pass",
    "continued magic": "%timeit f(1, \\\n  2)\ndef f(): pass",
    "continued shell": "!pip install \\\n  it's\ndef f(): pass",
    "percent goes on": "n = (7\n  % 3)\n%who\ndef f(): pass",
    "exclamation goes on": "n = (7\n  != 3)\nm = 7 \\\n  % 4\n!ls\ndef f(): pass",
    "in a string": 'text = """\n%who\n!ls\n?\n"""\n%who\ndef f(): pass',
    "in a string with quotes": "text = '''it's \"\"\"\n%who\n'''\n!ls\ndef f(): pass",
    "in a comment": "# %who (\n# it's\n%who\ndef f(): pass",
    "indented": "def f():\n    %who\n    if 1:\n        !ls\n    return 1",
    "prompts": ">>> x = 1\n>>> def f():\n...     return 1",
    "numbered prompts": "In [1]: x = 1\n\nIn [2]: def f():\n   ...:     return x",
    "indented as a whole": "    x = 1\n    def f():\n        return x",
    "blank lines first": "\n\n%who\ndef f(): pass",
    "hash in a string": "x = '#'; y = \"'\"\n%who\ndef f(): pass",
    "question in a comment": "x = 1  # why?\ndef f(): pass\n%who",
    "question in a string": "x = 'why?'\n%who\ndef f(): pass",
    "autocall": "def f(): pass\n;f a b\n,f a b\n/f a",
}


@pytest.mark.parametrize("case", CELLS)
def test_names_are_bound_where_ipython_binds_them(case: str):
    """On the same lines, where IPython keeps the lines; names of magics' results too."""
    transform = pytest.importorskip("IPython.core.inputtransformer2").TransformerManager().transform_cell
    ours, theirs = ast.parse(python_of(CELLS[case]).text), ast.parse(transform(CELLS[case]))
    assert bound(ours) == bound(theirs) and "f" in bound(ours)
    assert python_of(CELLS[case]).text.count("\n") == CELLS[case].count("\n")
    line = next(node.lineno for node in ast.walk(ours) if isinstance(node, ast.FunctionDef))
    assert "def f(" in CELLS[case].split("\n")[line - 1]


def bound(tree: ast.Module) -> set[str]:
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return names | {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


@pytest.mark.parametrize(
    ("cell", "left"),
    [
        ("%%time\nx = 1", "\nx = 1"),
        ("\n%%capture out\n%%time\nx = 1", "\n\n\nx = 1"),
        ("%time x = 1", "x = 1"),
        ("%%bash\nx = 1", "\n"),
        ("x = 1\r\ny = 2\rz = 3", "x = 1\ny = 2\nz = 3"),
        ("x = 1  # a\u2028b\x0cc", "x = 1  # a\u2028b\x0cc"),
        ("def f(:\n    %who", "def f(:\n    %who"),
    ],
)
def test_what_is_left_of_a_cell(cell: str, left: str):
    assert python_of(cell).text == left


def test_what_else_it_was_is_known():
    assert python_of("%%bash\nls").other == "bash" and python_of("%%time\nx").other == ""
