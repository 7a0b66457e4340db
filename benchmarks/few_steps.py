"""How few network evaluations the shipped MNIST network needs: ways to spend ten of them, against a hundred.

    python benchmarks/few_steps.py [--samples 2000] [--seeds 3]

Every row draws from the same noise and is scored as the chapter scores: the Fréchet distance of classifier features to
the test images, and the share of digits that the classifier takes for what they were asked to be. Guided samples cost
two evaluations a step. Needs MNIST on disk; DIFFUSION_LAB_DATA says where.
"""

from __future__ import annotations

import argparse
import time
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table

from diffusion_lab import open_checkpoint
from diffusion_lab.chapters import get
from diffusion_lab.chapters.images import judge_of
from diffusion_lab.denoisers import EVERYWHERE
from diffusion_lab.metrics import frechet_distance

CHAPTER = get("mnist")
SCALE, INTERVAL = CHAPTER.guidance, CHAPTER.guidance_interval
PLAIN = 1.25
"""The scale at which DDIM that is guided everywhere comes nearest."""
# name, guidance scale, its interval, sampler, spacing, steps
WAYS = [
    ("guided everywhere, 100 evaluations", PLAIN, EVERYWHERE, "ddim", "uniform", 50),
    ("guided everywhere, 60 evaluations", PLAIN, EVERYWHERE, "ddim", "uniform", 30),
    ("the chapter's own", SCALE, INTERVAL, "dpmpp_2m", "log_snr", 15),
    ("the chapter's own, equal in time", SCALE, INTERVAL, "dpmpp_2m", "uniform", 15),
    ("the chapter's own, Karras spacing", SCALE, INTERVAL, "dpmpp_2m", "karras", 15),
    ("the chapter's own, by DDIM", SCALE, INTERVAL, "ddim", "uniform", 15),
    ("second order, guided everywhere", PLAIN, EVERYWHERE, "dpmpp_2m", "karras", 15),
    ("second order, guided everywhere, 24 evaluations", PLAIN, EVERYWHERE, "dpmpp_2m", "uniform", 12),
    ("100 evaluations without guidance", 1.0, EVERYWHERE, "ddim", "uniform", 100),
    ("guided everywhere", PLAIN, EVERYWHERE, "ddim", "uniform", 5),
    ("without guidance", 1.0, EVERYWHERE, "ddim", "uniform", 10),
    ("second order", 1.0, EVERYWHERE, "dpmpp_2m", "uniform", 10),
    ("second order, equal in log-SNR", 1.0, EVERYWHERE, "dpmpp_2m", "log_snr", 10),
    ("second order, Karras spacing", 1.0, EVERYWHERE, "dpmpp_2m", "karras", 10),
    ("second order, Karras spacing, guided everywhere", PLAIN, EVERYWHERE, "dpmpp_2m", "karras", 5),
    ("Heun, uniform", 1.0, EVERYWHERE, "heun", "uniform", 5),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    columns = ("sampler", "spacing", "guidance", "evaluations", "Fréchet distance", "of the first", "agreement")
    table = Table("", *columns, "seconds")
    reference = 0.0
    for name, guidance, interval, step, spacing, steps in WAYS:
        distances, agreements, seconds = [], [], []
        for seed in range(arguments.seeds):
            experiment = open_checkpoint(
                name="mnist",
                source="real",
                guidance=guidance,
                guidance_interval=interval,
                step=step,
                spacing=spacing,
                seed=seed,
            )
            judge = judge_of(experiment, crop=2, flip=False)
            began = time.perf_counter()
            samples = experiment.draw(arguments.samples, steps)
            seconds.append(time.perf_counter() - began)
            real = judge.features(experiment.dataset.test)
            distances.append(frechet_distance(judge.features(samples), real))
            opinions = judge.predict(samples).argmax(dim=1)
            agreements.append(float((opinions == experiment.sample_labels).double().mean()))
        reference = reference or mean(distances)
        spread = f" ± {stdev(distances):.2f}" if len(distances) > 1 else ""
        table.add_row(
            name,
            step,
            spacing,
            f"{guidance:g}",
            str(experiment.evaluations),
            f"{mean(distances):.2f}{spread}",
            f"{mean(distances) / reference:.2f}",
            f"{mean(agreements):.1%}",
            f"{mean(seconds):.1f}",
        )
        print(f"{name}: {mean(distances):.2f}", flush=True)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
