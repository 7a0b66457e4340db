"""Conversions between eps, x0 and v: right for known data, and inverse to each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from diffusion_lab.doctor.calling import Raised, Reader, first_tensor
from diffusion_lab.doctor.findings import Finding
from diffusion_lab.doctor.listening import Path, column
from diffusion_lab.doctor.noising import spread_times, square_batch, wrong_dtype
from diffusion_lab.doctor.subject import Diffusion, said
from diffusion_lab.doctor.tables import table_for

PAGE = "02_normal_2d#which-question-to-ask"
KINDS = ("eps", "x0", "v")


class Known:
    """Data and noise of which everything is known, float64."""

    def __init__(self, subject: Diffusion, path: Path):
        shape = subject.sample_shape
        count = square_batch(shape)
        generator = torch.Generator().manual_seed(0)
        self.t = spread_times(count, len(path))
        self.x0, self.eps = (torch.randn(count, *shape, generator=generator, dtype=torch.float64) for _ in range(2))
        alpha, sigma = (column(f[self.t], self.x0) for f in (path.alpha, path.sigma))
        self.alpha_bar = path.alpha_bar[self.t]
        self.x = alpha * self.x0 + sigma * self.eps
        self.said = {kind: said(kind, self.x0, self.eps, alpha, sigma) for kind in KINDS}
        # At an end x = alpha x0 + sigma eps says next to nothing of one of the two, and digits are lost.
        self.loses = {"eps": 1 / alpha, "x0": 1 / sigma, "v": torch.ones_like(alpha)}

    def off(self, found: Tensor, wanted: str, source: str) -> float:
        """The largest error, in units of what float32 can know."""
        if found.shape != self.x.shape:
            raise Raised(f"for x of shape {tuple(self.x.shape)} it returned {tuple(found.shape)}")
        error = (found.double() - self.said[wanted]).abs() / self.loses[source]
        return float(error.nan_to_num(torch.inf).max())


def examine_convert(subject: Diffusion, reader: Reader, path: Path) -> Iterator[Finding]:
    """convert(prediction, x, alpha_bar_t, source, target)."""
    known, piece = Known(subject, path), "convert"

    def ask(prediction: Tensor, source: str, target: str, x: Tensor = known.x) -> Tensor:
        given = {"prediction": prediction, "x": x, "alpha_bar_t": known.alpha_bar, "source": source, "target": target,
                 "t": known.t, "alpha_bar": path.alpha_bar}  # fmt: skip
        return first_tensor(piece, reader.call(piece, subject.convert, given))

    pairs = [(a, b) for a in KINDS for b in KINDS]
    wrong = {pair: known.off(ask(known.said[pair[0]], *pair), pair[1], pair[0]) for pair in pairs}
    wrong = {pair: off for pair, off in wrong.items() if off > 1e-3}
    if wrong:
        (source, target), off = max(wrong.items(), key=lambda item: item[1])
        back = float((ask(ask(known.said["eps"], "eps", "v"), "v", "eps") - known.said["eps"]).abs().max())
        inverse = "" if back < 1e-3 else " There and back again, eps does not return either."
        code = "conversion-wrong" if back < 1e-3 else "conversions-not-inverse"
        yield Finding(code, piece, f"For known data and noise, {source} does not become {target}"
                      f"{f', nor do {len(wrong) - 1} other pairs' * (len(wrong) > 1)}.{inverse}",
                      f"largest error from {source} to {target}", off, 0.0, PAGE)  # fmt: skip
        return
    answer = ask(known.said["eps"].float(), "eps", "v", known.x.float())
    if answer.dtype != torch.float32:
        yield wrong_dtype(piece, answer.dtype)


def examine_predictions(
    piece: str, function: Callable, subject: Diffusion, reader: Reader, path: Path
) -> Iterator[Finding]:
    """predict_start_from_noise and its siblings, which read the level from the step t."""
    known = Known(subject, path)
    source, target = {
        "predict_start_from_noise": ("eps", "x0"),
        "predict_noise_from_start": ("x0", "eps"),
        "predict_v": ("x0", "v"),
        "predict_start_from_v": ("v", "x0"),
    }[piece]
    betas, alpha_bar = table_for(subject, path)
    given = {"t": known.t, "v": known.said["v"], "alpha_bar": alpha_bar, "betas": betas}
    if piece == "predict_v":  # of the data themselves: here x is clean
        given = {"x0": known.x0, "noise": known.eps, **given}
    else:
        given = {"x_t": known.x, "x0": known.x0, "x": known.x, "noise": known.eps, **given}
        if piece == "predict_noise_from_start":
            given = {"x_t": known.x, "x0": known.x0, **given}
        else:
            del given["x0"]
            given = {"x": known.x, **given}
    found = first_tensor(piece, reader.call(piece, function, given))
    off = known.off(found, target, "v" if piece == "predict_v" else source)
    if off > 5e-3:
        yield Finding("conversion-wrong", piece, f"For known data and noise it does not give {target}.",
                      "largest error", off, 0.0, PAGE)  # fmt: skip
