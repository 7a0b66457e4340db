"""The frame of the book by itself: what pages call, the directives' texts, the cache's key, the recording of runs."""

from __future__ import annotations

import ast
import base64
import importlib
import inspect
import json
import re
import sys
from io import BytesIO
from pathlib import Path

import pages
import pytest
import soundfile
import torch
from book_source import pages as book_pages
from bs4 import BeautifulSoup
from extension import code, exercises, freshness, reference, source
from PIL import Image, ImageChops, ImageStat

import diffusion_lab
from diffusion_lab.exercises import library, notebook
from diffusion_lab.exercises.catalogue import BEYOND, CHAPTERS
from diffusion_lab.exercises.driving import piece_of
from diffusion_lab.plots.figure import finish, new_figure, save, to_png

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import record_experiments  # noqa: E402

LONG = '''
class Level:
    """Where it is."""

    def noisy(self, clean, noise, another_argument, and_another_one, and_yet_another_argument):
        """The noisy data."""
        # A comment that says at some length why this is so, and goes on until it is wider than the page is.
        return self.alpha * clean + self.sigma * noise  # what comes of it, and a few more words

    def empty(self):
        """Nothing."""
'''


def test_shown_code_has_no_docstring_and_does_what_it_did():
    shown = code.narrow(code.without_docstrings(LONG))
    assert max(map(len, shown.splitlines())) <= 76
    assert '"""' not in shown and "# what comes of it" in shown
    space: dict = {}
    exec(shown, space)
    level = space["Level"]()
    level.alpha, level.sigma = 2, 3
    assert level.noisy(5, 7, 0, 0, 0) == 31 and level.empty() is None


@pytest.mark.parametrize("name", ["diffusion_lab.samplers.ddim", "diffusion_lab.levels.Level"])
def test_shown_code_comes_from_the_package(name: str):
    found = source.find(name)
    shown = code.without_docstrings(inspect.getsource(found))
    assert ast.get_docstring(ast.parse(shown).body[0]) is None and found.__name__ in shown


@pytest.mark.parametrize(
    "name",
    [
        "diffusion_lab.samplers.no_such_step",
        "diffusion_lab.samplers",
        "diffusion_lab.exercises.normal_1d.alpha_bar.alpha_bar",
        "diffusion_lab.exercises.normal_1d.alpha_bar.EXERCISE",
        "torch.nn.Linear",
    ],
)
def test_what_must_not_be_shown_is_refused(name: str):
    with pytest.raises(ValueError, match=name):
        source.find(name)


@pytest.mark.parametrize("exercise", library().values(), ids=library())
def test_a_stub_is_the_function_without_its_body(exercise):
    text = exercises.stub(exercise)
    function = ast.parse(text).body[0]
    assert function.name == exercise.name and [each.arg for each in function.args.args] == list(
        inspect.signature(piece_of(exercise)).parameters
    )
    described, rest = function.body
    assert ast.unparse(rest) == "raise NotImplementedError"
    assert " ".join(described.value.value.split()) == " ".join(inspect.getdoc(exercise.reference).split())
    assert max(map(len, text.splitlines())) <= 76


@pytest.mark.parametrize("chapter", (*CHAPTERS, *BEYOND))
def test_a_card_has_what_it_must_and_nothing_that_gives_the_answer(chapter: str):
    for exercise in notebook(chapter).exercises:
        card = exercises.card(exercise)
        assert exercise.statement.strip() in card and all(hint.strip() in card for hint in exercise.hints)
        assert card.count("{dropdown}") == len(exercise.hints)
        assert all(wrong.hint not in card for wrong in exercise.wrong_answers)


def test_hints_lie_inside_one_another():
    exercise = next(each for each in library().values() if len(each.hints) > 1)
    lines = exercises.hints(exercise).splitlines()
    fences = [len(line) - len(line.lstrip(":")) for line in lines if line.startswith(":::")]
    count = len(exercise.hints)
    assert fences == [*range(count + 2, 2, -1), *range(3, count + 3)]


def test_the_cache_is_for_these_very_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package, book = tmp_path / "package", tmp_path / "book"
    (package / "__pycache__").mkdir(parents=True)
    (book / "recorded").mkdir(parents=True)
    (package / "levels.py").write_text("alpha = 1")
    (book / "pages.py").write_text("")
    keys = [freshness.fingerprint(package, book)]

    def another() -> bool:
        keys.append(freshness.fingerprint(package, book))
        return keys[-1] not in keys[:-1]

    (package / "__pycache__" / "levels.pyc").write_bytes(b"x")
    (book / "index.md").write_text("# The book")
    assert not another()
    (package / "levels.py").write_text("alpha = 2")
    assert another()
    (book / "pages.py").write_text("import torch")
    assert another()
    (book / "recorded" / "01_normal_1d.json").write_text("{}")
    assert another()
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    monkeypatch.setenv(freshness.DATA, str(tmp_path / "data"))
    assert another()


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (0.01234, ".2g", "0.012"),
        (1.23e-5, ".2g", "1.2 × 10⁻⁵"),
        (-3, "", "−3"),
        (0.256, ".0%", "26%"),
        (21121, ",", "21,121"),
        ("ready", "", "ready"),
        (torch.tensor(0.5), ".1f", "0.5"),
    ],
)
def test_say_in_a_plain_script(value, spec: str, text: str, capsys: pytest.CaptureFixture):
    pages.say("name", value, spec)
    assert capsys.readouterr().out == f"name = {text}\n"


