"""What noise leaves of a correlation of one's own."""

import math

import torch

from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.exercises.record import right, wrong


def correlation_left(correlation: float, first_std: float, second_std: float, log_snr: float) -> float:
    """The correlation of two coordinates in noise.

    Args:
        correlation: of the two coordinates of the clean data.
        first_std: standard deviation of the first one.
        second_std: of the second one.
        log_snr: log(alpha^2 / sigma^2), with alpha^2 + sigma^2 = 1.

    Returns:
        The correlation of the coordinates of alpha x0 + sigma eps.
    """
    signal = 1 / (1 + math.exp(-log_snr))
    covariance = signal * correlation * first_std * second_std
    first, second = (signal * std**2 + 1 - signal for std in (first_std, second_std))
    return covariance / math.sqrt(first * second)


def as_if_spread_evenly(correlation, first_std, second_std, log_snr):
    """This leaves the spread of the data out. The same noise drowns a narrow coordinate sooner than a wide one."""
    return correlation / (1 + math.exp(-log_snr))


def covariance_kept(correlation, first_std, second_std, log_snr):
    """The covariance is that of the clean data. It is a product of two coordinates, and each of them has shrunk."""
    return correlation_left(correlation, first_std, second_std, log_snr) * (1 + math.exp(-log_snr))


def noise_on_the_covariance(correlation, first_std, second_std, log_snr):
    """Noise was added to the covariance too. The two noises are independent, so they add to the variances alone."""
    signal = 1 / (1 + math.exp(-log_snr))
    first, second = (signal * std**2 + 1 - signal for std in (first_std, second_std))
    return (signal * correlation * first_std * second_std + 1 - signal) / math.sqrt(first * second)


def ratio_of_roots(correlation, first_std, second_std, log_snr):
    """The log-SNR is a ratio of variances, alpha^2 to sigma^2, and this takes it for alpha to sigma."""
    return correlation_left(correlation, first_std, second_std, 2 * log_snr)


def by_matrices(correlation, first_std, second_std, log_snr):
    alpha2 = torch.sigmoid(torch.tensor(log_snr, dtype=torch.float64))
    product = correlation * first_std * second_std
    clean = torch.tensor([[first_std**2, product], [product, second_std**2]], dtype=torch.float64)
    noisy = alpha2 * clean + (1 - alpha2) * torch.eye(2, dtype=torch.float64)
    return noisy[0, 1] / noisy.diagonal().prod().sqrt()


def by_shares(correlation, first_std, second_std, log_snr):
    ratio = math.exp(log_snr)
    shares = [ratio * std**2 / (ratio * std**2 + 1) for std in (first_std, second_std)]
    return correlation * math.sqrt(shares[0] * shares[1])


def numbers(draw):
    return {
        "correlation": round(draw.number(0.8, 0.97), 2) * draw.choice((-1, 1)),
        "first_std": round(draw.number(0.4, 0.9), 1),
        "second_std": round(draw.number(1.3, 2.5), 1),
        "log_snr": round(draw.number(-2, 1.5), 1),
    }


TASK = OwnNumber(
    chapter="normal_2d",
    title="What is left of your correlation?",
    question="""
Two coordinates have standard deviations {first_std} and {second_std} and a correlation of {correlation}. Noise is added
until the log-SNR is {log_snr}. What is left of the correlation?
""",
    about=r"""
The book asks what noise leaves of a correlation of 0.9 at equal parts. Here the ellipse and the level are your own.

`correlation_left` computes the correlation of the two coordinates of $x = \alpha x_0 + \sigma \varepsilon$, with
$\alpha^2 + \sigma^2 = 1$ and $\lambda = \log (\alpha^2 / \sigma^2)$.
""",
    reference=correlation_left,
    numbers_from=numbers,
    wrong_answers=(
        wrong(as_if_spread_evenly),
        wrong(covariance_kept),
        wrong(noise_on_the_covariance),
        wrong(ratio_of_roots),
    ),
    right_answers=(right(by_matrices), right(by_shares)),
    hints=("Which entries of the covariance matrix does independent noise change?",),
    source="the covariance of noisy data, equation 1 of the chapter",
)
