"""A checkpoint, made into a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusion_lab.chapters.catalogue import get
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.run import budget_of, build, judges
from diffusion_lab.checkpoints import load_tensors, load_weights
from diffusion_lab.devices import make_accelerator
from diffusion_lab.errors import CheckpointError, LabError

REPLACEABLE = {"step", "polish", "guide", "drop_labels", "average"}
"""Slots whose own pieces a checkpoint can do without: the weights mean the same with the chapter's."""


def open_checkpoint(
    path: str | Path,
    *,
    name: str = "",
    data_root: str | Path | None = None,
    source: str = "",
    device: str = "auto",
    seed: int = 0,
    **pieces: Any,
) -> Experiment:
    """The experiment that a checkpoint stands for, ready to `draw` samples or to denoise.

    Args:
        path: a `checkpoint.safetensors` written by a run.
        name: the chapter that the checkpoint must belong to; "" accepts any.
        source: "real" or "bundled"; "" takes what the checkpoint was trained on.
        pieces: as in `run_chapter`: a checkpoint of a run with own pieces needs them again.

    Raises:
        CheckpointError: for an unreadable file, another chapter, missing pieces or weights that do not fit.
    """
    path = Path(path)
    tensors, settings = load_tensors(path)
    try:
        chapter = get(settings["chapter"], settings["variant"])
        missing = sorted(set(settings["own_pieces"]) - set(pieces) - REPLACEABLE)
        trained_on, budget = settings["source"], settings["budget"]
    except (KeyError, LabError) as error:
        raise CheckpointError(f"{path} was not written by a chapter of this version: {error}") from error
    if name and get(name).name != chapter.name:
        raise CheckpointError(f"{path} belongs to chapter '{chapter.name}', not to '{get(name).name}'")
    if missing:
        raise CheckpointError(f"{path} was trained with pieces of its own; give them again: {', '.join(missing)}")
    source = source or ("auto" if trained_on == "generated" else trained_on)
    dataset = chapter.load(source, Path(data_root) if data_root is not None else None, settings["seed"])
    own = assemble(chapter, dataset, build(chapter, dataset, settings["seed"]), pieces)
    load_weights(own.network, tensors, path)
    accelerator = make_accelerator(device, chapter.precision)
    network = own.network.to(accelerator.device).eval().requires_grad_(False)
    return Experiment(chapter, dataset, own, budget_of(chapter, budget), seed, accelerator, network, judges())
