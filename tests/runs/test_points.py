"""What chapter 12 has of its own: halves completed, surfaces found, classes in equal numbers."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffusion_lab import run_chapter, samplers
from diffusion_lab.chapters import get
from diffusion_lab.chapters.completion import complete, completion, known_half, other_half
from diffusion_lab.chapters.points import matched
from diffusion_lab.chapters.surface_fit import distance_to_family, fit
from diffusion_lab.data import load
from diffusion_lab.data.surfaces import FAMILIES, draw_surface
from diffusion_lab.errors import DataError
from diffusion_lab.levels import Prediction


@cache
def surfaces():
    return load("points", source="bundled")


def an_experiment(answer):
    """As much of an experiment as completion uses, with a denoiser that says `answer` (N, P, 3) whatever it sees."""
    data = surfaces()
    schedule = get("points").schedule(data)

    def denoiser(labels):
        return lambda x, level: Prediction(answer, (x - level.alpha * answer) / level.sigma)

    return SimpleNamespace(
        dataset=data,
        accelerator=SimpleNamespace(device=torch.device("cpu"), autocast=nullcontext),
        pieces=SimpleNamespace(step=samplers.ddim(), schedule=schedule),
        budget=SimpleNamespace(sample_steps=4),
        denoiser=denoiser,
        generator=lambda purpose: torch.Generator().manual_seed(1),
    )


@pytest.mark.parametrize("options", [{"fill": samplers.replacing}, {"fill": samplers.resampling, "repeats": 2}])
def test_what_is_known_stays_and_the_rest_is_the_networks(options):
    generator = torch.Generator().manual_seed(0)
    clouds, guess = torch.randn(2, 3, 10, 3, generator=generator)
    guess[..., 0] -= 9  # far beyond what is known
    known = known_half(clouds)
    assert known.sum(dim=1).flatten().tolist() == [5, 5, 5]
    assert clouds[..., 0].where(known[..., 0], torch.inf).amin(1).gt(other_half(clouds)[..., 0].amax(1)).all()
    drawn = complete(an_experiment(guess), clouds, known, torch.zeros(3, dtype=torch.int64), 4, **options)
    assert torch.equal(drawn.where(known, 0), clouds.where(known, 0))
    torch.testing.assert_close(drawn.where(~known, 0), guess.where(~known, 0), atol=1e-4, rtol=0)


def test_what_is_not_known_is_held_beyond_what_is():
    clouds = torch.randn(3, 10, 3, generator=torch.Generator().manual_seed(0))
    known, labels = known_half(clouds), torch.zeros(3, dtype=torch.int64)
    experiment = an_experiment(clouds + 5)
    held, free = (other_half(complete(experiment, clouds, known, labels, 4, held=h), known) for h in (True, False))
    edge = clouds[..., 0].where(known[..., 0], torch.inf).amin(1, keepdim=True)
    torch.testing.assert_close(held[..., 0], edge.expand(-1, 5), atol=1e-4, rtol=0)
    torch.testing.assert_close(held[..., 1:], free[..., 1:], atol=1e-4, rtol=0)
    assert (free[..., 0] > edge).all()


def test_whoever_knows_the_answer_scores_the_floor():
    data = surfaces()
    rows = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(1))[:48]
    score = completion(an_experiment(data.test[rows]), 1.0)
    assert score.value == pytest.approx(score.floor, rel=1e-3)
    blank = completion(an_experiment(torch.zeros(48, 128, 3)), 1.0)
    assert blank.value > 4 * score.floor


@pytest.mark.parametrize("label", range(len(FAMILIES)))
def test_the_surface_of_a_cloud_is_found(label: int):
    rng = np.random.default_rng(label)
    true = draw_surface(label, rng)
    points = true.sample(128, rng)
    found = fit(points, label)
    assert found.distance(points).mean() < 0.01
    assert (np.array(found.LOW) - 1e-6 <= found.sizes).all() and (found.sizes <= np.array(found.HIGH) + 1e-6).all()
    # Points that lie off it are seen to: half of them moved away by 0.1 along a random direction.
    moved = points + 0.1 * rng.standard_normal((128, 3)) * (rng.random((128, 1)) < 0.5)
    off = float(distance_to_family(torch.from_numpy(moved)[None], torch.tensor([label])))
    assert 0.5 * true.distance(moved).mean() < off < 1.7 * true.distance(moved).mean()


def test_as_many_of_each_class_on_every_side():
    generator = torch.Generator().manual_seed(0)
    samples, held, train = (torch.randint(3, (n,), generator=generator) for n in (60, 20, 200))
    rows = matched(samples, held, train, most=30)
    counts = [
        one[picked].bincount(minlength=3).tolist() for one, picked in zip((samples, held, train), rows, strict=True)
    ]
    assert counts[0] == counts[1] == counts[2] == [min(10, n) for n in held.bincount().tolist()]


def test_too_few_shapes_are_told_before_training(monkeypatch):
    def few(*arguments, **options):
        return replace(surfaces(), test=surfaces().test[:5], test_labels=surfaces().test_labels[:5])

    monkeypatch.setattr("diffusion_lab.chapters.points.load", few)
    monkeypatch.setattr("diffusion_lab.chapters.run.Trainer", None)  # it comes before any training
    with pytest.raises(DataError, match="5 held out are too few to score, at least 8 are needed"):
        run_chapter("points", budget="smoke", source="bundled")
