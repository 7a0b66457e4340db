"""Chapter 6: points on a spiral. Flow matching, a multistep solver, and a curve that fills almost none of the plane."""

from __future__ import annotations

from torch import Tensor

from diffusion_lab import samplers, schedules, targets
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.normal import exact_floor
from diffusion_lab.data import load
from diffusion_lab.exact import FiniteSet
from diffusion_lab.metrics import (
    Score,
    distance_to_curve,
    energy_distance,
    floor_of,
    random_directions,
    sliced_wasserstein,
)
from diffusion_lab.train import Settings


def evaluate(experiment: Experiment) -> list[Score]:
    """Sliced Wasserstein distance to held-out points, and how far the samples are from the clean curve."""
    samples, test = experiment.samples, experiment.dataset.test
    generator = experiment.generator("floor")
    half = len(test) // 2
    directions = random_directions(64, 2, generator)
    curve = experiment.dataset.info["curve"]

    def draw() -> Tensor:
        return experiment.exact.sample(len(samples), generator)

    def sliced(x: Tensor) -> float:
        return sliced_wasserstein(x, test, directions)

    def off_curve(x: Tensor) -> float:
        return distance_to_curve(x, curve).mean

    def energy(x: Tensor) -> float:
        return energy_distance(x, test[:half])

    floor = floor_of(sliced, draw)
    return [
        Score("sliced Wasserstein to held-out points", sliced(samples), floor, 3 * floor),
        Score("mean distance to the clean curve", off_curve(samples), floor_of(off_curve, draw), 0.04),
        Score("energy distance to held-out points", energy(samples), floor_of(energy, draw), 0.06),
    ]


CHAPTER = Chapter(
    number=6,
    name="spiral",
    title="Spiral pattern",
    method="flow matching, DPM-Solver++(2M)",
    load=lambda source, root, seed: load("spiral", source=source, root=root, seed=seed),
    # A quarter of the curve's points still lie closer together than the noise is wide: the density is as smooth.
    exact=lambda dataset: FiniteSet(dataset.info["curve"][::4], dataset.info["noise_std"]),
    schedule=lambda dataset: schedules.flow(),
    target=targets.flow,
    step=lambda dataset: samplers.dpmpp_2m(),
    network={"width": 128, "depth": 4},
    evaluate=evaluate,
    floor=exact_floor,
    budgets={
        "smoke": Budget(Settings(steps=100, batch=256), samples=500, sample_steps=20),
        "quick": Budget(
            Settings(steps=4000, batch=512, learning_rate=4e-3, ema_decay=0.998), samples=5000, sample_steps=100
        ),
        "full": Budget(Settings(steps=25000, batch=2048), samples=10000, sample_steps=200),
    },
    denoise_log_snr=(5.0, 2.0, -1.0),
)
