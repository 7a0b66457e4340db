"""Who looks for the course's own package in the sandbox, where it is not, is noted for the instructor."""

from __future__ import annotations

import sys
from pathlib import Path

from diffusion_lab.grading.judge.calling import PACKAGE

MOST_ATTEMPTS = 5
NAME = "diffusion_lab"


class Attempts:
    """From here on there is no module of this package to import, and whoever looks for one, or for a file, is noted."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        # The environment may lie in a folder of any name, and honest libraries open their own files.
        self._ours = tuple(
            str(Path(path)) for path in {sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path} if path
        )
        for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
            del sys.modules[name]
        sys.meta_path.insert(0, self)
        sys.addaudithook(self._hear)

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == NAME:
            self._note(name)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def _hear(self, event: str, given: tuple) -> None:
        if event == "open" and isinstance(given[0], str) and NAME in given[0] and self.reaches(given[0]):
            self._note(given[0])

    def reaches(self, path: str) -> bool:
        """Whether a file of that path would be the package's: one below a folder, or a module, of its name.

        What says that the package is installed (`diffusion_lab-1.0.dist-info`) is read by whoever asks Python for its
        plug-ins, as torchvision and torch.compile do. Tracebacks open the files that do exist in the sandbox.
        """
        if path.startswith(str(PACKAGE)):
            return False
        for home in sorted(self._ours, key=len, reverse=True):
            if path.startswith(home.rstrip("/") + "/"):
                path = path[len(home.rstrip("/")) + 1 :]
                break
        return any(part == NAME or part.startswith(NAME + ".") for part in path.split("/"))

    def _note(self, what: str) -> None:
        if what not in self.seen and len(self.seen) < MOST_ATTEMPTS:
            self.seen.append(what[:200])
