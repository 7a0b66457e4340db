"""noise_at_snr: a strip with recorded noise at a stated signal-to-noise ratio."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def noise_at_snr(clean: Tensor, noise: Tensor, decibels: Tensor) -> Tensor:
    """Add noise to each strip, scaled so that powers of strip and noise have the ratio asked for.

    A strip's power is the mean over its leads of their variances over time, divided by L and not by L - 1.

    Args:
        clean: (B, C, L), strips; none is flat.
        noise: (B, C, L), of any kind and loudness, not flat either; an offset in it is scaled like the rest.
        decibels: (B,), the ratio of strip to noise, for each strip.

    Returns:
        (B, C, L): clean plus a factor times noise, one factor for each strip.
    """
    powers = [(x - x.mean(dim=2, keepdim=True)).square().mean(dim=(1, 2)) for x in (clean, noise)]
    factor = (powers[0] / powers[1] / 10 ** (decibels / 10)).sqrt()
    return clean + factor.reshape(-1, 1, 1) * noise


def _power(x):
    return x.var(dim=2, correction=0).mean(dim=1)


def _mixed(clean, noise, factor):
    return clean + factor.reshape(-1, 1, 1) * noise


def decibels_of_amplitudes(clean, noise, decibels):
    """Decibels were divided by 20 as if they compared amplitudes, and then the root was taken besides. Of powers, ten
    decibels are a factor of ten."""
    return _mixed(clean, noise, (_power(clean) / _power(noise) / 10 ** (decibels / 20)).sqrt())


def root_forgotten(clean, noise, decibels):
    """The noise was multiplied by a ratio of powers. A factor f changes the power by f squared: take the root."""
    return _mixed(clean, noise, _power(clean) / _power(noise) / 10 ** (decibels / 10))


def sign_turned_around(clean, noise, decibels):
    """More decibels gave more noise here. The ratio is signal over noise: 20 dB is a clean strip, -20 dB a lost one."""
    return _mixed(clean, noise, (_power(clean) / _power(noise) * 10 ** (decibels / 10)).sqrt())


def noise_of_power_one(clean, noise, decibels):
    """The noise was taken to have the power 1. Recorded noise has a loudness of its own: measure it and divide by
    it."""
    return _mixed(clean, noise, (_power(clean) / 10 ** (decibels / 10)).sqrt())


def signal_of_power_one(clean, noise, decibels):
    """The strip was taken to have the power 1. A strip in mV has less: measure it."""
    return _mixed(clean, noise, (1 / _power(noise) / 10 ** (decibels / 10)).sqrt())


def offset_counted_in_both(clean, noise, decibels):
    """The mean square was taken for the power, so that an electrode's offset counts as signal and noise. Subtract the
    mean of each lead first."""
    ratio = clean.square().mean(dim=(1, 2)) / noise.square().mean(dim=(1, 2))
    return _mixed(clean, noise, (ratio / 10 ** (decibels / 10)).sqrt())


def one_mean_for_both_leads(clean, noise, decibels):
    """The mean was taken over all leads together. Every lead has a zero of its own: subtract each lead's own mean."""
    ratio = clean.flatten(1).var(dim=1, correction=0) / noise.flatten(1).var(dim=1, correction=0)
    return _mixed(clean, noise, (ratio / 10 ** (decibels / 10)).sqrt())


def offset_counted_in_the_noise(clean, noise, decibels):
    """The noise's power was taken with its offset, the strip's without. Subtract the mean of each lead from both."""
    ratio = _power(clean) / noise.square().mean(dim=(1, 2))
    return _mixed(clean, noise, (ratio / 10 ** (decibels / 10)).sqrt())


def offset_counted_in_the_strip(clean, noise, decibels):
    """The strip's power was taken with its offset, the noise's without. Subtract the mean of each lead from both."""
    ratio = clean.square().mean(dim=(1, 2)) / _power(noise)
    return _mixed(clean, noise, (ratio / 10 ** (decibels / 10)).sqrt())


