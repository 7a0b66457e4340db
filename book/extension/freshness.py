"""Results of pages are kept between builds, and made again when anything that they were made from has changed.

A page's own text is compared by jupyter-cache. What it does not see is the package, so that is added here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from jupyter_cache import get_cache
from sphinx.application import Sphinx
from sphinx.config import Config

import diffusion_lab

BOOK = Path(__file__).resolve().parents[1]
PACKAGE = Path(diffusion_lab.__file__).resolve().parent
LIBRARIES = ("matplotlib", "myst-nb", "numpy", "pillow", "scikit-learn", "torch")
DATA = "DIFFUSION_LAB_DATA"


def fingerprint(package: Path = PACKAGE, book: Path = BOOK) -> str:
    """A hash of all that a page can read, the page itself left out, and of which real data are at hand."""
    seen = hashlib.sha256()
    files = [file for file in sorted(package.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
    files += [book / "pages.py", *sorted((book / "recorded").glob("*"))]
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        seen.update(f"{file.name} {content}\n".encode())
    seen.update(" ".join([sys.version, *(f"{name} {version(name)}" for name in LIBRARIES)]).encode())
    folder = os.environ.get(DATA)
    names = sorted(path.name for path in Path(folder).iterdir()) if folder and Path(folder).is_dir() else []
    seen.update(f"data: {' '.join(names)}".encode())
    return seen.hexdigest()


def forget_stale_results(app: Sphinx, config: Config) -> None:
    """Empty the cache where its fingerprint is another one; the configuration value makes Sphinx read all pages."""
    config.book_fingerprint = fingerprint()
    cache = Path(config.nb_execution_cache_path or Path(app.outdir).parent / ".jupyter_cache")
    mark = cache / "fingerprint.txt"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != config.book_fingerprint:
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        mark.write_text(config.book_fingerprint, encoding="utf-8")
    # Made here, because two processes that read the first two pages at once would both make its tables.
    get_cache(cache).list_cache_records()


def setup(app: Sphinx) -> None:
    app.add_config_value("book_fingerprint", "", "env", [str])
    app.connect("config-inited", forget_stale_results)
