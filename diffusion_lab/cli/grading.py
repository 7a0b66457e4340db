"""The commands for teachers: release, collect, grade and feedback."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffusion_lab.cli.terminal import (
    Isolation,
    are,
    course_rules,
    mistakes_told,
    new_table,
    progress_bars,
    say,
    seed_text,
)

if TYPE_CHECKING:
    from diffusion_lab.grading.classroom import Result, Submission
    from diffusion_lab.grading.classroom.platforms import Gathered
    from diffusion_lab.grading.classroom.rules import Rules

NOT_ALL_GRADED = 3
"""The exit status where the grader failed for some submission."""
INTERRUPTED = 130


ChapterArgument = Annotated[
    str, typer.Argument(metavar="CHAPTER", help="A chapter's name or number; its lab is NAME_lab.")
]
SecretOption = Annotated[
    Path | None,
    typer.Option(help="Any text of yours. With a student's name it decides which bug and numbers a lab gives them."),
]
CourseOption = Annotated[Path, typer.Option(help="The course's folder, with nbgrader_config.py and the gradebook.")]


def grade(
    chapter: Annotated[str, typer.Argument(metavar="[CHAPTER]", help="One chapter; by default all handed in.")] = "",
    submitted: Annotated[
        Path | None, typer.Option(help="STUDENT/NN_name/NN_name.ipynb is in it. By default COURSE/submitted.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes on this machine. By default one per core.", min=1)] = None,
    scheduler: Annotated[str, typer.Option(help="tcp://… of a Dask cluster whose workers grade instead.")] = "",
    seed_file: Annotated[
        Path | None, typer.Option(help="Any text: the same text draws the same cases. By default they are new.")
    ] = None,
    secret_file: SecretOption = None,
    isolation: Annotated[Isolation, typer.Option(help="What keeps students' code apart.")] = Isolation.bubblewrap,
    again: Annotated[bool, typer.Option("--again", help="Grade unchanged submissions too.")] = False,
    course: CourseOption = Path("."),
) -> None:
    """Grade a class in parallel; write gradebook, grades.csv, feedback and class_report.html.

    Exit status 0: all graded. 2: something must be mended first. 3: the grader failed for some; they have no mark.
    """
    from diffusion_lab.errors import LabError

    with mistakes_told(), course_rules(course) as rules:
        from diffusion_lab.exercises.catalogue import NOTEBOOKS
        from diffusion_lab.exercises.catalogue import find as find_chapter
        from diffusion_lab.grading.classroom import find, with_earlier
        from diffusion_lab.grading.classroom.gradebook import drawn_from

        seed, secret = seed_text(seed_file), seed_text(secret_file)
        chapters = (find_chapter(chapter),) if chapter else NOTEBOOKS
        found = find(submitted or course / "submitted", chapters)
        if not found:
            where = f"of chapter '{chapters[0]}' " if chapter else ""
            raise LabError(f"there are no submissions {where}in {submitted or course / 'submitted'}")
        if isolation is Isolation.none:
            from diffusion_lab.grading.isolation import NONE_GIVES_UP

            say(NONE_GIVES_UP)
        present = [name for name in chapters if any(s.chapter == name for s in found)]
        texts = {name: drawn_from(course, name, secret) for name in present}
        best = [name for name in present if rules.of(name).best]
        found = [s for s in found if s.chapter not in best] + with_earlier(
            course, [s for s in found if s.chapter in best]
        )
        results = _graded(
            found, texts, course, jobs=jobs, scheduler=scheduler, isolation=isolation.value, seed=seed, again=again
        )
        if best:
            results = _best(course, results, best, rules, submitted)
    faults, said = [], []
    for name in present:
        of_chapter = [result for result in results if result.chapter == name]
        with course_rules(course):
            faults += _written(course, name, of_chapter, submitted, alone=len(present) == 1)
        totals, penalties, waiting = _in_the_gradebook(course, name)
        say(_table(of_chapter, totals, penalties))
        said += _about_dates(course, name, rules, of_chapter, submitted)
        if waiting:
            said.append(_for_a_mark_by_hand(course, name, len(waiting)))
    faults += [f"{r.student}, {r.chapter}: not graded: {r.reason}" for r in results if r.state == "not graded"]
    refused = sum(result.state == "refused" for result in results)
    right = sum(result.graded for result in results)
    typer.echo(f"{right} graded, {refused} refused, {len(results) - right - refused} not graded")
    for words in said:
        typer.echo(words)
    for fault in faults:
        typer.echo(f"error: {fault}", err=True)
    if faults:
        raise typer.Exit(NOT_ALL_GRADED)


def release(chapter: ChapterArgument, secret_file: SecretOption = None, course: CourseOption = Path(".")) -> None:
    """Make a chapter's notebook without solutions, and put it into nbgrader's exchange where there is one."""
    with mistakes_told(), course_rules(course):
        from diffusion_lab.exercises.catalogue import find
        from diffusion_lab.grading.classroom.gradebook import drawn_from
        from diffusion_lab.grading.classroom.gradebook import release as release_it

        name, secret = find(chapter), seed_text(secret_file)
        before = drawn_from(course, name)
        notebook, exchange = release_it(course, name, secret)
        if before and drawn_from(course, name) != before:
            typer.echo("another secret: whoever has an older copy of this notebook has other bugs and numbers in it")
    typer.echo(f"{notebook}\n" + (f"released through {exchange}" if exchange else "there is no exchange: hand it out"))


def collect(
    chapter: ChapterArgument,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="The zip of Canvas, Moodle, Ilias or Blackboard, or a folder of notebooks or clones. "
            "By default nbgrader's exchange.",
        ),
    ] = None,
    class_list: Annotated[
        Path | None, typer.Option(help="Who is in the class: a platform's list or any table, CSV or .xlsx.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="The encoding of the class list. By default it is detected.")] = "",
    course: CourseOption = Path("."),
) -> None:
    """Lay out what students have handed in, from a platform's download or nbgrader's exchange.

    Exit status 0: all of it is laid out. 2: nothing was changed. 3: some could not be matched; a list says which.
    """
    with mistakes_told():
        from diffusion_lab.errors import LabError
        from diffusion_lab.exercises.catalogue import find

        if source is None:
            from diffusion_lab.grading.classroom.gradebook import collect as collect_it

            if class_list is not None:
                raise LabError("--class-list goes with --from; nbgrader's exchange knows its students itself")
            typer.echo(f"{are(collect_it(course, find(chapter)), 'submission')} in {course / 'submitted'}")
            return
        from diffusion_lab.grading.classroom.platforms import LEFT_OUT, gather

        gathered = gather(course, find(chapter), source, class_list, encoding)
    for note in gathered.notes:
        typer.echo(note)
    if gathered.taken:
        say(_collected(gathered))
    late = sum(taken.late for taken in gathered.taken)
    told = f", {late} of them late" if late else ""
    layout = "" if gathered.platform == "loose" else f", read as a download from {gathered.platform}"
    typer.echo(f"{are(len(gathered.taken), 'submission')} in {course / 'submitted'}{layout}{told}")
    if gathered.left_out:
        for item in gathered.left_out:
            typer.echo(f"not collected: {item.file}: {item.why}")
        typer.echo(f"{len(gathered.left_out)} could not be matched; {course / LEFT_OUT} lists them")
        raise typer.Exit(NOT_ALL_GRADED)


def _collected(gathered: Gathered):
    from rich.markup import escape

    table = new_table("student", "file", "handed in", "notes")
    for taken in gathered.taken:
        notes = "; ".join([*(["late"] if taken.late else []), *taken.notes])
        table.add_row(*map(escape, (taken.student, taken.file, taken.time, notes)))
    return table


def feedback(chapter: ChapterArgument, course: CourseOption = Path(".")) -> None:
    """Write each student's feedback again, for instance after marking by hand."""
    with mistakes_told(), course_rules(course):
        from diffusion_lab.errors import LabError
        from diffusion_lab.exercises.catalogue import find
        from diffusion_lab.grading.classroom.gradebook import write_feedback

        with progress_bars() as bars:
            bar = bars.add_task("feedback", total=1, what="")
            files = write_feedback(
                course, find(chapter), None, lambda what, done, total: bars.update(bar, completed=done, total=total)
            )
        if not files:
            raise LabError(f"nothing of chapter '{find(chapter)}' is graded in {course}; `grade` comes first")
    typer.echo(f"{are(len(files), 'file')} in {course / 'feedback'}")


