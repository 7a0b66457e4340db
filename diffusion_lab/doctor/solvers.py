"""Solvers of the probability-flow path: does twice the steps halve the error, or quarter it?

The data are normal, so the exact path is known (`exact.Gaussian.flow_map`): along each axis the distance to the mean
grows as the standard deviation does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from diffusion_lab.doctor.calling import Raised, Reader, first_tensor
from diffusion_lab.doctor.findings import Finding
from diffusion_lab.doctor.listening import Listener, column
from diffusion_lab.doctor.noising import wrong_dtype
from diffusion_lab.doctor.subject import Diffusion
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context, dpmpp_2m

MEAN, STD = 0.7, 0.5
PAGE = "04_normal_nd#the-order-of-a-solver"
FLOW_PAGE = "06_spiral#walking"
MEMORY_PAGE = "06_spiral#a-step-that-remembers"
STEPS = (24, 48, 96)
DEFAULT = {"solver_step": 2, "flow_step": 1, "multistep": 2}


def guess(x: Tensor, alpha: float, sigma: float) -> Tensor:
    """E[x0 | x] for entries that are N(MEAN, STD^2)."""
    variance = alpha**2 * STD**2 + sigma**2
    return MEAN + alpha * STD**2 / variance * (x - alpha * MEAN)


def exact(x: Tensor, now: tuple[float, float], after: tuple[float, float]) -> Tensor:
    """Where the path leads from a level (alpha, sigma) to another."""
    (a, s), (b, r) = now, after
    return b * MEAN + (x - a * MEAN) * math.sqrt((b**2 * STD**2 + r**2) / (a**2 * STD**2 + s**2))


class SolverProbe:
    """One solver on a grid of levels, from noise nearly down to the data."""

    def __init__(self, piece: str, function: Callable, subject: Diffusion, reader: Reader):
        self.piece, self.function, self.subject, self.reader = piece, function, subject, reader
        self.flow = piece == "flow_step"

    def levels(self, steps: int, end: float = 0.02) -> list[tuple[float, float]]:
        """steps + 1 pairs (alpha, sigma)."""
        if self.flow:
            return [(1 - t, t) for t in torch.linspace(1, end, steps + 1).double().tolist()]
        if self.piece == "multistep":  # on a path that preserves variance
            # Long and short steps in turn: a ratio of step lengths that is upside down shows.
            angles = torch.linspace(1.45, end, steps + 1, dtype=torch.float64)
            angles[1:-1:2] += 0.3 * (angles[1] - angles[0])
            return [(math.cos(u), math.sin(u)) for u in angles.tolist()]
        root = torch.linspace(10 ** (1 / 7), end ** (1 / 7), steps + 1, dtype=torch.float64)
        return [(1.0, s) for s in (root**7).tolist()]

    def walk(self, x: Tensor, levels: list[tuple[float, float]]) -> Tensor:
        """x along all levels."""
        before, last = None, None
        for now, after in pairwise(levels):
            answer, kept, network = guess(x, *now), x.clone(), Listener(self._network)
            rows = [before or now, now, after]
            given = {
                "network": network, "x": kept, "sigma": now[1], "sigma_next": after[1], "t": now[1], "s": after[1],
                "x0_now": answer, "x0_last": last, "levels": torch.tensor(rows, dtype=torch.float64),
            }  # fmt: skip
            found = first_tensor(self.piece, self.reader.call(self.piece, self.function, given))
            if found.shape != x.shape:
                raise Raised(f"for x of shape {tuple(x.shape)} it returned {tuple(found.shape)}")
            if found.requires_grad and found.grad_fn is not None:
                raise Fault("graph-kept", "x hangs on the network's graph, which grows with every step. Put the step "
                            "under torch.no_grad().", "graphs kept", 1, 0)  # fmt: skip
            if not torch.equal(kept, x) and bool(x.isfinite().all()):
                change = float((kept - x).abs().max())
                raise Fault("changes-its-input", "It writes into x. Make a new tensor.", "largest change", change, 0)
            if network.asked and abs(float(network.asked[0].told[0]) - now[1]) > 1e-4:
                raise Fault("told-times-differ", "The network is first told another level than the one that x has.",
                            "level told", float(network.asked[0].told[0]), now[1])  # fmt: skip
            before, last, x = now, answer, found.detach()
        return x

    def _network(self, x: Tensor, told: Tensor, call: int) -> Tensor:
        sigma = column(told, x.double())
        alpha = 1 - sigma if self.flow else torch.ones_like(sigma)
        away = (x.double() - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)
        x0, eps = MEAN + alpha * STD**2 * away, sigma * away
        return (eps - x0 if self.flow else x0).to(x.dtype)

    def error(self, steps: int, walk: Callable | None = None) -> float:
        """Root mean square distance to the exact end, of this solver or of another walk (x, levels) -> x."""
        levels = self.levels(steps)
        unit = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(3, -1)
        start = levels[0][0] * MEAN + unit * math.sqrt(levels[0][0] ** 2 * STD**2 + levels[0][1] ** 2)
        found, wanted = (walk or self.walk)(start, levels), exact(start, levels[0], levels[-1])
        return float((found.double() - wanted).square().mean().sqrt())


def ours(x: Tensor, levels: list[tuple[float, float]]) -> Tensor:
    """The same walk with the package's own DPM-Solver++(2M)."""
    step, context = dpmpp_2m(), Context(lambda x, level: None, None)
    zero = torch.zeros((), dtype=torch.float64)
    points = [Level(zero, torch.tensor(a).double(), torch.tensor(s).double(), zero, zero) for a, s in levels]
    for now, after in pairwise(points):
        x0 = guess(x, float(now.alpha), float(now.sigma))
        prediction = Prediction(x0, (x - now.alpha * x0) / now.sigma)
        x = step(x, now, after, prediction, context)
        context.history = [(now, prediction)]
    return x


