"""Scores, their floors, and how they travel through JSON."""

from __future__ import annotations

import json
import math

import pytest
import torch

from diffusion_lab.errors import DataError
from diffusion_lab.metrics import Score, floor_of, random_rows


@pytest.mark.parametrize(
    ("value", "better", "passed"),
    [
        (0.9, "lower", True),
        (1.0, "lower", True),
        (1.1, "lower", False),
        (0.9, "higher", False),
        (1.0, "higher", True),
        (1.1, "higher", True),
        (math.nan, "lower", False),
        (math.nan, "higher", False),
        (-math.inf, "lower", False),
        (math.inf, "higher", False),
    ],
)
def test_passed(value, better, passed):
    assert Score("distance", value, floor=0.1, threshold=1.0, better=better).passed is passed


def test_a_threshold_that_is_nan_is_never_passed():
    assert not Score("distance", 0.0, floor=0.0, threshold=math.nan).passed


@pytest.mark.parametrize("value", [0.25, math.nan, math.inf, -math.inf])
def test_round_trip_through_strict_json(value):
    score = Score("SI-SDR gain", value, floor=3.0, threshold=2.0, better="higher", unit="dB", note="a note")
    back = Score.from_dict(json.loads(json.dumps(score.as_dict(), allow_nan=False)))
    assert repr(back) == repr(score)  # repr, because nan != nan
    assert score.as_dict()["passed"] is False


def test_passed_is_derived_and_not_read():
    fields = Score("distance", 2.0, floor=0.1, threshold=1.0).as_dict() | {"passed": True}
    assert not Score.from_dict(fields).passed


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="'bigger'"):
        Score("distance", 1.0, 1.0, 1.0, better="bigger")
    with pytest.raises(DataError, match="floor, threshold"):
        Score.from_dict({"name": "distance", "value": 1.0, "better": "lower"})


def test_floor_is_the_mean_over_fresh_draws():
    draws = iter([torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([6.0])])
    assert floor_of(lambda x: x.sum(), lambda: next(draws), repeats=3) == 3.0
    with pytest.raises(ValueError, match="repeats is 0"):
        floor_of(lambda x: 0.0, lambda: torch.zeros(1), repeats=0)


def test_floor_of_a_mean_is_what_statistics_says():
    generator = torch.Generator().manual_seed(0)
    floor = floor_of(lambda x: x.mean().abs(), lambda: torch.randn(100, generator=generator), repeats=2000)
    expected = math.sqrt(2 / math.pi) / 10  # the mean of |N(0, 1/100)|
    assert floor == pytest.approx(expected, abs=4 * 0.06 / math.sqrt(2000))


def test_random_rows_are_different_rows_and_depend_on_the_generator_only():
    data = torch.arange(50)
    rows = random_rows(data, 50, torch.Generator().manual_seed(1))
    assert rows.sort().values.tolist() == data.tolist() and rows.tolist() != data.tolist()
    assert random_rows(data, 7, torch.Generator().manual_seed(1)).tolist() == rows[:7].tolist()
    with pytest.raises(DataError, match="51 different rows"):
        random_rows(data, 51, torch.Generator())
