"""A chapter on data of one's own, from the command to samples of its checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from typer.testing import CliRunner

from diffusion_lab import open_checkpoint, run_chapter
from diffusion_lab.chapters import get
from diffusion_lab.chapters import images as judging
from diffusion_lab.chapters import run as running
from diffusion_lab.chapters.distilling import distill
from diffusion_lab.chapters.own import with_own_data
from diffusion_lab.checkpoints import load_tensors
from diffusion_lab.cli import app
from diffusion_lab.data import Dataset
from diffusion_lab.data.electrocardiogram import electrocardiograms
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.errors import CheckpointError, PieceError
from diffusion_lab.metrics import Score
from diffusion_lab.train import Settings


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def write_table(path: Path, rows: int = 400) -> Path:
    points = np.random.default_rng(0).normal(size=(rows, 2)) @ [[10.0, 300.0], [0.0, 40.0]] + [5.0, 1000.0]
    path.write_text("\n".join(f"{a:.3f};{b:.3f}" for a, b in points))
    return path


def write_pictures(folder: Path) -> Path:
    for number in range(6):
        place = folder / ("cat", "dog")[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20 + number, 30, 3), 40 * number, np.uint8)).save(place)
    return folder


def write_sounds(folder: Path) -> Path:
    folder.mkdir()
    for number in range(4):
        soundfile.write(folder / f"{number}.flac", np.sin(np.arange(9000) * (number + 1) / 10), 16_000)
    return folder


def write_sentences(path: Path) -> Path:
    rng = np.random.default_rng(0)
    path.write_text("\n".join(" ".join(rng.choice(list("abcdefgh"), 4)) for _ in range(400)))
    return path


def write_boards(path: Path) -> Path:
    rng = np.random.default_rng(0)
    path.write_text("\n".join("/".join("".join(rng.choice(list(".XO#"), 5)) for _ in range(3)) for _ in range(400)))
    return path


def write_shapes(folder: Path) -> Path:
    trimesh = pytest.importorskip("trimesh")
    folder.mkdir()
    for number in range(100):
        trimesh.creation.box((1, 2, 1 + number / 9)).export(folder / f"{number}.stl")
    return folder


def write_beats(folder: Path) -> Path:
    """One class, so that there are no labels."""
    wfdb = pytest.importorskip("wfdb")
    folder.mkdir()
    for name in "abc":
        strips, _ = electrocardiograms(np.zeros(50, int), np.random.default_rng(ord(name)))
        signal = np.concatenate([*strips], axis=1).T
        wfdb.wrsamp(name, 128, ["mV"] * 2, ["II", "V1"], p_signal=signal, fmt=["16"] * 2, write_dir=str(folder))
        wfdb.wrann(name, "atr", 512 * np.arange(50) + 256, ["N"] * 50, write_dir=str(folder))
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A folder with a table in it, and the runs of a smoke run on it."""
    folder = tmp_path_factory.mktemp("own")
    write_table(folder / "MNIST [x].csv")
    result = call(
        "run", "normal_nd", "--table", folder / "MNIST [x].csv", "--budget", "smoke", "--out", folder / "runs"
    )
    assert result.exit_code == 0, result.output
    return folder, result


def test_a_run_is_called_after_the_file_and_not_judged(table):
    folder, result = table
    assert "your rows in MNIST [x].csv (360 to train on)" in result.stdout and "Traceback" not in result.output
    report = json.loads((folder / "runs" / "normal_nd-MNIST__x_.csv" / "report.json").read_text())
    assert report["dataset"].startswith("your rows in MNIST [x].csv") and report["source"] == "own"
    assert report["title"] == "Table of your own"
    assert report["passed"] is None and [score["threshold"] for score in report["scores"]] == [None, None]
    assert all(score["passed"] is None and score["floor"] > 0 for score in report["scores"])


def test_samples_come_in_the_units_of_the_file(table):
    folder, _ = table
    result = call("sample", "normal_nd", "--table", folder / "MNIST [x].csv", "--count", 200, "--out", folder / "runs")
    assert result.exit_code == 0, result.output
    samples = load_tensors(folder / "runs" / "normal_nd-MNIST__x_.csv" / "samples" / "samples.safetensors")[0][
        "samples"
    ]
    assert 800 < float(samples[:, 1].mean()) < 1200 and -5 < float(samples[:, 0].mean()) < 15
    result = call("sample", "normal_nd", "--table", folder / "MNIST [x].csv", "--label", 0, "--out", folder / "runs")
    assert result.exit_code == 2 and "your rows in MNIST [x].csv" in result.stderr
    assert "has no classes, so there are no labels" in " ".join(result.stderr.split())
    result = call("denoise", "normal_nd", "--table", folder / "MNIST [x].csv", "--out", folder / "runs")
    assert result.exit_code == 0 and "MSE learned" in result.stdout


