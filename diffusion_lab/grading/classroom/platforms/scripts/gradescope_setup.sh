#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the autograder's image.
set -euo pipefail
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends bubblewrap python3 python3-venv
python3 -m venv /autograder/python
/autograder/python/bin/python -m pip install --quiet --disable-pip-version-check@@index@@ -r /autograder/source/requirements.txt
