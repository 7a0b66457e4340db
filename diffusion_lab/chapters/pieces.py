"""The pieces of a run: defaults replaced by the caller's own, each one tried before any training."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lab import losses, samplers, schedules, targets
from diffusion_lab.chapters.chapter import Chapter
from diffusion_lab.data import Dataset
from diffusion_lab.errors import LabError, PieceError
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context, Step
from diffusion_lab.schedules import Schedule
from diffusion_lab.targets import Target

SLOTS = {
    "schedule": (
        "a Schedule, one of the names {schedules}, a tensor of alpha_bar of shape (T,), "
        "or a function t -> (alpha, sigma) on [0, 1]"
    ),
    "target": "a Target, one of the names {targets}, or a function level -> (c, d), for y = c x0 + d eps",
    "loss": "a function (network, x0, eps, level, cond) -> (B,), or one of the weights {weights}",
    "step": "a function (x, now, after, prediction, context) -> x, or one of the names {steps}",
    "network": "a torch.nn.Module called as network(x, t, **cond), with an output shaped like x (logits for tokens)",
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
    )


@dataclass(frozen=True)
class Pieces:
    """What a run is made of. `own` names the slots that the caller filled, with what."""

    schedule: Schedule
    target: Target | None
    loss: Callable[..., Tensor]
    step: Step
    network: nn.Module
    own: dict[str, str]


def refuse_unknown(given: dict[str, Any]) -> None:
    """Raise a PieceError for a slot that does not exist."""
    for name in given:
        if name not in SLOTS:
            raise PieceError(f"there is no slot {name!r}; the slots are {', '.join(SLOTS)}")


def assemble(chapter: Chapter, dataset: Dataset, network: nn.Module, given: dict[str, Any]) -> Pieces:
    """Put the caller's pieces in place of the chapter's, and try each on a little data.

    Args:
        network: the chapter's own, used where the caller gives none.
        given: slot -> piece.

    Raises:
        PieceError: for a piece of the wrong kind or one whose output does not fit; the message names the slot, what
            came and what it must satisfy.
    """
    refuse_unknown(given)
    if chapter.process is not None and "target" in given:
        raise PieceError(
            f"slot 'target' has no use in chapter '{chapter.name}': its network predicts tokens. "
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
    pieces = Pieces(schedule, target, loss, step, network, own)
    _try_schedule(schedule)
    if target is not None:
        _try_target(target, schedule)
    _Trial(chapter, dataset, pieces).run()
    return pieces


def _name_of(piece: Any) -> str:
    return getattr(piece, "name", None) or getattr(piece, "__qualname__", None) or type(piece).__name__


def _named(slot: str, piece: Any, names: dict[str, Callable[[], Any]]) -> Any:
    if isinstance(piece, str):
        if piece not in names:
            raise PieceError(f"slot '{slot}': there is no {piece!r}. It must be {requirement(slot)}.")
        return names[piece]()
    if not callable(piece):
        raise _unfit(slot, f"got {type(piece).__name__}")
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
        return _call("schedule", piece, t)

    _check_path(path)
    # The ends of any path can hold no data or no noise; both make some target unstable.
    return Schedule(_name_of(piece), path).limit_log_snr(-10.0, 12.0)


def _target(piece: Any) -> Target:
    if isinstance(piece, Target):
        return piece
    piece = _named("target", piece, {name: (lambda row=row: row) for name, row in targets.TARGETS.items()})
    return piece if isinstance(piece, Target) else Target(_name_of(piece), piece)


def _unfit(slot: str, fault: str) -> PieceError:
    return PieceError(f"slot '{slot}': {fault}. It must be {requirement(slot)}.")


def _call(slot: str, piece: Callable, *arguments: Any) -> Any:
    """Call the user's piece; whatever goes wrong inside is told with the slot and the line of their code."""
    try:
        return piece(*arguments)
    except LabError:
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename}:{where.lineno} in {where.name}"
        raise _unfit(slot, f"it raised {type(error).__name__}: {error} ({place})") from error


def _check_path(path: schedules.Path) -> None:
    t = torch.linspace(0, 1, 33, dtype=torch.float64)
    out = path(t)
    if not (
        isinstance(out, tuple) and len(out) == 2 and all(isinstance(f, Tensor) and f.shape == t.shape for f in out)
    ):
        raise _unfit("schedule", f"for t of shape (33,) it returned {_shape_of(out)}, not (alpha, sigma) of that shape")
    alpha, sigma = out
    if not all(bool(f.isfinite().all() and (f >= 0).all()) for f in out):
        raise _unfit("schedule", "alpha and sigma must be finite and not negative")
    if abs(float(alpha[0]) - 1) > 1e-3 or float(sigma[0]) > 0.02:
        raise _unfit("schedule", f"t = 0 is data, alpha = 1 and sigma = 0; it gave {alpha[0]:.3g} and {sigma[0]:.3g}")
    ratio = alpha / sigma.clamp(min=1e-30)
    if not bool((ratio.diff() < 0).all()):
        where = float(t[:-1][ratio.diff() >= 0][0])
        raise _unfit(
            "schedule", f"alpha / sigma must fall as t grows from data to noise; it does not near t = {where:.2f}"
        )


