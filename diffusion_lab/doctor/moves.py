"""What one step of a sampler does to x and to the guessed noise, and whether that is right.

Every ancestral or DDIM step has the form x_s = p x_t + q eps + c z, with fresh noise z (Song et al. 2021a, equation
12). From level t to level s, p = alpha_s / alpha_t, q = sqrt(sigma_s^2 - c^2) - p sigma_t, and c is free between 0 and
the posterior deviation; DDPM also takes the posterior's q with any c up to the forward deviation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from diffusion_lab.doctor.findings import Finding
from diffusion_lab.doctor.listening import Path
from diffusion_lab.doctor.tables import PURE
from diffusion_lab.samplers.steps import posterior_variance, step_variance

PAGE = "01_normal_1d#walking-back"
END_PAGE = "01_normal_1d#where-it-breaks"
NOISE_PAGE = "01_normal_1d#how-much-noise-to-put-back"
DDIM_PAGE = "02_normal_2d#sampling-without-dice"


@dataclass(frozen=True)
class Move:
    """One step as it was measured."""

    now: int
    after: int
    """Levels of the table; -1 is the data."""
    of_x: float
    of_eps: float
    noise: float
    """The standard deviation of the fresh noise."""


@dataclass(frozen=True)
class Right:
    """What the factors of one step can be."""

    of_x: float
    posterior: float
    forward: float
    """The two standard deviations of DDPM."""
    now: float
    after: float
    """sigma at both levels."""

    def of_eps(self, noise: float) -> float:
        """The factor of eps beside this much fresh noise."""
        return max(self.after**2 - noise**2, 0.0) ** 0.5 - self.of_x * self.now


def right_of(move: Move, path: Path) -> Right:
    """The right factors between the two levels of a move."""
    now, after = path.level(move.now), path.level(move.after)
    return Right(
        float(after.alpha / now.alpha),
        float(posterior_variance(now, after).sqrt()),
        float(step_variance(now, after).sqrt()),
        float(now.sigma),
        float(after.sigma),
    )


def judge(
    piece: str,
    moves: Sequence[Move],
    path: Path,
    *,
    noise: Sequence[float] | None = None,
    close: float = 2e-3,
    noise_close: float = 0.06,
) -> Iterator[Finding]:
    """At most one finding about the fresh noise and one about the rest.

    Args:
        noise: the deviation that each move must have; by default all that DDPM and DDIM allow.
        close, noise_close: relative errors of measurement, of the factors and of the deviation.
    """
    noise = list(noise) if noise is not None else None
    kept = [i for i, move in enumerate(moves) if float(path.alpha[move.now]) > PURE]  # from pure noise, x says nothing
    moves, noise = [moves[i] for i in kept], [noise[i] for i in kept] if noise is not None else None
    rights = [right_of(move, path) for move in moves]
    if not moves:
        return
    broken = next((m for m in moves if not all(map(_finite, (m.of_x, m.of_eps, m.noise)))), None)
    if broken is not None:
        yield Finding("not-finite", piece, f"The step from {broken.now} gives numbers that are not finite.",
                      "factor of x", broken.of_x, right_of(broken, path).of_x, PAGE)  # fmt: skip
        return
    if _stops_short(moves[-1], rights[-1], path, close):
        sigma = float(path.sigma[0])
        yield Finding("stops-before-the-data", piece, "The last step leads to the first noise level, and not to the "
                      "data: that much noise stays in every sample.", "deviation of the noise that stays", sigma, 0.0,
                      END_PAGE)  # fmt: skip
        moves, rights = moves[:-1], rights[:-1]
    yield from _noise(piece, moves, rights, noise, noise_close, close)
    yield from _mean(piece, moves, rights, path, close, noise)


def _stops_short(last: Move, right: Right, path: Path, close: float) -> bool:
    """Whether the last step ends where the table begins."""
    there = right_of(Move(last.now, 0, 0.0, 0.0, 0.0), path)

    def off(r: Right) -> float:
        return abs(last.of_eps - r.of_eps(0.0)) / max(abs(r.of_eps(0.0)), 1e-9) + abs(last.of_x / r.of_x - 1)

    return last.after < 0 < last.now and last.noise < 1e-5 and off(there) < close < off(right)


def _finite(value: float) -> bool:
    return bool(torch.isfinite(torch.tensor(value)))


def _noise(piece, moves, rights, noise, noise_close, close) -> Iterator[Finding]:
    pairs = list(zip(moves, rights, strict=True))
    for m, r in pairs:
        if m.after < 0 and m.noise > 1e-5 + 1e-3 * r.now:
            yield Finding("noise-at-the-end", piece, "The last step adds noise. It leads to the data, and no step is "
                          "left to take that noise away again.", "deviation of the noise in the last step", m.noise,
                          0.0, END_PAGE)  # fmt: skip
            return
    inner = [(m, r) for m, r in pairs if m.after >= 0]
    if not inner:
        return
    wanted = [r.posterior for _, r in inner]
    if noise is not None:
        wanted = [n for m, n in zip(moves, noise, strict=True) if m.after >= 0]
    forward = [r.forward for _, r in inner] if noise is None else wanted

    def fits(m: Move, low: float, high: float) -> bool:
        return low * (1 - noise_close) - 1e-6 <= m.noise <= high * (1 + noise_close) + 1e-6

    if all(fits(m, low, high) for (m, _), low, high in zip(inner, wanted, forward, strict=True)):
        return
    # DDIM: whatever noise there is, the rest makes room for it.
    if noise is None and all(abs(m.of_eps - r.of_eps(m.noise)) <= close * abs(r.of_eps(m.noise)) + 1e-5 and
                             m.noise <= r.posterior * (1 + noise_close) for m, r in inner):  # fmt: skip
        return
    (m, r), low, high = max(
        zip(inner, wanted, forward, strict=True),
        key=lambda item: max(item[1] - item[0][0].noise, item[0][0].noise - item[2]),
    )
    squares = [fits(m, low**2, high**2) for (m, _), low, high in zip(inner, wanted, forward, strict=True)]
    what = f"deviation of the noise in the step from {m.now}"
    expected = low if m.noise < low else high
    if all(squares):
        yield Finding("variance-for-deviation", piece, "The fresh noise is multiplied by a variance. Its factor is the "
                      "standard deviation, the square root.", what, m.noise, expected, NOISE_PAGE)  # fmt: skip
    elif all(m.noise < 1e-6 for m, _ in inner):
        yield Finding("no-noise", piece, "No step adds noise, and what it does to x counts on it: samples crowd in "
                      "the middle. Add the noise, or take DDIM's step with eta 0.", what, 0.0, expected,
                      NOISE_PAGE)  # fmt: skip
    elif m.noise < low:
        yield Finding("too-little-noise", piece, "The step adds less fresh noise than the one that its mean is made "
                      "for, so that samples lose spread.", what, m.noise, low, NOISE_PAGE)  # fmt: skip
    else:
        yield Finding("too-much-noise", piece, "The step adds more fresh noise than the forward step has added, so "
                      "that samples keep some.", what, m.noise, high, NOISE_PAGE)  # fmt: skip


def _mean(piece, moves, rights, path, close, noise) -> Iterator[Finding]:
    def near(found: float, wanted: float) -> bool:
        return abs(found - wanted) <= close * abs(wanted) + 1e-5

    def allowed(i: int, m: Move, r: Right) -> list[float]:
        given = [r.of_eps(noise[i])] if noise is not None else []
        return [*given, r.of_eps(r.posterior), r.of_eps(min(m.noise, r.posterior))]

    off_x = [(m, r) for m, r in zip(moves, rights, strict=True) if not near(m.of_x, r.of_x)]
    if off_x:
        m, r = max(off_x, key=lambda pair: abs(pair[0].of_x - pair[1].of_x))
        yield _of_x(piece, m, r, off_x, moves, path, near)
        return
    off = [
        (m, r) for i, (m, r) in enumerate(zip(moves, rights, strict=True))
        if not any(near(m.of_eps, wanted) for wanted in allowed(i, m, r))
    ]  # fmt: skip
    if not off:
        return
    m, r = max(off, key=lambda pair: abs(pair[0].of_eps - pair[1].of_eps(pair[1].posterior)))
    wanted = r.of_eps(r.posterior)
    code, says = "step-mean", "The guessed noise has the wrong factor, so that the step leads to another level."
    if all(near(m.of_eps, -r.of_eps(r.posterior)) for m, r in off):
        code, says = "guess-added", "The guessed noise is added. It is what has to go: subtract it."
    elif all(near(m.of_eps * r.now, r.of_eps(r.posterior)) for m, r in off):
        code = "variance-for-deviation"
        says = "The guess is divided by 1 - alpha_bar, a variance. Divide by its square root."
    elif all(near(m.of_eps, -r.now * r.of_x) for m, r in off):
        code = "all-noise-at-once"
        says = "The whole guessed noise is taken away in one step, and not the share that this step is for."
    yield Finding(code, piece, says, f"factor of the guessed noise in the step from {m.now}", m.of_eps, wanted, PAGE)


def _of_x(piece, m, r, off, moves, path, near) -> Finding:
    what = f"factor of x in the step from {m.now}"
    known = (
        ("not-scaled-back", "x is not divided by sqrt(1 - beta). The step forward has shrunk it, and the step back "
         "has to undo that.", lambda m, r: 1.0),
        ("scaled-the-wrong-way", "x is shrunk once more. The step forward has shrunk it by sqrt(1 - beta), and the "
         "step back divides.", lambda m, r: 1 / r.of_x),
        ("back-at-once", "x is divided by sqrt(alpha_bar), which undoes all steps at once. One step back divides by "
         "sqrt(1 - beta).", lambda m, r: 1 / float(path.alpha[m.now])),
        ("variance-for-deviation", "x is divided by 1 - beta, a share of variance. Divide by its square root.",
         lambda m, r: r.of_x**2),
    )  # fmt: skip
    for code, says, factor in known:
        if all(near(m.of_x, factor(m, r)) for m, r in off):
            return Finding(code, piece, says, what, m.of_x, r.of_x, PAGE)
    total = 1.0
    for move in moves:
        total /= max(move.of_x, 1e-12) ** 2
    if len(moves) > 10 and all(m.of_x > 1 for m in moves) and total < 0.9:
        return Finding("two-schedules", piece, "The sampler walks back along another schedule than the one of "
                       "training: together its steps undo another amount of noise.", "alpha_bar of all its steps",
                       total, float(path.alpha_bar[moves[0].now]), PAGE)  # fmt: skip
    return Finding("step-mean", piece, "x has the wrong factor, so that the step leads to another level.", what,
                   m.of_x, r.of_x, PAGE)  # fmt: skip
