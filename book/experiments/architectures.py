"""Five networks on digits, heartbeats and points, each for the same seconds of one thread, beside what they cost.

Seconds are those of the processor, so that other programs on the machine count little; they share its caches all the
same, and the steps that fit into the seconds are recorded for each seed. The learning rate stays high and
the weights are averaged, so that every moment of a run is the end of a shorter one: one run gives the distance at
equal seconds and at equal operations.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffusion_lab import losses, targets
from diffusion_lab.chapters import get
from diffusion_lab.chapters.architectures import with_network
from diffusion_lab.chapters.chapter import Chapter
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.images import judge_of
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.points import matched
from diffusion_lab.chapters.run import budget_of, judges, network_for
from diffusion_lab.data import Dataset
from diffusion_lab.denoisers import from_network
from diffusion_lab.devices import make_accelerator
from diffusion_lab.metrics import (
    beat_features,
    chamfer_distances,
    frechet_distance,
    minimum_matching_distance,
    random_rows,
)
from diffusion_lab.networks import count_parameters
from diffusion_lab.train import Settings, Source, Trainer

NETWORKS = ("mlp", "unet", "dit", "uvit", "mixer")
DATA = ("mnist", "heartbeats", "points")
SEEDS = (0, 1, 2)
MARKS = (2.0, 6.0, 18.0)
"""Processor seconds of training at which a network is judged; after the last it is done."""
SAMPLES, SAMPLE_STEPS = 300, 10
CLOUDS = 60
"""Samples in place of `SAMPLES`, and held-out shapes, where each is compared with each."""
NEVER = 10**7
"""Steps of which the first thousand have nearly the full learning rate."""
FLOORS = 10


class Enough(Exception):
    """The last mark is reached."""


@dataclass
class Task:
    """A chapter with its bundled data, and a distance from samples as the network makes them to held-out data."""

    chapter: Chapter
    dataset: Dataset
    distance: Callable[[Tensor], float]
    score: str = "Fréchet distance"
    samples: int = SAMPLES

    def floor(self) -> list[float]:
        """The distance of training data themselves, in as many draws as `FLOORS` says."""
        generator = torch.Generator().manual_seed(1)
        return [self.distance(random_rows(self.dataset.train, self.samples, generator)) for _ in range(FLOORS)]


RACE = {"mnist": {"learning_rate": 2e-3, "batch": 64}}
"""All of the race trains with AdamW; the rate and batch of chapter 5's quick budget are tuned for Muon."""


def in_race(chapter: Chapter) -> Chapter:
    """The chapter, with the settings of `RACE` in its quick budget."""
    quick = chapter.budgets["quick"]
    training = replace(quick.training, optimizer="adamw", **RACE.get(chapter.name, {}))
    return replace(chapter, budgets={**chapter.budgets, "quick": replace(quick, training=training)})


def task(name: str, on_step: Callable[[str, int, int], None]) -> Task:
    chapter = in_race(get(name))
    dataset = chapter.load("bundled", None, 0)
    if name == "heartbeats":
        rate = dataset.info["sample_rate"]
        held = beat_features(chapter.decode(dataset.test), rate)
        return Task(chapter, dataset, lambda x: frechet_distance(beat_features(chapter.decode(x), rate), held))
    if name == "points":
        (rows,) = matched(dataset.test_labels, most=CLOUDS)
        held = dataset.test[rows]

        def matching(x: Tensor) -> float:
            return minimum_matching_distance(chamfer_distances(x, held))

        return Task(chapter, dataset, matching, "matching distance", CLOUDS)
    judge = judge_of(
        experiment_of(chapter, dataset, network_of(chapter, dataset, "unet", 0), on_step), crop=2, flip=False
    )
    held = judge.features(dataset.test)
    return Task(chapter, dataset, lambda x: frechet_distance(judge.features(x), held))


def network_of(chapter: Chapter, dataset: Dataset, name: str, seed: int, **size: int) -> nn.Module:
    """The network that `diffusion-lab run CHAPTER --network NAME` trains, or one of another size."""
    shape = tuple(dataset.train.shape[1:])
    chosen = with_network(chapter, name, shape)
    chosen = replace(chosen, network={**chosen.network, **size})
    return network_for(chosen, shape, len(dataset.classes), seed, "quick")


