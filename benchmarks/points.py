"""Points in the plane: seconds until samples are near the metric's floor, beside a public package on its own data.

    python -m pip install smalldiffusion
    python benchmarks/points.py [--seconds 60]

The points are smalldiffusion's Swiss roll. Its network, schedule and loop are those of its toy example: `TimeInputMLP`
with hidden layers of 16, 128, 128, 128, 128 and 16, a log-linear schedule of 200 levels, AdamW 1e-3, one batch of all
points an epoch, 20 steps of its accelerated sampler. Ours are chapter 6's network, path and sampler, 20 steps as well.
Both stop now and then, draw as many samples as there are points, and are scored by the sliced Wasserstein distance to
the points; clocks stand still meanwhile. The floor is what a fresh draw from the points scores, blurred by 0.005, which
is the lowest noise level of smalldiffusion's schedule.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import diffusion_lab  # noqa: F401 - before torch, whose threads it keeps from spinning long

# isort: split
import torch
from torch import Tensor

from diffusion_lab import denoisers, losses, samplers, schedules, targets
from diffusion_lab.devices import make_accelerator
from diffusion_lab.metrics import random_directions, sliced_wasserstein
from diffusion_lab.networks import build_network, count_parameters
from diffusion_lab.train import Settings, Source, Trainer

POINTS = 2000
CHECKS = 12
"""How often each run is scored: at equal ratios of time."""


class Enough(Exception):
    """Raised at the end of the time."""


def marks(seconds: float) -> list[float]:
    """The times at which a run is scored, in seconds of training."""
    return [seconds * 2 ** (i - CHECKS + 1) for i in range(CHECKS)]


class Watch:
    """A clock that stands still while samples are scored."""

    def __init__(self, seconds: float, score: Callable[[Tensor], float]):
        self.left, self.score, self.seen = marks(seconds), score, []
        self.began, self.paused = time.perf_counter(), 0.0

    def look(self, draw: Callable[[], Tensor]) -> None:
        now = time.perf_counter() - self.began - self.paused
        if now < self.left[0]:
            return
        stopped = time.perf_counter()
        self.seen.append((now, self.score(draw())))
        self.paused += time.perf_counter() - stopped
        while self.left and self.left[0] <= now:
            self.left.pop(0)
        if not self.left:
            raise Enough


def theirs(points: Tensor, watch: Callable[[], Watch]) -> tuple[Watch, int]:
    import smalldiffusion
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(0)
    schedule = smalldiffusion.ScheduleLogLinear(N=200, sigma_min=0.005, sigma_max=10)
    network = smalldiffusion.TimeInputMLP(hidden_dims=(16, 128, 128, 128, 128, 16))
    data = smalldiffusion.MappedDataset(TensorDataset(points), lambda row: row[0])
    loop = smalldiffusion.training_loop(DataLoader(data, batch_size=2048), network, schedule, epochs=10**9, lr=1e-3)

    def draw() -> Tensor:
        *_, x0 = smalldiffusion.samples(network, schedule.sample_sigmas(20), gam=2, batchsize=len(points))
        return x0

    clock = watch()
    try:
        for _ in loop:
            clock.look(draw)
    except Enough:
        pass
    return clock, count_parameters(network)


def ours(points: Tensor, watch: Callable[[], Watch]) -> tuple[Watch, int]:
    network = build_network((2,), width=128, depth=4)
    schedule = schedules.flow()
    trainer = Trainer(
        network=network,
        loss=losses.prediction_loss(targets.flow),
        schedule=schedule,
        source=Source(points),
        settings=Settings(steps=20_000, batch=1024),
        accelerator=make_accelerator("cpu", "float32"),
    )

    def draw() -> Tensor:
        noise = torch.randn(len(points), 2, generator=torch.Generator().manual_seed(1))
        denoiser = denoisers.from_network(trainer.average, targets.flow)
        return samplers.sample(denoiser, schedule, samplers.dpmpp_2m(), noise, steps=20)[0]

    clock = watch()
    try:
        trainer.fit(on_step=lambda done, loss: clock.look(draw))
    except Enough:
        pass
    return clock, count_parameters(network)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    import smalldiffusion

    smalldiffusion.diffusion.tqdm = partial(smalldiffusion.diffusion.tqdm, disable=True)  # a line for each epoch
    roll = smalldiffusion.Swissroll(torch.pi / 2, 5 * torch.pi, POINTS).vals
    generator = torch.Generator().manual_seed(0)
    directions = random_directions(64, 2, generator)

    def score(x: Tensor) -> float:
        return sliced_wasserstein(x, roll, directions)

    def fresh() -> Tensor:
        rows = torch.randint(len(roll), (len(roll),), generator=generator)
        return roll[rows] + 0.005 * torch.randn(len(roll), 2, generator=generator)

    floors = [score(fresh()) for _ in range(20)]
    floor = sum(floors) / len(floors)
    print(f"Swiss roll, {len(roll)} points, {torch.get_num_threads()} threads; floor {floor:.4f}\n")
    runs = {"ours": ours, "smalldiffusion": theirs}
    results = {name: run(roll, lambda: Watch(options.seconds, score)) for name, run in runs.items()}
    print("| package | parameters | seconds to 2 floors | to 3 floors | best seen | its time |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, (clock, parameters) in results.items():
        reached = {
            times: next((f"{at:.1f}" for at, value in clock.seen if value <= times * floor), "not reached")
            for times in (2, 3)
        }
        best = min(clock.seen, key=lambda pair: pair[1])
        print(
            f"| {name} | {parameters:,} | {reached[2]} | {reached[3]} | {best[1] / floor:.2f} floors | {best[0]:.1f} |"
        )
    for name, (clock, _) in results.items():
        print(f"\n{name}: " + ", ".join(f"{at:.1f} s {value / floor:.2f}" for at, value in clock.seen))


if __name__ == "__main__":
    main()
