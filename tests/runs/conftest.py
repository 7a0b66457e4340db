"""A tiny problem that trains in a blink, for tests of the loop rather than of the result."""

from __future__ import annotations

import pytest
import torch

from diffusion_lab import losses, schedules, targets
from diffusion_lab.devices import make_accelerator
from diffusion_lab.networks import build_network
from diffusion_lab.train import Settings, Source, Trainer


@pytest.fixture(autouse=True)
def made_once(bundled_made_once: None) -> None:
    """The tests here look at what is done with data, and not at the data."""


@pytest.fixture
def make_trainer():
    """A trainer of a small MLP on 2-D normal data; keyword arguments replace its parts."""

    def make(steps: int = 40, *, seed: int = 0, loss=None, data=None, identity=None, **settings) -> Trainer:
        generator = torch.Generator().manual_seed(1)
        data = torch.randn(256, 2, generator=generator) if data is None else data
        return Trainer(
            network=build_network((2,), width=16, depth=1, seed=3),
            loss=loss or losses.prediction_loss(targets.v),
            schedule=schedules.cosine(),
            source=Source(data),
            settings=Settings(steps=steps, batch=32, **settings),
            accelerator=make_accelerator("cpu"),
            seed=seed,
            identity=identity or {"steps": steps},
        )

    return make
