"""The result of a run, as data."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from diffusion_lab.files import write_atomically
from diffusion_lab.metrics import Score


@dataclass(frozen=True)
class Report:
    """What one chapter's run used, cost and reached. `samples` and `experiment` stay in memory only."""

    chapter: str
    number: int
    title: str
    variant: str
    budget: str
    dataset: str
    """What the data really was."""
    source: str
    """"real", "bundled", "generated" or "own"."""
    schedule: str
    target: str
    own_pieces: dict[str, str]
    """Slots that were filled by the caller's pieces, with their names."""
    network: str
    parameters: int
    device: str
    precision: str
    seed: int
    training_steps: int
    batch: int
    sample_steps: int
    evaluations: int
    """Network calls for each sample, at most."""
    samples_drawn: int
    final_loss: float
    """The mean training loss of the last tenth of the steps."""
    loss_floor: float | None
    """The lowest mean loss that any network can reach, where it is known."""
    scores: list[Score]
    denoising: dict[str, Any]
    """log-SNR levels, and the scores of the learned and the exact denoiser at each."""
    seconds: dict[str, float]
    """"loading", "training", "sampling", "scoring", "figures", "total"; "autoencoder" where one was trained first."""
    versions: dict[str, str]
    notes: tuple[str, ...] = ()
    """What to know about how the data were read."""
    files: dict[str, str] = field(default_factory=dict)
    samples: torch.Tensor | None = field(default=None, repr=False, compare=False)
    experiment: Any = field(default=None, repr=False, compare=False)

    @property
    def meaningful(self) -> bool:
        """A smoke run trains for a few steps: it proves that everything is connected, and its scores mean nothing."""
        return self.budget != "smoke"

    @property
    def judged(self) -> bool:
        """Whether scores mean something and have thresholds: on data of the user's own there are none."""
        return self.meaningful and bool(self.scores) and all(score.threshold is not None for score in self.scores)

    @property
    def passed(self) -> bool:
        """Whether every score is past its threshold."""
        return all(score.passed for score in self.scores)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the samples, ready for JSON."""
        light = {f: v for f, v in self.__dict__.items() if f not in ("samples", "experiment", "scores")}
        verdict: dict[str, Any] = {"passed": self.passed if self.judged else None}
        if not self.meaningful:
            verdict["note"] = "smoke: scores mean nothing"
        elif not self.judged:
            verdict["note"] = "own data: no thresholds" if self.scores else "own data: not scored, see notes"
        return {**json.loads(json.dumps(light)), "scores": [score.as_dict() for score in self.scores], **verdict}

    def comparable(self) -> dict[str, Any]:
        """What the same seed gives again on the same machine with as many threads: no seconds, no files."""
        return {key: value for key, value in self.as_dict().items() if key not in ("seconds", "files")}

    def save(self, path: Path) -> Path:
        """Write the report as JSON, whole or not at all."""
        return write_atomically(path, (json.dumps(self.as_dict(), indent=2) + "\n").encode())

    def __str__(self) -> str:
        lines = [
            f"Chapter {self.number}, {self.title}: {self.dataset} ({self.source})",
            f"  {self.network}, {self.training_steps} steps of {self.batch}, "
            f"{self.seconds['total']:.0f} s on {self.device}",
        ]
        for score in self.scores:
            said = f"  {score.name}: {score.value:.4g} {score.unit} (floor {score.floor:.4g}"
            if score.threshold is None:
                lines.append(f"{said}; {score.better} is better)")
                continue
            relation = "at most" if score.better == "lower" else "at least"
            verdict = ("passed" if score.passed else "not passed") if self.meaningful else "smoke: means nothing"
            lines.append(f"{said}, {relation} {score.threshold:.4g}): {verdict}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])
