"""What every test shares: the folder of real data, quiet pictures, one thread for each process, and walls."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import diffusion_lab  # noqa: F401 - before torch, whose threads it keeps from spinning long

# Both are read when a library is first imported, so they are set before any test module is.
os.environ.setdefault("MPLBACKEND", "Agg")
# Tests run side by side, and equal runs are equal to the last digit only with equally many threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# On a busy machine drawing an example may take a second, which says nothing about the code under test.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

DATA_VARIABLE = "DIFFUSION_LAB_DATA"
LONGEST = Path(__file__).parent / "quality"
"""Whole chapters are trained there."""


def _real_data_folder() -> Path | None:
    value = os.environ.get(DATA_VARIABLE)
    return Path(value).expanduser().resolve() if value and Path(value).expanduser().is_dir() else None


def pytest_report_header() -> str:
    return f"real data: {_real_data_folder() or 'none'} ({DATA_VARIABLE})"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What is loaded for ten thousand tests stays until the end, so nobody need search it again and again for waste."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A nightly test is a slow one too, and the longest come first: none of them begins when the others are done."""
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker("slow")
    items.sort(key=lambda item: LONGEST != item.path.parent)
    skip_without_real_data(items)


def skip_without_real_data(items: list[pytest.Item]) -> None:
    """Skip the tests marked real_data where there is none, with a reason that says what to set."""
    if _real_data_folder() is not None:
        return
    value = os.environ.get(DATA_VARIABLE)
    reason = f"{DATA_VARIABLE} is {f'{value!r}, which is no folder' if value else 'not set'}"
    for item in items:
        if item.get_closest_marker("real_data"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def real_data_folder() -> Path:
    """The folder of real data. A test that asks for it also carries the marker real_data."""
    folder = _real_data_folder()
    if folder is None:
        pytest.skip(f"{DATA_VARIABLE} names no folder")
    return folder


@pytest.fixture(autouse=True)
def no_offer_stays() -> Iterator[None]:
    """What a notebook that a test has read says of its course does not last beyond the test."""
    yield
    offers = sys.modules.get("diffusion_lab.exercises.offers")
    if offers is not None:
        offers._adopted.clear()


@pytest.fixture(autouse=True)
def schema_asked_once() -> None:
    """The version of nbgrader's tables is one for each nbgrader, and the process that says it takes seconds.

    Every new gradebook asks for it. In each test process one or two still do.
    """
    api = sys.modules.get("nbgrader.api")
    if api is not None and not hasattr(api.get_alembic_version, "cache_info"):
        api.get_alembic_version = functools.cache(api.get_alembic_version)


_made: dict[str, Callable[..., Any]] = {}
"""Loader of bundled data -> the same, which keeps what it has made."""


@pytest.fixture
def bundled_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats, sounds and pictures that come with the package take seconds to make, and are always the same.

    Whoever asks for this changes none of them in place.
    """
    from diffusion_lab.data import catalogue

    function, bundled = catalogue._function, {entry.bundled_loader for entry in catalogue.ENTRIES.values()}

    def kept(loader: str) -> Callable[..., Any]:
        if loader not in bundled:
            return function(loader)
        if loader not in _made:
            _made[loader] = functools.cache(function(loader))
        return _made[loader]

    monkeypatch.setattr(catalogue, "_function", kept)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run whose figures nobody looks at; drawing them takes longer than a training at smoke budget."""
    monkeypatch.setattr("diffusion_lab.chapters.figures.draw_figures", lambda *_: {})


@pytest.fixture(scope="session")
def bubblewrap() -> None:
    """The program that makes the walls. Where the continuous check has none, that is a fault."""
    if shutil.which("bwrap") is None and not os.environ.get("CI"):
        pytest.skip("bubblewrap is not installed on this machine")


@pytest.fixture(scope="session")
def sandbox(bubblewrap: None) -> Iterator[Any]:
    """One sandbox for all tests of a process; each test opens its own sessions in it."""
    from diffusion_lab.grading.isolation.sandbox import Sandbox

    with Sandbox() as started:
        yield started


@pytest.fixture(scope="session")
def workers(bubblewrap: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two workers that grade, for all tests of a process."""
    from diffusion_lab.grading.classroom.parallel import Classroom

    with Classroom(tmp_path_factory.mktemp("course"), jobs=2) as opened:
        yield opened
