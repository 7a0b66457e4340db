"""The built book: how long it takes to build, what its pages weigh, and when a reader on a slow line sees them.

    python benchmarks/book.py [--build | --html FOLDER] [PAGE ...]

With --build the book is first built twice into a temporary folder, cold and warm. Pages are then served compressed,
as web servers do, to a headless Chromium with 1.6 Mbit/s and 150 ms each way there and back. Needs what the tests need,
and a Chromium.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import yaml
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
BUILD = "from jupyter_book.cli.main import main; main()"  # what the command `jupyter-book` runs
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TEXT = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
MEDIA = {".png", ".webp", ".jpg", ".svg", ".wav", ".mp4"}
LINE = {"offline": False, "latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 750e3 / 8}
"""Bytes a second, and milliseconds."""
OBSERVE = """
window.painted = 0;
new PerformanceObserver(list => list.getEntries().forEach(entry => { window.painted = entry.startTime; }))
  .observe({type: "largest-contentful-paint", buffered: true});
"""


class Compressed(SimpleHTTPRequestHandler):
    """A file server that compresses text."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        file = Path(self.translate_path(self.path))
        if file.suffix not in TEXT or not file.is_file():
            super().do_GET()
            return
        content = gzip.compress(file.read_bytes(), 6)
        self.send_response(200)
        self.send_header("Content-Type", f"{TEXT[file.suffix]}; charset=utf-8")
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


def build(out: Path) -> tuple[float, float]:
    """Seconds of one build into `out`, and the most GiB that all its processes held at once, counted once each."""
    began, peak = time.perf_counter(), 0
    command = [sys.executable, "-c", BUILD, "build", "-W", "-n", "--keep-going", "--path-output", str(out)]
    with subprocess.Popen(
        [*command, "book"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        while running.poll() is None:
            peak = max(peak, held(psutil.Process(running.pid)))
            time.sleep(0.5)
    if running.returncode:
        sys.exit(f"error: the build ended with status {running.returncode}; `make book` shows why")
    return time.perf_counter() - began, peak / 2**30


def held(parent: psutil.Process) -> int:
    """Bytes of a process and all below it; what some of them share is counted once."""
    total = 0
    try:
        for process in [parent, *parent.children(recursive=True)]:
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.uss)
    except psutil.Error:  # one has just ended
        pass
    return total


def look(browser: Browser, address: str, html: Path) -> tuple[float, float, float]:
    """Largest contentful paint in seconds, and the kilobytes of the page without its media, and of the media."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    paths: set[str] = set()
    page.on("response", lambda response: paths.add(urlsplit(response.url).path))
    line = context.new_cdp_session(page)
    line.send("Network.enable")
    line.send("Network.emulateNetworkConditions", LINE)
    page.add_init_script(OBSERVE)
    page.goto(address, wait_until="load", timeout=120_000)
    page.wait_for_timeout(1500)
    painted = page.evaluate("window.painted") / 1000
    weight = {True: 0, False: 0}
    for path in paths:
        file = html / path.lstrip("/")
        if file.is_file():
            content = file.read_bytes()
            weight[file.suffix in MEDIA] += len(gzip.compress(content, 6) if file.suffix in TEXT else content)
    context.close()
    return painted, weight[False] / 1000, weight[True] / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", action="store_true", help="build cold and warm first, and look at that")
    parser.add_argument("--html", type=Path, default=ROOT / "_build" / "html", help="a folder of built pages")
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="names of pages; by default all")
    chosen = parser.parse_args()
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        sys.exit(f"error: none of {', '.join(BROWSERS)} is installed")
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    entries = [entry for part in contents["parts"] for entry in part["chapters"]]
    below = [[entry["file"], *(page["file"] for page in entry.get("sections", []))] for entry in entries]
    names = [contents["root"], *(name for names in below for name in names)]
    with tempfile.TemporaryDirectory(prefix="diffusion-lab-") as folder:
        html = chosen.html
        if chosen.build:
            html = Path(folder) / "_build" / "html"
            for name in ("cold", "warm"):
                seconds, peak = build(Path(folder))
                print(f"{name} build: {seconds:.0f} s, {peak:.1f} GiB", flush=True)
        if not (html / "index.html").is_file():
            sys.exit(f"error: no pages in {html}; run `make book` first")
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Compressed, directory=str(html)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("\n| page | largest contentful paint, s | without media, kB | media at first sight, kB |")
        print("| --- | --- | --- | --- |")
        with sync_playwright() as play:
            # Chromium's own sandbox does not work for root, as in a container; these pages are our own.
            browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            for name in chosen.pages or names:
                address = f"http://127.0.0.1:{server.server_port}/{name}.html"
                painted, page, media = look(browser, address, html)
                print(f"| {name} | {painted:.2f} | {page:.0f} | {media:.0f} |", flush=True)
            browser.close()
        server.shutdown()


if __name__ == "__main__":
    main()
