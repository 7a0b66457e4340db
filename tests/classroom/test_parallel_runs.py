"""A class graded by several workers: the marks of one, kept as they come, and no fault of the grader a zero."""

from __future__ import annotations

import errno
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from handed_in import CHAPTER, NOTHING, filled, put, right

import diffusion_lab
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import Exercise, notebook
from diffusion_lab.exercises.offers import Offer, adopt
from diffusion_lab.grading.classroom import cluster, parallel
from diffusion_lab.grading.classroom.marking import SUBMISSION_LIMIT
from diffusion_lab.grading.classroom.parallel import Classroom
from diffusion_lab.grading.classroom.records import Records, Seed, find
from diffusion_lab.grading.classroom.result import Result
from diffusion_lab.grading.classroom.workers import graded
from diffusion_lab.grading.isolation import SandboxError

EXERCISES = notebook(CHAPTER).exercises
POINTS = notebook(CHAPTER).points


def hand_in(course: Path, count: int, exercises: Sequence[Exercise] = EXERCISES[:4]) -> dict[str, int]:
    """Submissions, each with one of these exercises wrong: student -> the points that it must get.

    What is none of these is not written, which is quick.
    """
    sources, points = {each.name: right()[each.name] for each in exercises}, {}
    for i in range(count):
        exercise = exercises[i % len(exercises)]
        put(course / "submitted", f"s{i}", filled(sources | {exercise.name: NOTHING.format(name=exercise.name)}))
        points[f"s{i}"] = sum(each.points for each in exercises) - exercise.points
    return points


def seed_of(course: Path) -> Path:
    return Records(course, CHAPTER).folder / "seed"


def graded_by(room: Classroom, **options) -> list[Result]:
    return room.grade(find(room.course / "submitted", [CHAPTER]), **options)


def points_of(results: list[Result]) -> dict[str, float]:
    assert [(result.state, result.reason) for result in results] == [("graded", "")] * len(results)
    return {result.student: result.points for result in results}


def test_a_worker_that_does_not_start_says_why_and_what_to_do(tmp_path: Path):
    import distributed  # noqa: F401 - its own defaults come first: what is set for a while is all that there is else
    from dask import config

    with (
        config.set({"distributed.worker.preload": ["a_module_of_nobodys"]}),
        pytest.raises(LabError, match=r"No module named 'a_module_of_nobodys'.* Does Dask's configuration .*--jobs 1"),
        Classroom(tmp_path, jobs=1),
    ):
        pass


def test_marks_follow_the_course_and_not_what_a_notebook_says_of_itself(room: Classroom):
    expected = hand_in(room.course, 2)
    adopt(Offer(CHAPTER, leave_out=tuple(exercise.name for exercise in EXERCISES[2:])))  # as reading a notebook does
    results = graded_by(room, seed="a seed")
    assert points_of(results) == expected and {result.out_of for result in results} == {POINTS}


def test_workers_give_the_marks_of_one_process(room: Classroom, sandbox, monkeypatch: pytest.MonkeyPatch):
    expected = hand_in(room.course, 9, EXERCISES)
    seen = []
    results = graded_by(room, seed="a seed", on_result=lambda result, kept: seen.append((result.student, kept)))
    assert points_of(results) == expected
    assert sorted(seen) == [(student, False) for student in expected]
    drawn, data = Seed("a seed"), (room.course / "submitted/s3/01_normal_1d/01_normal_1d.ipynb").read_bytes()
    order = {"student": "s3", "chapter": CHAPTER, "data": data, "digest": "", "seed": drawn.number}
    monkeypatch.setitem(parallel.workers._warm, "bubblewrap", sandbox)
    here = graded(order | {"seed_id": "", "version": diffusion_lab.__version__, "isolation": "bubblewrap"})
    assert results[3].exercises == tuple(here["exercises"])


@pytest.mark.slow
def test_what_is_kept_is_not_graded_again(room: Classroom):
    expected = hand_in(room.course, 4)
    first = graded_by(room)
    folder = Records(room.course, CHAPTER).folder
    (folder / "s1.json").write_text((folder / "s1.json").read_text()[:-20])  # half written, as by nothing of ours
    changed = put(room.course / "submitted", "s2", filled(right()))
    old = json.loads((folder / "s3.json").read_text())
    (folder / "s3.json").write_text(json.dumps(old | {"version": "0.0.0"}))
    kept = {}
    second = graded_by(room, on_result=lambda result, was: kept.update({result.student: was}))
    assert kept == {"s0": True, "s1": False, "s2": False, "s3": False}
    assert points_of(second) == expected | {"s2": POINTS}
    assert second[0] == first[0]
    # The first run was finished, so students may have seen its cases in their feedback.
    assert second[2].seed_id != first[2].seed_id
    changed.write_bytes(b"")
    assert [result.state for result in graded_by(room)] == ["graded", "graded", "refused", "graded"]
    kept.clear()
    graded_by(room, afresh=True, on_result=lambda result, was: kept.update({result.student: was}))
    assert not any(kept.values())


