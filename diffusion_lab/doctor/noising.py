"""The forward process, q_sample: its two factors, read off with data and noise of 0 and 1."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from diffusion_lab.doctor.calling import Raised, Reader, first_tensor
from diffusion_lab.doctor.findings import Finding
from diffusion_lab.doctor.listening import Path
from diffusion_lab.doctor.mixtures import PAGE, name_mixture
from diffusion_lab.doctor.subject import Diffusion
from diffusion_lab.doctor.tables import table_for

PIECE = "q_sample"
AXIS_PAGE = "05_mnist#where-it-breaks"


def spread_times(count: int, T: int, shift: int = 0) -> Tensor:
    """`count` steps between 0 and T - 1, both ends included, in a mixed order; (count,) int64."""
    steps = torch.linspace(0, T - 1, count, dtype=torch.float64).round().long()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(shift))
    return steps[order]


def square_batch(shape: tuple[int, ...]) -> int:
    """The last size of a sample: a factor on the wrong axis then broadcasts without an error."""
    return max(shape[-1] if shape else 1, 2)


def examine_noising(subject: Diffusion, reader: Reader, path: Path) -> Iterator[Finding]:
    """Is x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise, of x0's dtype, with x0 left as it is?"""
    function, shape = subject.q_sample, subject.sample_shape
    count = square_batch(shape)
    betas, alpha_bar = table_for(subject, path)
    own_noise = not reader.takes(function, "noise")

    def ask(x0: Tensor, t: Tensor, noise: Tensor, seed: int = 0) -> Tensor:
        given = {"x0": x0.clone(), "t": t, "noise": noise.clone(), "alpha_bar": alpha_bar, "betas": betas}
        found = first_tensor(PIECE, reader.call(PIECE, function, given, seed))
        if found.shape != x0.shape:
            raise Raised(f"for x0 of shape {tuple(x0.shape)} it returned {tuple(found.shape)}")
        return found.detach().double()

    t = spread_times(count, len(path))
    zero, one = torch.zeros(count, *shape), torch.ones(count, *shape)
    if not own_noise and not torch.equal(ask(one, t, one, 0), ask(one, t, one, 1)):
        off = float((ask(one, t, one, 0) - ask(one, t, one, 1)).abs().max())
        yield Finding("draws-its-own-noise", PIECE, "It draws noise of its own beside the noise that it is given. The "
                      "loss compares with the given noise, so that is what x_t must hold.",
                      "difference between two calls with the same noise", off, 0.0, PAGE)  # fmt: skip
        return
    # Under one seed a function that draws its own noise draws the same each time, so differences are exact.
    noisy = ask(zero, t, one)
    of_data = ask(one, t, one) - noisy
    flat_a = of_data.flatten(1)
    flat_b = noisy.flatten(1)
    if own_noise:
        b = _deviation(ask, shape, t)
        flat_b = b.unsqueeze(1).expand(-1, flat_a.shape[1])
    uneven = float((flat_a - flat_a[:, :1]).abs().max())
    if uneven > 1e-4:
        yield Finding("wrong-axis", PIECE, "Inside one sample the entries have different noise levels: the (B,) "
                      "factors were multiplied along the last axis. Reshape them to (B, 1, ..., 1).",
                      "spread of the factors inside one sample", uneven, 0.0, AXIS_PAGE)  # fmt: skip
        return
    finding = name_mixture(PIECE, flat_a[:, 0], flat_b[:, 0], t, path) if not own_noise else None
    if own_noise and not _near(flat_b[:, 0], path.sigma[t]):
        finding = name_mixture(PIECE, flat_a[:, 0], flat_b[:, 0].where(flat_b[:, 0] > 0, 0), t, path)
    if finding is not None:
        alone = flat_a[:, 0]
        if bool((alone - alone[0]).abs().max() < 1e-6) and bool((path.alpha[t] - alone[0]).abs().min() < 1e-5):
            finding = Finding("one-time-for-all", PIECE, "Every sample of the batch has the noise level of one of "
                              "them. Each has a step of its own: look up all of t.", finding.of, finding.measured,
                              finding.expected, PAGE)  # fmt: skip
        yield finding
        return
    yield from _manners(subject, reader, path, t)


def _near(found: Tensor, wanted: Tensor) -> bool:
    return bool(((found - wanted).abs() < 0.06 * wanted).all())


def _deviation(ask, shape: tuple[int, ...], t: Tensor) -> Tensor:
    """The deviation of noise that the function draws itself, for each step, over some 4,096 draws; (B,)."""
    draws = max(1, 4096 // torch.Size(shape).numel())
    many = t.repeat_interleave(draws)
    found = ask(torch.zeros(len(many), *shape), many, torch.zeros(len(many), *shape))
    return found.reshape(len(t), -1).square().mean(dim=1).sqrt()


def _manners(subject: Diffusion, reader: Reader, path: Path, t: Tensor) -> Iterator[Finding]:
    """What it does besides: to the dtype, and to what it was given."""
    x0 = torch.randn(len(t), *subject.sample_shape, generator=torch.Generator().manual_seed(1))
    before, noise = x0.clone(), torch.ones_like(x0)
    betas, alpha_bar = table_for(subject, path)
    given = {"x0": x0, "t": t, "noise": noise, "alpha_bar": alpha_bar, "betas": betas}
    found = first_tensor(PIECE, reader.call(PIECE, subject.q_sample, given))
    if not torch.equal(x0, before):
        yield Finding("changes-its-input", PIECE, "It writes into the clean data, which the caller still needs. Make "
                      "a new tensor.", "largest change of x0", float((x0 - before).abs().max()), 0.0, PAGE)  # fmt: skip
    if found.dtype != torch.float32:
        yield wrong_dtype(PIECE, found.dtype)


def wrong_dtype(piece: str, dtype: torch.dtype) -> Finding:
    """For float32 data the answer came in another dtype."""
    bits = torch.finfo(dtype).bits if dtype.is_floating_point else 0
    return Finding("wrong-dtype", piece, f"float32 data come back as {str(dtype).removeprefix('torch.')}, and the "
                   "network, whose weights are float32, refuses them or loses digits. Bring tables to the dtype of "
                   "the data.", "bits of each number", bits, 32, "05_mnist#where-it-breaks")  # fmt: skip
