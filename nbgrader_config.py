"""nbgrader's settings for this course. nbgrader reads this file when it is started in the root of the repository."""

import os
import shutil
import sys

import nbgrader.utils

from diffusion_lab.grading.classroom.gradebook.moments import as_nbgrader

c = get_config()  # noqa: F821

# nbgrader makes a new gradebook with the command `alembic`. It lies beside Python, and is not found there by
# `.venv/bin/nbgrader` while the environment is not active.
if shutil.which("alembic") is None:
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")

# nbgrader's own reader takes +0900 for 900 seconds, CEST for UTC and 05.03.2027 for a day in May. This one reads due
# dates and times of submission right, or says what it cannot read.
nbgrader.utils.parse_utc = as_nbgrader

c.CourseDirectory.course_id = "diffusion-lab"
c.CourseDirectory.root = os.path.dirname(os.path.abspath(__file__))
# What nbgrader calls source and release: here each has the name of what is in it.
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"

# The releases are in the repository. Without force nbgrader leaves a release that exists alone, and then writes
# nothing about it into a new gradebook either, so that there is nothing to grade by. The result is the same bytes.
c.GenerateAssignment.force = True

# Each submission is first put back into the shape of its release, so that a cell that is missing, old or damaged costs
# what it holds and no more. The rest of the list is nbgrader's own.
c.Autograde.sanitize_preprocessors = [
    "diffusion_lab.grading.classroom.gradebook.rebuilding.Rebuild",
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.DeduplicateIds",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]

# Seconds for each cell. A check takes less than one, and ends by itself where a function does not; so this is for a
# loop outside functions. nbgrader interrupts such a cell, notes the error in it, and goes on with the next cell.
c.Execute.timeout = 60
c.Execute.interrupt_on_timeout = True
# A polite end takes the kernel about a second for each submission, and it has nothing to save.
c.Execute.shutdown_kernel = "immediate"