def test_a_table_aligns_numbers_and_escapes_words():
    rows = [["DDPM <a>", "0.5", "100"], ["DDIM", "–", "1.2 × 10⁻⁵"], ["Heun", "± 3 %", "20 s"]]
    page = BeautifulSoup(pages.table(["sampler", "score", "cost"], rows, "Samplers & co")._repr_html_(), "html.parser")
    cells = [[cell.get_text() for cell in row.find_all("td")] for row in page.find("tbody").find_all("tr")]
    assert cells == rows
    assert [cell.get("class") for cell in page.find_all("th")] == [None, ["number"], ["number"]]
    assert page.find("caption").get_text() == "Samplers & co" == page.find("div")["aria-label"]
    corner = BeautifulSoup(pages.table(["", "score"], rows=[["DDPM", "1"]], caption="One")._repr_html_(), "html.parser")
    assert [cell.name for cell in corner.find("thead").find_all(["td", "th"])] == ["td", "th"]
    with pytest.raises(ValueError, match="3 cells"):
        pages.table(["sampler", "score", "cost"], [["DDPM", "1"]], "Samplers")


def test_a_sound_can_be_played():
    wave = torch.sin(torch.arange(800) / 5)
    player = BeautifulSoup(pages.sound(wave[None], 8000, "A <tone>")._repr_html_(), "html.parser").find("audio")
    assert player.has_attr("controls") and player["aria-label"] == "A <tone>"
    heard, rate = soundfile.read(BytesIO(base64.b64decode(player["src"].partition(",")[2])))
    assert rate == 8000 and torch.allclose(torch.tensor(heard).float(), wave, atol=1e-4)


def figure(alt: str):
    drawn = new_figure(5, 2)
    drawn.subplots()
    return finish(drawn, "nothing", alt)


def test_what_is_recorded_can_be_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told = []

    def run(on_step):
        on_step("drawing", 1, 2)
        return {"data": "a line", "scores": torch.tensor([1.0, 0.5]), "pictures": {"empty": figure("Nothing at all")}}

    save(figure("Old"), tmp_path / "05_mnist_old.png")
    written = record_experiments.record("mnist", run, lambda *step: told.append(step), tmp_path)
    monkeypatch.setattr(pages, "RECORDED", tmp_path)
    found = pages.recorded("mnist")
    assert found["scores"] == [1.0, 0.5] and found["about"]["data"] == "a line"
    assert found["about"]["command"] == "python scripts/record_experiments.py mnist"
    assert told == [("drawing", 1, 2)]
    picture = Image.open(BytesIO(pages.picture("mnist", "empty").data))
    assert picture.info["Description"] == "Nothing at all"
    drawn = Image.open(BytesIO(to_png(figure("Nothing at all")))).convert("RGB")
    difference = ImageChops.difference(picture.convert("RGB"), drawn)
    assert picture.mode == "P" and max(ImageStat.Stat(difference).mean) < 1
    assert sorted(tmp_path.iterdir()) == sorted(written)


@pytest.mark.parametrize(
    ("result", "error"),
    [({"score": float("nan")}, ValueError), ({"score": object()}, TypeError), ({"about": 1}, Exception)],
)
def test_a_result_that_is_no_data_leaves_the_old_one(result: dict, error: type, tmp_path: Path):
    old = tmp_path / "05_mnist.json"
    old.write_text(json.dumps({"score": 1}))
    with pytest.raises(error):
        record_experiments.record("mnist", lambda on_step: result, lambda *step: None, tmp_path)
    assert json.loads(old.read_text()) == {"score": 1}


def test_the_reference_has_every_module_once():
    found = [directive for page in book_pages().values() for directive in page.directives]
    described = [argument for kind, argument, _ in found if kind == "reference"]
    assert len(described) == len(set(described))
    modules = [name for name in dir(diffusion_lab) if inspect.ismodule(getattr(diffusion_lab, name))]
    assert modules and {f"diffusion_lab.{name}" for name in modules} <= set(described)


@pytest.mark.parametrize(
    "module", ["diffusion_lab.samplers", "diffusion_lab.levels", "diffusion_lab.targets", "diffusion_lab.exercises"]
)
def test_an_entry_for_every_public_name(module: str):
    module = importlib.import_module(module)
    for name in reference.public_names(module):
        entry = reference.entry(module, name)
        assert re.match(rf"\.\. (?:py:data|auto\w+):: (?:{module.__name__}\.)?{name}\n", entry), entry
        assert "py:data" not in entry or len(entry.split()) > 4, f"nothing is said about {name}"


def test_a_docstring_is_shown_as_it_was_written():
    written = """The path x_t = alpha * x0 + sigma * eps, with |x| and `names`.

    target    c
    eps       0

More, about weights_.

Args:
    x: of shape (B, *S).
"""
    assert reference.as_rst(written.splitlines()) == [
        "The path x_t = alpha \\* x0 + sigma \\* eps, with \\|x\\| and ``names``.",
        "",
        "::",
        "",
        "    target    c",
        "    eps       0",
        "",
        "More, about weights\\_.",
        "",
        "Args:",
        "    x: of shape (B, \\*S).",
    ]
