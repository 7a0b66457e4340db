"""Chapter 8's pipeline with one wrong piece: bands of noise, and ways up and down the curve with the best guess."""

import torch
from torch import nn

from diffusion_lab.exercises.audio import (
    band_snr,
    ddim_invert_step,
    denoise_from,
    multiresolution_stft_loss,
    shift_log_snr,
    slerp,
)
from diffusion_lab.exercises.bugs import Bug, BugTask, Part


def find_bug_audio(shift_log_snr, band_snr, multiresolution_stft_loss, ddim_invert_step, slerp, denoise_from):
    """Say which piece is wrong, and prove it with a number.

    Args:
        shift_log_snr, band_snr, multiresolution_stft_loss, slerp: the pipeline's pieces; their arguments are those of
            the chapter's exercises.
        ddim_invert_step, denoise_from: without their first argument, asked of a network whose guess is the best one for
            independent normal data of variance 1/4, which is sqrt(1 - alpha_bar) x / (alpha_bar / 4 + 1 - alpha_bar).

    Returns:
        (piece, idea, found, expected): the name of a piece; an idea, one of the list; a number that you computed with
        the piece; and the number that a right piece would give.
    """
    found = []  # (piece, idea, found, expected): the first that is off tells
    longer = shift_log_snr(torch.tensor([0.5]), 400, 100)[0]  # a ratio of 1 becomes 1/4
    idea = "the shift goes the wrong way" if longer > 0.5 else "the shift is that of images"
    found.append(("shift_log_snr", idea, longer, 0.2))
    tone = 2 * torch.cos(2 * torch.pi * torch.arange(8) / 8).reshape(1, 1, 8)
    level = torch.tensor([0.5])
    power = band_snr(level, tone)[0, 1]
    idea = "the transform adds up and keeps no power" if power > 8 else "sizes are taken for powers"
    found.append(("band_snr", idea, power, 8.0))
    both = band_snr(level, torch.cat([tone, -tone]))[0, 1]
    found.append(("band_snr", "sounds are averaged before their power is taken", both, 8.0))
    sound = torch.randn(1, 1, 256, generator=torch.Generator().manual_seed(0))
    turned = multiresolution_stft_loss(-sound, sound, (16,))[0]
    found.append(("multiresolution_stft_loss", "phases are compared too", turned, 0.0))
    louder = multiresolution_stft_loss(2 * sound, sound, (16,))[0]
    idea = "the difference is relative to the estimate" if louder < 1.5 else "powers are compared"
    found.append(("multiresolution_stft_loss", idea, louder, 1 + 0.693147))
    sizes = multiresolution_stft_loss(2 * sound, sound, (16, 32))[0]
    found.append(("multiresolution_stft_loss", "the sizes are added up", sizes, 1 + 0.693147))
    one = torch.ones(1, 1, 4)
    up = ddim_invert_step(one, 0, 1, torch.tensor([0.64, 0.36]))[0, 0, 0]
    idea = (
        "the noise that is there is counted twice" if up > 1.3 else "the network is told the level where the step ends"
    )
    guess = 0.6 / (0.64 / 4 + 0.36)
    found.append(("ddim_invert_step", idea, up, 0.6 * (1 - 0.6 * guess) / 0.8 + 0.8 * guess))
    right_angle = slerp(torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]]), torch.tensor([0.5]))[0, 0]
    found.append(("slerp", "the way is a straight line", right_angle, 0.5**0.5))
    half = slerp(torch.tensor([[2.0, 0]]), torch.tensor([[1.0, 1]]), torch.tensor([0.5]))[0, 0]  # 45 degrees apart
    found.append(("slerp", "a product is taken for a cosine", half, 3 * 0.3826834 * 2**0.5))
    clean = denoise_from(one, 1.0, torch.tensor([0.8, 0.5, 0.2]), 1)[0, 0, 0]  # Wiener keeps 1/4 of 5/4
    idea = "the walk begins at pure noise" if clean < 0.2 else "the last step keeps some noise"
    idea = "the sound is not brought to the size of its level" if 0.2 < clean < 0.4 else idea
    found.append(("denoise_from", idea, clean, 0.2))
    for piece, idea, number, expected in found:
        if abs(float(number) - expected) > 1e-3:
            return piece, idea, float(number), float(expected)
    return piece, idea, float(number), float(expected)


VARIANCE = 0.25
"""Of each entry of the clean signals."""


class _BestGuess(nn.Module):
    """The exact eps for independent normal data of this variance."""

    def __init__(self, alpha_bar):
        super().__init__()
        self.alpha_bar = alpha_bar

    def forward(self, x, t):
        kept = self.alpha_bar[t].to(x).reshape(-1, *[1] * (x.ndim - 1))
        return (1 - kept).sqrt() * x / (kept * VARIANCE + 1 - kept)


