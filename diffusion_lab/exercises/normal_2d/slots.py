"""How the pieces of chapter 2 take their places in its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffusion_lab import schedules, targets
from diffusion_lab.exercises.normal_1d.slots import alpha_bar_of, discrete_loss
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context
from diffusion_lab.targets import Target


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """Schedule, target, loss and step of `run_chapter`, made of these functions."""

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context: Context) -> Tensor:
        # Without noise eta is 0; a piece that adds it all the same is handed real noise and shows it.
        return own["ddim_step"](x, alpha_bar_of(now), alpha_bar_of(after), prediction.eps, 0.0, context.noise(x))

    return {
        "schedule": schedules.from_alpha_bar(own["cosine_alpha_bar"](1000, 0.008, 0.999), "own"),
        "target": Converted("v", targets.v.row, convert=own["convert"]),
        "loss": discrete_loss(own["v_loss"]),
        "step": step,
    }


@dataclass(frozen=True)
class Converted(Target):
    """A target whose output is turned into x0 and eps by a function of the learner's."""

    convert: Callable[[Tensor, Tensor, Tensor, str, str], Tensor] | None = None

    def solve(self, output: Tensor, x: Tensor, level: Level) -> Prediction:
        """The (x0, eps) that agree with both the network's output and x."""
        kept = level.alpha_bar.flatten().expand(len(x))
        return Prediction(*(self.convert(output, x, kept, self.name, kind).to(x.dtype) for kind in ("x0", "eps")))
