"""The commands with which a learner begins: the notebooks laid out, and the book opened."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffusion_lab.cli.terminal import mistakes_told

if TYPE_CHECKING:
    from diffusion_lab.grading.notebook import Placed


def start(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where the notebooks go.")] = Path("exercises"),
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="If a notebook of another release is there, make the new one with your answers and keep the old one.",
        ),
    ] = False,
) -> None:
    """Lay the course's notebooks out in a folder, and never over anything that is there."""
    with mistakes_told():
        from diffusion_lab.grading.notebook import lay_out

        placed = lay_out(folder, update=update)
    typer.echo("\n".join(_told(placed, folder, update)))


def _told(placed: list[Placed], folder: Path, update: bool) -> list[str]:
    from diffusion_lab import __version__

    by_state = {state: [one for one in placed if one.state == state] for state in ("written", "unchanged")}
    lines = []
    if written := by_state["written"]:
        are = "is" if len(written) == 1 else "are"
        lines.append(f"{_counted(len(written), 'notebook')} of release {__version__} {are} now in {folder}")
    if unchanged := by_state["unchanged"]:
        them, were = ("it", "was") if len(unchanged) == 1 else ("them", "were")
        answers = sum(len(one.answers) for one in unchanged)
        work = f", with {_counted(answers, 'answer')} of yours in {them}" if answers else ""
        lines.append(
            f"{_counted(len(unchanged), 'notebook')} of this release {were} there already{work}, and not touched"
        )
    for one in placed:
        if one.state == "unreadable":
            lines.append(f"{one.path} is left as it is: {one.fault}")
        elif one.state in ("differs", "renewed"):
            lines += _of_another_release(one)
    if any(one.state == "differs" for one in placed):
        lines.append(
            f"Nothing of these was touched. `{_command('diffusion-lab', 'start', folder)} --update` makes the new "
            "notebooks with your answers in them, and keeps the old ones beside."
        )
    first = next((one.path for one in placed if one.state != "unreadable"), None)
    if first is not None and not update:
        if find_spec("jupyterlab") is None:
            lines.append("To work in a browser you need JupyterLab: `python -m pip install jupyterlab`")
        lines.append(f"next: {_command('jupyter', 'lab', first)}")
    return lines


def _of_another_release(one: Placed) -> list[str]:
    from diffusion_lab import __version__

    release = f"release {one.release}" if one.release else "a release that it does not name"
    answers = f", with {_counted(len(one.answers), 'answer')} of yours" if one.answers else ""
    what = "; ".join(one.changes)
    if one.earlier is not None:
        return [f"{one.path}: now of release {__version__}{answers}; the one of {release} is {one.earlier}"]
    return [f"{one.path}: made for {release}{answers}. Release {__version__} has: {what}"]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _command(*words: object) -> str:
    return " ".join(shlex.quote(str(word)) for word in words)


def book(
    page: Annotated[
        str, typer.Argument(metavar="[PAGE]", help="A chapter's name or number, or a page such as glossary.")
    ] = "",
    where: Annotated[bool, typer.Option("--where", help="Only say where the book is; open nothing.")] = False,
) -> None:
    """Open the book in a browser: the one on this machine, or else the published one."""
    with mistakes_told():
        address = _address_of(page)
    typer.echo(address)
    if not where and not _opened(address):
        typer.echo("There is no browser here that this command can open.")
        if address.startswith("file:"):
            from diffusion_lab.addresses import built_book

            serve = _command("python", "-m", "http.server", "--directory", built_book())
            typer.echo(f"To read it from another machine, run `{serve}` and open port 8000 of this one there.")


def _address_of(page: str) -> str:
    from diffusion_lab.addresses import book_address, built_book, local_page, web_page
    from diffusion_lab.errors import LabError

    name = _page_name(page)
    folder = built_book()
    if folder is None and not book_address():
        raise LabError(
            "the book is not on this machine: it did not come with this installation, and no address is set for it; in "
            "a clone of the course, `make book` builds it"
        )
    file = local_page(name)
    if folder is not None and file is None:
        pages = sorted(path.stem for path in folder.glob("*.html"))
        raise LabError(f"the book has no page {page!r}; the pages are {', '.join(pages)}")
    return file.as_uri() if file is not None else web_page(name)


def _page_name(page: str) -> str:
    """The page's name in files: of a chapter, by its number or name, or the name itself."""
    from diffusion_lab.errors import LabError
    from diffusion_lab.exercises.catalogue import chapter_of, find, folder_name

    wanted = page.strip().removesuffix(".html") or "index"
    if not wanted.isascii() or not wanted.replace("_", "").isalnum():
        raise LabError(f"{page!r} is no name of a page; give a chapter's name or number, or one such as glossary")
    try:
        return folder_name(chapter_of(find(wanted)))
    except LabError:
        return wanted.lower()


def _opened(address: str) -> bool:
    import webbrowser

    try:
        return webbrowser.open(address)
    except (webbrowser.Error, OSError):
        return False
