"""`diffusion-lab start`: the released notebooks in a folder, and what becomes of a learner's work in it."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.utils import compute_checksum
from sample_course import ROOT
from typer.testing import CliRunner

import diffusion_lab
from diffusion_lab.cli import app
from diffusion_lab.errors import LabError
from diffusion_lab.exercises.catalogue import NOTEBOOKS
from diffusion_lab.grading.notebook import handing_out, load
from diffusion_lab.grading.notebook.handing_out import lay_out, released_folder
from diffusion_lab.grading.notebook.renewing import paper_of, released_checksum

FIRST = "01_normal_1d/01_normal_1d.ipynb"
ANSWER = "def linear_betas(T, beta_start, beta_end):\n    return torch.linspace(beta_start, beta_end, T).double()"
OLD, NEW = diffusion_lab.__version__, "99.0"
runner = CliRunner()


def start(*arguments: object):
    return runner.invoke(app, ["start", *map(str, arguments)])


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def edit(file: Path, change) -> None:
    document = json.loads(file.read_text(encoding="utf-8"))
    change(document)
    file.write_text(json.dumps(document), encoding="utf-8")


def cell(document: dict, name: str) -> dict:
    return next(cell for cell in document["cells"] if cell["id"] == name)


def answer(document: dict) -> None:
    """As a learner leaves a notebook: an answer, outputs, a cell of their own, and a note in a text."""
    found = cell(document, "linear_betas")
    found["source"] = ANSWER
    found["execution_count"] = 3
    cell(document, "linear_betas-check")["outputs"] = [{"name": "stdout", "output_type": "stream", "text": ["4 of 4"]}]
    place = document["cells"].index(found)
    own = {
        "cell_type": "code",
        "execution_count": 4,
        "id": "a1b2c3d4",
        "metadata": {},
        "outputs": [],
        "source": "1 + 1",
    }
    document["cells"].insert(place + 1, own)


@pytest.fixture
def newer(tmp_path: Path, monkeypatch) -> Path:
    """Another release: one statement and one stub changed, one exercise gone, one new; nothing else."""
    folder = tmp_path / "released"
    shutil.copytree(ROOT / "exercises", folder)

    def change(document: dict) -> None:
        document["metadata"]["diffusion_lab"]["release"] = NEW
        cells = document["cells"]
        cell(document, "linear_betas-text")["source"].append("\nOne more sentence.")
        stub = nbformat.from_dict(cell(document, "q_sample"))
        stub.source = "".join(stub.source).replace("x0", "clean")
        stub.metadata.nbgrader.checksum = compute_checksum(stub)
        cells[cells.index(cell(document, "q_sample"))] = stub
        for name in ("loss_floor-text", "loss_floor", "loss_floor-check"):
            cells.remove(cell(document, name))
        fresh = copy.deepcopy(nbformat.from_dict(cell(document, "alpha_bar")))
        fresh.source = "def beta_bar():\n    # YOUR CODE HERE\n    raise NotImplementedError()"
        fresh.id = fresh.metadata.nbgrader.grade_id = "beta_bar"
        fresh.metadata.nbgrader.checksum = compute_checksum(fresh)
        cells.insert(6, fresh)

    edit(folder / FIRST, change)
    monkeypatch.setattr(handing_out, "RELEASED", (folder,))
    monkeypatch.setattr(diffusion_lab, "__version__", NEW)
    return folder


def test_an_empty_folder_gets_what_is_released(tmp_path: Path):
    done = start(tmp_path / "a" / "b")
    assert done.exit_code == 0, done.output
    assert contents(tmp_path / "a" / "b") == contents(ROOT / "exercises")
    assert done.stdout.startswith(f"{len(NOTEBOOKS)} notebooks of release ") and FIRST in done.stdout


def test_work_is_never_touched(tmp_path: Path):
    start(tmp_path)
    edit(tmp_path / FIRST, answer)
    (tmp_path / "05_mnist" / "05_mnist.ipynb").write_text("torn {", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "02_normal_2d" / "02_normal_2d.ipynb").unlink()
    before = contents(tmp_path)
    for arguments, said in (((), "1 notebook of release"), (("--update",), "already, with 1 answer of yours in them")):
        done = start(tmp_path, *arguments)
        assert done.exit_code == 0, done.output
        assert said in done.stdout
        after = contents(tmp_path)
        assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"02_normal_2d/02_normal_2d.ipynb"}
    assert "with 1 answer of yours" in done.stdout
    assert "05_mnist.ipynb is left as it is: it cannot be read as a notebook" in done.stdout


def test_a_newer_release_says_what_changed_and_touches_nothing(tmp_path: Path, newer: Path):
    folder = tmp_path / "mine"
    shutil.copytree(ROOT / "exercises", folder)
    edit(folder / FIRST, answer)
    before = contents(folder)
    done = start(folder)
    assert done.exit_code == 0, done.output
    assert contents(folder) == before
    told = next(line for line in done.stdout.splitlines() if FIRST in line)
    assert told.partition(": ")[2] == (
        f"made for release {OLD}, with 1 answer of yours. "
        f"Release {NEW} has: it asks for beta_bar; it no longer asks for loss_floor; another text for linear_betas; "
        "another function for q_sample"
    )
    assert f"`diffusion-lab start {folder} --update`" in done.stdout


def test_an_update_keeps_answers_own_cells_and_the_old_notebook(tmp_path: Path, newer: Path):
    folder = tmp_path / "mine"
    shutil.copytree(ROOT / "exercises", folder)

    def work(document: dict) -> None:
        answer(document)
        cell(document, "q_sample")["source"] = "def q_sample(*mine):\n    return mine"
        cell(document, "loss_floor")["source"] = "def loss_floor(*mine):\n    return 0"

    edit(folder / FIRST, work)
    before = (folder / FIRST).read_bytes()
    done = start(folder, "--update")
    assert done.exit_code == 0, done.output
    assert (folder / "earlier" / f"01_normal_1d_{OLD}.ipynb").read_bytes() == before

    now = nbformat.read(folder / FIRST, as_version=4)
    nbformat.validate(now)
    names = [one.id for one in now.cells]
    assert len(set(names)) == len(names)
    by_name = {one.id: one for one in now.cells}
    assert by_name["linear_betas"].source == ANSWER and by_name["linear_betas"].execution_count == 3
    assert "One more sentence." in by_name["linear_betas-text"].source
    assert by_name["linear_betas-check"].outputs  # that cell is what it was
    assert by_name["q_sample"].source == "def q_sample(*mine):\n    return mine"
    released = {one["id"]: one for one in json.loads((newer / FIRST).read_text(encoding="utf-8"))["cells"]}
    assert by_name["q_sample"].metadata.nbgrader == released["q_sample"]["metadata"]["nbgrader"]
    assert names[names.index("linear_betas") + 1] == "a1b2c3d4"
    assert set(names) == {*released, "a1b2c3d4", "loss_floor"}
    assert "nbgrader" not in by_name["loss_floor"].metadata and "return 0" in by_name["loss_floor"].source
    assert now.metadata.diffusion_lab.release == NEW
    assert "linear_betas" in load(folder / FIRST).names

    again = start(folder, "--update")
    assert again.exit_code == 0 and "earlier" not in again.stdout
    assert len(list((folder / "earlier").iterdir())) == 1


def test_cells_without_names_keep_their_answers(tmp_path: Path, newer: Path):
    """Some services leave the cells' names out, and an editor may write older formats."""
    folder = tmp_path / "mine"
    shutil.copytree(ROOT / "exercises", folder)

    def work(document: dict) -> None:
        answer(document)
        document["nbformat_minor"] = 4
        for one in document["cells"]:
            one.pop("id")

    edit(folder / FIRST, work)
    lay_out(folder, update=True)
    now = nbformat.read(folder / FIRST, as_version=4)
    nbformat.validate(now)
    sources = [one.source for one in now.cells]
    assert sources.count(ANSWER) == 1 and sources.count("1 + 1") == 1
    assert sum(source.startswith("# Chapter 1") for source in sources) == 1