def one_factor_for_the_batch(clean, noise, decibels):
    """The powers were averaged over the batch, so that a quiet strip gets the noise of a loud one. Every strip has its
    own factor."""
    return _mixed(clean, noise, (_power(clean).mean() / _power(noise).mean() / 10 ** (decibels / 10)).sqrt())


def a_factor_for_each_lead(clean, noise, decibels):
    """Every lead got a factor of its own, which makes noise equally bad everywhere. One recording has one factor for
    all its leads; the power of a strip is the mean over them."""
    ratio = clean.var(dim=2, correction=0) / noise.var(dim=2, correction=0)
    factor = (ratio / 10 ** (decibels / 10).unsqueeze(1)).sqrt()
    return clean + factor.unsqueeze(2) * noise


def strip_scaled(clean, noise, decibels):
    """The strip was scaled, and the noise left as it is. The strip is in mV and stays so: scale the noise."""
    factor = (_power(noise) / _power(clean) * 10 ** (decibels / 10)).sqrt()
    return _mixed(noise, clean, factor)


def only_the_noise(clean, noise, decibels):
    """This is the scaled noise alone. Add the strip to it."""
    return _mixed(torch.zeros_like(clean), noise, (_power(clean) / _power(noise) / 10 ** (decibels / 10)).sqrt())


def offset_taken_out_of_the_noise(clean, noise, decibels):
    """The offset of the noise is gone from the sum. It does not count in the power, and is scaled and added like the
    rest."""
    away = noise - noise.mean(dim=2, keepdim=True)
    return _mixed(clean, away, (_power(clean) / _power(noise) / 10 ** (decibels / 10)).sqrt())


def natural_base(clean, noise, decibels):
    """The decibels were taken as powers of e. They count in powers of 10."""
    return _mixed(clean, noise, (_power(clean) / _power(noise) / (decibels / 10).exp()).sqrt())


def ratio_of_deviations_averaged(clean, noise, decibels):
    """The deviations of the leads were averaged, and not their variances. Powers add up over leads; take the root at
    the end."""
    ratio = clean.std(dim=2, correction=0).mean(dim=1) / noise.std(dim=2, correction=0).mean(dim=1)
    return _mixed(clean, noise, ratio / 10 ** (decibels / 20))


def leads_added_up_in_the_strip(clean, noise, decibels):
    """The total over the leads was taken for the strip, and the mean over them for the noise. Both powers are means
    over the leads."""
    ratio = clean.var(dim=2, correction=0).sum(dim=1) / _power(noise)
    return _mixed(clean, noise, (ratio / 10 ** (decibels / 10)).sqrt())


def one_strip_at_a_time(clean, noise, decibels):
    rows = []
    for x, n, ratio in zip(clean, noise, decibels, strict=True):
        ours = sum(lead.var(correction=0) for lead in x)
        theirs = sum(lead.var(correction=0) for lead in n)
        rows.append(x + n * (ours / theirs).sqrt() * 10 ** (-ratio / 20))
    return torch.stack(rows)


def in_logarithms(clean, noise, decibels):
    ours, theirs = (10 * _power(x).log10() for x in (clean, noise))
    return torch.einsum("b,bcl->bcl", 10 ** ((ours - theirs - decibels) / 20), noise) + clean


def through_numpy(clean, noise, decibels):
    import numpy as np

    x, n = clean.double().numpy(), noise.double().numpy()
    factor = np.sqrt(x.var(axis=2).mean(axis=1) / n.var(axis=2).mean(axis=1)) * 10 ** (-decibels.double().numpy() / 20)
    return torch.from_numpy(x + factor[:, None, None] * n).to(clean.dtype)


def _strips(draw, batch, leads, length):
    """Strips and noise whose leads differ in loudness and zero, from strip to strip too."""
    loud = draw.uniform(2, batch, leads, 1, low=0.2, high=2.0)
    zero = draw.uniform(2, batch, leads, 1, low=-1.5, high=1.5)
    return tuple(size * draw.normal(batch, leads, length) + place for size, place in zip(loud, zero, strict=True))


