"""What other programs on the machine cost: drawing digits and training steps alone, beside one busy program and two.

    python benchmarks/busy.py [--digits 64] [--steps 10] [--rounds 3]

PyTorch's threads wait for each other at the end of every operation. By default they spin, which is quick as long as
every thread has a core; the package asks for `OMP_WAIT_POLICY=passive`, where they sleep. Between the two is a short
spin, after which they sleep. Each way of waiting is tried in processes of its own, which take turns, because OpenMP
reads the setting once. The busy programs are this script's own: they count, one core each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from statistics import median

from rich.console import Console
from rich.progress import track

WAYS = {
    "PyTorch's own way, spinning": {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "300000"},
    "passive, as the package asks": {},
    "a short spin": {"GOMP_SPINCOUNT": "10000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
COUNTING = "while True: pass"


def measured(digits: int, steps: int) -> dict[str, float]:
    """Seconds to draw digits with the shipped network, and milliseconds of training steps of images and of points."""
    import torch

    from diffusion_lab import losses, open_checkpoint, schedules, targets
    from diffusion_lab.devices import make_accelerator
    from diffusion_lab.networks import build_network
    from diffusion_lab.train import Settings, Source, Trainer

    shipped = open_checkpoint(name="mnist")
    shipped.draw(8, 2)  # what is lazy wakes up
    began = time.perf_counter()
    shipped.draw(digits, steps)
    found = {"digits, s": time.perf_counter() - began}
    generator = torch.Generator().manual_seed(0)
    for name, shape, batch, optimizer, precision, options, count in (
        ("step of 128 images, ms", (1, 28, 28), 128, "adamw", "bfloat16", {"width": 32}, 6),
        ("step of 32 images with Muon, ms", (1, 28, 28), 32, "muon", "bfloat16", {"width": 32}, 12),
        ("step of points, ms", (2,), 1024, "adamw", "float32", {"width": 128, "depth": 4}, 60),
    ):
        times: list[float] = []
        trainer = Trainer(
            build_network(shape, **options),
            losses.prediction_loss(targets.v),
            schedules.cosine(),
            Source(torch.randn((2048, *shape), generator=generator)),
            Settings(steps=count, batch=batch, optimizer=optimizer),
            make_accelerator("cpu", precision),
        )
        trainer.fit(on_step=lambda done, loss, times=times: times.append(time.perf_counter()))
        found[name] = 1000 * median(after - before for before, after in pairwise(times[count // 6 :]))
    return found


def beside(others: int, variables: dict[str, str], digits: int, steps: int) -> dict[str, float]:
    """`measured` in a process of its own with these variables, beside as many busy programs."""
    free = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    busy = [subprocess.Popen([sys.executable, "-c", COUNTING]) for _ in range(others)]
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--one", "--digits", str(digits), "--steps", str(steps)],
            env=free | variables,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    finally:
        for program in busy:
            program.kill()
            program.wait()
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", action="store_true", help="measure in this process, and print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.digits, options.steps)))
        return
    runs: dict[tuple[str, int], list[dict[str, float]]] = {}
    todo = [(way, others) for _ in range(options.rounds) for others in range(3) for way in WAYS]
    for way, others in track(todo, console=Console(stderr=True)):
        runs.setdefault((way, others), []).append(beside(others, WAYS[way], options.digits, options.steps))
    columns = list(next(iter(runs.values()))[0])
    print(f"| way of waiting | beside | {' | '.join(columns)} |\n| --- | --- |{' ---: |' * len(columns)}")
    for (way, others), found in runs.items():
        cells = [f"{median(run[column] for run in found):.3g}" for column in columns]
        print(f"| {way} | {('nothing', 'one', 'two')[others]} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