def _try_schedule(schedule: Schedule) -> None:
    level = schedule.at(torch.linspace(schedule.t_min, schedule.t_max, 33, dtype=torch.float64))
    if not all(bool(field.isfinite().all()) for field in level[:3]):
        raise _unfit("schedule", f"'{schedule.name}' is not finite between t_min and t_max")


def _try_target(target: Target, schedule: Schedule) -> None:
    level = schedule.at(torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64))
    row = _call("target", target.row, level)
    if not (isinstance(row, tuple) and len(row) == 2 and all(torch.as_tensor(f).shape in ((), (2,)) for f in row)):
        raise _unfit("target", f"for two levels it returned {_shape_of(row)}, not (c, d) shaped like level.alpha")
    targets.require_stable(target, schedule)


class _Trial:
    """One small batch through network, loss and step, with every shape checked."""

    COUNT = 3

    def __init__(self, chapter: Chapter, dataset: Dataset, pieces: Pieces):
        self.chapter, self.dataset, self.pieces = chapter, dataset, pieces
        self.x0 = dataset.train[: self.COUNT]
        generator = torch.Generator().manual_seed(0)
        draw = torch.randn if self.x0.is_floating_point() else torch.rand
        self.noise = draw(self.x0.shape, generator=generator)
        times = torch.linspace(pieces.schedule.t_min, pieces.schedule.t_max, self.COUNT, dtype=torch.float64)
        self.level = pieces.schedule.at(times, like=self.noise)
        self.cond: dict[str, Tensor] = {}
        if chapter.labelled:
            self.cond["labels"] = dataset.train_labels[: self.COUNT]
        if "train_mask" in dataset.info:
            self.cond["mask"] = dataset.info["train_mask"][: self.COUNT]
        if chapter.self_condition:
            self.cond["last"] = torch.zeros_like(self.x0)

    def run(self) -> None:
        self._network()
        self._loss()
        self._step()

    def _noisy(self) -> Tensor:
        if self.chapter.process is not None:
            return self.chapter.process.noisy(self.x0, self.level, self.noise)
        return self.level.noisy(self.x0, self.noise)

    def _network(self) -> None:
        network = self.pieces.network
        if not isinstance(network, nn.Module):
            raise _unfit("network", f"got {type(network).__name__}")
        if not any(p.requires_grad for p in network.parameters()):
            raise _unfit("network", f"{type(network).__name__} has no parameters to train")
        x = self._noisy()
        process = self.chapter.process
        wanted = x.shape if process is None else (*x.shape, process.categories)
        with torch.no_grad():
            time = self.level.t.flatten().float()
            output = _call("network", lambda *inputs: network(*inputs, **self.cond), x, time)
        if not isinstance(output, Tensor) or output.shape != wanted:
            raise _unfit("network", f"for x {tuple(x.shape)} it returned {_shape_of(output)}, not {tuple(wanted)}")

    def _loss(self) -> None:
        values = _call("loss", self.pieces.loss, self.pieces.network, self.x0, self.noise, self.level, self.cond)
        if not isinstance(values, Tensor) or values.shape != (self.COUNT,):
            raise _unfit("loss", f"for {self.COUNT} samples it returned {_shape_of(values)}, not ({self.COUNT},)")
        if not values.requires_grad:
            raise _unfit("loss", "its value does not depend on the network's weights through autograd")
        if not bool(values.isfinite().all()):
            raise _unfit(
                "loss", f"it is not finite: {values.detach().tolist()} at t = {self.level.t.flatten().tolist()}"
            )

    def _step(self) -> None:
        schedule, x = self.pieces.schedule, self._noisy()
        grid = schedule.times(2)
        like = self.noise
        now, middle, end = (Level(*(f.to(like.dtype) for f in schedule.at(t))) for t in grid)
        if self.chapter.process is not None:
            prediction: Any = torch.full(
                (*x.shape, self.chapter.process.categories), 1 / self.chapter.process.categories
            )
        else:
            prediction = Prediction(self.x0, self.noise)
        for before, after in ((now, middle), (middle, end)):
            context = Context(lambda *_: prediction, torch.Generator().manual_seed(0))
            given = x.clone()
            out = _call("step", self.pieces.step, given, before, after, prediction, context)
            if not isinstance(out, Tensor) or out.shape != x.shape or out.dtype != x.dtype:
                raise _unfit("step", f"for x {tuple(x.shape)} {x.dtype} it returned {_shape_of(out)}")
            if not bool(out.isfinite().all()):
                raise _unfit("step", f"it is not finite from t = {float(before.t):.3g} to t = {float(after.t):.3g}")
            if not torch.equal(given, x):
                raise _unfit("step", "it changed its input x in place")


def _shape_of(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} {value.dtype}"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__} of {', '.join(_shape_of(v) for v in value) or 'nothing'}"
    return type(value).__name__
