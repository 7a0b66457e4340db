"""What the course's own pieces for digits are, where they differ from those for points. Runs after `pieces`."""

from __future__ import annotations

from diffusion_lab import samplers, schedules, targets
from diffusion_lab.networks import build_network

SHAPE = (1, 28, 28)
CLASSES = 10
SCHEDULE = schedules.cosine()
TARGET = targets.v
STEP = samplers.ddim()
BATCH = 64
EMA_DECAY = 0.99
GUIDANCE = 1.5
LIMITS = (-1.0, 1.0)


def make_network():
    """The U-Net of chapter 5."""
    return build_network(SHAPE, width=32, classes=CLASSES)
