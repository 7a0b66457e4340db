"""No reference, wrong answer or hint lies in any file that the sandbox can see, whatever the file is called."""

from __future__ import annotations

import pytest

SEARCH = """
import os
WORDS = [b"def ddpm_" + b"step", b"def cumulative_" + b"transitions", b"WRONG" + b"_ANSWERS", b"wrong_" + b"answers="]
found, seen = [], 0
for folder, _, files in os.walk("/"):
    if folder.startswith(("/proc", "/sys", "/dev")):
        continue
    for name in files:
        path = os.path.join(folder, name)
        if name.endswith((".py", ".pyc", ".ipynb", ".json", ".txt", ".md", ".pth", ".db")) or "diffusion" in path:
            try:
                with open(path, "rb") as file:
                    data = file.read(2_000_000)
            except OSError:
                continue
            seen += 1
            if any(word in data for word in WORDS):
                found.append(path)
raise ValueError((found, seen))
"""


@pytest.mark.slow
def test_no_file_in_the_sandbox_has_the_reference(sandbox):
    with sandbox.open() as session:
        said = session.run_cell("search", SEARCH, limit=200).message
    found, seen = said.strip("()").rsplit(", ", 1)
    assert found == "[]" and int(seen) > 1000, said
