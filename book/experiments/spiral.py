"""Chapter 6, the spiral: solvers at equal cost, time shifts, targets and paths, memory, straightened paths."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from diffusion_lab import run_chapter, samplers, schedules, targets
from diffusion_lab.chapters.catalogue import get
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.run import build
from diffusion_lab.checkpoints import load_tensors
from diffusion_lab.denoisers import from_network
from diffusion_lab.devices import make_accelerator
from diffusion_lab.exact import FiniteSet
from diffusion_lab.losses import prediction_loss
from diffusion_lab.metrics import distance_to_curve, energy_distance
from diffusion_lab.train import Settings, Source, Trainer

COUNT, REPEATS = 3000, 3
EVALUATIONS = (1, 2, 4, 8, 16, 32, 64, 128)
FLOW = schedules.flow()
STEPS = {
    "DDPM": samplers.ddpm(),
    "Euler": samplers.euler(),
    "Heun": samplers.heun(),
    "DPM-Solver++(2M)": samplers.dpmpp_2m(),
}
SHIFTS = (0.25, 0.5, 1.0, 2.0, 4.0)
TRAINING = Settings(steps=6000, batch=1024)
"""As long as the shipped network was trained; the chapter's quick run is shorter."""
SHORT = Settings(steps=2000, batch=512)
SIZES = (10, 30, 100, 300, 1000, 20_000)
DRAWN_SIZES = (10, 30, 300)
MEMORY = Settings(steps=4000, batch=256)
REFLOW = Settings(steps=4000, batch=512)
BLOCK = 30
"""Training steps whose mean loss is recorded as one number."""


def steps_for(name: str, evaluations: int) -> int:
    """How many steps a solver can afford; Heun pays two evaluations for each step but the last."""
    return (evaluations + 1) // 2 if name == "Heun" else evaluations


def start_of(schedule: schedules.Schedule, count: int, generator: torch.Generator) -> Tensor:
    return samplers.initial_noise(schedule, torch.randn(count, 2, generator=generator))


def shifted(steps: int, shift: float) -> Tensor:
    """Times of a sampler with any positive shift."""
    return schedules.flow(shift).at(torch.linspace(1, 0, steps + 1, dtype=torch.float64)).sigma


