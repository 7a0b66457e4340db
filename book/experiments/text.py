"""Chapter 9, text: readers of noisy words, which part of the recipe matters, samplers at equal cost, and GloVe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import torch
from experiments.parts.text_readers import Words
from experiments.parts.text_sentences import Judge, texts
from torch import Tensor

from diffusion_lab import open_checkpoint, samplers, schedules, targets
from diffusion_lab.chapters.catalogue import get
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.run import build
from diffusion_lab.chapters.text import rounded_loss, to_ids
from diffusion_lab.data import Dataset, load
from diffusion_lab.denoisers import from_network, nearest_rows, self_conditioned, with_x0
from diffusion_lab.devices import make_accelerator
from diffusion_lab.levels import Level
from diffusion_lab.losses import prediction_loss
from diffusion_lab.metrics import word_accuracy
from diffusion_lab.samplers import initial_noise, sample
from diffusion_lab.schedules import Schedule
from diffusion_lab.train import Settings, Source, Trainer

LEVELS = (4.0, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0)
SCHEDULE = schedules.square_root()
SHORT = Settings(steps=1200, batch=64, learning_rate=1e-3, ema_decay=0.99)
"""Training of the ablation, in place of the 2,000 steps of the shipped network."""
GLOVE = Settings(steps=2000, batch=64, learning_rate=1e-3, ema_decay=0.995)
COUNT = 500
EVALUATIONS = (5, 10, 20, 50, 100)
BLOCK = 10
"""Training steps whose mean loss is recorded as one number."""


def level_at(log_snr: float, like: Tensor, schedule: Schedule = SCHEDULE) -> Level:
    return schedule.at(schedule.time_at(torch.tensor(log_snr)), like=like)


def noise_like(x: Tensor, seed: int) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def masks_of(data: Dataset, count: int) -> Tensor:
    """Lengths as the training text has them."""
    masks = data.info["train_mask"]
    return masks[torch.randint(len(masks), (count,), generator=torch.Generator().manual_seed(3))]


def sentences_from(
    network, data: Dataset, accelerator, *, target=targets.x0, schedule=SCHEDULE, step=None, steps=50,
    clamp=True, remember=True, seed=0, count=COUNT,
) -> Tensor:  # fmt: skip
    """Word numbers (count, 8) of sampled sentences; 0 is padding."""
    generator, mask = torch.Generator().manual_seed(seed), masks_of(data, count)
    cond = {"mask": mask}
    denoise = (self_conditioned if remember else from_network)(network, target, cond)
    if clamp:
        denoise = with_x0(denoise, nearest_rows(data.info["vectors"][1:]))
    start = initial_noise(schedule, torch.randn((count, *data.train.shape[1:]), generator=generator))
    with accelerator.autocast():
        x, _ = sample(denoise, schedule, step or samplers.ddim(eta=1.0), start, steps=steps, generator=generator)
    return to_ids(x.float(), data) * mask


def survival(network, data: Dataset, log_snrs=LEVELS, count: int = 1000) -> list[dict]:
    """The share of held-out words recovered at each noise level, and the error of x0, by readers and by the network."""
    words, rows = Words(data), []
    test, mask, ids = (data.test[:count], data.info["test_mask"][:count], data.info["test_ids"][:count])
    cond, noise = {"mask": mask}, noise_like(test, 17)
    for log_snr in log_snrs:
        level = level_at(log_snr, test)
        x = level.noisy(test, noise)
        once = from_network(network, targets.x0, cond)(x, level).x0
        twice = from_network(network, targets.x0, {**cond, "last": once})(x, level).x0
        row = {"log_snr": log_snr}
        estimates = {"nearest": x / level.alpha.float(), "network": once, "twice": twice}
        for name, estimate in estimates.items():
            row[name] = word_accuracy(to_ids(estimate, data), ids, mask)
            row[f"{name} error"] = float((estimate - test)[mask].square().mean())
        for name in ("alone", "chain", "memory"):
            p = getattr(words, name)(x, level, mask)
            row[name] = word_accuracy(p.argmax(dim=-1) + 1, ids, mask)
            row[f"{name} error"] = float((p @ words.vectors - test)[mask].square().mean())
        rows.append(row)
    return rows


@lru_cache(maxsize=1)
def _loss_of_the_chapter() -> Callable:
    return rounded_loss(targets.x0, SCHEDULE, load("text", source="bundled"))


def padding_counted(network, x0: Tensor, eps: Tensor, level: Level, cond: dict) -> Tensor:
    """The chapter's loss, taken over padded places as well. The network sees the mask as ever."""
    mask = cond["mask"]
    others = {name: value for name, value in cond.items() if name != "mask"}

    def seeing(x: Tensor, t: Tensor, **given: Tensor) -> Tensor:
        return network(x, t, mask=mask, **given)

    return _loss_of_the_chapter()(seeing, x0, eps, level, others)


def train(data: Dataset, settings: Settings, *, remember=True, seed=0, **pieces):
    """A network trained on the sentences with these pieces in place of the chapter's."""
    chapter = get("text")
    own = assemble(chapter, data, build(chapter, data, seed), pieces)
    source = Source(data.train, mask=data.info["train_mask"], self_condition=own.target if remember else None)
    accelerator = make_accelerator("cpu", chapter.precision)
    trainer = Trainer(own.network, own.loss, own.schedule, source, settings, accelerator, seed)
    return trainer.fit(), own, accelerator, trainer.losses


