"""Chapter 7, few steps: the shipped network, guided, drawn by solvers of first and of second order."""

from __future__ import annotations

from typing import Any

from experiments.parts.cifar10_images import OnStep, detail, judge_of
from experiments.parts.cifar10_sampling import STEPPED, STEPPERS, drawn_row

import diffusion_lab

WAYS = [("DDIM", 1.0, 50), *((name, 1.5, n) for name in ("DDIM", "DPM-Solver++(2M)") for n in (5, 10, 25))]
"""Sampler, guidance scale and steps; a guided step costs two evaluations."""


def run(on_step: OnStep) -> dict[str, Any]:
    """Distance, classes and detail of images, guided but for the first row, from the same noise."""
    experiment = diffusion_lab.open_checkpoint(name="cifar10")
    images = experiment.dataset
    judge = judge_of(images, on_step)
    held_out = judge.features(images.test)
    rows = []
    for name, scale, steps in WAYS:
        on_step("guided samplers", len(rows), len(WAYS))
        row = drawn_row(experiment, judge, held_out, step=STEPPERS[name][0], scale=scale, steps=steps)
        rows.append({"sampler": name, "scale": scale, "steps": steps, **row})
    return {
        "data": images.name,
        "samples": STEPPED,
        "judge_accuracy": judge.accuracy,
        "photographs_detail": detail(images.test),
        "samplers": rows,
    }
