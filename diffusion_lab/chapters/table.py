"""Chapter 4 on a table of the user's own, instead of a normal distribution whose truth is known."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from diffusion_lab.chapters.chapter import Chapter
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.own import TakesOwn
from diffusion_lab.chapters.readiness import require_count
from diffusion_lab.data import Dataset
from diffusion_lab.data.own_table import load_own_table
from diffusion_lab.exact import FiniteSet
from diffusion_lab.metrics import Score, energy_distance, floor_of, random_directions, random_rows, sliced_wasserstein

FEWEST = 30
"""Rows held out at least, so that a distance to them says something."""


def evaluate(experiment: Experiment) -> list[Score]:
    """Distances to the held-out rows, all columns at unit variance so that none counts for its unit."""
    data, generator = experiment.dataset, experiment.generator("floor")
    samples = ((experiment.samples - data.info["centre"]) / data.info["scale"])[: len(data.train)]
    directions = random_directions(64, data.test.shape[1], generator)

    def sliced(x: Tensor) -> float:
        return sliced_wasserstein(x, data.test, directions)

    def energy(x: Tensor) -> float:
        return energy_distance(x, data.test)

    def score(name: str, metric) -> Score:
        floor = floor_of(metric, lambda: random_rows(data.train, len(samples), generator))
        note = f"{len(samples):,} samples, {len(data.test):,} held-out rows; the floor is that of training rows"
        return Score(name, metric(samples), floor, floor, note=note)

    return [
        score("sliced Wasserstein to held-out rows", sliced),
        score("energy distance to held-out rows", energy),
    ]


def changes(chapter: Chapter, dataset: Dataset) -> dict[str, Any]:
    """Samples in the units of the file, and an exact denoiser for the rows to train on and nothing else."""
    centre, scale = dataset.info["centre"], dataset.info["scale"]
    return {
        "decode": lambda x: centre + scale * x,
        "exact": lambda data: FiniteSet(data.train),
        "evaluate": evaluate,
    }


OWN_TABLE = TakesOwn("table", load_own_table, lambda dataset: require_count(dataset, FEWEST), changes)
