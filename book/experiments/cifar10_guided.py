"""Chapter 7, few steps: the shipped network with guidance, drawn by solvers of first and of second order."""

from __future__ import annotations

from typing import Any

from experiments.parts.cifar10_images import OnStep, agreement, detail, generate, judge_of

import diffusion_lab
from diffusion_lab import samplers
from diffusion_lab.metrics import frechet_distance

STEPPERS = {"DDIM": samplers.ddim(), "DPM-Solver++(2M)": samplers.dpmpp_2m()}
STEPS = (5, 10, 25)
DRAWN = 500


def run(on_step: OnStep) -> dict[str, Any]:
    """Distance, classes and detail of guided images at equal network evaluations, from the same noise."""
    experiment = diffusion_lab.open_checkpoint(name="cifar10")
    images, scale = experiment.dataset, experiment.chapter.guidance
    judge = judge_of(images, on_step)
    held_out = judge.features(images.test)
    rows = []
    for name, step in STEPPERS.items():
        for steps in STEPS:
            on_step("guided samplers", len(rows), len(STEPPERS) * len(STEPS))
            drawn, labels, evaluations = generate(
                experiment.network,
                experiment.pieces.schedule,
                experiment.accelerator,
                count=DRAWN,
                scale=scale,
                step=step,
                steps=steps,
            )
            drawn = drawn.clamp(-1, 1)
            rows.append(
                {
                    "sampler": name,
                    "steps": steps,
                    "evaluations": evaluations,
                    "agreement": agreement(judge, drawn, labels),
                    "detail": detail(drawn),
                    "frechet": frechet_distance(judge.features(drawn), held_out),
                }
            )
    return {"data": images.name, "samples": DRAWN, "guidance": scale, "samplers": rows}
