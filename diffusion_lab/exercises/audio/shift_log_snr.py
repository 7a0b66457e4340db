"""shift_log_snr: a schedule for signals of another length."""

import math

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def shift_log_snr(alpha_bar: Tensor, length: int, reference_length: int) -> Tensor:
    """Move the log-SNR of a schedule so that it fits time series of another length.

    Args:
        alpha_bar: (T,), in [0, 1), a schedule that fits `reference_length`; the last entry may be 0.
        length: how many samples the signals have.
        reference_length: how many they have where `alpha_bar` is right.

    Returns:
        (T,), alpha_bar for signals of `length` samples.
    """
    ratio = reference_length / length
    return ratio * alpha_bar / (ratio * alpha_bar + 1 - alpha_bar)


def _shifted(alpha_bar, factor):
    return factor * alpha_bar / (factor * alpha_bar + 1 - alpha_bar)


def factor_2_of_images(alpha_bar, length, reference_length):
    """The shift is twice too large. The factor 2 is that of images, whose number of pixels grows with the square of
    their side: a time series has one axis only."""
    return _shifted(alpha_bar, (reference_length / length) ** 2)


def lengths_swapped(alpha_bar, length, reference_length):
    """The shift goes the wrong way. In a longer signal more samples say the same thing, so the noise averages out, and
    it needs more noise: a lower log-SNR."""
    return _shifted(alpha_bar, length / reference_length)


def amplitudes_shifted(alpha_bar, length, reference_length):
    """Only half of the shift is there, as if SNR were a ratio of amplitudes. It is a ratio of powers, and averaging k
    samples divides the power of the noise by k."""
    return _shifted(alpha_bar, (reference_length / length) ** 0.5)


def alpha_bar_multiplied(alpha_bar, length, reference_length):
    """alpha_bar was multiplied by the factor. It is the ratio alpha_bar / (1 - alpha_bar) that changes by the factor,
    and alpha_bar stays between 0 and 1."""
    return (alpha_bar * reference_length / length).clamp(max=1)


def left_as_a_ratio(alpha_bar, length, reference_length):
    """This is the shifted SNR. Turn it back into alpha_bar, which is SNR / (1 + SNR)."""
    return alpha_bar / (1 - alpha_bar) * reference_length / length


def logarithm_to_base_10(alpha_bar, length, reference_length):
    """The shift was taken with a logarithm to base 10, and log-SNR is a natural one: both must have one base."""
    return _shifted(alpha_bar, math.exp(math.log10(reference_length / length)))


def left_as_log_snr(alpha_bar, length, reference_length):
    """This is the shifted log-SNR. Turn it back into alpha_bar, which is its sigmoid."""
    return torch.logit(alpha_bar) + math.log(reference_length / length)


def noise_level_shifted(alpha_bar, length, reference_length):
    """1 - alpha_bar was multiplied by the ratio of lengths. It is the ratio of data to noise that changes by a factor:
    alpha_bar / (1 - alpha_bar)."""
    return 1 - (1 - alpha_bar) * length / reference_length


def small_number_for_the_logarithm(alpha_bar, length, reference_length):
    """A small number was added to alpha_bar so that 0 has a logarithm, and levels with hardly any data get more than
    they should. log 0 does no harm: the sigmoid of minus infinity is 0."""
    shifted = (alpha_bar + 1e-8).log() - (1 - alpha_bar).log() + math.log(reference_length / length)
    return shifted.sigmoid()


def by_logit(alpha_bar, length, reference_length):
    return torch.sigmoid(torch.logit(alpha_bar) + math.log(reference_length / length))


def by_noise_to_signal(alpha_bar, length, reference_length):
    noise_to_signal = (1 - alpha_bar) / alpha_bar * (length / reference_length)
    return 1 / (1 + noise_to_signal)


def one_level_at_a_time(alpha_bar, length, reference_length):
    rows = []
    for kept in alpha_bar:
        snr = kept / (1 - kept) * (reference_length / length)
        rows.append(snr / (1 + snr))
    return torch.stack(rows)


def through_numpy(alpha_bar, length, reference_length):
    kept = alpha_bar.numpy()
    signal = kept * float(reference_length)
    return torch.from_numpy(signal / (signal + (1 - kept) * length)).to(alpha_bar.dtype)


