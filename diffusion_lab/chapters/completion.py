"""Half of a shape is known, and the network makes the other half.

The points of a cloud are independent once the shape is known, so a network that knows half of them puts the others
anywhere on the shape, on the known side too. That they lie beyond the edge of what is known has to be said.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffusion_lab import denoisers, samplers
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.metrics import Score, chamfer_distance
from diffusion_lab.samplers import Step

CLOUDS = 48


def known_half(clouds: Tensor) -> Tensor:
    """(N, P, 1) bool: True for the half of each cloud's points (N, P, 3) that lie furthest along the first axis."""
    order = clouds[..., 0].argsort(dim=1, descending=True).argsort(dim=1)
    return (order < clouds.shape[1] // 2).unsqueeze(-1)


def complete(
    experiment: Experiment,
    clouds: Tensor,
    known: Tensor,
    labels: Tensor | None,
    steps: int,
    fill: Callable[..., Step] = samplers.replacing,
    held: bool = True,
    **options: int,
) -> Tensor:
    """Clouds (N, P, 3) whose points are kept where `known` (N, P, 1) is True, and drawn anew elsewhere.

    Args:
        fill: `samplers.replacing` or `samplers.resampling`; `options` are its own.
        held: whether estimates of unknown points are held beyond the edge of what is known: no further along the first
            axis than the known point that is least far.
    """
    device, generator = experiment.accelerator.device, experiment.generator("completion")
    clouds, known = clouds.to(device), known.to(device)
    labels = None if labels is None else labels.to(device)
    step = fill(experiment.pieces.step, clouds, known, **options)
    noise = torch.randn(clouds.shape, generator=generator).to(device)
    denoise = experiment.denoiser(labels)
    if held:
        edge = torch.where(known, clouds, torch.inf)[..., 0].amin(dim=1, keepdim=True)  # (N, 1)
        most = torch.full_like(clouds, torch.inf)
        most[..., 0] = torch.where(known[..., 0], torch.inf, edge)
        denoise = denoisers.with_x0(denoise, lambda x0: torch.minimum(x0, most.to(x0)))
    with experiment.accelerator.autocast():
        drawn, _ = samplers.sample(
            denoise,
            experiment.pieces.schedule,
            step,
            samplers.initial_noise(experiment.pieces.schedule, noise),
            steps=steps,
            generator=generator,
            keep=0,
        )
    return torch.where(known, clouds, drawn.float()).cpu()


def completion(experiment: Experiment, threshold: float) -> Score:
    """The Chamfer distance of completed halves to the true ones, beside that of other points of the same."""
    data = experiment.dataset
    rows = torch.randperm(len(data.test), generator=experiment.generator("completed"))[:CLOUDS]
    clean, again = data.test[rows], data.info["test_again"][rows]
    labels = None if data.test_labels is None else data.test_labels[rows]
    known = known_half(clean)
    steps = experiment.budget.sample_steps
    drawn = complete(experiment, clean, known, labels, steps)
    other = other_half(again)
    return Score(
        "Chamfer distance of completed halves",
        float(chamfer_distance(other_half(drawn, known), other).mean()),
        float(chamfer_distance(other_half(clean, known), other).mean()),
        threshold,
        note="the floor is what other points of the very same shapes score",
    )


def other_half(clouds: Tensor, known: Tensor | None = None) -> Tensor:
    """The points (N, P - P // 2, 3) of the half that is not known."""
    known = known_half(clouds) if known is None else known
    return clouds[~known.squeeze(-1)].reshape(len(clouds), -1, clouds.shape[-1])
