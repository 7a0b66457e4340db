"""What every page of the book must have, read from its source. The built pages are looked at in the slow tests."""

from __future__ import annotations

import ast
import itertools
import json
import re

import pytest
from book_source import BOOK, WRITTEN, Page, chapter_page, contents, read
from book_source import pages as all_pages
from pages import record_name

from diffusion_lab.exercises.catalogue import folder_name, number_of

PAGES = all_pages()
OTHER = (
    *"index setup notation score challenge doctor playground onwards commands 14_architectures".split(),
    *"instructors course_file instructors_beyond instructors_safety glossary api bibliography".split(),
)
REFERENCE = ("path", "learning", "sampling", "truth", "data", "running", "exercises")

# Numbers that a measurement could have given: decimals, shares, ratios.
MEASURED = re.compile(
    r"""(?<![\w.,/-])(?:
        (?P<share>\d+(?:\.\d+)?)\s*(?:%|per\scent\b|percent\b)
      | (?P<ratio>\d+(?:\.\d+)?)\s*(?:times\b|-fold\b|×(?!\s*\d))
      | (?P<decimal>\d+\.\d+)
    )(?![\w.]*\w)""",
    re.VERBOSE,
)
# Names that have a number in them.
NAMED = re.compile(
    r"(?:Python|Jupyter Book|MathJax|(?:Py)?torch(?:vision|audio)?|CC BY(?:-SA)?"
    r"|version|section|equation|chapter|table|figure|exercise)"
    r"s?\s+\d+(?:\.\d+)*(?:\s*(?:,|and|to|or)\s*\d+(?:\.\d+)*)*",
    re.IGNORECASE,
)


def literals(code: str) -> set[float]:
    """The numbers that stand in the code, whole expressions such as 1 / 3 left out; texts count too, for tables."""
    found = set()
    for cell in ast.walk(ast.parse(code)):
        if isinstance(cell, ast.Constant) and isinstance(cell.value, (int, float)) and cell.value is not True:
            found.add(float(cell.value))
        elif isinstance(cell, ast.Constant) and isinstance(cell.value, str):
            found |= {float(number) for number in re.findall(r"\d+(?:\.\d+)?", cell.value)}
    return found


def typed_numbers(page: Page) -> list[str]:
    """Numbers in the prose that look measured and that no code of the page has as an input."""
    known = set().union(*(literals(_plain(cell)) for cell in page.cells)) if page.cells else set()
    found = []
    for match in MEASURED.finditer(NAMED.sub(" ", page.prose)):
        value = float(match["share"] or match["ratio"] or match["decimal"])
        accepted = {value, value / 100} if match["share"] else {value}
        if not any(abs(one - other) < 1e-12 for one in accepted for other in known):
            found.append(match[0])
    return found


def _plain(cell: str) -> str:
    """A cell without IPython's own commands."""
    return "\n".join(line for line in cell.splitlines() if not line.lstrip().startswith(("%", "!")))


def test_the_contents_are_all_pages_and_each_of_them_once():
    reference = [f"api_{part}" for part in REFERENCE]
    expected = [
        *(name for name in OTHER if (BOOK / f"{name}.md").is_file()),
        *reference,
        *(folder_name(chapter) for chapter in WRITTEN),
    ]
    assert sorted(contents()) == sorted(expected)
    on_disk = {path.stem for path in BOOK.glob("*.md")} | {path.stem for path in BOOK.glob("*.ipynb")}
    assert on_disk == set(contents())


def test_each_experiment_has_its_record_and_each_record_its_experiment():
    experiments = {path.stem for path in (BOOK / "experiments").glob("*.py")}
    assert experiments >= set(WRITTEN)
    assert {path.stem for path in (BOOK / "recorded").glob("*.json")} == {record_name(name) for name in experiments}


@pytest.mark.parametrize("path", sorted((BOOK / "recorded").glob("*.json")), ids=lambda path: path.stem)
def test_a_record_says_where_it_comes_from(path):
    about = json.loads(path.read_text(encoding="utf-8"))["about"]
    assert about["command"] == f"python scripts/record_experiments.py {path.stem[3:]}"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", about["date"]) and about["seconds"] > 0
    assert about["processor"] and {"python", "torch", "diffusion-lab"} <= set(about["versions"])


