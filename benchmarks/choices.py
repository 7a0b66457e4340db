"""What one processor second of training buys in a chapter: settings beside each other at equal seconds.

    python benchmarks/choices.py now "optimizer=adamw learning_rate=0.002 batch=64" [--seconds 110] [--seeds 0 1 2]
    python benchmarks/choices.py now "batch=32 guidance=3" --chapter audio --budget full --samples 500

A choice is `now`, which is what the chapter's budget has, or what it changes of that: settings of training and the
density of its times, of the network (width, depth, patch, levels), and of drawing (guidance, guidance_interval, step,
spacing, sample_steps). `guidance_interval=0.2:0.9` guides between these two times. `density=log_normal:-0.6:1.2:0.85`
draws 85 % of the training times by `log_normal_density(-0.6, 1.2)` and the others evenly; without the last number all
are drawn so. The training steps are timed first, in turns and by processor time, and the fastest turn counts, so that a
busy machine does not decide. Each choice then gets as many steps as fit into the seconds, on one thread: 110 of these
are about 60 s on two cores. The same seed gives the same start and the same noise. Networks are compared by the loss on
held-out data, which has the least luck in it, and by the chapter's own scores of its own samples. Needs real data on
disk, or `--source bundled`; DIFFUSION_LAB_DATA says where.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, fields, replace
from statistics import mean, stdev

import diffusion_lab  # noqa: F401 - before torch, whose threads it keeps from spinning long

# isort: split
import torch

from diffusion_lab.chapters import BEYOND, NAMES, get
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.run import budget_of, judges, source_of
from diffusion_lab.devices import make_accelerator
from diffusion_lab.errors import LabError
from diffusion_lab.metrics import Score
from diffusion_lab.networks import build_network
from diffusion_lab.samplers import STEPS
from diffusion_lab.times import (
    SPACINGS,
    Density,
    log_normal_density,
    log_snr_density,
    logit_normal_density,
    mixed_density,
    uniform_density,
)
from diffusion_lab.train import Settings, Trainer

NETWORK = ("width", "depth", "patch", "levels")
DENSITIES = {
    "uniform": uniform_density,
    "log_snr": log_snr_density,
    "logit_normal": logit_normal_density(),
    "log_normal": log_normal_density(),
}


def interval_of(text: str) -> tuple[float, float]:
    """FROM:TO, the two times between which samples are guided.

    Raises:
        LabError: for another text, and for times out of order or outside of 0 to 1.
    """
    try:
        first, last = (float(part) for part in text.split(":"))
        readable = 0 <= first < last <= 1
    except ValueError:
        readable = False
    if not readable:
        raise LabError(f"guidance_interval must be FROM:TO, two times between 0 and 1, got {text!r}")
    return first, last


DRAWING = {"guidance": float, "guidance_interval": interval_of, "sample_steps": int, "step": str, "spacing": str}


@dataclass(frozen=True)
class Choice:
    """One way to train and to draw."""

    name: str
    training: Settings
    network: dict
    drawing: dict
    density: str = ""
    """What `density_of` reads; the schedule's own where it is empty."""

    @property
    def key(self) -> str:
        """What decides the trained network, but for the seed."""
        return f"{self.training} {self.network} {self.density}"


def choice(text: str, budget: Budget) -> Choice:
    """What a text such as "batch=32 guidance=1" asks for; most that can be wrong with it is said here.

    Raises:
        LabError: naming the change, and what is accepted.
    """
    now = budget.training
    training = {f.name: type(getattr(now, f.name)) for f in fields(Settings) if f.name != "steps"}
    kinds = {**training, **dict.fromkeys(NETWORK, int), **DRAWING, "density": str}
    given = {}
    for change in () if text == "now" else text.split():
        name, equals, value = change.partition("=")
        if name not in kinds or not equals:
            raise LabError(f"{change!r} is not NAME=VALUE with NAME one of {', '.join(kinds)}")
        try:
            given[name] = kinds[name](value)
        except ValueError:
            number = "a whole number" if kinds[name] is int else "a number"
            raise LabError(f"{name} must be {number}, got {value!r}") from None
    network = {**budget.network, **{name: value for name, value in given.items() if name in NETWORK}}
    drawing = {name: value for name, value in given.items() if name in DRAWING}
    for name, known in (("step", STEPS), ("spacing", SPACINGS)):
        if drawing.get(name, next(iter(known))) not in known:
            raise LabError(f"{name} must be one of {', '.join(known)}, got {drawing[name]!r}")
    density = given.get("density", "")
    if "density" in given:
        density_of(density)
    if drawing.get("sample_steps", 1) < 1:
        raise LabError(f"sample_steps must be at least 1, got {drawing['sample_steps']}")
    if not math.isfinite(drawing.get("guidance", 1)):
        raise LabError(f"guidance must be finite, got {drawing['guidance']}")
    settings = replace(now, **{name: value for name, value in given.items() if name in training})
    return Choice(text, settings, network, drawing, density)


def density_of(text: str) -> Density:
    """One of `DENSITIES` by its name, or log_normal:MEAN:STD[:SHARE], where the other times are uniform.

    Raises:
        LabError: for another text, naming what is accepted; for a share outside (0, 1).
    """
    if text in DENSITIES:
        return DENSITIES[text]
    name, *parts = text.split(":")
    try:
        mean, std, *share = (float(part) for part in parts)
        readable = name == "log_normal" and len(share) <= 1 and math.isfinite(mean) and 0 < std < math.inf
    except ValueError:
        readable = False
    if not readable:
        accepted = f"one of {', '.join(DENSITIES)}, or log_normal:MEAN:STD[:SHARE] with a STD above 0"
        raise LabError(f"density must be {accepted}, got {text!r}")
    gathered = log_normal_density(mean, std)
    return mixed_density(gathered, uniform_density, share[0]) if share else gathered


