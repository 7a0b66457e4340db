"""What publishes a book and a release: the branch for GitHub Pages, the checks before a tag, forms and citation."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from test_repository import ROOT

import diffusion_lab
from diffusion_lab import addresses

GITHUB = ROOT / ".github"
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*-*.yml"))
# https://docs.github.com/en/communities/using-templates-to-encourage-useful-issues-and-pull-requests/syntax-for-githubs-form-schema
ELEMENTS = {"markdown": {"value"}, "input": {"label"}, "textarea": {"label"}, "dropdown": {"label", "options"}}


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def git(*words: str, cwd: Path) -> str:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, encoding="utf-8").stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with one commit, its remote, and a built book of one page, which git ignores."""
    remote, clone = tmp_path / "remote.git", tmp_path / "clone"
    git("init", "--quiet", "--bare", str(remote), cwd=tmp_path)
    git("init", "--quiet", str(clone), cwd=tmp_path)
    git("remote", "add", "origin", str(remote), cwd=clone)
    for name in ("user.name", "user.email"):
        git("config", name, "a@example.org", cwd=clone)
    (clone / ".gitignore").write_text("_build\n*.log\n", encoding="utf-8")
    (clone / "main.py").touch()
    git("add", ".", cwd=clone)
    git("commit", "--quiet", "-m", "first", cwd=clone)
    (clone / "_build" / "html" / "_static").mkdir(parents=True)
    return clone


def publish(clone: Path, name: str, text: str, page: str = "index.html") -> subprocess.CompletedProcess[str]:
    for file in (clone / "_build" / "html").glob("*.html"):
        file.unlink()
    for file in {"index.html", page, "_static/book.css", "_static/a.log"}:
        (clone / "_build" / "html" / file).write_text(text, encoding="utf-8")
    command = [sys.executable, str(ROOT / "scripts" / "publish_book.py"), name]
    return subprocess.run(command, cwd=clone, capture_output=True, encoding="utf-8", timeout=60)


def test_a_folder_for_each_release_and_the_newest(clone: Path):
    remote = clone.parent / "remote.git"
    published = [
        ("latest", "a", "old.html"),
        ("0.9.0", "b", "old.html"),
        ("0.10.0", "c", "x.html"),
        ("latest", "d", "y.html"),
    ]
    for name, text, page in published:
        done = publish(clone, name, text, page)
        assert done.returncode == 0, done.stderr
    assert git("rev-list", "--count", "gh-pages", cwd=remote) == "1"
    files = set(git("ls-tree", "-r", "--name-only", "gh-pages", cwd=remote).splitlines())
    folders = {"latest": "y.html", "0.9.0": "old.html", "0.10.0": "x.html"}
    below = {f"{folder}/{file}" for folder in folders for file in ("index.html", "_static/book.css", "_static/a.log")}
    assert files == below | {f"{folder}/{page}" for folder, page in folders.items()} | {
        ".nojekyll", "index.html", "versions.html"
    }  # fmt: skip
    assert git("show", "gh-pages:latest/index.html", cwd=remote) == "d"
    assert git("show", "gh-pages:0.9.0/index.html", cwd=remote) == "b"
    links = BeautifulSoup(git("show", "gh-pages:versions.html", cwd=remote), "html.parser").select("a")
    assert [link["href"] for link in links] == ["latest/index.html", "0.10.0/index.html", "0.9.0/index.html"]
    refresh = BeautifulSoup(git("show", "gh-pages:index.html", cwd=remote), "html.parser").select_one(
        "meta[http-equiv]"
    )
    assert refresh["content"] == "0; url=latest/index.html"
    assert git("status", "--porcelain", cwd=clone) == "" and git("worktree", "list", cwd=clone).count("\n") == 0


@pytest.mark.parametrize("name", ["v1.0", "newest", "../main", "1.0.0-rc1", ""])
def test_other_folders_are_refused(clone: Path, name: str):
    done = publish(clone, name, "a")
    assert done.returncode == 1 and "is neither 'latest' nor a version" in done.stderr
    assert git("branch", "--list", cwd=clone.parent / "remote.git") == ""


def test_a_release_needs_one_version_everywhere(tmp_path: Path, monkeypatch):
    check = script("check_release")
    here = diffusion_lab.__version__
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## [{here}] - 2027-01-31\n", encoding="utf-8")
    (tmp_path / "CITATION.cff").write_text(f"version: {here}\n", encoding="utf-8")
    monkeypatch.setattr(addresses, "REPOSITORY", "https://github.com/Ada/course")
    assert check.faults(f"v{here}", "https://github.com/ada/course", tmp_path) == []
    assert [fault.split()[0] for fault in check.faults("v9.9.9", "https://github.com/eve/course", tmp_path)] == [
        "the", "diffusion_lab/addresses.py"
    ]  # fmt: skip
    (tmp_path / "CHANGELOG.md").write_text(f"## [{here}] - Unreleased\n", encoding="utf-8")
    (tmp_path / "CITATION.cff").write_text("version: 0.0.1\n", encoding="utf-8")
    assert [fault.split()[0] for fault in check.faults(f"v{here}", "", tmp_path)] == ["CHANGELOG.md", "CITATION.cff"]


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(cited["version"]) == diffusion_lab.__version__
    # What the schema of version 1.2.0 asks for.
    assert {"cff-version", "message", "title", "authors"} <= cited.keys() and cited["cff-version"] == "1.2.0"
    if addresses.repository_address():
        assert cited.get("repository-code") == addresses.repository_address()


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.stem)
def test_a_form_is_one_that_github_shows(file: Path):
    form = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys() <= {"name", "description", "body", "title", "labels"}
    ids = [element["id"] for element in form["body"] if element["type"] != "markdown"]
    assert len(set(ids)) == len(ids) >= 3
    for element in form["body"]:
        assert ELEMENTS[element["type"]] <= element["attributes"].keys()
    assert any(element.get("validations", {}).get("required") for element in form["body"])


def test_there_is_a_form_for_a_refused_answer_and_one_for_a_hint():
    assert [file.stem for file in FORMS] == ["right-answer-refused", "wrong-hint"]


def test_scripts_and_targets_of_the_workflows_exist():
    targets = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()}
    for file in (GITHUB / "workflows").glob("*.yml"):
        jobs = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]
        steps = [step["run"].split() for job in jobs.values() for step in job["steps"] if "run" in step]
        for words in steps:
            assert all((ROOT / word).is_file() for word in words if word.startswith("scripts/"))
            assert words[0] != "make" or words[1] in targets
        for job in jobs.values():
            needed = job.get("needs", [])
            assert set([needed] if isinstance(needed, str) else needed) <= jobs.keys()
