"""Chapter 3, the mixture of five normals: samplers at equal network evaluations, and what the loss's weight is for."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from diffusion_lab import run_chapter, samplers, schedules
from diffusion_lab.chapters.mixture import TRUTH
from diffusion_lab.checkpoints import load_tensors
from diffusion_lab.levels import CLEAN
from diffusion_lab.losses import prediction_loss
from diffusion_lab.metrics import energy_distance, mean_log_likelihood, mode_weights, total_variation
from diffusion_lab.samplers.steps import langevin_update
from diffusion_lab.train import Settings, Source, Trainer

COUNT, REFERENCE, REPEATS = 3000, 10_000, 3
EVALUATIONS = (10, 20, 50, 100, 200, 1000)
EXACT_UP_TO = 100
"""The exact denoiser is slower than the network, and by here says what it has to say."""
SCHEDULE = schedules.geometric(sigma_min=0.02, sigma_max=15.0)
TRAINING = Settings(steps=4000, batch=1024)
"""As long as the shipped network was trained; the chapter's quick run is shorter."""
SHORT = 1500
"""Training steps of the ablation."""
BLOCK = 20
"""Training steps whose mean loss is recorded as one number."""
PLAIN_STEPS = (10, 30, 100, 300, 1000, 3000, 10_000)


