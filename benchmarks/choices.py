"""What one processor second of training buys on MNIST: settings of chapter 5 beside each other at equal seconds.

    python benchmarks/choices.py old "optimizer=muon learning_rate=0.016" [--seconds 110] [--seeds 0 1 2]

A choice is `old`, or what it changes of that: settings of training, of the network (width, depth, patch, levels), and
of drawing (guidance, sample_steps, step, spacing). The training steps are timed first, in turns and by processor time,
and the fastest turn counts, so that a busy machine does not decide. Each choice then gets as many steps as fit into the
seconds, on one thread: 110 of these are about 60 s on two cores. The same seed gives the same start and the same noise.
Networks are compared by the loss on held-out digits, which has the least luck in it, and by the chapter's own score of
its own samples. Needs MNIST on disk; DIFFUSION_LAB_DATA says where.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, fields, replace
from statistics import mean, stdev

import diffusion_lab  # noqa: F401 - before torch, whose threads it keeps from spinning

# isort: split
import torch

from diffusion_lab import losses
from diffusion_lab.chapters import get
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.run import judges
from diffusion_lab.devices import make_accelerator
from diffusion_lab.errors import LabError
from diffusion_lab.networks import build_network
from diffusion_lab.samplers import STEPS
from diffusion_lab.times import SPACINGS
from diffusion_lab.train import Settings, Source, Trainer

OLD = Settings(steps=1, batch=64, learning_rate=2e-3, ema_decay=0.99)
CHAPTER = get("mnist")
SHAPE = 1, 28, 28
NETWORK = ("width", "depth", "patch", "levels")
DRAWING = {"guidance": float, "sample_steps": int, "step": str, "spacing": str}


@dataclass(frozen=True)
class Choice:
    """One way to train and to draw."""

    name: str
    training: Settings
    network: dict
    drawing: dict

    @property
    def key(self) -> str:
        """What decides the trained network, but for the seed."""
        return f"{self.training} {self.network}"


def choice(text: str) -> Choice:
    """What a text such as "batch=32 guidance=1" asks for; all that can be wrong with it is said here, before training.

    Raises:
        argparse.ArgumentTypeError: naming the change, and what is accepted.
    """
    training = {f.name: type(getattr(OLD, f.name)) for f in fields(Settings) if f.name != "steps"}
    kinds = {**training, **dict.fromkeys(NETWORK, int), **DRAWING}
    given = {}
    for change in () if text == "old" else text.split():
        name, equals, value = change.partition("=")
        if name not in kinds or not equals:
            raise argparse.ArgumentTypeError(f"{change!r} is not NAME=VALUE with NAME one of {', '.join(kinds)}")
        try:
            given[name] = kinds[name](value)
        except ValueError:
            number = "a whole number" if kinds[name] is int else "a number"
            raise argparse.ArgumentTypeError(f"{name} must be {number}, got {value!r}") from None
    network = {**CHAPTER.network, **{name: value for name, value in given.items() if name in NETWORK}}
    drawing = {name: value for name, value in given.items() if name in DRAWING}
    try:
        settings = replace(OLD, **{name: value for name, value in given.items() if name in training})
        build_network(SHAPE, **network)
    except LabError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    for name, known in (("step", STEPS), ("spacing", SPACINGS)):
        if drawing.get(name, next(iter(known))) not in known:
            raise argparse.ArgumentTypeError(f"{name} must be one of {', '.join(known)}, got {drawing[name]!r}")
    if drawing.get("sample_steps", 1) < 1:
        raise argparse.ArgumentTypeError(f"sample_steps must be at least 1, got {drawing['sample_steps']}")
    if not math.isfinite(drawing.get("guidance", 1)):
        raise argparse.ArgumentTypeError(f"guidance must be finite, got {drawing['guidance']}")
    return Choice(text, settings, network, drawing)


class Study:
    """The data and the precision that all choices share."""

    def __init__(self, precision: str):
        self.data = CHAPTER.load("real", None, 0)
        self.accelerator = make_accelerator("cpu", precision)

    def trainer(self, made: Choice, steps: int, seed: int) -> Trainer:
        data, count = self.data, len(self.data.classes)
        network = build_network(tuple(data.train.shape[1:]), classes=count, seed=seed, **made.network)
        return Trainer(
            network=network,
            loss=losses.prediction_loss(CHAPTER.target),
            schedule=CHAPTER.schedule(data),
            source=Source(data.train, data.train_labels, classes=count, drop_share=CHAPTER.drop_labels),
            settings=replace(made.training, steps=steps),
            accelerator=self.accelerator,
            seed=seed,
        )

    def costs(self, choices: list[Choice], turns: int = 8, steps: int = 6) -> dict[str, float]:
        """Processor seconds of a training step, by the choice's key."""
        trainers = {made.key: self.trainer(made, 10**6, 0) for made in choices}
        best = dict.fromkeys(trainers, float("inf"))
        for _ in range(turns):
            for key, trainer in trainers.items():
                trainer._step(1000)
                began = time.process_time()
                for _ in range(steps):
                    trainer._step(1000)
                best[key] = min(best[key], (time.process_time() - began) / steps)
        return best

    @torch.no_grad()
    def held_out(self, network: torch.nn.Module, n: int = 4000) -> float:
        """The training loss on test images, which get the same noise whenever this is called."""
        generator = torch.Generator().manual_seed(0)
        schedule, loss = CHAPTER.schedule(self.data), losses.prediction_loss(CHAPTER.target)
        uniforms = (torch.randperm(n, generator=generator) + 0.5) / n
        values = []
        for rows in torch.arange(n).split(500):
            x0, labels = self.data.test[rows], self.data.test_labels[rows]
            noise = torch.randn(x0.shape, generator=generator)
            level = schedule.at(schedule.density(uniforms[rows].double(), schedule), like=noise)
            with self.accelerator.autocast():
                values.append(loss(network, x0, noise, level, {"labels": labels}))
        return float(torch.cat(values).mean())

    def score(self, network: torch.nn.Module, drawing: dict, seed: int, samples: int) -> tuple[float, float, float]:
        """Fréchet distance, its floor, and the share of samples of the class asked for."""
        pieces = assemble(CHAPTER, self.data, network, {"step": drawing["step"]} if "step" in drawing else {})
        if "spacing" in drawing:
            pieces = replace(pieces, schedule=replace(pieces.schedule, spacing=SPACINGS[drawing["spacing"]]))
        budget = replace(CHAPTER.budgets["full"], samples=samples)
        experiment = Experiment(
            CHAPTER,
            self.data,
            pieces,
            budget,
            seed,
            self.accelerator,
            network,
            judges(),
            guidance=drawing.get("guidance"),
        )
        experiment.draw(steps=drawing.get("sample_steps", 30))
        distance, agreement, *_ = CHAPTER.evaluate(experiment)
        return distance.value, distance.floor, agreement.value


