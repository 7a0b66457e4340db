"""The figures of a run: data against samples, the way from noise to data, the loss, and denoising."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from diffusion_lab import plots
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.levels import CLEAN

SHOWN = 2000
"""Points in a scatter plot; images, boards and sounds are shown in smaller numbers by their own figures."""


def draw_figures(
    experiment: Experiment, losses: list[float], floor: float | None, denoised: dict[str, Any], folder: Path
) -> dict[str, str]:
    """Draw the figures of a run into `folder` and return name -> file."""
    name = experiment.dataset.name  # of a run, which has trained on these data
    figures = {
        "samples": samples_figure(experiment),
        "trajectory": trajectory_figure(experiment),
        "loss": plots.loss_curve(losses, floor=floor, dataset=name),
        "denoising": denoising_figure(experiment, denoised),
    }
    if experiment.chapter.restored is not None:
        figures["restored"] = experiment.chapter.restored(experiment)
    return {key: str(plots.save(figure, folder / f"{key}.png")) for key, figure in figures.items()}


def samples_figure(experiment: Experiment) -> Any:
    """Held-out data beside the run's samples."""
    dataset, info = experiment.dataset, _info(experiment)
    # In random order: archives of images go class by class, and the enumeration begins with the emptiest boards.
    rows = torch.randperm(len(dataset.test), generator=experiment.generator("figure"))[:SHOWN]
    # Images that are learned as latents are shown as they are, not as the decoder gives them back.
    data = dataset.info["images"].test[rows] if "images" in dataset.info else experiment.decode(dataset.test[rows])
    if dataset.test_labels is not None:
        info["data_labels"] = dataset.test_labels[rows]
    if experiment.sample_labels is not None:
        info["samples_labels"] = experiment.sample_labels[:SHOWN]
    if "boards" in info:
        from diffusion_lab.data.games import is_legal

        info["legal"] = is_legal(experiment.samples[:SHOWN])
    return plots.data_against_samples(
        experiment.kind,
        data,
        experiment.samples[:SHOWN],
        dataset=_named(experiment),
        density=_density(experiment),
        info=info,
    )


def trajectory_figure(experiment: Experiment) -> Any:
    """Some samples at every step from noise to data."""
    way = experiment.trajectory
    states = torch.stack([experiment.decode(state) for state in way.states])
    return plots.trajectory(experiment.kind, states, way.times, dataset=experiment.trained_on, info=_info(experiment))


def denoising_figure(experiment: Experiment, denoised: dict[str, Any]) -> Any:
    """Clean, noisy, learned and exact, at each noise level."""
    return plots.denoising(
        experiment.kind,
        *(denoised[column] for column in ("clean", "noisy", "learned", "exact")),
        [f"log-SNR {value:.1f}" for value in denoised["levels"]],
        dataset=_named(experiment),
        scores=denoised["scores"],
        info=_info(experiment),
    )


def _named(experiment: Experiment) -> str:
    """The data that are shown, and those that the network was trained on where they are others."""
    name, trained_on = experiment.dataset.name, experiment.trained_on
    return name if name == trained_on else f"data are {name}; the network was trained on {trained_on}"


def _info(experiment: Experiment) -> dict[str, Any]:
    return {**experiment.dataset.info, "classes": experiment.classes}


def _density(experiment: Experiment):
    """The exact density of clean data, for points whose truth has one."""
    exact = experiment.exact
    if experiment.kind != "points" or not hasattr(exact, "log_density") or getattr(exact, "std", None) == 0:
        return None  # points without a width, such as the rows of a table, have no density
    return lambda points: experiment.exact.log_density(points.double(), CLEAN).exp().float()
