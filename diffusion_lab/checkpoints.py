"""Checkpoints: safetensors files with their settings inside, written whole or not at all. Nothing is ever unpickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from diffusion_lab.errors import CheckpointError
from diffusion_lab.files import write_atomically


def save_tensors(path: Path, tensors: dict[str, Tensor], settings: dict[str, Any]) -> Path:
    """Save tensors and JSON-able settings in one file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return write_atomically(path, save(plain, metadata={"settings": json.dumps(settings)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        CheckpointError: where the file is missing, is not a safetensors file, is cut off or has no settings.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; `diffusion-lab run CHAPTER` makes one")
    try:
        with safe_open(str(path), framework="pt") as file:
            settings = json.loads((file.metadata() or {})["settings"])
            return {name: file.get_tensor(name) for name in file.keys()}, settings
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors checkpoint: {error}") from error
    except KeyError as error:
        raise CheckpointError(f"{path} holds no settings of diffusion-lab: it was made by another program") from error


def save_network(
    path: Path, network: torch.nn.Module, settings: dict[str, Any], more: dict[str, Tensor] | None = None
) -> Path:
    """Save a network's weights, and `more` tensors beside them, with the settings needed to build it again."""
    return save_tensors(path, {**network.state_dict(), **(more or {})}, settings)


def load_weights(network: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Fill a network, or say which weights do not fit it.

    Raises:
        CheckpointError: where names or shapes differ.
    """
    own = network.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    unlike = [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    if missing or extra or unlike:
        raise CheckpointError(
            f"{path} does not fit the network {type(network).__name__}: "
            f"{len(missing)} weights missing {missing[:2]}, {len(extra)} unknown {extra[:2]}, "
            f"{len(unlike)} of another shape {unlike[:2]}. Was it trained with other pieces, or by another version of "
            f"diffusion-lab, whose chapter had another network? Then train it again, or name another checkpoint"
        )
    network.load_state_dict(tensors)