def spread(values: list[float], digits: int) -> str:
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("choices", nargs="+", type=choice)
    parser.add_argument("--seconds", type=float, default=110, help="processor seconds of training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=2000, help="0 for the loss on held-out digits alone")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default=CHAPTER.precision)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(arguments.precision)
    costs = study.costs(arguments.choices)
    results: dict[str, list] = {made.name: [] for made in arguments.choices}
    networks: dict[tuple[str, int], torch.nn.Module] = {}
    for seed in arguments.seeds:
        for made in arguments.choices:
            if (made.key, seed) not in networks:
                trainer = study.trainer(made, int(arguments.seconds / costs[made.key]), seed)
                networks[made.key, seed] = trainer.fit()
            network = networks[made.key, seed]
            scores = study.score(network, made.drawing, seed, arguments.samples) if arguments.samples else ()
            results[made.name].append((study.held_out(network), *scores))
            print(f"{made.name}, seed {seed}: " + ", ".join(f"{v:.4g}" for v in results[made.name][-1]), flush=True)
    print(f"\n{arguments.seconds:g} processor seconds, {len(arguments.seeds)} seeds, {arguments.precision}\n")
    print("| choice | a step, ms | steps | held-out loss | Fréchet distance | floor | class asked for |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for made in arguments.choices:
        cost, columns = costs[made.key], list(zip(*results[made.name], strict=True))
        cells = [spread(values, digits) for values, digits in zip(columns, (4, 2, 2, 3), strict=False)]
        print(f"| {made.name} | {1e3 * cost:.0f} | {int(arguments.seconds / cost)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
