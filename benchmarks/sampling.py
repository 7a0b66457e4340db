"""What sampling costs: seconds for 1,000 digits, how many at once are best, and what a sampler adds to the network.

    python benchmarks/sampling.py [--digits 1000] [--batch 100] [--steps 50] [--repeats 15]

The digits are drawn as the reports draw them. Then the shipped MNIST network is called in three loops: bare, by
`samplers.sample` with DDIM, and beside diffusers' `DDIMScheduler`. What a loop adds is measured twice: by the seconds
that it spends outside the network, and against a bare call on the same images, made after each of its steps. The second
counts as well what the loop's arithmetic does to the speed of the network; the bare loop shows how exact it is.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median, quantiles

import diffusion_lab  # noqa: F401 - before torch, whose threads it keeps from spinning long

# isort: split
import torch
from torch import nn

from diffusion_lab import denoisers, open_checkpoint, samplers, schedules
from diffusion_lab.chapters import experiment
from diffusion_lab.chapters.experiment import Experiment

OnStep = Callable[[int, int], None]


def seconds_of(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


class Stopwatch:
    """Counts the seconds inside a network's calls."""

    def __init__(self, network: nn.Module):
        self.seconds = 0.0
        network.register_forward_pre_hook(self.start)
        network.register_forward_hook(self.stop)

    def start(self, *_) -> None:
        self.began = time.perf_counter()

    def stop(self, *_) -> None:
        self.seconds += time.perf_counter() - self.began


def take_turns(loop: Callable[[OnStep], None], call: Callable[[int], None], watch: Stopwatch) -> list[float]:
    """Seconds of all steps of `loop`, of them inside the network, and of `call(step)`, made between the steps.

    A machine's speed wanders by more than what is measured here, but hardly from one call to the next.
    """
    walking = inside = calling = 0.0

    def start() -> tuple[float, float]:
        return time.perf_counter(), watch.seconds

    def on_step(done: int, _: int) -> None:
        nonlocal walking, inside, calling, began
        walking += time.perf_counter() - began[0]
        inside += watch.seconds - began[1]
        calling += seconds_of(lambda: call(done - 1))
        began = start()

    began = start()
    loop(on_step)
    return [walking, inside, calling]


def batches(shipped: Experiment, drawn: int = 500, rounds: int = 5) -> None:
    """Print what an evaluation of one image costs by the number of images drawn at once; the numbers take turns."""
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
    if options.repeats < 2:
        parser.error(f"--repeats must be at least 2, for their spread is printed; got {options.repeats}")
    from diffusers import DDIMScheduler

    opened = time.perf_counter()
    shipped = open_checkpoint(name="mnist")
    opened = time.perf_counter() - opened
    drawing = seconds_of(lambda: shipped.draw(options.digits))
    print(
        f"{torch.get_num_threads()} threads. {options.digits} guided digits, {shipped.budget.sample_steps} steps, "
        f"{shipped.evaluations} evaluations each: {drawing:.1f} s, and {opened:.1f} s to open the network\n"
    )

    batches(shipped)
    network, target, schedule = shipped.network, shipped.pieces.target, schedules.cosine()
    x = torch.randn(options.batch, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(options.batch) % 10
    denoiser = denoisers.from_network(network, target, {"labels": labels})
    path = samplers.sample(denoiser, schedule, samplers.ddim(), x, steps=options.steps, keep=options.batch)[1]
    visited = list(zip(path.states[:-1], path.times[:-1].float(), strict=True))
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        timestep_spacing="trailing",
    )

    def call(step: int) -> None:
        state, t = visited[step]  # the sampler's own inputs: what a call costs depends on them
        with torch.no_grad():
            network(state, t.expand(options.batch), labels=labels)

    def bare(on_step: OnStep) -> None:
        for step in range(options.steps):
            call(step)
            on_step(step + 1, options.steps)

    def ours(on_step: OnStep) -> None:
        samplers.sample(denoiser, schedule, samplers.ddim(), x, steps=options.steps, on_step=on_step)

    def theirs(on_step: OnStep) -> None:
        scheduler.set_timesteps(options.steps)
        y = x
        for step, time_step in enumerate(scheduler.timesteps):
            with torch.no_grad():
                output = network(y, (time_step / 1000).expand(options.batch), labels=labels)
                y = scheduler.step(output, time_step, y).prev_sample
            on_step(step + 1, options.steps)

    loops = {"the bare network again": bare, "samplers.sample, DDIM": ours, "diffusers' DDIMScheduler": theirs}
    watch = Stopwatch(network)
    for loop in loops.values():
        take_turns(loop, call, watch)
    rounds = {name: [] for name in loops}
    for _ in range(options.repeats):
        for name, loop in loops.items():
            rounds[name].append(take_turns(loop, call, watch))
    print(f"{options.batch} images at once, {options.repeats} rounds of {options.steps} steps: medians\n")
    print("| a step of | ms | outside the network, ms | share | over a call beside it: median, middle half |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, values in rounds.items():
        step = median(walking for walking, _, _ in values) / options.steps * 1e3
        outside = median(walking - inside for walking, inside, _ in values) / options.steps * 1e3
        share = median(walking / inside - 1 for walking, inside, _ in values)
        low, middle, high = quantiles((walking / calling - 1 for walking, _, calling in values), n=4)
        print(f"| {name} | {step:.2f} | {outside:.2f} | {share:.1%} | {middle:+.1%}, {low:+.1%} to {high:+.1%} |")


if __name__ == "__main__":
    main()