def up_with_the_best_guess(step):
    return lambda x, s, t, alpha_bar: step(_BestGuess(alpha_bar), x, s, t, alpha_bar)


def down_with_the_best_guess(denoise):
    return lambda x, sigma, alpha_bar, steps: denoise(_BestGuess(alpha_bar), x, sigma, alpha_bar, steps)


LEVELS = 40


def settings(draw):
    return {"length": 64 * draw.integer(2, 4), "reference length": 64, "noise": draw.number(0.5, 1), 
            "amount": draw.number(0.3, 0.7)}  # fmt: skip


def run(pieces, numbers, draw):
    """60 signals: from mixed noises down to samples, from data up to noise, and noisy data cleaned."""
    n, length = 60, numbers["length"]
    table = torch.cos(torch.linspace(0.05, 1.5, LEVELS, dtype=torch.float64)).square()
    levels = pieces["shift_log_snr"](table, length, numbers["reference length"])
    network = _BestGuess(levels)
    amount = torch.full((n,), numbers["amount"], dtype=torch.float64)
    mixed = x = pieces["slerp"](draw.normal(n, 1, length), draw.normal(n, 1, length), amount)
    for i in reversed(range(LEVELS)):
        eps = network(x, torch.full((n,), i))
        x0 = (x - (1 - levels[i]).sqrt() * eps) / levels[i].sqrt()
        x = x0 if i == 0 else levels[i - 1].sqrt() * x0 + (1 - levels[i - 1]).sqrt() * eps
    data = VARIANCE**0.5 * draw.normal(n, 1, length)
    up = levels[0].sqrt() * data + (1 - levels[0]).sqrt() * draw.normal(n, 1, length)
    for i in range(LEVELS - 1):
        up = pieces["ddim_invert_step"](up, i, i + 1, levels)
    noisy = data + numbers["noise"] * draw.normal(n, 1, length)
    return {
        "samples": x,
        "mixed noises": mixed,
        "levels": levels,
        "bands": pieces["band_snr"](levels, data),
        "up to the noise": up,
        "cleaned": pieces["denoise_from"](noisy, numbers["noise"], levels, 5),
        "losses": pieces["multiresolution_stft_loss"](noisy, data, (16, 32)),
    }


TASK = BugTask(
    chapter="audio",
    title="Find the bug",
    about=r"""
The pipeline works on signals of independent normal entries, of which the best guess is known, so that no network needs
training. Levels are those of `shift_log_snr`, with the ratios of `band_snr` at each frequency. Noises that `slerp` has
mixed are walked down to samples; `ddim_invert_step` walks data up to their noise, and `denoise_from` takes noise out of
them. `multiresolution_stft_loss` says how different noisy and clean signals sound.
""",
    pipeline=(
        Part(shift_log_snr.EXERCISE),
        Part(band_snr.EXERCISE),
        Part(multiresolution_stft_loss.EXERCISE),
        Part(ddim_invert_step.EXERCISE, up_with_the_best_guess),
        Part(slerp.EXERCISE),
        Part(denoise_from.EXERCISE, down_with_the_best_guess),
    ),
    bugs=(
        Bug("shift_log_snr", "factor 2 of images", "the shift is that of images"),
        Bug("shift_log_snr", "lengths swapped", "the shift goes the wrong way"),
        Bug("band_snr", "transform without normalisation", "the transform adds up and keeps no power"),
        Bug("band_snr", "amplitude for power", "sizes are taken for powers"),
        Bug("band_snr", "spectrum of the mean", "sounds are averaged before their power is taken"),
        Bug("multiresolution_stft_loss", "complex difference", "phases are compared too"),
        Bug("multiresolution_stft_loss", "relative to the estimate", "the difference is relative to the estimate"),
        Bug("multiresolution_stft_loss", "powers in the place of magnitudes", "powers are compared"),
        Bug("multiresolution_stft_loss", "sum over sizes", "the sizes are added up"),
        Bug("ddim_invert_step", "eps at the wrong end", "the network is told the level where the step ends"),
        Bug("ddim_invert_step", "forward process", "the noise that is there is counted twice"),
        Bug("slerp", "linear interpolation", "the way is a straight line"),
        Bug("slerp", "angle without norms", "a product is taken for a cosine"),
        Bug("denoise_from", "not scaled", "the sound is not brought to the size of its level"),
        Bug("denoise_from", "from pure noise", "the walk begins at pure noise"),
        Bug("denoise_from", "stops at level 0", "the last step keeps some noise"),
    ),
    decoys=(
        "frames are cut out without a window",
        "fresh noise is added on the way",
        "the same angle is used for all pairs",
        "ratios are given in decibel",
    ),
    settings=settings,
    run=run,
    reference=find_bug_audio,
)
