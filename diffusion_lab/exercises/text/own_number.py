"""How many words of one's own survive noise."""

import math

import torch

from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.exercises.record import right, wrong


def words_read_right(words: int, dimensions: int, log_snr: float) -> float:
    """The share of words that the nearest vector reads right in noise.

    Args:
        words: how many there are. Their vectors are at right angles to each other.
        dimensions: each vector has the length sqrt(dimensions), so its coordinates have a mean square of 1.
        log_snr: log(alpha^2 / sigma^2) of alpha e + sigma eps.

    Returns:
        The probability that the word itself is the nearest of all.
    """
    lead = math.sqrt(dimensions) * math.exp(log_snr / 2)  # of the word itself, in units of the noise
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2)
    others = torch.special.ndtr(z + lead) ** (words - 1)  # all of them are behind
    return float((density * others).sum() / density.sum())


def one_rival(words, dimensions, log_snr):
    """Only one other word can be mistaken for it here. With more words, noise has more chances."""
    return words_read_right(2, dimensions, log_snr)


def rivals_without_noise(words, dimensions, log_snr):
    """Only the word's own noise counts here. Noise pushes towards each of the other words too."""
    return float(torch.special.ndtr(torch.tensor(math.sqrt(dimensions) * math.exp(log_snr / 2), dtype=torch.float64)))


def one_coordinate(words, dimensions, log_snr):
    """This is about vectors of length 1. They have a coordinate for each dimension, and all of them tell."""
    return words_read_right(words, 1, log_snr)


def log_snr_of_amplitudes(words, dimensions, log_snr):
    """The log-SNR is a ratio of variances, and this takes it for a ratio of amplitudes: halve it."""
    return words_read_right(words, dimensions, 2 * log_snr)


def all_as_if_apart(words, dimensions, log_snr):
    """The comparisons are multiplied as if they had nothing to do with each other. They share the noise of the word
    itself: where it is unlucky, it is unlucky against all rivals."""
    lead = torch.tensor(math.sqrt(dimensions / 2) * math.exp(log_snr / 2), dtype=torch.float64)
    return float(torch.special.ndtr(lead) ** (words - 1))


def by_the_largest_rival(words, dimensions, log_snr):
    """The density of the loudest rival, and how often the word itself is louder still."""
    lead = math.sqrt(dimensions) * math.exp(log_snr / 2)
    m = torch.linspace(-8, 8, 8001, dtype=torch.float64)
    density = (words - 1) * torch.special.ndtr(m) ** (words - 2) * torch.exp(-(m**2) / 2) / math.sqrt(2 * math.pi)
    return torch.trapezoid(density * torch.special.ndtr(lead - m), m)


def by_steps(words, dimensions, log_snr):
    lead, total, step = math.sqrt(dimensions * math.exp(log_snr)), 0.0, 0.01
    for i in range(-800, 801):
        z = i * step
        phi = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        total += step * phi * (0.5 * (1 + math.erf((z + lead) / math.sqrt(2)))) ** (words - 1)
    return total


def numbers(draw):
    """Neither all words nor hardly any."""
    while True:
        dimensions = draw.integer(16, 64)
        found = {
            "words": draw.integer(6, dimensions),
            "dimensions": dimensions,
            "log_snr": round(draw.number(-4, -1), 1),
        }
        if 0.2 < words_read_right(**found) < 0.9:
            return found


TASK = OwnNumber(
    chapter="text",
    title="How many words survive your noise?",
    question="""
Each of {words} words is a vector with {dimensions} coordinates whose mean square is 1, at right angles to all others.
Noise is added until the log-SNR is {log_snr}, and each vector is read as the nearest word. What share of the words is
read right?
""",
    about=r"""
The book asks how many words the nearest vector reads right. Here the number of words, their dimensions and the noise
are your own, and the vectors are at right angles, so that the answer is one integral.

`words_read_right` computes the share. All vectors have the length $\sqrt D$, so the nearest is the one with the largest
inner product. In units of the noise, the word itself has $z + \sqrt D\, e^{\lambda / 2}$ and each other word $z'$, all
$z$ independent and standard normal. Given $z$, the others are all smaller with probability
$\Phi(z + \sqrt D\, e^{\lambda / 2})^{V - 1}$; take the mean over $z$, as a sum over a fine grid.
`torch.special.ndtr` is $\Phi$.
""",
    reference=words_read_right,
    numbers_from=numbers,
    wrong_answers=(
        wrong(one_rival),
        wrong(rivals_without_noise),
        wrong(one_coordinate),
        wrong(log_snr_of_amplitudes),
        wrong(all_as_if_apart),
    ),
    right_answers=(right(by_the_largest_rival), right(by_steps)),
    hints=("How often is one rival ahead, if you know the noise of the word itself?",),
    source="the error of orthogonal signals in white noise, as in Proakis, Digital Communications",
)
