"""Scenes of pieces that give numbers about data rather than data: distances, weights, averages, rates."""

from __future__ import annotations

import torch
from torch import nn

from diffusion_lab.grading.notebook.scenes.stage import Piece, Scene, generator, opened
from diffusion_lab.plots import Curves, View


def _number(value: object) -> float:
    """A distance as a plain number, as a tensor () or a float."""
    return float(torch.as_tensor(value).reshape(()))


def _gaussian_w2(piece: Piece) -> list[View]:
    amounts = torch.linspace(0, 3, 31, dtype=torch.float64)
    cov = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    zero, along = torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    lines = {
        "one moved by a": [_number(piece(zero, cov, a * along, cov)) for a in amounts],
        "one 1 + a times as wide": [_number(piece(zero, cov, zero, (1 + a) ** 2 * cov)) for a in amounts],
    }
    return [Curves(amounts, {k: torch.tensor(v) for k, v in lines.items()}, "a", "distance of two normals")]


def _energy_distance(piece: Piece) -> list[View]:
    amounts = torch.linspace(0, 2, 7)
    a, b = torch.randn(2, 40, 2, generator=generator())  # few, for answers that loop over pairs
    lines = {
        "one moved by a": [_number(piece(a, b + s)) for s in amounts],
        "one 1 + a times as wide": [_number(piece(a, (1 + s) * b)) for s in amounts],
    }
    return [Curves(amounts, {k: torch.tensor(v) for k, v in lines.items()}, "a", "distance of two samples")]


def _frechet_distance(piece: Piece) -> list[View]:
    amounts = torch.linspace(0, 2, 21, dtype=torch.float64)
    a, b = torch.randn(2, 400, 8, generator=generator(), dtype=torch.float64)
    lines = {
        "one moved by a": [_number(piece(a, b + s)) for s in amounts],
        "one 1 + a times as wide": [_number(piece(a, (1 + s) * b)) for s in amounts],
    }
    return [Curves(amounts, {k: torch.tensor(v) for k, v in lines.items()}, "a", "distance of two sets of features")]


def _drop_labels(piece: Piece) -> list[View]:
    labels = torch.arange(2000) % 10
    after = piece(labels, 0.2, 10, torch.rand(2000, generator=generator()))
    counts = torch.stack([(after == label).sum() for label in range(11)])
    return [Curves(torch.arange(11), {"": counts}, "label; 10 is no label", "how many of 2,000, with p = 0.2")]


def _ema_update(piece: Piece) -> list[View]:
    online, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    noise = torch.randn(300, generator=generator())
    path, raw = [], []
    with torch.no_grad():
        average.weight.fill_(0.0)
        for step in range(300):
            online.weight.fill_(1 - 0.98**step + 0.2 * float(noise[step]))
            average.load_state_dict(piece(average, online, 0.95))
            path.append(float(average.weight.detach()))
            raw.append(float(online.weight.detach()))
    lines = {"average": torch.tensor(path), "network": torch.tensor(raw)}
    return [Curves(torch.arange(300), lines, "training step", "a weight")]


def _min_snr_weight(piece: Piece) -> list[View]:
    log_snr = torch.linspace(-6, 6, 81, dtype=torch.float64)
    lines = {target: piece(torch.sigmoid(log_snr), 5.0, target) for target in ("eps", "x0", "v")}
    return [Curves(log_snr, lines, "log-SNR, from noise to data", "weight")]


def _legal_rate(piece: Piece) -> list[View]:
    run, draw = opened("games"), generator()
    legal = run.dataset.info["boards"]
    boards = legal[torch.randint(len(legal), (300,), generator=draw)]
    place = torch.rand(boards.shape, generator=draw)
    other = torch.randint(0, 3, boards.shape, generator=draw)
    shares = torch.linspace(0, 1, 11)
    rates = torch.tensor([_number(piece(torch.where(place < share, other, boards), legal)) for share in shares])
    return [Curves(shares, {"": rates}, "share of cells replaced by random tokens", "legal rate")]


SCENES: dict[str, Scene] = {
    "gaussian_w2": Scene("The distance of two normals as one of them is moved or made wider.", _gaussian_w2),
    "energy_distance": Scene("The distance of two samples as one of them is moved or made wider.", _energy_distance),
    "frechet_distance": Scene(
        "The distance of two sets of features as one of them is moved or made wider.", _frechet_distance
    ),
    "drop_labels": Scene("How often each label is left when a fifth should be dropped.", _drop_labels),
    "ema_update": Scene("A weight that training shakes, and its average, step by step.", _ema_update),
    "min_snr_weight": Scene("The weight of each level, for each target, with gamma 5.", _min_snr_weight),
    "legal_rate": Scene("The share of legal boards as more and more cells are replaced at random.", _legal_rate),
}
