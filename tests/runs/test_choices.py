"""What the benchmark of choices refuses before anything is trained."""

from __future__ import annotations

import argparse
import runpy

import pytest
from test_repository import ROOT


@pytest.fixture(scope="module")
def choice():
    return runpy.run_path(str(ROOT / "benchmarks" / "choices.py"), run_name="choices")["choice"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed=2", "'speed=2' is not NAME=VALUE with NAME one of batch, learning_rate, .*width, .*guidance"),
        ("batch", "'batch' is not NAME=VALUE"),
        ("batch=x", "batch must be a whole number, got 'x'"),
        ("learning_rate=x", "learning_rate must be a number, got 'x'"),
        ("batch=0", "batch must be a whole number of at least 1, got 0"),
        ("optimizer=sgd", "optimizer must be one of adamw, muon, got 'sgd'"),
        ("width=17", "width of a U-Net must be a multiple of 16"),
        ("patch=5", "image height 28 cannot be cut"),
        ("step=foo", "step must be one of .*ddim.*, got 'foo'"),
        ("spacing=foo", "spacing must be one of uniform, log_snr, karras, got 'foo'"),
        ("sample_steps=0", "sample_steps must be at least 1, got 0"),
        ("guidance=nan", "guidance must be finite, got nan"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused_at_once(choice, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        choice(f"learning_rate=0.004 {text}")


def test_a_choice_changes_what_it_names_and_nothing_else(choice):
    old, new = choice("old"), choice("optimizer=muon batch=32 depth=2 step=ddim guidance=1")
    assert (old.training.optimizer, old.training.batch, old.drawing) == ("adamw", 64, {})
    assert (new.training.optimizer, new.training.batch) == ("muon", 32)
    assert new.network == {**old.network, "depth": 2}
    assert new.drawing == {"step": "ddim", "guidance": 1.0}
    assert new.training.learning_rate == old.training.learning_rate
