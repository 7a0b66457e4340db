"""Clouds removed from held-out images: what a mask hides is drawn anew, beside the best linear guess."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from diffusion_lab import plots, samplers
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.latent import images_of
from diffusion_lab.metrics import Score, cloud_mask, image_covariance, kriging

SHARE = 0.2
"""Of an image that lies under clouds."""
REPEATS = 3
"""Of each step, going up again in between: with one alone, what is drawn fits the edge of a cloud less well."""
SHOWN = 3
FITTED = 200
"""Images that the covariance of the linear guess is taken of."""
IMAGES, DRAWS = 32, 4
"""The mean of several draws is scored: one alone shows a ground that may be, and is further from the one that is."""


def linear_guess(experiment: Experiment, images: Tensor, hidden: Tensor) -> Tensor:
    """Images (N, C, H, W) whose `hidden` pixels (H, W) are the best linear guess from those around."""
    return kriging(images, hidden, *image_covariance(images_of(experiment.dataset).train[:FITTED]))


def filled_in(
    experiment: Experiment,
    images: Tensor,
    hidden: Tensor,
    labels: Tensor | None,
    draws: int,
    linear: Tensor | None = None,
) -> Tensor:
    """The mean (N, C, H, W) of `draws` images that agree with images (N, C, H, W) outside `hidden` (H, W).

    In the space of an autoencoder a latent pixel counts as known where neither its patch nor a neighbour has a cloud.
    There the clouds are first filled with the linear guess, since the encoder has to read something: `linear`, where it
    is known already.
    """
    net = experiment.dataset.info.get("autoencoder")
    known, seen = images, ~hidden
    if net is not None:
        known = net.encode(linear_guess(experiment, images, hidden) if linear is None else linear)
        cloudy = F.max_pool2d(hidden[None, None].float(), net.patch)
        seen = F.max_pool2d(cloudy, 3, 1, 1)[0, 0] == 0
    device, generator = experiment.accelerator.device, experiment.generator("clouds")
    labels = None if labels is None else labels.to(device)
    step = samplers.resampling(experiment.pieces.step, known.to(device), seen.to(device), REPEATS)
    total = torch.zeros_like(images)
    for number in range(draws):
        with torch.no_grad(), experiment.accelerator.autocast():
            x, _ = samplers.sample(
                experiment.conditional(labels, None),
                experiment.pieces.schedule,
                step,
                experiment.start(len(images), generator),
                steps=experiment.budget.sample_steps,
                generator=generator,
                on_step=lambda done, steps, number=number: experiment.on_step(
                    "removing clouds", number * steps + done, draws * steps
                ),
            )
        total += experiment.decode(x.float().cpu())
    return torch.where(hidden, total / draws, images)


def clouds_removed(experiment: Experiment) -> Any:
    """A figure of a few held-out images, the same with white clouds, and one draw of the ground below."""
    data = images_of(experiment.dataset)
    rows = torch.randperm(len(data.test), generator=experiment.generator("figure"))[:SHOWN]
    images, labels = data.test[rows], None
    if experiment.chapter.labelled:
        known = experiment.classes == data.classes  # labels of other data mean nothing to the network
        labels = data.test_labels[rows] if known else torch.full((len(rows),), len(experiment.classes))
    hidden = cloud_mask(images.shape[-1], SHARE, experiment.generator("cloud"))
    linear = linear_guess(experiment, images, hidden)
    drawn = filled_in(experiment, images, hidden, labels, 1, linear)
    errors = {
        f"RMSE under clouds, {name}": [float((x - images)[..., hidden].square().mean().sqrt())]
        for name, x in (("one draw", drawn), ("linear guess", linear))
    }
    cloudy = torch.where(hidden, 1.0, images)
    columns = (x[None] for x in (images, cloudy, drawn))
    return plots.denoising("image", *columns, None, ["clouds"], dataset=data.name, scores=errors)


def cloud_removal(experiment: Experiment, most: float) -> Score:
    """RMSE under clouds on held-out images; the floor is the best linear guess. `most` times that floor passes."""
    data = images_of(experiment.dataset)
    images, labels = data.test[:IMAGES], data.test_labels[:IMAGES] if experiment.chapter.labelled else None
    hidden = cloud_mask(images.shape[-1], SHARE, experiment.generator("cloud"))
    linear = linear_guess(experiment, images, hidden)
    drawn = filled_in(experiment, images, hidden, labels, DRAWS, linear)
    value, floor = (float((x - images)[..., hidden].square().mean().sqrt()) for x in (drawn, linear))
    note = f"a fifth of each image hidden, the mean of {DRAWS} draws; the floor is the best linear guess (kriging)"
    return Score("RMSE of pixels under clouds", value, floor, most * floor, note=note)
