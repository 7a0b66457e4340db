"""What sampling costs: seconds for 1,000 digits, how many at once are best, and what a sampler adds to the network.

    python benchmarks/sampling.py [--digits 1000] [--batch 100] [--steps 50] [--repeats 15]

The digits are drawn as the reports draw them. Then three loops call the shipped MNIST network as often and on as many
images: the bare network, `samplers.sample` with DDIM, and diffusers' `DDIMScheduler`. Repeats take turns, so that a
slow moment of the machine hits all of them, and the medians are compared.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch

from diffusion_lab import denoisers, open_checkpoint, samplers, schedules
from diffusion_lab.chapters import experiment


def seconds_of(action) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def batches(drawn: int = 500, rounds: int = 5) -> None:
    """Print what an evaluation of one image costs by the number of images drawn at once; the numbers take turns."""
    shipped = open_checkpoint(name="mnist")
    times = {size: [] for size in (64, 125, 250, 500)}
    own = experiment.BLOCK
    for _ in range(rounds):
        for size, values in times.items():
            experiment.BLOCK = size
            seconds = seconds_of(lambda: shipped.draw(drawn, 5))
            values.append(seconds / drawn / shipped.evaluations * 1e6)
    experiment.BLOCK = own
    print("| images at once | µs an evaluation |\n| ---: | ---: |")
    for size, values in times.items():
        print(f"| {size} | {median(values):.0f} |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    from diffusers import DDIMScheduler

    opened = time.perf_counter()
    shipped = open_checkpoint(name="mnist")
    opened = time.perf_counter() - opened
    drawing = seconds_of(lambda: shipped.draw(options.digits))
    print(
        f"{torch.get_num_threads()} threads. {options.digits} guided digits, {shipped.budget.sample_steps} steps, "
        f"{shipped.evaluations} evaluations each: {drawing:.1f} s, and {opened:.1f} s to open the network\n"
    )

    batches()
    network, target, schedule = shipped.network, shipped.pieces.target, schedules.cosine()
    x = torch.randn(options.batch, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(options.batch) % 10
    denoiser = denoisers.from_network(network, target, {"labels": labels})
    path = samplers.sample(denoiser, schedule, samplers.ddim(), x, steps=options.steps, keep=options.batch)[1]
    visited = [
        (state, t.expand(options.batch)) for state, t in zip(path.states[:-1], path.times[:-1].float(), strict=True)
    ]
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        timestep_spacing="trailing",
    )

    def bare() -> None:
        with torch.no_grad():
            for state, t in visited:  # the sampler's own inputs: what a call costs depends on them
                network(state, t, labels=labels)

    def ours() -> None:
        samplers.sample(denoiser, schedule, samplers.ddim(), x, steps=options.steps)

    def theirs() -> None:
        scheduler.set_timesteps(options.steps)
        y = x
        with torch.no_grad():
            for time_step in scheduler.timesteps:
                output = network(y, (time_step / 1000).expand(options.batch), labels=labels)
                y = scheduler.step(output, time_step, y).prev_sample

    loops = {"bare network": bare, "samplers.sample, DDIM": ours, "diffusers' DDIMScheduler": theirs}
    for loop in loops.values():
        loop()
    times = {name: [] for name in loops}
    for _ in range(options.repeats):
        for name, loop in loops.items():
            times[name].append(seconds_of(loop))
    base = median(times["bare network"]) / options.steps * 1e3
    print(f"{options.batch} images at once, medians of {options.repeats}\n")
    print("| loop | a step, ms | over the bare network, ms | share |\n| --- | ---: | ---: | ---: |")
    for name, values in times.items():
        each = median(values) / options.steps * 1e3
        print(f"| {name} | {each:.3f} | {each - base:+.3f} | {each / base - 1:+.1%} |")


if __name__ == "__main__":
    main()
