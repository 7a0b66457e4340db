"""Seconds, memory and scores of `diffusion-lab run all`, and the start-up time of the package.

    python benchmarks/reference.py --budget quick --source bundled

Prints Markdown. Each command runs in a process of its own, so that peak memory is that of the command alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

STARTS = {
    "python -c pass": ["-c", "pass"],
    "import diffusion_lab": ["-c", "import diffusion_lab"],
    "diffusion-lab --help": ["-m", "diffusion_lab", "--help"],
}


def seconds_of(arguments: list[str], repeats: int = 5) -> float:
    """The best wall time of a Python command out of several."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return min(times)


def processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", choices=("smoke", "quick", "full"), default="quick")
    parser.add_argument("--source", choices=("auto", "bundled"), default="auto")
    options = parser.parse_args()

    print(f"{date.today()}, {processor()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| command | seconds | less an empty Python |\n| --- | --- | --- |")
    empty = seconds_of(STARTS["python -c pass"])
    for name, arguments in STARTS.items():
        seconds = seconds_of(arguments)
        print(f"| `{name}` | {seconds:.2f} | {seconds - empty:.2f} |")

    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "diffusion_lab", "run", "all", "--budget", options.budget, "--source", options.source]
        began = time.perf_counter()
        # Exit status 1 means that a score is not past its threshold; the table below says which.
        status = subprocess.run([sys.executable, *command, "--out", folder], stdout=subprocess.DEVNULL).returncode
        wall = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        reports = sorted(
            (json.loads(path.read_text()) for path in Path(folder).glob("*/report.json")), key=lambda r: r["number"]
        )
    print("\n| chapter | data | network | seconds | metric | score | floor | score / floor | threshold | passed |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for report in reports:
        score = report["scores"][0]
        cells = (
            f"{report['number']} {report['chapter']}",
            report["dataset"],
            report["network"],
            f"{report['seconds']['total']:.0f}",
            score["name"],
            f"{score['value']:.3g}",
            f"{score['floor']:.3g}",
            f"{score['value'] / score['floor']:.2f}" if score["floor"] else "-",
            f"{'≤' if score['better'] == 'lower' else '≥'} {score['threshold']:.3g}",
            {True: "yes", False: "no", None: "-"}[report["passed"]],
        )
        print(f"| {' | '.join(cells)} |")
    print(
        f"\n`run all --budget {options.budget}`: {wall:.0f} s, peak memory {peak / 2**30:.1f} GiB, exit status {status}"
    )


if __name__ == "__main__":
    main()