@pytest.mark.slow
def test_another_seed_draws_other_cases(room: Classroom):
    hand_in(room.course, 1)
    kept = []
    for text in ("text-7f3a", "text-7f3a", "text-91bc"):
        [result] = graded_by(room, seed=text, on_result=lambda result, was: kept.append(was))
        assert result.seed_id == Seed(text).id and text not in json.dumps(result.as_dict())
    assert kept == [False, True, False]


def test_a_result_that_cannot_be_written_is_not_graded(room: Classroom, monkeypatch: pytest.MonkeyPatch):
    hand_in(room.course, 3)
    keep = Records.keep

    def full(records: Records, result: Result) -> None:
        if result.student == "s1":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        keep(records, result)

    monkeypatch.setattr(Records, "keep", full)
    results = graded_by(room)
    assert [result.state for result in results] == ["graded", "not graded", "graded"]
    assert "No space left" in results[1].reason


def faulty(fault):
    """`graded`, where what `fault` does comes first. It travels to the workers as a value."""

    def graded_with_a_fault(order):
        fault(order)
        from diffusion_lab.grading.classroom.workers import graded

        return graded(order)

    return graded_with_a_fault


@pytest.mark.slow
def test_a_fault_of_the_grader_is_nobodys_zero(room: Classroom, monkeypatch: pytest.MonkeyPatch):
    expected = hand_in(room.course, 3)
    course = room.course

    def full_disk(order):
        if order["student"] == "s1":
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(parallel.workers, "graded", faulty(full_disk))
        results = graded_by(room)
    assert [result.state for result in results] == ["graded", "not graded", "graded"]
    assert "No space left on device" in results[1].reason
    # Feedback of the others is written now, so what is missing is graded on other cases.
    assert not seed_of(course).exists()
    kept = {}
    again = graded_by(room, on_result=lambda result, was: kept.update({result.student: was}))
    assert points_of(again) == expected and kept == {"s0": True, "s1": False, "s2": True}
    assert again[0].seed_id == again[2].seed_id != again[1].seed_id


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_the_same_cases(room: Classroom):
    hand_in(room.course, 3)

    def interrupt(result: Result, kept: bool) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        graded_by(room, on_result=interrupt)
    # Which nobody else may read.
    assert seed_of(room.course).stat().st_mode & 0o777 == 0o600
    drawn = Seed(seed_of(room.course).read_text())
    assert {result.seed_id for result in graded_by(room)} == {drawn.id}
    assert not seed_of(room.course).exists()


@pytest.mark.slow
def test_a_folder_that_cannot_be_graded_does_not_keep_the_cases(room: Classroom):
    hand_in(room.course, 2)
    put(room.course / "submitted", "*", filled(right()))
    first = graded_by(room)
    assert {result.state for result in first} == {"graded", "not graded"}
    assert not seed_of(room.course).exists()
    put(room.course / "submitted", "s0", filled(right() | {"alpha_bar": "x = 1"}))
    second = {result.student: result for result in graded_by(room)}
    assert second["s0"].seed_id not in {result.seed_id for result in first}


def test_a_seed_that_cannot_be_removed_is_told(room: Classroom, monkeypatch: pytest.MonkeyPatch):
    hand_in(room.course, 1)

    def refused(records: Records) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Records, "finished", refused)
    with pytest.raises(LabError, match="cannot be removed: Permission denied"):
        graded_by(room)


