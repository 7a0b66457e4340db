"""However the course is started, PyTorch's threads spin only for a moment before they sleep."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffusion_lab.exercises import notebook
from diffusion_lab.grading.notebook import authoring

ROOT = Path(__file__).parents[1]
STARTS = {
    "package": "import diffusion_lab, torch",
    "notebook": authoring.SET_UP.format(chapter=notebook("normal_1d").chapter),
    "command": "import diffusion_lab.cli, torch",
    "book": "import sys; sys.path.insert(0, 'book'); import pages, torch",
}
PROGRAMS = {
    f"{path.parent.name}/{path.name}": f"import runpy; runpy.run_path({str(path)!r}); import torch"
    for folder in ("scripts", "benchmarks")
    for path in sorted((ROOT / folder).glob("*.py"))
    if "\nimport torch" in path.read_text(encoding="utf-8")
}


FIRST_ASKED = """
import json, os, sys

class Look:
    def find_spec(self, name, *_):
        if name == "torch":
            print(json.dumps({k: v for k, v in os.environ.items() if k.startswith(("OMP_", "GOMP_"))}), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Look())
"""
"""Said when torch is first asked for, in the place of importing it: OpenMP reads these settings then, and only once."""


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python with this code and none of the settings of OpenMP that the tests themselves have."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=inherited | variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def spins(code: str, **variables: str) -> set[str]:
    """How often a thread looks before it sleeps, as OpenMP itself says it when Python runs this code."""
    done = run(code, OMP_DISPLAY_ENV="verbose", **variables)
    return {line.split("=")[1].strip(" '") for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line}


@pytest.mark.skipif(sys.platform != "linux", reason="only GNU OpenMP prints its settings in this form")
@pytest.mark.parametrize(
    "start",
    ["package", *(pytest.param(name, marks=pytest.mark.nightly) for name in STARTS | PROGRAMS if name != "package")],
)
def test_threads_spin_for_a_moment(start: str):
    assert spins((STARTS | PROGRAMS)[start]) == {"10000"}


@pytest.fixture(scope="module")
def of_the_package() -> dict[str, str]:
    return json.loads(run(FIRST_ASKED + STARTS["package"]).stdout)


@pytest.mark.parametrize("start", [name for name in STARTS if name != "package"])
def test_torch_is_first_asked_for_with_the_settings_of_the_package(start: str, of_the_package: dict[str, str]):
    """What OpenMP makes of them is shown for the package at every commit, and for each start at night."""
    assert of_the_package
    assert json.loads(run(FIRST_ASKED + STARTS[start]).stdout) == of_the_package


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_imports_the_package_before_torch(name: str):
    """Then its threads wait as those of the package do, which each program shows at night."""
    found = []
    for line in ast.parse((ROOT / name).read_text(encoding="utf-8")).body:
        if isinstance(line, ast.Import):
            found += [alias.name.partition(".")[0] for alias in line.names]
        elif isinstance(line, ast.ImportFrom) and line.module:
            found.append(line.module.partition(".")[0])
    heavy = [module for module in found if module not in sys.stdlib_module_names]
    assert heavy[0] == "diffusion_lab"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only GNU OpenMP prints its settings in this form")
def test_a_setting_of_the_user_stays():
    active = spins("import torch", OMP_WAIT_POLICY="active")
    assert spins(STARTS["package"], OMP_WAIT_POLICY="active") == active
    assert spins("import torch").isdisjoint({"10000"} | active)
