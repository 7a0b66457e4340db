"""Where the time of a training step goes, and how it changes with threads, batch and precision.

    python benchmarks/training_step.py

Prints Markdown: milliseconds a step for the pieces of a step, as shares of the whole, measured in one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from diffusion_lab import losses, schedules, targets
from diffusion_lab.devices import make_accelerator
from diffusion_lab.networks import build_network, describe
from diffusion_lab.train import Settings, Source, Trainer

CASES = {
    "points, MLP": ((2,), 1024, "float32", {"width": 128, "depth": 4}),
    "28x28 images, U-Net, float32": ((1, 28, 28), 64, "float32", {"width": 32}),
    "28x28 images, U-Net, bfloat16": ((1, 28, 28), 64, "bfloat16", {"width": 32}),
}


def milliseconds(action: Callable[[], object], seconds: float = 4.0) -> float:
    """Mean wall time of an action, after a few calls to warm up."""
    for _ in range(5):
        action()
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        action()
        count += 1
    return (time.perf_counter() - began) / count * 1e3


def main() -> None:
    print(f"{torch.get_num_threads()} threads\n")
    print("| case | network | batch | step, ms | draw and level | network forward | samples a second |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, (shape, batch, precision, options) in CASES.items():
        network = build_network(shape, **options)
        source = Source(torch.randn(4096, *shape))
        trainer = Trainer(
            network=network,
            loss=losses.prediction_loss(targets.v),
            schedule=schedules.cosine(),
            source=source,
            settings=Settings(steps=10**6, batch=batch),
            accelerator=make_accelerator("cpu", precision),
        )
        generator = torch.Generator().manual_seed(0)

        def draw(source=source, batch=batch, generator=generator, schedule=trainer.schedule):
            x0, noise, uniforms, _ = source.draw(batch, generator)
            return x0, schedule.at(schedule.density(uniforms, schedule), like=noise)

        x0, level = draw()
        time_input = level.t.flatten().float()
        whole = milliseconds(lambda trainer=trainer: trainer._step(1000))
        drawing = milliseconds(draw)
        forward = milliseconds(lambda trainer=trainer, x0=x0, t=time_input: trainer.prepared(x0, t))
        print(
            f"| {name} | {describe(network)} | {batch} | {whole:.1f} | {drawing / whole:.0%} | {forward / whole:.0%} "
            f"| {batch / whole * 1e3:,.0f} |"
        )


if __name__ == "__main__":
    main()
