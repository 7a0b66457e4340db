"""How the cost of training and sampling grows with image side, batch, sampler steps and data size.

    python benchmarks/cost.py [--plot cost.png]

Chapter 5's network on random images. Each row changes one quantity and leaves the others at the middle value. The last
column is the exponent p of seconds ~ quantity^p over the whole row, fitted on log axes. Before this was run the
prediction was: side 2 (the work is per pixel; attention, whose work is per pair of pixels, is at the lowest resolution
only and small), batch 1 and a little less (fixed costs), steps 1, data size 0.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import diffusion_lab  # noqa: F401 - before torch, whose threads it keeps from spinning long

# isort: split
import torch

from diffusion_lab import denoisers, losses, samplers, schedules, targets
from diffusion_lab.devices import make_accelerator
from diffusion_lab.networks import build_network
from diffusion_lab.train import Settings, Source, Trainer

SIDES = (16, 24, 32, 48, 64)
BATCHES = (8, 16, 32, 64, 128, 256)
STEPS = (5, 10, 20, 40, 80)
SIZES = (1_000, 10_000, 60_000)
WIDTH = 32


def training_step(side: int = 28, batch: int = 64, size: int = 4096, count: int = 12) -> float:
    """Median seconds of a training step."""
    trainer = Trainer(
        network=build_network((1, side, side), width=WIDTH),
        loss=losses.prediction_loss(targets.v),
        schedule=schedules.cosine(),
        source=Source(torch.randn(size, 1, side, side)),
        settings=Settings(steps=count, batch=batch),
        accelerator=make_accelerator("cpu", "bfloat16"),
    )
    moments = [time.perf_counter()]
    trainer.fit(on_step=lambda done, loss: moments.append(time.perf_counter()))
    return median(b - a for a, b in pairwise(moments[3:]))


def sampling(steps: int, n: int = 64, side: int = 28) -> float:
    """Seconds of a walk of so many steps, the better of two."""
    network, schedule = build_network((1, side, side), width=WIDTH).eval(), schedules.cosine()
    noise, times = torch.randn(n, 1, side, side), []
    for _ in range(2):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            denoiser = denoisers.from_network(network, targets.v)
            samplers.sample(denoiser, schedule, samplers.ddim(), noise, steps=steps)
        times.append(time.perf_counter() - began)
    return min(times)


ROWS: dict[str, tuple[tuple[int, ...], Callable[[int], float]]] = {
    "image side, pixels": (SIDES, lambda side: training_step(side=side)),
    "batch": (BATCHES, lambda batch: training_step(batch=batch)),
    "training images": (SIZES, lambda size: training_step(size=size)),
    "sampler steps": (STEPS, sampling),
}


def exponent(quantities: tuple[int, ...], seconds: list[float]) -> float:
    """The slope of the least-squares line through (log quantity, log seconds)."""
    x, y = [math.log(q) for q in quantities], [math.log(s) for s in seconds]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)


def plot(measured: dict[str, tuple[tuple[int, ...], list[float]]], path: Path) -> None:
    """One panel for each quantity, both axes logarithmic, and the same height for the same factor."""
    from diffusion_lab.plots.figure import new_figure

    figure = new_figure(3.0 * len(measured), 3.0)
    panels = figure.subplots(1, len(measured), sharey=True)
    for panel, (name, (quantities, seconds)) in zip(panels, measured.items(), strict=True):
        panel.loglog(quantities, [1e3 * s for s in seconds], marker="o")
        panel.set_xlabel(name)
        panel.set_xticks(quantities, [f"{quantity:,}" for quantity in quantities])
        panel.minorticks_off()
        panel.set_title(f"power {exponent(quantities, seconds):.2f}")
    panels[0].set_ylabel("milliseconds")
    panels[0].yaxis.set_major_formatter("{x:.0f}")
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, help="write a picture here")
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads; a training step of 64 images of 28x28 unless the row says otherwise\n")
    print("| quantity | milliseconds | power |\n| --- | --- | ---: |")
    training_step(count=20)  # the first run pays for what torch sets up
    measured = {}
    for name, (quantities, cost) in ROWS.items():
        seconds = [cost(quantity) for quantity in quantities]
        measured[name] = (quantities, seconds)
        cells = ", ".join(f"{q:,}: {1e3 * s:.0f}" for q, s in zip(quantities, seconds, strict=True))
        print(f"| {name} | {cells} | {exponent(quantities, seconds):.2f} |", flush=True)
    if options.plot:
        plot(measured, options.plot)


if __name__ == "__main__":
    main()
