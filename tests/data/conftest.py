"""What the tests of the data share: a cache of their own, so that no test sees another one's files or the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffusion_lab.data import storage


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setattr(storage, "user_cache", lambda: cache)
    return cache
