"""Who imports whom, read from the syntax tree; and that what must start fast loads nothing heavy."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest

import diffusion_lab

PACKAGE = Path(diffusion_lab.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LAYERS = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}

# Names directly under diffusion_lab, each a module or a package. What is named nowhere here is mathematics, and so
# under the strictest rule, until somebody decides that it sits higher.
SHARED = {"addresses", "errors", "files"}
PARTS = {"data", "networks", "metrics"}
# Exercises know the mathematics that their pieces belong to, and nothing of what runs or checks them. By the last part
# of the module's name: `slots` put pieces into a run, and `inputs` are what cases are drawn from.
COURSE = {"exercises"}
BEYOND = {"slots": {"data", "networks", "chapters"}, "inputs": {"data"}}
TOP = {
    "plots",
    "devices",
    "threads",
    "train",
    "checkpoints",
    "chapters",
    "report",
    "challenge",
    "doctor",
    "grading",
    "cli",
    "__main__",
}

# Libraries that only one part of the package may know.
NOTEBOOKS = ("nbformat", "nbgrader", "nbconvert", "nbclient", "IPython", "ipykernel", "jupyter_client", "traitlets")
ONLY_IN = {"matplotlib": {"plots"}, "typer": {"cli"}} | {
    library: {"grading"} for library in (*NOTEBOOKS, "jupyter", "jupyter_core", "dask", "distributed")
}

# The rooms of `grading`: which others each may enter, and always by the door: the names in the other's `__init__`.
ROOMS = {
    "judge": set(),
    "isolation": {"judge"},
    "notebook": {"judge"},
    "classroom": {"judge", "isolation", "notebook"},
}
# A room inside a room: whose files it may know, and the rest of that room again enters by its door.
INNER = {"judge.engine": {"calling", "comparing", "expecting", "questions"}}
# Behind the walls the doors are gone: what runs there, or talks to it, takes what it needs from the file itself.
INSIDE = {"diffusion_lab.grading.judge.calling"}
HEAVY = {"torch", "numpy", "scipy", "sklearn", "matplotlib", "accelerate", "torchvision", "torchaudio", "pandas"}


def module_name(path: Path) -> str:
    """diffusion_lab/exact/normal.py -> diffusion_lab.exact.normal"""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, module: str, is_package: bool) -> set[str]:
    """Absolute dotted names of all that the source imports, inside functions and type-checking blocks too.

    `from a import b` counts as `a.b`, for b may be a module.
    """
    package = module if is_package else module.rpartition(".")[0]
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names |= {f"{origin}.{alias.name}" for alias in node.names}
    return names


def faults(source: str, module: str, is_package: bool = False) -> list[str]:
    """The imports of this source that its place in the package forbids."""
    layer = module.partition(".")[2].partition(".")[0] or "__init__"
    found = []
    for name in sorted(imported(source, module, is_package)):
        root, _, rest = name.partition(".")
        inside = rest.partition(".")[0] if root == "diffusion_lab" else None
        standard = root in sys.stdlib_module_names
        if layer in TOP | {"__init__"}:
            allowed = root not in {"tests", "benchmarks"}
        elif layer in PARTS:
            allowed = inside in {None, layer} | SHARED
        elif layer in SHARED:
            allowed = standard
        elif layer in COURSE and inside is None:
            allowed = standard or root in {"torch", "numpy"}  # some right answers go through NumPy
        elif layer in COURSE:
            allowed = inside in (LAYERS - PARTS - TOP) | BEYOND.get(module.rpartition(".")[2], set())
        elif inside is None:
            allowed = standard or root == "torch"
        else:
            allowed = inside in LAYERS - PARTS - TOP - COURSE
        if inside == "grading":
            allowed = allowed and _through_a_door(module, rest)
        if not allowed or layer not in ONLY_IN.get(root, {layer}):
            found.append(f"{module} imports {name}")
    return found


def _through_a_door(module: str, name: str) -> bool:
    """Whether `module` may import `name`, which is below `grading`, or `grading` itself."""
    own, (room, *rest) = _room(module), name.split(".")[1:] or [""]
    if room not in ROOMS:
        return True
    if room == own:
        return _inside_a_room(module, name)
    if own in ROOMS and room not in ROOMS[own]:
        return False
    file = ".".join(["diffusion_lab", "grading", room, *rest[:1]])
    if own == "isolation" and file in INSIDE:
        return True
    folders = [path.name for path in (PACKAGE / "grading" / room).iterdir() if path.is_dir()]
    inner = rest[1:] if rest and rest[0] in folders else rest
    return len(inner) <= 1 and not (PACKAGE / "grading").joinpath(room, *rest).with_suffix(".py").is_file()


def _inside_a_room(module: str, name: str) -> bool:
    """Whether `module` may import `name` of its own room: out of a room inside it, and into one."""
    for inner, known in INNER.items():
        room = inner.partition(".")[0]
        inside = module.startswith(f"diffusion_lab.grading.{inner}.")
        into = name.startswith(f"grading.{inner}.")
        if inside and not into and name.startswith(f"grading.{room}."):
            return name.split(".")[2] in known
        if into and not inside:
            return not (PACKAGE / name.replace(".", "/")).with_suffix(".py").is_file() and name.count(".") == 3
    return True


def _room(module: str) -> str:
    """The room that a module of `grading` is in; "" for others."""
    inside = module.removeprefix("diffusion_lab.grading.")
    return inside.partition(".")[0] if inside != module else ""


def test_every_named_layer_exists():
    assert LAYERS >= PARTS | TOP | SHARED | COURSE | set.union(*ONLY_IN.values())
    assert ROOMS.keys() == {path.parent.name for path in (PACKAGE / "grading").glob("*/__init__.py")}


@pytest.mark.parametrize(
    "room", ["", *ROOMS, *INNER, "classroom.gradebook", "classroom.reports", "classroom.platforms", "classroom.rules"]
)
def test_every_name_at_a_door_is_there(room: str):
    door = importlib.import_module(f"diffusion_lab.grading.{room}".rstrip("."))
    for name in door.__all__:
        assert callable(getattr(door, name)) or not isinstance(getattr(door, name), types.ModuleType), name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_import_directions(path: Path):
    assert faults(path.read_text(encoding="utf-8"), module_name(path), path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import numpy as np", "diffusion_lab.levels"),
        ("from diffusion_lab.data import load", "diffusion_lab.losses"),
        ("from diffusion_lab import sample", "diffusion_lab.samplers.ddim"),
        ("from ..train import fit", "diffusion_lab.exact.normal"),
        ("def f():\n    from diffusion_lab.networks import mlp", "diffusion_lab.metrics.frechet"),
        ("from diffusion_lab.levels import Level", "diffusion_lab.networks.mlp"),
        ("import matplotlib.pyplot as plt", "diffusion_lab.report"),
        ("import torch", "diffusion_lab.errors"),
        ("import tests.conftest", "diffusion_lab.cli"),
        ("from diffusion_lab.metrics import frechet_distance", "diffusion_lab.exercises.cifar10.frechet_distance"),
        ("from diffusion_lab.grading import start", "diffusion_lab.exercises.mnist.slots"),
        ("import scipy.linalg", "diffusion_lab.exercises.normal_nd.gaussian_w2"),
        ("from diffusion_lab.exercises import Exercise", "diffusion_lab.schedules"),
        ("def f():\n    import nbformat", "diffusion_lab.cli.pieces"),
        ("from diffusion_lab.grading.classroom import Result", "diffusion_lab.grading.notebook.progress"),
        ("from diffusion_lab.grading.notebook import load", "diffusion_lab.grading.judge.checking"),
        ("from diffusion_lab.grading.judge.checking import check", "diffusion_lab.grading.notebook.session"),
        ("from diffusion_lab.grading.judge import checking", "diffusion_lab.grading.classroom.result"),
        ("from diffusion_lab.grading.isolation import wire", "diffusion_lab.cli.grading"),
        ("from diffusion_lab.grading.judge.engine.explaining import explain", "diffusion_lab.grading.judge.diagnosing"),
        ("from diffusion_lab.grading.judge.engine import fingerprints", "diffusion_lab.grading.judge.rehearsing"),
        ("from diffusion_lab.grading.judge.checking import check", "diffusion_lab.grading.judge.engine.searching"),
    ],
)
def test_a_forbidden_import_is_found(source: str, module: str):
    assert len(faults(source, module)) == 1


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import math\nimport torch.nn.functional as F", "diffusion_lab.levels"),
        (
            "from ..levels import Level, expand\nfrom diffusion_lab.errors import PieceError",
            "diffusion_lab.exact.normal",
        ),
        ("from .digits import load", "diffusion_lab.data.sources"),
        ("from diffusion_lab.data import load", "diffusion_lab.chapters.mnist"),
        ("from matplotlib.figure import Figure", "diffusion_lab.plots.trajectory"),
        ("from diffusion_lab.exercises import library\nimport nbformat", "diffusion_lab.grading.notebook.sources"),
        ("from diffusion_lab import schedules\nimport numpy as np", "diffusion_lab.exercises.mixture.slots"),
    ],
)
def test_an_allowed_import_is_not(source: str, module: str):
    assert faults(source, module) == []


def loaded_by(*arguments: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run Python in a new process; also the top-level names of all modules that it imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, encoding="utf-8", timeout=60
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return done, {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "import diffusion_lab; diffusion_lab.__version__; dir(diffusion_lab)"),
        ("-m", "diffusion_lab", "--help"),
        ("-m", "diffusion_lab", "run", "--help"),
        ("-m", "diffusion_lab", "check", "--help"),
        ("-c", "import diffusion_lab.grading"),
        # Its process reads submissions: with PyTorch in it, its memory would not do for a deep expression.
        ("-c", "import diffusion_lab.grading.notebook.apart"),
    ],
    ids=["import", "help", "run help", "check help", "grading", "reading apart"],
)
def test_starts_without_heavy_libraries(arguments: tuple[str, ...]):
    done, names = loaded_by(*arguments)
    assert done.returncode == 0, done.stderr
    assert "diffusion_lab" in names
    assert names & HEAVY == set()


def test_a_session_starts_without_the_libraries_of_notebooks():
    done, names = loaded_by("-c", "from diffusion_lab.grading import start, check_pieces, load; start")
    assert done.returncode == 0, done.stderr
    assert "torch" in names
    assert names & set(NOTEBOOKS) == set()


def test_heavy_libraries_would_be_seen():
    _, names = loaded_by("-c", "import numpy")
    assert names & HEAVY == {"numpy"}
