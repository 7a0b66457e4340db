"""What scenes are played with: the networks that ship, samples drawn and networks trained on with one piece in place.

A scene plays a piece on a stage that is the same each time, down to the random numbers, so that two pieces that compute
the same give the same picture, and whatever differs comes from the piece.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from diffusion_lab import samplers, schedules
from diffusion_lab.chapters import open_checkpoint
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.opening import shipped
from diffusion_lab.checkpoints import load_tensors, load_weights
from diffusion_lab.denoisers import EVERYWHERE
from diffusion_lab.exercises import exercise, library, notebook
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.plots import Items, View
from diffusion_lab.train import Settings, Source, Trainer

Piece = Callable[..., Any]
DRAWING = ("schedule", "target", "step", "polish", "guide")
"""The slots of a run that matter once a network has been trained."""


@dataclass(frozen=True)
class Scene:
    """What is drawn of one exercise."""

    says: str
    """What the picture shows, in a sentence that begins with what is drawn."""
    play: Callable[[Piece], Iterable[View]]
    """piece -> what is seen with it in place, one view after the other: where one fails, those before it are shown."""
    truth: Callable[[], View] | None = None
    """What a perfect sampler would give, beside the samples of a scene; None where nothing like it is known."""


@cache
def opened(chapter: str) -> Experiment:
    """The chapter's shipped network, ready to sample, on the processor. It must be left as it is."""
    return open_checkpoint(name=chapter, device="cpu")


def generator(seed: int = 0) -> torch.Generator:
    """The randomness of a scene: the same for every piece."""
    return torch.Generator().manual_seed(seed)


def own_slots(name: str, piece: Piece, slots: Callable[[Mapping[str, Piece]], dict] | None = None) -> dict[str, Any]:
    """What `run_chapter` is made of, with this piece in place of the reference and references everywhere else."""
    functions = {key: item.reference for key, item in library().items()} | {name: piece}
    return (slots or notebook(exercise(name).chapter).slots)(functions)


def items(run: Experiment, values: Tensor) -> Items:
    """Data of a chapter, decoded, as they are drawn."""
    info = {key: run.dataset.info[key] for key in ("words", "vectors", "sample_rate") if key in run.dataset.info}
    if run.kind == "board":
        from diffusion_lab.data.games import is_legal

        info["legal"] = is_legal(values.clamp(0, 2)) & (values < 3).all(dim=1)
    return Items(run.kind, values, info)


def data(chapter: str, count: int) -> Callable[[], Items]:
    """Held-out data of the chapter, as the truth of a scene."""

    def truth() -> Items:
        run = opened(chapter)
        rows = torch.randperm(len(run.dataset.test), generator=generator(1))[:count]
        return items(run, run.decode(run.dataset.test[rows]))

    return truth


def sampled(name: str, count: int, steps: int, guidance: float | None = None) -> Callable[[Piece], Items]:
    """Samples of the shipped network of the exercise's chapter, drawn with the piece in place."""

    def play(piece: Piece) -> Items:
        run = opened(exercise(name).chapter)
        own = own_slots(name, piece)
        network = run.network
        if "network" in own:
            network = own["network"]
            path = shipped(run.chapter.name)
            load_weights(network, load_tensors(path)[0], path)
            network = network.eval().requires_grad_(False)
        pieces = replace(run.pieces, **{slot: own[slot] for slot in DRAWING if slot in own})
        run = replace(run, pieces=pieces, network=network)
        if guidance is not None:
            run = replace(run, guidance=guidance, guidance_interval=EVERYWHERE)
        return items(run, run.draw(count, steps))

    return play


def trained(
    name: str, count: int, sample_steps: int, *, steps: int, batch: int, rate: float, loss: Callable | None = None
) -> Callable[[Piece], Items]:
    """Samples after the shipped network has been trained on with the piece as its loss, for so many steps.

    Args:
        loss: piece -> loss of `run_chapter`, where the chapter's own slots have no place for the piece.
    """

    def play(piece: Piece) -> Items:
        run = opened(exercise(name).chapter)
        trainer = Trainer(
            network=copy.deepcopy(run.network).train().requires_grad_(True),
            loss=loss(piece) if loss is not None else own_slots(name, piece)["loss"],
            schedule=run.pieces.schedule,
            source=Source(
                data=run.dataset.train,
                labels=run.dataset.train_labels
                if run.chapter.labelled and run.classes == run.dataset.classes
                else None,
                mask=run.dataset.info.get("train_mask"),
                classes=len(run.classes),
                drop_share=run.chapter.drop_labels,
                self_condition=run.pieces.target if run.chapter.self_condition else None,
            ),
            settings=Settings(steps=steps, batch=batch, learning_rate=rate, warmup=0, ema_decay=0.8),
            accelerator=run.accelerator,
        )
        with torch.enable_grad():
            network = trainer.fit()
        run = replace(run, network=network)
        return items(run, run.draw(count, sample_steps))

    return play


def exact_samples(
    estimate: Callable[[Tensor, Level], Prediction], start: Tensor, *, steps: int = 100, noisy: bool = False
) -> Tensor:
    """Samples by DDIM, or DDPM where `noisy`, on the cosine path, from a formula in the place of a network.

    Args:
        estimate: (x (B, D), level) -> x0 and eps.
        start: (B, D), standard normal.
    """
    step = samplers.ddpm() if noisy else samplers.ddim()
    schedule = schedules.cosine()
    x, _ = samplers.sample(estimate, schedule, step, start, steps=steps, generator=generator(2))
    return x


def from_eps(x: Tensor, eps: Tensor, level: Level) -> Prediction:
    """x0 and eps that agree with x and this eps."""
    return Prediction((x - level.sigma * eps) / level.alpha, eps)


def from_score(x: Tensor, score: Tensor, level: Level) -> Prediction:
    """x0 and eps that agree with x and the score there."""
    return from_eps(x, -level.sigma * score, level)


def kept_at(x: Tensor, level: Level) -> Tensor:
    """alpha_bar (B,) of a level that the batch shares, as the exercises take it."""
    return level.alpha_bar.flatten().expand(len(x))


def table(chapter: str, steps: int = 1000) -> Tensor:
    """alpha_bar (steps,) of the chapter's schedule, float32, falling, the last entry at its noisiest time."""
    schedule = opened(chapter).pieces.schedule
    times = torch.linspace(schedule.t_min, schedule.t_max, steps, dtype=torch.float64)
    level = schedule.at(times)
    return (level.alpha**2).flatten().float()


def predicting(chapter: str, what: str, labels: Tensor | None = None, steps: int = 1000) -> torch.nn.Module:
    """The shipped network as the exercises call one: model(x, t) with t (B,) counting the rows of `table`.

    Args:
        what: what it answers, "eps" or "v".
        labels: (B,), which class each sample has; None asks for no class.
    """
    run = opened(chapter)
    schedule = run.pieces.schedule
    times = torch.linspace(schedule.t_min, schedule.t_max, steps, dtype=torch.float64)

    class Shipped(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            rows = torch.as_tensor(t).long().expand(len(x))
            level = schedule.at(times[rows], like=x)
            none = torch.full((len(x),), len(run.classes)) if run.chapter.labelled else None
            answer = run.conditional(labels if labels is not None else none, None)(x, level)
            return answer.eps if what == "eps" else level.alpha * answer.eps - level.sigma * answer.x0

    return Shipped()
