"""Print constraints.txt with another torch, and the torchvision and torchaudio that go with it.

    python scripts/torch_set.py 2.6

`make test-torch TORCH=2.6` installs by them. It needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from diffusion_lab.errors import companion  # noqa: E402

OF_TORCH = re.compile(r"(?:torch|torchvision|torchaudio|triton|setuptools|sympy)(?![\w-])")
"""What torch asks for in a release of its own; everything else keeps its pin."""


def constraints(torch: str) -> str:
    """The text of a constraints file for a release of torch, such as "2.6" or "2.6.1"."""
    if not re.fullmatch(r"2\.\d+(\.\d+)?", torch):
        sys.exit(f"error: {torch!r} is no release of torch such as 2.6")
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not OF_TORCH.match(line)]
    release = f"torch=={torch}" if torch.count(".") == 2 else f"torch=={torch}.*"
    return "\n".join([*kept, release, *(companion(name, torch) for name in ("torchvision", "torchaudio"))]) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(constraints(sys.argv[1]), end="")
