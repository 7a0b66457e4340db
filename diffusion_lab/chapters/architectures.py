"""A chapter with another kind of network: `--network dit`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffusion_lab.chapters.chapter import Chapter
from diffusion_lab.errors import PieceError
from diffusion_lab.networks import kind_of
from diffusion_lab.train import Settings

ARCHITECTURES = ("mlp", "unet", "dit", "uvit", "mixer", "transformer", "set")
"""The networks that a run takes by name, where the shape of its data allows it."""
OF_NUMBERS = ("mlp", "unet", "dit", "uvit", "mixer")
INSTEAD = {"set": ("set", "transformer", *OF_NUMBERS), "transformer": ("transformer",)}
"""What takes the place of a chapter's kind, else `OF_NUMBERS`: words and boards are for a transformer alone."""
OF_SETS: dict[str, dict[str, Any]] = {
    "dit": {"kind": "set", "frequencies": 0},
    "uvit": {"rows": True, "patch": 1, "width": 64, "positions": False},
    "mixer": {"rows": True, "patch": 1, "width": 64},
    "unet": {"rows": True, "patch": 4, "width": 32},
}
"""How a network of `OF_NUMBERS` takes a set (N, D): the transformers with a token for each row and no positions, which
makes of a DiT a `SetTransformer`; the others, like the perceptron, in the order in which the rows happen to stand."""
WIDE_PERCEPTRON = {"width": 512}
"""A perceptron of a whole image or signal; its own default is for points of a few numbers."""


def with_network(chapter: Chapter, name: str, shape: tuple[int, ...]) -> Chapter:
    """The chapter's record with the network of this name, at its own default size and the same for every budget.

    Where that is the kind of network that the chapter has anyway, the record stays as it is.

    Args:
        name: one of `ARCHITECTURES`.
        shape: of one sample.

    Raises:
        PieceError: there is no such network, or it does not take these data; the message names those that do.
    """
    if name not in ARCHITECTURES:
        raise PieceError(f"there is no network {name!r}; the networks are {', '.join(ARCHITECTURES)}")
    own = kind_of(shape, chapter.network.get("kind", "auto"), chapter.network.get("vocabulary", 0))
    fitting = networks_of(own, shape)
    if name not in fitting:
        raise PieceError(
            f"chapter '{chapter.name}' takes no network {name!r}; its data have shape {shape}, which these networks "
            f"take: {', '.join(fitting)}"
        )
    kind = kind_of(shape, name, chapter.network.get("vocabulary", 0))
    if kind == own:
        return chapter
    network: dict[str, Any] = {"kind": kind} | (OF_SETS.get(name, {}) if own == "set" else {})
    if kind == "mlp" and len(shape) > 1:
        network |= WIDE_PERCEPTRON
    budgets = {key: replace(budget, network={}) for key, budget in chapter.budgets.items()}
    if kind == "mlp":
        budgets = {key: replace(budget, training=_with_adamw(budget.training)) for key, budget in budgets.items()}
    return replace(chapter, network=network, budgets=budgets)


def _with_adamw(training: Settings) -> Settings:
    """AdamW in the place of Muon, whose products grow with the cube of the width, however small the batch: a step of a
    wide perceptron would take thirty times as long."""
    if training.optimizer == "adamw":
        return training
    return replace(training, optimizer="adamw", learning_rate=Settings.learning_rate)


def networks_of(own: str, shape: tuple[int, ...]) -> list[str]:
    """The names in `ARCHITECTURES` of what can take the place of the kind `own` for data of one shape."""
    return list(INSTEAD.get(own) or (OF_NUMBERS if len(shape) > 1 else ("mlp",)))
