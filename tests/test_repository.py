"""What a clone must be: free of traces of one machine, with pins that fit and a changelog that is kept."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import diffusion_lab

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]

UNWANTED = {
    "a path of one machine": r"(?<![\w.])/(?:home|Users|root|work|mnt)/\w|\b[A-Z]:\\+Users\b|\bfile:/{2}",
    "a package index": r"\b(?:py(?:pi|thonhosted)|deb\.debian|registry\.npmjs)\.org\b|https?://\S+/simple\b",
    "a folder beside the clone": r"\.\./shared\b",
    "unfinished work": r"\b(?:TO[D]O|FIX[M]E|X[X]X)\b",
}
# The continuous check looks for real data beside the clone; this file holds the examples below.
EXEMPT = {".ci/run": {"a folder beside the clone"}, "tests/test_repository.py": set(UNWANTED)}


def tracked_files() -> list[str]:
    """Names of the files in git's index, relative to the root, with forward slashes."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    return [name for name in done.stdout.split("\0") if (ROOT / name).is_file()]


def traces(text: str) -> set[str]:
    """What in this text ties it to one machine, or says that it is not finished."""
    return {fault for fault, pattern in UNWANTED.items() if re.search(pattern, text)}


def test_no_file_carries_a_trace_of_one_machine():
    found = {}
    for name in tracked_files():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content:
            faults = traces(content.decode("utf-8")) - EXEMPT.get(name, set())
            found |= {name: faults} if faults else {}
    assert found == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("open('/home/ada/digits.npy')", "a path of one machine"),
        (r"C:\Users\ada", "a path of one machine"),
        ("torch @ file:///tmp/torch.whl", "a path of one machine"),
        ("https://files.pythonhosted.org/packages/x", "a package index"),
        ("--index-url https://mirror.example/simple", "a package index"),
        ("cd ../shared/data", "a folder beside the clone"),
        ("# TODO later", "unfinished work"),
    ],
)
def test_a_trace_is_found(text: str, fault: str):
    assert traces(text) == {fault}


@pytest.mark.parametrize(
    "text", [".github/workflows/ci.yml", "~/digits", "https://arxiv.org/abs/2006.11239", "a simple"]
)
def test_plain_text_has_no_trace(text: str):
    assert traces(text) == set()


def test_changelog_has_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## [{diffusion_lab.__version__}]" in changelog


def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def test_constraints_are_exact_versions_without_addresses():
    for pin in pins():
        assert pin.url is None and not pin.extras, pin
        assert [part.operator for part in pin.specifier] == ["=="] and "*" not in str(pin.specifier), pin


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("python", ["3.10.13", "3.11.7", "3.12.1", "3.13.0"])
def test_constraints_pin_every_direct_dependency(python: str, platform: str):
    """For each supported Python and platform there is one pin, and it lies within the bounds of pyproject.toml."""
    environment = default_environment() | {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": platform,
    }
    applying = [pin for pin in pins() if pin.marker is None or pin.marker.evaluate(environment)]
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in applying}
    assert len(pinned) == len(applying)

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in map(Requirement, itertools.chain.from_iterable(groups)):
        wanted = requirement.marker is None or requirement.marker.evaluate(environment)
        if wanted and requirement.name != project["name"]:
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_another_torch_changes_its_own_pins_and_no_others():
    command = [sys.executable, str(ROOT / "scripts" / "torch_set.py"), "2.6"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    found = {canonicalize_name(pin.name): pin.specifier for pin in map(Requirement, done.stdout.splitlines()[2:])}
    torch = {"torch": "2.6.0", "torchvision": "0.21.0", "torchaudio": "2.6.0"}
    assert all(found[name].contains(release) for name, release in torch.items())
    others = {canonicalize_name(pin.name) for pin in pins()} - found.keys()
    assert others <= {"setuptools", "sympy", "triton"}, others
    assert subprocess.run([*command[:2], "newest"], capture_output=True).returncode == 1


def test_hooks_use_the_pinned_tools():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    tools = set(re.findall(r'"([\w-]+==[\d.]+)"', hooks))
    assert {tool.partition("==")[0] for tool in tools} == {"ruff", "codespell"}
    assert tools <= {str(pin) for pin in pins()}
