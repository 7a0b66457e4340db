"""multiresolution_stft_loss: how different two sounds sound."""

import math

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def multiresolution_stft_loss(a: Tensor, b: Tensor, fft_sizes: tuple[int, ...]) -> Tensor:
    """The distance of magnitude spectra at several window lengths.

    For each size: `torch.stft` with a periodic Hann window of that size (what `torch.hann_window` makes), a hop of a
    quarter of it, and its own defaults for the rest. Magnitudes are sqrt(real^2 + imag^2 + 1e-6), so that silence has a
    logarithm.

    Args:
        a: (B, 1, L), estimated sounds; the loss is differentiated by these.
        b: (B, 1, L), true sounds.
        fft_sizes: window lengths in samples, multiples of 4, each at most L.

    Returns:
        (B,): spectral convergence plus mean absolute difference of the logarithms, averaged over the sizes.
    """
    total = torch.zeros_like(a[:, 0, 0])
    for size in fft_sizes:
        window = torch.hann_window(size, dtype=a.dtype, device=a.device)
        magnitudes = []
        for sound in (a, b):
            spectrum = torch.stft(sound.flatten(1), size, hop_length=size // 4, window=window, return_complex=True)
            magnitudes.append((spectrum.real**2 + spectrum.imag**2 + 1e-6).sqrt().flatten(1))
        guess, true = magnitudes
        convergence = (guess - true).norm(dim=1) / true.norm(dim=1)
        logarithms = (guess.log() - true.log()).abs().mean(dim=1)
        total = total + convergence + logarithms
    return total / len(fft_sizes)


def _spectrum(x, size, window=None):
    window = torch.hann_window(size, dtype=x.dtype) if window is None else window
    return torch.stft(x.flatten(1), size, hop_length=size // 4, window=window, return_complex=True).flatten(1)


def _magnitude(x, size, window=None):
    spectrum = _spectrum(x, size, window)
    return (spectrum.real**2 + spectrum.imag**2 + 1e-6).sqrt()


def _loss(a, b, fft_sizes, compare, magnitude=_magnitude):
    return torch.stack([compare(magnitude(a, size), magnitude(b, size)) for size in fft_sizes]).mean(dim=0)


def _both(guess, true):
    return (guess - true).norm(dim=1) / true.norm(dim=1) + (guess.log() - true.log()).abs().mean(dim=1)


def complex_difference(a, b, fft_sizes):
    """The complex spectra were subtracted, so that a sound with another phase is far away although it sounds the same.
    Take the magnitudes first, then the difference."""
    losses = []
    for size in fft_sizes:
        away = (_spectrum(a, size) - _spectrum(b, size)).abs().norm(dim=1)
        guess, true = _magnitude(a, size), _magnitude(b, size)
        losses.append(away / true.norm(dim=1) + (guess.log() - true.log()).abs().mean(dim=1))
    return torch.stack(losses).mean(dim=0)


def logarithm_of_zero(a, b, fft_sizes):
    """Silence has the magnitude 0, whose logarithm is minus infinity. The 1e-6 inside the root keeps the logarithm, and
    the gradient of the root, finite."""
    return _loss(a, b, fft_sizes, _both, lambda x, size: _spectrum(x, size).abs())


def no_window(a, b, fft_sizes):
    """The frames were cut out without a window. The hard edges smear every tone over all frequencies: use a Hann
    window."""
    return _loss(a, b, fft_sizes, _both, lambda x, size: _magnitude(x, size, torch.ones(size, dtype=x.dtype)))


def mean_over_the_batch_first(a, b, fft_sizes):
    """The norms were taken over the whole batch, so that a loud sound decides for all. Each sound has its own quotient
    of norms."""

    def compare(guess, true):
        return (guess - true).norm() / true.norm() + (guess.log() - true.log()).abs().mean(dim=1)

    return _loss(a, b, fft_sizes, compare)


def one_number_for_the_batch(a, b, fft_sizes):
    """The batch was averaged. One value for each sound is asked for."""
    return _loss(a, b, fft_sizes, _both).mean()


def powers_in_the_place_of_magnitudes(a, b, fft_sizes):
    """These are powers, the squares of the magnitudes. Loud frames then count far more, and the logarithms are twice as
    large."""
    return _loss(a, b, fft_sizes, _both, lambda x, size: _magnitude(x, size).square())


def relative_to_the_estimate(a, b, fft_sizes):
    """The difference was divided by the norm of the estimate, which a loud wrong estimate makes small. Divide by that
    of the true sound."""
    return _loss(a, b, fft_sizes, lambda guess, true: _both(true, guess))


def sum_over_sizes(a, b, fft_sizes):
    """The sizes were added up. The mean keeps the loss at one scale for any number of sizes."""
    return _loss(a, b, fft_sizes, _both) * len(fft_sizes)


def first_size_only(a, b, fft_sizes):
    """Only one window length was used. A long window cannot see when, a short one cannot see at which pitch: the loss
    is the mean over all sizes."""
    return _loss(a, b, fft_sizes[:1], _both)


def no_logarithms(a, b, fft_sizes):
    """Only the spectral convergence is there. The difference of the logarithms is what hears the quiet parts."""
    return _loss(a, b, fft_sizes, lambda guess, true: (guess - true).norm(dim=1) / true.norm(dim=1))


def no_convergence(a, b, fft_sizes):
    """Only the difference of the logarithms is there. The spectral convergence is what makes the loud parts right."""
    return _loss(a, b, fft_sizes, lambda guess, true: (guess.log() - true.log()).abs().mean(dim=1))


def small_number_outside_the_root(a, b, fft_sizes):
    """The small number was added to the magnitudes. It belongs under the root, where 1e-6 makes a floor of 0.001, which
    is as quiet as the loss should listen."""
    return _loss(a, b, fft_sizes, _both, lambda x, size: _spectrum(x, size).abs() + 1e-6)


def small_number_in_the_logarithm(a, b, fft_sizes):
    """The small number was added in the logarithm only. It belongs under the root of every magnitude, where 1e-6 makes
    a floor of 0.001."""

    def compare(guess, true):
        logarithms = ((guess + 1e-6).log() - (true + 1e-6).log()).abs().mean(dim=1)
        return (guess - true).norm(dim=1) / true.norm(dim=1).clamp(min=1e-6) + logarithms

    return _loss(a, b, fft_sizes, compare, lambda x, size: _spectrum(x, size).abs())


def symmetric_window(a, b, fft_sizes):
    """The Hann window is the symmetric one. For spectra it is periodic: a period has as many samples as the window, and
    `torch.hann_window` makes it."""

    def magnitude(x, size):
        return _magnitude(x, size, torch.hann_window(size, periodic=False, dtype=x.dtype))

    return _loss(a, b, fft_sizes, _both, magnitude)


def hop_of_a_half(a, b, fft_sizes):
    """Frames follow each other at half a window. Asked for is a quarter of it."""

    def magnitude(x, size):
        window = torch.hann_window(size, dtype=x.dtype)
        spectrum = torch.stft(x.flatten(1), size, hop_length=size // 2, window=window, return_complex=True)
        return (spectrum.real**2 + spectrum.imag**2 + 1e-6).sqrt().flatten(1)

    return _loss(a, b, fft_sizes, _both, magnitude)


def squares_of_the_norms(a, b, fft_sizes):
    """The spectral convergence is the ratio of the squared norms here. Norms have a root."""

    def compare(guess, true):
        convergence = (guess - true).square().sum(dim=1) / true.square().sum(dim=1)
        return convergence + (guess.log() - true.log()).abs().mean(dim=1)

    return _loss(a, b, fft_sizes, compare)


def logarithms_squared(a, b, fft_sizes):
    """The differences of the logarithms were squared. Their absolute values are averaged."""

    def compare(guess, true):
        return (guess - true).norm(dim=1) / true.norm(dim=1) + (guess.log() - true.log()).square().mean(dim=1)

    return _loss(a, b, fft_sizes, compare)


def logarithms_that_cancel(a, b, fft_sizes):
    """The differences of the logarithms kept their signs, so that too loud and too quiet cancel. Take absolute values
    before the mean."""

    def compare(guess, true):
        return (guess - true).norm(dim=1) / true.norm(dim=1) + (guess.log() - true.log()).mean(dim=1)

    return _loss(a, b, fft_sizes, compare)


def cut_off_from_the_estimate(a, b, fft_sizes):
    """The estimate was detached, or went through NumPy, so that no gradient reaches the network and nothing is
    learned."""
    return _loss(a.detach(), b, fft_sizes, _both)


def one_sound_at_a_time(a, b, fft_sizes):
    rows = []
    for i in range(len(a)):
        terms = []
        for size in fft_sizes:
            guess, true = _magnitude(a[i : i + 1], size), _magnitude(b[i : i + 1], size)
            terms.append(
                torch.linalg.norm(guess - true) / torch.linalg.norm(true) + torch.log(guess / true).abs().mean()
            )
        rows.append(sum(terms) / len(terms))
    return torch.stack(rows)


def frames_by_hand(a, b, fft_sizes):
    from torch.nn import functional

    total = 0
    for size in fft_sizes:
        window = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(size, dtype=a.dtype) / size)
        logs = []
        for x in (a, b):
            frames = functional.pad(x, (size // 2, size // 2), mode="reflect").squeeze(1).unfold(-1, size, size // 4)
            power = torch.view_as_real(torch.fft.rfft(frames * window)).square().sum(-1)
            logs.append((power + 1e-6).flatten(1).log() / 2)
        guess, true = logs[0].exp(), logs[1].exp()
        total = total + ((guess - true).square().sum(1) / true.square().sum(1)).sqrt()
        total = total + (logs[0] - logs[1]).abs().mean(1)
    return total / len(fft_sizes)


def float64_inside(a, b, fft_sizes):
    return _loss(a.double(), b.double(), fft_sizes, _both).to(a.dtype)


def _pair(draw, batch, length):
    loudness = draw.uniform(batch, 1, 1, low=0.2, high=2.0)
    loudness[0] = draw.number(0.005, 0.02)  # so quiet that it shows where the small number stands
    b = loudness * draw.normal(batch, 1, length)
    return b * draw.uniform(batch, 1, 1, low=0.5, high=1.5) + 0.5 * loudness * draw.normal(batch, 1, length), b


def cases(draw: Draw):
    sizes = [(8, 16), (16, 8, 32), (32, 24), (12, 20)]
    for batch in (draw.integer(2, 3), 1):
        yield Case("sounds and estimates", (*_pair(draw, batch, draw.integer(50, 70)), draw.choice(sizes)))
    yield Case("as many sounds as samples in the window", (*_pair(draw, 8, 32), (8, 16)))
    a, b = _pair(draw, 3, 40)
    b[1] = 0
    yield Case("one true sound is silent", (a, b, (8, 16)), "silence")
    a, b = _pair(draw, 2, 60)
    a[0, :, 30:] = 0
    b[1, :, :30] = 0
    yield Case("silence in a part of a sound", (a, b, (8, 16, 12)), "silence")


def turned_around(piece, draw: Draw):
    """A sound times -1 sounds the same."""
    _, b = _pair(draw, 3, 50)
    worst = float(piece(-b, b, (8, 16, 32)).abs().max())
    return (
        None
        if worst < 1e-6
        else f"a sound and its mirror image (times -1) sound the same and have a loss of {worst:.4g}"
    )


def louder_by_a_factor(piece, draw: Draw):
    """For a sound c times as loud, both terms are known."""
    _, b = _pair(draw, 3, 50)
    b, c = 100 * b / b.square().mean(dim=-1, keepdim=True).sqrt(), draw.number(1.5, 3)
    found, true = piece(c * b, b, (8, 16, 32)), c - 1 + math.log(c)
    worst = float((found - true).abs().max())
    if worst < 0.01 * true:
        return None
    return (
        f"an estimate {c:g} times as loud has the loss {float(found[0]):.4g}, and ({c:g} - 1) + log {c:g} = {true:.4g} "
        "is right, whatever the sizes"
    )


def neighbours_do_not_matter(piece, draw: Draw):
    """A sound alone and in a batch."""
    a, b = _pair(draw, 3, 50)
    change = float((piece(a, b, (8, 32))[:1] - piece(a[:1], b[:1], (8, 32))).abs().max())
    return None if change < 1e-5 else f"the first sound's loss changes by {change:.3g} when the others are left out"


EXERCISE = Exercise(
    chapter="audio",
    kind="loss",
    title="A loss that hears",
    statement=r"""
Two sounds that differ in phase sound alike and have a large square error. Magnitudes of short-time spectra do not
know the phase. With $|A|$ and $|B|$ the magnitudes of estimate and true sound over all frames and frequencies, each
window length adds

$$
\begin{gathered}
\frac{\lVert\, |A| - |B| \,\rVert_F}{\lVert\, |B| \,\rVert_F}
+ \operatorname{mean} \bigl|\, \log \tfrac{|A|}{|B|} \,\bigr|, \\
|X| = \sqrt{\Re X^2 + \Im X^2 + 10^{-6}},
\end{gathered}
$$

and the loss of a sound is the mean over the window lengths. Windows are periodic Hann windows, and a gradient must
reach the estimate, which comes from the network. The first term makes the loud parts right, the second hears the quiet
ones. A long window tells pitches apart and a short one moments: so several.
""",
    reference=multiresolution_stft_loss,
    parts={"values": 4, "silence": 2, CARE: 1},
    cases=cases,
    properties=(
        Property("a sound times -1 sounds the same", turned_around),
        Property("a louder estimate, in closed form", louder_by_a_factor),
        Property("a sound does not depend on its neighbours", neighbours_do_not_matter),
    ),
    trains=True,
    wrong_answers=(
        wrong(complex_difference),
        wrong(logarithm_of_zero),
        wrong(no_window),
        wrong(mean_over_the_batch_first),
        wrong(one_number_for_the_batch),
        wrong(powers_in_the_place_of_magnitudes),
        wrong(relative_to_the_estimate),
        wrong(sum_over_sizes),
        wrong(first_size_only),
        wrong(no_logarithms),
        wrong(no_convergence),
        wrong(small_number_outside_the_root),
        wrong(small_number_in_the_logarithm),
        wrong(symmetric_window),
        wrong(hop_of_a_half),
        wrong(squares_of_the_norms),
        wrong(logarithms_squared),
        wrong(logarithms_that_cancel),
        wrong(cut_off_from_the_estimate),
    ),
    right_answers=(right(one_sound_at_a_time), right(frames_by_hand), right(float64_inside)),
    hints=(
        "What should the loss between a sound and its mirror image be?",
        "Magnitudes first, then norms for each sound alone; the small number goes inside the root.",
    ),
    source="Yamamoto et al. 2020, equations 4 to 6",
)
