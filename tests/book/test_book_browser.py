"""The built book in a browser without a network: over HTTP and from the file system, wide, narrow, light and dark."""

from __future__ import annotations

import functools
import gzip
import re
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import axe_playwright_python
import pytest
from book_source import WRITTEN, contents
from extension.browser_networks import POINTS
from playwright.sync_api import Browser, Page

from diffusion_lab.exercises.catalogue import folder_name

pytestmark = pytest.mark.slow

FROM_FILES = ("index", "01_normal_1d", "08_audio", "glossary")
"""Pages that are opened as files by day: one with a slider, one with sounds and two with neither."""
CHAPTER_PAGES = {folder_name(chapter) for chapter in WRITTEN}
OWN_NETWORK = {folder_name(chapter) for chapter in POINTS}
"""Chapters whose page runs its network."""

AXE = next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js"))
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
TEXT = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
BY_DAY, AT_NIGHT = {"wide, light", "narrow, dark"}, {"wide, dark", "narrow, light"}
"""Where axe-core looks, which takes longest: by day at each width and in each light once, at night at the rest."""
MEDIA = {".png", ".webp", ".jpg", ".svg", ".wav", ".mp4"}
HEAVIEST = 1.5e6  # bytes of a page as they are sent, compressed, without pictures and sounds

READY = """async () => {
  const formulas = document.querySelectorAll("span.math, div.math").length;
  if (formulas) { await MathJax.startup.promise; }
  await document.fonts.ready;
}"""
# Formulas that are still TeX, and formulas that TeX did not understand.
UNRENDERED = """() => [...document.querySelectorAll("span.math, div.math")]
  .filter(formula => !formula.querySelector("mjx-container") || formula.querySelector("mjx-merror"))
  .map(formula => formula.textContent.trim())"""
# What follows a change of size has been done two frames later.
SETTLED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
SIDEWAYS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Four fifths of axe-core's time go into the contrast of words, most of them in code. Words in the flow of a page that
# have the same inks, and lie in boxes that have, look alike: all but the first are marked, and so are the parts of
# formulas, whose glyphs no child of theirs holds.
REPEATED = """() => {
  const known = new Map([[null, ""]]), seen = new Set();
  const paint = box => {
    if (!known.has(box)) {
      const style = getComputedStyle(box), outer = paint(box.parentElement);
      const inFlow = ["static", "relative"].includes(style.position) && style.transform === "none";
      const own = [style.backgroundColor, style.backgroundImage, style.opacity, style.filter, style.mixBlendMode];
      known.set(box, outer === null || !inFlow ? null : `${outer}/${own}`);
    }
    return known.get(box);
  };
  for (const box of document.querySelectorAll("main *")) {
    const words = [...box.childNodes].some(child => child.nodeType === Node.TEXT_NODE && child.data.trim());
    let repeated = !!box.closest("mjx-container");
    if (!repeated && words && paint(box) !== null && box.checkVisibility({visibilityProperty: true})) {
      const style = getComputedStyle(box);
      const key = [paint(box), style.color, style.fontSize, style.fontWeight, style.textShadow].join();
      repeated = seen.has(key);
      seen.add(key);
    }
    box.toggleAttribute("data-repeated", repeated);
  }
  axe.configure({rules: [{id: "color-contrast", selector: ":not([data-repeated])"}]});
}"""
AUDIT = """() => axe.run(document, {preload: false, resultTypes: ["violations"]})
  .then(found => found.violations.map(fault =>
    `${fault.id} (${fault.impact}): ${fault.nodes.map(node => node.target.join(" ")).slice(0, 4).join(", ")}`))"""


# Equations of exercise cards that have to be moved to be read; figures and tables that have to be and do not say so.
MOVED = """() => [...document.querySelectorAll(".lab-exercise div.math")]
  .filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.closest(".lab-exercise").id)"""
