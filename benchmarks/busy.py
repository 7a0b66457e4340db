"""What other programs on the machine cost: drawing digits and training steps alone, and beside other busy programs.

    python benchmarks/busy.py [--seconds 4] [--rounds 3]

PyTorch's threads wait for each other at the end of every operation. The package lets them spin for a moment before they
sleep, and takes as many of them as the other programs leave processors for (`diffusion_lab/threads.py`). This is tried
beside other ways, in processes of their own that take turns, because OpenMP reads its settings once. The busy programs
are this script's own: they count, one core each, or train the same networks in the same way.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from statistics import median

from rich.console import Console
from rich.progress import track

ALL = {"OMP_NUM_THREADS": str(os.cpu_count())}
WAYS = {
    "as the package does": {},
    "all threads, a short spin": ALL | {"GOMP_SPINCOUNT": "10000"},
    "all threads, sleeping at once": ALL | {"OMP_WAIT_POLICY": "passive"},
    "all threads, OpenMP's own long spin": ALL | {"GOMP_SPINCOUNT": "300000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
COUNTING = ["-c", "while True: pass"]
TRAINING = [__file__, "--train"]
BESIDE = {"nothing": [], "one": [COUNTING], "two": [COUNTING, COUNTING], "a training": [TRAINING]}


class Enough(Exception):
    """Ends a training."""


def measured(seconds: float) -> dict[str, float]:
    """Milliseconds of training steps, and to draw a digit with the shipped network.

    Of each training the second half counts, when the number of threads has settled.
    """
    import diffusion_lab  # noqa: F401 - before torch, which reads once how its threads wait

    # isort: split
    import torch

    from diffusion_lab import losses, open_checkpoint, schedules, targets
    from diffusion_lab.devices import make_accelerator
    from diffusion_lab.networks import build_network
    from diffusion_lab.train import Settings, Source, Trainer

    found = {}
    generator = torch.Generator().manual_seed(0)
    for name, shape, batch, optimizer, precision, options in (
        ("step of 128 images, ms", (1, 28, 28), 128, "adamw", "bfloat16", {"width": 32}),
        ("step of 32 images, Muon, ms", (1, 28, 28), 32, "muon", "bfloat16", {"width": 32}),
        ("step of points, ms", (2,), 1024, "adamw", "float32", {"width": 128, "depth": 4}),
    ):
        times = [time.perf_counter()]

        def on_step(done: int, loss: float, times: list[float] = times) -> None:
            times.append(time.perf_counter())
            if len(times) > 4 and times[-1] > times[0] + seconds:
                raise Enough

        trainer = Trainer(
            build_network(shape, **options),
            losses.prediction_loss(targets.v),
            schedules.cosine(),
            Source(torch.randn((2048, *shape), generator=generator)),
            Settings(steps=10**6, batch=batch, optimizer=optimizer),
            make_accelerator("cpu", precision),
        )
        with suppress(Enough):
            trainer.fit(on_step=on_step)
        found[name] = 1000 * median(after - before for before, after in pairwise(times[len(times) // 2 :]))
    shipped = open_checkpoint(name="mnist")
    shipped.draw(8, 2)  # what is lazy wakes up
    began = time.perf_counter()
    shipped.draw(64, 10)
    return found | {"a digit in 10 steps, ms": 1000 * (time.perf_counter() - began) / 64}


def beside(others: list[list[str]], variables: dict[str, str], seconds: float) -> dict[str, float]:
    """`measured` in a process of its own with these variables, beside these programs."""
    free = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [__file__, "--one", "--seconds", str(seconds)]
    busy = [subprocess.Popen([sys.executable, *program], env=free | variables) for program in others]
    try:
        done = subprocess.run(
            [sys.executable, *command], env=free | variables, stdout=subprocess.PIPE, text=True, check=True
        )
    finally:
        for program in busy:
            program.kill()
            program.wait()
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4, help="how long each kind of step is repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", action="store_true", help="measure in this process, and print JSON")
    parser.add_argument("--train", action="store_true", help="train in this process until it is killed")
    options = parser.parse_args()
    if options.rounds < 1 or not options.seconds > 0:
        parser.error(f"--rounds must be at least 1 and --seconds above 0, got {options.rounds} and {options.seconds:g}")
    if options.one:
        print(json.dumps(measured(options.seconds)))
        return
    while options.train:
        measured(options.seconds)
    runs: dict[tuple[str, str], list[dict[str, float]]] = {}
    turns = [(way, others) for others in BESIDE for way in WAYS] * options.rounds
    for way, others in track(turns, console=Console(stderr=True)):
        runs.setdefault((way, others), []).append(beside(BESIDE[others], WAYS[way], options.seconds))
    columns = list(next(iter(runs.values()))[0])
    print(f"| threads | beside | {' | '.join(columns)} |\n| --- | --- |{' ---: |' * len(columns)}")
    for (way, others), found in runs.items():
        cells = [f"{median(run[column] for run in found):.3g}" for column in columns]
        print(f"| {way} | {others} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
