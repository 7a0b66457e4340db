"""Scenes of the chapters about images and sounds: 5, 7 and 8."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from diffusion_lab.grading.notebook.scenes.stage import (
    Piece,
    Scene,
    data,
    generator,
    items,
    opened,
    predicting,
    sampled,
    table,
    trained,
)
from diffusion_lab.plots import Curves, Items, Table, View

DIGITS, PICTURES, SOUNDS = 9, 9, 3
STEPS = 1000


# Chapter 5


def _timestep_embedding(piece: Piece) -> Iterator[View]:
    waves = piece(torch.linspace(0, 1000, 60), 32, 10_000.0)
    yield Table(waves.T, "time, 0 to 1000", "entry of the embedding")
    yield sampled("timestep_embedding", DIGITS, 12)(piece)


def _strided_times(piece: Piece) -> Iterator[View]:
    yield Curves(torch.arange(12), {"": piece(STEPS, 12)}, "step of the sampler", "step of the schedule")
    yield sampled("strided_times", DIGITS, 12)(piece)


def _denoise_digits(piece: Piece) -> list[View]:
    run = opened("mnist")
    clean = (run.dataset.test[:DIGITS] + 1) / 2
    sigma = torch.linspace(0.1, 0.8, DIGITS)
    noisy = clean + sigma.reshape(-1, 1, 1, 1) * torch.randn(clean.shape, generator=generator())
    return [items(run, 2 * piece(predicting("mnist", "v"), noisy, sigma, table("mnist")) - 1)]


# Chapter 7


def _rescale(piece: Piece) -> Iterator[View]:
    before = torch.cumprod(1 - torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64), dim=0)
    after = piece(before)
    yield Curves(torch.arange(STEPS), {"": after.sqrt()}, "step t", "root of alpha_bar")
    yield sampled("rescale_zero_terminal_snr", PICTURES, 12)(piece)


def _repaint_jump(piece: Piece) -> list[View]:
    """The upper halves of test images are known; every few steps a jump up and down lets both halves agree."""
    run, draw = opened("cifar10"), generator()
    kept = table("cifar10")
    model = predicting("cifar10", "v")
    known = run.dataset.test[:4]
    mask = (torch.arange(known.shape[-2]) < known.shape[-2] // 2).reshape(-1, 1).expand_as(known[0, 0])
    x = torch.randn(known.shape, generator=draw)
    levels = torch.linspace(STEPS - 1, 0, 9).long().tolist()
    for t, s in itertools.pairwise(levels):
        with torch.no_grad():
            v = model(x, torch.full((len(x),), t))
        x0, eps = kept[t].sqrt() * x - (1 - kept[t]).sqrt() * v, kept[t].sqrt() * v + (1 - kept[t]).sqrt() * x
        x = kept[s].sqrt() * x0.clamp(-1, 1) + (1 - kept[s]).sqrt() * eps
        for last in (False, True):
            noise = torch.randn(x.shape, generator=draw)
            x = torch.where(mask, kept[s].sqrt() * known + (1 - kept[s]).sqrt() * noise, x)
            if s and not last:
                x = piece(model, x, s, t, kept, torch.randn(x.shape, generator=draw))
    return [items(run, x)]


# Chapter 8


def _cosine() -> Tensor:
    t = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)
    path = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    return (path[1:] / path[0]).clamp(1e-5, 1 - 1e-5)


def _shift_log_snr(piece: Piece) -> Iterator[View]:
    yield Curves(torch.arange(STEPS), {"": piece(_cosine(), 4_096, 16_384)}, "step t", "alpha_bar for short sounds")
    yield sampled("shift_log_snr", SOUNDS, 15)(piece)


def _band_snr(piece: Piece) -> list[View]:
    ratio = piece(_cosine()[::25].float(), opened("audio").dataset.test[:32])
    return [
        Table(10 * ratio.T.flip(0).clamp(min=1e-12).log10(), "level, from sound to noise", "frequency, high to low")
    ]


def _stft_loss(piece: Piece) -> list[View]:
    sound = opened("audio").dataset.test[:4]
    noise = 0.1 * torch.randn(sound.shape, generator=generator())
    amounts = torch.linspace(0, 1, 11)
    changed = {
        "noise added": lambda a: sound + a * noise,
        "made quieter": lambda a: (1 - 0.9 * a) * sound,
        "turned upside down in part": lambda a: (1 - 2 * a) * sound,
    }
    lines = {
        name: torch.stack([piece(change(a), sound, (64, 256, 1024)).detach().mean() for a in amounts])
        for name, change in changed.items()
    }
    return [Curves(amounts, lines, "how much of the change", "loss")]


def _up(piece: Piece, x: Tensor, model: torch.nn.Module, levels: list[int], kept: Tensor) -> Tensor:
    for s, t in itertools.pairwise(levels):
        x = piece(model, x, s, t, kept)
    return x


def _down(x: Tensor, model: torch.nn.Module, levels: list[int], kept: Tensor) -> Tensor:
    for t, s in zip(levels[::-1][:-1], levels[::-1][1:], strict=True):
        with torch.no_grad():
            eps = model(x, torch.full((len(x),), t))
        x0 = (x - (1 - kept[t]).sqrt() * eps) / kept[t].sqrt()
        x = kept[s].sqrt() * x0 + (1 - kept[s]).sqrt() * eps
    return x


def _ddim_invert_step(piece: Piece) -> Iterator[View]:
    run, kept, model = opened("audio"), table("audio"), predicting("audio", "eps")
    levels = torch.linspace(0, 0.9 * STEPS, 13).long().tolist()
    noise = _up(piece, run.dataset.test[:SOUNDS], model, levels, kept)
    yield items(run, run.decode(_down(noise, model, levels, kept)))
    yield items(run, run.decode(noise))


def _slerp(piece: Piece) -> Iterator[View]:
    run, kept, model = opened("audio"), table("audio"), predicting("audio", "eps")
    first, second = torch.randn(2, 1, 1, run.dataset.test.shape[-1], generator=generator())
    amount = torch.linspace(0, 1, 21)
    path = piece(first.expand(21, 1, -1), second.expand(21, 1, -1), amount)
    sizes = path.flatten(1).norm(dim=1) / first.norm()
    levels = torch.linspace(0, 0.9 * STEPS, 13).long().tolist()
    yield Curves(amount, {"": sizes}, "amount", "length beside that of the first noise")
    yield items(run, run.decode(_down(path[[0, 10, 20]], model, levels, kept)))


def _denoise_from(piece: Piece) -> list[View]:
    run = opened("audio")
    clean = run.dataset.test[:SOUNDS]
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=generator())
    return [items(run, run.decode(piece(predicting("audio", "eps"), noisy, 0.1, table("audio"), 8)))]


def _first(chapter: str, count: int):
    """The very data that a scene begins with, as its truth."""

    def truth() -> Items:
        run = opened(chapter)
        return items(run, run.decode(run.dataset.test[:count]))

    return truth


def _tuned(name: str, chapter: str, count: int, steps: int, batch: int) -> Scene:
    play = trained(name, count, 12, steps=steps, batch=batch, rate=1e-3)
    return Scene(
        f"Samples of the shipped network after {steps} more steps of training with each loss. A loss that is only a "
        "constant factor off trains alike and looks right here; its check tells.",
        lambda piece: [play(piece)],
        data(chapter, count),
    )


def _drawn(name: str, chapter: str, says: str, count: int, steps: int = 12, guidance: float | None = None) -> Scene:
    play = sampled(name, count, steps, guidance)
    return Scene(says, lambda piece: [play(piece)], data(chapter, count))


SCENES: dict[str, Scene] = {
    "extract": _drawn(
        "extract", "mnist", "Digits by the shipped network, with the factors of each level that the function finds.",
        DIGITS,
    ),
    "simple_loss": _tuned("simple_loss", "mnist", DIGITS, 20, 16),
    "timestep_embedding": Scene(
        "The waves by time, and digits by the shipped network that is told the time with them.", _timestep_embedding,
        data("mnist", DIGITS),
    ),
    "strided_times": Scene(
        "The times of 12 steps, and digits by the shipped network that visits them.", _strided_times,
        data("mnist", DIGITS),
    ),
    "guided_eps": _drawn(
        "guided_eps", "mnist", "Digits 0 to 8 by the shipped network, guided by the function at scale 3.", DIGITS,
        guidance=3.0,
    ),
    "denoise_digits": Scene(
        "Digits with more and more noise on them, denoised by the shipped network; the truth is without noise.",
        _denoise_digits, _first("mnist", DIGITS),
    ),
    "rescale_zero_terminal_snr": Scene(
        "The schedule, and pictures by the shipped network on it.", _rescale, data("cifar10", PICTURES)
    ),
    "weighted_loss": _tuned("weighted_loss", "cifar10", PICTURES, 8, 8),
    "dynamic_threshold": _drawn(
        "dynamic_threshold", "cifar10",
        "Pictures by the shipped network, guided at scale 6, whose x0 the function brings back into range.", PICTURES,
        guidance=6.0,
    ),
    "repaint_jump": Scene(
        "Four pictures whose upper halves are known; the network fills in the lower ones, with a jump at each step.",
        _repaint_jump, _first("cifar10", 4),
    ),
    "shift_log_snr": Scene(
        "The schedule, and spectrograms of sounds by the shipped network on it.", _shift_log_snr,
        data("audio", SOUNDS),
    ),
    "band_snr": Scene("The signal-to-noise ratio in decibels, by level and frequency.", _band_snr),
    "multiresolution_stft_loss": Scene("The loss of four sounds as each is changed more and more.", _stft_loss),
    "ddim_invert_step": Scene(
        "Three sounds, walked up towards their noise with the function and down again by DDIM; below, the noise.",
        _ddim_invert_step, _first("audio", SOUNDS),
    ),
    "slerp": Scene(
        "How long the mixture of two noises is, and the sounds of the first noise, the middle and the second.", _slerp
    ),
    "denoise_from": Scene(
        "Three sounds with noise of 0.1 on them, denoised by the shipped network; the truth is without noise.",
        _denoise_from, _first("audio", SOUNDS),
    ),
}  # fmt: skip
