"""What would stop a run after its training, looked for before it: a folder, data that cannot be scored, pieces."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.data import Dataset
from diffusion_lab.errors import DataError, LabError
from diffusion_lab.metrics.classifier import FEATURES

REHEARSED = 2
"""Samples, and sampler steps, of a rehearsal."""


def require_writable(folder: Path) -> None:
    """Make a folder for results and see that files can be written there.

    Raises:
        LabError: they cannot; the message names the folder and the system's reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        reason = fault.strerror or fault
        raise LabError(f"results cannot be written to {folder}: {reason}; choose another folder for `out`") from fault


def require_images(dataset: Dataset) -> None:
    """See that images can be judged: two classes or more, all of them held out too, and enough for a covariance.

    Raises:
        DataError: they cannot be scored; the message says what is missing.
    """
    _require_labels(dataset)
    if len(dataset.classes) < 2:
        raise DataError(f"{dataset.name} has one class only, and the judge of images needs two or more")
    require_count(dataset, FEATURES + 1)


def require_labelled_sounds(dataset: Dataset) -> None:
    """See that there are classes, and the same as `require_sounds`, with the same errors."""
    _require_labels(dataset)
    require_sounds(dataset)


def require_sounds(dataset: Dataset) -> None:
    """See that there are enough sounds for a covariance of their spectra, which have 40 features.

    Raises:
        DataError: they cannot be scored.
        InstallationError: torchaudio, which their spectra need, does not fit this torch.
    """
    from diffusion_lab.metrics.audio import MEL_BANDS, spectral_features

    require_count(dataset, 2 * MEL_BANDS + 1)
    spectral_features(dataset.test[:1], dataset.info["sample_rate"])


def require_heartbeats(dataset: Dataset) -> None:
    """See that there are enough strips for a covariance of their beats.

    Raises:
        DataError: they cannot be scored.
    """
    from diffusion_lab.metrics.heartbeats import beat_features

    require_count(dataset, beat_features(dataset.test[:1], dataset.info["sample_rate"]).shape[1] + 1)


def require_clouds(dataset: Dataset) -> None:
    """See that there are labels, and two shapes for each class to compare, those of all classes counted together.

    Raises:
        DataError: they cannot be scored.
    """
    _require_labels(dataset)
    require_count(dataset, 2 * len(dataset.classes))


def _require_labels(dataset: Dataset) -> None:
    if dataset.train_labels is None or dataset.test_labels is None:
        raise DataError(
            f"{dataset.name} have no classes, and this chapter learns with labels: put each class into a folder of its "
            "own, such as `cat/` and `dog/`"
        )


def require_count(dataset: Dataset, least: int) -> None:
    """See that there are `least` samples held out, and to train on, where the floor's are drawn from.

    A covariance of D features needs D + 1 of both.

    Raises:
        DataError: there are fewer.
    """
    for what, count in (("held out", len(dataset.test)), ("to train on", len(dataset.train))):
        if count < least:
            raise DataError(
                f"{dataset.name}: {count:,} {what} are too few to score, at least {least} are needed "
                f"({len(dataset.train):,} to train on and {len(dataset.test):,} held out)"
            )


def rehearse(experiment: Experiment) -> None:
    """Draw a little with the untrained network, so that pieces that do not work together show it now.

    Raises:
        PieceError: something raised.
    """
    from diffusion_lab.chapters.slots import call_together

    with torch.no_grad():
        call_together(experiment.pieces.own, lambda: experiment.draw(REHEARSED, REHEARSED))
