"""The slots of a run, what each accepts, and how a piece that does not fit is told to its author."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from diffusion_lab import losses, samplers, schedules, targets
from diffusion_lab.chapters.architectures import ARCHITECTURES
from diffusion_lab.errors import LabError, PieceError

SLOTS = {
    "schedule": (
        "a Schedule, one of the names {schedules}, a tensor of alpha_bar of shape (T,), "
        "or a function t -> (alpha, sigma) on [0, 1]"
    ),
    "target": "a Target, one of the names {targets}, or a function level -> (c, d), for y = c x0 + d eps",
    "loss": "a function (network, x0, eps, level, cond) -> (B,), or one of the weights {weights}",
    "step": "a function (x, now, after, prediction, context) -> x, or one of the names {steps}",
    "network": (
        "a torch.nn.Module called as network(x, t, **cond), with an output shaped like x (logits for tokens), "
        "or one of the names {networks}"
    ),
    "polish": "a function x0 -> x0 that keeps the shape: a change of the estimated x0 while sampling, such as clipping",
    "guide": "a function (eps_cond, eps_uncond, scale) -> eps, where scale 1 is the conditional guess",
    "drop_labels": "a function (labels, p, null, uniform) -> labels, int64 of shape (B,), null in the place of some",
    "average": "a function (average, online, decay) -> None that changes the weights of the module `average` in place",
}

WEIGHTS: dict[str, Callable[[], losses.Weight]] = {
    "uniform": lambda: losses.uniform_weight,
    "min_snr": losses.min_snr_weight,
    "edm": losses.edm_weight,
}


def requirement(slot: str) -> str:
    """What a piece for this slot must be, in words."""
    return SLOTS[slot].format(
        schedules=", ".join(schedules.SCHEDULES),
        targets=", ".join(targets.TARGETS),
        weights=", ".join(WEIGHTS),
        steps=", ".join(samplers.STEPS),
        networks=", ".join(ARCHITECTURES),
    )


def unfit(slot: str, fault: str) -> PieceError:
    """The error for a piece with this fault."""
    return PieceError(f"slot '{slot}': {fault}. It must be {requirement(slot)}.")


def call(slot: str, piece: Callable, *arguments: Any) -> Any:
    """Call the user's piece; whatever goes wrong inside is told with the slot and the line of their code."""
    try:
        return piece(*arguments)
    except LabError:
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename}:{where.lineno} in {where.name}"
        raise unfit(slot, f"it raised {type(error).__name__}: {error} ({place})") from error


def call_together(own: Mapping[str, str], work: Callable[[], Any]) -> Any:
    """Do work that uses the caller's pieces together; what goes wrong is told with their names and the line."""
    try:
        return work()
    except LabError:
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        given = ", ".join(f"{slot} {name!r}" for slot, name in own.items())
        raise PieceError(
            f"your pieces do not work together ({given}): sampling with them raised {type(error).__name__}: {error} "
            f"({where.filename}:{where.lineno} in {where.name})"
        ) from error


def shape_of(value: Any) -> str:
    """What a piece returned, in words."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} {value.dtype}"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__} of {', '.join(shape_of(v) for v in value) or 'nothing'}"
    return type(value).__name__