def _graded(
    found: Sequence[Submission],
    texts: Mapping[str, str],
    course: Path,
    *,
    jobs: int | None,
    scheduler: str,
    isolation: str,
    seed: str,
    again: bool,
) -> list[Result]:
    """Grade these submissions.

    Args:
        texts: chapter -> the course's own text, from which things are drawn for its students.
    """
    from rich.markup import escape

    from diffusion_lab.grading.classroom import Classroom, cores

    results: list[Result] = []
    with progress_bars() as bars:
        bar = bars.add_task("grading", total=len(found), what="starting workers")

        def show(result: Result, kept: bool) -> None:
            results.append(result)
            bars.update(bar, advance=1, what=escape(f"{result.student}{' (graded before)' if kept else ''}"))

        try:
            # No more processes than submissions: each takes some seconds to start.
            jobs = min(jobs or cores(), len(found))
            with Classroom(course, jobs=jobs, scheduler=scheduler, isolation=isolation) as room:
                bars.update(bar, what="")
                return [
                    result
                    for name, text in texts.items()
                    for result in room.grade(
                        [s for s in found if s.chapter == name],
                        seed=seed,
                        afresh=again,
                        course_text=text,
                        on_result=show,
                    )
                ]
        except KeyboardInterrupt:
            bars.stop()
            typer.echo(f"interrupted: {len(results)} results are kept, and the same command goes on from there")
            raise typer.Exit(INTERRUPTED) from None


