"""Another network for a chapter: by name, for the data that it takes, and again from the checkpoint."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from diffusion_lab import open_checkpoint
from diffusion_lab.chapters import get
from diffusion_lab.chapters.architectures import ARCHITECTURES, with_network
from diffusion_lab.chapters.run import network_for
from diffusion_lab.chapters.slots import requirement
from diffusion_lab.cli import app
from diffusion_lab.errors import CheckpointError, PieceError
from diffusion_lab.networks import MLP, DiT, Mixer, Rows, SetTransformer, Transformer, UNet1d, UNet2d, UViT, describe

IMAGES = {"mlp": MLP, "unet": UNet2d, "dit": DiT, "uvit": UViT, "mixer": Mixer}
SIGNALS = {**IMAGES, "unet": UNet1d}


@pytest.mark.parametrize(
    ("chapter", "shape", "kinds"),
    [
        ("mnist", (1, 28, 28), IMAGES),
        ("cifar10", (3, 32, 32), IMAGES),
        ("audio", (1, 4096), SIGNALS),
        ("heartbeats", (2, 512), SIGNALS),
        ("spiral", (2,), {"mlp": MLP}),
        ("points", (128, 3), {"set": SetTransformer, "transformer": Transformer, "mlp": MLP, "dit": SetTransformer}),
        ("points", (128, 3), dict.fromkeys(("unet", "uvit", "mixer"), Rows)),
    ],
)
def test_a_chapter_takes_every_network_that_fits_its_data_at_every_budget(chapter, shape, kinds):
    record = get(chapter)
    for name, kind in kinds.items():
        chosen = with_network(record, name, shape)
        for budget in record.budgets:
            network = network_for(chosen, shape, 3 if record.labelled else 0, 0, budget)
            assert type(network) is kind
            assert network(torch.zeros(2, *shape), torch.rand(2)).shape == (2, *shape)


@pytest.mark.parametrize(
    ("chapter", "name", "shape"),
    [("mnist", "unet", (1, 28, 28)), ("mixture", "mlp", (2,)), ("games", "transformer", (9,))],
)
def test_the_chapter_s_own_kind_leaves_its_record_as_it_is(chapter, name, shape):
    assert with_network(get(chapter), name, shape) is get(chapter)


@pytest.mark.parametrize(
    ("chapter", "name", "shape", "message"),
    [
        ("mnist", "resnet", (1, 28, 28), "there is no network 'resnet'; the networks are mlp, unet, dit, uvit"),
        (
            "spiral",
            "dit",
            (2,),
            r"chapter 'spiral' takes no network 'dit'; its data have shape \(2,\), which these networks take: mlp$",
        ),
        ("text", "mlp", (8, 25), r"'mlp'; its data have shape \(8, 25\), which .* take: transformer$"),
        ("games", "unet", (9,), r"'unet'; its data have shape \(9,\), which .* take: transformer$"),
        ("mnist", "transformer", (1, 28, 28), r"'transformer'; .* networks take: mlp, unet, dit, uvit, mixer$"),
        ("heartbeats", "set", (2, 512), r"'set'; .* networks take: mlp, unet, dit, uvit, mixer$"),
        ("points", "lstm", (128, 3), "there is no network 'lstm'; the networks are mlp, unet, dit, uvit"),
    ],
)
def test_a_network_that_does_not_take_the_data_is_refused_with_what_does(chapter, name, shape, message):
    with pytest.raises(PieceError, match=message):
        with_network(get(chapter), name, shape)


@pytest.mark.parametrize(
    ("name", "any_order", "described"),
    [
        ("dit", True, "SetTransformer, 0."),
        ("uvit", True, "UViT of rows, 0."),
        ("mixer", False, "Mixer of rows, 0."),
        ("unet", False, "UNet1d of rows, 0."),
        ("mlp", False, "MLP, 1."),
    ],
)
def test_of_the_five_the_transformers_alone_take_the_points_of_a_cloud_in_any_order(name, any_order, described):
    network = network_for(with_network(get("points"), name, (128, 3)), (128, 3), 4, 0, "quick")
    assert describe(network).startswith(described)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():  # new networks answer zero
            weight += 0.05 * torch.randn_like(weight)
    x, t, order = torch.randn(2, 128, 3), torch.rand(2), torch.randperm(128)
    answer, shuffled = network(x, t), network(x[:, order], t)
    assert torch.allclose(shuffled, answer[:, order], atol=1e-4) is any_order
    # Each answer is for the row it stands in: moving one point far away changes its own row most.
    if any_order:
        moved = x.clone()
        moved[:, 5] += 10
        change = (network(moved, t) - answer).norm(dim=2)
        assert (change.argmax(dim=1) == 5).all()


def test_the_slot_names_the_networks():
    assert all(name in requirement("network") for name in ARCHITECTURES)


def test_the_command_refuses_before_it_trains(tmp_path):
    result = CliRunner().invoke(
        app, ["run", "normal_2d", "--network", "mixer", "--budget", "smoke", "--out", str(tmp_path)]
    )
    assert result.exit_code == 2
    assert "takes no network 'mixer'; its data have shape (2,), which these networks take: mlp" in " ".join(
        result.output.split()
    )
    assert not (tmp_path / "normal_2d" / "checkpoint.safetensors").exists()


@pytest.mark.slow
def test_a_checkpoint_builds_its_network_again(tmp_path):
    def call(*arguments: str):
        return CliRunner().invoke(app, [*arguments, "--out", str(tmp_path)])

    run = ("run", "mnist", "--network", "mixer", "--budget", "smoke", "--source", "bundled")
    assert call(*run).exit_code == 0
    folder = tmp_path / "mnist"
    report = json.loads((folder / "report.json").read_text())
    assert report["network"].startswith("Mixer, ")
    assert report["own_pieces"] == {}
    opened = open_checkpoint(folder / "checkpoint.safetensors")
    assert type(opened.network) is Mixer
    assert opened.draw(3, 2).shape == (3, 1, 28, 28)
    assert call("sample", "mnist", "--count", "4", "--steps", "2").exit_code == 0
    assert call(*run, "--resume").exit_code == 0
    other = call("run", "mnist", "--network", "dit", "--budget", "smoke", "--source", "bundled", "--resume")
    assert other.exit_code == 2
    assert "architecture was 'mixer' and is 'dit'" in " ".join(other.output.split())
    with pytest.raises(CheckpointError, match="trained with the network 'mixer', not with 'dit'"):
        open_checkpoint(folder / "checkpoint.safetensors", network="dit")


@pytest.mark.parametrize(("name", "optimizer", "rate"), [("mlp", "adamw", 2e-3), ("dit", "muon", 0.016)])
def test_a_wide_perceptron_is_not_trained_by_muon(name, optimizer, rate):
    training = with_network(get("mnist"), name, (1, 28, 28)).budgets["quick"].training
    assert (training.optimizer, training.learning_rate) == (optimizer, rate)
