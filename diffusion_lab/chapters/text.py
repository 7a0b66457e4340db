"""Chapter 9: sentences as rows of word vectors. A square-root schedule, rounding to words, self-conditioning."""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab import losses, samplers, schedules, targets
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.own import TakesOwn
from diffusion_lab.chapters.readiness import require_count
from diffusion_lab.data import Dataset, load
from diffusion_lab.data.own_text import load_own_sentences
from diffusion_lab.denoisers import nearest_rows
from diffusion_lab.exact import FiniteSet
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.metrics import (
    Score,
    energy_distance,
    floor_of,
    nearest_word,
    random_rows,
    sentence_accuracy,
    word_accuracy,
)
from diffusion_lab.schedules import Schedule
from diffusion_lab.targets import Target
from diffusion_lab.train import Settings

WORD_LOG_SNR = -1.0
"""The noise at which words are recovered: a word alone is then often lost, and its neighbours help."""


class WordPosterior:
    """The exact denoiser of words that come one by one, as often as in the training text, with no neighbours.

    What a network gains over it, it has learned from context.
    """

    def __init__(self, dataset: Dataset):
        self.words = FiniteSet(dataset.train[dataset.info["train_mask"]])  # every word of the text, (words, D)

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        """E[x0 | x] and E[eps | x] of sentences (B, L, D), at one level for all."""
        flat = self.words.denoise(x.flatten(0, 1), Level(*(field.reshape(()) for field in level)))
        return Prediction(*(value.reshape(x.shape) for value in flat))


def to_ids(x: Tensor, dataset: Dataset) -> Tensor:
    """The nearest real word of each vector, (B, L, D) to (B, L) int64; the padding word is no answer."""
    return nearest_word(x, dataset.info["vectors"][1:]) + 1


def words_right(experiment: Experiment, clean: Tensor, estimate: Tensor, noisy: Tensor, mask) -> tuple[str, float]:
    """The share of real words whose nearest word is the right one."""
    data = experiment.dataset
    return "words right", word_accuracy(to_ids(estimate, data), to_ids(clean, data), mask)


def evaluate(experiment: Experiment) -> list[Score]:
    """Words and sentences recovered from noise, and whether the sampled sentences are made like the text's."""
    data, generator = experiment.dataset, experiment.generator("floor")
    samples = to_ids(experiment.samples, data) * experiment.sample_mask
    test = data.info["test_ids"]

    def draw() -> Tensor:
        return random_rows(test, min(len(samples), len(test)), generator)

    seen = _pairs(torch.cat([data.info["train_ids"], test]))
    known = _pairs(data.info["train_ids"])

    def familiar(ids: Tensor) -> float:
        return float(torch.isin(_pairs(ids, unique=False), seen).double().mean())

    def held_out_familiar(ids: Tensor) -> float:
        return float(torch.isin(_pairs(ids, unique=False), known).double().mean())

    vectors = data.info["vectors"]

    def spread(ids: Tensor) -> float:
        return energy_distance(vectors[ids].flatten(1), vectors[test].flatten(1))

    return [
        *_recovered(experiment),
        Score(
            "neighbouring words that are neighbours in the text",
            familiar(samples),
            floor_of(held_out_familiar, draw),
            0.5,
            better="higher",
            note="the floor is held-out sentences against the training text",
        ),
        Score(
            "energy distance to held-out sentences",
            spread(samples),
            floor_of(lambda ids: spread(ids), lambda: random_rows(data.info["train_ids"], len(draw()), generator)),
            1.0,
        ),
    ]


def _pairs(ids: Tensor, unique: bool = True) -> Tensor:
    """Each pair of neighbouring words as one number; padding (word 0) makes no pair."""
    first, second = ids[:, :-1], ids[:, 1:]
    codes = (first * 100_003 + second)[(first > 0) & (second > 0)]
    return codes.unique() if unique else codes


def _recovered(experiment: Experiment) -> list[Score]:
    """Words and whole sentences that survive noise, for the network and for the exact posterior of single words."""
    data, schedule = experiment.dataset, experiment.pieces.schedule
    clean, mask, ids = data.test, data.info["test_mask"], data.info["test_ids"]
    level = schedule.at(schedule.time_at(torch.tensor(WORD_LOG_SNR)), like=clean)
    noisy = level.noisy(clean, torch.randn(clean.shape, generator=experiment.generator("noise")))
    device = experiment.accelerator.device
    there = Level(*(field.to(device) for field in level))
    with experiment.accelerator.autocast():
        learned = to_ids(experiment.conditional(None, mask)(noisy.to(device), there).x0.float().cpu(), data)
    exact = to_ids(experiment.exact.denoise(noisy, level).x0, data)
    note = f"at log-SNR {WORD_LOG_SNR}; the floor is the exact posterior mean of words without their neighbours"
    words, sentences = word_accuracy(exact, ids, mask), sentence_accuracy(exact, ids, mask)
    return [
        Score(
            "words recovered from noise", word_accuracy(learned, ids, mask), words, words, better="higher", note=note
        ),
        Score(
            "sentences recovered from noise",
            sentence_accuracy(learned, ids, mask),
            sentences,
            sentences,
            better="higher",
            note=note,
        ),
    ]


def rounded_loss(target: Target, schedule: Schedule, dataset: Dataset) -> losses.Loss:
    """The mean-square error of the target, plus a little of the rounding loss, which keeps vectors close to words."""

    def rounding(estimate: Tensor, x0: Tensor, cond: dict) -> Tensor:
        vectors = dataset.info["vectors"][1:].to(x0)
        # x0 is made of words, so the nearest word is the word.
        ids = torch.cdist(x0.flatten(0, 1), vectors).argmin(dim=1).reshape(x0.shape[:2])
        return losses.rounding_loss(estimate, vectors, ids, cond.get("mask"))

    return losses.with_penalty(losses.prediction_loss(target), target, rounding, amount=0.1)


FEWEST = 30
"""Sentences held out at least, so that a share of them says something."""

CHAPTER = Chapter(
    number=9,
    name="text",
    title="Text embeddings",
    method="square-root schedule, x0 with rounding, DDIM, self-conditioning",
    load=lambda source, root, seed: load("text", source=source, root=root, seed=seed),
    exact=WordPosterior,
    schedule=lambda dataset: schedules.square_root(),
    target=targets.x0,
    loss=rounded_loss,
    step=lambda dataset: samplers.ddim(eta=1.0),
    network={"kind": "transformer", "width": 96, "depth": 3},
    self_condition=True,
    polish=lambda dataset: nearest_rows(dataset.info["vectors"][1:]),
    precision="bfloat16",
    evaluate=evaluate,
    own=TakesOwn("sentences", load_own_sentences, lambda dataset: require_count(dataset, FEWEST)),
    denoise_log_snr=(0.0, -2.0, -4.0),
    denoise_score=words_right,
    budgets={
        "smoke": Budget(Settings(steps=30, batch=64), samples=100, sample_steps=10),
        "quick": Budget(
            Settings(steps=1000, batch=64, learning_rate=0.008, ema_decay=0.99, optimizer="muon"),
            samples=1000,
            sample_steps=50,
        ),
        "full": Budget(
            Settings(steps=10000, batch=256, learning_rate=1e-3, ema_decay=0.999), samples=1000, sample_steps=200
        ),
    },
)
