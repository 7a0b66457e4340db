"""What chapter 12 measures and a page has no time for: sets against sets, halves completed, noise taken away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import diffusion_lab
from diffusion_lab import samplers
from diffusion_lab.chapters.completion import complete, known_half, other_half
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.points import matched
from diffusion_lab.chapters.surface_fit import distance_to_family
from diffusion_lab.data.clouds import to_units
from diffusion_lab.levels import Level
from diffusion_lab.metrics import (
    chamfer_distance,
    chamfer_distances,
    coverage,
    earth_movers_distances,
    minimum_matching_distance,
    nearest_neighbour_accuracy,
)

OnStep = Callable[[str, int, int], None]

COMPARED = 40
"""Clouds on each side of a comparison."""
MOVED = 12
"""The same for the earth mover's distance."""
STEPS = 30
NOISE = 0.1
"""Deviation of the noise that spoils held-out clouds."""
FITTED = 12
LOG_SNRS = (6.0, 4.0, 2.0, 0.0, -2.0)
HALVES = 24
REPEATS = 3
FEW = (5, 20)


def run(on_step: OnStep) -> dict[str, Any]:
    """All of it, with the shipped network, on the surfaces drawn by formula."""
    experiment = diffusion_lab.open_checkpoint(name="points", source="bundled", device="cpu")
    data = experiment.dataset
    on_step("sampling", 0, 1)
    samples = experiment.draw(COMPARED, STEPS)
    labels = experiment.sample_labels
    return {
        "data": data.name,
        "points": data.train.shape[1],
        "compared": COMPARED,
        "moved": MOVED,
        "sample_steps": STEPS,
        "noise": NOISE,
        "sets": compare(experiment, samples, labels, on_step),
        "surface": surfaces(experiment, samples, labels, on_step),
        "steps": by_steps(experiment, on_step),
        "denoising": denoise(experiment, on_step),
        "completion": halves(experiment, on_step),
    }


def compare(experiment: Experiment, samples: Tensor, labels: Tensor, on_step: OnStep) -> list[dict[str, Any]]:
    """Several sets of clouds against held-out ones, as many of each class on both sides."""
    data = experiment.dataset
    of_samples, held, train = matched(labels, data.test_labels, data.train_labels, most=COMPARED)
    truth, generator = data.test[held], torch.Generator().manual_seed(0)
    sets = {
        "training shapes": data.train[train],
        "samples": samples[of_samples],
        "held-out shapes with noise": truth + NOISE * torch.randn(truth.shape, generator=generator),
        "other points of the held-out shapes": data.info["test_again"][held],
        "training shapes, a tenth too large": 1.1 * data.train[train],
        "one training shape of each class": data.train[train][_first_of_each(data.train_labels[train])],
    }
    few = matched(data.test_labels[held], most=MOVED)[0]
    chamfer, moved = chamfer_distances(truth, truth), earth_movers_distances(truth[few], truth[few])
    rows = []
    for number, (name, clouds) in enumerate(sets.items()):
        on_step("comparing", number, len(sets))
        across = chamfer_distances(clouds, truth)
        some = clouds[few]
        rows.append(
            {
                "set": name,
                "accuracy": nearest_neighbour_accuracy(chamfer_distances(clouds, clouds), across, chamfer),
                "accuracy_emd": nearest_neighbour_accuracy(
                    earth_movers_distances(some, some), earth_movers_distances(some, truth[few]), moved
                ),
                "coverage": coverage(across),
                "matching": minimum_matching_distance(across),
            }
        )
    return rows


def _first_of_each(labels: Tensor) -> Tensor:
    """For every row the first row of its class (N,)."""
    return torch.stack([(labels == label).nonzero()[0, 0] for label in labels])


def units(experiment: Experiment, clouds: Tensor) -> Tensor:
    """In the units of the surfaces; one normalisation is for all."""
    info = experiment.dataset.info
    return to_units(clouds, info["train_centre"][:1], info["train_scale"][:1])


def surfaces(experiment: Experiment, samples: Tensor, labels: Tensor, on_step: OnStep) -> list[dict[str, Any]]:
    """How far the points of samples lie from the nearest surface of their class, beside held-out clouds."""
    data = experiment.dataset
    rows, held = matched(labels, data.test_labels, most=FITTED)
    found = []
    for number, (clouds, classes) in enumerate(
        ((samples[rows], labels[rows]), (data.test[held], data.test_labels[held]))
    ):
        on_step("looking for surfaces", number, 2)
        found.append((distance_to_family(units(experiment, clouds), classes), classes))
    return [
        {
            "class": name,
            **{k: float(d[c == label].mean()) for k, (d, c) in zip(("samples", "held"), found, strict=True)},
        }
        for label, name in enumerate(data.classes)
    ]


