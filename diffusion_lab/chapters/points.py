"""Chapter 12: clouds of points. Sets without an order, of shapes by class, judged as a set against a set."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from diffusion_lab import samplers, schedules, targets, times
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.completion import completion
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.own import TakesOwn
from diffusion_lab.chapters.readiness import require_clouds, require_count
from diffusion_lab.chapters.surface_fit import distance_to_family
from diffusion_lab.data import Dataset, load
from diffusion_lab.data.clouds import to_units
from diffusion_lab.data.own_shapes import load_own_shapes
from diffusion_lab.metrics import (
    Score,
    chamfer_distance,
    chamfer_distances,
    coverage,
    earth_movers_distances,
    minimum_matching_distance,
    nearest_neighbour_accuracy,
)
from diffusion_lab.schedules import Schedule
from diffusion_lab.train import Settings

COMPARED = 100
"""Clouds on each side of a comparison by Chamfer distance, the same number of each class on both."""
MOVED = 40
"""The same for the earth mover's distance, which takes ten times as long."""
FEWEST = 10
"""Shapes of the user's own that are held out at least, so that a share of them says something."""
FITTED = 40
"""Samples that a surface is looked for."""


def evaluate(experiment: Experiment) -> list[Score]:
    """Samples against held-out shapes, with held-out shapes against training shapes as the floor."""
    data = experiment.dataset
    truth = data.test
    sample_labels, truth_labels, train_labels = (
        torch.zeros(len(x), dtype=torch.long) if labels is None else labels  # of one class, where there are none
        for x, labels in (
            (experiment.samples, experiment.sample_labels),
            (data.test, data.test_labels),
            (data.train, data.train_labels),
        )
    )
    scores = []
    for name, metric, most, worst in (
        ("Chamfer", chamfer_distances, COMPARED, 0.9),
        ("earth mover's", earth_movers_distances, MOVED, 0.8),
    ):
        rows = matched(sample_labels, truth_labels, train_labels, most=most)
        samples, held, train = experiment.samples[rows[0]], truth[rows[1]], data.train[rows[2]]
        others = metric(held, held)
        found, floor = ((metric(x, x), metric(x, held), others) for x in (samples, train))
        scores.append(
            Score(
                f"1-NN accuracy, {name} distance",
                nearest_neighbour_accuracy(*found),
                nearest_neighbour_accuracy(*floor),
                worst,
                note="at 0.5 samples and held-out shapes cannot be told apart; the floor is that of training shapes",
            )
        )
        if metric is chamfer_distances:
            covered = coverage(found[1]), coverage(floor[1])
            scores.append(Score(f"coverage, {name} distance", *covered, 0.25, better="higher"))
        else:
            nearest = minimum_matching_distance(found[1]), minimum_matching_distance(floor[1])
            scores.append(Score(f"{name} distance to the nearest sample", *nearest, 0.75))
    if "test_surfaces" in data.info:
        scores.append(surface_score(experiment, 0.065))
    scores.append(completion(experiment, 0.7))
    return scores


def matched(*labels: Tensor, most: int) -> list[Tensor]:
    """Rows of several sets of labels (N,), as many of each class from each, at most `most` in all.

    Samples come in equal numbers of each class, and held-out shapes may not: without this, a score would measure that.
    """
    classes = labels[-1].unique()
    share = max(1, most // len(classes))
    counts = [min(share, *(int((one == c).sum()) for one in labels)) for c in classes]
    picked = [[(one == c).nonzero().flatten()[:n] for c, n in zip(classes, counts, strict=True)] for one in labels]
    return [torch.cat(rows) for rows in picked]


def surface_score(experiment: Experiment, threshold: float) -> Score:
    """The mean distance of the samples' points to the nearest surface of their class."""
    data = experiment.dataset
    centre, scale = (data.info[f"train_{name}"][:1] for name in ("centre", "scale"))  # one for all
    rows, held = matched(experiment.sample_labels, data.test_labels, most=FITTED)
    value, floor = (
        float(distance_to_family(to_units(clouds, centre, scale), labels).mean())
        for clouds, labels in (
            (experiment.samples[rows], experiment.sample_labels[rows]),
            (data.test[held], data.test_labels[held]),
        )
    )
    return Score(
        "mean distance to the nearest surface of the class",
        value,
        floor,
        threshold,
        note="in units in which a chair is about 1.5 high; the floor is what the search for a surface leaves",
    )


def denoise_score(experiment: Experiment, clean: Tensor, estimate: Tensor, noisy: Tensor, mask) -> tuple[str, float]:
    """The mean Chamfer distance of the estimate to the clean cloud."""
    return "Chamfer", float(chamfer_distance(clean, estimate).mean())


def schedule(dataset: Dataset) -> Schedule:
    """The cosine schedule, sampled evenly in log-SNR: a surface is thin, and the last bit of noise shows on it."""
    return replace(schedules.cosine(), spacing=times.log_snr_spacing)


def require_own(dataset: Dataset) -> None:
    """See that there are shapes enough to compare: `FEWEST` held out, and two for each class.

    Raises:
        DataError: they cannot be scored.
    """
    require_count(dataset, max(FEWEST, 2 * len(dataset.classes)))


CHAPTER = Chapter(
    number=12,
    name="points",
    title="Clouds of points",
    method="cosine, v, DDIM even in log-SNR, a transformer without positions",
    load=lambda source, root, seed: load("points", source=source, root=root, seed=seed),
    schedule=schedule,
    target=targets.v,
    step=lambda dataset: samplers.ddim(),
    network={"kind": "set", "width": 64, "depth": 4, "frequencies": 3},
    labelled=True,
    drop_labels=0.1,
    precision="bfloat16",
    require=require_clouds,
    own=TakesOwn("shapes", load_own_shapes, require_own),
    evaluate=evaluate,
    denoise_log_snr=(4.0, 1.0, -2.0),
    denoise_score=denoise_score,
    budgets={
        "smoke": Budget(Settings(steps=10, batch=16), samples=12, sample_steps=4),
        "quick": Budget(Settings(steps=1500, batch=32, ema_decay=0.99), samples=200, sample_steps=30),
        "full": Budget(Settings(steps=8000, batch=64, ema_decay=0.999), samples=400, sample_steps=60),
    },
)
