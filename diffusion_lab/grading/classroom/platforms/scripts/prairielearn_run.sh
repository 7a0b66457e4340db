#!/usr/bin/env bash
# PrairieLearn runs this for each submission.
set -uo pipefail
root=${GRADE_ROOT:-/grade}
mkdir -p "$root/results"
# Where submissions run under another account, the answers and the results are root's alone.
chmod 700 "$root/serverFilesCourse" "$root/tests" "$root/results"
export PYTHONPATH="$root/serverFilesCourse/diffusion_lab_grader" PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
exec "${GRADE_PYTHON:-python3}" -m diffusion_lab.grading.classroom.platforms.prairielearn "$root"
