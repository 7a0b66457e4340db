"""Chapter 6, the spiral: lines from noise to data whose ends are chosen, and lines that start in a square."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from experiments.spiral import COUNT, FLOW, Judge
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from diffusion_lab import samplers, targets
from diffusion_lab.chapters.catalogue import get
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.run import build
from diffusion_lab.denoisers import Denoiser, from_network
from diffusion_lab.devices import make_accelerator
from diffusion_lab.losses import prediction_loss
from diffusion_lab.train import Settings, Source, Trainer

SETTINGS = Settings(steps=4000, batch=512)
AMONG = 64
"""How many points and noises are paired at once; a batch of training holds eight such groups."""
STEPS = (1, 2, 4, 8, 50)
DRAWN, PATHS = 700, 40


def nearest_pairs(x0: Tensor, eps: Tensor) -> Tensor:
    """The noises (B, D), shuffled inside groups so that the sum of squared lengths to x0 (B, D) is the smallest."""
    found = []
    for points, noises in zip(x0.split(AMONG), eps.split(AMONG), strict=True):
        cost = torch.cdist(points, noises).square()
        found.append(noises[linear_sum_assignment(cost)[1]])
    return torch.cat(found)


def as_drawn(x0: Tensor, eps: Tensor) -> Tensor:
    return eps


def normal(noise: Tensor) -> Tensor:
    return noise


def square(noise: Tensor) -> Tensor:
    """Normal numbers made uniform on [0, 1]: what `torch.rand` draws."""
    return torch.special.ndtr(noise)


KINDS: dict[str, tuple[Callable, Callable]] = {
    "normal, pairs at random": (as_drawn, normal),
    "normal, nearest pairs": (nearest_pairs, normal),
    "a square, pairs at random": (as_drawn, square),
}


def taught(dataset, pair: Callable, start: Callable) -> tuple[Denoiser, float]:
    """The chapter's network, trained on these lines; and its mean loss over the last tenth of the training."""
    chapter = get("spiral")
    own = assemble(chapter, dataset, build(chapter, dataset, 0), {})
    plain, losses = prediction_loss(targets.flow), []

    def loss(network, x0, eps, level, cond):
        found = plain(network, x0, pair(x0, start(eps)), level, cond)
        losses.append(float(found.detach().mean()))
        return found

    source = Source(dataset.train)
    trainer = Trainer(own.network, loss, own.schedule, source, SETTINGS, make_accelerator("cpu", "float32"))
    network = trainer.fit()
    late = losses[-SETTINGS.steps // 10 :]
    return from_network(network, targets.flow), sum(late) / len(late)


def run(on_step: Callable[[str, int, int], None]) -> dict:
    """Three trainings that differ in their lines alone."""
    dataset = get("spiral").load("bundled", None, 0)
    judge = Judge(dataset)
    noise = torch.randn(COUNT, 2, generator=torch.Generator().manual_seed(0))
    rows = []
    for done, (name, (pair, start)) in enumerate(KINDS.items()):
        on_step(name, done, len(KINDS))
        denoise, loss = taught(dataset, pair, start)
        walks = {n: samplers.sample(denoise, FLOW, samplers.euler(), start(noise), steps=n, keep=COUNT) for n in STEPS}
        states = walks[STEPS[-1]][1].states
        length = sum((b - a).norm(dim=1) for a, b in pairwise(states))
        rows.append(
            {
                "name": name,
                "loss": loss,
                "detour": float((length / (states[-1] - states[0]).norm(dim=1)).mean()),
                "scores": [{"steps": n, **judge(x)} for n, (x, _) in walks.items()],
                "paths": [[[round(v, 2) for v in at] for at in state[:PATHS].tolist()] for state in states[::5]],
                "samples": [[round(v, 2) for v in point] for point in states[-1][:DRAWN].tolist()],
            }
        )
    return {
        "data": dataset.name,
        "training_steps": SETTINGS.steps,
        "batch": SETTINGS.batch,
        "among": AMONG,
        "rows": rows,
    }
