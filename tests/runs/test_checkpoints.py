"""Files that are whole or not there, and errors for files that are not checkpoints."""

from __future__ import annotations

import pytest
import torch

from diffusion_lab import checkpoints, files
from diffusion_lab.errors import CheckpointError


def test_a_round_trip_keeps_tensors_and_settings(tmp_path):
    tensors = {"a": torch.randn(3, 2), "b": torch.tensor(4)}
    path = checkpoints.save_tensors(tmp_path / "deep" / "file.safetensors", tensors, {"chapter": "spiral", "n": 3})
    loaded, settings = checkpoints.load_tensors(path)
    assert settings == {"chapter": "spiral", "n": 3}
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(CheckpointError, match="diffusion-lab run"):
        checkpoints.load_tensors(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 100])
def test_a_truncated_file_is_named(tmp_path, keep):
    path = checkpoints.save_tensors(tmp_path / "file.safetensors", {"a": torch.randn(100)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"file\.safetensors is not a readable"):
        checkpoints.load_tensors(path)


def test_a_file_of_another_program_is_named(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="made by another program"):
        checkpoints.load_tensors(tmp_path / "other.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = files.write_atomically(tmp_path / "file", b"old")

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", fails)
    with pytest.raises(OSError, match="disk full"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_weights_that_do_not_fit_are_counted(tmp_path):
    network = torch.nn.Linear(2, 2)
    with pytest.raises(
        CheckpointError, match=r"1 weights missing \['bias'\], 1 unknown \['scale'\], 1 of another shape"
    ):
        checkpoints.load_weights(network, {"weight": torch.zeros(3, 2), "scale": torch.zeros(1)}, tmp_path / "x")
