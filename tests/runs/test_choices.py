"""What the benchmark of choices refuses before anything is trained."""

from __future__ import annotations

import runpy
from functools import partial

import pytest
from test_repository import ROOT

from diffusion_lab.chapters import get
from diffusion_lab.errors import LabError

BENCHMARK = str(ROOT / "benchmarks" / "choices.py")


@pytest.fixture(scope="module")
def choice():
    return partial(runpy.run_path(BENCHMARK, run_name="choices")["choice"], budget=get("mnist").budgets["quick"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed=2", "'speed=2' is not NAME=VALUE with NAME one of batch, learning_rate, .*width, .*guidance"),
        ("batch", "'batch' is not NAME=VALUE"),
        ("batch=x", "batch must be a whole number, got 'x'"),
        ("learning_rate=x", "learning_rate must be a number, got 'x'"),
        ("batch=0", "batch must be a whole number of at least 1, got 0"),
        ("optimizer=sgd", "optimizer must be one of adamw, muon, got 'sgd'"),
        ("step=foo", "step must be one of .*ddim.*, got 'foo'"),
        ("spacing=foo", "spacing must be one of uniform, log_snr, karras, got 'foo'"),
        ("density=foo", "density must be one of uniform, log_snr, logit_normal, log_normal, or .*, got 'foo'"),
        ("density=", "density must be .*, got ''"),
        ("density=log_normal:nan:1", "density must be .*, got 'log_normal:nan:1'"),
        ("density=log_normal:1", "density must be .*log_normal:MEAN:STD.*, got 'log_normal:1'"),
        ("density=log_normal:1:x", "density must be .*, got 'log_normal:1:x'"),
        ("density=log_normal:1:0", "a STD above 0, got 'log_normal:1:0'"),
        ("density=log_normal:1:2:0.5:4", "density must be .*, got 'log_normal:1:2:0.5:4'"),
        ("density=uniform:1:2", "density must be .*, got 'uniform:1:2'"),
        ("density=log_normal:1:2:1.5", "the share of the first density must be above 0 and below 1, got 1.5"),
        ("sample_steps=0", "sample_steps must be at least 1, got 0"),
        ("guidance_interval=0.8:0.2", "guidance_interval must be FROM:TO, two times between 0 and 1, got '0.8:0.2'"),
        ("guidance_interval=0.8", "guidance_interval must be FROM:TO, two times between 0 and 1, got '0.8'"),
        ("guidance=nan", "guidance must be finite, got nan"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused_at_once(choice, text, message):
    with pytest.raises(LabError, match=message):
        choice(f"learning_rate=0.004 {text}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("width=17", "--source", "bundled"), "width of a U-Net must be a multiple of 16"),
        (("patch=5", "--source", "bundled"), "image height 28 cannot be cut"),
        (("now", "--budget", "gpu"), "there is no budget 'gpu'"),
    ],
)
def test_what_a_chapter_cannot_have_is_refused_before_training(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["choices.py", *arguments])
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    with pytest.raises(SystemExit):
        runpy.run_path(BENCHMARK, run_name="__main__")
    assert message in capsys.readouterr().err


def test_a_density_makes_another_network(choice):
    """The key decides what is trained once and scored in several ways."""
    assert choice("density=uniform").density == "uniform"
    densities = ("log_normal", "log_normal:0:1", "log_normal:0:1:0.5")
    assert len({choice(f"density={name}").key for name in densities} | {choice("now").key}) == 4
    assert choice("density=uniform guidance=2").key == choice("density=uniform").key


def test_a_choice_changes_what_it_names_and_nothing_else(choice):
    now, new = choice("now"), choice("optimizer=adamw batch=64 depth=2 step=ddim guidance=1 guidance_interval=0.2:0.8")
    assert now.training == get("mnist").budgets["quick"].training
    assert (now.network, now.drawing) == ({}, {})
    assert (new.training.optimizer, new.training.batch) == ("adamw", 64)
    assert new.training.learning_rate == now.training.learning_rate
    assert (new.network, new.drawing) == (
        {"depth": 2},
        {"step": "ddim", "guidance": 1.0, "guidance_interval": (0.2, 0.8)},
    )
