"""Chapter 7: generators from the perfect to the hopeless, by the same judge."""

from __future__ import annotations

import math
from typing import Any

import torch
from experiments.parts.cifar10_images import agreement, brightness, detail
from torch import Tensor
from torch.nn import functional

from diffusion_lab.exact import Gaussian
from diffusion_lab.metrics import FeatureClassifier, confidence, frechet_distance, random_rows
from diffusion_lab.plots.figure import finish, new_figure, styled
from diffusion_lab.plots.image import tile
from diffusion_lab.plots.style import bare, row_label

SAMPLES = 1000


def ladder(
    experiment: Any, judge: FeatureClassifier, guided_samples: Tensor, plain: Tensor, labels: Tensor, normal: Gaussian
) -> tuple[list[dict[str, Any]], Any]:
    """Generators from the perfect to the hopeless, all by the same judge, with as many images each."""
    images = experiment.dataset
    generator = torch.Generator().manual_seed(2)
    held_out = judge.features(images.test)
    count = min(SAMPLES, len(images.train))
    own = labels[:SAMPLES]
    order = torch.randperm(len(images.train), generator=generator)[:count]
    real, real_labels = images.train[order], images.train_labels[order]
    floors = torch.tensor(
        [frechet_distance(judge.features(random_rows(images.train, count, generator)), held_out) for _ in range(10)]
    )
    rivals = {
        "training images": (real, real_labels),
        "training images, noise 0.1": (real + 0.1 * torch.randn(real.shape, generator=generator), real_labels),
        "training images, 16 × 16": (
            functional.avg_pool2d(real, 2).repeat_interleave(2, -1).repeat_interleave(2, -2),
            real_labels,
        ),
        "training images, one class less": (real[real_labels != 0], real_labels[real_labels != 0]),
        "network, guidance 1.5": (guided_samples[:SAMPLES], own),
        "network, no guidance": (plain, own),
        "a normal distribution for each class": (normal_classes(images, own, generator), own),
        "one normal distribution": (normal.sample(SAMPLES, generator).reshape(-1, 3, 32, 32), None),
        "noise": (torch.randn(SAMPLES, 3, 32, 32, generator=generator), None),
    }
    rows = []
    for name, (made, classes) in rivals.items():
        made = made.clamp(-1, 1)
        features = judge.features(made)
        means = float((features.double().mean(0) - held_out.double().mean(0)).square().sum())
        near, ratio = nearest(made[:300], images.train)
        rows.append(
            {
                "name": name,
                "frechet": float(floors.mean()) if name == "training images" else frechet_distance(features, held_out),
                "spread": float(floors.std()) if name == "training images" else None,
                "means": means,
                "agreement": None if classes is None else agreement(judge, made, classes),
                "confidence": confidence(judge.predict(made)),
                "brightness_std": float(brightness(made).std()),
                "detail": detail(made),
                "nearest": near,
                "nearest_ratio": ratio,
            }
        )
    test = images.test[torch.randperm(len(images.test), generator=generator)[:SAMPLES]]
    test_near, test_ratio = nearest(test[:300], images.train)
    rows.append({"name": "held-out images", "nearest": test_near, "nearest_ratio": test_ratio, "detail": detail(test)})
    shown = {
        "A": rivals["a normal distribution for each class"][0],
        "B": rivals["network, guidance 1.5"][0],
        "C": rivals["one normal distribution"][0],
    }
    return rows, rivals_figure({name: made[:16] for name, made in shown.items()})


def normal_classes(images: Any, labels: Tensor, generator: torch.Generator) -> Tensor:
    """One draw for each label from the normal distribution with the mean and covariance of that class."""
    made = torch.empty(len(labels), *images.train.shape[1:])
    for label in range(len(images.classes)):
        own = images.train[images.train_labels == label].flatten(1)
        rows = (labels == label).nonzero()[:, 0]
        # Random sums of centred rows have exactly their covariance.
        mixing = torch.randn(len(rows), len(own), generator=generator) / math.sqrt(len(own) - 1)
        made[rows] = (own.mean(0) + mixing @ (own - own.mean(0))).reshape(-1, *images.train.shape[1:])
    return made


def nearest(images: Tensor, train: Tensor) -> tuple[float, float]:
    """Median distance of a pixel to that of the nearest training image, and median of nearest over second nearest."""
    distances = torch.cdist(images.flatten(1), train.flatten(1)).topk(2, largest=False).values
    root = math.sqrt(images[0].numel())
    return float(distances[:, 0].median()) / root, float((distances[:, 0] / distances[:, 1]).median())


@styled
def rivals_figure(drawn: dict[str, Tensor]) -> Any:
    """Images of three generators, which are not named."""
    figure = new_figure(5, 1.25 * len(drawn) + 0.5)
    for ax, (name, images) in zip(figure.subplots(len(drawn), 1), drawn.items(), strict=True):
        ax.imshow(tile(images.clamp(-1, 1), 8).numpy(), vmin=0, vmax=1)
        bare(ax)
        row_label(ax, name)
    return finish(
        figure,
        "Three generators, sixteen images each",
        "Three blocks of sixteen generated images of 32 by 32 pixels, named A, B and C. All have colours of sky, grass "
        "and earth. A is grainy all over, and some images have a horizon or a dark body in the middle. B is calm: "
        "plain grounds of grey, blue or green with a dark or light body on them. C is grainy, without any object.",
    )
