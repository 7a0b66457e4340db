"""Chapter 7: small networks whose schedule ends with some of the image, or with none of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from experiments.parts.cifar10_images import OnStep, agreement, brightness, generate, judge_of
from torch import Tensor
from torch.nn import functional

from diffusion_lab import betas, losses, schedules, targets
from diffusion_lab.denoisers import clip
from diffusion_lab.devices import make_accelerator
from diffusion_lab.losses import min_snr_weight, uniform_weight
from diffusion_lab.metrics import FeatureClassifier, frechet_distance, random_rows
from diffusion_lab.networks import build_network
from diffusion_lab.plots.figure import caption, finish, new_figure, styled
from diffusion_lab.plots.image import tile
from diffusion_lab.plots.style import bare, row_label
from diffusion_lab.train import Settings, Source, Trainer

TRAINING = Settings(steps=1200, batch=64, learning_rate=3e-3, ema_decay=0.99)
"""Of small networks, on shapes of 16 by 16 pixels."""
SHORT = 300
"""A number of levels, with the betas that were made for 1000."""
ABLATED = 500


def ablate(shapes: Any, on_step: OnStep) -> tuple[list[dict[str, Any]], Any]:
    """Small networks trained alike but for the schedule and the weights of levels, on shapes of half the side."""
    half = replace(shapes, train=functional.avg_pool2d(shapes.train, 2), test=functional.avg_pool2d(shapes.test, 2))
    judge = judge_of(half, on_step)
    kept = betas.alpha_bar_from_betas(betas.linear_betas(SHORT))
    short = schedules.from_alpha_bar(kept, "linear, betas of 1000 steps cut off")
    mended = schedules.from_alpha_bar(betas.rescale_zero_terminal_snr(kept), "the same, rescaled")
    variants = {
        "cut off": (short, uniform_weight),
        "rescaled": (mended, uniform_weight),
        "rescaled, min-SNR": (mended, min_snr_weight(5.0)),
    }
    accelerator = make_accelerator("auto", "bfloat16")
    held_out = judge.features(half.test)
    real = random_rows(half.train, ABLATED, torch.Generator().manual_seed(1))
    drawn = {"data": real}
    rows = [row_of("data", 0.0, real, None, judge, held_out)]
    for name, (schedule, weight) in variants.items():
        trainer = Trainer(
            network=build_network((3, 16, 16), width=32, levels=2, classes=10, seed=0),
            loss=losses.prediction_loss(targets.v, weight),
            schedule=schedule,
            source=Source(half.train, half.train_labels, classes=10, drop_share=0.1),
            settings=TRAINING,
            accelerator=accelerator,
        )
        network = trainer.fit(on_step=lambda done, loss, name=name: on_step(f"training, {name}", done, TRAINING.steps))
        images, labels, _ = generate(network, schedule, accelerator, count=ABLATED, steps=50, polish=clip, side=16)
        last = float(schedule.at(torch.tensor(schedule.t_max)).alpha_bar)
        loss = sum(trainer.losses[-100:]) / len(trainer.losses[-100:])
        rows.append(row_of(name, last, images, labels, judge, held_out) | {"loss": loss})
        drawn[name] = images
    return rows, schedules_figure({name: drawn[name][:16] for name in list(drawn)[:3]}, rows)


def row_of(
    name: str, last: float, images: Tensor, labels: Tensor | None, judge: FeatureClassifier, held_out: Tensor
) -> dict[str, Any]:
    return {
        "name": name,
        "last_alpha_bar": last,
        "brightness_mean": float(brightness(images).mean()),
        "brightness_std": float(brightness(images).std()),
        "frechet": frechet_distance(judge.features(images), held_out),
        "agreement": None if labels is None else agreement(judge, images, labels),
    }


@styled
def schedules_figure(drawn: dict[str, Tensor], rows: list[dict[str, Any]]) -> Any:
    """Shapes by networks trained on different schedules, and shapes of the generator itself."""
    figure = new_figure(5, 1.1 * len(drawn) + 0.9)
    spread = {row["name"]: row["brightness_std"] for row in rows}
    for ax, (name, images) in zip(figure.subplots(len(drawn), 1), drawn.items(), strict=True):
        ax.imshow(tile(images, 8).numpy(), vmin=0, vmax=1)
        bare(ax)
        row_label(ax, name)
    caption(figure, "brightness spreads by: " + ", ".join(f"{name} {spread[name]:.2f}" for name in drawn))
    values = "; ".join(f"{name} {spread[name]:.3f}" for name in drawn)
    return finish(
        figure,
        "Shapes: data, and networks on two schedules",
        "Sixteen images each of the data, of a network on the schedule that was cut off, and of one on the rescaled "
        f"schedule. Standard deviation of the brightness: {values}.",
    )
