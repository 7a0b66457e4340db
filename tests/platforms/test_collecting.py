"""Downloads of Canvas, Moodle, Ilias, Blackboard and GitHub Classroom become the folders that `grade` reads."""

from __future__ import annotations

import csv
import stat
import unicodedata
import zipfile
from pathlib import Path

import pytest
from downloads import CHAPTER, NAME, laid, notebook, packed, submitted
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from diffusion_lab.cli import app
from diffusion_lab.errors import LabError
from diffusion_lab.grading.classroom import find
from diffusion_lab.grading.classroom.gradebook import Book
from diffusion_lab.grading.classroom.platforms import gather
from diffusion_lab.grading.classroom.platforms.text_tables import _rows, read_table

LIST = """id,last_name,first_name,email,lms_user_id
ada,Adams,Ada,ada@example.edu,1001
ben,Núñez,Ben,ben@example.edu,1002
"""
TWO = {"ada": "Ada's", "ben": "Ben's"}
DOWNLOADS = {
    "Canvas": {
        "adamsada_1001_5551_01_normal_1d.ipynb": "older",
        "adamsada_1001_5559_01_normal_1d-1.ipynb": "Ada's",
        "nezben_LATE_1002_5552_mine.ipynb": "Ben's",
    },
    "Moodle": {
        "Ada Adams_4711_assignsubmission_file/01_normal_1d.ipynb": "Ada's",
        "Ben Núñez_4712_assignsubmission_file_/folder/mine.ipynb": "Ben's",
    },
    "Moodle, without folders": {
        "Ada Adams_4711_assignsubmission_file_01_normal_1d.ipynb": "Ada's",
        "Ben Núñez_4712_assignsubmission_file_mine.ipynb": "Ben's",
    },
    "Ilias": {
        "Sheet 1/Adams_Ada_ada_301/20270301090000_work.ipynb": "older",
        "Sheet 1/Adams_Ada_ada_301/20270301100000_work.ipynb": "Ada's",
        "Sheet 1/Nunez_Ben_ben_302/Late Submission - work.ipynb": "Ben's",
    },
    "Blackboard": {
        "Sheet_1_ada_attempt_2027-03-01-09-00-00_work.ipynb": "older",
        "Sheet_1_ada_attempt_2027-03-01-10-00-00_work.ipynb": "Ada's",
        "Sheet_1_ada_attempt_2027-03-01-10-00-00.txt": "Name: Ada",
        "Sheet_1_ben_attempt_2027-03-02-10-00-00_work.ipynb": "Ben's",
    },
    "GitHub": {
        "sheet-1-submissions/sheet-1-ada/01_normal_1d.ipynb": "Ada's",
        "sheet-1-submissions/sheet-1-ben/exercises/01_normal_1d.ipynb": "Ben's",
    },
    "loose": {
        "all of them/01_normal_1d_Adams_Ada.ipynb": "Ada's",
        "all of them/Ben Nunez (2).ipynb": "Ben's",
        "all of them/read me.txt": "nothing",
    },
    "folders": {"ada/01_normal_1d.ipynb": "Ada's", "ben/01_normal_1d/01_normal_1d.ipynb": "Ben's"},
}


@pytest.fixture
def listed(course: Path) -> Path:
    return laid(course, {"students.csv": LIST.encode()}) / "students.csv"


def files_of(platform: str) -> dict[str, bytes]:
    made = DOWNLOADS[platform].items()
    return {name: notebook(text) if name.endswith(".ipynb") else text.encode() for name, text in made}


@pytest.mark.parametrize("platform", DOWNLOADS)
@pytest.mark.parametrize("as_folder", [False, True])
def test_each_platforms_download_is_laid_out_as_grade_reads_it(
    tmp_path: Path, course: Path, listed: Path, platform, as_folder
):
    files = files_of(platform)
    source = laid(tmp_path / "all", files) if as_folder else packed(tmp_path / "all.zip", files)
    gathered = gather(course, CHAPTER, source, listed)
    assert submitted(course) == TWO and not gathered.left_out
    assert gathered.platform == {"folders": "loose"}.get(platform, platform.partition(",")[0])
    assert [s.student for s in find(course / "submitted", [CHAPTER]) if not s.reason] == ["ada", "ben"]
    late = [taken.student for taken in gathered.taken if taken.late]
    assert late == (["ben"] if platform in ("Canvas", "Ilias") else [])


