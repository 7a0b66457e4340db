"""Say whether a release may be made of this tree: one version everywhere, and the addresses of this repository.

    python scripts/check_release.py v1.2.0 [https://github.com/OWNER/NAME]

It needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from diffusion_lab import __version__  # noqa: E402
from diffusion_lab.addresses import repository_address  # noqa: E402


def faults(tag: str, repository: str, root: Path = ROOT) -> list[str]:
    """What stands in the way, each with what to do."""
    found = []
    if tag != f"v{__version__}":
        found.append(f"the tag is {tag}, and diffusion_lab/__init__.py says {__version__}; they go together")
    heading = re.search(rf"^## \[{re.escape(__version__)}\] - (.+)$", _text(root / "CHANGELOG.md"), re.MULTILINE)
    if heading is None or not re.fullmatch(r"\d{4}-\d\d-\d\d", heading[1].strip()):
        found.append(f"CHANGELOG.md needs the heading `## [{__version__}] - YYYY-MM-DD`")
    cited = re.search(r"^version: *(\S+)", _text(root / "CITATION.cff"), re.MULTILINE)
    if cited is None or cited[1].strip("\"'") != __version__:
        found.append(f"CITATION.cff needs `version: {__version__}`")
    if repository and repository_address().lower() != repository.rstrip("/").lower():
        named = repository_address() or "no repository"
        found.append(
            f"diffusion_lab/addresses.py names {named}, and this is {repository}; set REPOSITORY there and run "
            "`make notebooks`"
        )
    return found


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def main(arguments: list[str]) -> int:
    if not 1 <= len(arguments) <= 2:
        sys.exit(__doc__)
    found = faults(arguments[0], arguments[1] if len(arguments) == 2 else "")
    for fault in found:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
