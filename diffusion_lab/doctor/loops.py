"""A whole sampling loop, watched through its network: which levels it asks about, and what each step does.

The loop runs twice from the same seed, with two networks that say different things. Whatever it draws is the same, so
the difference of the two runs has no noise, and the factors of every step are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.chapters.pieces import MOST_LEFT
from diffusion_lab.doctor.calling import NAMES, Raised, Reader, first_tensor, parameters
from diffusion_lab.doctor.findings import Finding
from diffusion_lab.doctor.listening import Asked, Listener, Path, column
from diffusion_lab.doctor.moves import PAGE, Move, judge
from diffusion_lab.doctor.noising import wrong_dtype
from diffusion_lab.doctor.subject import PREDICTIONS, Diffusion, said
from diffusion_lab.doctor.tables import PURE, table_for
from diffusion_lab.exact import FiniteSet
from diffusion_lab.levels import Level

PIECE = "sample"
ENTRIES = 4096
FEW = 12
"""From this many calls of the network on, samples of exact data have to look like them."""
TIME_PAGE = "05_mnist#what-time-is-it"
SPACING_PAGE = "07_cifar10#a-last-level-that-is-pure-noise"
POINTS = torch.tensor([[-0.6], [0.4], [0.4]], dtype=torch.float64)
"""Exact data for a whole loop: every entry is -0.6 or, twice as often, 0.4. No clipping to [-1, 1] touches them."""


@dataclass(frozen=True)
class Run:
    """One run of the loop."""

    asked: list[Asked]
    final: Tensor
    """(B, *S) float64, on the scale of the network's x."""
    dtype: torch.dtype


