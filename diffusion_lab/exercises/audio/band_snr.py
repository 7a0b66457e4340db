"""band_snr: how much of each frequency is left at each level."""

import math

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def band_snr(alpha_bar: Tensor, signals: Tensor) -> Tensor:
    """The signal-to-noise ratio of each frequency at each level.

    Args:
        alpha_bar: (T,), in [0, 1).
        signals: (N, 1, L), clean sounds; their power at a frequency is the mean over the N sounds.

    Returns:
        (T, L // 2 + 1): entry (t, k) is the ratio of powers, not in decibel, at level t and k cycles in L samples.
    """
    power = torch.fft.rfft(signals.flatten(1), norm="ortho").abs().square().mean(dim=0)
    return (alpha_bar / (1 - alpha_bar)).unsqueeze(1) * power


def _spectra(signals):
    return torch.fft.rfft(signals.flatten(1), norm="ortho")


def _ratio(alpha_bar):
    return (alpha_bar / (1 - alpha_bar)).unsqueeze(1)


def amplitude_for_power(alpha_bar, signals):
    """The size of the Fourier coefficients was used without its square. SNR is a ratio of powers, and the noise enters
    with its variance."""
    return _ratio(alpha_bar) * _spectra(signals).abs().mean(dim=0)


def transform_without_normalisation(alpha_bar, signals):
    """The FFT sums over L samples, so white noise of variance 1 has the power L in it and not 1. Use the unitary FFT,
    or divide the powers by L."""
    return _ratio(alpha_bar) * _spectra(signals).abs().square().mean(dim=0) * signals.shape[-1]


def divided_by_length_squared(alpha_bar, signals):
    """The coefficients were divided by L, and so the powers by L squared. White noise of variance 1 then has the power
    1 / L: divide the powers by L once."""
    return _ratio(alpha_bar) * _spectra(signals).abs().square().mean(dim=0) / signals.shape[-1]


def spectrum_of_the_mean(alpha_bar, signals):
    """The sounds were averaged before their power was taken. Their phases differ, so that they cancel each other: take
    the power of each sound, then the mean."""
    return _ratio(alpha_bar) * _spectra(signals).mean(dim=0).abs().square()


def mirrored_bins_kept(alpha_bar, signals):
    """All L bins of the FFT are there. Of a real signal the upper half mirrors the lower: keep the first L // 2 + 1,
    which `torch.fft.rfft` gives."""
    power = torch.fft.fft(signals.flatten(1), norm="ortho").abs().square().mean(dim=0)
    return (alpha_bar / (1 - alpha_bar)).unsqueeze(1) * power


def doubled_bins(alpha_bar, signals):
    """The powers between the first and the last frequency were doubled, for the negative frequencies. The noise has its
    negative frequencies too, so nothing is doubled in a ratio."""
    power = _spectra(signals).abs().square().mean(dim=0)
    last = len(power) - 1 if signals.shape[-1] % 2 == 0 else len(power)
    doubled = torch.cat([power[:1], 2 * power[1:last], power[last:]])
    return _ratio(alpha_bar) * doubled


def noise_left_out(alpha_bar, signals):
    """This is the power of the data alone. Divide it by the power of the noise, 1 - alpha_bar at every frequency."""
    return alpha_bar.unsqueeze(1) * _spectra(signals).abs().square().mean(dim=0)


def amplitude_ratio_of_the_levels(alpha_bar, signals):
    """The power of the sound was multiplied by alpha / sigma, a ratio of amplitudes. Powers are multiplied by its
    square, alpha_bar / (1 - alpha_bar)."""
    return _ratio(alpha_bar).sqrt() * _spectra(signals).abs().square().mean(dim=0)


def decibel(alpha_bar, signals):
    """This is the ratio in decibel. The plain ratio of powers is asked for."""
    return 10 * torch.log10(_ratio(alpha_bar) * _spectra(signals).abs().square().mean(dim=0))


