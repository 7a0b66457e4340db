"""A folder that stands for /sys/fs/cgroup: in it groups have the kernel's files, and processes move between them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffusion_lab.grading.isolation import groups

FILES = {
    "cgroup.controllers": "cpu memory pids\n", "cgroup.subtree_control": "", "cgroup.procs": "", "cgroup.kill": "",
    "memory.max": "max\n", "memory.swap.max": "max\n", "memory.oom.group": "0\n", "memory.current": "4096\n",
    "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
    "pids.max": "max\n", "pids.current": "1\n", "pids.events": "max 0\n",
}  # fmt: skip


class Kernel:
    """What a kernel does in its tree of groups, in a folder of plain files.

    Args:
        root: the folder.
        files: of each group, with what they hold at first.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str] | None = None):
        self.root, self.files = root, FILES if files is None else files
        self.refused: dict[str, OSError] = {}
        """Names of files that cannot be written, with what the kernel says."""
        self._mkdir, self._rmdir, self._write = os.mkdir, os.rmdir, groups._write
        root.mkdir(exist_ok=True)
        monkeypatch.setattr(os, "mkdir", self.mkdir)
        monkeypatch.setattr(os, "rmdir", self.rmdir)
        monkeypatch.setattr(groups, "_write", self.write)

    def own(self, name: str, *processes: int) -> tuple[Path, Path]:
        """A group with these processes in it, and the file that says that it is one's own."""
        group = self.root / name
        group.mkdir(parents=True)
        (group / "cgroup.procs").write_text("".join(f"{process}\n" for process in processes))
        file = self.root.parent / "own"
        file.write_text(f"1:name=old:/elsewhere\n0::/{name}\n")
        return group, file

    def mkdir(self, path: Path, *mode: int, **place: int) -> None:
        self._mkdir(path, *mode, **place)
        if self.root in Path(path).parents:
            for name, text in self.files.items():
                (Path(path) / name).write_text(text)

    def rmdir(self, path: Path, **place: int) -> None:
        if self.root not in Path(path).parents:
            return self._rmdir(path, **place)
        if (Path(path) / "cgroup.procs").read_text():
            raise OSError(16, "Device or resource busy")
        for file in Path(path).iterdir():  # a kernel lets go of them with the group
            file.unlink()
        self._rmdir(path, **place)

    def write(self, file: Path, value: str) -> None:
        if file.name in self.refused:
            raise self.refused[file.name]
        if file.name == "cgroup.procs":
            value = f"{value}\n"
            for other in self.root.rglob("cgroup.procs"):
                other.write_text(other.read_text().replace(value, ""))
            value = file.read_text() + value
        if file.name == "cgroup.subtree_control":
            value = value.replace("+", "")
        if file.exists():
            os.truncate(file, 0)
        self._write(file, value)
        if file.name == "cgroup.kill":
            (file.parent / "cgroup.procs").write_text("")


def processes(group: Path) -> list[int]:
    return [int(line) for line in (group / "cgroup.procs").read_text().split()]
