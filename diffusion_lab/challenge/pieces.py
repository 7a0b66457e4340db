"""The course's own pieces for the open challenge. An entry replaces any of them by defining the same name.

This file runs in the sandbox, in front of the entry and in the same namespace: `train` and `sample` look up
`SCHEDULE`, `TARGET`, `STEP` and `loss` when they are called, so an entry that sets one of these alone changes both.
"""

from __future__ import annotations

import copy
import math
import time

import torch

from diffusion_lab import denoisers, samplers, schedules, targets
from diffusion_lab.levels import Prediction
from diffusion_lab.losses import prediction_loss
from diffusion_lab.networks import build_network

SHAPE: tuple[int, ...] = (2,)
"""Of one sample."""
CLASSES = 0
"""How many labels there are; `CLASSES` itself means no label."""

SCHEDULE = schedules.flow()
TARGET = targets.flow
STEP = samplers.dpmpp_2m()
BATCH = 1024
LEARNING_RATE = 2e-3
EMA_DECAY = 0.999
DROP_LABELS = 0.1
GUIDANCE = 1.0
"""The scale of classifier-free guidance, which costs two evaluations a step; 1 is none."""
LIMITS: tuple[float, float] | None = None
"""To what the estimate of x0 is clipped while sampling, if at all."""
SHARE = 0.95
"""Of the seconds for training; the rest is for copying weights."""


def make_network():
    """A network that is called as network(x, t), or with labels=labels too: x (B, *SHAPE), t (B,) or ()."""
    return build_network(SHAPE, width=128, depth=4)


def loss(network, x0, noise, level, cond):
    """The loss of each sample, (B,) or (), of clean data and noise (B, *SHAPE) at one level each."""
    return prediction_loss(TARGET)(network, x0, noise, level, cond)


def batch(data, labels):
    """x0 and noise (BATCH, *SHAPE), and the conditions that the network is called with.

    Args:
        data: (N, *SHAPE) float32.
        labels: (N,) int64, or None where the data have none.
    """
    rows = torch.randint(len(data), (BATCH,))
    cond = {}
    if labels is not None:
        cond["labels"] = torch.where(torch.rand(BATCH) < DROP_LABELS, CLASSES, labels[rows])
    return data[rows], torch.randn(BATCH, *data.shape[1:]), cond


def fit(network, draw, seconds):
    """Train for so many seconds of processor time; `draw()` gives the batches. Returns the average of the weights."""
    began = time.process_time()
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.0)
    step = 0
    while (done := (time.process_time() - began) / seconds) < 1:
        for group in optimizer.param_groups:  # a short warm-up, then half a cosine down to 0
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * done))
        x0, noise, cond = draw()
        n = len(x0)
        uniforms = (torch.randperm(n) + torch.rand(n, dtype=torch.float64)) / n  # they cover the path evenly
        level = SCHEDULE.at(SCHEDULE.density(uniforms, SCHEDULE), like=x0)
        loss(network, x0, noise, level, cond).mean().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        with torch.no_grad():
            for old, new in zip(average.parameters(), network.parameters(), strict=True):
                old.lerp_(new, 1 - decay)
        step += 1
    return average


def train(network, data, labels, seconds):
    """Train for at most so many seconds of processor time, and return the network to sample from.

    Args:
        data, labels: as for `batch`.
    """
    return fit(network, lambda: batch(data, labels), SHARE * seconds)


def sample(network, noise, labels, evaluations):
    """Samples (B, *SHAPE) from standard normal noise of that shape, with at most so many evaluations for each.

    Args:
        network: called as the one of `make_network`; every row of every call is counted.
        labels: (B,) int64, the class that each sample is to show, or None.
    """
    cond = {} if labels is None else {"labels": labels}
    denoise, asked = denoisers.from_network(network, TARGET, cond), evaluations
    if labels is not None and GUIDANCE != 1.0 and evaluations >= 8:
        nobody = denoisers.from_network(network, TARGET, {"labels": torch.full_like(labels, CLASSES)})
        denoise, asked = denoisers.guided(denoise, nobody, GUIDANCE), evaluations // 2
    if LIMITS is not None:
        denoise = denoisers.with_x0(denoise, lambda x0: x0.clamp(*LIMITS))
    x = samplers.initial_noise(SCHEDULE, noise)
    return samplers.sample(denoise, SCHEDULE, STEP, x, steps=steps_within(asked))[0]


def steps_within(evaluations):
    """How many steps of `STEP` ask for at most so many evaluations: Heun's asks twice, but for the last one.

    Found by walking with an answer that costs nothing.
    """
    x = torch.zeros(1, *SHAPE)
    with torch.random.fork_rng(devices=[]):
        for steps in range(evaluations, 1, -1):
            walk = samplers.sample(lambda x, level: Prediction(x, x), SCHEDULE, STEP, x, steps=steps)[1]
            if walk.evaluations <= evaluations:
                return steps
    return 1