def experiment_of(chapter: Chapter, dataset: Dataset, network: nn.Module, on_step: Callable = lambda *_: None):
    """What draws samples, without guidance."""
    plain = replace(chapter, exact=None)
    parts = assemble(plain, dataset, network, {})
    accelerator = make_accelerator("cpu", chapter.precision)
    budget = budget_of(chapter, "quick")
    return Experiment(plain, dataset, parts, budget, 0, accelerator, network, judges(), on_step, guidance=1.0)


def operations(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Floating-point operations of one training step for one sample, forwards and backwards, by torch's own counter."""
    x, t, labels = torch.randn(1, *shape), torch.rand(1), torch.zeros(1, dtype=torch.int64)
    # The counter sees attention as matrix products only; the faster kernels of a CPU are unknown to it.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(x, t, labels).square().mean().backward()
    network.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def kept_bytes(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Bytes of activations that one sample in float32 keeps for the way back; weights are not counted."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        store = value.untyped_storage()
        if store.data_ptr() not in weights:
            kept[store.data_ptr()] = store.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        out = network(torch.randn(1, *shape), torch.rand(1), torch.zeros(1, dtype=torch.int64))
    del out  # until here all that was kept is alive, so that no address counts for two
    return sum(kept.values())


@torch.no_grad()
def held_out_loss(network: nn.Module, on: Task, experiment: Experiment) -> float:
    """The loss of v on held-out data, with noise and times that are the same for every network."""
    x0, labels, schedule = on.dataset.test, on.dataset.test_labels, experiment.pieces.schedule
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(x0.shape, generator=generator)
    times = (torch.randperm(len(x0), generator=generator) + 0.5) / len(x0)
    total = 0.0
    for start in range(0, len(x0), 250):
        part = slice(start, start + 250)
        level = schedule.at(times[part], like=x0[part])
        x = level.noisy(x0[part], noise[part])
        with experiment.accelerator.autocast():
            guess = from_network(network, targets.v, {"labels": labels[part]})(x, level)
        error = targets.v.of(guess.x0.float() - x0[part], guess.eps.float() - noise[part], level)
        total += float(error.square().flatten(1).mean(dim=1).sum())
    return total / len(x0)


def train(
    on: Task,
    name: str,
    seed: int,
    on_step: Callable[[str, int, int], None],
    marks: tuple[float, ...] = MARKS,
    **size: int,
) -> list[dict[str, float]]:
    """One network for the seconds of the last mark: at each mark the steps done, the distance and the held-out loss."""
    quick = on.chapter.budgets["quick"].training
    network = network_of(on.chapter, on.dataset, name, seed, **size)
    trainer = Trainer(
        network=network,
        loss=losses.prediction_loss(targets.v),
        schedule=on.chapter.schedule(on.dataset),
        source=Source(
            on.dataset.train,
            on.dataset.train_labels,
            classes=len(on.dataset.classes),
            drop_share=on.chapter.drop_labels,
        ),
        settings=Settings(
            NEVER,
            quick.batch,
            learning_rate=quick.learning_rate,
            ema_decay=quick.ema_decay,
            optimizer=quick.optimizer,
        ),
        accelerator=make_accelerator("cpu", on.chapter.precision),
        seed=seed,
    )
    experiment = experiment_of(on.chapter, on.dataset, trainer.average)
    points: list[dict[str, float]] = []
    clock = {"spent": 0.0, "since": time.process_time()}

    def after(done: int, loss: float) -> None:
        now = time.process_time()
        spent = clock["spent"] + now - clock["since"]
        if spent < marks[len(points)]:
            return
        trainer.average.eval()
        samples = torch.nan_to_num(encoded(experiment, on.samples, seed))
        points.append(
            {
                "seconds": round(spent, 2),
                "steps": done,
                "distance": on.distance(samples),
                "loss": held_out_loss(trainer.average, on, experiment),
            }
        )
        on_step(f"{on.chapter.name} {name} {seed}", len(points), len(marks))
        if len(points) == len(marks):
            raise Enough
        clock.update(spent=spent, since=time.process_time())

    try:
        trainer.fit(on_step=after)
    except Enough:
        pass
    return points


def encoded(experiment: Experiment, samples: int, seed: int) -> Tensor:
    """Samples as the network makes them; a distance decodes them itself."""
    experiment.chapter, experiment.seed = replace(experiment.chapter, decode=None), seed
    return experiment.draw(samples, SAMPLE_STEPS)


def row(on: Task, name: str, runs: list[list[dict[str, float]]]) -> dict[str, Any]:
    """One network on one data set: what it costs, and each mark's mean and spread over the seeds."""
    network = network_of(on.chapter, on.dataset, name, 0)
    shape = tuple(on.dataset.train.shape[1:])
    cost = operations(network, shape)
    batch = on.chapter.budgets["quick"].training.batch
    curve = []
    for points in zip(*runs, strict=True):
        entry: dict[str, Any] = {
            "seconds": mean(p["seconds"] for p in points),
            "steps": mean(p["steps"] for p in points),
        }
        entry["steps_each"] = [p["steps"] for p in points]
        entry["teraflops"] = entry["steps"] * batch * cost / 1e12
        for key in ("distance", "loss"):
            values = [p[key] for p in points]
            entry |= {
                key: mean(values),
                f"{key}_spread": stdev(values) if len(values) > 1 else None,
                f"{key}_each": values,
            }
        curve.append(entry)
    return {
        "network": name,
        "parameters": count_parameters(network),
        "megaflops": cost / 1e6,
        "kept_kilobytes": kept_bytes(network, shape) / 1e3,
        "curve": curve,
    }


def at_equal_operations(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Each network's distance after as many operations as the one that did fewest of them did in all of its seconds.

    Between two marks the logarithm of the distance is taken as straight in the logarithm of the operations. A network
    that has done more than that before its first mark has no number.
    """
    least = min(row["curve"][-1]["teraflops"] for row in rows)
    found: dict[str, float | None] = {}
    for r in rows:
        found[r["network"]] = None
        for before, after in zip(r["curve"], [*r["curve"][1:], r["curve"][-1]], strict=True):
            if before["teraflops"] <= least * (1 + 1e-9) and least <= after["teraflops"] * (1 + 1e-9):
                way = math.log(after["teraflops"] / before["teraflops"])
                share = math.log(least / before["teraflops"]) / way if way else 0.0
                found[r["network"]] = before["distance"] * (after["distance"] / before["distance"]) ** share
                break
    return {"teraflops": least, "distances": found}


def run(on_step: Callable[[str, int, int], None]) -> dict[str, Any]:
    """All networks on all data, seed after seed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tasks = [task(name, on_step) for name in DATA]
        runs: dict[tuple[str, str], list] = {}
        for seed in SEEDS:
            for on in tasks:
                for name in NETWORKS:
                    runs.setdefault((on.chapter.name, name), []).append(train(on, name, seed, on_step))
        return summary(tasks, runs)
    finally:
        torch.set_num_threads(threads)


def summary(tasks: list[Task], runs: dict[tuple[str, str], list]) -> dict[str, Any]:
    """What is recorded."""
    result: dict[str, Any] = {
        "data": ", ".join(on.dataset.name for on in tasks),
        "sample_steps": SAMPLE_STEPS,
        "marks": list(MARKS),
        "tasks": {},
    }
    for on in tasks:
        rows = [row(on, name, runs[on.chapter.name, name]) for name in NETWORKS]
        floors = on.floor()
        result["tasks"][on.chapter.name] = {
            "data": on.dataset.name,
            "score": on.score,
            "samples": on.samples,
            "batch": on.chapter.budgets["quick"].training.batch,
            "seeds": len(runs[on.chapter.name, NETWORKS[0]]),
            "floor": mean(floors),
            "floor_spread": stdev(floors),
            "rows": rows,
            "equal_operations": at_equal_operations(rows),
        }
    return result
