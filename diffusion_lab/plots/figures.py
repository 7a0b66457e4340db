"""The three figures that every chapter has, for each kind of data: samples, trajectory, denoising."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.plots import audio, board, cloud, image, leads, line, plane, space, text
from diffusion_lab.plots.figure import LabFigure, finish, styled
from diffusion_lab.plots.inputs import check_kind, item_rank, same_count, same_items, tensor
from diffusion_lab.plots.style import printable


def _drawer(kind: str, values: Any) -> ModuleType:
    if kind == "points":
        return {1: line, 2: plane}.get(values.shape[-1], space)
    return {
        "cloud": cloud,
        "image": image,
        "audio": audio,
        "leads": leads,
        "words": text,
        "phrases": text,
        "board": board,
    }[kind]


def _read(name: str, kind: str, values: Any, leading: str, notes: list[str]) -> Any:
    if kind in ("words", "phrases") and text.is_text(values):
        return values
    return tensor(name, kind, values, leading, notes)


def _agree(first: Any, second: Any, names: str, dims: int) -> None:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        same_items(first, second, names, dims)


def _name(title: str | None, usual: str, dataset: str) -> str:
    return f"{title or usual}: {dataset}"


@styled
def data_against_samples(
    kind: str,
    data: Tensor | Sequence[str],
    samples: Tensor | Sequence[str],
    *,
    dataset: str,
    title: str | None = None,
    density: Callable[[Tensor], Tensor] | None = None,
    info: Mapping[str, Any] | None = None,
) -> LabFigure:
    """Data beside samples: histograms, scatter plots, grids of images or boards, spectrograms, tables of text.

    Args:
        kind: "points" (D), "cloud" (N, 3), "image" (C, H, W) in [-1, 1], "audio" (1, L), "leads" (C, L), "words"
            (D), "phrases" (L, D) or "board" (cells).
        data: (N, *S) of that kind; words and phrases may be strings instead.
        samples: (M, *S), likewise.
        dataset: what the data really is; it stands in the title.
        title: what to say before the name of the data.
        density: for points of one or two dimensions, the exact density (G, D) -> (G,).
        info: "sample_rate" in Hz for audio and leads, and "leads", their names; "words" and "vectors" (V, D) for words
            and phrases, which are read as their nearest words, a vector of zeros being padding; "data_labels" (N,) and
            "samples_labels" (M,) order images by class and name strips of leads and clouds by "classes"; "legal" (M,)
            outlines the boards of samples that are not; "symbols" names the tokens of a board that is not tic-tac-toe,
            and "columns" the cells of a row where it is not square.

    Raises:
        PieceError: for an unknown kind, a wrong shape or an entry of info that is missing. Values that are not finite
            are no error: the figure says how many there are.
    """
    check_kind(kind)
    notes: list[str] = []
    data = _read("data", kind, data, "N", notes)
    samples = _read("samples", kind, samples, "N", notes)
    _agree(data, samples, "the items of data and of samples", item_rank(kind))
    figure, alt = _drawer(kind, data).data_against_samples(data, samples, density, info or {})
    return finish(figure, _name(title, "Data and samples", dataset), f"{dataset}. {alt}.", notes)


@styled
def trajectory(
    kind: str,
    states: Tensor | Sequence,
    times: Tensor | Sequence[float],
    *,
    dataset: str,
    info: Mapping[str, Any] | None = None,
) -> LabFigure:
    """Samples on their way from noise to data.

    Args:
        kind: as in `data_against_samples`.
        states: (steps, B, *S), the first noise and the last data; for words and phrases also steps lists of B strings.
        times: (steps,), the time t of each state, 1 for noise and 0 for data.
        dataset: what the data really is.
        info: as in `data_against_samples`.

    Raises:
        PieceError: for an unknown kind, a wrong shape or an entry of info that is missing.
    """
    check_kind(kind)
    notes: list[str] = []
    states = _read("states", kind, states, "steps, B", notes)
    times = torch.as_tensor(times).detach().cpu().float().flatten()
    same_count("times", times, len(states), "states")
    figure, alt = _drawer(kind, states).trajectory(states, times, info or {})
    return finish(figure, _name(None, "From noise to data", dataset), f"{dataset}. {alt}.", notes)


@styled
def denoising(
    kind: str,
    clean: Tensor | Sequence,
    noisy: Tensor | Sequence,
    learned: Tensor | Sequence,
    exact: Tensor | Sequence | None,
    levels: Sequence[float | str],
    *,
    dataset: str,
    scores: Mapping[str, Sequence[float]] | None = None,
    info: Mapping[str, Any] | None = None,
) -> LabFigure:
    """What a denoiser makes of noisy data at several noise levels, beside the exact answer where there is one.

    Args:
        kind: as in `data_against_samples`.
        clean, noisy, learned, exact: (levels, B, *S) or a list with one (B, *S) for each level; strings will do for
            words and phrases. `exact` may be None.
        levels: the time t of each level, or a string that names it.
        dataset: what the data really is.
        scores: name -> one number for each level, such as {"MSE learned": [...], "MSE exact": [...]}.
        info: as in `data_against_samples`.

    Raises:
        PieceError: for an unknown kind, shapes or counts that disagree, or an entry of info that is missing.
    """
    check_kind(kind)
    notes: list[str] = []
    given = {"clean": clean, "noisy": noisy, "learned": learned} | ({} if exact is None else {"exact": exact})
    columns = {name: _read(name, kind, values, "levels, B", notes) for name, values in given.items()}
    levels = levels.tolist() if isinstance(levels, Tensor) else list(levels)
    for name, values in columns.items():
        same_count(name, values, len(levels), "levels")
        _agree(columns["clean"], values, f"clean and {name}", item_rank(kind) + 1)
    scores = scores or {}
    for name, values in scores.items():
        same_count(f"scores[{name!r}]", values, len(levels), "levels")
    names = [level if isinstance(level, str) else f"t = {level:.2g}" for level in levels]
    rows = [
        "\n".join([printable(names[row]), *(f"{name} {float(values[row]):.3g}" for name, values in scores.items())])
        for row in range(len(levels))
    ]
    figure, alt = _drawer(kind, columns["clean"]).denoising(columns, rows, info or {})
    alt = f"{dataset}. {alt}. By noise level: {'; '.join(row.replace(chr(10), ', ') for row in rows)}."
    return finish(figure, _name(None, "Denoising", dataset), alt, notes)
