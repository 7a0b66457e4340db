"""Downloads as learning platforms make them, with notebooks of one's own."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusion_lab.exercises.catalogue import folder_name

CHAPTER = "normal_1d"
NAME = folder_name(CHAPTER)


def notebook(text: str, chapter: str | None = CHAPTER) -> bytes:
    """A notebook of a chapter, with a text by which it is known again."""
    metadata: dict[str, Any] = {} if chapter is None else {"diffusion_lab": {"chapter": chapter}}
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None, "source": text}
    return json.dumps({"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()


def packed(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def laid(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def submitted(course: Path) -> dict[str, str]:
    """student -> the text of the notebook that is laid out."""
    found = course.glob(f"submitted/*/{NAME}/{NAME}.ipynb")
    return {path.parts[-3]: json.loads(path.read_bytes())["cells"][0]["source"] for path in found}
