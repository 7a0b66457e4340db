"""Chapter 9, text: what survives which noise, which part of the recipe matters, samplers at equal cost, and GloVe."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from diffusion_lab import run_chapter, samplers, schedules, targets
from diffusion_lab.chapters.catalogue import get
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.run import build
from diffusion_lab.chapters.text import WordPosterior, rounded_loss, to_ids
from diffusion_lab.checkpoints import load_tensors
from diffusion_lab.data import Dataset, load
from diffusion_lab.denoisers import from_network, nearest_rows, self_conditioned, with_x0
from diffusion_lab.devices import make_accelerator
from diffusion_lab.levels import Level
from diffusion_lab.losses import prediction_loss
from diffusion_lab.metrics import energy_distance, word_accuracy
from diffusion_lab.samplers import initial_noise, sample
from diffusion_lab.schedules import Schedule
from diffusion_lab.train import Settings, Source, Trainer

LEVELS = (4.0, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0)
SCHEDULE = schedules.square_root()
SHORT = Settings(steps=1200, batch=64, learning_rate=1e-3, ema_decay=0.99)
"""Training of the ablation, in place of the 2,000 steps of the chapter's quick run."""
GLOVE = Settings(steps=3000, batch=64, learning_rate=1e-3, ema_decay=0.995)
COUNT = 500
EVALUATIONS = (5, 10, 20, 50)
BLOCK = 10
"""Training steps whose mean loss is recorded as one number."""
SHOWN_WORDS = ("king", "cat", "milk", "slowly", "seven")


def level_at(log_snr: float, like: Tensor, schedule: Schedule = SCHEDULE) -> Level:
    return schedule.at(schedule.time_at(torch.tensor(log_snr)), like=like)


def noise_like(x: Tensor, seed: int) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def codes_of(ids: Tensor) -> Tensor:
    """Each pair of neighbouring words as one number; padding (word 0) makes no pair."""
    first, second = ids[:, :-1], ids[:, 1:]
    return (first * 100_003 + second)[(first > 0) & (second > 0)]


class Judge:
    """How much sampled sentences (N, 8) of word numbers are like the text."""

    def __init__(self, data: Dataset):
        self.data = data
        self.seen = codes_of(torch.cat([data.info["train_ids"], data.info["test_ids"]])).unique()
        self.known = codes_of(data.info["train_ids"]).unique()
        self.text = {tuple(row) for row in data.info["train_ids"].tolist()}

    def __call__(self, ids: Tensor) -> dict[str, float]:
        rows = [tuple(row) for row in ids.tolist()]
        good = [bool(torch.isin(codes_of(row[None]), self.seen).all()) for row in ids]
        vectors, test = self.data.info["vectors"], self.data.info["test_ids"]
        return {
            "pairs": float(torch.isin(codes_of(ids), self.seen).double().mean()),
            "sentences": sum(good) / len(good),
            "copies": sum(row in self.text for row in rows) / len(rows),
            "distinct": len(set(rows)) / len(rows),
            "energy": energy_distance(vectors[ids].flatten(1), vectors[test[:500]].flatten(1)),
        }

    def floor(self) -> dict[str, float]:
        """Held-out sentences, with pairs counted against the training text alone."""
        ids = self.data.info["test_ids"]
        rows, half = ids[:COUNT], ids[500:1000]
        vectors = self.data.info["vectors"]
        good = [bool(torch.isin(codes_of(row[None]), self.known).all()) for row in rows]
        return {
            "pairs": float(torch.isin(codes_of(rows), self.known).double().mean()),
            "sentences": sum(good) / len(good),
            "energy": energy_distance(vectors[half].flatten(1), vectors[rows].flatten(1)),
        }


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


def words_right(estimate: Tensor, data: Dataset) -> float:
    return word_accuracy(to_ids(estimate, data), data.info["test_ids"], data.info["test_mask"])


def survival(network, data: Dataset, on_step: Callable, what: str) -> list[dict]:
    """The share of held-out words recovered at each noise level, by four readers."""
    posterior, rows = WordPosterior(data), []
    mask = {"mask": data.info["test_mask"]}
    for done, log_snr in enumerate(LEVELS):
        on_step(f"survival, {what}", done, len(LEVELS))
        level = level_at(log_snr, data.test)
        x = level.noisy(data.test, noise_like(data.test, 17))
        once = from_network(network, targets.x0, mask)(x, level).x0
        twice = from_network(network, targets.x0, {**mask, "last": once})(x, level).x0
        alone = posterior.denoise(x, level).x0
        real = data.info["test_mask"]
        rows.append(
            {
                "log_snr": log_snr,
                "nearest": words_right(x / level.alpha, data),
                "alone": words_right(alone, data),
                "network": words_right(once, data),
                "network_twice": words_right(twice, data),
                "error_alone": float((alone - data.test)[real].square().mean()),
                "error_network": float((once - data.test)[real].square().mean()),
            }
        )
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


def train(data: Dataset, settings: Settings, *, remember=True, **pieces):
    """A network trained on the sentences with these pieces in place of the chapter's."""
    chapter = get("text")
    own = assemble(chapter, data, build(chapter, data, 0), pieces)
    source = Source(data.train, mask=data.info["train_mask"], self_condition=own.target if remember else None)
    accelerator = make_accelerator("cpu", chapter.precision)
    trainer = Trainer(own.network, own.loss, own.schedule, source, settings, accelerator)
    return trainer.fit(), own, accelerator


