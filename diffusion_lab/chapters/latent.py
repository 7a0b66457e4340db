"""Latent diffusion: an autoencoder is trained first, and its latents are then the data of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.data import Dataset
from diffusion_lab.errors import CheckpointError, PieceError, TrainingError
from diffusion_lab.networks import Autoencoder
from diffusion_lab.train import Settings, learning_rate_at

PREFIX = "autoencoder."
"""Of its weights in a checkpoint."""


@dataclass(frozen=True)
class Latent:
    """How a chapter's images become latents."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    """Arguments of `Autoencoder` besides the shape."""
    noise: float = 0.1
    """Standard deviation of the noise on latents in training, which are near unit variance: close latents then mean
    close images."""
    penalty: float = 1e-4
    """Weight of the mean square of the latents, which keeps them from outgrowing that noise. A variational autoencoder
    whose encoder has a fixed variance has the same loss (Kingma & Welling 2014, equation 10)."""


def train_autoencoder(
    latent: Latent,
    images: Tensor,
    settings: Settings,
    seed: int,
    on_step: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Autoencoder:
    """An autoencoder trained on images (N, C, H, W), its latents scaled to unit variance. The seed decides it.

    It starts as the principal components of patches, so a few steps do no harm.

    Raises:
        TrainingError: the loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    net = Autoencoder(tuple(images.shape[1:]), seed=seed, **latent.sizes).start_from_pca(images[:500])
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), fused=True)
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, settings)
        batch = images[torch.randint(len(images), (settings.batch,), generator=generator)]
        code = net.raw(batch)
        seen = code + latent.noise * torch.randn(code.shape, generator=generator)
        loss = (net.from_raw(seen) - batch).square().mean() + latent.penalty * code.square().mean()
        if not loss.isfinite():
            raise TrainingError(f"the loss of the autoencoder is {loss.item()} at step {step + 1} of {settings.steps}")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), settings.clip)
        optimizer.step()
        on_step("training the autoencoder", step + 1, settings.steps)
    return net.scale_to(images[:1000]).eval().requires_grad_(False)


def untrained(latent: Latent, dataset: Dataset) -> Autoencoder:
    """An autoencoder for images (N, C, H, W) as `train_autoencoder` builds it: its latents have their shape already.

    Raises:
        PieceError: the sizes do not fit the images.
    """
    return Autoencoder(tuple(dataset.train.shape[1:]), **latent.sizes).requires_grad_(False)


def first_rows(dataset: Dataset, count: int = 8) -> Dataset:
    """A few of a dataset, enough to try the pieces of a run."""
    fields = ("train", "test", "train_labels", "test_labels")
    found = {name: getattr(dataset, name) for name in fields}
    return replace(dataset, **{name: None if rows is None else rows[:count] for name, rows in found.items()})


def in_latent_space(chapter: Any, dataset: Dataset, net: Autoencoder) -> tuple[Any, Dataset]:
    """The chapter, whose `decode` is now the decoder, and the dataset of latents, with the images in info["images"]."""
    latents = replace(
        dataset,
        train=net.encode(dataset.train),
        test=net.encode(dataset.test),
        info={**dataset.info, "images": dataset, "autoencoder": net},
    )
    return replace(chapter, decode=net.decode), latents


def weights_of(dataset: Dataset) -> dict[str, Tensor]:
    """What a checkpoint keeps of the autoencoder; nothing where the data are not latents."""
    net = dataset.info.get("autoencoder")
    return {} if net is None else {PREFIX + name: value for name, value in net.state_dict().items()}


def autoencoder_from(latent: Latent, dataset: Dataset, tensors: dict[str, Tensor], path: Any) -> Autoencoder:
    """The autoencoder of a checkpoint, whose tensors are taken out of `tensors`.

    Raises:
        CheckpointError: they are not there, or do not fit images of this shape.
    """
    own = {name: tensors.pop(name) for name in sorted(tensors) if name.startswith(PREFIX)}
    try:
        net = untrained(latent, dataset)
        net.load_state_dict({name.removeprefix(PREFIX): value for name, value in own.items()})
    except (PieceError, RuntimeError) as fault:
        shape = tuple(dataset.train.shape[1:])
        raise CheckpointError(
            f"{path} has no autoencoder for images of shape {shape}, as {dataset.name} are"
        ) from fault
    return net.eval()


def images_of(dataset: Dataset) -> Dataset:
    """The images that a dataset of latents was made of; the dataset itself where it has no latents."""
    return dataset.info.get("images", dataset)
