"""One step of sampling as a function: its factors, read off exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from diffusion_lab.doctor.calling import NAMES, Raised, Reader, first_tensor, parameters
from diffusion_lab.doctor.findings import Finding
from diffusion_lab.doctor.listening import Listener, Path
from diffusion_lab.doctor.moves import Move, judge, right_of
from diffusion_lab.doctor.noising import wrong_dtype
from diffusion_lab.doctor.subject import Diffusion, said
from diffusion_lab.doctor.tables import PURE, table_for

ENTRIES = 4096
CLIP_PAGE = "07_cifar10#staying-in-range"


class StepProbe:
    """Calls a step at one level with known x, known guesses and, where it takes it, known noise.

    Guesses are those of clean data inside [-0.9, 0.9], which a step that clips leaves alone.
    """

    def __init__(self, piece: str, function: Callable, subject: Diffusion, reader: Reader, path: Path, **more):
        self.piece, self.function, self.subject, self.reader, self.path = piece, function, subject, reader, path
        self.more = more
        self.gives_noise = reader.takes(function, "noise") and (
            reader.takes(function, "eps") is False or len(_noise_names(function)) > 1
        )
        shape = subject.sample_shape
        self.count = 2 if self.gives_noise else max(2, ENTRIES // torch.Size(shape).numel())
        self.betas, self.alpha_bar = table_for(subject, path)
        self.as_number: bool | None = _wants_number(function)

    def ask(self, now: int, after: int, x: Tensor, x0: Tensor, noise: Tensor, seed: int = 0) -> Tensor:
        """x at the level `after`, for x at `now` with this guess of the clean data."""
        alpha, sigma = self.path.alpha[now], self.path.sigma[now]
        eps = (x.double() - alpha * x0.double()) / sigma
        kind = self.subject.prediction or "eps"
        answer = said(kind, x0.double(), eps, alpha, sigma).to(x.dtype)
        one = torch.ones((), dtype=torch.float64)
        given = {
            "x": x, "eps": eps.to(x.dtype), "noise": noise, "network": Listener(lambda x, told, call: answer.to(x)),
            "betas": self.betas, "alpha_bar": self.alpha_bar, "x0": x0,
            "alpha_bar_t": self.path.alpha_bar[now], "alpha_bar_s": self.path.alpha_bar[after] if after >= 0 else one,
            "eta": 0.0, "variance": "posterior", **self.more,
        }  # fmt: skip
        forms = (False, True) if self.as_number is None else (self.as_number,)
        for i, number in enumerate(forms):
            times = (now, after) if number else (torch.full((len(x),), now), torch.full((len(x),), after))
            try:
                named = {"t": times[0], "s": times[1], **given}
                found = first_tensor(self.piece, self.reader.call(self.piece, self.function, named, seed))
            except Raised:
                if i + 1 == len(forms):
                    raise
                continue
            self.as_number = number
            break
        if found.shape != x.shape:
            raise Raised(f"for x of shape {tuple(x.shape)} it returned {tuple(found.shape)}")
        return found.detach()

    def move(self, now: int, after: int) -> Move:
        """The factors of this step."""
        shape = (self.count, *self.subject.sample_shape)
        zero, one = torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)
        none = zero if self.gives_noise else one
        base = self.ask(now, after, zero, zero, none).double()
        of_x = float((self.ask(now, after, one, zero, none).double() - base).mean())
        of_x0 = float((self.ask(now, after, zero, 0.5 * one, none).double() - base).mean()) / 0.5
        if self.gives_noise:
            noise = float((self.ask(now, after, zero, zero, one).double() - base).mean())
        else:
            noise = float(base.square().mean().sqrt())
        alpha, sigma = float(self.path.alpha[now]), float(self.path.sigma[now])
        return Move(now, after, of_x + of_x0 / alpha, -of_x0 * sigma / alpha, abs(noise))

    def clips(self, now: int, after: int) -> float | None:
        """Where a guess of 3 for the clean data is cut off; None where it is not."""
        shape = (self.count, *self.subject.sample_shape)
        zero, one = torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)
        base, half, three = (self.ask(now, after, zero, c * one, zero).double() for c in (0.0, 0.5, 3.0))
        slope = float((half - base).mean()) / 0.5
        reached = float((three - base).mean()) / slope if abs(slope) > 1e-9 else 3.0
        return reached if reached < 2.9 else None

    def own_noise(self, now: int, after: int) -> Iterator[Finding]:
        """A step that is given noise, and draws some of its own."""
        if not self.gives_noise:
            return
        x = torch.ones(self.count, *self.subject.sample_shape, dtype=torch.float64)
        first, second = (self.ask(now, after, x, 0 * x, x, seed) for seed in (0, 1))
        if not torch.equal(first, second):
            yield Finding("draws-its-own-noise", self.piece, "It draws noise of its own, beside the noise that it is "
                          "given, so that no run can be repeated.", "difference between two calls with the same noise",
                          float((first - second).abs().max()), 0.0, "01_normal_1d#walking-back")  # fmt: skip


def examine_step(piece: str, function: Callable, subject: Diffusion, reader: Reader, path: Path) -> Iterator[Finding]:
    """A step of DDPM: from t to t - 1, some of them, the first and the last included."""
    T = len(path)
    nows = sorted({T - 1, T // 2, T // 4, T // 10, 3, 2, 1, 0} & set(range(T)), reverse=True)
    nows = [now for now in nows if float(path.alpha[now]) > PURE]
    middle = nows[min(1, len(nows) - 1)]
    names = parameters(function)
    clipped = None
    for variance in ("posterior", "beta") if "variance" in names else ("",):
        probe = StepProbe(piece, function, subject, reader, path, **({"variance": variance} if variance else {}))
        moves = [probe.move(now, now - 1) for now in nows]
        noise = None
        if variance:
            rights = [right_of(move, path) for move in moves]
            noise = [r.posterior if variance == "posterior" else r.forward for r in rights]
            noise[-1] = 0.0
        found = list(probe.own_noise(middle, middle - 1)) or list(
            judge(piece, moves, path, noise=noise, noise_close=1e-3 if probe.gives_noise else 0.06)
        )
        yield from found
        if found:
            return
        if clipped is None:
            clipped = probe.clips(nows[-1], nows[-1] - 1)
    yield from clipping(piece, clipped, subject)
    x = torch.randn(2, *subject.sample_shape, generator=torch.Generator().manual_seed(0))
    answer = probe.ask(middle, middle - 1, x, 0 * x, x)
    if answer.dtype != torch.float32:
        yield wrong_dtype(piece, answer.dtype)


def clipping(piece: str, limit: float | None, subject: Diffusion) -> Iterator[Finding]:
    """A sampler that clips its guess of the data, and data that reach further."""
    if limit is None or subject.data is None:
        return
    size = float(subject.data.double().abs().max())
    if size > limit * 1.001:
        yield Finding("data-beyond-the-clip", piece, f"The sampler clips its guess of the data at {limit:.3g}, and "
                      "your data reach beyond that, so that no sample can. Scale the data to [-1, 1], or do not clip.",
                      "largest entry of the data", size, limit, CLIP_PAGE)  # fmt: skip


def examine_ddim(subject: Diffusion, reader: Reader, path: Path) -> Iterator[Finding]:
    """A step of DDIM between any two levels, with eta 0, between and 1."""
    function, piece, T = subject.ddim_step, "ddim_step", len(path)
    pairs = [(T - 1, T // 2), (T // 2, T // 5), (T // 5, T // 20), (T // 20, 1), (1, 0), (T // 20, -1)]
    pairs = [(now, after) for now, after in pairs if now > after and float(path.alpha[now]) > PURE]
    etas = (0.0, 0.5, 1.0) if "eta" in parameters(function) else (0.0,)
    for eta in etas:
        probe = StepProbe(piece, function, subject, reader, path, eta=eta)
        moves = [probe.move(*pair) for pair in pairs]
        noise = [eta * right_of(move, path).posterior for move in moves]
        found = list(probe.own_noise(*pairs[0])) or list(
            _ddim(judge(piece, moves, path, noise=noise, noise_close=1e-3), moves, noise, path)
        )
        yield from found
        if found:
            return
    yield from clipping(piece, probe.clips(*pairs[-1]), subject)


def _ddim(findings: Iterator[Finding], moves: list[Move], noise: list[float], path: Path) -> Iterator[Finding]:
    """DDIM's factor of eps goes with its own noise alone."""
    found = list(findings)
    yield from found
    if not found:
        for move, wanted in zip(moves, noise, strict=True):
            right = right_of(move, path).of_eps(wanted)
            if abs(move.of_eps - right) > 2e-3 * abs(right) + 1e-5:
                yield Finding("step-mean", "ddim_step", "The guessed noise does not make room for the fresh noise: "
                              "its factor is sqrt(1 - alpha_bar_s - sigma^2).", f"factor of the guess from step "
                              f"{move.now}", move.of_eps, right, "02_normal_2d#sampling-without-dice")  # fmt: skip
                return


def _noise_names(function: Callable) -> list[str]:
    return [name for name in parameters(function) if name in set(NAMES["noise"]) | set(NAMES["eps"])]


def _wants_number(function: Callable) -> bool | None:
    for name, parameter in parameters(function).items():
        if name in NAMES["t"]:
            return True if parameter.annotation in (int, "int") else None
    return True