def ablation(data: Dataset, judge: Judge, on_step: Callable) -> list[dict]:
    """One part of the recipe changed at a time, trained equally long, sampled at equal cost."""
    jobs = {
        "as in this chapter": {},
        "no rounding loss": {"loss": prediction_loss(targets.x0)},
        "no self-conditioning": {"remember": False},
        "padding counted in the loss": {"loss": padding_counted},
        "cosine schedule": {"schedule": schedules.cosine()},
        "target v, cosine schedule": {
            "schedule": schedules.cosine(), "target": targets.v, "loss": prediction_loss(targets.v),
        },
    }  # fmt: skip
    rows = []
    for done, (name, pieces) in enumerate(jobs.items()):
        on_step("ablation", done, len(jobs))
        network, own, accelerator = train(data, SHORT, **pieces)
        remember = pieces.get("remember", True)
        ids = sentences_from(
            network, data, accelerator, target=own.target, schedule=own.schedule, remember=remember, steps=50
        )
        row = {"variant": name, **judge(ids)}
        mask = {"mask": data.info["test_mask"]}
        for log_snr in (-1.0, -3.0):
            level = level_at(log_snr, data.test, own.schedule)
            x = level.noisy(data.test, noise_like(data.test, 17))
            row[f"right at {log_snr:g}"] = words_right(from_network(network, own.target, mask)(x, level).x0, data)
        rows.append(row)
    return rows


def compare_samplers(network, data: Dataset, accelerator, judge: Judge, on_step: Callable) -> list[dict]:
    """Steps, clamped and not, at equal network evaluations."""
    steps = {
        "DDIM, eta 0": samplers.ddim(),
        "DDIM, eta 1": samplers.ddim(eta=1.0),
        "DPM-Solver++(2M)": samplers.dpmpp_2m(),
    }
    rows, jobs = [], [(n, name, clamp) for n in EVALUATIONS for name in steps for clamp in (False, True)]
    for done, (n, name, clamp) in enumerate(jobs):
        on_step("samplers", done, len(jobs))
        ids = sentences_from(network, data, accelerator, step=steps[name], steps=n, clamp=clamp)
        rows.append({"evaluations": n, "sampler": name, "clamp": clamp, **judge(ids)})
    for remember in (True, False):
        ids = sentences_from(network, data, accelerator, steps=50, remember=remember, seed=1)
        rows.append({"evaluations": 50, "sampler": "DDIM, eta 1", "clamp": True, "remember": remember, **judge(ids)})
    return rows


def texts(ids: Tensor, data: Dataset, count: int) -> list[str]:
    words = data.info["words"]
    return [" ".join(words[i] for i in row if i) for row in ids[:count].tolist()]


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
        found = torch.cat([torch.cdist(part / level.alpha, vectors).argmin(dim=1) for part in x.split(500)])
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


def glove(on_step: Callable) -> dict:
    """The same chapter on GloVe's vectors, and what they say of words."""
    data = load("text", source="real")
    report = run_chapter("text", source="real", training=GLOVE, device="cpu", on_step=on_step)
    names, everything = data.info["glove_words"], data.info["glove_vectors"]
    place = {word: i for i, word in enumerate(names)}
    near = {}
    for word in SHOWN_WORDS:
        distance = (everything - everything[place[word]]).norm(dim=1)
        near[word] = [names[i] for i in distance.argsort()[1:4].tolist()]
    judge, experiment = Judge(data), report.experiment
    ids = sentences_from(experiment.network, data, experiment.accelerator)
    return {
        "data": report.dataset,
        "training_steps": report.training_steps,
        "batch": report.batch,
        "parameters": report.parameters,
        "survival": survival(experiment.network, data, on_step, "GloVe"),
        "samples": texts(ids, data, 12),
        "judged": judge(ids),
        "near": near,
        "sentence_words": vocabulary(data.info["vectors"][1:], 5),
        "all_words": vocabulary(everything, 5),
    }


def run(on_step: Callable[[str, int, int], None]) -> dict:
    """Everything that chapter 9 shows and a page has no time for. It needs GloVe: `diffusion-lab data fetch text`."""
    of_glove = glove(on_step)
    with tempfile.TemporaryDirectory() as folder:
        report = run_chapter("text", budget="quick", source="bundled", device="cpu", out=folder, on_step=on_step)
        losses = load_tensors(Path(folder) / "text" / "state.safetensors")[0]["losses"].tolist()
    experiment = report.experiment
    data, network, accelerator = experiment.dataset, experiment.network, experiment.accelerator
    judge = Judge(data)
    return {
        "data": f"{report.dataset}; {of_glove['data']}",
        "bundled": report.dataset,
        "network": report.network,
        "parameters": report.parameters,
        "training_steps": report.training_steps,
        "batch": report.batch,
        "block": BLOCK,
        "losses": [math.fsum(losses[i : i + BLOCK]) / BLOCK for i in range(0, len(losses), BLOCK)],
        "scores": [score.as_dict() for score in report.scores],
        "count": COUNT,
        "floor": judge.floor(),
        "levels": list(LEVELS),
        "survival": survival(network, data, on_step, "bundled"),
        "vocabulary": vocabulary(data.info["vectors"][1:], 5),
        "samplers": compare_samplers(network, data, accelerator, judge, on_step),
        "ablation": {"steps": SHORT.steps, "rows": ablation(data, judge, on_step)},
        "glove": of_glove,
    }