def summed_over_the_sounds(alpha_bar, signals):
    """The powers of the sounds were added up. Take their mean, or a larger data set would look louder."""
    return _ratio(alpha_bar) * _spectra(signals).abs().square().sum(dim=0)


def data_not_scaled(alpha_bar, signals):
    """The power of the data was only divided by that of the noise. On the path the data are quieter too: their power is
    multiplied by alpha_bar."""
    return _spectra(signals).abs().square().mean(dim=0) / (1 - alpha_bar).unsqueeze(1)


def one_number_for_each_level(alpha_bar, signals):
    """The frequencies were averaged. Each one has a ratio of its own: they drown at different levels."""
    return _ratio(alpha_bar) * _spectra(signals).abs().square().mean()


def ratio_of_amplitudes(alpha_bar, signals):
    """This is the ratio of amplitudes, in the sound and in the levels. The ratio of powers has the squares of both:
    square each coefficient first, then take the mean."""
    return _ratio(alpha_bar).sqrt() * _spectra(signals).abs().mean(dim=0)


def amplitude_without_normalisation(alpha_bar, signals):
    """The size of the Fourier coefficients was used without its square, and the FFT sums over L samples. Take powers,
    by the unitary FFT: white noise of variance 1 then has the power 1."""
    return _ratio(alpha_bar) * torch.fft.rfft(signals.flatten(1)).abs().mean(dim=0)


def mean_before_the_square(alpha_bar, signals):
    """The sizes of the coefficients were averaged and then squared. The mean power is the mean of the squares, which is
    larger: square first."""
    return _ratio(alpha_bar) * _spectra(signals).abs().mean(dim=0).square()


