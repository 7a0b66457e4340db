#!/usr/bin/env bash
# Gradescope runs this for each submission. What it prints is shown to teachers alone.
set -uo pipefail
root=${AUTOGRADER_ROOT:-/autograder}
mkdir -p "$root/results"
# Where submissions run under another account, the answers and the results are root's alone.
chmod 700 "$root/source" "$root/results"
# So is what Gradescope tells of the submission: the points of earlier ones stand there.
chmod -f 600 "$root/submission_metadata.json"
export PYTHONPATH="$root/source" PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
exec "${AUTOGRADER_PYTHON:-$root/python/bin/python}" -m diffusion_lab.grading.classroom.platforms.gradescope "$root"