def by_steps(experiment: Experiment, on_step: OnStep) -> list[dict[str, Any]]:
    """The distance to the surface over the number of steps."""
    rows = []
    for number, steps in enumerate(FEW):
        on_step("counting steps", number, len(FEW))
        samples = experiment.draw(FITTED, steps)
        labels = experiment.sample_labels
        distance = distance_to_family(units(experiment, samples), labels)
        rows.append({"steps": steps, "surface": float(distance.mean())})
    return rows


def denoise(experiment: Experiment, on_step: OnStep) -> list[dict[str, Any]]:
    """The mean distance of noisy and of denoised points to the surface that they come from."""
    data, schedule = experiment.dataset, experiment.pieces.schedule
    clean, labels, generator = data.test[:64], data.test_labels[:64], torch.Generator().manual_seed(0)
    scale, rows = float(data.info["test_scale"][0]), []
    for number, log_snr in enumerate(LOG_SNRS):
        on_step("denoising", number, len(LOG_SNRS))
        level = schedule.at(schedule.time_at(torch.tensor(log_snr)), like=clean)
        noisy = level.noisy(clean, torch.randn(clean.shape, generator=generator))
        with torch.no_grad():
            answer = experiment.conditional(labels, None)(noisy, Level(*level)).x0
        rows.append(
            {
                "log_snr": log_snr,
                "sigma": scale * float(level.sigma / level.alpha),
                "noisy": off_surface(data, noisy / level.alpha),
                "learned": off_surface(data, answer),
            }
        )
    return rows


def off_surface(data: Any, clouds: Tensor) -> float:
    """The mean distance of held-out clouds (the first ones) to their own surfaces, in the units of these."""
    info = data.info
    places = to_units(clouds, info["test_centre"][: len(clouds)], info["test_scale"][: len(clouds)]).numpy()
    pairs = zip(info["test_surfaces"], places, strict=False)
    return float(torch.tensor([surface.distance(cloud).mean() for surface, cloud in pairs]).mean())


def halves(experiment: Experiment, on_step: OnStep) -> list[dict[str, Any]]:
    """The Chamfer distance of completed halves to the true ones, by several ways to complete them."""
    data = experiment.dataset
    clean, again, labels = data.test[:HALVES], data.info["test_again"][:HALVES], data.test_labels[:HALVES]
    known, truth = known_half(clean), other_half(again)

    def score(half: Tensor) -> float:
        return float(chamfer_distance(half, truth).mean())

    rows = [
        {"way": "other points of the same shape", "score": score(other_half(clean)), "evaluations": 0},
        {"way": "half of the nearest training shape", "score": score(copied(data, clean, labels)), "evaluations": 0},
    ]
    ways: list[tuple[str, int, dict[str, Any]]] = [
        ("replacement, nothing else said", 1, {"held": False}),
        ("replacement, held to the other side", 1, {}),
        ("resampling, held to the other side", REPEATS, {"fill": samplers.resampling, "repeats": REPEATS}),
    ]
    for number, (way, repeats, options) in enumerate(ways):
        on_step("completing", number, len(ways))
        drawn = complete(experiment, clean, known, labels, STEPS, **options)
        half = other_half(drawn, known)
        wrong = half[..., 0] > clean[..., 0].where(known[..., 0], torch.inf).amin(dim=1, keepdim=True)
        row = {"way": way, "score": score(half), "evaluations": STEPS * repeats}
        rows.append({**row, "on_the_known_side": float(wrong.double().mean())})
    return rows


def copied(data: Any, clean: Tensor, labels: Tensor) -> Tensor:
    """The other half of the training shape of the same class whose known half is nearest."""
    halves = []
    for cloud, label in zip(clean, labels, strict=True):
        rows = data.train[data.train_labels == label]
        there, mine = (clouds[known_half(clouds).squeeze(-1)] for clouds in (rows, cloud[None]))
        distances = chamfer_distances(there.reshape(len(rows), -1, 3), mine[None])[:, 0]
        halves.append(other_half(rows[distances.argmin()][None])[0])
    return torch.stack(halves)
