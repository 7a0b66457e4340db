"""One function that builds a network for the shape of the data."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from diffusion_lab.errors import PieceError
from diffusion_lab.networks.blocks import Network
from diffusion_lab.networks.dit import DiT
from diffusion_lab.networks.mixer import Mixer
from diffusion_lab.networks.mlp import MLP
from diffusion_lab.networks.sets import Rows, SetTransformer
from diffusion_lab.networks.transformer import Transformer
from diffusion_lab.networks.unet import UNet1d, UNet2d
from diffusion_lab.networks.uvit import UViT

KINDS: dict[str, type[Network]] = {
    "mlp": MLP,
    "unet1d": UNet1d,
    "unet2d": UNet2d,
    "dit": DiT,
    "uvit": UViT,
    "mixer": Mixer,
    "transformer": Transformer,
    "set": SetTransformer,
}
"""The networks, by the name that `build_network` takes."""

_VECTOR, _SIGNAL, _IMAGE = ("D",), ("C", "L"), ("C", "H", "W")
_SHAPES: dict[str, tuple[tuple[str, ...], ...]] = {
    "mlp": (_VECTOR, _SIGNAL, _IMAGE),
    "unet": (_SIGNAL, _IMAGE),
    "unet1d": (_SIGNAL,),
    "unet2d": (_IMAGE,),
    "dit": (_SIGNAL, _IMAGE),
    "uvit": (_SIGNAL, _IMAGE),
    "mixer": (_SIGNAL, _IMAGE),
    "transformer": (("L", "D"),),
    "set": (("N", "D"),),
}
_SMALLEST = {
    "width": 1,
    "depth": 1,
    "levels": 1,
    "patch": 1,
    "classes": 0,
    "frequencies": 0,
    "places": 0,
}
_KIND_OF_RANK = {1: "mlp", 2: "unet1d", 3: "unet2d"}


def kind_of(shape: tuple[int, ...], kind: str = "auto", vocabulary: int = 0) -> str:
    """The name in `KINDS` of the network that `build_network` builds: "auto" and "unet" depend on the shape.

    Raises:
        PieceError: if there is no such kind, or it does not take the shape.
    """
    if kind == "auto":
        kind = "transformer" if vocabulary else _KIND_OF_RANK.get(len(shape), "auto")
    if kind == "auto":
        known = dict.fromkeys(row for rows in _SHAPES.values() for row in rows)
        raise PieceError(f"no network takes data of shape {shape}; the shapes are {', '.join(map(_show, known))}")
    if kind not in _SHAPES:
        raise PieceError(f"unknown kind of network {kind!r}; choose one of {', '.join(_SHAPES)}, auto")
    shapes = (("cells",),) if vocabulary else _SHAPES[kind]
    if len(shape) not in map(len, shapes):
        takes = " or ".join(map(_show, shapes))
        others = [name for name, rows in _SHAPES.items() if len(shape) in map(len, rows) and not vocabulary]
        instead = f"; for this shape there is {', '.join(others)}" if others else ""
        raise PieceError(f"a network of kind {kind!r} takes data of shape {takes}, not {shape}{instead}")
    return _KIND_OF_RANK[len(shape)] if kind == "unet" else kind


def build_network(
    shape: tuple[int, ...],
    *,
    kind: str = "auto",
    width: int | None = None,
    depth: int | None = None,
    classes: int = 0,
    vocabulary: int = 0,
    self_condition: bool = False,
    rows: bool = False,
    seed: int = 0,
    **options: Any,
) -> Network:
    """Build a network for data of one shape, with weights drawn from one seed.

    `kind="auto"` takes an MLP for (D,), a UNet1d for (C, L), a UNet2d for (C, H, W), and a Transformer wherever
    there is a vocabulary. A row of L vectors has the shape (L, D), which nothing tells from (C, L): ask for
    `kind="transformer"`, and where the order of the rows means nothing, for `kind="set"`.

    Args:
        shape: the shape of one sample, without the batch.
        kind: "mlp", "unet" (by the shape "unet1d" or "unet2d"), "dit", "uvit", "mixer", "transformer", "set" or "auto".
        width: see the class; None for its default.
        depth: see the class; None for its default.
        classes: number of classes of a conditional network, 0 for none.
        vocabulary: number of different tokens of a board, 0 for data that are not tokens.
        self_condition: whether the network also reads `last`, its previous estimate.
        rows: take a network for signals (D, N), and read the rows of a set (N, D) with it; see `Rows`.
        seed: the weights depend on this alone; the global random state is neither used nor changed.
        options: further arguments of the class, such as `frequencies` of `MLP` or `patch` of `UNet2d`.

    Returns:
        A network on the CPU, called as `net(x, t, labels=None, mask=None, last=None)`.

    Raises:
        PieceError: if the kind is unknown, the shape does not fit it, or it does not take one of the options.
    """
    shape = tuple(shape)
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape):
        raise PieceError(f"a network needs a shape of positive integers, not {shape}")
    if rows:
        if len(shape) != 2 or _SIGNAL not in _SHAPES.get(kind, (_SIGNAL,)):
            signals = [name for name, takes in _SHAPES.items() if _SIGNAL in takes]
            raise PieceError(
                f"rows=True reads a set of shape (N, D) with one of {', '.join(signals)}; not {shape} with {kind!r}"
            )
        same = {"width": width, "depth": depth, "classes": classes, "self_condition": self_condition, "seed": seed}
        try:
            reader = build_network(shape[::-1], kind=kind, vocabulary=vocabulary, **same, **options)
        except PieceError as error:
            raise PieceError(f"a set of shape {shape}, read as a signal of shape {shape[::-1]}: {error}") from error
        return Rows(reader)
    kind = kind_of(shape, kind, vocabulary)
    given = {"width": width, "depth": depth, "vocabulary": vocabulary or None, "classes": classes, **options}
    arguments = {name: value for name, value in given.items() if value is not None}
    accepted = inspect.signature(KINDS[kind]).parameters
    for name in arguments:
        if name not in accepted:
            raise PieceError(f"a network of kind {kind!r} takes no {name!r}; it takes {', '.join(accepted)}")
    for name, smallest in _SMALLEST.items():
        value = arguments.get(name, smallest)
        if not isinstance(value, int) or value < smallest:
            raise PieceError(f"the {name} of a network must be an integer of at least {smallest}, not {value!r}")

    # Weights are drawn on the CPU, so that they are the same on every machine. torch.manual_seed would also
    # reseed every GPU, which fork_rng(devices=[]) does not put back.
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return KINDS[kind](shape, self_condition=self_condition, **arguments)


def _show(shape: tuple[str, ...]) -> str:
    return f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(shape)})"


def count_parameters(net: nn.Module) -> int:
    """The number of trainable numbers in a network."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def describe(net: nn.Module) -> str:
    """A network in a few words for a table, such as "UNet2d, 0.93 M parameters"."""
    count = count_parameters(net)
    size = f"{count / 1e6:.2f} M" if count >= 100_000 else f"{count:,}"
    title = net.title if isinstance(net, Network) else type(net).__name__
    return f"{title}, {size} parameters"
