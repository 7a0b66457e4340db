"""Print the built book to one PDF, through Chromium. Needs what the tests need, and a Chromium on the system.

    python scripts/print_book.py [--html _build/html] [--out _build/book.pdf]

Pages come in the order of the table of contents. Dropdowns are printed open. Links to other pages lead to the published
book, and are plain text where none is.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import yaml
from playwright.sync_api import Page, sync_playwright
from pypdf import PdfWriter
from rich.progress import track

from diffusion_lab.addresses import book_address

ROOT = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

OPEN = """address => {
  document.querySelectorAll("a[href]").forEach(link => {
    if (link.protocol === "file:" && !link.getAttribute("href").startsWith("#")) {
      const folder = new URL(".", document.location).href;
      if (address) link.href = address + "/" + link.href.replace(folder, "");
      else link.removeAttribute("href");
    }
  });
  document.querySelectorAll("details:not(.above-input)").forEach(box => { box.open = true; });
  document.querySelectorAll("img[loading]").forEach(picture => { picture.loading = "eager"; });
  const waiting = [...document.images].map(picture => picture.decode().catch(() => null));
  const formulas = window.MathJax && MathJax.startup ? MathJax.startup.promise : null;
  return Promise.all([formulas, ...waiting]).then(() => null);
}"""


def pages() -> list[str]:
    """Names of the pages, in the order of the table of contents."""
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    entries = [entry for part in contents["parts"] for entry in part["chapters"]]
    below = [[entry["file"], *(page["file"] for page in entry.get("sections", []))] for entry in entries]
    return [contents["root"], *(name for names in below for name in names)]


def printed(page: Page, file: Path) -> bytes:
    page.goto(file.as_uri())
    page.emulate_media(media="print", color_scheme="light")
    page.evaluate(OPEN, book_address())
    margins = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
    number = '<div style="width: 100%; font-size: 8px; text-align: center;"><span class="title"></span></div>'
    return page.pdf(
        format="A4", scale=0.8, margin=margins, print_background=True,
        display_header_footer=True, header_template="<span></span>", footer_template=number,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--html", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "book.pdf")
    chosen = parser.parse_args()
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        sys.exit(f"error: none of {', '.join(BROWSERS)} is installed")
    missing = [name for name in pages() if not (chosen.html / f"{name}.html").is_file()]
    if missing:
        sys.exit(f"error: {chosen.html} has no page {missing[0]}; run `make book` first")
    with sync_playwright() as play, PdfWriter() as whole:
        # Chromium's own sandbox does not work for root, as in a container; these pages are our own.
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        for name in track(pages(), description="printing"):
            part = chosen.out.with_suffix(".part.pdf")
            part.write_bytes(printed(page, chosen.html / f"{name}.html"))
            whole.append(part, outline_item=page.title().partition(" — ")[0])
            part.unlink()
        browser.close()
        whole.write(chosen.out)
    print(f"{chosen.out}: {chosen.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
