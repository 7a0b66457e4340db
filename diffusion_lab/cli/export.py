"""The commands that make files for learning platforms: marks in their own tables, and graders that run there."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffusion_lab.cli.grading import NOT_ALL_GRADED, ChapterArgument, CourseOption
from diffusion_lab.cli.terminal import are, mistakes_told, seed_text

if TYPE_CHECKING:
    from diffusion_lab.grading.classroom.platforms import Settings


class PlatformIsolation(str, enum.Enum):
    bubblewrap = "bubblewrap"
    account = "account"
    none = "none"


class Visibility(str, enum.Enum):
    visible = "visible"
    after_due_date = "after_due_date"
    after_published = "after_published"
    hidden = "hidden"


class Identity(str, enum.Enum):
    email = "email"
    list = "list"


IsolationOption = Annotated[
    PlatformIsolation,
    typer.Option(
        help="What keeps students' code apart on the platform. Where bubblewrap cannot work there, nothing is graded "
        "and you are told why; account needs root and has no walls but the system's own; none has no walls."
    ),
]
HintsOption = Annotated[Visibility, typer.Option(help="When students see what went wrong, hints included.")]
PlatformSeed = Annotated[
    Path | None, typer.Option(help="Any text: all submissions get the same cases. By default each gets new ones.")
]
IdentityOption = Annotated[
    Identity | None,
    typer.Option(
        help="What students type into a lab as their name. email, the default: the address by which Gradescope knows "
        "them. list: the name that the gradebook has for them; its addresses say who is who.",
        show_default=False,
    ),
]
IndexOption = Annotated[
    str,
    typer.Option(help="https://… of an index of packages beside pip's, such as PyTorch's for machines without CUDA."),
]
NAMES = {
    "email": "Tell your students to type their address as their name, the one by which Gradescope knows them: their "
    "numbers and their bug are drawn by it.",
    "list": "Your students type the name that the gradebook has for them. It holds the addresses of {count} of "
    "them, which say who is who; submissions cannot read them.",
    "variant": "The question shows each student a name to type into the notebook: their numbers and their bug are "
    "drawn by it.",
}
"""What whoever exports a lab must tell students."""
WAIT = (
    "Points for the bug, and with them the total, are shown after the due date at the earliest. Otherwise anybody "
    "could find it by trying out the list. Waiting does not stop anybody who reads the package: with a name and the "
    "text in the notebook it draws anybody's numbers and bug. Ask in person."
)
AT_ONCE = (
    "PrairieLearn shows points at once, so anybody could find the bug by trying out the list: put the question into an "
    'exam with "allowRealTimeGrading": false, or leave the bug out in course.toml.'
)
app = typer.Typer(no_args_is_help=True, help="Make files for learning platforms: marks, and graders that run there.")


@app.command()
def marks(
    chapter: ChapterArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What the platform exported: CSV, .xls with tabs, .xlsx.")
    ],
    to: Annotated[Path | None, typer.Option(help="The copy. By default FILE with _marks in its name.")] = None,
    column: Annotated[str, typer.Option(help="The name of the column, if it is not the chapter's.")] = "",
    scale: Annotated[bool, typer.Option("--scale", help="Turn the chapter's points into the platform's.")] = False,
    encoding: Annotated[str, typer.Option(help="The encoding of the file. By default it is detected.")] = "",
    course: CourseOption = Path("."),
) -> None:
    """Fill a chapter's marks into a platform's own table and leave all else in it alone.

    Exit status 0: every mark is in its row. 2: nothing was written. 3: some marks found no row; lines say whose.
    """
    with mistakes_told():
        from diffusion_lab.grading.classroom.platforms import fill_in

        to = to or file.with_name(f"{file.stem}_marks{file.suffix}")
        filled = fill_in(course, chapter, file, to, column=column, scale=scale, encoding=encoding)
    for words in filled.left_alone:
        typer.echo(f"left alone: {words}")
    changed = f", {filled.changed} of them in the place of another mark" if filled.changed else ""
    typer.echo(f"{are(len(filled.marks), 'mark')} in '{filled.column}' of {filled.file}{changed}")
    if filled.waiting:
        who = f"{', '.join(filled.waiting[:5])}{', …' if len(filled.waiting) > 5 else ''}"
        typer.echo(
            f"not final for {len(filled.waiting)} of them: give a mark by hand in formgrader, or look again at one "
            f"({who}), and export again"
        )
    for words in filled.unplaced:
        typer.echo(f"error: no mark for {words}", err=True)
    if filled.unplaced:
        raise typer.Exit(NOT_ALL_GRADED)


@app.command()
def gradescope(
    chapter: ChapterArgument,
    to: Annotated[Path | None, typer.Option(help="The zip. By default NN_name_gradescope.zip here.")] = None,
    isolation: IsolationOption = PlatformIsolation.bubblewrap,
    visibility: Annotated[Visibility, typer.Option(help="When students see their points.")] = Visibility.visible,
    hints: HintsOption = Visibility.visible,
    seed_file: PlatformSeed = None,
    identity: IdentityOption = None,
    index: IndexOption = "",
    course: CourseOption = Path("."),
) -> None:
    """Make the zip that Gradescope takes as an autograder."""
    with mistakes_told():
        from diffusion_lab.errors import LabError
        from diffusion_lab.grading.classroom.platforms import gradescope_zip, guessed_at, is_drawn

        settings = _with_dates(course, _settings(course, chapter, isolation, visibility, hints, seed_file, dates=True))
        if identity is not None and not is_drawn(settings):
            raise LabError(
                "--identity goes with a lab in which something is drawn for each student; in "
                f"'{settings.chapter}' nothing is"
            )
        settings = _with_names(course, settings, (identity or Identity.email).value)
        file = gradescope_zip(settings, to or Path(f"{_folder(chapter)}_gradescope.zip"), index)
        guessed = guessed_at(settings)
    typer.echo(f"{file}, for Gradescope: Configure Autograder, Zip file upload")
    _tell(settings, WAIT if guessed else "")


@app.command()
def prairielearn(
    chapter: ChapterArgument,
    to: Annotated[Path, typer.Option(help="The folder of the PrairieLearn course.")],
    image: Annotated[str, typer.Option(help="The image to grade in, built from diffusion_lab_image/.")],
    isolation: IsolationOption = PlatformIsolation.bubblewrap,
    hints: HintsOption = Visibility.visible,
    seed_file: PlatformSeed = None,
    index: IndexOption = "",
    course: CourseOption = Path("."),
) -> None:
    """Write a question with an external grader into a PrairieLearn course."""
    with mistakes_told():
        from diffusion_lab.errors import LabError
        from diffusion_lab.grading.classroom.platforms import guessed_at, prairielearn_question

        if hints not in (Visibility.visible, Visibility.hidden):
            raise LabError(f"PrairieLearn shows hints at once or never: visible or hidden, not {hints.value}")
        settings = _settings(course, chapter, isolation, Visibility.visible, hints, seed_file)
        settings = _with_names(course, settings, "variant")
        guessed = guessed_at(settings)
        written = prairielearn_question(settings, to, image, index)
    question = next(file.parent for file in written if file.name == "info.json")
    typer.echo(
        f"{question}, with {len(written)} files; build the image with docker build -t {image} diffusion_lab_image"
    )
    _tell(settings, AT_ONCE if guessed else "")


@app.command()
def github(
    chapter: ChapterArgument,
    to: Annotated[Path, typer.Option(help="The folder of the repository that students send pull requests to.")],
    hints: HintsOption = Visibility.visible,
    index: IndexOption = "",
    course: CourseOption = Path("."),
) -> None:
    """Write a workflow that grades pull requests and comments on them."""
    with mistakes_told():
        from diffusion_lab.errors import LabError
        from diffusion_lab.grading.classroom.platforms import github_workflow

        if hints not in (Visibility.visible, Visibility.hidden):
            raise LabError(f"a comment shows hints at once or never: visible or hidden, not {hints.value}")
        settings = _settings(course, chapter, PlatformIsolation.bubblewrap, Visibility.visible, hints, None)
        for file in github_workflow(settings, to, index):
            typer.echo(str(file))


def _settings(
    course: Path,
    chapter: str,
    isolation: PlatformIsolation,
    visibility: Visibility,
    hints: Visibility,
    seed_file: Path | None,
    dates: bool = False,
) -> Settings:
    from diffusion_lab.exercises.catalogue import find
    from diffusion_lab.grading.classroom.platforms import Settings
    from diffusion_lab.grading.classroom.rules import rules_of

    rules = rules_of(course).of(find(chapter))
    for words in rules.not_on_platforms(dates):
        typer.echo(words)

    if isolation is PlatformIsolation.none:
        from diffusion_lab.grading.isolation import NONE_GIVES_UP

        typer.echo(NONE_GIVES_UP)
    offers = (rules.offer.as_dict(),) if rules.offer.digest else ()
    return Settings(find(chapter), isolation.value, visibility.value, hints.value, seed_text(seed_file), offers)


def _with_dates(course: Path, settings: Settings) -> Settings:
    """With due dates and what lateness costs, for a platform that tells when something was handed in."""
    from dataclasses import replace

    from diffusion_lab.grading.classroom.gradebook import Book
    from diffusion_lab.grading.classroom.platforms import settings_for
    from diffusion_lab.grading.classroom.rules import rules_of

    rules = rules_of(course).of(settings.chapter)
    if rules.dates.due is None and not rules.best:
        return settings
    emails = {}
    if rules.dates.extensions:
        emails = {student: email for student, _, _, email, _ in Book(course, settings.chapter).students()}
    late, unknown = settings_for(rules, emails)
    for student in unknown:
        typer.echo(f"no extension there for {student}: the gradebook has no email, by which Gradescope knows students")
    return replace(settings, late=late)


def _with_names(course: Path, settings: Settings, by: str) -> Settings:
    """With what the grader there must know to draw what its students have drawn, where something is drawn."""
    from diffusion_lab.grading.classroom.gradebook import Book, drawn_from
    from diffusion_lab.grading.classroom.platforms import for_its_students, in_gradebook, is_drawn

    if not is_drawn(settings):
        return settings
    with settings.in_force():
        text = drawn_from(course, settings.chapter)
    people = in_gradebook(Book(course, settings.chapter)) if by == "list" else []
    found = for_its_students(settings, text, by, people)
    for person in people:
        if not person.email.strip():
            typer.echo(f"{person.id} has no address in the gradebook, so nothing of theirs will be graded there")
    return found


def _tell(settings: Settings, about_bug: str) -> None:
    """Say what whoever has exported a lab must know."""
    if settings.identity:
        typer.echo(NAMES[settings.identity].format(count=len(settings.students)))
    if about_bug:
        typer.echo(about_bug)


def _folder(chapter: str) -> str:
    from diffusion_lab.exercises.catalogue import find, folder_name

    return folder_name(find(chapter))