def ablation(data: Dataset, judge: Judge, on_step: Callable, settings: Settings = SHORT) -> list[dict]:
    """One part of the recipe changed at a time, trained equally long, sampled at equal cost."""
    jobs = {
        "as in this chapter": {},
        "the same, another seed": {"seed": 1},
        "no rounding loss": {"loss": prediction_loss(targets.x0)},
        "no self-conditioning": {"remember": False},
        "padding counted in the loss": {"loss": padding_counted},
        "cosine schedule": {"schedule": schedules.cosine()},
        "target v, cosine schedule": {
            "schedule": schedules.cosine(), "target": targets.v, "loss": prediction_loss(targets.v),
        },
    }  # fmt: skip
    rows, mask, ids = [], data.info["test_mask"], data.info["test_ids"]
    for done, (name, pieces) in enumerate(jobs.items()):
        on_step("ablation", done, len(jobs))
        network, own, accelerator, losses = train(data, settings, **pieces)
        remember = pieces.get("remember", True)
        made = sentences_from(
            network, data, accelerator, target=own.target, schedule=own.schedule, remember=remember, steps=50
        )
        row = {"variant": name, **judge(made)}
        for log_snr in (0.0, -1.0, -3.0):
            level = level_at(log_snr, data.test, own.schedule)
            x = level.noisy(data.test, noise_like(data.test, 17))
            x0 = from_network(network, own.target, {"mask": mask})(x, level).x0
            row[f"right at {log_snr:g}"] = word_accuracy(to_ids(x0, data), ids, mask)
        if not rows:
            row["losses"] = [math.fsum(losses[i : i + BLOCK]) / BLOCK for i in range(0, len(losses), BLOCK)]
        rows.append(row)
    return rows


def compare_samplers(network, data: Dataset, accelerator, judge: Judge, on_step: Callable) -> list[dict]:
    """Steps, clamped and not, at equal network evaluations."""
    steps = {
        "DDIM, η = 0": samplers.ddim(),
        "DDIM, η = 1": samplers.ddim(eta=1.0),
        "DPM-Solver++(2M)": samplers.dpmpp_2m(),
    }
    rows, jobs = [], [(n, name, clamp) for n in EVALUATIONS for name in steps for clamp in (False, True)]
    for done, (n, name, clamp) in enumerate(jobs):
        on_step("samplers", done, len(jobs))
        ids = sentences_from(network, data, accelerator, step=steps[name], steps=n, clamp=clamp)
        rows.append({"evaluations": n, "sampler": name, "clamp": clamp, **judge(ids)})
    return rows


def remembering(network, data: Dataset, accelerator, judge: Judge) -> dict[str, dict]:
    """What the network's own last estimate is worth while sampling."""
    return {
        name: judge(sentences_from(network, data, accelerator, steps=50, remember=remember))
        for name, remember in (("with its last estimate", True), ("with zeros in its place", False))
    }


def capacity(vectors: Tensor) -> float:
    """The log-SNR at which a channel of these dimensions carries log V nats: 1/2 D log(1 + SNR) = log V."""
    return math.log(math.exp(2 * math.log(len(vectors)) / vectors.shape[1]) - 1)


def vocabulary(vectors: Tensor, seed: int) -> dict:
    """How many of the words survive each noise level, when each is read as the nearest; and by dot products."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(vectors), (3000,), generator=generator)
    rows = []
    for log_snr in LEVELS:
        level = level_at(log_snr, vectors)
        x = level.noisy(vectors[chosen], torch.randn(3000, vectors.shape[1], generator=generator))
        found = torch.cat([torch.cdist(part / level.alpha.float(), vectors).argmin(dim=1) for part in x.split(500)])
        rows.append(float((found == chosen).double().mean()))
    order = torch.arange(len(vectors))
    by_product = torch.cat([(part @ vectors.T).argmax(dim=1) for part in vectors.split(500)])
    return {
        "words": len(vectors),
        "dimensions": vectors.shape[1],
        "capacity": capacity(vectors),
        "right": rows,
        "lost_by_dot_product": float((by_product != order).double().mean()),
        "words_that_win": len(by_product.unique()),
    }


def glove(on_step: Callable, settings: Settings = GLOVE) -> dict:
    """The same chapter on GloVe's vectors, and what they say of words."""
    data = load("text", source="real")
    on_step("a network for GloVe", 0, 1)
    network, _, accelerator, _ = train(data, settings)
    ids = sentences_from(network, data, accelerator)
    return {
        "data": data.name,
        "training_steps": settings.steps,
        "batch": settings.batch,
        "survival": survival(network, data),
        "samples": texts(ids, data, 12),
        "judged": Judge(data)(ids),
        "sentence_words": vocabulary(data.info["vectors"][1:], 5),
        "all_words": vocabulary(data.info["glove_vectors"], 5),
    }


def run(on_step: Callable[[str, int, int], None], scale: float = 1.0) -> dict:
    """Everything that chapter 9 shows and a page has no time for. It needs GloVe: `diffusion-lab data fetch text`."""
    short, longer = (replace(settings, steps=int(settings.steps * scale)) for settings in (SHORT, GLOVE))
    of_glove = glove(on_step, longer)
    shipped = open_checkpoint(name="text", source="bundled")
    data, network, accelerator = shipped.dataset, shipped.network, shipped.accelerator
    judge, test = Judge(data), data.info["test_ids"]
    told = Words(data).tell(COUNT, torch.Generator().manual_seed(5))
    return {
        "data": f"{data.name}; {of_glove['data']}",
        "bundled": data.name,
        "count": COUNT,
        "block": BLOCK,
        "levels": list(LEVELS),
        "floor": judge(test[500:]),
        "chain": judge(told),
        "told": texts(told, data, 12),
        "vocabulary": vocabulary(data.info["vectors"][1:], 5),
        "samplers": compare_samplers(network, data, accelerator, judge, on_step),
        "remembering": remembering(network, data, accelerator, judge),
        "ablation": {"steps": short.steps, "rows": ablation(data, judge, on_step, short)},
        "glove": of_glove,
    }
