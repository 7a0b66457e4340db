"""Chapter 7: images drawn from a network, and what is measured of all images alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lab import samplers, targets
from diffusion_lab.chapters.run import judges
from diffusion_lab.denoisers import Denoiser, dynamic_threshold, from_network, guided, with_x0
from diffusion_lab.metrics import FeatureClassifier, cached_classifier
from diffusion_lab.samplers import Step
from diffusion_lab.schedules import Schedule

OnStep = Callable[[str, int, int], None]
STEPS = 25


def judge_of(images: Any, on_step: OnStep) -> FeatureClassifier:
    """The classifier whose features are compared, as the chapter trains it; kept in the user's cache."""
    return cached_classifier(
        judges(),
        images.train,
        images.train_labels,
        images.classes,
        images.test,
        images.test_labels,
        epochs=12,
        seed=0,
        crop=4,
        flip=True,
        progress=lambda done, total: on_step(f"training the judge of {images.name}", done, total),
    )


def asked(network: nn.Module, labels: Tensor, scale: float) -> Denoiser:
    """The network, asked for these classes."""
    denoiser = from_network(network, targets.v, {"labels": labels})
    if scale == 1:
        return denoiser
    return guided(denoiser, from_network(network, targets.v, {"labels": torch.full_like(labels, 10)}), scale)


def generate(
    network: nn.Module,
    schedule: Schedule,
    accelerator: Any,
    *,
    count: int,
    scale: float = 1.0,
    polish: Callable[[Tensor], Tensor] | None = dynamic_threshold,
    step: Step | None = None,
    steps: int = STEPS,
    side: int = 32,
    outside: list[float] | None = None,
) -> tuple[Tensor, Tensor, int]:
    """`count` images of equal shares, their labels and the evaluations; `outside` gets the share of guesses > 1."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 10

    def change(x0: Tensor) -> Tensor:
        if outside is not None:
            outside.append(float((x0.abs() > 1).double().mean()))
        return x0 if polish is None else polish(x0)

    images, evaluations = [], 0
    for block in labels.split(500):
        # What a sampler has at the start, whatever level the schedule ends with.
        noise = torch.randn(len(block), 3, side, side, generator=generator)
        denoiser = with_x0(asked(network, block, scale), change)
        with accelerator.autocast():
            x, way = samplers.sample(
                denoiser, schedule, step or samplers.ddim(), noise, steps=steps, generator=generator
            )
        images.append(x.float())
        evaluations = way.evaluations * (1 if scale == 1 else 2)
    return torch.cat(images), labels, evaluations


def brightness(images: Tensor) -> Tensor:
    """The mean over all pixels and colours of each image, (N,)."""
    return images.flatten(1).mean(dim=1)


def agreement(judge: FeatureClassifier, images: Tensor, labels: Tensor) -> float:
    """The share of images that the judge takes for the class they were asked to be."""
    return float((judge.predict(images).argmax(dim=1) == labels).double().mean())


def detail(images: Tensor) -> float:
    """The mean square difference of neighbouring pixels."""
    return float((images.diff(dim=-1).square().mean() + images.diff(dim=-2).square().mean()) / 2)