class Study:
    """The chapter, the data and the precision that all choices share."""

    def __init__(self, chapter: Chapter, budget: Budget, source: str, precision: str):
        self.chapter, self.budget = chapter, budget
        self.data = chapter.load(source, None, 0)
        self.accelerator = make_accelerator("cpu", precision)

    def trainer(self, made: Choice, steps: int, seed: int) -> Trainer:
        chapter, data = self.chapter, self.data
        network = build_network(
            tuple(data.train.shape[1:]),
            classes=len(data.classes) if chapter.labelled else 0,
            self_condition=chapter.self_condition,
            seed=seed,
            **{**chapter.network, **made.network},
        )
        pieces = assemble(chapter, data, network, {})
        schedule = pieces.schedule
        if made.density:
            schedule = replace(schedule, density=density_of(made.density))
        return Trainer(
            network=network,
            loss=pieces.loss,
            schedule=schedule,
            source=source_of(chapter, data, pieces),
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
    def held_out(self, network: torch.nn.Module, n: int = 4000, block: int = 100) -> float:
        """The training loss on held-out data, which get the same noise whenever this is called; no label is dropped."""
        chapter, data = self.chapter, self.data
        pieces = assemble(chapter, data, network, {})
        held = replace(
            source_of(chapter, data, pieces),
            data=data.test,
            labels=data.test_labels if chapter.labelled else None,
            mask=data.info.get("test_mask"),
            drop_share=0.0,
        )
        settings = Settings(steps=1, batch=block)
        trainer = Trainer(network, pieces.loss, pieces.schedule, held, settings, self.accelerator)
        generator = torch.Generator().manual_seed(0)
        with self.accelerator.autocast():
            return mean(float(trainer._loss(generator)[0]) for _ in range(n // block))

    def scores(self, network: torch.nn.Module, drawing: dict, seed: int, samples: int) -> list[Score]:
        """The chapter's first two scores of what the network draws."""
        pieces = assemble(self.chapter, self.data, network, {"step": drawing["step"]} if "step" in drawing else {})
        if "spacing" in drawing:
            pieces = replace(pieces, schedule=replace(pieces.schedule, spacing=SPACINGS[drawing["spacing"]]))
        budget = replace(self.budget, samples=samples)
        experiment = Experiment(
            self.chapter,
            self.data,
            pieces,
            budget,
            seed,
            self.accelerator,
            network,
            judges(),
            guidance=drawing.get("guidance"),
            guidance_interval=drawing.get("guidance_interval"),
        )
        experiment.draw(steps=drawing.get("sample_steps"))
        return self.chapter.evaluate(experiment)[:2]


def spread(values: list[float]) -> str:
    """Mean and standard deviation, to four digits."""
    return f"{mean(values):.4g}" + (f" ± {stdev(values):.2g}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("choices", nargs="+")
    parser.add_argument(
        "--chapter", choices=[name for name in (*NAMES, *BEYOND) if get(name).latent is None], default="mnist"
    )
    parser.add_argument("--budget", default="quick", help="what `now` means, and how many samples are drawn")
    parser.add_argument("--source", choices=("real", "bundled", "auto"), default="real")
    parser.add_argument("--seconds", type=float, default=110, help="processor seconds of training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, help="0 for the loss on held-out data alone; else as the budget has it")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="the chapter's, unless you say")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chapter = get(arguments.chapter)
    precision = arguments.precision or chapter.precision
    try:
        budget = budget_of(chapter, arguments.budget)
        choices = [choice(text, budget) for text in arguments.choices]
        study = Study(chapter, budget, arguments.source, precision)
        costs = study.costs(choices)
    except LabError as error:
        parser.error(str(error))
    samples = budget.samples if arguments.samples is None else arguments.samples
    losses: dict[str, list[float]] = {made.name: [] for made in choices}
    scores: dict[str, list[list[Score]]] = {made.name: [] for made in choices}
    networks: dict[tuple[str, int], torch.nn.Module] = {}
    for seed in arguments.seeds:
        for made in choices:
            if (made.key, seed) not in networks:
                trainer = study.trainer(made, int(arguments.seconds / costs[made.key]), seed)
                networks[made.key, seed] = trainer.fit()
            network = networks[made.key, seed]
            losses[made.name].append(study.held_out(network))
            scores[made.name].append(study.scores(network, made.drawing, seed, samples) if samples else [])
            found = ", ".join(f"{score.name} {score.value:.4g}" for score in scores[made.name][-1])
            print(f"{made.name}, seed {seed}: held-out loss {losses[made.name][-1]:.4g} {found}", flush=True)
    taken = "bfloat16" if study.accelerator.mixed_precision == "bf16" else "float32"  # asked for is not always taken
    print(f"\n{arguments.seconds:g} processor seconds, {len(arguments.seeds)} seeds, {taken}\n")
    named = [score.name for score in scores[choices[0].name][0]]
    columns = ["a step, ms", "steps", "held-out loss", *named] + ["floor"] * bool(named)
    print("| choice | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for made in choices:
        cost, drawn = costs[made.key], list(zip(*scores[made.name], strict=True))
        cells = [f"{1e3 * cost:.0f}", f"{int(arguments.seconds / cost)}", spread(losses[made.name])]
        cells += [spread([score.value for score in each]) for each in drawn]
        cells += [spread([score.floor for score in each]) for each in drawn[:1]]
        print(f"| {made.name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