class LoopProbe:
    """Runs the loop with networks that say known things."""

    def __init__(self, subject: Diffusion, reader: Reader, path: Path, kind: str, function: Callable | None = None):
        self.subject, self.reader, self.path, self.kind = subject, reader, path, kind
        self.function = function or subject.sample
        shape = subject.sample_shape
        self.shape = (max(2, ENTRIES // torch.Size(shape).numel()), *shape)
        self.scale = (1.0, 0.0)

    def run(self, x0_of: Callable[[Tensor, Tensor, Tensor, int], Tensor], seed: int = 0, **more: Any) -> Run:
        """The loop with a network that guesses x0_of(x, alpha, sigma, number of the call) for the clean data."""

        def answer(x: Tensor, told: Tensor, call: int) -> Tensor:
            alpha, sigma = (column(f, x.double()) for f in self.path.between(self.path.index_of(told)))
            guess = x0_of(x.double(), alpha, sigma, call)
            eps = (x.double() - alpha * guess) / sigma
            return said(self.kind, guess, eps, alpha, sigma).to(x.dtype)

        listener = Listener(answer)
        start = torch.randn(self.shape, generator=torch.Generator().manual_seed(seed))
        fresh = torch.randn(len(self.path), *self.shape, generator=torch.Generator().manual_seed(seed + 1))
        betas, alpha_bar = table_for(self.subject, self.path)
        given = {
            "network": listener, "shape": self.shape, "count": self.shape[0], "x": start * float(self.path.sigma[-1]),
            "noise": fresh, "betas": betas, "alpha_bar": alpha_bar, "sigmas": self.path.sigma, "T": len(self.path),
            **more,
        }  # fmt: skip
        if "labels" not in given and any(
            name in NAMES["labels"] and p.default is p.empty for name, p in parameters(self.function).items()
        ):
            given["labels"] = torch.ones(self.shape[0], dtype=torch.int64)
        final = first_tensor(PIECE, self.reader.call(PIECE, self.function, given, seed))
        if not listener.asked:
            raise Raised("the network was never called")
        if final.shape != listener.asked[-1].x.shape and final.shape != self.shape:
            raise Raised(f"for x of shape {self.shape} it returned {tuple(final.shape)}")
        if final.requires_grad and final.grad_fn is not None:
            raise Tracked
        scale, offset = self.scale
        return Run(listener.asked, (final.double() - offset) / scale, final.dtype)


class Tracked(Exception):
    """The samples hang on an autograd graph."""


def examine_loop(probe: LoopProbe, told: tuple[float, float] | str | None) -> Iterator[Finding]:
    """The levels, the steps, and samples of exact data.

    Args:
        told: what the loss tells its network at both ends, where that is known.
    """
    try:
        yield from _examine(probe, told)
    except Tracked:
        yield Finding("graph-kept", PIECE, "The samples hang on the graph of all steps, which grows until memory is "
                      "full. Put the loop under torch.no_grad().", "graphs kept", 1, 0, PAGE)  # fmt: skip


def _examine(probe: LoopProbe, told: tuple[float, float] | str | None) -> Iterator[Finding]:
    plain = probe.run(lambda x, a, s, call: torch.zeros_like(x))
    if not bool(plain.final.isfinite().all()):
        yield Finding("not-finite", PIECE, "Samples are not finite, though the network's guess of the data is 0 all "
                      "the time.", "share of finite entries", float(plain.final.isfinite().double().mean()), 1.0,
                      PAGE)  # fmt: skip
        return
    if plain.dtype != torch.float32:
        yield wrong_dtype(PIECE, plain.dtype)
    heard = torch.stack([asked.told[0] for asked in plain.asked])
    timing = list(_timing(heard, probe.path, told))
    yield from timing
    if timing:
        return
    twice = sum(_same(a, b) for a, b in pairwise(plain.asked))
    if twice:
        yield Finding("asked-twice", PIECE, "The network is asked the same question twice in a row. Keep its answer: "
                      "calls are what sampling costs.", "calls", len(plain.asked), len(plain.asked) - twice,
                      "01_normal_1d#at-equal-cost")  # fmt: skip
    ends = [float(probe.run(lambda x, a, s, call, c=c: torch.full_like(x, c)).final.mean()) for c in (-0.5, 0.5)]
    if abs(ends[0] - 0.25) < 0.02 and abs(ends[1] - 0.75) < 0.02:
        probe.scale = (0.5, 0.5)  # it hands pictures back in [0, 1]
    limit = float(probe.run(lambda x, a, s, call: torch.full_like(x, 3.0)).final.mean())
    from diffusion_lab.doctor.stepping import clipping

    yield from clipping(PIECE, limit if limit < 2.9 else None, probe.subject)
    index = probe.path.index_of(heard)
    moves = _moves(probe, index)
    found = list(judge(PIECE, moves, probe.path)) if moves else []
    other = _read_as_another(probe, index) if found else None
    if other is not None:
        found = [Finding("trained-for-another", PIECE, f"The sampler takes the network's answer for {other}, and it "
                         f"was trained for {probe.kind}.", found[0].of, found[0].measured, found[0].expected,
                         "02_normal_2d#which-question-to-ask")]  # fmt: skip
    yield from found
    if not moves and (
        len(heard) == 1 or len(heard) >= FEW
    ):  # right steps are right, however few; of others only the end can be judged
        yield from _samples(probe)


def _read_as_another(probe: LoopProbe, index: Tensor) -> str | None:
    """The kind of prediction with which all steps are right, where it is another one."""
    for kind in PREDICTIONS:
        other = LoopProbe(probe.subject, probe.reader, probe.path, kind, probe.function)
        other.scale = probe.scale
        moves = _moves(other, index) if kind != probe.kind else []
        if moves and not list(judge(PIECE, moves, probe.path)):
            return kind
    return None


def _same(a: Asked, b: Asked) -> bool:
    labels = a.labels is b.labels or (a.labels is not None and b.labels is not None and torch.equal(a.labels, b.labels))
    return labels and torch.equal(a.told, b.told) and torch.equal(a.x, b.x)


def _timing(heard: Tensor, path: Path, told: tuple[float, float] | str | None) -> Iterator[Finding]:
    """The times that the network hears on the way."""
    T, (first, last) = len(path), path.ends
    index = (heard - first) / (last - first) * (T - 1)
    if path.told == "sigma":
        index = path.index_of(heard)
    up = heard.diff() * (1 if last > first else -1)
    if len(heard) > 2 and float((up > 0).double().mean()) > 0.6:
        yield Finding("walks-the-wrong-way", PIECE, "The network hears times that rise from data to noise. Sampling "
                      "starts at the noisiest level: go through the steps backwards.", "first level asked about",
                      float(index[0]), T - 1, PAGE)  # fmt: skip
        return
    if float(index.max()) > T - 0.5 or float(index.min()) < -0.5:
        high = float(index.max()) > T - 0.5
        worst = heard[index.argmax() if high else index.argmin()]
        yield Finding("told-times-differ", PIECE, "While sampling, the network is told times that training never told "
                      "it.", "highest time told" if high else "lowest time told", float(worst), last if high else first,
                      TIME_PAGE)  # fmt: skip
        return
    if told is not None and len(heard) > 3 and float(index.max()) < (T - 1) * 0.01:
        yield Finding("told-times-differ", PIECE, "While sampling, the network is told times on another scale than in "
                      "training.", "highest time told", float(heard.max()), last, TIME_PAGE)  # fmt: skip
        return
    begun = round(float(index[0]))
    whole = len(heard) >= T - 3
    if begun < T - 1 and (whole or float(path.alpha_bar[begun]) > MOST_LEFT):
        yield Finding("starts-late", PIECE, f"The first level that the network is asked about is {begun}, and pure "
                      f"noise is level {T - 1}: what was never trained stands at the start.",
                      "first level asked about", begun, T - 1, SPACING_PAGE)  # fmt: skip
    elif whole and len(heard) == T - 1 and round(float(index[-1])) == 1:
        yield Finding("last-step-left-out", PIECE, "The loop ends before step 0, so that samples keep the noise of the "
                      "first level. range(T - 1, 0, -1) stops at 1.", "last level asked about", 1, 0, PAGE)  # fmt: skip


def _moves(probe: LoopProbe, index: Tensor) -> list[Move]:
    """The factors of every step; none where the steps are not of that form."""
    if len(index) < 2 or bool((index.diff() >= 0).any()) or float((index - index.round()).abs().max()) > 1e-3:
        return []
    generator = torch.Generator().manual_seed(3)
    guesses = [torch.rand(probe.shape, generator=generator, dtype=torch.float64) * 1.6 - 0.8 for _ in index]
    first = probe.run(lambda x, a, s, call: torch.zeros_like(x))
    second = probe.run(lambda x, a, s, call: guesses[call])
    if len(first.asked) != len(second.asked) or not torch.equal(first.asked[0].x, second.asked[0].x):
        return []  # its randomness does not come from torch's generator
    states = [[a.x.double() for a in run.asked] + [run.final] for run in (first, second)]
    levels = [round(float(i)) for i in index] + [-1]
    moves = []
    for k in range(len(index)):
        now, after = levels[k], levels[k + 1]
        known = torch.stack([(states[1][k] - states[0][k]).flatten(), guesses[k].flatten()], dim=1)
        change = (states[1][k + 1] - states[0][k + 1]).flatten()
        if k == 0:
            known[:, 0] = 0
        factors = _solve(known, change)
        left = change - known @ factors
        if float(left.abs().max()) > 1e-3:
            return []
        alpha, sigma = float(probe.path.alpha[now]), float(probe.path.sigma[now])
        if alpha < PURE:
            continue  # pure noise says nothing of the data, and x0 cannot be told from eps
        if k == 0:  # both runs start from one x: its factor is found from the plain run
            x, there = states[0][0].flatten(), states[0][1].flatten()
            of_x = float(x @ there / (x @ x))
        else:
            of_x = float(factors[0])
        noise = float((states[0][k + 1] - of_x * states[0][k]).square().mean().sqrt())
        move = Move(now, after, of_x + float(factors[1]) / alpha, -float(factors[1]) * sigma / alpha,
                    noise if noise > 1e-5 else 0.0)  # fmt: skip
        if k > 0:
            moves.append(move)
    return moves


def _solve(known: Tensor, change: Tensor) -> Tensor:
    if bool((known[:, 0] == 0).all()):
        return torch.stack([torch.zeros(()).double(), known[:, 1] @ change / (known[:, 1] @ known[:, 1])])
    return torch.linalg.lstsq(known, change[:, None]).solution[:, 0]


def _samples(probe: LoopProbe) -> Iterator[Finding]:
    """With the exact network of known data, the samples are those data."""
    exact = FiniteSet(POINTS)

    def guess(x: Tensor, alpha: Tensor, sigma: Tensor, call: int) -> Tensor:
        flat = [f.expand(x.shape).reshape(-1, 1) for f in (alpha, sigma)]
        nothing = torch.zeros_like(flat[0])
        return exact.denoise(x.reshape(-1, 1), Level(nothing, *flat, nothing, nothing)).x0.reshape(x.shape)

    final = probe.run(guess).final
    if not bool(final.isfinite().all()):
        yield Finding("not-finite", PIECE, "Samples of exact data are not finite.", "finite entries",
                      float(final.isfinite().double().mean()), 1.0, PAGE)  # fmt: skip
        return
    away = float((final.unsqueeze(-1) - POINTS.flatten()).abs().amin(dim=-1).square().mean().sqrt())
    share = float((final > -0.1).double().mean())
    if away > 0.05:
        yield Finding("samples-blurred", PIECE, "With the exact network of data that are -0.6 or 0.4, the samples lie "
                      "beside those two numbers: some noise stays, or the steps are too coarse or wrong.",
                      "distance to the nearest of both", away, 0.0, PAGE)  # fmt: skip
    elif abs(share - 2 / 3) > 0.05:
        yield Finding("samples-unbalanced", PIECE, "With the exact network of data of which two thirds are 0.4 and "
                      "one third is -0.6, the samples have other shares.", "share of 0.4", share, 2 / 3,
                      PAGE)  # fmt: skip