def cases(draw: Draw):
    reference = draw.integer(3000, 5000)
    length = draw.integer(3, 6) * reference + draw.integer(1, 99)
    yield Case("a longer signal", (draw.alpha_bar(draw.integer(10, 20)), length, reference))
    reference = draw.integer(3000, 5000)
    yield Case("a shorter signal", (draw.alpha_bar(draw.integer(10, 20)), reference // draw.integer(3, 6), reference))
    yield Case("a single level", (draw.alpha_bar(1), draw.integer(500, 900), draw.integer(100, 300)))
    alpha_bar = torch.cat([draw.alpha_bar(9), torch.zeros(1, dtype=torch.float64)])
    yield Case(
        "a last level without data", (alpha_bar, draw.integer(5000, 9000), draw.integer(1000, 2000)), "both ends"
    )
    hardly = torch.cat([10 ** draw.uniform(6, low=-7.0, high=-4.0).sort().values.flip(0), torch.zeros(1).double()])
    yield Case("hardly any data at any level", (hardly, draw.integer(500, 900), draw.integer(2000, 4000)), "both ends")
    nearly = torch.cat([1 - draw.uniform(1, low=0.0001, high=0.001), draw.alpha_bar(9) * 0.9])
    yield Case(
        "a first level with hardly any noise", (nearly, draw.integer(500, 900), draw.integer(2000, 4000)), "both ends"
    )


def moved_by_one_number(piece, draw: Draw):
    """log-SNR moves by log(L_ref / L) at every level."""
    alpha_bar, length, reference = draw.alpha_bar(12), draw.integer(8000, 20000), draw.integer(2000, 5000)
    moved = torch.logit(piece(alpha_bar, length, reference)) - torch.logit(alpha_bar)
    true = math.log(reference / length)
    low, high = float(moved.min()), float(moved.max())
    if abs(low - true) < 1e-6 and abs(high - true) < 1e-6:
        return None
    return (
        f"from length {reference} to {length} log-SNR moves by {low:.4g} to {high:.4g} nats, "
        f"and {true:.4g} at every level is right"
    )


def mean_of_the_signal(piece, draw: Draw):
    """Whoever averages k neighbours of a signal k times as long sees the reference schedule again."""
    alpha_bar, reference, k = draw.alpha_bar(8), draw.integer(50, 90), draw.integer(3, 7)
    kept = piece(alpha_bar, k * reference, reference)
    # k equal samples a with independent noise of variance 1 - a have the mean a and the noise (1 - a) / k.
    averaged, wanted = kept / ((1 - kept) / k), alpha_bar / (1 - alpha_bar)
    worst = float((averaged / wanted - 1).abs().max())
    if worst < 1e-6:
        return None
    return (
        f"the mean of {k} equal neighbours has {float(averaged[0] / wanted[0]):.4g} times the signal-to-noise ratio "
        f"that one sample of the {k} times shorter signal has, and the same is right"
    )


EXERCISE = Exercise(
    chapter="audio",
    kind="schedule",
    title="More samples, more noise",
    statement=r"""
A sound sampled twice as often says the same with twice as many numbers. Take the mean of two neighbours and
you halve the variance of the noise, so at one $\bar\alpha_t$ the longer signal is the easier one. To make both equally
hard, shift

$$
\begin{aligned}
\log \mathrm{SNR}'_t &= \log \mathrm{SNR}_t + \log \frac{L_\mathrm{ref}}{L}, \\
\mathrm{SNR} &= \frac{\bar\alpha}{1 - \bar\alpha}.
\end{aligned}
$$

Return the $\bar\alpha'_t$ of the shifted log-SNR. A level without any data stays one.
""",
    reference=shift_log_snr,
    parts={"values": 4, "both ends": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("log-SNR moves by the same number everywhere", moved_by_one_number),
        Property("averaging neighbours undoes it", mean_of_the_signal),
    ),
    wrong_answers=(
        wrong(factor_2_of_images),
        wrong(lengths_swapped),
        wrong(amplitudes_shifted),
        wrong(alpha_bar_multiplied),
        wrong(left_as_a_ratio),
        wrong(logarithm_to_base_10),
        wrong(left_as_log_snr),
        wrong(noise_level_shifted),
        wrong(small_number_for_the_logarithm),
    ),
    right_answers=(right(by_logit), right(by_noise_to_signal), right(one_level_at_a_time), right(through_numpy)),
    hints=(
        "How many axes does the signal have whose lengths are compared?",
        "Multiply the SNR by the ratio of lengths, then solve for alpha_bar.",
    ),
    source="Hoogeboom et al. 2023, equation 4, for one axis in the place of two",
)
