"""The pieces of a run: defaults replaced by the caller's own, each one tried before any training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lab import losses, samplers, schedules, targets, train
from diffusion_lab.chapters.chapter import Chapter
from diffusion_lab.chapters.slots import SLOTS, WEIGHTS, call, requirement, shape_of, unfit
from diffusion_lab.data import Dataset
from diffusion_lab.denoisers import Guide
from diffusion_lab.errors import PieceError
from diffusion_lab.samplers import Step
from diffusion_lab.schedules import Schedule
from diffusion_lab.targets import Target

MOST_LEFT = 0.01
"""A schedule that leaves more of the data at its end is refused. 1,000 linear betas leave 0.00004, 200 leave 0.13."""


@dataclass(frozen=True)
class Pieces:
    """What a run is made of. `own` names the slots that the caller filled, with what."""

    schedule: Schedule
    target: Target | None
    loss: Callable[..., Tensor]
    step: Step
    network: nn.Module
    own: dict[str, str]
    polish: Callable[[Tensor], Tensor] | None = None
    """A change of the estimated x0 while sampling; None leaves it."""
    guide: Guide | None = None
    """How guided eps are made of two guesses; None is the rule of `denoisers.guided`."""
    drop_labels: Callable[[Tensor, float, int, Tensor], Tensor] = train.drop_labels
    average: Callable[[nn.Module, nn.Module, float], None] = train.ema_update


def refuse_unknown(given: dict[str, Any]) -> None:
    """Raise a PieceError for a slot that does not exist."""
    for name in given:
        if name not in SLOTS:
            raise PieceError(f"there is no slot {name!r}; the slots are {', '.join(SLOTS)}")


def assemble(chapter: Chapter, dataset: Dataset, network: nn.Module, given: dict[str, Any]) -> Pieces:
    """Put the caller's pieces in place of the chapter's; schedule and target are tried alone, the rest by `Trial`.

    Args:
        network: the chapter's own, used where the caller gives none.
        given: slot -> piece.

    Raises:
        PieceError: for a piece of the wrong kind or one whose output does not fit; the message names the slot, what
            came and what it must satisfy.
    """
    refuse_unknown(given)
    for slot, why in _useless(chapter).items():
        if slot in given:
            raise PieceError(
                f"slot '{slot}' has no use in chapter '{chapter.name}': {why}. "
                f"Its variants are {', '.join(chapter.variants) or '(none)'}."
            )
    schedule = _schedule(given["schedule"]) if "schedule" in given else chapter.schedule(dataset)
    target = _target(given["target"]) if "target" in given else chapter.target
    step = _named("step", given["step"], samplers.STEPS) if "step" in given else chapter.step(dataset)
    network = given.get("network", network)
    if isinstance(given.get("loss"), str):
        if target is None:
            raise PieceError("slot 'loss' of a chapter of tokens takes a function, not the name of a weight")
        loss = losses.prediction_loss(target, _named("loss", given["loss"], WEIGHTS))
    else:
        loss = given.get("loss") or chapter.loss(target, schedule, dataset)
    own = {slot: piece if isinstance(piece, str) else _name_of(piece) for slot, piece in given.items()}
    others = {slot: _function(slot, given[slot]) for slot in ("guide", "drop_labels", "average") if slot in given}
    if "polish" in given:
        others["polish"] = _function("polish", given["polish"])
    elif chapter.polish is not None:
        others["polish"] = chapter.polish(dataset)
    pieces = Pieces(schedule, target, loss, step, network, own, **others)
    _try_schedule(schedule)
    if target is not None:
        _try_target(target, schedule)
    return pieces


def _useless(chapter: Chapter) -> dict[str, str]:
    """The slots whose piece would never be called in this chapter, and why."""
    found = {}
    if chapter.process is not None:
        found["target"] = "its network predicts tokens"
        found["polish"] = "its network predicts tokens, and there is no estimated x0"
    if not chapter.labelled:
        found["guide"] = "its data have no labels"
    if not chapter.labelled or chapter.drop_labels == 0.0:
        found["drop_labels"] = "it drops no labels" if chapter.labelled else "its data have no labels"
    return found


def _function(slot: str, piece: Any) -> Callable:
    if not callable(piece):
        raise unfit(slot, f"got {type(piece).__name__}")
    return piece


def _name_of(piece: Any) -> str:
    return getattr(piece, "name", None) or getattr(piece, "__qualname__", None) or type(piece).__name__


def _named(slot: str, piece: Any, names: dict[str, Callable[[], Any]]) -> Any:
    if isinstance(piece, str):
        if piece not in names:
            raise PieceError(f"slot '{slot}': there is no {piece!r}. It must be {requirement(slot)}.")
        return names[piece]()
    if not callable(piece):
        raise unfit(slot, f"got {type(piece).__name__}")
    return piece


def _schedule(piece: Any) -> Schedule:
    if isinstance(piece, Schedule):
        return piece
    if isinstance(piece, Tensor):
        return schedules.from_alpha_bar(piece, "own alpha_bar")
    piece = _named("schedule", piece, schedules.SCHEDULES)
    if isinstance(piece, Schedule):
        return piece

    def path(t: Tensor) -> tuple[Tensor, Tensor]:
        return call("schedule", piece, t)

    _check_path(path)
    # The ends of any path can hold no data or no noise; both make some target unstable.
    return Schedule(_name_of(piece), path).limit_log_snr(-10.0, 12.0)


def _target(piece: Any) -> Target:
    if isinstance(piece, Target):
        return piece
    piece = _named("target", piece, {name: (lambda row=row: row) for name, row in targets.TARGETS.items()})
    return piece if isinstance(piece, Target) else Target(_name_of(piece), piece)


def _check_path(path: schedules.Path) -> None:
    t = torch.linspace(0, 1, 33, dtype=torch.float64)
    out = path(t)
    if not (
        isinstance(out, tuple) and len(out) == 2 and all(isinstance(f, Tensor) and f.shape == t.shape for f in out)
    ):
        raise unfit("schedule", f"for t of shape (33,) it returned {shape_of(out)}, not (alpha, sigma) of that shape")
    alpha, sigma = out
    if not all(bool(f.isfinite().all() and (f >= 0).all()) for f in out):
        raise unfit("schedule", "alpha and sigma must be finite and not negative")
    if abs(float(alpha[0]) - 1) > 1e-3 or float(sigma[0]) > 0.02:
        raise unfit("schedule", f"t = 0 is data, alpha = 1 and sigma = 0; it gave {alpha[0]:.3g} and {sigma[0]:.3g}")
    ratio = alpha / sigma.clamp(min=1e-30)
    if not bool((ratio.diff() < 0).all()):
        where = float(t[:-1][ratio.diff() >= 0][0])
        raise unfit(
            "schedule", f"alpha / sigma must fall as t grows from data to noise; it does not near t = {where:.2f}"
        )


def _try_schedule(schedule: Schedule) -> None:
    level = schedule.at(torch.linspace(schedule.t_min, schedule.t_max, 33, dtype=torch.float64))
    if not all(bool(field.isfinite().all()) for field in level[:3]):
        raise unfit("schedule", f"'{schedule.name}' is not finite between t_min and t_max")
    left = schedule.left_at_end()
    if left > MOST_LEFT:
        raise PieceError(
            f"slot 'schedule': '{schedule.name}' ends too early: at its noisiest level {left:.2g} of the variance is "
            f"still data (the last alpha_bar, on a path that preserves variance), and samples start from noise alone. "
            f"At most {MOST_LEFT:g} is accepted: take more steps or larger betas, a larger sigma_max, or "
            "`rescale_zero_terminal_snr`."
        )


def _try_target(target: Target, schedule: Schedule) -> None:
    level = schedule.at(torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64))
    row = call("target", target.row, level)
    if not (isinstance(row, tuple) and len(row) == 2 and all(torch.as_tensor(f).shape in ((), (2,)) for f in row)):
        raise unfit("target", f"for two levels it returned {shape_of(row)}, not (c, d) shaped like level.alpha")
    targets.require_stable(target, schedule)
