"""How the pieces of chapter 5 take their places in its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lab import chapters, schedules, targets
from diffusion_lab.exercises.normal_1d.slots import averaging, ddim_slot, discrete_loss
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.networks import TimeEmbedding, build_network
from diffusion_lab.schedules import Schedule
from diffusion_lab.targets import Target

STEPS = 1000
SHAPE = (1, 28, 28)
CLASSES = 10


def slots(own: Mapping[str, Callable]) -> dict[str, Any]:
    """All slots of `run_chapter` but `polish`, made of these functions."""

    def spacing(n: int, schedule: Schedule) -> Tensor:
        # Step t of the table is reached at time (t + 1) / T.
        return (own["strided_times"](STEPS, n).double() + 1) / STEPS

    def loss(model: Callable, x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
        # The run has drawn the times: uniforms in the middle of each row's share give one row after the other.
        return own["simple_loss"](model, (x0 + 1) / 2, (t + 0.5) / len(t), noise, alpha_bar)

    table = own["cosine_alpha_bar"](STEPS, 0.008, 0.999)
    return {
        "schedule": replace(schedules.from_alpha_bar(table, "own"), spacing=spacing),
        "target": Extracted("v", targets.v.row, extract=own["extract"]),
        "loss": discrete_loss(loss),
        "step": ddim_slot(own["ddim_step"]),
        "network": network(own["timestep_embedding"]),
        "guide": own["guided_eps"],
        "drop_labels": own["drop_labels"],
        "average": averaging(own["ema_update"]),
    }


@dataclass(frozen=True)
class Extracted(Target):
    """v, solved for x0 and eps with factors that a function of the learner's finds for each sample."""

    extract: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None

    def solve(self, output: Tensor, x: Tensor, level: Level) -> Prediction:
        """The (x0, eps) that agree with both the network's output and x."""
        rows = torch.arange(len(x), device=x.device)
        alpha, sigma = (self.extract(f.flatten().expand(len(x)), rows, x) for f in (level.alpha, level.sigma))
        return Prediction(alpha * x - sigma * output, sigma * x + alpha * output)


class OwnTimeEmbedding(TimeEmbedding):
    """The package's embedding of time and class, with waves of the learner's; weights and their names are the same."""

    def __init__(self, waves: Callable[[Tensor, int, float], Tensor], like: TimeEmbedding):
        super().__init__(like.time[-1].out_features, like.classes, like.frequencies, like.scale)
        self.waves = waves
        self.load_state_dict(like.state_dict())

    def forward(self, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """t (B,) in [0, 1] and labels (B,) to (B, dim)."""
        waves = self.waves(self.scale * t, self.frequencies, 10_000.0)
        if labels is None:
            labels = torch.full(t.shape, self.classes, dtype=torch.int64, device=t.device)
        self._check(labels, t)
        return nn.functional.silu(self.time(waves.to(self.time[0].weight.dtype)) + self.label(labels))


def network(waves: Callable[[Tensor, int, float], Tensor]) -> nn.Module:
    """The chapter's network as a run with seed 0 has it, with this function in its embedding of time."""
    built = build_network(SHAPE, classes=CLASSES, seed=0, **chapters.get("mnist").network)
    with torch.random.fork_rng(devices=[]):
        built.embedding = OwnTimeEmbedding(waves, built.embedding)
    return built
