"""Chapter 10: tic-tac-toe boards. Discrete diffusion by masking, and exact truth by enumeration."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffusion_lab import discrete, losses, samplers, schedules, targets
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.own import TakesOwn
from diffusion_lab.chapters.readiness import require_count
from diffusion_lab.data import Dataset, load
from diffusion_lab.data.games import bits_to_board, board_to_bits
from diffusion_lab.data.own_boards import load_own_boards
from diffusion_lab.discrete import DiscreteProcess
from diffusion_lab.exact import FiniteTokens
from diffusion_lab.metrics import (
    Score,
    board_total_variation,
    floor_of,
    legality_rate,
    pair_total_variation,
    random_rows,
    reconstruction_accuracy,
)
from diffusion_lab.train import Settings

TOKENS, CELLS, TRUSTED = 3, 9, 6
"""Empty, X and O; nine cells; how many of them are trusted when a board is reconstructed."""
ABSORBING = DiscreteProcess("absorbing", TOKENS)
UNIFORM = DiscreteProcess("uniform", TOKENS)


def evaluate(experiment: Experiment) -> list[Score]:
    """Legality against the enumeration, total variation from it, and reconstruction from a few trusted cells."""
    boards, samples = experiment.dataset.info["boards"], experiment.samples
    generator = experiment.generator("floor")

    def draw() -> Tensor:
        return boards[torch.randint(len(boards), (len(samples),), generator=generator)]

    def distance(x: Tensor) -> float:
        return board_total_variation(x, boards)

    floor = floor_of(distance, draw)
    scores = [
        Score("boards that are legal", legality_rate(samples, boards), 1.0, 0.8, better="higher"),
        Score("total variation from the enumeration", distance(samples), floor, floor + 0.2),
    ]
    if experiment.chapter.process is not None:
        scores.append(_reconstruction(experiment, random_rows(boards, 1000, generator)))
    return scores


def _reconstruction(experiment: Experiment, truth: Tensor) -> Score:
    """Hidden cells restored rightly, given the trusted ones; the floor is what the exact posterior gets."""
    generator, process = experiment.generator("reconstruction"), experiment.chapter.process
    trusted = torch.rand(truth.shape, generator=generator).argsort(dim=1) < TRUSTED
    schedule = experiment.pieces.schedule

    def restore(denoiser) -> float:
        x = process.start(tuple(truth.shape), torch.rand(truth.shape, generator=generator))
        x = torch.where(trusted, truth, x)
        step = discrete.keeping(experiment.pieces.step, truth, trusted)
        restored, _ = samplers.sample(denoiser, schedule, step, x, steps=16, generator=generator)
        return reconstruction_accuracy(restored, truth, ~trusted)

    device = experiment.accelerator.device
    network = discrete.token_denoiser(experiment.network, process)
    learned = restore(lambda x, level: network(x.to(device), level).cpu())
    exact = restore(FiniteTokens(experiment.dataset.info["boards"], process).denoise)
    return Score(
        f"hidden cells restored from {TRUSTED} trusted ones",
        learned,
        exact,
        exact - 0.05,
        better="higher",
        note="the floor is the exact posterior: a hidden cell is often truly open",
    )


def cells_right(experiment: Experiment, clean: Tensor, estimate: Tensor, noisy: Tensor, mask) -> tuple[str, float]:
    """The share of cells that the most likely token gets right."""
    return "cells right", float((experiment.decode(estimate) == experiment.decode(clean)).double().mean())


def _with_boards(dataset: Dataset) -> Dataset:
    return replace(dataset, info={**dataset.info, "boards": dataset.train})


def _load_tokens(source: str, root, seed: int) -> Dataset:
    return _with_boards(load("games", source=source, root=root, seed=seed))


def _load_bits(source: str, root, seed: int) -> Dataset:
    dataset = _load_tokens(source, root, seed)
    bits = board_to_bits(dataset.train)
    return replace(dataset, train=bits, test=bits)


def entropy_floor(experiment: Experiment) -> float:
    """The variational bound of the exact denoiser: the entropy of a board, per cell, in nats."""
    return math.log(len(experiment.dataset.info["boards"])) / CELLS


FEWEST = 30
"""Own boards held out at least, so that how often they have which signs says something."""
ENUMERABLE = 50_000_000
"""The most numbers, boards times cells times tokens, that the exact denoiser of own boards may hold."""


def evaluate_own(experiment: Experiment) -> list[Score]:
    """How often two cells hold which two signs, in the samples and in held-out boards: no list of legal boards here."""
    data, generator = experiment.dataset, experiment.generator("floor")
    samples = experiment.samples[: len(data.train)]

    def distance(boards: Tensor) -> float:
        return pair_total_variation(boards, data.test, data.info["K"])

    floor = floor_of(distance, lambda: random_rows(data.train, len(samples), generator))
    note = f"{len(samples):,} samples, {len(data.test):,} held-out boards; the floor is that of training boards"
    return [Score("total variation of pairs of cells", distance(samples), floor, floor, note=note)]


def for_own_boards(chapter: Chapter, dataset: Dataset) -> dict[str, Any]:
    """The process, the network and the truth for as many signs and cells as these boards have."""
    process = replace(chapter.process, categories=dataset.info["K"])
    absorbing = process.kind == "absorbing"
    small = dataset.train.numel() * process.categories <= ENUMERABLE
    return {
        "process": process,
        "exact": (lambda data: FiniteTokens(data.train, process)) if small else None,
        "step": lambda data: discrete.ancestral(process),
        "loss": lambda target, schedule, data: (
            discrete.variational_bound(process, schedule) if absorbing else discrete.cross_entropy_loss(process)
        ),
        "network": {**chapter.network, "vocabulary": process.categories},
        "evaluate": evaluate_own,
    }


BUDGETS = {
    "smoke": Budget(Settings(steps=60, batch=128), samples=500, sample_steps=16),
    "quick": Budget(
        Settings(steps=1200, batch=128, learning_rate=5e-3, ema_decay=0.995, optimizer="muon"),
        samples=8000,
        sample_steps=64,
    ),
    "full": Budget(Settings(steps=8000, batch=512, learning_rate=3e-3), samples=50000, sample_steps=128),
}

MASKED = Chapter(
    number=10,
    name="games",
    title="Game states",
    method="masking, variational bound, ancestral",
    load=_load_tokens,
    process=ABSORBING,
    exact=lambda dataset: FiniteTokens(dataset.train, ABSORBING),
    schedule=lambda dataset: schedules.masking(),
    step=lambda dataset: discrete.ancestral(ABSORBING),
    loss=lambda target, schedule, dataset: discrete.variational_bound(ABSORBING, schedule),
    network={"kind": "transformer", "vocabulary": TOKENS, "mask_token": True, "width": 64, "depth": 3},
    precision="bfloat16",
    evaluate=evaluate,
    own=TakesOwn("boards", load_own_boards, lambda dataset: require_count(dataset, FEWEST), for_own_boards),
    floor=entropy_floor,
    denoise_log_snr=(1.1, 0.0, -1.1),
    denoise_score=cells_right,
    budgets=BUDGETS,
)

RANDOM_TOKENS = replace(
    MASKED,
    method="uniform tokens, cross-entropy, ancestral",
    process=UNIFORM,
    exact=lambda dataset: FiniteTokens(dataset.train, UNIFORM),
    step=lambda dataset: discrete.ancestral(UNIFORM),
    loss=lambda target, schedule, dataset: discrete.cross_entropy_loss(UNIFORM),
    network={**MASKED.network, "mask_token": False},
    floor=None,
)

BITS = replace(
    MASKED,
    method="analog bits, cosine, v, DDIM with eta 1",
    load=_load_bits,
    process=None,
    own=None,
    exact=None,
    schedule=lambda dataset: schedules.cosine(),
    target=targets.v,
    step=lambda dataset: samplers.ddim(eta=1.0),
    loss=lambda target, schedule, dataset: losses.prediction_loss(target),
    network={"kind": "mlp", "width": 256, "depth": 4},
    # Muon's products of square matrices do not shrink with the batch, and those of this network are large.
    budgets={
        **BUDGETS,
        "quick": replace(
            BUDGETS["quick"], training=Settings(steps=1700, batch=256, learning_rate=3e-3, ema_decay=0.995)
        ),
    },
    floor=None,
    decode=lambda bits: bits_to_board(bits)[0],
)

CHAPTER = replace(MASKED, variants={"uniform": RANDOM_TOKENS, "bits": BITS})
