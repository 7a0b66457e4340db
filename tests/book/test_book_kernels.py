"""Kernels of pages are forked from one process, and are as apart from each other as if each had been started alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import nbformat
import pytest
from book_source import ROOT
from extension import kernels
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="pages' kernels are forked on Linux alone"),
]
BOOK = ROOT / "book"


@pytest.fixture(scope="module")
def forking() -> Iterator[None]:
    endings = []
    kernels.start(SimpleNamespace(connect=lambda event, call: endings.append(call)), None, ["a_page"])
    yield
    for call in endings:
        call()


def run(*cells: str) -> str:
    """What the cells of a page print."""
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(page, resources={"metadata": {"path": str(BOOK)}}, timeout=120).execute()
    return "".join(output["text"] for cell in page.cells for output in cell.outputs)


@pytest.mark.usefixtures("forking")
def test_kernels_are_forked_and_know_nothing_of_each_other():
    loaded = "import sys; ready = 'torch' in sys.modules; import os; print(os.getppid(), ready, os.getcwd())"
    first = run(
        loaded, "import torch; torch.shared = left = 1; os.environ['LEFT'] = '1'; off = torch.set_grad_enabled(False)"
    )
    second = run(loaded, "import torch; print(hasattr(torch, 'shared'), 'left' in globals(), os.getenv('LEFT'))")
    assert first.split()[1:] == ["True", str(BOOK)]
    assert second.split() == [*first.split(), "False", "False", "None"]
    assert run("import torch; print(torch.is_grad_enabled())").strip() == "True"


@pytest.mark.usefixtures("forking")
def test_a_fault_and_a_crash_in_a_page_are_told():
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run("1 / 0")
    with pytest.raises(DeadKernelError):
        run("import os; os._exit(3)")
    assert run("print('next')").strip() == "next"


def test_the_process_that_forks_ends_with_the_build():
    endings = []
    kernels.start(SimpleNamespace(connect=lambda event, call: endings.append(call)), None, ["a_page"])
    address = kernels.ForkedProvisioner.address
    client = kernels.Forked(address, {"arguments": ["--version"], "cwd": str(BOOK), "env": {}})
    assert client.wait() == 0
    endings[0]()
    assert not kernels.ForkedProvisioner.address
    with pytest.raises(FileNotFoundError):
        kernels.Forked(address, {})
