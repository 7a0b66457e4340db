"""Pictures of the user's own, in the size and the colours of a chapter."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.images import load_image_folder, span
from diffusion_lab.data.own_data import OwnData

GREY = (0.299, 0.587, 0.114)
"""How bright red, green and blue are (ITU-R BT.601, as Pillow has it)."""


def load_own_images(own: OwnData, size: int, grey: bool) -> Dataset:
    """A folder or archive of images as (N, 3, H, W), or (N, 1, H, W) for `grey`, in [-1, 1].

    H = W = `own.size`, or else `size`. `load_image_folder` says which folders are classes and what is held out.

    Raises:
        DataError: see `load_image_folder`.
    """
    side = own.size or size
    dataset = load_image_folder(own.path, side)
    count = len(dataset.train) + len(dataset.test)
    sizes = dataset.info["sizes"]
    how = "they are taken as they are"
    if sizes != ((side, side), (side, side)):
        how = f"the middle square of each is resized to {side} x {side}"
    notes = [f"{count:,} images of {span(sizes)} pixels: {how}"]
    train, test = dataset.train, dataset.test
    if grey:
        if any(bool((x != x[:, :1]).any()) for x in (train, test)):
            notes.append("this chapter draws in grey, so colours are turned into shades of grey")
        train, test = _brightness(train), _brightness(test)
    return replace(
        dataset,
        name=f"{own.name} ({len(train):,} to train on)",
        source="own",
        train=train,
        test=test,
        notes=(*notes, *dataset.notes),
    )


def _brightness(images: Tensor) -> Tensor:
    """(N, 3, H, W) to (N, 1, H, W); grey stays the grey it was."""
    mixed = torch.einsum("nchw,c->nhw", images, torch.tensor(GREY))[:, None]
    return torch.where((images == images[:, :1]).all(dim=1, keepdim=True), images[:, :1], mixed)
