"""What the image chapters share: scores by a small classifier that the package trains itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.own import TakesOwn
from diffusion_lab.chapters.readiness import require_images
from diffusion_lab.data import Dataset
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.data.own_images import load_own_images
from diffusion_lab.errors import DataError
from diffusion_lab.metrics import (
    FeatureClassifier,
    Score,
    cached_classifier,
    class_balance,
    confidence,
    floor_of,
    frechet_distance,
    random_rows,
)

JUDGE_STEPS, JUDGE_BATCH = 300, 128
JUDGE_SEED = 0
"""Judges do not depend on a run's seed: two runs are compared by the same one."""


def judge_of(experiment: Experiment, *, crop: int, flip: bool) -> FeatureClassifier:
    """The classifier of this dataset, trained once and kept in the cache.

    It is trained for the budget's epochs, and on few images for more, until it has taken `JUDGE_STEPS` steps: after two
    epochs of 4,000 digits it gets 7 in 100 wrong. One epoch, which only proves that everything connects, stays one.
    """
    data, epochs = experiment.dataset, experiment.budget.judge_epochs
    if epochs > 1:
        epochs = max(epochs, math.ceil(JUDGE_STEPS / max(1, len(data.train) // JUDGE_BATCH)))
    return cached_classifier(
        experiment.cache,
        data.train,
        data.train_labels,
        data.classes,
        data.test,
        data.test_labels,
        epochs=epochs,
        seed=JUDGE_SEED,
        crop=crop,
        flip=flip,
        progress=lambda done, total: experiment.on_step("training the judge", done, total),
    )


def own_images(size: int, *, grey: bool, multiple: int) -> TakesOwn:
    """Pictures of the user's own, `size` pixels high and wide unless they say otherwise.

    The chapter's U-Net halves a picture, so its side is a `multiple`. That is checked before a picture is read.
    """

    def load(own: OwnData) -> Dataset:
        if own.size is not None and own.size % multiple:
            near = own.size - own.size % multiple
            raise DataError(
                f"this chapter's network takes pictures whose sides are multiples of {multiple}, and --size is "
                f"{own.size}; {max(near, multiple)} or {near + multiple} would do"
            )
        return load_own_images(own, size, grey)

    return TakesOwn("images", load, require_images)


class Thresholds(NamedTuple):
    """What images must reach. A distance between features has the scale of the judge that was trained on those data."""

    frechet: float
    """The largest Fréchet distance that passes."""
    agreement: float
    """The smallest share of images that the judge takes for the class they were asked to be."""
    sure: float
    """The smallest mean confidence of the judge."""


def image_scores(
    *, real: Thresholds, bundled: Thresholds, crop: int = 0, flip: bool = False
) -> Callable[[Experiment], list[Score]]:
    """Fréchet distance of classifier features to held-out images, and whether images look like the class asked for.

    Args:
        real, bundled: thresholds by the source of the data.
        crop, flip: augmentation in the classifier's training.
    """

    def evaluate(experiment: Experiment) -> list[Score]:
        frechet, agreement, sure = real if experiment.dataset.source == "real" else bundled
        judge = judge_of(experiment, crop=crop, flip=flip)
        data, samples, labels = experiment.dataset, experiment.samples, experiment.sample_labels
        generator = experiment.generator("floor")
        held_out = judge.features(data.test)
        n = len(samples)

        def distance(images: Tensor) -> float:
            return frechet_distance(judge.features(images), held_out)

        def balance(probabilities: Tensor) -> float:
            return class_balance(probabilities.argmax(dim=1), len(data.classes))

        count = min(n, len(data.train))
        opinions, real_opinions = judge.predict(samples), judge.predict(data.test)
        return [
            Score(
                "Fréchet distance of classifier features",
                distance(samples),
                floor_of(distance, lambda: random_rows(data.train, count, generator)),
                frechet,
                note=f"{n} samples, {len(data.test)} held-out images; the judge gets {judge.accuracy:.1%} right",
            ),
            Score(
                "samples of the class asked for",
                float((opinions.argmax(dim=1) == labels).double().mean()),
                float((real_opinions.argmax(dim=1) == data.test_labels).double().mean()),
                agreement,
                better="higher",
            ),
            Score(
                "mean confidence of the judge", confidence(opinions), confidence(real_opinions), sure, better="higher"
            ),
            Score("total variation of the classes from equal shares", balance(opinions), balance(real_opinions), 0.3),
        ]

    return evaluate