def _best(
    course: Path, results: Sequence[Result], chapters: Sequence[str], rules: Rules, submitted: Path | None
) -> list[Result]:
    """The results with one for each student of these chapters, that of the best attempt, which is kept as theirs."""
    from diffusion_lab.grading.classroom import best_of, keep_results
    from diffusion_lab.grading.classroom.gradebook import Book

    chosen = [result for result in results if result.chapter not in chapters]
    for name in chapters:
        book = Book(course, name, submitted)
        best = best_of((r for r in results if r.chapter == name), rules.of(name), book.handed_in)
        keep_results(course, best)
        chosen += best
    return chosen


def _about_dates(
    course: Path, chapter: str, rules: Rules, results: Sequence[Result], submitted: Path | None
) -> list[str]:
    """What the instructor should know where a notebook is due some day: times that nobody knows, names of nobody."""
    from diffusion_lab.grading.classroom.gradebook import Book

    of_chapter = rules.of(chapter)
    if of_chapter.dates.due is None:
        return []
    book, said = Book(course, chapter, submitted), []
    unknown = [r.student for r in results if r.state == "graded" and book.handed_in(r) is None]
    if unknown:
        who = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} others" if len(unknown) > 5 else "")
        said.append(f"{chapter}: nothing says when {who} handed in, so it counts as in time; see timestamp.txt")
    students = {r.student for r in results} | {person[0] for person in book.students()}
    strangers = sorted(of_chapter.dates.extensions.keys() - students)
    if strangers:
        said.append(
            f"{rules.path.name} has an extension in {chapter} for {', '.join(strangers)}, and nobody has that name"
        )
    return said


def _in_the_gradebook(course: Path, chapter: str) -> tuple[dict[str, tuple[float, float]], dict[str, float], set[str]]:
    """The totals, what is taken off for lateness, and the students who wait for a mark by hand."""
    from diffusion_lab.errors import LabError
    from diffusion_lab.grading.classroom.gradebook import Book

    try:
        book = Book(course, chapter)
        return book.totals(), book.penalties(), book.waiting()
    except LabError:  # told already, where the marks were to be written
        return {}, {}, set()


def _for_a_mark_by_hand(course: Path, chapter: str, count: int) -> str:
    who = "1 student waits" if count == 1 else f"{count} students wait"
    there = "" if course == Path(".") else f" --course {shlex.quote(str(course))}"
    return (
        f"{who} for a mark by hand in {chapter}: start `jupyter lab {shlex.quote(str(course))}`, give it under Manual "
        f"Grading in formgrader, then `diffusion-lab feedback {chapter}{there}`"
    )


def _table(results: Sequence[Result], totals: Mapping[str, tuple[float, float]], penalties: Mapping[str, float]):
    """What the grader gave; and the gradebook's total, for those whom somebody has given marks by hand."""
    from rich.markup import escape

    by_hand = {}
    for result in results:
        score, most = totals.get(result.student, (result.points, 0.0))
        if result.state != "not graded" and score != result.points:
            by_hand[result.student] = f"{score:g} of {most:g}"
    table = new_table(
        "student", "chapter", "points", *(["with marks by hand"] if by_hand else []), "", "seconds", "notes"
    )
    for result in results:
        marks = f"{result.points:g} of {result.out_of:g}" if result.state != "not graded" else "-"
        late = penalties.get(result.student, 0.0)
        told = [
            result.reason,
            f"{late:g} {'point' if late == 1 else 'points'} off for lateness" if late else "",
            *result.notes,
        ]
        table.add_row(
            escape(result.student),
            result.chapter,
            marks,
            *([by_hand.get(result.student, "")] if by_hand else []),
            result.state,
            f"{result.seconds:.1f}",
            escape("; ".join(filter(None, told))),
        )
    return table


def _written(
    course: Path, chapter: str, results: Sequence[Result], submitted: Path | None, *, alone: bool
) -> list[str]:
    """Write gradebook, feedback and reports; what went wrong with it."""
    from diffusion_lab.errors import LabError
    from diffusion_lab.exercises.catalogue import folder_name
    from diffusion_lab.grading.classroom import RecordingError
    from diffusion_lab.grading.classroom.gradebook import record, write_feedback
    from diffusion_lab.grading.classroom.reports import write_reports

    faults = []
    with progress_bars() as bars:
        bar = bars.add_task("recording", total=1, what="")

        def on_step(what: str, done: int, total: int) -> None:
            bars.update(bar, completed=done, total=total, what=what)

        def attempt(work):
            try:
                return work()
            except RecordingError as error:
                told = error.failures or {"": str(error)}
                faults.extend(f"{student + ', ' if student else ''}{chapter}: {why}" for student, why in told.items())
            except (LabError, OSError) as error:
                faults.append(f"{chapter}: {error}")

        attempt(lambda: record(course, chapter, results, on_step, submitted=submitted))
        students = [result.student for result in results if result.state != "not graded"]
        attempt(lambda: write_feedback(course, chapter, students, on_step))
        # Reports of several chapters would take each other's names.
        folder = None if alone else course / "reports" / folder_name(chapter)
        files = attempt(lambda: write_reports(course, chapter, results, folder=folder, submitted=submitted))
    for file in files or ():
        typer.echo(str(file))
    return faults
