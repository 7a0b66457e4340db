"""Chapter 7, few steps: the shipped network, guided, drawn by solvers of first and of second order."""

from __future__ import annotations

from typing import Any

from experiments.parts.cifar10_images import OnStep, agreement, detail, generate, judge_of

import diffusion_lab
from diffusion_lab import samplers
from diffusion_lab.metrics import frechet_distance

STEPPERS = {"DDIM": samplers.ddim(), "DPM-Solver++(2M)": samplers.dpmpp_2m()}
WAYS = [("DDIM", 1.0, 50), *((name, 1.5, steps) for name in STEPPERS for steps in (5, 10, 25))]
"""Sampler, guidance scale and steps; a guided step costs two evaluations."""
DRAWN = 500


def run(on_step: OnStep) -> dict[str, Any]:
    """Distance, classes and detail of images, guided but for the first row, from the same noise."""
    experiment = diffusion_lab.open_checkpoint(name="cifar10")
    images = experiment.dataset
    judge = judge_of(images, on_step)
    held_out = judge.features(images.test)
    rows = []
    for name, scale, steps in WAYS:
        on_step("guided samplers", len(rows), len(WAYS))
        drawn, labels, evaluations = generate(
            experiment.network,
            experiment.pieces.schedule,
            experiment.accelerator,
            count=DRAWN,
            scale=scale,
            step=STEPPERS[name],
            steps=steps,
        )
        drawn = drawn.clamp(-1, 1)
        rows.append(
            {
                "sampler": name,
                "scale": scale,
                "steps": steps,
                "evaluations": evaluations,
                "agreement": agreement(judge, drawn, labels),
                "detail": detail(drawn),
                "frechet": frechet_distance(judge.features(drawn), held_out),
            }
        )
    return {
        "data": images.name,
        "samples": DRAWN,
        "judge_accuracy": judge.accuracy,
        "photographs_detail": detail(images.test),
        "samplers": rows,
    }
