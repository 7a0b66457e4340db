"""A checkpoint, made into a run again: one that a run has left, or one of those that ship with the package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from diffusion_lab.chapters.architectures import with_network
from diffusion_lab.chapters.catalogue import get
from diffusion_lab.chapters.chapter import Chapter
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.latent import autoencoder_from, in_latent_space
from diffusion_lab.chapters.own import content_of, found_again, with_own_data
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.run import budget_of, judges, network_for
from diffusion_lab.checkpoints import load_tensors, load_weights
from diffusion_lab.data import Dataset
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.denoisers import EVERYWHERE
from diffusion_lab.devices import make_accelerator
from diffusion_lab.errors import CheckpointError, LabError, PieceError
from diffusion_lab.times import SPACINGS, Spacing

REPLACEABLE = {"step", "polish", "guide", "drop_labels", "average"}
"""Slots whose own pieces a checkpoint can do without: the weights mean the same with the chapter's."""
SHIPPED = Path(__file__).parents[1] / "shipped"
"""The folder of the networks that ship with the package, each with a model card beside it."""


def shipped(name: str | int) -> Path:
    """Where the shipped network of a chapter lies; its model card is beside it, a `.md` of the same name.

    Raises:
        PieceError: for a chapter that there is not.
        CheckpointError: where no network ships for the chapter.
    """
    chapter = get(name)
    path = SHIPPED / f"{chapter.number:02}_{chapter.name}.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"no network ships for chapter '{chapter.name}'; `diffusion-lab run {chapter.name}` trains one"
        )
    return path


def open_checkpoint(
    path: str | Path | None = None,
    *,
    name: str | int = "",
    data_root: str | Path | None = None,
    source: str = "",
    device: str = "auto",
    seed: int = 0,
    guidance: float | None = None,
    guidance_interval: tuple[float, float] | None = None,
    spacing: str | Spacing = "",
    own: OwnData | None = None,
    **pieces: Any,
) -> Experiment:
    """The experiment that a checkpoint stands for, ready to `draw` samples or to denoise.

    Without a path it is the network that ships with the package for the chapter `name`. That one opens on any machine:
    where the real data that it was trained on are not on disk, the experiment's `dataset` is the bundled stand-in,
    under its own name, and `trained_on` says what the network has seen. A checkpoint of `diffusion-lab distill` draws
    in the few even steps of DDIM that it was taught, with the teacher's guidance inside, and in no others.

    Args:
        path: a `checkpoint.safetensors` written by a run; None for a shipped network.
        name: the chapter that the checkpoint must belong to; "" accepts any that a path leads to.
        source: "real" or "bundled"; "" takes what the checkpoint was trained on.
        guidance: the guidance scale of samples; by default the chapter's, or its budget's.
        guidance_interval: the first and the last time at which they are guided, from 0 (data) to 1 (noise); by default
            the chapter's, and everywhere with a guidance scale of your own.
        spacing: where the sampler's times lie: "uniform", "log_snr", "karras", or a function of
            `diffusion_lab.times`; "" takes the schedule's own.
        own: where the data of your own are that it was trained on, if they have moved.
        pieces: as in `run_chapter`: a checkpoint of a run with own pieces needs them again. A network that was chosen
            by its name is built again without being named.

    Raises:
        CheckpointError: for an unreadable file, another chapter, missing pieces or weights that do not fit, and
            without a path where no network ships for the chapter.
        PieceError: for guidance in a chapter without labels, for an interval that ends before it begins or leaves 0 to
            1, for a spacing that there is not, and for guidance, a spacing or a step of its own with a distilled
            network.
    """
    if path is None and not name:
        raise CheckpointError('say which: `open_checkpoint("runs/spiral/checkpoint.safetensors")`, or `name="spiral"`')
    own_file = path is not None
    path = Path(path) if own_file else shipped(name)
    tensors, settings = load_tensors(path)
    try:
        chapter = get(settings["chapter"], settings["variant"])
        named = _named_network(path, settings, pieces)
        student = settings.get("distilled")
        missing = sorted(set(settings["own_pieces"]) - set(pieces) - REPLACEABLE)
        trained_on, budget, shape = settings["source"], settings["budget"], tuple(settings["shape"])
        trained_name = settings["dataset"]
    except (KeyError, LabError) as error:
        raise CheckpointError(f"{path} was not written by a chapter of this version: {error}") from error
    if own is not None and "own" not in settings:
        raise CheckpointError(f"{path} was trained on {trained_name}, not on {own.kind} of your own")
    if name and get(name).name != chapter.name:
        raise CheckpointError(f"{path} belongs to chapter '{chapter.name}', not to '{get(name).name}'")
    if missing:
        raise CheckpointError(f"{path} was trained with pieces of its own; give them again: {', '.join(missing)}")
    if "own" in settings:
        chapter, dataset = _own_data(chapter, settings["own"], own, path)
    _check_guidance(chapter, guidance, guidance_interval)
    if student is not None:
        _check_student(path, student, guidance, guidance_interval, spacing, pieces)
        guidance, spacing, pieces = 1.0, "uniform", {**pieces, "step": "ddim"}
    if guidance is not None and guidance_interval is None:
        guidance_interval = EVERYWHERE
    if chapter.process is not None and isinstance(pieces.get("step"), str):
        raise PieceError(f"the network of chapter '{chapter.name}' predicts tokens, and samplers by name need numbers")
    if "own" not in settings:
        if not source:
            anywhere = trained_on == "generated" or (trained_on == "real" and not own_file)
            source = "auto" if anywhere else trained_on
        dataset = chapter.load(source, Path(data_root) if data_root is not None else None, settings["seed"])
    if chapter.latent is not None:
        chapter, dataset = in_latent_space(chapter, dataset, autoencoder_from(chapter.latent, dataset, tensors, path))
    _check_shape(path, shape, trained_name, dataset)
    if named:
        chapter = with_network(chapter, named, shape)
    classes = tuple(settings.get("classes", dataset.classes))
    parts = assemble(chapter, dataset, network_for(chapter, shape, len(classes), settings["seed"], budget), pieces)
    if spacing:
        parts = replace(parts, schedule=replace(parts.schedule, spacing=_spacing(spacing)))
    allowance = budget_of(chapter, budget)
    if student is not None:
        allowance = replace(allowance, sample_steps=student["steps"])
    load_weights(parts.network, tensors, path)
    accelerator = make_accelerator(device, chapter.precision)
    network = parts.network.to(accelerator.device).eval().requires_grad_(False)
    return Experiment(
        chapter,
        dataset,
        parts,
        allowance,
        seed,
        accelerator,
        network,
        judges(),
        guidance=guidance,
        guidance_interval=guidance_interval,
        classes=classes,
        distilled=0 if student is None else student["steps"],
        trained_on=trained_name,
    )


