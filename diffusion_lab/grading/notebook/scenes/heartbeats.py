"""Scenes of chapter 11, about heartbeats."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from diffusion_lab.grading.notebook.scenes.stage import (
    Piece,
    Scene,
    data,
    generator,
    items,
    opened,
    predicting,
    sampled,
    table,
    trained,
)
from diffusion_lab.plots import Curves, Items, View

STRIPS, STEPS = 3, 12


def _decibel_levels(piece: Piece) -> Iterator[View]:
    yield Curves(torch.arange(30), {"": piece(30.0, -30.0, 30)}, "level", "alpha_bar from 30 to -30 dB")
    yield sampled("decibel_levels", STRIPS, STEPS)(piece)


def _waves(length: int) -> Tensor:
    """A slow wave for each of the strips and leads."""
    time = torch.arange(length) / length
    return torch.sin(2 * math.pi * (1.2 * time + torch.arange(STRIPS)[:, None, None] / 3)).expand(STRIPS, 2, length)


def _noise_at_snr(piece: Piece) -> list[View]:
    run = opened("heartbeats")
    clean = run.dataset.test[:STRIPS]
    noise = _waves(clean.shape[-1]) + 0.2 * torch.randn(clean.shape, generator=generator())
    return [items(run, run.decode(piece(clean, noise, torch.tensor([12.0, 6.0, 0.0]))))]


def _wander_step(piece: Piece) -> list[View]:
    """Down from noise to the data, each estimate held to a recording with a slow wave."""
    run, kept, model = opened("heartbeats"), table("heartbeats"), predicting("heartbeats", "eps")
    clean = run.dataset.test[:STRIPS]
    recording = clean + 3 * _waves(clean.shape[-1])
    k, n = torch.arange(8).unsqueeze(1), torch.arange(clean.shape[-1])
    curves = torch.cos(math.pi * k * (n + 0.5) / clean.shape[-1])
    curves = curves / curves.norm(dim=1, keepdim=True)
    x = torch.randn(clean.shape, generator=generator())
    levels = [*torch.linspace(0.95 * len(kept), 0, STEPS).long().tolist(), -1]
    for t, s in itertools.pairwise(levels):
        x = piece(model, x, t, s, recording, curves, kept)
    return [items(run, run.decode(x))]


def _clean() -> Items:
    run = opened("heartbeats")
    return items(run, run.decode(run.dataset.test[:STRIPS]))


def _matched_beats(piece: Piece) -> list[View]:
    beats = torch.cumsum(torch.rand(40, generator=generator(), dtype=torch.float64) * 0.6 + 0.5, dim=0)
    shifts = torch.linspace(0, 0.3, 31, dtype=torch.float64)
    found = [beats[torch.arange(40) % 5 > 0] + 0.2 * shift + 0.8 * shift * (torch.arange(32) % 2) for shift in shifts]
    shares = torch.stack([torch.as_tensor(piece(beats, times, 0.15)) for times in found])
    lines = {"sensitivity": shares[:, 0], "positive predictivity": shares[:, 1]}
    return [Curves(shifts, lines, "how late every second beat is found (s); every fifth is missed", "share")]


SCENES: dict[str, Scene] = {
    "decibel_levels": Scene(
        "The levels, and strips by the shipped network that visits them.", _decibel_levels, data("heartbeats", STRIPS)
    ),
    "noise_at_snr": Scene("Three strips with a slow wave and some hiss on them, at 12, 6 and 0 dB.", _noise_at_snr),
    "observed_loss": Scene(
        "Strips by the shipped network after 8 more steps of training with each loss, on strips without gaps. What a "
        "loss does with gaps is not seen here; its check tells.",
        lambda piece: [trained("observed_loss", STRIPS, STEPS, steps=8, batch=16, rate=1e-3)(piece)],
        data("heartbeats", STRIPS),
    ),
    "wander_step": Scene(
        "Three recordings with a slow wave on them, walked down from noise with the function; the truth is without it.",
        _wander_step, _clean,
    ),
    "matched_beats": Scene("The two shares as a detector gets later and later.", _matched_beats),
}  # fmt: skip