def cases(draw: Draw):
    for leads in (2, 1, 3):
        batch = draw.integer(3, 6)
        strips = _strips(draw, batch, leads, draw.integer(30, 50))
        yield Case(f"{leads} lead{'s' * (leads > 1)}", (*strips, draw.uniform(batch, low=-12.0, high=24.0)))
    yield Case("one strip", (*_strips(draw, 1, 2, draw.integer(30, 50)), draw.uniform(1, low=3.0, high=9.0)))
    size = draw.integer(4, 6)
    strips = _strips(draw, size, size, size)
    yield Case("every size equal", (*strips, draw.uniform(size, low=-6.0, high=12.0)), "any shape")
    clean, _ = _strips(draw, 3, 2, 60)
    wander = torch.sin(draw.uniform(3, 2, 1, high=6.0) + torch.linspace(0, 5, 60, dtype=torch.float64))
    yield Case("a wandering baseline", (clean, 3 * wander, draw.uniform(3, low=-6.0, high=6.0)), "any shape")


def measured(piece, draw: Draw):
    """What was added, measured: ten times the logarithm of the ratio of powers."""
    clean, noise = _strips(draw, 4, 2, 40)
    decibels = draw.uniform(4, low=-6.0, high=18.0)
    added = piece(clean, noise, decibels) - clean
    found = 10 * torch.log10(clean.var(dim=2, correction=0).sum(dim=1) / added.var(dim=2, correction=0).sum(dim=1))
    worst = int((found - decibels).abs().nan_to_num(torch.inf).argmax())
    if abs(float(found[worst] - decibels[worst])) < 1e-6:
        return None
    return f"asked for {float(decibels[worst]):.4g} dB, a strip has {float(found[worst]):.4g} dB"


def loudness_of_the_noise(piece, draw: Draw):
    """Noise that was recorded louder gives the same strip."""
    clean, noise = _strips(draw, 3, 2, 40)
    decibels, factor = draw.uniform(3, low=-6.0, high=18.0), draw.number(2, 5)
    change = float((piece(clean, factor * noise, decibels) - piece(clean, noise, decibels)).abs().max())
    if change < 1e-6:
        return None
    return (
        f"noise recorded {factor:g} times as loud changes the result by {change:.4g}; it is scaled, so nothing changes"
    )


EXERCISE = Exercise(
    chapter="heartbeats",
    kind="data",
    title="Real noise, at a ratio you choose",
    statement=r"""
To find out what a noise removal is worth, take a clean strip $x$, add noise $n$ that was recorded elsewhere (of a
moving arm, say), and know the truth. Papers state how much was added as a signal-to-noise ratio in decibels, so that
others can repeat it. With $P$ the power,

$$y = x + f n, \qquad 10 \log_{10} \frac{P(x)}{P(f n)} = d,$$

and $f > 0$ is one number for each strip. The power is the mean over the leads of their variances over time: an offset
of the electrode is no signal.
""",
    reference=noise_at_snr,
    parts={"values": 4, "any shape": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("the ratio, measured on the result", measured),
        Property("noise recorded louder changes nothing", loudness_of_the_noise),
    ),
    wrong_answers=(
        wrong(decibels_of_amplitudes),
        wrong(root_forgotten),
        wrong(sign_turned_around),
        wrong(noise_of_power_one),
        wrong(signal_of_power_one),
        wrong(offset_counted_in_both),
        wrong(one_mean_for_both_leads),
        wrong(offset_counted_in_the_noise),
        wrong(offset_counted_in_the_strip),
        wrong(one_factor_for_the_batch),
        wrong(a_factor_for_each_lead),
        wrong(strip_scaled),
        wrong(only_the_noise),
        wrong(offset_taken_out_of_the_noise),
        wrong(natural_base),
        wrong(ratio_of_deviations_averaged),
        wrong(leads_added_up_in_the_strip),
    ),
    right_answers=(right(one_strip_at_a_time), right(in_logarithms), right(through_numpy)),
    hints=(
        "If you multiply noise by f, what happens to its power?",
        "Measure both powers without the offsets, solve for the square of f, and take its root.",
    ),
    source="Moody, Muldrow & Mark 1984, the MIT-BIH noise stress test",
)