def test_a_folder_in_another_case_is_the_same_one(tmp_path: Path):
    """Windows and macOS take both for one, and a folder that goes there must not hold two."""
    work = tmp_path / "01_Normal_1D" / "01_NORMAL_1d.ipynb"
    work.parent.mkdir()
    shutil.copyfile(ROOT / "exercises" / FIRST, work)
    edit(work, answer)
    before = work.read_bytes()
    placed = lay_out(tmp_path)
    assert placed[0].path == work and placed[0].state == "unchanged" and work.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == len(NOTEBOOKS)


def test_faults_are_told_before_or_with_what_was_done(tmp_path: Path, monkeypatch):
    with pytest.raises(LabError, match="the released notebooks themselves"):
        lay_out(released_folder())
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match=r"file is a file; name a folder"):
        lay_out(tmp_path / "file")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "03_mixture").touch()
    done = start(tmp_path / "half")
    assert done.exit_code == 2
    assert "03_mixture: " in done.stderr and "4 notebooks were written before it" in done.stderr

    def closed(self: Path, *_: object, **__: object):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", closed)  # as in a read-only folder, which holds nobody back who is root
    done = start(tmp_path / "closed")
    assert done.exit_code == 2 and done.stderr.endswith("01_normal_1d: Permission denied\n")


def test_released_notebooks_with_answers_in_them_are_not_handed_out(tmp_path: Path, monkeypatch):
    shutil.copytree(ROOT / "exercises", tmp_path / "released")
    edit(tmp_path / "released" / FIRST, answer)
    monkeypatch.setattr(handing_out, "RELEASED", (tmp_path / "released",))
    with pytest.raises(LabError, match="has answers in it"):
        lay_out(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_the_checksum_is_that_of_nbgrader():
    for file in sorted((ROOT / "exercises").glob("*/*.ipynb")):
        document = nbformat.read(file, as_version=4)
        answers = [one for one in document.cells if one.metadata.get("nbgrader", {}).get("solution")]
        assert answers
        for one in answers:
            assert released_checksum(one.metadata.nbgrader.grade_id, one.source) == compute_checksum(one)
        assert not paper_of(file.read_bytes()).answers


def test_a_windows_console_shows_it(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-m", "diffusion_lab", "start", str(tmp_path / "Übung λ")],
        env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Übung lambda" in done.stdout.decode("cp1252")
