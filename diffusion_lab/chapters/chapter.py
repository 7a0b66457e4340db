"""What a chapter is: a record of the pieces that fit its data, and of how its result is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from diffusion_lab.chapters.latent import Latent
from diffusion_lab.chapters.own import TakesOwn
from diffusion_lab.data import Dataset
from diffusion_lab.denoisers import EVERYWHERE
from diffusion_lab.discrete import DiscreteProcess
from diffusion_lab.losses import Loss, prediction_loss
from diffusion_lab.metrics import Score
from diffusion_lab.samplers import Step
from diffusion_lab.schedules import Schedule
from diffusion_lab.targets import Target
from diffusion_lab.train import Settings

Run = Any
"""A `diffusion_lab.chapters.experiment.Experiment`. A record does not know what is done with it."""


def plain_loss(target: Target, schedule: Schedule, dataset: Dataset) -> Loss:
    """The mean-square error of the target, every time counting the same."""
    return prediction_loss(target)


@dataclass(frozen=True)
class Budget:
    """How much work a run does."""

    training: Settings
    samples: int
    """How many samples are drawn and scored."""
    sample_steps: int
    judge_epochs: int = 0
    """How long the classifier that judges images is trained."""
    autoencoder: Settings | None = None
    """How long the autoencoder is trained, in a chapter of latent diffusion."""
    network: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `build_network` that replace the chapter's: more time affords a larger network."""
    guidance: float | None = None
    """The guidance scale, where it is not the chapter's: a network that has learned less needs more."""


@dataclass(frozen=True)
class Chapter:
    """One chapter: data, pieces, budgets and judgement. A run may replace any piece by another."""

    number: int
    name: str
    title: str
    method: str
    """The chapter's schedule, target and sampler, in a few words."""
    load: Callable[[str, Path | None, int], Dataset]
    """(source, data root, seed) -> dataset."""
    schedule: Callable[[Dataset], Schedule]
    step: Callable[[Dataset], Step]
    network: Mapping[str, Any]
    """Arguments of `build_network` besides the shape and the classes."""
    budgets: Mapping[str, Budget]
    evaluate: Callable[[Run], list[Score]]
    """Scores of `experiment.samples`, the most telling one first."""
    target: Target | None = None
    """None where the network predicts tokens."""
    loss: Callable[[Target, Schedule, Dataset], Loss] = plain_loss
    exact: Callable[[Dataset], Any] | None = None
    """dataset -> an object of `diffusion_lab.exact` that knows the true distribution."""
    require: Callable[[Dataset], None] | None = None
    """dataset -> None; raises a LabError, before any training, where the result could not be scored."""
    own: TakesOwn | None = None
    """What it does with data of the user's own, where it takes any."""
    floor: Callable[[Run], float] | None = None
    """The lowest mean training loss that any network can reach, where it is known."""
    process: DiscreteProcess | None = None
    """The discrete process, where the network predicts tokens."""
    labelled: bool = False
    guidance: float = 1.0
    guidance_interval: tuple[float, float] = EVERYWHERE
    """The first and the last time at which samples are guided."""
    drop_labels: float = 0.0
    self_condition: bool = False
    polish: Callable[[Dataset], Callable[[Tensor], Tensor]] | None = None
    """A change of the estimated x0 while sampling, such as clipping."""
    precision: str = "float32"
    decode: Callable[[Tensor], Tensor] | None = None
    """From the network's data to what is scored and drawn, where they differ."""
    latent: Latent | None = None
    """The autoencoder whose latents are learned in place of the data, where there is one. It gives `decode`."""
    kind: str | None = None
    """The kind of the decoded data, where it is not the dataset's."""
    denoise_log_snr: tuple[float, ...] = (4.0, 1.0, -2.0)
    denoise_score: Callable[..., tuple[str, float]] | None = None
    """(experiment, clean, estimate, noisy, mask) -> name and number for the denoising figure; else the MSE."""
    restored: Callable[[Run], Any] | None = None
    """run -> a figure of what else the network restores than noisy data, such as ground under clouds."""
    variants: Mapping[str, Chapter] = field(default_factory=dict)
    """The same data by another method, by name."""