def test_the_gradebook_knows_the_class(course: Path, listed: Path, tmp_path: Path):
    gather(course, CHAPTER, packed(tmp_path / "all.zip", files_of("Canvas")), listed)
    assert sorted(Book(course, CHAPTER).students()) == [
        ("ada", "Ada", "Adams", "ada@example.edu", "1001"),
        ("ben", "Ben", "Núñez", "ben@example.edu", "1002"),
    ]
    again = gather(course, CHAPTER, packed(tmp_path / "again.zip", files_of("Ilias")))
    assert {taken.student for taken in again.taken} == {"ada", "ben"}, "known without the list from now on"


def test_without_a_list_the_download_tells_who_is_there(course: Path, tmp_path: Path):
    gathered = gather(course, CHAPTER, packed(tmp_path / "all.zip", files_of("Canvas")))
    assert submitted(course) == {"adamsada_1001": "Ada's", "nezben_1002": "Ben's"} and not gathered.left_out
    listed = (
        laid(tmp_path, {"canvas.csv": b'Student,ID,SIS Login ID,Section\n"Adams, Ada",1001,ada,1\n'}) / "canvas.csv"
    )
    gathered = gather(course, CHAPTER, packed(tmp_path / "new.zip", files_of("Canvas")), listed)
    assert "adamsada_1001" in [taken.student for taken in gathered.taken], (
        "one folder a student, whatever list comes later"
    )


