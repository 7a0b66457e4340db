"""Chapter 7: the shipped network drawn from in other ways: thresholds, steps, and a half that is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from experiments.parts.cifar10_images import OnStep, agreement, detail, generate
from torch import Tensor

from diffusion_lab import samplers, targets
from diffusion_lab.denoisers import clip, dynamic_threshold, from_network, with_x0
from diffusion_lab.metrics import FeatureClassifier, frechet_distance
from diffusion_lab.samplers import Step

SCALES = (1.5, 3.0, 6.0)
POLISHES = {"none": None, "clip": clip, "dynamic": dynamic_threshold}
THRESHOLDED = 400
BUDGETS = (10, 20, 50)
"""Network evaluations for each image."""
STEPPERS: dict[str, tuple[Step, Callable[[int], int]]] = {
    "DDPM": (samplers.ddpm(), lambda evaluations: evaluations),
    "DDIM": (samplers.ddim(), lambda evaluations: evaluations),
    # Two evaluations a step, one in the last.
    "Heun": (samplers.heun(), lambda evaluations: (evaluations + 1) // 2),
    "DPM-Solver++(2M)": (samplers.dpmpp_2m(), lambda evaluations: evaluations),
}
STEPPED = 500
FILLED, FILL_EVALUATIONS, FILL_REPEATS = 200, 100, (1, 5, 20)


def threshold(experiment: Any, judge: FeatureClassifier, held_out: Tensor, on_step: OnStep) -> list[dict[str, Any]]:
    """Guidance scales with and without something that keeps guesses in range."""
    rows = []
    for scale in SCALES:
        for name, polish in POLISHES.items():
            on_step("guidance and thresholds", len(rows), len(SCALES) * len(POLISHES))
            outside: list[float] = []
            images, labels, evaluations = generate(
                experiment.network,
                experiment.pieces.schedule,
                experiment.accelerator,
                count=THRESHOLDED,
                scale=scale,
                polish=polish,
                outside=outside,
            )
            shown = images.clamp(-1, 1)
            rows.append(
                {
                    "scale": scale,
                    "polish": name,
                    "evaluations": evaluations,
                    "outside": sum(outside) / len(outside),
                    "outside_end": float((images.abs() > 1).double().mean()),
                    "largest": float(images.abs().amax()),
                    "burnt": float((shown.abs() > 0.99).double().mean()),
                    "agreement": agreement(judge, shown, labels),
                    "frechet": frechet_distance(judge.features(shown), held_out),
                }
            )
    return rows


def compare_samplers(
    experiment: Any, judge: FeatureClassifier, held_out: Tensor, on_step: OnStep
) -> list[dict[str, Any]]:
    """Samplers at equal network evaluations, without guidance, from the same noise."""
    rows = []
    for name, (step, steps_for) in STEPPERS.items():
        for budget in BUDGETS:
            on_step("samplers", len(rows), len(STEPPERS) * len(BUDGETS))
            row = drawn_row(experiment, judge, held_out, step=step, steps=steps_for(budget))
            rows.append({"sampler": name, "budget": budget, **row})
    return rows


def drawn_row(experiment: Any, judge: FeatureClassifier, held_out: Tensor, **drawing: Any) -> dict[str, Any]:
    """What the judge says of images drawn like this, see `generate`, and the evaluations that each took."""
    images, labels, evaluations = generate(
        experiment.network, experiment.pieces.schedule, experiment.accelerator, count=STEPPED, **drawing
    )
    images = images.clamp(-1, 1)
    return {
        "evaluations": evaluations,
        "agreement": agreement(judge, images, labels),
        "detail": detail(images),
        "frechet": frechet_distance(judge.features(images), held_out),
    }


def fill(experiment: Any, on_step: OnStep) -> list[dict[str, Any]]:
    """Held-out images whose right half is filled in, by repeats of going up and down, at equal evaluations."""
    images = experiment.dataset
    order = torch.randperm(len(images.test), generator=torch.Generator().manual_seed(4))[:FILLED]
    known, labels = images.test[order], images.test_labels[order]
    mask = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    mask[..., :16] = True
    denoiser = with_x0(from_network(experiment.network, targets.v, {"labels": labels}), dynamic_threshold)
    rows = [filled_row("the images themselves", 0, 0, known, known)]
    for done, repeats in enumerate(FILL_REPEATS):
        on_step("filling in", done, len(FILL_REPEATS))
        generator = torch.Generator().manual_seed(5)
        start = torch.randn(known.shape, generator=generator)
        step = samplers.resampling(samplers.ddpm(), known, mask, repeats)
        with experiment.accelerator.autocast():
            x, way = samplers.sample(
                denoiser,
                experiment.pieces.schedule,
                step,
                start,
                steps=FILL_EVALUATIONS // repeats,
                generator=generator,
            )
        rows.append(filled_row(f"{repeats}", repeats, way.evaluations, x.float().clamp(-1, 1), known))
    return rows


def filled_row(name: str, repeats: int, evaluations: int, images: Tensor, known: Tensor) -> dict[str, Any]:
    """The jump at the seam beside the jump one column later, and how halves agree in colour."""
    halves = [images[..., :16].mean(dim=(-1, -2)).flatten(), images[..., 16:].mean(dim=(-1, -2)).flatten()]
    return {
        "name": name,
        "repeats": repeats,
        "evaluations": evaluations,
        "seam": float((images[..., 16] - images[..., 15]).abs().mean()),
        "beside": float((images[..., 18] - images[..., 17]).abs().mean()),
        "colours": float(torch.corrcoef(torch.stack(halves))[0, 1]),
        "error": float((images - known)[..., 16:].square().mean()),
    }
