"""Put the built book on the branch that GitHub Pages serves: a folder for each release, and `latest`.

    python scripts/publish_book.py latest|VERSION [--html _build/html] [--remote origin] [--branch gh-pages]

The folder of that name is replaced and every other one stays. The page at the top leads to `latest`, and
`versions.html` lists them all. Built pages need no history: the branch has one commit, written anew each time.
"""

from __future__ import annotations

import argparse
import html
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.version import InvalidVersion, Version

LATEST = "latest"
LEADS_ON = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Diffusion models from one number to games</title>
<meta http-equiv="refresh" content="0; url={target}/index.html">
<p><a href="{target}/index.html">The book</a> · <a href="versions.html">all versions</a></p>
</html>
"""
VERSIONS = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Versions of the book</title>
<h1>Versions of the book</h1>
<ul>
{items}
</ul>
</html>
"""


def version(name: str) -> Version | None:
    """The release that a folder is named after; None for another folder."""
    try:
        return Version(name)
    except InvalidVersion:
        return None


def put(book: Path, site: Path, name: str) -> None:
    """Put a built book into a site's folder `name`, and write the pages above it."""
    if not (book / "index.html").is_file():
        sys.exit(f"error: {book} has no index.html; `make book` builds the book")
    if name != LATEST and (version(name) is None or str(version(name)) != name):
        sys.exit(f"error: {name!r} is neither {LATEST!r} nor a version such as 1.2.0")
    shutil.rmtree(site / name, ignore_errors=True)
    shutil.copytree(book, site / name, ignore=shutil.ignore_patterns(".buildinfo", ".doctrees"))
    (site / ".nojekyll").touch()  # else GitHub leaves out what begins with an underscore
    releases = sorted((one.name for one in site.iterdir() if one.is_dir() and version(one.name)), key=Version)
    newest = [LATEST] if (site / LATEST).is_dir() else []
    names = [*newest, *reversed(releases)]
    items = "\n".join(f'<li><a href="{html.escape(one)}/index.html">{html.escape(one)}</a></li>' for one in names)
    (site / "index.html").write_text(LEADS_ON.format(target=names[0]), encoding="utf-8")
    (site / "versions.html").write_text(VERSIONS.format(items=items), encoding="utf-8")


def publish(book: Path, name: str, remote: str, branch: str) -> None:
    """Do it on a branch of a remote of the repository in the current folder, in a work tree that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="diffusion-lab-") as folder:
        site = Path(folder) / "site"
        old = git("ls-remote", remote, f"refs/heads/{branch}").partition("\t")[0]
        git("worktree", "add", "--quiet", "--detach", "--no-checkout", str(site), "HEAD")
        try:
            git("read-tree", "--empty", cwd=site)
            if old:
                git("fetch", "--quiet", "--depth", "1", remote, old, cwd=site)
                git("read-tree", "-u", "--reset", old, cwd=site)
            put(book, site, name)
            git("add", "--all", "--force", ".", cwd=site)
            tree = git("write-tree", cwd=site)
            commit = git("commit-tree", tree, "-m", f"The book: {name}", cwd=site)
            # Refused if somebody else has published in the meantime: then nothing of theirs is lost.
            git(
                "push",
                "--quiet",
                f"--force-with-lease={branch}:{old}",
                remote,
                f"{commit}:refs/heads/{branch}",
                cwd=site,
            )
        finally:
            git("worktree", "remove", "--force", str(site))


def git(*words: str, cwd: Path | None = None) -> str:
    """Run git, and give what it prints. Ends with git's own words where it fails."""
    done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, encoding="utf-8")
    if done.returncode:
        sys.exit(f"error: git {words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="latest, or the version of a release")
    parser.add_argument("--html", type=Path, default=Path("_build/html"), help="the folder of the built book")
    parser.add_argument("--remote", default="origin", help="the remote of this repository")
    parser.add_argument("--branch", default="gh-pages", help="the branch that GitHub Pages serves")
    chosen = parser.parse_args(arguments)
    publish(chosen.html.resolve(), chosen.name, chosen.remote, chosen.branch)
    print(f"{chosen.html} is on {chosen.branch} as {chosen.name}")


if __name__ == "__main__":
    main()