def samplers_of(evaluations: int) -> dict[str, tuple[samplers.Step, int]]:
    """The samplers compared, and the steps each can afford; Langevin ends with one evaluation more."""
    return {
        "DDPM": (samplers.ddpm(), evaluations),
        "DDIM": (samplers.ddim(), evaluations),
        "Heun": (samplers.heun(), evaluations // 2),
        "DPM-Solver++(2M)": (samplers.dpmpp_2m(), evaluations),
        "Langevin, 1 a level": (samplers.annealed_langevin(1, 0.3), evaluations - 1),
        "Langevin, 5 a level": (samplers.annealed_langevin(5, 0.3), evaluations // 5),
        "Langevin, 20 a level": (samplers.annealed_langevin(20, 0.3), evaluations // 20),
    }


def rate(x: Tensor, reference: Tensor) -> dict[str, float]:
    """Energy distance to a large exact sample, total variation of the mode weights, log-likelihood in nats."""
    weights = mode_weights(x, lambda points: TRUTH.responsibilities(points.double(), CLEAN))
    return {
        "energy": energy_distance(x, reference),
        "weights": total_variation(weights, TRUTH.weights),
        "likelihood": mean_log_likelihood(x, lambda points: TRUTH.log_density(points.double(), CLEAN)),
    }


def mean_of(rates: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over the repeats."""
    return {key: math.fsum(r[key] for r in rates) / len(rates) for key in rates[0]}


def draw(denoise: Callable, step: samplers.Step, steps: int, seed: int) -> tuple[Tensor, int]:
    """COUNT samples, and what they cost."""
    generator = torch.Generator().manual_seed(seed)
    start = samplers.initial_noise(SCHEDULE, torch.randn(COUNT, 2, generator=generator))
    x, way = samplers.sample(denoise, SCHEDULE, step, start, steps=steps, generator=generator)
    return x, way.evaluations


def score_errors(denoise: Callable, levels: tuple[float, ...]) -> list[float]:
    """The relative error of the score on noisy data at each sigma: |learned - exact| / |exact|, root mean squares."""
    generator = torch.Generator().manual_seed(11)
    found = []
    for sigma in levels:
        x0 = TRUTH.sample(20_000, generator)
        level = SCHEDULE.at(torch.tensor(sigma / 15.0), like=x0)
        x = level.noisy(x0, torch.randn(x0.shape, generator=generator))
        exact = TRUTH.denoise(x, level).eps
        found.append(float((denoise(x, level).eps - exact).norm() / exact.norm()))
    return found


def loss_without_weight(network, x0, eps, level, cond):
    """The squared error of the score itself: the square error of sigma times the score, over sigma^2."""
    from diffusion_lab import targets

    return prediction_loss(targets.score)(network, x0, eps, level, cond) / level.sigma.flatten() ** 2


def equal_sigmas(uniforms: Tensor, schedule: schedules.Schedule) -> Tensor:
    """Training levels uniform in sigma in place of log sigma."""
    return schedule.t_min + (schedule.t_max - schedule.t_min) * uniforms


def train(**pieces) -> Callable:
    """A network trained for SHORT steps with these pieces in place of the chapter's, as a denoiser."""
    from diffusion_lab.chapters.catalogue import get
    from diffusion_lab.chapters.pieces import assemble
    from diffusion_lab.chapters.run import build
    from diffusion_lab.denoisers import from_network
    from diffusion_lab.devices import make_accelerator

    chapter = get("mixture")
    dataset = chapter.load("auto", None, 0)
    own = assemble(chapter, dataset, build(chapter, dataset, 0), pieces)
    settings = replace(TRAINING, steps=SHORT)
    source = Source(data=dataset.train)
    trainer = Trainer(own.network, own.loss, own.schedule, source, settings, make_accelerator("cpu", "float32"))
    return from_network(trainer.fit(), own.target)


def plain_langevin(generator: torch.Generator) -> dict[str, list]:
    """Langevin steps on the cleanest level alone, with the exact score: how far the weights are from the truth."""
    level = SCHEDULE.at(torch.tensor(SCHEDULE.t_min), like=torch.zeros(1, 2))
    x = torch.randn(1000, 2, generator=generator)
    found, done = [], 0
    for steps in PLAIN_STEPS:
        for _ in range(steps - done):
            x = langevin_update(x, TRUTH.score(x, level), 0.01, torch.randn(x.shape, generator=generator))
        done = steps
        weights = mode_weights(x, lambda points: TRUTH.responsibilities(points.double(), CLEAN))
        found.append(float(total_variation(weights, TRUTH.weights)))
    return {"steps": list(PLAIN_STEPS), "weights": found, "count": len(x)}


def run(on_step: Callable[[str, int, int], None]) -> dict:
    """Everything that chapter 3 shows and a page has no time for."""
    with tempfile.TemporaryDirectory() as folder:
        report = run_chapter("mixture", training=TRAINING, source="bundled", device="cpu", out=folder, on_step=on_step)
        losses = load_tensors(Path(folder) / "mixture" / "state.safetensors")[0]["losses"].tolist()
    learned = report.experiment.denoiser()

    generator = torch.Generator().manual_seed(1)
    reference = TRUTH.sample(REFERENCE, generator)
    floor = mean_of([rate(TRUTH.sample(COUNT, generator), reference) for _ in range(10)])

    rows, jobs = [], [(n, name) for n in EVALUATIONS for name in samplers_of(n)]
    for done, (n, name) in enumerate(jobs):
        on_step("samplers", done, len(jobs))
        step, steps = samplers_of(n)[name]
        if steps < 1:
            continue
        row = {"evaluations": n, "sampler": name, "steps": steps}
        kinds = {"learned": learned} | ({"exact": TRUTH.denoise} if n <= EXACT_UP_TO else {})
        for kind, denoise in kinds.items():
            draws = [draw(denoise, step, steps, seed) for seed in range(REPEATS)]
            row |= {kind: mean_of([rate(x, reference) for x, _ in draws]), "counted": draws[0][1]}
        rows.append(row)

    levels = (0.05, 0.2, 0.8, 3.0, 12.0)
    variants = {
        "weight σ², σ on a log scale": {},
        "no weight": {"loss": loss_without_weight},
        "weight σ², σ uniform": {"schedule": replace(SCHEDULE, density=equal_sigmas)},
    }
    ablation = []
    for done, (name, pieces) in enumerate(variants.items()):
        on_step("weights", done, len(variants))
        denoise = train(**pieces)
        draws = [draw(denoise, samplers.dpmpp_2m(), 20, seed)[0] for seed in range(REPEATS)]
        rates = mean_of([rate(x, reference) for x in draws])
        ablation.append({"variant": name, "errors": score_errors(denoise, levels), **rates})

    on_step("plain Langevin", 0, 1)
    return {
        "data": report.dataset,
        "network": report.network,
        "parameters": report.parameters,
        "training_steps": report.training_steps,
        "block": BLOCK,
        "losses": [math.fsum(losses[i : i + BLOCK]) / BLOCK for i in range(0, len(losses), BLOCK)],
        "final_loss": report.final_loss,
        "loss_floor": report.loss_floor,
        "scores": [score.as_dict() for score in report.scores],
        "evaluations": report.evaluations,
        "samples": COUNT,
        "repeats": REPEATS,
        "floor": floor,
        "samplers": rows,
        "ablation": {"levels": list(levels), "steps": SHORT, "rows": ablation},
        "plain": plain_langevin(torch.Generator().manual_seed(5)),
    }