def test_a_checkpoint_finds_its_data_again(table, tmp_path):
    folder, _ = table
    checkpoint = folder / "runs" / "normal_nd-MNIST__x_.csv" / "checkpoint.safetensors"
    for place in (checkpoint, shutil.copy(checkpoint, tmp_path)):
        assert open_checkpoint(place).draw(4, 2).shape == (4, 2)
    moved = shutil.move(folder / "MNIST [x].csv", tmp_path / "moved.csv")
    try:
        with pytest.raises(CheckpointError, match=r"table of your own, which are needed again: .*with --table"):
            open_checkpoint(checkpoint)
        experiment = open_checkpoint(checkpoint, own=OwnData("table", moved))
        assert experiment.draw(4, 2).shape == (4, 2) and len(experiment.dataset.notes) == 1
        write_table(tmp_path / "moved.csv", rows=50)
        changed = open_checkpoint(checkpoint, own=OwnData("table", moved)).dataset.notes
        assert "are not what they were" in changed[0]
        with pytest.raises(CheckpointError, match="was trained on table, and not on images"):
            open_checkpoint(checkpoint, own=OwnData("images", tmp_path))
    finally:
        write_table(folder / "MNIST [x].csv")
    with pytest.raises(CheckpointError, match=r"was trained on .*, not on table of your own"):
        open_checkpoint(name="normal_nd", own=OwnData("table", moved))


def test_a_student_of_a_network_of_one_s_own_data_lies_beside_its_teacher(table):
    folder, _ = table
    runs = folder / "runs"
    checkpoint = runs / "normal_nd-MNIST__x_.csv" / "checkpoint.safetensors"
    path = distill(
        "normal_nd", steps=1, teacher_steps=2, checkpoint=checkpoint, training=Settings(1, batch=64), out=runs
    )
    assert path == checkpoint.with_name("distilled_1.safetensors") and open_checkpoint(path).distilled == 1


@pytest.fixture
def stopped(monkeypatch):
    """Training that ends the run: what comes before it is all that a test wants."""

    class Stopped(Exception):
        pass

    def stop(*_, **__):
        raise Stopped

    monkeypatch.setattr(running.Trainer, "fit", stop)
    return Stopped


