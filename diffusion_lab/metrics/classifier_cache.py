"""A trained classifier on disk, so that a run, and the runs after it, train it once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from diffusion_lab.errors import CheckpointError
from diffusion_lab.files import write_atomically
from diffusion_lab.metrics.classifier import FEATURES, WIDTHS, FeatureClassifier, accuracy_of, train_classifier

FORMAT = "diffusion_lab.feature_classifier.1"
"""Names the file format and the training recipe. Raise the number when either changes, and old files are not used."""


def cached_classifier(
    folder: str | Path,
    images: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    test_images: Tensor,
    test_labels: Tensor,
    *,
    epochs: int,
    seed: int,
    crop: int = 0,
    flip: bool = False,
    batch: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureClassifier:
    """The classifier that `train_classifier` makes of these arguments, from `folder` if it is there, else trained.

    The file's name holds a fingerprint of the images, labels and settings, so other data or settings never find it. A
    file that cannot be read, or whose weights were changed, is trained again and replaced. Its `accuracy` is measured
    on the test images (M, C, H, W) when it is trained, and kept. When it was found, `progress` is not called.
    """
    settings = {"epochs": epochs, "seed": seed, "crop": crop, "flip": flip, "batch": batch}
    key = fingerprint((images, labels), {**settings, "classes": list(classes), "widths": WIDTHS, "features": FEATURES})
    path = Path(folder) / f"classifier-{key[:16]}.safetensors"
    if path.exists():
        try:
            return load_classifier(path, expected_fingerprint=key).to(images.device)
        except CheckpointError:
            pass  # a cache may be lost at any time; train as if there were none
    net = train_classifier(images, labels, classes, **settings, progress=progress)
    net.accuracy = accuracy_of(net, test_images, test_labels)
    with contextlib.suppress(OSError):  # a cache that cannot be written to costs time and nothing else
        save_classifier(net, path, key)
    return net


def fingerprint(tensors: Sequence[Tensor], settings: dict[str, object]) -> str:
    """The SHA-256, in hexadecimal, of the tensors' types, shapes and values, and of the settings."""
    digest = sha256(json.dumps([FORMAT, settings], sort_keys=True).encode())
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


def save_classifier(net: FeatureClassifier, path: str | Path, data_fingerprint: str) -> None:
    """Write the weights as safetensors, with the fingerprint, classes and accuracy in the metadata.

    Atomic: written beside `path` and renamed, so that an interrupted run leaves the old file or none, and runs that
    share a folder do not read each other's half-written file.
    """
    path = Path(path)
    weights = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "fingerprint": data_fingerprint,
        "classes": json.dumps(net.classes),
        "accuracy": json.dumps(net.accuracy),
        "weights": _digest(weights),  # safetensors itself does not notice a changed weight
    }
    write_atomically(path, save(weights, metadata))


def load_classifier(path: str | Path, expected_fingerprint: str | None = None) -> FeatureClassifier:
    """The classifier in a file of `save_classifier`, on the CPU and in evaluation mode.

    Raises CheckpointError, naming the file and the fault, when it is missing, truncated, changed, of another kind, or
    (where a fingerprint is expected) trained on other data or with other settings.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no classifier file {path}")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as fault:
        raise CheckpointError(f"{path} cannot be read as a safetensors file: {fault}") from fault
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} has the format {metadata.get('format')!r}; expected {FORMAT!r}")
    if metadata.get("weights") != _digest(weights):
        raise CheckpointError(f"{path} is corrupt: its weights are not those that were written")
    if expected_fingerprint is not None and metadata.get("fingerprint") != expected_fingerprint:
        raise CheckpointError(f"{path} was trained on other data or with other settings")
    try:
        net = FeatureClassifier(json.loads(metadata["classes"]), weights["mean"], weights["std"])
        net.load_state_dict(weights)
        net.accuracy = json.loads(metadata["accuracy"])
    except (KeyError, ValueError, RuntimeError) as fault:
        raise CheckpointError(f"{path} does not fit the classifier: {fault}") from fault
    return net.eval()


def _digest(weights: dict[str, Tensor]) -> str:
    return fingerprint([weights[name] for name in sorted(weights)], {"names": sorted(weights)})
