"""Where the course is on the web, if anywhere, and where its book is on this machine.

`REPOSITORY` and `BOOK` are the one place in which addresses are set. The notebooks, the book with its links to Colab,
the package's metadata and the command line all take them from here. After a change, `make notebooks` writes the links
of the notebooks anew. With both empty nothing names a site, and links to the book become the command that opens the
local one.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

REPOSITORY = ""
"""The repository's address, such as "https://github.com/OWNER/NAME"; "" where there is none to name."""
BOOK = ""
"""The published book's address. "" stands for the GitHub Pages of a repository on GitHub, and else for no address."""

PACKAGE = Path(__file__).resolve().parent
BUILT = (PACKAGE / "book", PACKAGE.parent / "_build" / "html")
"""Where a built book may be: inside the package, put there by a release, or where `make book` leaves it in a clone."""


def repository_address() -> str:
    """The repository's address without a slash at its end; "" for none."""
    return REPOSITORY.rstrip("/").removesuffix(".git")


def owner_and_name() -> str:
    """OWNER/NAME of a repository on GitHub, as Colab wants it; "" for any other."""
    address = urlsplit(repository_address())
    path = address.path.strip("/")
    return path if address.netloc.lower() in ("github.com", "www.github.com") and path.count("/") == 1 else ""


def book_address() -> str:
    """Where the newest book is published, without a slash at its end; "" for nowhere."""
    if BOOK or not owner_and_name():
        return BOOK.rstrip("/")
    owner, _, name = owner_and_name().partition("/")
    site = f"https://{owner.lower()}.github.io"
    # The repository of this name is the site itself.
    return f"{site}/latest" if name.lower() == f"{owner.lower()}.github.io" else f"{site}/{name}/latest"


def colab_address(path: str) -> str:
    """Where Colab opens a file of the repository, such as "exercises/05_mnist/05_mnist.ipynb"; "" without GitHub."""
    place = owner_and_name()
    return f"https://colab.research.google.com/github/{place}/blob/main/{path}" if place else ""


def first_links() -> str:
    """The line below the title of the README, in Markdown."""
    first = "exercises/01_normal_1d/01_normal_1d.ipynb"
    book = f"[Read the book]({book_address()})" if book_address() else "Read the book: `make book`"
    links = [book, f"[Open the first notebook]({first})"]
    if colab_address(first):
        links.append(f"[Open it in Colab]({colab_address(first)})")
    return " ·\n".join(f"**{link}**" for link in links)


def built_book() -> Path | None:
    """The folder of the built book on this machine, with its `index.html`; None where there is none."""
    return next((folder for folder in BUILT if (folder / "index.html").is_file()), None)


def local_page(page: str = "index") -> Path | None:
    """The file of a page of the built book, such as "05_mnist"; None where no book is built or it has no such page."""
    folder = built_book()
    file = folder / f"{page}.html" if folder else None
    return file if file and file.is_file() else None


def web_page(page: str = "index") -> str:
    """The address of a page of the published book; "" where none is published."""
    return f"{book_address()}/{page}.html" if book_address() else ""