def test_what_cannot_be_matched_is_listed_and_the_rest_is_laid_out(course: Path, listed: Path, tmp_path: Path):
    files = files_of("Moodle") | {
        "Adá Adam_4713_assignsubmission_file/01_normal_1d.ipynb": notebook("a stranger"),
        "Cy Cole_4714_assignsubmission_file/essay.pdf": b"%PDF",
    }
    listed.write_text(LIST + "cy,Cole,Cy,,\ndot,Dean,Dot,,\n", encoding="utf-8")
    files["Dot Dean_4715_assignsubmission_file/02_normal_2d.ipynb"] = notebook("another sheet", "normal_2d")
    done = CliRunner().invoke(
        app,
        ["collect", "1", "--from", str(packed(tmp_path / "a.zip", files)), "--class-list", str(listed),
         "--course", str(course)],
    )  # fmt: skip
    assert done.exit_code == 3, (done.output, done.exception)
    assert submitted(course) == TWO
    with (course / "not_collected.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["who"]: row["why"] for row in csv.DictReader(file)}
    assert rows == {
        "Adá Adam": "nobody in the class has this name; is it Ada Adams?",
        "cy": "the student handed in no notebook",
        "dot": "it is a notebook of chapter 'normal_2d'",
    }
    gather(course, CHAPTER, packed(tmp_path / "b.zip", files_of("Moodle")), listed)
    assert not (course / "not_collected.csv").exists(), "the list is of the last download"


def test_two_notebooks_of_one_student_are_for_a_person_to_choose(course: Path, listed: Path, tmp_path: Path):
    files = {"ada/first.ipynb": notebook("1"), "ada/second.ipynb": notebook("2"), "ben/x.ipynb": notebook("Ben's")}
    gathered = gather(course, CHAPTER, laid(tmp_path / "all", files), listed)
    assert submitted(course) == {"ben": "Ben's"}
    (left,) = gathered.left_out
    assert left.who == "ada" and "ada/first.ipynb, ada/second.ipynb" in left.why


def test_two_students_of_one_name_are_told_apart_by_moodles_worksheet_only(course: Path, tmp_path: Path):
    files = {f"Li Wei_{n}_assignsubmission_file/w.ipynb": notebook(str(n)) for n in (4711, 4712)}
    source = packed(tmp_path / "all.zip", files)
    gathered = gather(course, CHAPTER, source)
    assert not submitted(course) and len(gathered.left_out) == 2
    worksheet = [
        "Identifier,Full name,Email address",
        "Participant 4711,Li Wei,li@x.edu",
        "Participant 4712,Li Wei,wei@x.edu",
    ]
    (tmp_path / "sheet.csv").write_text("\n".join(worksheet))
    gather(course, CHAPTER, source, tmp_path / "sheet.csv")
    assert submitted(course) == {"li@x.edu": "4711", "wei@x.edu": "4712"}


@pytest.mark.parametrize(
    "name",
    [
        "adamsada_1001_5551_nezben_1002_5552_x.ipynb",
        "Ada Adams_4711_assignsubmission_file/Ben Núñez_4712_assignsubmission_file_x.ipynb",
        "Ada Adams_4711_assignsubmission_file_Ben Núñez_4712_assignsubmission_file_x.ipynb",
        "Sheet 1/Adams_Ada_ada_301/Nunez_Ben_ben_302.ipynb",
        "Sheet_1_ada_attempt_2027-03-01-09-00-00_Sheet_1_ben_attempt_2027-03-01-09-00-00_x.ipynb",
    ],
)
def test_nobody_can_hand_in_under_another_name(course: Path, listed: Path, tmp_path: Path, name: str):
    """What a student calls a file says nothing about whose it is."""
    gather(course, CHAPTER, packed(tmp_path / "all.zip", {name: notebook("Ada's")}), listed)
    assert submitted(course) == {"ada": "Ada's"}


def test_names_in_any_script_and_form_find_their_student(course: Path, tmp_path: Path):
    names = ["山田 太郎", "Пётр Иванов", "Zoë Ángström", "محمد أحمد"]
    rows = "".join(f"s{i},{name}\n" for i, name in enumerate(names))
    laid(course, {"class.csv": f"id,Full name\n{rows}".encode()})
    taken_apart = [unicodedata.normalize("NFD", name) for name in names]
    files = {f"{name}_{i}_assignsubmission_file/w.ipynb": notebook(str(i)) for i, name in enumerate(taken_apart)}
    gather(course, CHAPTER, packed(tmp_path / "all.zip", files), course / "class.csv")
    assert submitted(course) == {f"s{i}": str(i) for i in range(len(names))}


def test_a_newer_notebook_takes_the_place_and_the_time_of_an_older_one(course: Path, listed: Path, tmp_path: Path):
    (course / "nbgrader_config.py").write_text("c = get_config()\nc.Exchange.timezone = 'Europe/Berlin'\n")
    files = files_of("Blackboard")
    gather(course, CHAPTER, packed(tmp_path / "a.zip", files), listed)
    stamp = course / "submitted" / "ada" / NAME / "timestamp.txt"
    assert stamp.read_text() == "2027-03-01 09:00:00 UTC\n", "ten o'clock in Berlin"
    gathered = gather(course, CHAPTER, laid(tmp_path / "loose", {"ada/new.ipynb": notebook("newer")}))
    assert submitted(course) == TWO | {"ada": "newer"} and not stamp.exists()
    assert "timestamp.txt of the earlier one is removed" in " ".join(gathered.taken[0].notes)


def test_moodles_worksheet_tells_when_each_was_handed_in(course: Path, tmp_path: Path):
    (course / "nbgrader_config.py").write_text("c = get_config()\nc.Exchange.timezone = 'Europe/Berlin'\n")
    sheet = (
        'Identifier,"Full name","Last modified (submission)"\n'
        'Participant 4711,"Ada Adams","Monday, 1 March 2027, 9:05 AM"\nParticipant 4712,"Ben Núñez",-\n'
    )
    (tmp_path / "sheet.csv").write_text(sheet, encoding="utf-8")
    gathered = gather(course, CHAPTER, packed(tmp_path / "a.zip", files_of("Moodle")), tmp_path / "sheet.csv")
    assert {taken.student: taken.time for taken in gathered.taken} == {
        "Ada Adams": "2027-03-01 08:05:00 UTC",
        "Ben Núñez": "",
    }


def test_a_time_without_a_zone_is_told_and_not_believed(course: Path, listed: Path, tmp_path: Path):
    gathered = gather(course, CHAPTER, packed(tmp_path / "a.zip", files_of("Blackboard")), listed)
    assert not list(course.rglob("timestamp.txt"))
    assert all("no zone is known" in " ".join(taken.notes) for taken in gathered.taken)


def test_a_zip_that_a_student_handed_in_is_looked_into(course: Path, listed: Path, tmp_path: Path):
    inner = packed(tmp_path / "inner.zip", {"work/01_normal_1d.ipynb": notebook("Ada's"), "work/data.bin": b"x" * 1000})
    bad = packed(tmp_path / "bad.zip", {"../up.ipynb": notebook("Ben's")})
    files = {"ada/handed in.zip": inner.read_bytes(), "ben/handed in.zip": bad.read_bytes()}
    gathered = gather(course, CHAPTER, laid(tmp_path / "all", files), listed)
    assert submitted(course) == {"ada": "Ada's"}
    assert "entry 1, '../up.ipynb': its path leads out of the zip" in gathered.left_out[0].why


def climbing(path: Path) -> None:
    packed(path, {"ada/a.ipynb": notebook("a"), "../../evil.ipynb": notebook("b")})


def on_a_drive(path: Path) -> None:
    packed(path, {"C:\\evil.ipynb": notebook("b")})


def linked(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("ada/a.ipynb")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")


def a_bomb(path: Path) -> None:
    packed(path, {"ada/a.ipynb": bytes(70 << 20)})


def twice(path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        with zipfile.ZipFile(path, "w") as archive:
            for text in "ab":
                archive.writestr("ada/a.ipynb", notebook(text))


def too_many(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_001):
            archive.writestr(f"ada/{number}", b"")


def cut_off(path: Path) -> None:
    packed(path, files_of("Canvas"))
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (climbing, "entry 2, '../../evil.ipynb': its path leads out of the zip"),
        (on_a_drive, "entry 1, 'C:/evil.ipynb': its path leads out of the zip"),
        (linked, "entry 1, 'ada/a.ipynb': it is a symbolic link"),
        (a_bomb, "would unpack to 73 MB"),
        (twice, "entry 2, 'ada/a.ipynb': the name is there twice"),
        (too_many, "20001 entries, and at most 20000"),
        (cut_off, "is not a zip that can be read"),
    ],
)
def test_a_zip_that_means_harm_changes_nothing(course: Path, listed: Path, tmp_path: Path, make, words: str):
    make(tmp_path / "bad.zip")
    with pytest.raises(LabError, match=r"bad\.zip") as told:
        gather(course, CHAPTER, tmp_path / "bad.zip", listed)
    assert words in str(told.value)
    assert sorted(path.name for path in course.iterdir()) == ["gradebook.db", "students.csv"]


def test_links_are_followed_nowhere(course: Path, listed: Path, tmp_path: Path):
    secret = laid(tmp_path / "secret", {"s.ipynb": notebook("secret")}) / "s.ipynb"
    source = laid(tmp_path / "all", {"ben/b.ipynb": notebook("Ben's")})
    (source / "ada.ipynb").symlink_to(secret)
    gather(course, CHAPTER, source, listed)
    assert submitted(course) == {"ben": "Ben's"}
    (course / "submitted" / "ada").symlink_to(tmp_path / "secret")
    with pytest.raises(LabError, match="submitted/ada is a symbolic link; nothing was laid out"):
        gather(course, CHAPTER, laid(tmp_path / "more", {"ada/a.ipynb": notebook("Ada's")}), listed)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,email\nada,a@x\nben,b@x\nADA,c@x\n", "line 4: 'ADA' is on line 2 already"),
        ("Colour,Shoe size\nred,43\n", "line 1: no column says who a student is. It has 'Colour', 'Shoe size'"),
        ("id,email\na/da,a@x\n", "line 2: 'a/da' would be the name of a student's folder, and it holds '/'"),
        ("id;name\nada;Adams; Ada\n", "line 2 has 3 cells, and the header has 2"),
        ('id,name\n"ada,Adams\n', "line 2: a quotation mark opens there, and none closes it"),
        ("id,email\n", "lists nobody"),
        ("", "is empty"),
    ],
)
def test_a_list_that_cannot_be_used_is_told_by_its_line(course: Path, tmp_path: Path, text: str, words: str):
    listed = laid(tmp_path, {"list.csv": text.encode()}) / "list.csv"
    with pytest.raises(LabError, match=r"list\.csv") as told:
        gather(course, CHAPTER, packed(tmp_path / "a.zip", files_of("Canvas")), listed)
    assert words in str(told.value) and not (course / "submitted").exists()


