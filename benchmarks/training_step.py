"""Where the time of a training step goes, and what each choice of the image network is worth.

    python benchmarks/training_step.py [--compile]

Prints Markdown, measured in one process: the pieces of a step as shares of the whole; how near steps of chapter 5 come
to the rate at which this machine multiplies matrices; and steps of its network with one of its choices undone at a
time, beside what was predicted before (bfloat16: read from the first table). ATEN_CPU_CAPABILITY=avx2 and
ONEDNN_MAX_CPU_ISA=AVX2 make a newer processor work like one that has only AVX2.
--compile adds what `torch.compile` gains in a step and what it takes first; it needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import diffusion_lab  # noqa: F401 - before torch, whose threads it keeps from spinning long

# isort: split
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from diffusion_lab import losses, schedules, targets
from diffusion_lab.devices import fast_bfloat16, make_accelerator
from diffusion_lab.networks import build_network, count_parameters, describe
from diffusion_lab.train import Settings, Source, Trainer

CASES = {
    "points, MLP": ((2,), 1024, "float32", {"width": 128, "depth": 4}),
    "28x28 images, U-Net, float32": ((1, 28, 28), 64, "float32", {"width": 32}),
    "28x28 images, U-Net, bfloat16": ((1, 28, 28), 64, "bfloat16", {"width": 32}),
}


class UsualOrder(nn.Module):
    """Brings images back into PyTorch's usual order of memory, channels first."""

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous()


def channels_first(network: nn.Module) -> nn.Module:
    """A U-Net whose weights and activations are in PyTorch's usual order."""
    network.to(memory_format=torch.contiguous_format)
    network.trunk.stem = nn.Sequential(UsualOrder(), network.trunk.stem)
    return network


IMAGE = {"width": 32}
FULL = {"width": 32, "patch": 1, "levels": 3}  # down to the same 7 x 7 pixels
CHOICES = {
    # what is undone: (options of the network, precision, change of the network, predicted factor)
    "nothing": (IMAGE, "bfloat16", None, 1.0),
    "bfloat16": (IMAGE, "float32", None, 1.6),
    "channels-last memory": (IMAGE, "bfloat16", channels_first, 1.5),
    "patches of 2 x 2": (FULL, "bfloat16", None, 3.5),
    "all three": (FULL, "float32", channels_first, 8.0),
    "width 32 (64 instead)": ({"width": 64}, "bfloat16", None, 2.5),
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


def trainer_of(
    network: nn.Module, shape: tuple[int, ...], batch: int, precision: str, optimizer: str = "adamw"
) -> Trainer:
    """A trainer on random data, in the middle of a long training."""
    return Trainer(
        network=network,
        loss=losses.prediction_loss(targets.v),
        schedule=schedules.cosine(),
        source=Source(torch.randn(4096, *shape)),
        settings=Settings(steps=10**6, batch=batch, optimizer=optimizer),
        accelerator=make_accelerator("cpu", precision),
    )


def pieces() -> None:
    """Print the pieces of a step."""
    print("| case | network | batch | step, ms | draw and level | network forward | samples a second |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name, (shape, batch, precision, options) in CASES.items():
        network = build_network(shape, **options)
        trainer = trainer_of(network, shape, batch, precision)
        generator = torch.Generator().manual_seed(0)

        def draw(trainer=trainer, batch=batch, generator=generator):
            x0, noise, uniforms, _ = trainer.source.draw(batch, generator)
            return x0, trainer.schedule.at(trainer.schedule.density(uniforms, trainer.schedule), like=noise)

        x0, level = draw()
        time_input = level.t.flatten().float()
        whole = milliseconds(lambda trainer=trainer: trainer._step(1000))
        drawing = milliseconds(draw)
        forward = milliseconds(lambda trainer=trainer, x0=x0, t=time_input: trainer.prepared(x0, t))
        print(
            f"| {name} | {describe(network)} | {batch} | {whole:.1f} | {drawing / whole:.0%} | {forward / whole:.0%} "
            f"| {batch / whole * 1e3:,.0f} |",
            flush=True,
        )


def rates() -> None:
    """Print the rate of steps beside that of a product of two matrices of 1024 x 1024, counted the same way."""
    print("| precision | batch | optimizer | step, ms | GFLOP | GFLOP/s | of a product | share |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    known = ["float32", "bfloat16"] if fast_bfloat16(torch.device("cpu")) else ["float32"]
    for precision in known:
        a, b = torch.randn(2, 1024, 1024, dtype=getattr(torch, precision))
        product = 2 * 1.024**3 / milliseconds(lambda a=a, b=b: a @ b) * 1e3
        for batch, optimizer in ((128, "adamw"), (128, "muon"), (32, "muon")):
            trainer = trainer_of(build_network((1, 28, 28), **IMAGE), (1, 28, 28), batch, precision, optimizer)
            step = milliseconds(lambda trainer=trainer: trainer._step(1000))
            with FlopCounterMode(display=False) as counted:
                trainer._step(1000)
            work = counted.get_total_flops() / 1e9
            rate = work / step * 1e3
            print(
                f"| {precision} | {batch} | {optimizer} | {step:.1f} | {work:.1f} | {rate:.0f} | {product:.0f} "
                f"| {rate / product:.0%} |",
                flush=True,
            )


def turns(trainers: dict[str, Trainer], rounds: int = 12, steps: int = 8) -> dict[str, float]:
    """Milliseconds of a step for each trainer: the medians of rounds in which they take turns."""
    times = {name: [] for name in trainers}
    for _ in range(rounds):
        for name, trainer in trainers.items():
            trainer._step(1000)
            began = time.perf_counter()
            for _ in range(steps):
                trainer._step(1000)
            times[name].append((time.perf_counter() - began) / steps * 1e3)
    return {name: median(values) for name, values in times.items()}


def choices() -> None:
    """Print what a step costs with one choice of chapter 5's network undone."""
    trainers = {}
    for name, (options, precision, change, _) in CHOICES.items():
        network = build_network((1, 28, 28), **options)
        trainers[name] = trainer_of(change(network) if change else network, (1, 28, 28), 64, precision)
    print("| undone | parameters, M | step, ms | factor | predicted |\n| --- | ---: | ---: | ---: | ---: |")
    times = turns(trainers)
    for name, step in times.items():
        parameters = count_parameters(trainers[name].network) / 1e6
        print(f"| {name} | {parameters:.2f} | {step:.1f} | {step / times['nothing']:.2f} | {CHOICES[name][-1]:g} |")


def compiled() -> None:
    """Print what `torch.compile` gains."""
    networks = {name: build_network((1, 28, 28), **IMAGE) for name in ("plain", "compiled")}
    networks["compiled"].compile()
    trainers = {name: trainer_of(network, (1, 28, 28), 64, "bfloat16") for name, network in networks.items()}
    began = time.perf_counter()
    trainers["compiled"]._step(1000)
    first, times = time.perf_counter() - began, turns(trainers)
    print(f"a step {times['plain']:.1f} ms, compiled {times['compiled']:.1f} ms, {first:.0f} s to compile")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too")
    options = parser.parse_args()
    processor = torch.backends.cpu.get_cpu_capability()
    print(f"{torch.get_num_threads()} threads, {processor}, bfloat16: {fast_bfloat16(torch.device('cpu'))}\n")
    pieces()
    print()
    rates()
    print()
    choices()
    if options.compile:
        print()
        compiled()


if __name__ == "__main__":
    main()
