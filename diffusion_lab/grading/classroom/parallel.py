"""A class of submissions, graded in parallel. A fault of the grader is told as one, and is nobody's zero.

Students' code runs in the sandboxes of Dask's workers; this process alone writes results.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import warnings
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusion_lab
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import notebook
from diffusion_lab.exercises.offers import by_rules_alone, offered, offers
from diffusion_lab.grading.classroom import cluster, workers
from diffusion_lab.grading.classroom.marking import SUBMISSION_LIMIT
from diffusion_lab.grading.classroom.records import Records, Seed, Submission
from diffusion_lab.grading.classroom.result import NOT_GRADED, Result, refused
from diffusion_lab.grading.classroom.submission import IntakeError, content_of

if TYPE_CHECKING:
    from distributed import Client, Future

TRIES = 2
"""How often a submission is tried where the grader fails."""
USUAL_TIME = 60.0
"""Seconds that every submission may take, however many take long; one that is honest takes a few."""
TIME_BEYOND = 1800.0
"""Seconds that a chapter's submissions together may take beyond `USUAL_TIME` each. Until they are used up each has
`SUBMISSION_LIMIT`: a hundred of them that never end would hold a worker for hours."""


class Classroom:
    """Workers that grade submissions. Use as a context manager.

    Args:
        course: the course's folder, in which results are kept.
        jobs: how many processes on this machine; by default one for each core.
        scheduler: the address of a Dask scheduler whose workers are taken instead.
        isolation: as in `sandbox_of`.
    """

    def __init__(self, course: Path, *, jobs: int | None = None, scheduler: str = "", isolation: str = "bubblewrap"):
        self.course, self.jobs, self.scheduler, self.isolation = course, jobs or cluster.cores(), scheduler, isolation
        self.client: Client | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Classroom:
        try:
            self.client = self._stack.enter_context(cluster.connected(self.jobs, self.scheduler, self.isolation))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def grade(
        self,
        submissions: Sequence[Submission],
        *,
        seed: str = "",
        afresh: bool = False,
        course_text: str = "",
        on_result: Callable[[Result, bool], None] = lambda result, kept: None,
    ) -> list[Result]:
        """Results in the order of the submissions, all of one chapter, by the course's rules in force.

        Results of an earlier run are kept for submissions that have not changed since.

        Args:
            seed: any text; the same text draws the same cases. By default the cases are new in each run.
            afresh: forget what is kept first.
            course_text: the course's own, from which and a student's name is drawn what is the student's own.
            on_result: called with each result, and whether it is of an earlier run.
        """
        if not submissions:
            return []
        with by_rules_alone():
            return self._grade(submissions, seed, afresh, course_text, on_result)

    def _grade(
        self,
        submissions: Sequence[Submission],
        seed: str,
        afresh: bool,
        course_text: str,
        on_result: Callable[[Result, bool], None],
    ) -> list[Result]:
        records = Records(self.course, submissions[0].chapter)
        try:
            if afresh:
                records.forget()
            drawn = records.seed(seed)
        except OSError as error:
            raise LabError(f"nothing can be written in {records.folder}: {error.strerror}") from error
        results: dict[int, Result] = {}

        def finish(place: int, result: Result, kept: bool = False) -> None:
            result = replace(result, attempt=submissions[place].attempt)
            if not kept and not submissions[place].strange:
                try:
                    (records.keep_attempt if result.attempt else records.keep)(result)
                except OSError as error:
                    reason = f"its result could not be written: {error.strerror}"
                    result = _failed(submissions[place], reason, drawn, result.digest)
            results[place] = result
            on_result(result, kept)

        waiting: deque[_Task] = deque()
        for place, submission in enumerate(submissions):
            task = _Task(place, submission, course_text)
            ready = self._without_running(task, records, drawn, bool(seed), course_text)
            if ready is None:
                waiting.append(task)
            else:
                finish(place, *ready)
        self._run(waiting, drawn, finish)
        found = [results[place] for place in range(len(submissions))]
        if not seed:
            # Also where some are not graded: whoever can bring that about would else know the next run's cases.
            try:
                records.finished()
            except OSError as error:
                raise LabError(
                    f"{records.folder / 'seed'} cannot be removed: {error.strerror}. Remove it, or the next run asks "
                    "what students read in the feedback of this one"
                ) from error
        return found

    def _without_running(
        self, task: _Task, records: Records, drawn: Seed, given: bool, course_text: str
    ) -> tuple[Result, bool] | None:
        """The result, where the submission need not be run, and whether it was kept."""
        submission = task.submission
        if submission.strange:
            return _failed(submission, submission.reason, drawn), False
        try:
            if submission.reason:
                raise IntakeError(submission.reason)
            task.digest = hashlib.sha256(content_of(submission.path)).hexdigest()
        except IntakeError as error:
            return refused(
                submission.student,
                notebook(submission.chapter),
                str(error),
                seed_id=drawn.id,
                version=diffusion_lab.__version__,
                offer=offered(submission.chapter),
            ), False
        except OSError as error:
            return _failed(submission, f"it could not be read: {error.strerror}", drawn), False
        old = records.read(submission.student, submission.attempt)
        if old is None or old.state == NOT_GRADED or (given and old.seed_id != drawn.id):
            return None
        now = (task.digest, diffusion_lab.__version__, course_text, offered(submission.chapter))
        if (old.digest, old.version, old.course, old.offer) != now:
            return None
        return old, True

    def _run(self, waiting: deque[_Task], drawn: Seed, finish: Callable[[int, Result], None]) -> None:
        """Keep every worker busy, with no more submissions in memory than that takes."""
        from distributed import wait

        running: dict[Future, _Task] = {}
        robbed: deque[_Task] = deque()
        beyond = _Beyond()
        last_seen = time.monotonic()
        try:
            while waiting or running or robbed:
                there = self._workers()
                if not waiting and not running:  # those that others kept from running have the machine to themselves
                    waiting.append(robbed.popleft())
                while waiting and len(running) < max(2 * there, 1):
                    task = waiting.popleft()
                    self._start(task, drawn, running, finish, beyond.limit)
                if not running:
                    continue
                with contextlib.suppress(TimeoutError):
                    wait(list(running), timeout=2, return_when="FIRST_COMPLETED")
                for future in [future for future in running if future.done()]:
                    self._take(future, running.pop(future), drawn, waiting, robbed, beyond, finish)
                last_seen = time.monotonic() if there else last_seen
                if time.monotonic() - last_seen > cluster.NO_WORKER:
                    for task in (*running.values(), *waiting, *robbed):
                        finish(task.place, _failed(task.submission, "no worker is left", drawn, task.digest))
                    waiting.clear()
                    return
        finally:
            if running:
                with contextlib.suppress(Exception, CancelledError):
                    self.client.cancel(list(running))

    def _start(self, task: _Task, drawn: Seed, running: dict[Future, _Task], finish: Callable, limit: float) -> None:
        submission = task.submission
        try:
            data = content_of(submission.path)
        except (OSError, IntakeError) as error:
            finish(task.place, _failed(submission, f"it could not be read a second time: {error}", drawn))
            return
        task.digest = hashlib.sha256(data).hexdigest()
        order = {
            "student": submission.student,
            "chapter": submission.chapter,
            "data": data,
            "digest": task.digest,
            "seed": drawn.number,
            "seed_id": drawn.id,
            "version": diffusion_lab.__version__,
            "isolation": self.isolation,
            "note": submission.note,
            "course": task.course_text,
            "limit": limit,
            "offers": [offer.as_dict() for offer in offers()],
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a notebook of megabytes is large
            running[self.client.submit(workers.graded, order, pure=False)] = task

    def _take(
        self,
        future: Future,
        task: _Task,
        drawn: Seed,
        waiting: deque[_Task],
        robbed: deque[_Task],
        beyond: _Beyond,
        finish: Callable,
    ) -> None:
        """Finish a submission, or line it up once more."""
        task.tries += 1
        try:
            content = future.result(timeout=60)
            result = Result.from_dict(content)
        # Whatever it is, it is a fault of the grader: what a submission can do is part of its result.
        except (Exception, CancelledError) as error:
            if task.tries < TRIES:
                waiting.append(task)
            elif task.first is not None:
                finish(task.place, task.first)
            else:
                finish(task.place, _failed(task.submission, cluster.in_words(error), drawn, task.digest))
        else:
            beyond.count(result.seconds)
            first, task.first = task.first, result
            if first is None and content.get(workers.ROBBED) is True:
                robbed.append(task)
            else:
                finish(task.place, max(first or result, result, key=lambda graded: graded.points))
        finally:
            future.release()

    def _workers(self) -> int:
        """Threads of workers that are there now."""
        try:
            return sum(self.client.nthreads().values())
        except Exception:  # the scheduler does not answer at the moment
            return 0


@dataclass(eq=False)
class _Task:
    place: int
    submission: Submission
    course_text: str = ""
    digest: str = ""
    tries: int = 0
    first: Result | None = None
    """What it got while others kept it from running."""


@dataclass
class _Beyond:
    """The time that submissions take beyond the usual, of which a class has so much."""

    used: float = 0.0

    def count(self, seconds: float) -> None:
        self.used += max(0.0, seconds - USUAL_TIME)

    @property
    def limit(self) -> float:
        """Seconds for the next submission."""
        return SUBMISSION_LIMIT if self.used < TIME_BEYOND else min(USUAL_TIME, SUBMISSION_LIMIT)


def _failed(submission: Submission, reason: str, drawn: Seed, digest: str = "") -> Result:
    return Result(
        student=submission.student,
        chapter=submission.chapter,
        state=NOT_GRADED,
        reason=reason,
        out_of=notebook(submission.chapter).points,
        digest=digest,
        seed_id=drawn.id,
        version=diffusion_lab.__version__,
    )
