"""Chapter 4, sixteen correlated normals: what preconditioning buys, and solvers at equal network evaluations."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from diffusion_lab import losses, run_chapter, samplers, schedules, targets
from diffusion_lab.chapters.catalogue import get
from diffusion_lab.chapters.normal_nd import TRUTH
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.run import build
from diffusion_lab.checkpoints import load_tensors
from diffusion_lab.denoisers import from_network
from diffusion_lab.devices import make_accelerator
from diffusion_lab.exact import Gaussian
from diffusion_lab.metrics import sample_w2
from diffusion_lab.targets import Target
from diffusion_lab.train import Settings, Source, Trainer

COUNT, REPEATS = 5000, 3
EVALUATIONS = (5, 9, 19, 39, 79)
"""Odd, since Heun's last step asks once: n steps cost 2 n - 1 evaluations."""
SCHEDULE = schedules.karras()
BLOCK = 20
"""Training steps whose mean loss is recorded as one number."""
TRAINING = Settings(steps=4000, batch=1024)
"""As long as the shipped network was trained; the chapter's quick run is shorter."""
SHORT = 1500
"""Training steps of the ablation."""
LEVELS = (0.02, 0.2, 1.0, 5.0, 40.0)
OBSERVED, CORRELATION, FILLED = 1.5, 0.9, 20_000