def test_each_recorded_picture_is_shown_and_each_one_that_is_shown_is_recorded():
    files = {path.stem for path in (BOOK / "recorded").glob("*.png")}
    shown = set()
    for page in PAGES.values():
        for chapter, name in re.findall(r"""pages\.picture\(\s*["'](\w+)["'],\s*["'](\w+)["']""", page.code):
            shown.add(f"{folder_name(chapter)}_{name}")
    assert files == shown


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_no_measured_number_is_typed(page: Page):
    assert typed_numbers(page) == []


@pytest.mark.parametrize(
    ("prose", "code", "found"),
    [
        ("An error of 0.25 is left.", "x = 1", ["0.25"]),
        ("An error of 0.25 is left.", "x = 0.25", []),
        ("It is right in 93 % of all cases.", "", ["93 %"]),
        ("It is right in 90% of all cases.", "share = 0.9", []),
        ("It is 3.4 times faster, or 12 times.", "", ["3.4 times", "12 times"]),
        ("It needs 2× as long as {glue:text}`x`.", "", ["2×"]),
        ("Use Python 3.10, equation 5.3 of [this](https://example.org/1.5) and `x = 0.3`, at $t = 0.7$.", "", []),
        ("A grid of 3 × 3 boards.", "", []),
    ],
)
def test_a_typed_number_is_found(prose: str, code: str, found: list[str]):
    assert typed_numbers(Page("page", prose, cells=[code], marked=prose)) == found


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_nothing_is_left_to_write(page: Page):
    assert re.findall(r"\b(?:[A-Z]{2,} TEXT|TBD|LOREM)\b", page.marked) == []


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_numbers_in_the_prose_are_stored_by_code_and_once(page: Page):
    names = re.findall(r"""pages\.say\(\s*["']([^"']+)["']""", page.code)
    assert len(names) == len(set(names))
    spoken = set(page.roles("glue:text"))
    # A name may be put together in a loop; then it has a part that is fixed.
    made = re.findall(r"""pages\.say\(\s*f["']([^"'{]*)""", page.code)
    assert all(name in names or any(name.startswith(start) for start in made) for name in spoken), spoken - set(names)


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_page_has_one_title_and_no_level_is_left_out(page: Page):
    levels = [len(mark) for mark in re.findall(r"^(#+) +\S", page.marked, re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_terms_are_in_the_glossary(page: Page):
    glossary = "\n".join(body for name, _, body in read(BOOK / "glossary.md").directives if name == "glossary")
    known = {line.strip().lower() for line in glossary.splitlines() if line and not line.startswith((" ", ":"))}
    assert {term.lower() for term in page.roles("term")} <= known


NAME = re.compile(r"(?<![\w`/.])[A-ZΠ][\w-]*[A-ZΠ][\w-]*")  # such as DDPM, RePaint and SI-SDR
NO_METHODS = {"CIFAR-10", "EuroSAT", "FFT", "GloVe", "McSharry", "MIT-BIH", "PyTorch"}


@pytest.mark.parametrize("chapter", WRITTEN)
def test_a_method_with_a_name_is_in_the_glossary(chapter: str):
    glossary = (BOOK / "glossary.md").read_text(encoding="utf-8")
    names = {name.removesuffix("s") for name in NAME.findall(chapter_page(chapter).main_prose)} - NO_METHODS
    assert {name for name in names if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", glossary)} == set()


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_citations_are_in_the_bibliography(page: Page):
    keys = set(re.findall(r"^@\w+\{([^,\s]+),", (BOOK / "references.bib").read_text(encoding="utf-8"), re.MULTILINE))
    cited = {key.strip() for role in ("cite:p", "cite:t") for keys in page.roles(role) for key in keys.split(",")}
    assert cited <= keys


def test_no_work_is_in_the_bibliography_twice():
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{([^,\s]+),", text, re.MULTILINE)
    titles = [
        re.sub(r"\W", "", title).lower() for title in re.findall(r"^\s*title\s*=\s*[{\"](.+)$", text, re.MULTILINE)
    ]
    assert len(keys) == len(set(keys)) and len(titles) == len(set(titles))


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_code_in_sight_is_narrow_enough(page: Page):
    visible = [
        line
        for cell in re.findall(r"^```\{code-cell\}.*?^```$", page.text, re.MULTILINE | re.DOTALL)
        if not re.search(r"^:tags:.*(?:hide|remove)-(?:input|cell)", cell, re.MULTILINE)
        for line in cell.splitlines()
        if not line.startswith((":", "```"))
    ]
    assert [line for line in visible if len(line) > 76] == []


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_no_page_reads_the_exercises(page: Page):
    assert "diffusion_lab.exercises" not in page.code and "exercises import" not in page.code
    assert not [argument for name, argument, _ in page.directives if name == "source" and ".exercises" in argument]


def has_length(page: Page, chapter: str) -> bool:
    return 2000 <= page.words <= 3000


def has_prediction(page: Page, chapter: str) -> bool:
    asked = [title for name, title in page.colons if name == "admonition" and "before you read on" in title.lower()]
    answered = page.marked.lower().rpartition("before you read on")[2]
    return len(asked) == 1 and "your prediction" in answered


def has_derivation(page: Page, chapter: str) -> bool:
    return len(page.equations) >= 3 and all(label and label.startswith(f"eq-{chapter}-") for _, label in page.equations)


def has_code(page: Page, chapter: str) -> bool:
    return any(name == "source" for name, _, _ in page.directives) and len(page.cells) >= 3


def has_numbers(page: Page, chapter: str) -> bool:
    """Some, and not so many that nobody remembers one of them; what is beyond goes into folds and tables."""
    return 5 <= page.main.count("{glue:text}") <= 35


def has_slider(page: Page, chapter: str) -> bool:
    return "pages.slider(" in page.code


def has_recorded_table(page: Page, chapter: str) -> bool:
    command = f"scripts/record_experiments.py {chapter}"
    return "pages.table(" in page.code and "pages.recorded(" in page.code and command in page.text


def has_famous_bug(page: Page, chapter: str) -> bool:
    return any("where it breaks" in heading.lower() for heading in page.headings)


def has_exercises(page: Page, chapter: str) -> bool:
    return [argument for name, argument, _ in page.directives if name == "exercises"] == [chapter]


def has_quiz(page: Page, chapter: str) -> bool:
    titles = [title.lower() for name, title in page.colons if name == "dropdown"]
    answers = [title for title in titles if re.match(r"answer|\d+\.", title)]  # under its question, or titled with it
    return any("quiz" in heading.lower() for heading in page.headings) and 4 <= len(answers) <= 6


def has_reading(page: Page, chapter: str) -> bool:
    _, heading, rest = page.marked.partition("Further reading")
    return bool(heading) and 3 <= len(re.findall(r"^[-*] ", rest, re.MULTILINE)) <= 6


PARTS = (
    has_length,
    has_prediction,
    has_derivation,
    has_code,
    has_numbers,
    has_slider,
    has_recorded_table,
    has_famous_bug,
    has_exercises,
    has_quiz,
    has_reading,
)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
@pytest.mark.parametrize("chapter", WRITTEN)
def test_a_chapter_has_all_its_parts(chapter: str, part):
    page = chapter_page(chapter)
    assert part(page, chapter), f"{page.words} words, headings {page.headings}"


@pytest.mark.parametrize("chapter", WRITTEN)
def test_a_chapter_can_be_referred_to(chapter: str):
    page = chapter_page(chapter)
    assert re.search(rf"^\(chapter-{chapter}\)=\n# Chapter {number_of(chapter)}: ", page.marked, re.MULTILINE)
    assert page.front["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("path", sorted(BOOK.glob("*.md")), ids=lambda path: path.stem)
def test_a_text_does_not_stand_behind_an_option(path):
    """Words behind `:class:` become names of classes, and the page loses them without an error."""
    found = re.findall(r"^:class: (.*)$", path.read_text(encoding="utf-8"), re.M)
    assert set(found) <= {"important", "note", "tip"}
