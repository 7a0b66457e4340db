"""edm_preconditioning: what a network is spared."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def edm_preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four factors of D(x, sigma) = c_skip x + c_out F(c_in x, c_noise), for x = x0 + sigma noise.

    Args:
        sigma: any shape, the standard deviation of the noise, positive.
        sigma_data: the standard deviation of the clean data.

    Returns:
        c_skip, c_out, c_in and c_noise, each of the shape and dtype of sigma.
    """
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


def skip_and_out_swapped(sigma, sigma_data):
    """c_skip and c_out have changed places. With little noise x is nearly the answer, so c_skip is near 1 there and
    c_out near 0."""
    skip, out, scale, noise = edm_preconditioning(sigma, sigma_data)
    return out, skip, scale, noise


def skip_grows_with_the_noise(sigma, sigma_data):
    """c_skip grows with sigma here, so that pure noise is passed on and clean data are not. c_skip is the share of the
    data in the variance of x, not that of the noise."""
    _, out, scale, noise = edm_preconditioning(sigma, sigma_data)
    return sigma**2 / (sigma**2 + sigma_data**2), out, scale, noise


def missing_root_in(sigma, sigma_data):
    """c_in is one over the variance of x. Dividing by the standard deviation gives x the variance 1."""
    skip, out, _, noise = edm_preconditioning(sigma, sigma_data)
    return skip, out, 1 / (sigma**2 + sigma_data**2), noise


def missing_root_out(sigma, sigma_data):
    """c_out is divided by the variance of x. It is a standard deviation, of what c_skip x leaves over: the square root
    of the variance belongs below."""
    skip, _, scale, noise = edm_preconditioning(sigma, sigma_data)
    return skip, sigma * sigma_data / (sigma**2 + sigma_data**2), scale, noise


def deviations_added(sigma, sigma_data):
    """The standard deviations of data and noise were added. Variances of independent things add up, standard deviations
    do not."""
    total = (sigma + sigma_data) ** 2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


def noise_not_divided(sigma, sigma_data):
    """c_noise is log sigma here. The paper takes a quarter of it, which keeps it near 1 over all levels."""
    return *edm_preconditioning(sigma, sigma_data)[:3], sigma.log()


def decimal_logarithm(sigma, sigma_data):
    """c_noise has a logarithm to the base 10. The natural logarithm is meant."""
    return *edm_preconditioning(sigma, sigma_data)[:3], sigma.log10() / 4


def sigma_for_its_logarithm(sigma, sigma_data):
    """c_noise is a quarter of sigma itself, which runs over five powers of ten. The network is given its logarithm."""
    return *edm_preconditioning(sigma, sigma_data)[:3], sigma / 4


def data_of_unit_variance(sigma, sigma_data):
    """`sigma_data` was not looked at. It is 1 for data of unit variance only; EDM has 0.5 for images in [-1, 1]."""
    return edm_preconditioning(sigma, 1.0)


def not_the_natural_logarithm(sigma, sigma_data):
    """c_noise has a logarithm to the base 2. The natural logarithm is meant."""
    return *edm_preconditioning(sigma, sigma_data)[:3], sigma.log2() / 4


def skip_as_a_deviation(sigma, sigma_data):
    """c_skip is a ratio of standard deviations here. The share of the data in x is a share of variances: no root."""
    _, out, scale, noise = edm_preconditioning(sigma, sigma_data)
    return sigma_data / (sigma**2 + sigma_data**2).sqrt(), out, scale, noise


def out_without_the_data(sigma, sigma_data):
    """c_out lacks the factor sigma_data. What c_skip x leaves over has parts of data and noise, and its standard
    deviation is the product of both over that of x."""
    skip, _, scale, noise = edm_preconditioning(sigma, sigma_data)
    return skip, sigma / (sigma**2 + sigma_data**2).sqrt(), scale, noise


def in_of_the_noise_alone(sigma, sigma_data):
    """c_in is one over sigma. x holds data too, and with little noise it is nearly all data: divide by the standard
    deviation of both together."""
    skip, out, _, noise = edm_preconditioning(sigma, sigma_data)
    return skip, out, 1 / sigma, noise


def in_before_out(sigma, sigma_data):
    """c_in and c_out have changed places. The order is c_skip, c_out, c_in, c_noise."""
    skip, out, scale, noise = edm_preconditioning(sigma, sigma_data)
    return skip, scale, out, noise


def std_for_variance(sigma, sigma_data):
    """`sigma` and `sigma_data` were used where variances belong. Variances of independent parts add, standard
    deviations do not: square both."""
    total = sigma + sigma_data
    return sigma_data / total, (sigma * sigma_data).sqrt() / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


def scaled_input_first(sigma, sigma_data):
    c_in = torch.rsqrt(sigma.square() + sigma_data**2)
    return (sigma_data * c_in) ** 2, sigma * sigma_data * c_in, c_in, 0.25 * torch.log(sigma)


def ratios(sigma, sigma_data):
    relative = sigma / sigma_data
    c_skip = 1 / (1 + relative**2)
    return (
        c_skip,
        sigma * c_skip.sqrt(),
        c_skip.sqrt() / sigma_data,
        relative.log() / 4 + torch.tensor(sigma_data, dtype=sigma.dtype).log() / 4,
    )


