"""Naming what is wrong with x_t = a x0 + b noise, from the two factors a and b."""

from __future__ import annotations

import torch
from torch import Tensor

from diffusion_lab.doctor.findings import Finding
from diffusion_lab.doctor.listening import Path

PAGE = "01_normal_1d#drowning-a-number"
CLOSE = 2e-3
"""Relative; float32 tables and linspaces differ by less."""


def same(found: Tensor, wanted: Tensor, close: float = CLOSE) -> bool:
    """Whether all factors agree, up to `close` of their size."""
    return bool(((found - wanted).abs() <= close * wanted.abs() + 1e-5).all())


def name_mixture(piece: str, a: Tensor, b: Tensor, t: Tensor, path: Path) -> Finding | None:
    """The finding for these factors at these steps, or None where they are right.

    Args:
        a, b: (B,) float64, the measured factors of data and noise.
        t: (B,) int64, the steps they were measured at.
    """
    alpha, sigma = path.alpha[t], path.sigma[t]
    right_a, right_b = same(a, alpha), same(b, sigma)
    if right_a and right_b:
        return None
    for code, says, (x, y) in _known(path, t):
        if same(a, x) and same(b, y):
            return _finding(code, piece, says, a, b, t, path)
    if same(b, -sigma) and right_a:
        says = (
            "The noise is subtracted. It is added; the network's guess is compared with this very noise, sign and all."
        )
        return _finding("noise-sign", piece, says, a, b, t, path)
    says = "Data and noise are mixed with the wrong factors: sqrt(alpha_bar) and sqrt(1 - alpha_bar) belong there."
    return _finding("wrong-mixture", piece, says, a, b, t, path)


def _finding(code: str, piece: str, says: str, a: Tensor, b: Tensor, t: Tensor, path: Path) -> Finding:
    """With the number that is furthest off."""
    off_a, off_b = ((f - w).abs().nan_to_num(torch.inf) for f, w in ((a, path.alpha[t]), (b, path.sigma[t])))
    of_data = float(off_a.max()) >= float(off_b.max())
    at = int((off_a if of_data else off_b).argmax())
    found, wanted = (a, path.alpha[t]) if of_data else (b, path.sigma[t])
    what = f"factor of the {'data' if of_data else 'noise'} at step {int(t[at])}"
    return Finding(code, piece, says, what, float(found[at]), float(wanted[at]), PAGE)


def _known(path: Path, t: Tensor) -> tuple[tuple[str, str, tuple[Tensor, Tensor]], ...]:
    """Code, sentence, and the factors of each known mistake."""
    kept = path.alpha_bar
    one = torch.ones(1, dtype=torch.float64)
    before = torch.cat([one, kept[:-1]])
    single, again = kept / before, kept.cumprod(0)
    root = kept.sqrt()
    earlier, later = (t - 1) % len(path), (t + 1) % len(path)

    def at(table: Tensor, index: Tensor = t) -> tuple[Tensor, Tensor]:
        return table[index].sqrt(), (1 - table[index]).sqrt()

    variance = "alpha_bar is a share of the variance. What multiplies {} is its square root, a standard deviation."
    return (
        ("variance-for-deviation", variance.format("the data"), (kept[t], at(kept)[1])),
        ("variance-for-deviation", variance.format("the noise, 1 - alpha_bar,"), (at(kept)[0], 1 - kept[t])),
        ("variance-for-deviation", variance.format("data and noise"), (kept[t], 1 - kept[t])),
        ("single-step", "This is the noise of one step. x_t has gone through all steps up to t: use the cumulative "
         "product alpha_bar.", at(single)),
        ("signal-and-noise-swapped", "Data and noise have each other's factor, so that the first step is nearly all "
         "noise.", at(kept)[::-1]),
        ("one-step-off", "The table is read at t - 1: at t = 0 that is its last entry, pure noise.",
         at(kept, earlier)),
        ("one-step-off", "The table is read at t + 1, one step too noisy.", at(kept, later)),
        ("one-step-off", "The table is read at t - 1, one step too clean.", at(before)),
        ("roots-add-up", "The noise has the factor 1 - sqrt(alpha_bar). Variances add up to 1, not their roots: take "
         "1 - alpha_bar first, and the root of that.", (root[t], 1 - root[t])),
        ("data-not-scaled", "The data stay at full size while noise is added. On this path they shrink by "
         "sqrt(alpha_bar), so that the variance stays 1.", (torch.ones_like(root[t]), at(kept)[1])),
        ("multiplied-twice", "The table was multiplied up once more: alpha_bar is a cumulative product already.",
         at(again)),
    )  # fmt: skip