def all_bins_then_half(alpha_bar, signals):
    length = signals.shape[-1]
    coefficients = torch.fft.fft(signals.squeeze(1))[:, : length // 2 + 1]
    power = (coefficients.real**2 + coefficients.imag**2).sum(dim=0) / (len(signals) * length)
    return torch.outer(alpha_bar / (1 - alpha_bar), power)


def by_cosines_and_sines(alpha_bar, signals):
    length = signals.shape[-1]
    angle = torch.arange(length, dtype=torch.float64).outer(torch.arange(length // 2 + 1, dtype=torch.float64))
    angle = 2 * math.pi * angle / length
    rows = signals.reshape(len(signals), length).double()
    power = ((rows @ angle.cos()) ** 2 + (rows @ angle.sin()) ** 2).mean(0) / length
    kept = alpha_bar.double()
    return torch.einsum("t,f->tf", kept / (1 - kept), power).to(signals.dtype)


def through_numpy(alpha_bar, signals):
    import numpy as np

    power = (np.abs(np.fft.rfft(signals.double().numpy()[:, 0], norm="ortho")) ** 2).mean(0)
    kept = alpha_bar.double().numpy()[:, None]
    return torch.from_numpy(kept * power / (1 - kept)).to(signals.dtype)


def one_level_at_a_time(alpha_bar, signals):
    power = _spectra(signals).abs().pow(2).mean(0)
    return torch.stack([kept * power / (1 - kept) for kept in alpha_bar])


def cases(draw: Draw):
    even, odd = 2 * draw.integer(10, 20), 2 * draw.integer(10, 20) + 1
    yield Case("an even length", (draw.alpha_bar(draw.integer(5, 9)), draw.normal(draw.integer(3, 6), 1, even)))
    yield Case(
        "an odd length", (draw.alpha_bar(draw.integer(5, 9)), draw.normal(draw.integer(3, 6), 1, odd).cumsum(-1))
    )
    yield Case("one sound", (draw.alpha_bar(4), 3 * draw.normal(1, 1, even)))
    yield Case("a single level", (draw.alpha_bar(1), draw.normal(5, 1, even)))
    alpha_bar = torch.cat([draw.alpha_bar(5), torch.zeros(1, dtype=torch.float64)])
    yield Case("a last level of pure noise", (alpha_bar, draw.normal(3, 1, odd)))


def tone(piece, draw: Draw):
    """A cosine of amplitude A has the power A^2 L / 4 at its own frequency and none elsewhere."""
    length, amplitude = 2 * draw.integer(15, 25), draw.number(0.5, 3)
    k, alpha_bar = draw.integer(2, 9), draw.alpha_bar(5)
    phases = draw.uniform(4, 1, 1, high=2 * math.pi)
    time = torch.arange(length, dtype=torch.float64)
    found = piece(alpha_bar, amplitude * torch.cos(2 * math.pi * k * time / length + phases))
    true = torch.zeros(5, length // 2 + 1, dtype=torch.float64)
    true[:, k] = alpha_bar / (1 - alpha_bar) * amplitude**2 * length / 4
    if found.shape != true.shape:
        return f"for 5 levels and sounds of {length} samples the shape is {tuple(found.shape)}"
    if bool(((found - true).abs() < 1e-6 * true.max()).all()):
        return None
    return (
        f"a tone of amplitude {amplitude:g} with {k} cycles in {length} samples has the ratio {float(found[0, k]):.4g} "
        f"at level 0, and {float(true[0, k]):.4g} is right"
    )


def noise_measured(piece, draw: Draw):
    """The ratio of powers of drawn sounds and drawn noise, each through the same FFT."""
    length, alpha_bar = 32, draw.alpha_bar(3)
    sounds = draw.normal(6, 1, length).cumsum(-1)
    noise = (1 - alpha_bar).sqrt().reshape(3, 1, 1) * draw.normal(3, 8000, length)
    measured = torch.fft.rfft(noise).abs().square().mean(1)
    power = torch.fft.rfft(sounds[:, 0]).abs().square().mean(0)
    ratio = piece(alpha_bar, sounds) / (alpha_bar.unsqueeze(1) * power / measured)
    low, high = float(ratio.min()), float(ratio.max())
    if 0.9 < low and high < 1.1:
        return None
    return f"the ratios are {low:.3g} to {high:.3g} times those measured on sounds and drawn noise"


EXERCISE = Exercise(
    chapter="audio",
    kind="schedule",
    title="Which band drowns first",
    statement=r"""
White noise is equally loud at every frequency, and sounds are not. So each frequency $f$ has a signal-to-noise ratio
of its own,

$$
\begin{aligned}
\mathrm{SNR}_t(f) &= \frac{\bar\alpha_t \, P(f)}{1 - \bar\alpha_t}, \\
P(f) &= \frac{1}{N} \sum_{n=1}^{N} \lvert X_n(f) \rvert^2,
\end{aligned}
$$

where $X_n$ is the Fourier transform of sound $n$, scaled such that white noise of variance 1 has the power 1 at every
frequency. Speech is loud below and quiet above: which band drowns first when noise is added, and which comes first
when it is taken away? The answer makes the difference between a voice and its hiss.
""",
    reference=band_snr,
    parts={"values": 4, "a single tone": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("a cosine, in closed form", tone, "a single tone"),
        Property("the same as measured with drawn noise", noise_measured),
    ),
    wrong_answers=(
        wrong(amplitude_for_power),
        wrong(transform_without_normalisation),
        wrong(divided_by_length_squared),
        wrong(spectrum_of_the_mean),
        wrong(doubled_bins),
        wrong(mirrored_bins_kept),
        wrong(noise_left_out),
        wrong(amplitude_ratio_of_the_levels),
        wrong(decibel),
        wrong(summed_over_the_sounds),
        wrong(data_not_scaled),
        wrong(one_number_for_each_level),
        wrong(ratio_of_amplitudes),
        wrong(amplitude_without_normalisation),
        wrong(mean_before_the_square),
    ),
    right_answers=(
        right(all_bins_then_half),
        right(by_cosines_and_sines),
        right(through_numpy),
        right(one_level_at_a_time),
    ),
    hints=(
        "What power has white noise of variance 1 in your FFT?",
        "`norm` of torch.fft.rfft makes the transform keep lengths; powers are squares, and means come after them.",
    ),
    source="Periodogram: Welch 1967; coarse before fine: Dieleman 2024, 'Diffusion is spectral autoregression'",
)