@pytest.mark.parametrize(
    ("name", "write", "kind"), [("cifar10", write_pictures, "images"), ("audio", write_sounds, "sounds")]
)
def test_too_few_for_a_score_is_said_before_training(name, write, kind, stopped, tmp_path):
    said = []
    with pytest.raises(stopped):
        run_chapter(name, budget="smoke", own=OwnData(kind, write(tmp_path / "mine")), on_note=said.append)
    assert said[0].startswith(f"no scores, but trained and sampled all the same: your {kind} in mine/")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["spiral", "--images", "."],
            "chapter 'spiral' takes no images of your own; those that take some: normal_nd",
        ),
        (["mnist", "--sounds", "."], "takes no sounds of your own; it takes images (--images)"),
        (["games", "--variant", "bits", "--boards", "."], "its own method does, and this variant does not"),
        (["mnist", "--images", ".", "--sounds", "."], "one kind of data at a time, got --images and --sounds"),
        (["mnist", "--size", "32"], "--size goes with --images, and there is none"),
        (["mnist", "--images", ".", "--rate", "8000"], "rate is an option of sounds"),
        (["all", "--images", "."], "--images goes with one chapter, not with all"),
        (["mnist", "--images", ".", "--source", "real"], "leave --source out"),
        (["points", "--shapes", ".", "--normalise", "each"], "normalise must be one of all, class, shape; got 'each'"),
        (["mnist", "--images", "nowhere"], "nowhere to read images from"),
        (["mnist", "--images", "empty"], "holds no file that can be used"),
        (["cifar10", "--images", ".", "--size", "36"], "multiples of 8, and --size is 36; 32 or 40 would do"),
    ],
)
def test_what_does_not_go_together_is_told_in_one_line(arguments, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    result = call("run", *arguments, "--out", tmp_path / "runs")
    assert result.exit_code == 2 and reason in result.stderr and "Traceback" not in result.output


@pytest.mark.parametrize(("name", "multiple"), [("mnist", 4), ("cifar10", 8)])
@pytest.mark.parametrize("budget", ["quick", "gpu"])
def test_the_sizes_that_are_refused_are_those_that_no_network_takes(name, multiple, budget):
    chapter = get(name)
    if budget not in chapter.budgets:
        pytest.skip("the chapter has no such budget")
    assert running.network_for(chapter, (3, 3 * multiple, 3 * multiple), 2, 0, budget)
    with pytest.raises(PieceError, match=f"divisible by {multiple}"):
        running.network_for(chapter, (3, 3 * multiple - 2, 3 * multiple - 2), 2, 0, budget)


@pytest.mark.parametrize(("classes", "scale"), [(("cat", "dog"), 2.0), (("cat",), 1.0)])
def test_pictures_without_classes_are_not_guided(tmp_path, classes, scale):
    folder = write_pictures(tmp_path / "mine")
    for name in {"cat", "dog"} - set(classes):
        shutil.rmtree(folder / name)
    chapter, _ = with_own_data(get("mnist"), OwnData("images", folder), scored=False)
    budget = chapter.budgets["quick"]
    assert (budget.guidance or chapter.guidance) == scale


def test_a_network_that_was_not_trained_yet_is_named(tmp_path):
    result = call("sample", "mnist", "--images", write_pictures(tmp_path / "mnist"), "--out", tmp_path / "runs")
    assert result.exit_code == 2 and "no network was trained on your images in mnist/ yet" in result.stderr


def test_a_score_without_a_threshold_is_finite_or_fails():
    score = Score("distance", 2.0, 1.0, None)
    assert score.passed and score.limit == "-" and Score.from_dict(score.as_dict()) == score
    assert not Score("distance", float("nan"), 1.0, None).passed
    assert Score("gain", 2.0, 1.0, 3.0, better="higher", unit="dB").limit == "≥ 3 dB"


@pytest.mark.parametrize(("count", "asked", "most"), [(90, 2, 1), (700, 2, 5), (60_000, 2, 468), (700, 1, 5)])
def test_a_judge_of_few_images_sees_them_more_often(count, asked, most, monkeypatch):
    """`most` is the steps of an epoch, 128 images each; 300 steps are wanted, and as many epochs as the budget says."""
    monkeypatch.setattr(judging, "cached_classifier", lambda *_, epochs, **__: epochs)
    images, labels = torch.zeros(count, 1, 8, 8), torch.zeros(count, dtype=torch.int64)
    data = Dataset("x", "own", "image", images, images, labels, labels, ("a", "b"))
    run = SimpleNamespace(dataset=data, budget=SimpleNamespace(judge_epochs=asked), cache=None)
    epochs = judging.judge_of(run, crop=0, flip=False)
    if asked == 1 or asked * most >= 300:
        assert epochs == asked
    else:
        assert (epochs - 1) * most < 300 <= epochs * most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant", "kind", "write", "scored"),
    [
        ("mnist", "", "images", write_pictures, False),
        ("audio", "", "sounds", write_sounds, False),
        ("text", "", "sentences", write_sentences, True),
        ("games", "", "boards", write_boards, True),
        ("games", "uniform", "boards", write_boards, True),
        ("points", "", "shapes", write_shapes, True),
        ("heartbeats", "", "beats", write_beats, True),
    ],
)
def test_every_kind_trains_samples_and_opens_again(name, variant, kind, write, scored, tmp_path):
    own = OwnData(kind, write(tmp_path / "mine"))
    training = Settings(steps=3, batch=8)
    report = run_chapter(name, variant=variant, budget="smoke", own=own, out=tmp_path / "runs", training=training)
    assert bool(report.scores) == scored and not report.judged and report.passed
    assert report.dataset.startswith(f"your {kind} in mine")
    folder = tmp_path / "runs" / f"{name}-mine"
    assert {"samples.png", "trajectory.png", "denoising.png", "loss.png"} <= {file.name for file in folder.iterdir()}
    experiment = open_checkpoint(folder / "checkpoint.safetensors", name=name)
    assert experiment.draw(3, 2).shape[1:] == report.samples.shape[1:]
    assert experiment.denoised()["scores"]
