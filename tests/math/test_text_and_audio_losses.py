"""The rounding loss against an explicit softmax; the spectral loss against scipy and the symmetries of hearing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann
from torch import Tensor

from diffusion_lab import schedules, targets
from diffusion_lab.errors import PieceError
from diffusion_lab.losses import multiresolution_stft_loss, prediction_loss, rounding_loss, with_penalty

SIZES = (16, 64, 128)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
    return torch.tanh(x)


def explicit_rounding(x0: Tensor, vectors: Tensor, ids: Tensor, std: float) -> list[list[float]]:
    """-log of the share of the right word among normal densities around all words, one position at a time."""
    table = []
    for sentence, words in zip(x0, ids, strict=True):
        row = []
        for embedding, word in zip(sentence, words, strict=True):
            density = [math.exp(-float(((embedding - v) ** 2).sum()) / (2 * std**2)) for v in vectors]
            row.append(-math.log(density[word] / sum(density)))
        table.append(row)
    return table


@pytest.mark.parametrize("std", [0.3, 0.5, 2.0])
def test_rounding_loss_is_a_softmax_of_distances(std: float):
    vectors, ids = draws(7, 3), torch.tensor([[0, 3, 6, 1], [5, 5, 2, 0]])
    x0 = vectors[ids] + 0.4 * draws(2, 4, 3, seed=1)
    table = np.array(explicit_rounding(x0, vectors, ids, std))
    assert rounding_loss(x0, vectors, ids, std=std).numpy() == pytest.approx(table.mean(axis=1), rel=1e-6)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    expected = [table[0, :2].mean(), table[1, :3].mean()]
    assert rounding_loss(x0, vectors, ids, mask, std).numpy() == pytest.approx(expected, rel=1e-6)


def test_rounding_loss_pulls_towards_the_word():
    """Its gradient at a point between two words leads to the right one; at the word itself it is finite."""
    vectors = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    x0 = torch.tensor([[[0.5, 0.0], [1.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    rounding_loss(x0, vectors, torch.tensor([[1, 1]])).sum().backward()
    assert x0.grad[0, 0, 0] < 0 and x0.grad.isfinite().all()


def test_a_loss_with_a_penalty_is_the_sum():
    """The penalty sees the estimate that the output stands for, weighted by alpha_bar; the network is called once."""
    vectors = 3 * draws(6, 2)
    ids = torch.tensor([[0, 1, 2], [5, 4, 3], [1, 1, 1]])
    x0, eps = vectors[ids], draws(3, 3, 2, seed=1)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]]).bool()
    level = schedules.cosine().at(torch.tensor([0.2, 0.5, 0.7]), like=x0)
    base = prediction_loss(targets.v)
    calls = []

    def counted(x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        calls.append(x)
        return network(x, t)

    def rounding(estimate: Tensor, clean: Tensor, cond: dict) -> Tensor:
        assert clean is x0
        return rounding_loss(estimate, vectors, ids, cond["mask"], std=0.8)

    total = with_penalty(base, targets.v, rounding, amount=0.3)(counted, x0, eps, level, {"mask": mask})
    assert len(calls) == 1  # the output is used twice, not the network
    angle = torch.tensor([0.2, 0.5, 0.7]).double() * math.pi / 2
    a, s = torch.cos(angle).reshape(3, 1, 1), torch.sin(angle).reshape(3, 1, 1)
    x = a * x0 + s * eps
    estimate = a * x - s * torch.tanh(x)  # Salimans & Ho 2022: x0 = alpha x - sigma v
    table = torch.tensor(explicit_rounding(estimate, vectors, ids, 0.8), dtype=torch.float64)
    extra = (table * mask).sum(dim=1) / mask.sum(dim=1)
    expected = base(network, x0, eps, level, {"mask": mask}) + 0.3 * a.flatten() ** 2 * extra
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=1e-8)


def scipy_magnitude(x: np.ndarray, size: int) -> np.ndarray:
    """Frames centred at multiples of size / 4, the signal mirrored at its ends, as torch.stft centres them."""
    stft = ShortTimeFFT(hann(size, sym=False), hop=size // 4, fs=1.0)
    padded = np.pad(x, size // 2, mode="reflect")
    frames = 1 + (len(padded) - size) // (size // 4)
    spectrum = stft.stft(padded, p0=2, p1=2 + frames)  # frame p is centred at p hops, so p = 2 starts at sample 0
    return np.sqrt(np.abs(spectrum) ** 2 + 1e-6)


def test_stft_loss_against_scipy():
    a, b = draws(2, 1, 400), draws(2, 1, 400, seed=1)
    expected = []
    for i in range(2):
        terms = []
        for size in SIZES:
            ours, reference = scipy_magnitude(a[i, 0].numpy(), size), scipy_magnitude(b[i, 0].numpy(), size)
            convergence = np.linalg.norm(ours - reference) / np.linalg.norm(reference)
            terms.append(convergence + np.abs(np.log(ours) - np.log(reference)).mean())
        expected.append(np.mean(terms))
    assert multiresolution_stft_loss(a, b, SIZES).numpy() == pytest.approx(expected, rel=1e-6)


def tone(phase: float, frequency: float = 1 / 16, length: int = 1024) -> Tensor:
    n = torch.arange(length, dtype=torch.float64)
    return torch.sin(2 * math.pi * frequency * n + phase).reshape(1, 1, length)


def test_stft_loss_hears_what_ears_hear():
    x = draws(3, 1, 300)
    assert float(multiresolution_stft_loss(x, x.clone(), SIZES).abs().max()) == 0
    assert float(multiresolution_stft_loss(-x, x, SIZES).abs().max()) < 1e-12  # a sign is not heard
    # Nor is the phase of a tone, away from the ends: a large square error, and the loss of another pitch is far larger.
    shifted = multiresolution_stft_loss(tone(1.5), tone(0.0), (64, 128))
    other_pitch = multiresolution_stft_loss(tone(0.0, frequency=1 / 12), tone(0.0), (64, 128))
    assert float((tone(1.5) - tone(0.0)).square().mean()) > 0.5
    assert float(shifted) < 0.2 * float(other_pitch)


def test_stft_loss_is_per_sample():
    a, b = draws(3, 1, 300), draws(3, 1, 300, seed=1)
    together = multiresolution_stft_loss(a, b, SIZES)
    singly = [multiresolution_stft_loss(a[i : i + 1], b[i : i + 1], SIZES) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(singly))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stft_gradient_at_silence(dtype: torch.dtype):
    """Silence estimated, silence as the reference, and both: values and gradients stay finite."""
    silence, sound = torch.zeros(1, 1, 300, dtype=dtype), draws(1, 1, 300).to(dtype)
    for estimate, reference in ((silence, sound), (sound, silence), (silence, silence)):
        estimate = estimate.clone().requires_grad_()
        value = multiresolution_stft_loss(estimate, reference, SIZES)
        value.sum().backward()
        assert value.dtype == dtype and value.isfinite().all() and estimate.grad.isfinite().all()


@pytest.mark.parametrize(
    ("a", "b", "sizes", "words"),
    [
        ((2, 1, 300), (2, 1, 200), (16,), "one shape"),
        ((2, 300), (2, 300), (16,), r"\(B, 1, L\)"),
        ((2, 1, 100), (2, 1, 100), (16, 128), "128 samples is longer than the signal of 100"),
    ],
)
def test_stft_loss_refuses(a: tuple, b: tuple, sizes: tuple, words: str):
    with pytest.raises(PieceError, match=words):
        multiresolution_stft_loss(torch.zeros(a), torch.zeros(b), sizes)