NAMES = {
    "utf-8": "Zoë Ángström",
    "utf-8-sig": "Zoë Ángström",
    "utf-16": "Пётр Иванов",
    "cp1252": "Jürgen Groß",
    "cp1251": "Пётр Иванов",
    "shift_jis": "山田 太郎",
}


@pytest.mark.parametrize("encoding", NAMES)
@pytest.mark.parametrize("separator", list(",;\t|"))
def test_a_list_in_any_usual_encoding_and_separator(tmp_path: Path, encoding: str, separator: str):
    names = [NAMES[encoding]] * 3
    lines = [separator.join(["Username", "Vollständiger Name" if encoding.startswith("utf") else "Full name", "more"])]
    lines += [separator.join([f"s{i}", f'"{name}"', "1"]) for i, name in enumerate(names)]
    (tmp_path / "list.csv").write_bytes("\r\n".join(lines).encode(encoding))
    assert [row.cells[:2] for row in read_table(tmp_path / "list.csv").rows] == [
        (f"s{i}", name) for i, name in enumerate(names)
    ]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=5), st.sampled_from(list(",;\t")))
def test_rows_are_read_as_pythons_own_reader_reads_them(rows: list[list[str]], separator: str):
    import io

    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(rows)
    expected = [row for row in csv.reader(io.StringIO(text.getvalue(), newline=""), delimiter=separator)]
    found = list(_rows(text.getvalue(), separator, 0, Path("x")))
    assert [list(row.cells) for row in found] == [row for row in expected if any(cell.strip() for cell in row)]
    for row in found:  # and each cell stands where it says
        written = [text.getvalue()[start:end] for start, end in row.spans]
        assert next(csv.reader([separator.join(written)], delimiter=separator)) == list(row.cells)