def solvers(evaluations: int) -> dict[str, tuple[samplers.Step, int]]:
    """The solvers compared, and the steps each can afford."""
    return {
        "DDPM": (samplers.ddpm(), evaluations),
        "DDIM": (samplers.ddim(), evaluations),
        "Heun": (samplers.heun(), (evaluations + 1) // 2),
        "DPM-Solver++(2M)": (samplers.dpmpp_2m(), evaluations),
    }


def draw(denoise: Callable, step: samplers.Step, steps: int, seed: int) -> tuple[Tensor, int]:
    """COUNT samples, and what they cost."""
    generator = torch.Generator().manual_seed(seed)
    start = samplers.initial_noise(SCHEDULE, torch.randn(COUNT, len(TRUTH.mean), generator=generator))
    x, way = samplers.sample(denoise, SCHEDULE, step, start, steps=steps, generator=generator)
    return x, way.evaluations


def distance(x: Tensor) -> float:
    """The 2-Wasserstein distance of the samples' normal fit to the exact normal."""
    return sample_w2(x, TRUTH.mean, TRUTH.cov)


def mean(values: list[float]) -> float:
    """Their mean."""
    return math.fsum(values) / len(values)


def denoiser_errors(denoise: Callable) -> list[float]:
    """How far x0 is from the exact one at each of LEVELS, over that one's own error: root mean squares on noisy x."""
    generator = torch.Generator().manual_seed(11)
    found = []
    for sigma in LEVELS:
        x0 = TRUTH.sample(10_000, generator)
        level = SCHEDULE.at(torch.tensor(sigma / 80.0), like=x0)
        x = level.noisy(x0, torch.randn(x0.shape, generator=generator))
        exact = TRUTH.denoise(x, level).x0
        found.append(float((denoise(x, level).x0 - exact).norm() / (x0 - exact).norm()))
    return found


VARIANTS: dict[str, Target] = {
    "EDM": targets.edm(1.0),
    "ε, input scaled": replace(targets.eps, network_input=targets.scaled_input(1.0)),
    "x₀, input scaled": replace(targets.x0, network_input=targets.scaled_input(1.0)),
    "ε, input as it is": targets.eps,
    "x₀, input as it is": targets.x0,
}


def train(target: Target) -> Callable:
    """A network trained for SHORT steps on this target, as a denoiser.

    EDM has its weight, by which every level counts the same; the others have the plain mean square in their own units.
    """
    chapter = get("normal_nd")
    dataset = chapter.load("auto", None, 0)
    weight = losses.edm_weight(1.0) if target.name == "edm" else losses.uniform_weight
    pieces = {"target": target, "loss": losses.prediction_loss(target, weight)}
    own = assemble(chapter, dataset, build(chapter, dataset, 0), pieces)
    settings = replace(TRAINING, steps=SHORT)
    source = Source(data=dataset.train)
    trainer = Trainer(own.network, own.loss, own.schedule, source, settings, make_accelerator("cpu", "float32"))
    return from_network(trainer.fit(), own.target)


def fill_in(step: samplers.Step, steps: int, repeats: int) -> dict[str, float]:
    """Replacement (repeats 1) or RePaint on two normals of which one is observed, with the exact denoiser."""
    truth = Gaussian(torch.zeros(2), torch.tensor([[1.0, CORRELATION], [CORRELATION, 1.0]]))
    schedule, generator = schedules.cosine(), torch.Generator().manual_seed(1)
    known, mask = torch.tensor([[OBSERVED, 0.0]]).expand(FILLED, 2), torch.tensor([[True, False]])
    if repeats == 1:
        wrapped = samplers.replacing(step, known, mask)
    else:
        wrapped = samplers.resampling(step, known, mask, repeats)
    start = samplers.initial_noise(schedule, torch.randn(FILLED, 2, generator=generator))
    x, way = samplers.sample(truth.denoise, schedule, wrapped, start, steps=steps, generator=generator)
    return {"mean": float(x[:, 1].mean()), "std": float(x[:, 1].std()), "evaluations": way.evaluations}


def run(on_step: Callable[[str, int, int], None]) -> dict:
    """Everything that chapter 4 shows and a page has no time for."""
    with tempfile.TemporaryDirectory() as folder:
        report = run_chapter(
            "normal_nd", training=TRAINING, source="bundled", device="cpu", out=folder, on_step=on_step
        )
        values = load_tensors(Path(folder) / "normal_nd" / "state.safetensors")[0]["losses"].tolist()
    learned = report.experiment.denoiser()

    generator = torch.Generator().manual_seed(1)
    floor = mean([distance(TRUTH.sample(COUNT, generator)) for _ in range(20)])
    rows, jobs = [], [(n, name) for n in EVALUATIONS for name in solvers(n)]
    for done, (n, name) in enumerate(jobs):
        on_step("solvers", done, len(jobs))
        step, steps = solvers(n)[name]
        row = {"evaluations": n, "solver": name, "steps": steps}
        for kind, denoise in (("learned", learned), ("exact", TRUTH.denoise)):
            draws = [draw(denoise, step, steps, seed) for seed in range(REPEATS)]
            row |= {kind: mean([distance(x) for x, _ in draws]), "counted": draws[0][1]}
        rows.append(row)

    ablation = []
    for done, (name, target) in enumerate(VARIANTS.items()):
        on_step("preconditioning", done, len(VARIANTS))
        denoise = train(target)
        found = mean([distance(draw(denoise, samplers.heun(), 20, seed)[0]) for seed in range(REPEATS)])
        ablation.append({"variant": name, "errors": denoiser_errors(denoise), "distance": found})

    filled = []
    runs = [
        ("DDPM", samplers.ddpm(), ((20, 1), (100, 1), (500, 1), (20, 5), (100, 5), (100, 20))),
        ("DDIM", samplers.ddim(), ((100, 1), (500, 1), (100, 5), (100, 20))),
    ]
    for sampler, step, sizes in runs:
        for done, (steps, repeats) in enumerate(sizes):
            on_step(f"filling in with {sampler}", done, len(sizes))
            filled.append({"sampler": sampler, "steps": steps, "repeats": repeats, **fill_in(step, steps, repeats)})

    return {
        "data": report.dataset,
        "network": report.network,
        "parameters": report.parameters,
        "training_steps": report.training_steps,
        "block": BLOCK,
        "losses": [math.fsum(values[i : i + BLOCK]) / BLOCK for i in range(0, len(values), BLOCK)],
        "final_loss": report.final_loss,
        "loss_floor": report.loss_floor,
        "scores": [score.as_dict() for score in report.scores],
        "evaluations": report.evaluations,
        "samples": COUNT,
        "repeats": REPEATS,
        "floor": floor,
        "solvers": rows,
        "ablation": {"levels": list(LEVELS), "steps": SHORT, "rows": ablation},
        "filling": {"observed": OBSERVED, "correlation": CORRELATION, "samples": FILLED, "rows": filled},
    }
