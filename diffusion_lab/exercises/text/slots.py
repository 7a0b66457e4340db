"""How the pieces of chapter 9 take their places in its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffusion_lab import schedules
from diffusion_lab.data import load
from diffusion_lab.errors import LabError
from diffusion_lab.exercises.normal_1d.slots import alpha_bar_of, averaging
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context

ROUNDING, WIDTH = 0.1, 0.5
"""How much the rounding loss counts, and how wide a word is: as in the chapter's own loss."""


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, loss, step, polish and average of `run_chapter`, made of these functions."""
    vocabulary = Vocabulary()

    def loss(network: Callable[..., Tensor], x0: Tensor, eps: Tensor, level: Level, cond: dict) -> Tensor:
        words, rows = vocabulary.of(x0), torch.arange(len(x0), device=x0.device)
        alpha_bar, mask = level.alpha_bar.flatten().expand(len(x0)), cond["mask"]
        times = level.t.flatten().expand(len(x0)).float()

        def model(x: Tensor, t: Tensor, labels: Tensor | None = None, last: Tensor | None = None) -> Tensor:
            some = t.long()
            last = torch.zeros_like(x) if last is None else last
            return network(x.to(x0.dtype), times[some], mask=mask[some], last=last.to(x0.dtype))

        x_t = own["q_sample"](x0, rows, eps, alpha_bar)
        # The trainer throws the coin and makes the first estimate: `last` is that estimate, or zeros.
        estimate = own["self_conditioned_x0"](model, x_t, rows, cond["last"], None)
        ids = own["round_to_words"](x0, words)
        # The network has answered already; the rounding loss need not ask it again.
        rounding = own["rounding_loss"](lambda x, t: estimate, x_t, rows, words, ids, mask, WIDTH)
        return own["masked_x0_loss"](estimate, x0, mask) + ROUNDING * alpha_bar * rounding

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        here, there = alpha_bar_of(now), alpha_bar_of(after)
        words = vocabulary.for_width(x)
        # Distances in bfloat16 would confuse words.
        with torch.autocast(x.device.type, enabled=False):
            _, eps = own["clamp_x0"](prediction.x0.float(), x.float(), here.to(x).expand(len(x)), words)
            return own["ddim_step"](x.float(), here, there, eps, 1.0, context.noise(x)).to(x.dtype)

    return {
        "schedule": schedules.from_alpha_bar(own["sqrt_alpha_bar"](1000, 1e-4), "own"),
        "loss": loss,
        "step": step,
        "polish": as_it_is,
        "average": averaging(own["ema_update"]),
    }


def as_it_is(x0: Tensor) -> Tensor:
    """No polishing: the step itself clamps the estimate."""
    return x0


@dataclass
class Vocabulary:
    """The vectors of the words that a run is about, found among the course's data: the learner's, or those shipped."""

    table: Tensor | None = field(default=None, init=False)
    """(V, D), without the vector of padding."""

    def of(self, x0: Tensor) -> Tensor:
        """The words (V, D) that sentences x0 (B, L, D) are made of, like x0 in dtype and device."""
        if self.table is None or self.table.shape[1] != x0.shape[-1]:
            for table in _tables(x0.shape[-1]):
                rows = x0.detach().reshape(-1, x0.shape[-1]).cpu().float()
                rows = rows[rows.abs().sum(dim=1) > 0]  # padding is zero
                if not len(rows) or float(torch.cdist(rows, table).min(dim=1).values.max()) < 1e-2:
                    self.table = table
                    break
            else:
                raise LabError("these sentences are made of other words than the course's own or those on your disk")
        return self._like(x0)

    def for_width(self, x: Tensor) -> Tensor:
        """The words (V, D) for noisy sentences x (B, L, D): those of the training, else the first that have this D."""
        if self.table is None or self.table.shape[1] != x.shape[-1]:
            self.table = next(iter(_tables(x.shape[-1])), None)
        if self.table is None:
            raise LabError(f"no words with vectors of {x.shape[-1]} numbers are known")
        return self._like(x)

    def _like(self, x: Tensor) -> Tensor:
        if self.table.device != x.device or self.table.dtype != torch.float32:
            self.table = self.table.to(x.device, torch.float32)
        return self.table


def _tables(width: int) -> list[Tensor]:
    found = (load("text", source=source).info["vectors"][1:] for source in ("auto", "bundled"))
    return [table for table in found if table.shape[1] == width]