def one_level_at_a_time(sigma, sigma_data):
    rows = []
    for s in sigma.flatten():
        std = torch.hypot(s, torch.tensor(sigma_data, dtype=s.dtype))
        rows.append(torch.stack([(sigma_data / std) ** 2, s / std * sigma_data, std.reciprocal(), s.log() * 0.25]))
    return tuple(column.reshape(sigma.shape) for column in torch.stack(rows, dim=1))


def through_numpy(sigma, sigma_data):
    import numpy as np

    s = sigma.numpy().astype(np.float64)
    total = s**2 + sigma_data**2
    found = sigma_data**2 / total, s * sigma_data / np.sqrt(total), 1 / np.sqrt(total), np.log(s) / 4
    return tuple(torch.from_numpy(np.asarray(value)).to(sigma.dtype) for value in found)


def _sigmas(draw: Draw, *shape: int):
    return torch.exp(draw.uniform(*shape, low=-4.0, high=3.0))


def cases(draw: Draw):
    yield Case("a batch of levels", (_sigmas(draw, draw.integer(5, 9)), draw.number(0.3, 0.7)))
    yield Case("one level", (_sigmas(draw, 1), draw.number(1.5, 3.0)))
    yield Case("levels for images", (_sigmas(draw, draw.integer(3, 5), 1, 1, 1), 0.5))
    yield Case("a number", (_sigmas(draw), draw.number(0.3, 0.7)))
    yield Case("very little and very much noise", (torch.tensor([0.002, 80.0]).double(), draw.number(0.3, 0.7)))


def input_of_unit_variance(piece, draw: Draw):
    """c_in x has the variance 1 at every level."""
    sigma, std = _sigmas(draw, 9), draw.number(0.3, 2.5)
    variance = piece(sigma, std)[2] ** 2 * (sigma**2 + std**2)
    if float((variance - 1).abs().max()) < 1e-5:
        return None
    return f"c_in x has the variance 1 at every level; yours from {variance.min():.7g} to {variance.max():.7g}"


def target_of_unit_variance(piece, draw: Draw):
    """What F must say, (x0 - c_skip x) / c_out, has the variance 1, and no other c_skip makes c_out smaller."""
    sigma, std = _sigmas(draw, 9), draw.number(0.3, 2.5)
    skip, out = piece(sigma, std)[:2]

    def left(share):
        return (1 - share) ** 2 * std**2 + share**2 * sigma**2

    variance = left(skip) / out**2
    if not float((variance - 1).abs().max()) < 1e-5:
        return (
            "what the network must say, (x0 - c_skip x) / c_out, has the variance 1 at every level; "
            f"yours from {variance.min():.7g} to {variance.max():.7g}"
        )
    if bool((left(skip + 1e-3) < left(skip)).any() or (left(skip - 1e-3) < left(skip)).any()):
        return "another c_skip leaves less for the network to say; yours is not the best one"
    return None


EXERCISE = Exercise(
    chapter="normal_nd",
    kind="loss",
    title="What the network is spared",
    statement=r"""
Noise runs from $\sigma = 0.002$ to $80$; a network likes numbers near 1. So the denoiser is put together as

$$
\begin{aligned}
D(x, \sigma) &= c_{\text{skip}}\, x \\
&\quad + c_{\text{out}}\; F(c_{\text{in}}\, x,\; c_{\text{noise}}), \\
x &= x_0 + \sigma\, \varepsilon,
\end{aligned}
$$

$$
\begin{aligned}
c_{\text{skip}} &= \frac{\sigma_d^2}{\sigma^2 + \sigma_d^2}, \\
c_{\text{out}} &= \frac{\sigma\, \sigma_d}{\sqrt{\sigma^2 + \sigma_d^2}}, \\
c_{\text{in}} &= \frac{1}{\sqrt{\sigma^2 + \sigma_d^2}}, \\
c_{\text{noise}} &= \tfrac14 \ln \sigma,
\end{aligned}
$$

with $\sigma_d$ the standard deviation of the data. With $c_{\text{in}}$ the network $F$ sees inputs of variance 1, and
$c_{\text{skip}}$ and $c_{\text{out}}$ are such that what it must say has the variance 1 too, with its errors made as
small as they can be. Return the four in this order.
""",
    reference=edm_preconditioning,
    parts={"values": 3, "variance 1 in": 1, "variance 1 out": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("inputs of variance 1", input_of_unit_variance, "variance 1 in"),
        Property("targets of variance 1", target_of_unit_variance, "variance 1 out"),
    ),
    wrong_answers=(
        wrong(skip_and_out_swapped),
        wrong(skip_grows_with_the_noise),
        wrong(missing_root_in),
        wrong(missing_root_out),
        wrong(deviations_added),
        wrong(noise_not_divided),
        wrong(decimal_logarithm),
        wrong(sigma_for_its_logarithm),
        wrong(data_of_unit_variance),
        wrong(not_the_natural_logarithm),
        wrong(skip_as_a_deviation),
        wrong(out_without_the_data),
        wrong(in_of_the_noise_alone),
        wrong(in_before_out),
        wrong(std_for_variance),
    ),
    right_answers=(right(scaled_input_first), right(ratios), right(one_level_at_a_time), right(through_numpy)),
    hints=(
        "What should D be where there is hardly any noise, and where there is nothing else?",
        "The variance of x is the sum of two variances.",
    ),
    source="Karras et al. 2022, table 1 and appendix B.6",
)
