"""The addresses of `diffusion_lab/addresses.py` in the pages, which name none where none is set.

    ```{commands} sh
    git clone {repository}
    cd {folder}
    ```

shows the lines without the one that needs an address, and the folder's usual name, where there is no repository.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective

from diffusion_lab import addresses

USUAL = "diffusion-lab"
"""The folder of the course where no address says how a clone's is called."""


def filled(lines: list[str], repository: str) -> str:
    """The commands with the address in them, those left out that need one where there is none."""
    folder = repository.rpartition("/")[2] or USUAL
    kept = [line for line in lines if repository or "{repository}" not in line]
    return "\n".join(line.replace("{repository}", repository).replace("{folder}", folder) for line in kept)


class Commands(SphinxDirective):
    """Commands of a terminal, with the repository's address where there is one."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        text = filled(list(self.content), addresses.repository_address())
        if not text:
            return []
        block = nodes.literal_block(text, text, language=self.arguments[0])
        self.set_source_info(block)
        return [block]


def configure(app: Sphinx, config: Config) -> None:
    """The published book's address, which its pages name as theirs; and the tag `repository` for `only`."""
    config.html_baseurl = addresses.book_address()
    if addresses.repository_address():
        app.tags.add("repository")


def setup(app: Sphinx) -> None:
    app.add_directive("commands", Commands)
    app.connect("config-inited", configure)