UNSAID = """() => [...document.querySelectorAll(".lab-frame, .lab-table")]
  .filter(box => box.clientWidth && box.scrollWidth > box.clientWidth + 4
    && !(box.dataset.more && box.nextElementSibling.matches(".lab-more:not([hidden])"))).length"""


class Compressed(SimpleHTTPRequestHandler):
    """A file server that compresses text, as web servers do."""

    def do_GET(self) -> None:
        file = Path(self.translate_path(self.path))
        if file.suffix not in TEXT or not file.is_file():
            super().do_GET()
            return
        content = compressed(file)
        self.send_response(200)
        self.send_header("Content-Type", f"{TEXT[file.suffix]}; charset=utf-8")
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Says nothing of a browser that has closed a page before all of it was there."""

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@functools.lru_cache(256)
def compressed(file: Path) -> bytes:
    return gzip.compress(file.read_bytes(), 6)


@pytest.fixture(scope="module")
def server(built: Path) -> Iterator[str]:
    with Server(("127.0.0.1", 0), functools.partial(Compressed, directory=str(built))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


class Visit:
    """One page open in the browser, and everything that went wrong there."""

    def __init__(self, browser: Browser, address: str, size: dict[str, int]):
        self.context = browser.new_context(viewport=size, color_scheme="light", reduced_motion="reduce")
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.faults: list[str] = []
        self.answers: list = []
        place = urlsplit(address)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url}"))
        self.page.on("response", lambda response: self._came(response, place))
        self.page.goto(address)
        self.page.evaluate(READY)

    def _said(self, message) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def _came(self, response, place) -> None:
        address = urlsplit(response.url)
        if address.scheme == "data":
            return
        if (address.scheme, address.netloc) != (place.scheme, place.netloc):
            self.faults.append(f"asks {response.url}")
        if address.scheme == "http" and response.status >= 400:
            self.faults.append(f"{response.status}: {response.url}")
        self.answers.append(response)

    def weight(self) -> dict[str, int]:
        """The bytes that were sent so far, heads left out, for each file that is no picture and no sound."""
        text = [answer for answer in self.answers if Path(urlsplit(answer.url).path).suffix not in MEDIA]
        return {urlsplit(answer.url).path: answer.request.sizes()["responseBodySize"] for answer in text}

    def seen(self, audited: bool, every_word: bool = False) -> list[str]:
        """What is wrong to the eye now, and what axe-core finds, in every word or in one of each look."""
        found = [f"scrolls sideways by {over}"] if (over := self.page.evaluate(SIDEWAYS)) > 0 else []
        if audited and not every_word:
            self.page.evaluate(REPEATED)
        return found + (self.page.evaluate(AUDIT) if audited else [])

    def turn(self, mode: str) -> None:
        self.page.emulate_media(color_scheme=mode)
        self.page.wait_for_function("mode => document.documentElement.dataset.theme === mode", arg=mode)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *error) -> None:
        self.context.close()


@pytest.mark.parametrize("places", [BY_DAY, pytest.param(AT_NIGHT, marks=pytest.mark.nightly)], ids=["day", "night"])
@pytest.mark.parametrize("name", [*contents(), "search", "genindex"])
def test_a_page_over_http(browser: Browser, server: str, name: str, places: set[str]):
    """Everything about one page in one visit, since it is the visits that take long."""
    with Visit(browser, f"{server}/{name}.html", WIDE) as visit:
        weights = visit.weight()
        assert sum(weights.values()) <= HEAVIEST, sorted(weights.items(), key=lambda item: -item[1])[:5]
        assert visit.page.evaluate(UNRENDERED) == []
        visit.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = {}

        def look(place: str) -> None:
            found[place] = visit.seen(place in places, every_word=places == AT_NIGHT)

        look("wide, light")
        visit.turn("dark")
        look("wide, dark")
        moved = move_sliders(visit.page)
        visit.page.set_viewport_size(NARROW)
        visit.page.evaluate(SETTLED)
        assert visit.page.evaluate(MOVED) == [] and visit.page.evaluate(UNSAID) == 0
        look("narrow, dark")
        visit.turn("light")
        look("narrow, light")
        assert found.keys() >= places
        assert {place: faults for place, faults in found.items() if faults} == {}
        assert moved >= (name in CHAPTER_PAGES)
        assert visit.faults == []


@pytest.mark.parametrize(
    "name",
    [*FROM_FILES, *(pytest.param(name, marks=pytest.mark.nightly) for name in contents() if name not in FROM_FILES)],
)
def test_a_page_from_the_file_system(browser: Browser, built: Path, name: str):
    with Visit(browser, (built / f"{name}.html").as_uri(), NARROW) as visit:
        assert visit.page.evaluate(UNRENDERED) == []
        assert visit.page.evaluate(SIDEWAYS) <= 0
        visit.page.set_viewport_size(WIDE)
        visit.page.emulate_media(color_scheme="dark")
        assert visit.page.evaluate(SIDEWAYS) <= 0
        move_sliders(visit.page)
        play_sounds(visit.page)
        assert not [answer for answer in visit.answers if "/networks/" in answer.url]
        assert run_points(visit.page) == (name in OWN_NETWORK or name == "playground")
        pictures = visit.page.locator("main img")
        for picture in pictures.all():
            picture.scroll_into_view_if_needed()
        visit.page.wait_for_function(
            "[...document.querySelectorAll('main img')].every(picture => picture.naturalWidth)"
        )
        assert visit.faults == []


def move_sliders(page: Page) -> int:
    """Move every slider with the keyboard from end to end; picture, words and value must follow."""
    sliders = page.locator(".lab-slider").all()
    for slider in sliders:
        control, picture = slider.locator("input"), slider.locator("img")
        control.focus()
        page.keyboard.press("Home")
        seen = []
        for _ in range(int(control.get_attribute("max")) + 1):
            seen.append((picture.get_attribute("src"), slider.locator("output").inner_text()))
            assert picture.get_attribute("alt") and control.get_attribute("aria-valuetext") == seen[-1][1]
            page.keyboard.press("ArrowRight")
        assert len({source for source, _ in seen}) > 1 and len(set(seen)) == len(seen)
        page.keyboard.press("Home")
        assert slider.locator("output").inner_text() == seen[0][1]
        page.wait_for_function("picture => picture.complete && picture.naturalWidth", arg=picture.element_handle())
    return len(sliders)


def play_sounds(page: Page) -> int:
    """Play a moment of every sound, without sound."""
    players = page.locator("audio").all()
    for player in players:
        player.evaluate("player => { player.muted = true; return player.play(); }")
        page.wait_for_function("player => player.currentTime > 0 || player.ended", arg=player.element_handle())
        player.evaluate("player => player.pause()")
    return len(players)


@pytest.mark.skipif("audio" not in WRITTEN, reason="there is no chapter on sound yet")
def test_the_chapter_on_sound_can_be_heard(browser: Browser, server: str):
    with Visit(browser, f"{server}/08_audio.html", WIDE) as visit:
        assert play_sounds(visit.page) >= 1
        assert visit.faults == []


def test_the_playground_runs_from_the_file_system(browser: Browser, built: Path):
    """Networks are loaded on a click and answer; what has come then is as accessible as the rest."""
    with Visit(browser, (built / "playground.html").as_uri(), WIDE) as visit:
        page = visit.page
        page.evaluate(AXE.read_text(encoding="utf-8"))
        assert not [answer for answer in visit.answers if "/networks/" in answer.url]
        points = page.locator("[data-lab=points]")
        points.locator("[name=network]").select_option("mixture")
        points.locator("[name=steps]").press("Home")  # one step
        points.locator("[data-part=run]").press("Enter")
        heard(page, "points", "which is the floor")
        points.locator("[data-part=moment]").press("Home")
        assert "σ/α = 15" in points.locator(".lab-moment output").inner_text()

        floor = page.locator("[data-lab=floor]")
        floor.locator("[name=network]").select_option("mixture")
        floor.locator("[data-part=run]").press("Enter")
        heard(page, "floor", "Even the exact denoiser")

        digits = page.locator("[data-lab=denoise]")
        drawn = digits.locator("[data-part=drawing]")
        blank = drawn.evaluate("canvas => canvas.toDataURL()")
        for _ in range(8):
            drawn.press("Shift+ArrowDown")
        digits.locator("[name=noise]").press("Home")  # hardly any
        assert drawn.evaluate("canvas => canvas.toDataURL()") != blank
        digits.locator("[data-part=take]").press("Enter")
        heard(page, "denoise", "after one answer")
        # With so little noise both answers are the drawing.
        assert max(map(float, re.findall(r"0\.\d+", digits.locator("[role=status]").inner_text()))) < 0.1

        guidance = page.locator("[data-lab=guidance]")
        guidance.locator("[name=steps]").press("Home")
        guidance.locator("[data-part=ask]").press("Enter")
        heard(page, "guidance", "2 evaluations of the network for each")
        assert {Path(urlsplit(answer.url).path).name for answer in visit.answers if "/networks/" in answer.url} == {
            "mixture.js",
            "mnist.js",
        }
        found = visit.seen(audited=True)
        visit.turn("dark")
        page.set_viewport_size(NARROW)
        page.evaluate(SETTLED)
        assert found + visit.seen(audited=True) == []
        assert visit.faults == []


def run_points(page: Page) -> int:
    """Run the network of points on this page, where there is one, with a single step."""
    playgrounds = page.locator("[data-lab=points]").all()
    for points in playgrounds:
        points.locator("[name=steps]").press("Home")
        points.locator("[data-part=run]").press("Enter")
        heard(page, "points", "which is the floor")
    return len(playgrounds)


def heard(page: Page, playground: str, words: str) -> None:
    """Wait until the live region of a playground says so."""
    page.locator(f"[data-lab={playground}] [role=status]", has_text=words).wait_for()


def test_the_search_finds_a_word(browser: Browser, server: str):
    with Visit(browser, f"{server}/search.html?q=score", WIDE) as visit:
        visit.page.wait_for_selector("#search-results li a")
        assert visit.page.locator("#search-results li").count() >= 5
        assert visit.faults == []


def test_there_is_one_search_bar(browser: Browser, server: str):
    for size in (WIDE, NARROW):
        with Visit(browser, f"{server}/index.html", size) as visit:
            seen = visit.page.locator(".search-button-field:visible, .search-button:visible, form.bd-search:visible")
            assert seen.count() == 1


def test_what_is_not_rendered_would_be_seen(browser: Browser, server: str):
    with Visit(browser, f"{server}/onwards.html", WIDE) as visit:
        visit.page.evaluate("document.querySelector('mjx-container').remove()")
        assert len(visit.page.evaluate(UNRENDERED)) == 1
        visit.page.evaluate("document.querySelector('main img').removeAttribute('alt')")
        visit.page.evaluate(AXE.read_text(encoding="utf-8"))
        # The last words of a look that there is before: one pale itself, one in a box that is.
        visit.page.evaluate("""() => {
          const seen = [...document.querySelectorAll("main pre span.n")].filter(word => word.checkVisibility());
          const [last, before] = seen.reverse();
          last.style.color = "#eeeeee";
          before.innerHTML = `<span style="background: #222222"><span>${before.textContent}</span></span>`;
          last.id = "pale", before.id = "boxed";
        }""")
        found = visit.seen(audited=True)
        assert any("image-alt" in fault for fault in found)
        pale = [fault for fault in found if "color-contrast" in fault]
        assert len(pale) == 1 and "#pale" in pale[0] and "#boxed" in pale[0], found
