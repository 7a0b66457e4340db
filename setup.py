"""What pyproject.toml cannot say: the notebooks and the book go into the wheel, and addresses are set in one place.

`DIFFUSION_LAB_BOOK=FOLDER` names the folder of a built book, such as `_build/html`, which then travels in the wheel.
"""

from __future__ import annotations

import os
import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import FileError

ROOT = Path(__file__).resolve().parent
ADDRESSES = runpy.run_path(str(ROOT / "diffusion_lab" / "addresses.py"))
BOOK = "DIFFUSION_LAB_BOOK"


class BuildWithNotebooks(build_py):
    """Copies `exercises/` and, where it is named, the book. In an editable install both are taken from the clone."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "diffusion_lab"
        notebooks = sorted((ROOT / "exercises").glob("*/*.ipynb"))
        if not notebooks:
            raise FileError(f"{ROOT / 'exercises'} has no notebooks; `make notebooks` writes them")
        for target in ("notebooks", "book"):
            shutil.rmtree(package / target, ignore_errors=True)
        for file in notebooks:
            target = package / "notebooks" / file.parent.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        if os.environ.get(BOOK):
            book = Path(os.environ[BOOK]).resolve()
            if not (book / "index.html").is_file():
                raise FileError(f"{BOOK}={book} has no index.html; `make book` builds the book to _build/html")
            leftovers = shutil.ignore_patterns("_sources", "objects.inv", ".buildinfo", ".doctrees")
            shutil.copytree(book, package / "book", ignore=leftovers)


def addresses() -> dict[str, str]:
    found = {"Repository": ADDRESSES["repository_address"](), "Documentation": ADDRESSES["book_address"]()}
    return {name: address for name, address in found.items() if address}


setup(cmdclass={"build_py": BuildWithNotebooks}, project_urls=addresses())
