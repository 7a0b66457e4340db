"""The book for its tests: its sources, and the built pages, made once for all parallel workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
HTML = ROOT / "_build" / "html"
BUILD = "from jupyter_book.cli.main import main; main()"  # what the command `jupyter-book` runs
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BUILT = "BOOK_HTML"
"""The variable that names a folder of built pages, to test those as they are and build nothing."""

sys.path.insert(0, str(BOOK))  # the pages import `pages`, and Sphinx imports `extension`
THIS_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the built pages: what `make book` does, in the same place, so that what is fresh stays."""
    if given := os.environ.get(BUILT):
        return Path(given).resolve()
    log = ROOT / "_build" / "tests.txt"
    log.parent.mkdir(exist_ok=True)
    with FileLock(ROOT / "_build" / "tests.lock"):
        if not log.is_file() or not log.read_text(encoding="utf-8").startswith(f"{THIS_RUN} "):
            command = [sys.executable, "-c", BUILD, "build", "-W", "-n", "--keep-going", "book"]
            environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
            done = subprocess.run(
                command, cwd=ROOT, env=environment, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            log.write_text(f"{THIS_RUN} {done.returncode}\n{done.stdout}", encoding="utf-8")
    said = log.read_text(encoding="utf-8")
    assert said.startswith(f"{THIS_RUN} 0\n"), said
    return HTML


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser of the system. Where the continuous check has none, that is a fault."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    assert found, "the continuous check needs a Chromium"
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator:
    # No name is resolved, so nothing leaves this machine. Root, as in a container, cannot have Chromium's own sandbox.
    options = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--autoplay-policy=no-user-gesture-required"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--no-sandbox")
    from playwright.sync_api import sync_playwright  # only the slow tests need it

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=chromium, args=options)
        yield running
        running.close()