def _named_network(path: Path, settings: dict[str, Any], pieces: dict[str, Any]) -> str:
    """The name that the network was chosen by, "" for the chapter's own; a name among the pieces must be the same."""
    named = settings.get("architecture", "")
    if isinstance(pieces.get("network"), str):
        asked = pieces.pop("network")
        if asked != named:
            found = f"the network {named!r}" if named else f"its chapter's own network, {settings['network']}"
            raise CheckpointError(f"{path} was trained with {found}, not with {asked!r}")
    return named


def _own_data(
    chapter: Chapter, settings: dict[str, Any], elsewhere: OwnData | None, path: Path
) -> tuple[Chapter, Dataset]:
    """The chapter's record and the data of a checkpoint on data of the user's own; a note where these have changed."""
    chapter, dataset = with_own_data(chapter, found_again(settings, elsewhere, path), scored=False)
    if content_of(dataset) != settings["content"]:
        note = f"{dataset.name} are not what they were when this network was trained on them"
        dataset = replace(dataset, notes=(note, *dataset.notes))
    return chapter, dataset


def _spacing(spacing: str | Spacing) -> Spacing:
    if callable(spacing):
        return spacing
    if spacing not in SPACINGS:
        raise PieceError(f"there is no spacing {spacing!r}; the spacings are {', '.join(SPACINGS)}")
    return SPACINGS[spacing]


def _check_guidance(chapter: Chapter, guidance: float | None, interval: tuple[float, float] | None) -> None:
    if guidance is None and interval is None:
        return
    if not chapter.labelled:
        raise PieceError(f"chapter '{chapter.name}' has no labels, so its samples cannot be guided")
    if guidance is not None and not 0 <= guidance < float("inf"):
        raise PieceError(f"the guidance scale must be a number of at least 0, got {guidance:g}")
    if interval is not None and not 0 <= interval[0] < interval[1] <= 1:
        raise PieceError(
            f"the guidance interval must be two times between 0 and 1, the smaller one first, got {interval[0]:g} and "
            f"{interval[1]:g}"
        )


def _check_student(
    path: Path,
    student: dict[str, Any],
    guidance: float | None,
    interval: tuple[float, float] | None,
    spacing: str | Spacing,
    pieces: dict[str, Any],
) -> None:
    """See that a student is asked for nothing but what it was taught."""
    if guidance not in (None, 1.0) or interval not in (None, EVERYWHERE):
        inside = student["guidance"]
        raise PieceError(f"{path} was distilled with guidance {inside:g} inside it, and takes no other one")
    for what, given in (("spacing", spacing), ("sampler", pieces.get("step"))):
        if given:
            given = given if isinstance(given, str) else getattr(given, "__name__", type(given).__name__)
            raise PieceError(
                f"{path} was distilled to {student['steps']} even steps of DDIM and takes no {what} {given!r}: leave "
                "it out"
            )


def _check_shape(path: Path, shape: tuple[int, ...], trained_name: str, dataset: Dataset) -> None:
    found = tuple(dataset.train.shape[1:])
    if found != shape:
        raise CheckpointError(
            f"{path} takes data of shape {shape}, those of {trained_name}; {dataset.name} has the shape {found}"
        )
