"""Submissions a minute: nbgrader's autograding, the whole of our grading, and the recording of its results alone.

    python benchmarks/grading.py [--chapter normal_1d] [--size 60] [--stock 6] [--jobs N]

All three work on the same notebooks, in one run. Of `nbgrader autograde` the start of the command is left out; of ours
it is counted. The class is made of the right and wrong answers of the exercises. Prints Markdown, and at the end what
is in memory and open while the class grows. What a written check and a bug add is measured by `labs.py`.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import inspect
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

import diffusion_lab
from diffusion_lab.exercises import Exercise, notebook
from diffusion_lab.exercises.catalogue import find, folder_name
from diffusion_lab.grading.classroom import Classroom, Result, cores, parsed, records
from diffusion_lab.grading.classroom.gradebook import Book, record, write_feedback
from diffusion_lab.grading.classroom.reports import write_reports
from diffusion_lab.grading.notebook import CONFIGURATION, EXERCISES, SOLUTIONS, solution

ROOT = Path(diffusion_lab.__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chapter", default="normal_1d")
    parser.add_argument("--size", type=int, default=60, help="submissions of the class")
    parser.add_argument("--stock", type=int, default=6, help="how many of them nbgrader grades too; at least 2")
    parser.add_argument("--jobs", type=int, default=cores())
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="diffusion-lab-") as folder:
        measure(Path(folder), find(given.chapter), given.size, max(2, given.stock), given.jobs)


def measure(folder: Path, chapter: str, size: int, stock: int, jobs: int) -> None:
    course = released(folder / "course", chapter)
    hand_in(course, chapter, size)
    baseline, theirs = nbgraders(course, folder / "stock", chapter, min(stock, size))

    began = time.perf_counter()
    footprints: list[tuple[int, ...]] = []

    def look(result: Result, kept: bool) -> None:
        seen = len(looked)
        looked.append(result.student)
        if seen + 1 in {max(size // 10, 1), size // 2, size}:
            footprints.append((seen + 1, *footprint()))

    looked: list[str] = []
    with Classroom(course, jobs=jobs) as room:
        ready = time.perf_counter()
        results = room.grade(records.find(course / "submitted", [chapter]), seed="benchmark", on_result=look)
    graded = time.perf_counter()
    record(course, chapter, results)
    recorded = time.perf_counter()
    write_feedback(course, chapter)
    fed_back = time.perf_counter()
    write_reports(course, chapter, results)
    ended = time.perf_counter()

    states = {state: sum(result.state == state for result in results) for state in {r.state for r in results}}
    marks = sum(result.points for result in results) / len(results)
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    most = notebook(chapter).points
    print(f"{folder_name(chapter)}: {told}, {marks:.1f} of {most} points on average; {jobs} processes\n")
    print("| what | submissions | seconds | a minute | times nbgrader |")
    print("| --- | --- | --- | --- | --- |")
    rate = baseline / theirs * 60
    print(f"| `nbgrader autograde`, without its start | {baseline} | {theirs:.1f} | {rate:.1f} | 1 |")
    for what, seconds in (
        ("grading, isolated, with the start of its processes", graded - began),
        ("the same without the start", graded - ready),
        ("recording alone", recorded - graded),
        ("feedback alone", fed_back - recorded),
        ("grades and class report alone", ended - fed_back),
        ("**start, grading and recording**", recorded - began),
        ("all that `grade` does", ended - began),
    ):
        print(f"| {what} | {size} | {seconds:.1f} | {size / seconds * 60:.0f} | {size / seconds * 60 / rate:.1f} |")

    print("\n| after submissions | processes | open files and sockets | memory of this process and of all others, MB |")
    print("| --- | --- | --- | --- |")
    for seen, processes, files, own, others in footprints:
        print(f"| {seen} | {processes} | {files} | {own / 1e6:.0f} + {others / 1e6:.0f} |")
    gone, files, own, _ = footprint()
    print(f"| at the end | {gone} | {files} | {own / 1e6:.0f} |")


def footprint() -> tuple[int, int, int, int]:
    """Processes below this one, files and sockets open in it and its workers, bytes of it and of the others."""
    me = psutil.Process()
    below, files, memory = me.children(recursive=True), me.num_fds(), 0
    processes = 0
    for process in below:
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            memory += process.memory_full_info().uss
            files += process.num_fds()
            processes += 1
    return processes, files, me.memory_full_info().uss, memory


def released(course: Path, chapter: str) -> Path:
    """A course with this chapter, released, and with an empty gradebook."""
    (course / SOLUTIONS).mkdir(parents=True)
    shutil.copy(ROOT / CONFIGURATION, course)
    shutil.copytree(ROOT / SOLUTIONS / folder_name(chapter), course / SOLUTIONS / folder_name(chapter))
    Book(course, chapter).prepare()
    return course


def hand_in(course: Path, chapter: str, size: int) -> None:
    """Submissions whose answers are right two times of three."""
    name, draw = folder_name(chapter), random.Random(0)
    release = json.loads((course / EXERCISES / name / f"{name}.ipynb").read_text(encoding="utf-8"))
    answers = {exercise.name: sources(exercise) for exercise in notebook(chapter).exercises}
    for number in range(size):
        for cell in release["cells"]:
            grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
            if grade_id in answers:
                right, wrong = answers[grade_id]
                cell["source"] = draw.choice(right if draw.random() < 2 / 3 else wrong)
        place = course / "submitted" / f"student{number:04d}" / name / f"{name}.ipynb"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(release), encoding="utf-8")
        parsed(place.read_bytes(), notebook(chapter))


def sources(exercise: Exercise) -> tuple[list[str], list[str]]:
    """Solution cells: right ones and wrong ones. Answers that use more of the course than their module are left out."""
    right = [cell_of(answer.function, exercise.name) for answer in exercise.right_answers]
    wrong = [cell_of(answer.function, exercise.name) for answer in exercise.wrong_answers]
    own = solution(exercise.reference)
    return [own, *filter(None, right)], list(filter(None, wrong)) or [own]


def cell_of(function: Callable, name: str) -> str:
    """The source of a function under an exercise's name, below what it uses of its module; "" where that is not all."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(function)))
    defined = {target: node for node in tree.body for target in _targets(node)}
    needed: list[str] = []

    def collect(node: ast.AST) -> None:
        for used in ast.walk(node):
            if isinstance(used, ast.Name) and used.id in defined and used.id not in needed:
                needed.append(used.id)
                collect(defined[used.id])

    collect(defined[function.__name__])
    nodes = [node for node in tree.body if any(defined[target] is node for target in needed)]
    if any(isinstance(node, ast.ImportFrom) and str(node.module).startswith("diffusion_lab") for node in nodes):
        return ""
    last = defined[function.__name__]
    text = "\n\n".join(ast.unparse(node) for node in (*(node for node in nodes if node is not last), last))
    if function.__name__ == name:
        return text
    text = re.sub(rf"\b{name}\b", f"right_{name}", text)  # where an answer calls the reference
    return re.sub(rf"\b{function.__name__}\b", name, text)


def _targets(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    return [target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)]


def nbgraders(course: Path, other: Path, chapter: str, count: int) -> tuple[int, float]:
    """`nbgrader autograde` on the first submissions, in a copy of the course: how many it took how many seconds for.

    The command for one submission, which is mostly its start, is taken off the command for all.
    """
    seconds = []
    for size in (1, count):
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(course, other, ignore=shutil.ignore_patterns("submitted"))
        for student in sorted((course / "submitted").iterdir())[:size]:
            shutil.copytree(student, other / "submitted" / student.name)
        environment = {**os.environ, "JUPYTER_RUNTIME_DIR": str(other / "runtime"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "nbgrader", "autograde", folder_name(chapter), "--log-level=ERROR"]
        began = time.perf_counter()
        subprocess.run(command, cwd=other, env=environment, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return count - 1, seconds[1] - seconds[0]


if __name__ == "__main__":
    main()
