"""Write the fingerprints of edited right answers, from which a check finds mistakes that nobody has listed.

    python scripts/record_fingerprints.py              # those that are stale or missing
    python scripts/record_fingerprints.py q_sample ... # these
    python scripts/record_fingerprints.py --all

A changed exercise makes its own stale, a changed edit (`judge/engine/edits.py` and what it calls) all of them: about
half an hour on one core. Moving a definition to another file, or a comment, changes nothing.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

from diffusion_lab.exercises import exercise, library
from diffusion_lab.grading.judge.engine import fingerprints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="exercises; without any, those that are stale or missing")
    parser.add_argument("--all", action="store_true", help="all of them")
    given = parser.parse_args()
    chosen = [exercise(name) for name in given.names] or list(library().values())
    for item in chosen:
        old = fingerprints.load(item)
        if not given.names and not given.all and old is not None and old.code == fingerprints.code_of(item):
            continue
        start = time.process_time()
        table = fingerprints.recorded(item)
        path = fingerprints.save(item, table)
        seconds = time.process_time() - start
        print(f"{item.name}: {len(table.first)} edits, {path.stat().st_size / 1e3:.0f} kB, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
