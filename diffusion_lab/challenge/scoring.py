"""Scores of samples: the chapter's own metric beside its own floor, and how much of them is copied."""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.chapters import Experiment, get
from diffusion_lab.chapters.run import OnStep, budget_of, judges, silent
from diffusion_lab.data import Dataset
from diffusion_lab.metrics import Score

NEAR = 0.01
"""Which share of held-out data lies as near to a training example as what counts as a copy."""
COMPARED = 500
"""Samples, and held-out data, whose nearest training example is looked for."""
NEIGHBOURS = 5


def score(name: str, dataset: Dataset, samples: Tensor, labels: Tensor | None, seed: int, on_step: OnStep = silent):
    """The scores of a chapter for samples (n, *S) that the caller drew, the most telling one first.

    Args:
        labels: (n,) int64, the classes that were asked for, where the data have labels.
        seed: of the truth that makes the floors.
    """
    chapter = get(name)
    # A record's judgement looks at data, samples and seeds alone; there is no network on this side.
    experiment = Experiment(
        chapter, dataset, None, budget_of(chapter, "quick"), seed, None, None, judges(), on_step=on_step
    )  # type: ignore[arg-type]
    experiment.samples, experiment.sample_labels = samples, labels
    scores: list[Score] = chapter.evaluate(experiment)
    return scores


def copied(dataset: Dataset, samples: Tensor) -> float:
    """The share of samples (n, *S) nearer to a training example than 99 of 100 held-out ones are; about 0.01 if fair.

    A sampler that hands out training examples would score at the floor: this tells.
    """
    train, held_out = dataset.train.flatten(1), dataset.test.flatten(1)[:COMPARED]

    def nearest(x: Tensor) -> Tensor:
        # By a matrix product, which is quick and loses the digits of small distances: so the last ones are exact.
        found = [torch.cdist(part, train).topk(NEIGHBOURS, largest=False).indices for part in x.split(50)]
        return (x.unsqueeze(1) - train[torch.cat(found)]).norm(dim=2).amin(dim=1)

    return float((nearest(samples.flatten(1)[:COMPARED]) < nearest(held_out).quantile(NEAR)).double().mean())
