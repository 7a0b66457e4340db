"""Chapter 7, photographs: transformers of patches and a U-Net at equal cost in multiplications, on small shapes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffusion_lab import data, losses, schedules, targets
from diffusion_lab.denoisers import Denoiser, from_network
from diffusion_lab.devices import make_accelerator
from diffusion_lab.exact import Gaussian
from diffusion_lab.networks import build_network
from diffusion_lab.train import Settings, Source, Trainer

SIDE, BATCH, UNET_STEPS = 16, 64, 600
SCHEDULE = schedules.cosine()
PATCHES = (2, 4, 8)
HELD_OUT = 1000


def transformer(patch: int) -> nn.Module:
    return build_network((3, SIDE, SIDE), kind="dit", patch=patch, width=96, depth=4, classes=10, seed=0)


def started_at_random(patch: int) -> nn.Module:
    """The same network, whose gates, scales and shifts do not start at zero."""
    network = transformer(patch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for block in network.inner.blocks:
            block.modulation.reset_parameters()
    return network


def networks() -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {"U-Net": build_network((3, SIDE, SIDE), width=32, levels=2, classes=10, seed=0)}
    found |= {f"transformer, patches of {patch}": transformer(patch) for patch in PATCHES}
    found["the same, gates not at zero"] = started_at_random(4)
    return found


def cost_of(network: nn.Module) -> int:
    """Multiplications and additions of one training step, forwards and backwards, by torch's own counter."""
    # The counter sees attention as matrix products only; the faster kernels of a CPU are unknown to it.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        x, t, labels = torch.randn(BATCH, 3, SIDE, SIDE), torch.rand(BATCH), torch.zeros(BATCH, dtype=torch.int64)
        network(x, t, labels).square().mean().backward()
    network.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def held_out_loss(denoise: Callable[[slice], Denoiser], images: Tensor) -> float:
    """The loss of v over images and times that no training saw, the same for all."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(images.shape, generator=generator)
    times = (torch.randperm(len(images), generator=generator) + 0.5) / len(images)
    total = 0.0
    for start in range(0, len(images), 250):
        part = slice(start, start + 250)
        level = SCHEDULE.at(times[part], like=images)
        guess = denoise(part)(level.noisy(images[part], noise[part]), level)
        error = level.alpha * (guess.eps - noise[part]) - level.sigma * (guess.x0 - images[part])
        total += float(error.square().flatten(1).mean(dim=1).sum())
    return total / len(images)


def normal_rival(train: Tensor) -> Callable[[slice], Denoiser]:
    """The best linear denoiser: the one of a normal distribution with these images' mean and covariance."""
    flat = train.flatten(1).double()
    normal = Gaussian(flat.mean(dim=0), torch.cov(flat.T))

    def denoise(x: Tensor, level: Any) -> Any:
        flat_level = type(level)(*(field.flatten(1) for field in level))
        guess = normal.denoise(x.flatten(1), flat_level)
        return type(guess)(*(value.reshape(x.shape) for value in guess))

    return lambda part: denoise


def run(on_step: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Every network gets as many steps as cost what the U-Net's cost."""
    shapes = data.load("cifar10", source="bundled")
    train, test = (functional.avg_pool2d(images, 2) for images in (shapes.train, shapes.test[:HELD_OUT]))
    labels = shapes.test_labels[:HELD_OUT]
    rows, budget = [], 0
    for name, network in networks().items():
        cost = cost_of(network)
        budget = budget or UNET_STEPS * cost
        steps = round(budget / cost)
        trainer = Trainer(
            network=network,
            loss=losses.prediction_loss(targets.v),
            schedule=SCHEDULE,
            source=Source(train, shapes.train_labels, classes=10, drop_share=0.1),
            settings=Settings(steps=steps, batch=BATCH, learning_rate=2e-3, ema_decay=0.99),
            accelerator=make_accelerator("cpu", "float32"),
        )
        began = time.process_time()
        trained = trainer.fit(on_step=lambda done, loss, name=name, steps=steps: on_step(name, done, steps))
        seconds = time.process_time() - began

        def asked(part: slice, trained: nn.Module = trained) -> Denoiser:
            return from_network(trained, targets.v, {"labels": labels[part]})

        with torch.no_grad():
            loss = held_out_loss(asked, test)
        rows.append(
            {
                "name": name,
                "parameters": sum(p.numel() for p in network.parameters()),
                "megaflops": cost / BATCH / 1e6,
                "steps": steps,
                "loss": loss,
                "seconds": seconds,
            }
        )
    return {
        "data": f"{shapes.name}, {SIDE} by {SIDE} pixels",
        "batch": BATCH,
        "rows": rows,
        "normal": held_out_loss(normal_rival(train), test),
    }
