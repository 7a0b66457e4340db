"""A chapter on data of the user's own: what it takes, and what changes in its record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion_lab.data import Dataset
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.errors import CheckpointError, DataError
from diffusion_lab.metrics import Score

if TYPE_CHECKING:
    from diffusion_lab.chapters.chapter import Chapter


def nothing_changes(chapter: Chapter, dataset: Dataset) -> dict[str, Any]:
    """The chapter as it is."""
    return {}


@dataclass(frozen=True)
class TakesOwn:
    """What a chapter does with data of the user's own."""

    kind: str
    """Of `OwnData`."""
    load: Callable[[OwnData], Dataset]
    require: Callable[[Dataset], None]
    """dataset -> None; raises a DataError that says why data cannot be scored. They are trained on all the same."""
    changes: Callable[[Chapter, Dataset], dict[str, Any]] = field(default=nothing_changes)
    """(chapter, dataset) -> fields of the chapter's record that are others for these data."""


def with_own_data(chapter: Chapter, own: OwnData, *, scored: bool = True) -> tuple[Chapter, Dataset]:
    """The chapter's record for data of the user's own, and the data.

    There is no threshold for data that nobody has seen: scores stand beside their floors and are not judged. Where the
    data are too few to be scored, there are none, and the first of the data's notes says why; `scored` is False for a
    checkpoint, which is not scored anyway.

    Raises:
        DataError: this chapter takes no such data, or they cannot be read.
    """
    takes = chapter.own
    if takes is None or takes.kind != own.kind:
        raise DataError(f"chapter '{chapter.name}' takes no {own.kind} of your own; {_others(chapter)}")
    dataset = takes.load(own)
    if not chapter.labelled or len(dataset.classes) < 2:
        budgets = {name: replace(budget, guidance=None) for name, budget in chapter.budgets.items()}
        chapter = replace(chapter, labelled=False, drop_labels=0.0, guidance=1.0, budgets=budgets)
    # The chapter's title may be the name of a public data set.
    chapter = replace(chapter, title=f"{own.kind.capitalize()} of your own", require=None, floor=None)
    chapter = replace(chapter, **takes.changes(chapter, dataset))
    if not scored:
        return chapter, dataset
    try:
        takes.require(dataset)
    except DataError as fault:
        note = f"no scores, but trained and sampled all the same: {fault}"
        return replace(chapter, evaluate=_no_scores), replace(dataset, notes=(note, *dataset.notes))
    scores = chapter.evaluate
    unjudged = replace(chapter, evaluate=lambda run: [replace(score, threshold=None) for score in scores(run)])
    return unjudged, dataset


def settings_of_own(own: OwnData, dataset: Dataset) -> dict[str, Any]:
    """What a checkpoint keeps of the data: where they lie, how they were read, and by what to know them again."""
    return {**own.as_settings(), "content": content_of(dataset)}


def found_again(settings: dict[str, Any], elsewhere: OwnData | None, path: Path) -> OwnData:
    """The data that a checkpoint was trained on, read as they were then.

    Args:
        settings: from `settings_of_own`.
        elsewhere: where they lie now; None for the same place.
        path: of the checkpoint, for messages.

    Raises:
        CheckpointError: they are not there any more, or others of another kind are given.
    """
    settings = {key: value for key, value in settings.items() if key != "content"}
    if elsewhere is not None:
        if elsewhere.kind != settings["kind"]:
            raise CheckpointError(f"{path} was trained on {settings['kind']}, and not on {elsewhere.kind}")
        settings["path"] = elsewhere.path
    try:
        return OwnData(**settings)
    except DataError as fault:
        raise CheckpointError(
            f"{path} was trained on {settings['kind']} of your own, which are needed again: {fault}; say where they "
            f"are now with --{settings['kind']}"
        ) from fault


def content_of(dataset: Dataset) -> str:
    """A hash of the training data."""
    return hashlib.sha256(dataset.train.contiguous().numpy().tobytes()).hexdigest()[:16]


def _no_scores(run: Any) -> list[Score]:
    return []


def _others(chapter: Chapter) -> str:
    from diffusion_lab.chapters.catalogue import BEYOND, NAMES, get

    if chapter.own is not None:
        return f"it takes {chapter.own.kind} (--{chapter.own.kind})"
    if get(chapter.name).own is not None:
        return "its own method does, and this variant does not"
    taking = [(name, get(name).own.kind) for name in (*NAMES, *BEYOND) if get(name).own is not None]
    return "those that take some: " + ", ".join(f"{name} (--{kind})" for name, kind in taking)
