"""Small data of every kind, random but made from a seed, for the tests of the figures."""

from __future__ import annotations

from types import SimpleNamespace

import torch

VOCABULARY = "the cat sat on a mat while old dogs ran past it".split()

SHAPES = {
    "line": ("points", (1,)),
    "plane": ("points", (2,)),
    "space": ("points", (5,)),
    "cloud": ("cloud", (20, 3)),
    "grey": ("image", (1, 8, 6)),
    "rgb": ("image", (3, 6, 6)),
    "audio": ("audio", (1, 301)),
    "leads": ("leads", (2, 301)),
    "words": ("words", (7,)),
    "phrases": ("phrases", (4, 7)),
    "board": ("board", (9,)),
}


def example(name: str, *leading: int, seed: int = 0) -> SimpleNamespace:
    """`kind`, a tensor `x` of shape (*leading, *S) and the `info` that goes with it."""
    kind, shape = SHAPES[name]
    draw = torch.Generator().manual_seed(seed)
    if kind == "board":
        return SimpleNamespace(kind=kind, x=torch.randint(0, 4, (*leading, *shape), generator=draw), info={})
    vectors = torch.randn(len(VOCABULARY), 7, generator=torch.Generator().manual_seed(99))
    info = {
        "audio": {"sample_rate": 8000},
        "leads": {"sample_rate": 128},
        "words": {"words": VOCABULARY, "vectors": vectors},
    }
    info["phrases"] = info["words"]
    x = torch.randn(*leading, *shape, generator=draw)
    return SimpleNamespace(kind=kind, x=x, info=info.get(kind, {}))


def texts(figure) -> list[str]:
    """Every string in the figure that a reader sees."""
    return [text.get_text() for text in figure.findobj(lambda o: hasattr(o, "get_text")) if text.get_text()]