def mean_of(rates: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over the repeats."""
    return {key: math.fsum(r[key] for r in rates) / len(rates) for key in rates[0]}


class Judge:
    """Energy distance to held-out points, and the mean distance to the clean curve."""

    def __init__(self, dataset):
        self.held_out, self.curve = dataset.test[:5000], dataset.info["curve"][::4]

    def __call__(self, x: Tensor) -> dict[str, float]:
        return {
            "energy": energy_distance(x, self.held_out),
            "off_curve": distance_to_curve(x, self.curve).mean,
        }


def compare_solvers(denoisers: dict[str, Callable], judge: Judge, on_step) -> list[dict]:
    """Every solver at every number of evaluations: how good the samples are, and how far from the true solution."""
    starts = [start_of(FLOW, COUNT, torch.Generator().manual_seed(seed)) for seed in range(REPEATS)]
    truth = {}
    for kind, denoise in denoisers.items():
        on_step(f"fine solution, {kind}", 0, 1)
        truth[kind] = samplers.sample(denoise, FLOW, samplers.heun(), starts[0][:1000], steps=300)[0]
    rows, jobs = [], [(n, name) for n in EVALUATIONS for name in STEPS]
    for done, (n, name) in enumerate(jobs):
        on_step("solvers", done, len(jobs))
        row = {"evaluations": n, "solver": name, "steps": steps_for(name, n)}
        for kind, denoise in denoisers.items():
            draws = []
            for seed, start in enumerate(starts if kind == "learned" else starts[:1]):
                generator = torch.Generator().manual_seed(seed)
                x, way = samplers.sample(denoise, FLOW, STEPS[name], start, steps=row["steps"], generator=generator)
                draws.append(x)
            row["counted"] = way.evaluations
            row[kind] = mean_of([judge(x) for x in draws])
            if name != "DDPM":
                row[kind]["solution"] = float((draws[0][:1000] - truth[kind]).norm(dim=1).median())
        rows.append(row)
    return rows


def compare_shifts(denoise: Callable, judge: Judge) -> list[dict]:
    """The same number of evaluations, placed by different shifts."""
    start = start_of(FLOW, COUNT, torch.Generator().manual_seed(0))
    rows = []
    for n in (8, 16):
        for name in ("Euler", "DPM-Solver++(2M)"):
            for shift in SHIFTS:
                x, _ = samplers.sample(denoise, FLOW, STEPS[name], start, times=shifted(n, shift))
                rows.append({"evaluations": n, "solver": name, "shift": shift, **judge(x)})
    return rows


def train(data: Tensor, settings: Settings, **pieces):
    """A network trained on these points with these pieces in place of the chapter's; network and pieces."""
    chapter = get("spiral")
    dataset = chapter.load("auto", None, 0)
    own = assemble(chapter, dataset, build(chapter, dataset, 0), pieces)
    trainer = Trainer(own.network, own.loss, own.schedule, Source(data), settings, make_accelerator("cpu", "float32"))
    return trainer.fit(), own


def compare_targets(dataset, judge: Judge, on_step) -> list[dict]:
    """Three targets on two paths, trained equally long and sampled by the same solver."""
    flow = FLOW.limit_log_snr(-10.0, 12.0)
    jobs = {
        ("straight", "velocity"): {"schedule": flow, "target": targets.flow},
        ("straight", "eps"): {"schedule": flow, "target": targets.eps},
        ("straight", "x0"): {"schedule": flow, "target": targets.x0},
        ("cosine", "v"): {"schedule": schedules.cosine(), "target": targets.v},
        ("cosine", "eps"): {"schedule": schedules.cosine(), "target": targets.eps},
        ("cosine", "x0"): {"schedule": schedules.cosine(), "target": targets.x0},
    }
    rows = []
    for done, ((path, target), pieces) in enumerate(jobs.items()):
        on_step("targets and paths", done, len(jobs))
        network, own = train(dataset.train, SHORT, **pieces)
        denoise, rates = from_network(network, own.target), []
        for seed in range(REPEATS):
            start = start_of(own.schedule, COUNT, torch.Generator().manual_seed(seed))
            rates.append(judge(samplers.sample(denoise, own.schedule, samplers.dpmpp_2m(), start, steps=30)[0]))
        rows.append({"path": path, "target": target, **mean_of(rates)})
    return rows


def flow_losses(denoise: Callable, x0: Tensor, seed: int) -> float:
    """The mean loss of the velocity that a denoiser stands for, over 4,000 pairs of a point and a noise."""
    generator = torch.Generator().manual_seed(seed)
    x0 = x0[torch.randint(len(x0), (4000,), generator=generator)]
    noise = torch.randn(x0.shape, generator=generator)
    level = FLOW.at(FLOW.t_min + (1 - FLOW.t_min) * (torch.arange(4000) + 0.5) / 4000, like=x0)
    guess = denoise(level.noisy(x0, noise), level)
    return float(((guess.eps - guess.x0) - (noise - x0)).square().mean())


def nearest(x: Tensor, data: Tensor) -> float:
    """The median distance from x to the nearest of the data."""
    return float(torch.cat([torch.cdist(part, data).amin(dim=1) for part in x.split(500)]).median())


def compare_sizes(dataset, judge: Judge, on_step) -> dict:
    """The same network trained on few and on many points: does it learn the spiral or the points?"""
    held_out, rows, shown = dataset.test[5000:7000], [], {}
    for done, size in enumerate(SIZES):
        on_step("sizes of the training set", done, len(SIZES))
        points = dataset.train[:size]
        network, own = train(points, MEMORY)
        learned, ideal = from_network(network, own.target), FiniteSet(points).denoise
        row = {"points": size, "held_out_nearest": nearest(held_out, points)}
        for kind, denoise in {"learned": learned, "ideal": ideal}.items():
            start = start_of(FLOW, 2000, torch.Generator().manual_seed(1))
            x = samplers.sample(denoise, FLOW, samplers.dpmpp_2m(), start, steps=60)[0]
            row[kind] = {
                **judge(x),
                "nearest": nearest(x, points),
                "training_loss": flow_losses(denoise, points, 2),
                "held_out_loss": flow_losses(denoise, held_out, 3),
            }
            if kind == "learned" and size in DRAWN_SIZES:
                shown[str(size)] = [[round(v, 3) for v in point] for point in x[:400].tolist()]
        rows.append(row)
    return {"rows": rows, "samples": shown, "steps": MEMORY.steps, "batch": MEMORY.batch}


def straightness(denoise: Callable, start: Tensor) -> float:
    """The mean length of the paths, as a multiple of the straight line between their ends."""
    _, way = samplers.sample(denoise, FLOW, samplers.euler(), start, steps=200, keep=len(start))
    length = sum((b - a).norm(dim=1) for a, b in pairwise(way.states))
    return float((length / (way.states[-1] - way.states[0]).norm(dim=1)).mean())


def reflow(network, judge: Judge, on_step) -> dict:
    """Join each noise to the sample that the flow makes of it, and train a second network on these lines."""
    first = from_network(network, targets.flow)
    generator = torch.Generator().manual_seed(7)
    noise = start_of(FLOW, 20_000, generator)
    on_step("pairs of noise and sample", 0, 1)
    made = samplers.sample(first, FLOW, samplers.dpmpp_2m(), noise, steps=60)[0]
    chapter = get("spiral")
    dataset = chapter.load("auto", None, 0)
    own = assemble(chapter, dataset, build(chapter, dataset, 0), {})
    own.network.load_state_dict(network.state_dict())
    loss = prediction_loss(targets.flow)

    def paired(network, x0, eps, level, cond):
        """The batch holds both ends of a line: x0 (B, 4) is a sample and its noise, and fresh noise is not used."""
        return loss(network, x0[:, :2], x0[:, 2:], level, cond)

    on_step("second training", 0, 1)
    pairs = Source(torch.cat([made, noise], dim=1))
    trainer = Trainer(own.network, paired, own.schedule, pairs, REFLOW, make_accelerator("cpu", "float32"))
    second = from_network(trainer.fit(), targets.flow)
    start = start_of(FLOW, COUNT, torch.Generator().manual_seed(0))
    rows = []
    for n in (1, 2, 4, 8, 16):
        found = {"evaluations": n}
        for name, denoise in (("first", first), ("second", second)):
            found[name] = judge(samplers.sample(denoise, FLOW, samplers.euler(), start, steps=n)[0])
        rows.append(found)
    lengths = {name: straightness(d, start[:1000]) for name, d in (("first", first), ("second", second))}
    return {"rows": rows, "lengths": lengths, "pairs": len(noise), "steps": REFLOW.steps}


def run(on_step: Callable[[str, int, int], None]) -> dict:
    """Everything that chapter 6 shows and a page has no time for."""
    with tempfile.TemporaryDirectory() as folder:
        report = run_chapter("spiral", training=TRAINING, source="bundled", device="cpu", out=folder, on_step=on_step)
        losses = load_tensors(Path(folder) / "spiral" / "state.safetensors")[0]["losses"].tolist()
    dataset, exact = report.experiment.dataset, report.experiment.exact
    learned = from_network(report.experiment.network, targets.flow)
    judge, generator = Judge(dataset), torch.Generator().manual_seed(5)
    floor = mean_of([judge(exact.sample(COUNT, generator)) for _ in range(10)])
    return {
        "data": report.dataset,
        "network": report.network,
        "parameters": report.parameters,
        "training_steps": report.training_steps,
        "batch": report.batch,
        "block": BLOCK,
        "losses": [math.fsum(losses[i : i + BLOCK]) / BLOCK for i in range(0, len(losses), BLOCK)],
        "final_loss": report.final_loss,
        "loss_floor": report.loss_floor,
        "scores": [score.as_dict() for score in report.scores],
        "evaluations": report.evaluations,
        "samples": COUNT,
        "repeats": REPEATS,
        "floor": floor,
        "solvers": compare_solvers({"learned": learned, "exact": exact.denoise}, judge, on_step),
        "shifts": compare_shifts(learned, judge),
        "targets": {"rows": compare_targets(dataset, judge, on_step), "steps": SHORT.steps},
        "sizes": compare_sizes(dataset, judge, on_step),
        "reflow": reflow(report.experiment.network, judge, on_step),
    }
