"""A function that its cell no longer has is not judged: a real IPython shell, and what an editor says of its cells."""

from __future__ import annotations

import pytest

from diffusion_lab.grading.notebook import kernel, session

RIGHT = "def alpha_bar(betas):\n    return torch.cumprod(1 - betas, 0)"


@pytest.fixture
def shell(monkeypatch):
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    made = interactive.InteractiveShell()
    made.history_manager.enabled = False
    monkeypatch.setattr("IPython.get_ipython", lambda: made)
    made.run_cell("import torch\nfrom diffusion_lab.grading import start\nlab = start('normal_1d', globals())")
    yield made
    made.history_manager.end_session()


def checked(shell, capsys) -> str:
    capsys.readouterr()
    shell.user_ns["lab"].check("alpha_bar")
    return capsys.readouterr().out


def test_what_has_just_run_is_judged(shell, capsys):
    shell.run_cell(RIGHT, cell_id="a")
    assert checked(shell, capsys).startswith("✓")
    shell.run_cell("x = alpha_bar(torch.rand(3))\n1 / 0", cell_id="b")
    shell.run_cell("print(undefined)", cell_id="a2")
    assert checked(shell, capsys).startswith("✓"), "failures of other cells say nothing of it"


BROKEN = {
    "syntax": (RIGHT.replace("):", ")"), "SyntaxError"),
    "half typed": (RIGHT + "\nalpha_bar(", "SyntaxError"),
    "fails above it": ("undefined\n" + RIGHT, "NameError: name 'undefined' is not defined"),
    "magic": ("%%time\n" + RIGHT.replace("):", ")"), "SyntaxError"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("cell", ["a", "other", None])
def test_a_broken_edit_is_told(case, cell, shell, capsys):
    text, fault = BROKEN[case]
    shell.run_cell(RIGHT, cell_id="a" if cell else None)
    shell.run_cell(text, cell_id=cell)
    said = checked(shell, capsys)
    assert said.startswith("✗ alpha_bar: 0 of 4 points") and fault in " ".join(said.split())
    assert "older one" in said
    shell.run_cell(RIGHT, cell_id=cell)
    assert checked(shell, capsys).startswith("✓"), "mended"


def test_a_renamed_function_is_told(shell, capsys):
    shell.run_cell(RIGHT, cell_id="a")
    shell.run_cell(RIGHT.replace("alpha_bar", "my_alpha_bar"), cell_id="a")
    said = " ".join(checked(shell, capsys).split())
    assert said.startswith("✗") and "has my_alpha_bar now, and no longer defines alpha_bar" in said


def test_a_variant_in_another_cell_is_no_rename(shell, capsys):
    shell.run_cell(RIGHT, cell_id="a")
    shell.run_cell(RIGHT.replace("alpha_bar", "alpha_bar_loop"), cell_id="b")
    assert checked(shell, capsys).startswith("✓")


def test_a_trial_that_fails_below_the_function_costs_nothing(shell, capsys):
    shell.run_cell(RIGHT, cell_id="a")
    shell.run_cell(RIGHT + "\nalpha_bar('x')", cell_id="a")
    assert checked(shell, capsys).startswith("✓")


def test_the_latest_session_watches_alone(shell):
    shell.run_cell("lab = start('normal_1d', globals())")
    watching = [
        c for c in shell.events.callbacks["post_run_cell"] if isinstance(getattr(c, "__self__", 0), kernel.Kernel)
    ]
    assert len(watching) == 1 and watching[0].__self__ is shell.user_ns["lab"].kernel


def test_outside_of_a_kernel_nothing_is_watched(namespace):
    assert session.start("normal_1d", namespace).kernel is None


def test_after_a_restart_the_table_says_what_to_do(namespace, capsys):
    lab = session.start("normal_1d", namespace)
    lab.show()
    assert "Run the checks again" in capsys.readouterr().out
    lab.check("alpha_bar")
    capsys.readouterr()
    lab.show()
    assert "again" not in capsys.readouterr().out