def test_what_was_late_beside_busy_programs_is_tried_again_by_itself(
    room: Classroom, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    expected = hand_in(room.course, 3)
    log = tmp_path / "log"

    def late_at_first(order):
        from diffusion_lab.grading.classroom import workers

        with log.open("a") as file:
            file.write(order["student"] + "\n")
        found = workers.graded(order)
        if order["student"] == "s1" and log.read_text().split().count("s1") == 1:
            return found | {"points": 0.0, "robbed": True}
        return found

    monkeypatch.setattr(parallel.workers, "graded", late_at_first)
    assert points_of(graded_by(room)) == expected
    assert sorted(log.read_text().split()) == ["s0", "s1", "s1", "s2"] and log.read_text().split()[-1] == "s1"


def test_the_time_of_a_class_is_bounded():
    beyond = parallel._Beyond()
    usual = [parallel.USUAL_TIME * share for share in (0.01, 0.5, 1.0)]
    for seconds in usual * 100:
        beyond.count(seconds)
    assert beyond.limit == SUBMISSION_LIMIT, "a large class of ordinary submissions has the whole time"
    total = 0.0
    for _ in range(100):
        total += beyond.limit
        beyond.count(beyond.limit)
    assert beyond.limit == parallel.USUAL_TIME
    assert total <= 100 * parallel.USUAL_TIME + parallel.TIME_BEYOND + SUBMISSION_LIMIT


def test_a_fault_that_passes_is_tried_again(room: Classroom, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    expected = hand_in(room.course, 2)
    flag = tmp_path / "flag"

    def once(order):
        if order["student"] == "s0" and not flag.exists():
            flag.touch()
            raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(parallel.workers, "graded", faulty(once))
        assert points_of(graded_by(room)) == expected
    assert flag.exists()


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(room: Classroom, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    expected = hand_in(room.course, 4)
    flag = tmp_path / "flag"

    def killed_once(order):
        import os
        import signal

        if order["student"] == "s2" and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(parallel.workers, "graded", faulty(killed_once))
        assert points_of(graded_by(room)) == expected
    assert flag.exists()


@pytest.mark.slow
def test_nothing_is_left_when_the_classroom_closes(tmp_path: Path):
    import psutil

    submitted = tmp_path / "submitted"
    daemon = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\n"
    put(submitted, "s0", filled(right() | {"alpha_bar": daemon + right()["alpha_bar"]}))
    room = Classroom(tmp_path, jobs=2)
    ours = psutil.Process()
    before, descriptors = set(ours.children(recursive=True)), ours.num_fds()
    with room:
        [result] = graded_by(room)
        processes = set(ours.children(recursive=True)) - before
        assert any("bwrap" in process.name() for process in processes)
    assert result.points == POINTS
    # Python's own helper of multiprocessing lives as long as the program.
    _, alive = psutil.wait_procs([p for p in processes if "resource_tracker" not in " ".join(_command(p))], timeout=10)
    assert alive == []
    assert ours.num_fds() <= descriptors + 4


def _command(process) -> list[str]:
    import psutil

    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_without_bubblewrap_it_stops_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="apt install bubblewrap"), Classroom(tmp_path, jobs=1):
        pass


def waited_for(condition, seconds: float = 120.0):
    ends = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_a_worker_of_a_cluster_is_killed_and_no_mark_is_lost(tmp_path: Path):
    expected = hand_in(tmp_path, 10)
    place = tmp_path / "scheduler.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment, "cwd": tmp_path}
    started = [
        subprocess.Popen([*dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", place.name], **quiet)
    ]
    try:
        waited_for(lambda: place.exists() and place.read_text().endswith("}"))
        address = json.loads(place.read_text())["address"]
        worker = [*dask, "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        started += [subprocess.Popen(worker, **quiet) for _ in range(2)]
        killed = []

        def kill_one(result: Result, kept: bool) -> None:
            if not killed:
                killed.append(result.student)
                started[1].kill()

        with Classroom(tmp_path, scheduler=address) as room:
            waited_for(lambda: len(room.client.nthreads()) == 2)
            results = graded_by(room, on_result=kill_one)
            assert killed and len(room.client.nthreads()) == 1
        assert points_of(results) == expected
        assert started[1].wait(10) == -9 and started[2].poll() is None
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.fixture
def collected():
    """Collect the clients that could not connect: in the middle of the next one's start their `__del__` would wait for
    the lock that this start holds (distributed 2026.8, `LoopRunner`)."""
    yield
    gc.collect()


@pytest.mark.usefixtures("collected")
def test_nobody_else_on_the_machine_can_use_the_workers(room: Classroom):
    from distributed import Client

    address = room.client.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    for other in (address, address.replace("tls", "tcp")):
        with pytest.raises((OSError, TypeError)):
            Client(other, timeout=2)


@pytest.mark.slow
@pytest.mark.usefixtures("collected")
def test_a_scheduler_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(LabError, match="no Dask scheduler answers"), Classroom(tmp_path, scheduler="tcp://127.0.0.1:1"):
        pass


def test_a_run_without_workers_is_given_up(room: Classroom, monkeypatch: pytest.MonkeyPatch):
    hand_in(room.course, 2)
    monkeypatch.setattr(cluster, "NO_WORKER", 1.0)
    monkeypatch.setattr(room, "_workers", lambda: 0)
    monkeypatch.setattr(parallel.workers, "graded", lambda order: __import__("time").sleep(8))
    results = graded_by(room)
    assert [(result.state, result.reason) for result in results] == [("not graded", "no worker is left")] * 2