class Fault(Exception):
    """What is wrong with one call: the fields of a finding between piece and page."""


def examine_solver(piece: str, function: Callable, subject: Diffusion, reader: Reader) -> Iterator[Finding]:
    """Its order, its last step, and its dtype."""
    page = {"flow_step": FLOW_PAGE, "multistep": MEMORY_PAGE}.get(piece, PAGE)
    try:
        yield from _examine(piece, function, subject, reader, page)
    except Fault as fault:
        code, says, of, measured, expected = fault.args
        yield Finding(code, piece, says, of, measured, expected, page)


def _examine(piece: str, function: Callable, subject: Diffusion, reader: Reader, page: str) -> Iterator[Finding]:
    probe = SolverProbe(piece, function, subject, reader)
    wanted = subject.order or DEFAULT[piece]
    few, more, many = (probe.error(steps) for steps in STEPS)
    what = f"error after {STEPS[2]} steps"
    if not all(map(math.isfinite, (few, more, many))):
        yield Finding("not-finite", piece, "On the way from noise to data it gives numbers that are not finite.", what,
                      many, 0.0, page)  # fmt: skip
        return
    order = math.log2(more / many) if many > 1e-12 else float(wanted)
    if many > 0.1 or (order < 0.3 and many > 1e-5):
        yield Finding("does-not-converge", piece, "However many steps it takes, it does not come to where the exact "
                      "path leads: the step itself is wrong.", what, many, 0.0, page)  # fmt: skip
        return
    if order < wanted - 0.25 and many > 1e-5:  # below, float32 has no digits left
        yield Finding("order-below", piece, f"Twice the steps leave 1 / {2**order:.3g} of the error, and a solver of "
                      f"order {wanted} leaves 1 / {2**wanted}.", "order", order, wanted, page)  # fmt: skip
        return
    if piece == "multistep":
        best = probe.error(STEPS[0], ours)
        if abs(few / best - 1) > 0.02:
            yield Finding("another-solver", piece, "Its order is right and its error is not that of DPM-Solver++(2M) "
                          "on the same steps, long and short in turn: look at the ratio of the two steps.",
                          f"error after {STEPS[0]} steps", few, best, page)  # fmt: skip
            return
    levels = [*probe.levels(STEPS[0]), (1.0, 0.0)]
    x = exact(torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(3, -1), levels[0], levels[-3])
    end = probe.walk(x, levels[-3:])
    multistep = piece == "multistep"
    off = float((end - (ours(x, levels[-3:]) if multistep else exact(x, levels[-3], levels[-1]))).abs().max())
    if not off < (1e-4 if multistep else 0.05):
        yield Finding("last-step", piece, "The last step, to the clean end, goes wrong: there sigma is 0, and nothing "
                      "may be divided by it.", "largest error of the last step", off, 0.0, page)  # fmt: skip
        return
    if multistep:
        yield from _near_the_end(probe, levels, page)
        return
    if not probe.flow:
        yield from _near_the_end(probe, levels, page)
    answer = probe.walk(x.float(), levels[-4:-2])
    if answer.dtype != torch.float32:
        yield wrong_dtype(piece, answer.dtype)


def _near_the_end(probe: SolverProbe, levels: list[tuple[float, float]], page: str) -> Iterator[Finding]:
    """One step between two small noise levels is a step like any other."""
    small = [levels[-3], levels[-2], (levels[-2][0] / 4 + 0.75, levels[-2][1] / 4)]
    x = exact(torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(3, -1), levels[0], levels[-3])
    near = float((probe.walk(x, small) - exact(x, small[0], small[-1])).abs().max())
    if near > 4e-3:
        yield Finding("last-step", probe.piece, f"Close to the data, from sigma {small[1][1]:.2g} to "
                      f"{small[2][1]:.2g}, the step is no longer the same one; only sigma = 0 is special.",
                      "largest error there", near, 0.0, page)  # fmt: skip
