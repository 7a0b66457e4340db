"""What a wheel holds, and that nothing else is needed: installed by itself, it starts, checks and samples."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from test_repository import ROOT, tracked_files

import diffusion_lab
from diffusion_lab.exercises.catalogue import NOTEBOOKS

pytestmark = pytest.mark.slow

FIRST = "exercises/01_normal_1d/01_normal_1d.ipynb"


def run(*command: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=600
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from what git has, with a book of one page in it, in a copy: a build leaves its own folders behind."""
    clone = tmp_path_factory.mktemp("clone")
    for name in tracked_files():
        target = clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    book = clone / "_build" / "html"
    book.mkdir(parents=True)
    (book / "index.html").write_text("<p>The book</p>", encoding="utf-8")
    (book / "objects.inv").touch()
    command = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", clone / "dist", ".")
    done = run(*command, cwd=clone, DIFFUSION_LAB_BOOK="_build/html")
    assert done.returncode == 0, done.stdout + done.stderr
    return next((clone / "dist").glob("*.whl"))


def test_it_holds_the_package_the_notebooks_and_the_book(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert (
            archive.read(f"diffusion_lab/{FIRST.replace('exercises', 'notebooks', 1)}") == (ROOT / FIRST).read_bytes()
        )
    expected = {name for name in tracked_files() if name.startswith("diffusion_lab/")}
    expected |= {f"diffusion_lab/notebooks/{name[10:]}" for name in tracked_files() if name.startswith("exercises/")}
    assert names == expected | {"diffusion_lab/book/index.html"}


def test_installed_by_itself_it_starts_checks_and_samples(wheel: Path, tmp_path: Path):
    """Its libraries are those of the environment that runs the tests, and the course's own is not among them."""
    venv.create(tmp_path / "env", with_pip=False)
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    place = run(scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path)
    site, libraries = Path(place.stdout.strip()), Path(pytest.__file__).parents[1]
    command = (sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--no-deps", "--no-index", wheel)
    assert (done := run(*command, cwd=tmp_path)).returncode == 0, done.stdout + done.stderr
    (site / "libraries.pth").write_text(f"{libraries}\n", encoding="utf-8")
    where = run(scripts / "python", "-c", "import diffusion_lab; print(diffusion_lab.__file__)", cwd=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(tmp_path), where.stderr

    course, work = scripts / "diffusion-lab", tmp_path / "work"
    work.mkdir()
    started = run(course, "start", cwd=work)
    assert started.returncode == 0, started.stderr
    assert f"{len(NOTEBOOKS)} notebooks of release {diffusion_lab.__version__}" in started.stdout
    assert (work / FIRST).read_bytes() == (ROOT / FIRST).read_bytes()
    checked = run(course, "check", FIRST, cwd=work)
    assert checked.returncode == 1 and "0 of 43 points" in checked.stdout, checked.stdout + checked.stderr
    (work / "mine.py").write_text(
        "import torch\n\n\ndef alpha_bar(betas):\n    return torch.cumprod(1 - betas, 0)\n", encoding="utf-8"
    )
    checked = run(course, "check", "mine.py", "--chapter", "normal_1d", cwd=work)
    assert "alpha_bar" in checked.stdout and "1 of " in checked.stdout.splitlines()[-1], checked.stdout + checked.stderr
    sampled = run(course, "sample", "spiral", "--count", "50", cwd=work)
    assert sampled.returncode == 0, sampled.stderr
    assert list(work.glob("runs/spiral/**/*.png"))
    opened = run(course, "book", "--where", cwd=work)
    assert opened.stdout.strip() == (site / "diffusion_lab" / "book" / "index.html").resolve().as_uri()
