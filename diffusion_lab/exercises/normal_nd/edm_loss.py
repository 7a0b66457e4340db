"""edm_loss: a denoiser's loss that starts at 1 for every level."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.normal_nd.edm_preconditioning import edm_preconditioning
from diffusion_lab.exercises.normal_nd.probes import Silent
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def edm_loss(model: nn.Module, x0: Tensor, sigma: Tensor, noise: Tensor, sigma_data: float) -> Tensor:
    """The weighted mean square error of the preconditioned denoiser, for each sample.

    Args:
        model: the network F itself, called as model(c_in x, c_noise) with (B, *S) and (B,); returns (B, *S).
        x0: (B, *S), clean data of any rank.
        sigma: (B,), the standard deviation of the noise of each sample.
        noise: (B, *S), standard normal.
        sigma_data: the standard deviation of the clean data.

    Returns:
        (B,): the mean over all axes but the first.
    """
    std = sigma.reshape(-1, *[1] * (x0.ndim - 1))  # (B, 1, ..., 1)
    total = std**2 + sigma_data**2
    x = x0 + std * noise
    output = model(x / total.sqrt(), sigma.log() / 4)
    denoised = sigma_data**2 / total * x + std * sigma_data / total.sqrt() * output
    weight = total / (std * sigma_data) ** 2
    return (weight * (denoised - x0).square()).flatten(1).mean(dim=1)


def _parts(x0, sigma, noise, sigma_data):
    """x and c_skip, c_out, c_in, c_noise and the weight: all (B, 1, ..., 1) but x and c_noise."""
    std = sigma.reshape(-1, *[1] * (x0.ndim - 1))
    skip, out, scale, _ = edm_preconditioning(std, sigma_data)
    return x0 + std * noise, skip, out, scale, sigma.log() / 4, 1 / out**2


def _mean(values):
    return values.flatten(1).mean(dim=1)


def skip_and_out_swapped(model, x0, sigma, noise, sigma_data):
    """c_skip and c_out have changed places. c_skip multiplies x and c_out the network's output."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight * (out * x + skip * model(scale * x, level) - x0).square())


def missing_weight(model, x0, sigma, noise, sigma_data):
    """The weight is missing. An error of the network is multiplied by c_out, so without 1 / c_out^2 the levels with
    much noise drown all others."""
    x, skip, out, scale, level, _ = _parts(x0, sigma, noise, sigma_data)
    return _mean((skip * x + out * model(scale * x, level) - x0).square())


def weight_with_a_sum(model, x0, sigma, noise, sigma_data):
    """The weight has the square of sigma + sigma_data below. It must undo c_out^2, which has their product: check that
    the weight times c_out^2 is 1."""
    x, skip, out, scale, level, _ = _parts(x0, sigma, noise, sigma_data)
    std = sigma.reshape(-1, *[1] * (x0.ndim - 1))
    weight = (std**2 + sigma_data**2) / (std + sigma_data) ** 2
    return _mean(weight * (skip * x + out * model(scale * x, level) - x0).square())


def weight_of_the_noise_alone(model, x0, sigma, noise, sigma_data):
    """The weight is 1 / sigma^2, the signal-to-noise ratio up to a factor. Where the noise is large the weight must not
    go to 0: it is 1 / c_out^2."""
    x, skip, out, scale, level, _ = _parts(x0, sigma, noise, sigma_data)
    std = sigma.reshape(-1, *[1] * (x0.ndim - 1))
    return _mean((skip * x + out * model(scale * x, level) - x0).square() / std**2)


def weight_without_its_square(model, x0, sigma, noise, sigma_data):
    """The squared error was multiplied by 1 / c_out. An error of the network appears squared, and so does c_out: the
    weight is 1 / c_out^2."""
    x, skip, out, scale, level, _ = _parts(x0, sigma, noise, sigma_data)
    return _mean((skip * x + out * model(scale * x, level) - x0).square() / out)


def input_not_scaled(model, x0, sigma, noise, sigma_data):
    """The network was given x as it is, up to 80 times too large. It must see c_in x."""
    x, skip, out, _, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight * (skip * x + out * model(x, level) - x0).square())


def sigma_for_c_noise(model, x0, sigma, noise, sigma_data):
    """The network was told sigma. Its second input is c_noise, a quarter of the logarithm of sigma."""
    x, skip, out, scale, _, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight * (skip * x + out * model(scale * x, sigma) - x0).square())


def network_for_the_denoiser(model, x0, sigma, noise, sigma_data):
    """The network's output was compared with x0. The network is F and not D: its output is one part of D, which c_skip
    x completes."""
    x, _, _, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight * (model(scale * x, level) - x0).square())


def clean_input(model, x0, sigma, noise, sigma_data):
    """The network was given the clean data. It must see the noisy x: that is all it will have when sampling."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight * (skip * x + out * model(scale * x0, level) - x0).square())


def mean_over_the_batch(model, x0, sigma, noise, sigma_data):
    """The batch was averaged too. One value for each sample is asked for."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return (weight * (skip * x + out * model(scale * x, level) - x0).square()).mean()


def cut_off_from_the_network(model, x0, sigma, noise, sigma_data):
    """The network's output was detached, so that no gradient reaches its weights and nothing is learned."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight * (skip * x + out * model(scale * x, level).detach() - x0).square())


def in_units_of_the_network(model, x0, sigma, noise, sigma_data):
    x, skip, out, scale, level, _ = _parts(x0, sigma, noise, sigma_data)
    return (model(scale * x, level) - (x0 - skip * x) / out).square().reshape(len(x0), -1).mean(-1)


def one_level_at_a_time(model, x0, sigma, noise, sigma_data):
    losses = []
    for i in range(len(x0)):
        x = x0[i : i + 1] + sigma[i] * noise[i : i + 1]
        skip, out, scale, level = edm_preconditioning(sigma[i], sigma_data)
        denoised = skip * x + out * model(scale * x, level.reshape(1))
        losses.append(((denoised - x0[i : i + 1]) / out).pow(2).mean())
    return torch.stack(losses)


def einsum(model, x0, sigma, noise, sigma_data):
    skip, out, scale, level = edm_preconditioning(sigma, sigma_data)
    x = x0 + torch.einsum("b,b...->b...", sigma, noise)
    output = model(torch.einsum("b,b...->b...", scale, x), level)
    error = torch.einsum("b,b...->b...", skip, x) + torch.einsum("b,b...->b...", out, output) - x0
    return error.square().flatten(1).mean(dim=1) / out**2


def functional_form(model, x0, sigma, noise, sigma_data):
    from torch.nn import functional

    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    denoised = skip * x + out * model(scale * x, level)
    return weight.flatten() * functional.mse_loss(denoised, x0, reduction="none").flatten(1).mean(1)


def _sigmas(draw: Draw, batch: int):
    return torch.exp(draw.uniform(batch, low=-2.5, high=2.5))


def cases(draw: Draw):
    for shape in draw.shapes():
        square = len(set(shape)) == 1
        std = draw.number(0.3, 0.8)
        arguments = Probe(draw.integer(0, 99)), std * draw.normal(*shape), _sigmas(draw, shape[0]), draw.normal(*shape)
        part = "any shape" if square else "values"
        yield Case("every size equal" if square else "data of this shape", (*arguments, std), part)


def starts_at_one(piece, draw: Draw):
    """A network that says 0 has the mean loss 1 at every level: that is what the weight is for."""
    n, std = 4000, draw.number(0.3, 2.0)
    for sigma in (0.02, std, 50.0):
        x0, noise = std * draw.normal(n, 4), draw.normal(n, 4)
        found = piece(Silent(), x0, torch.full((n,), sigma, dtype=torch.float64), noise, std)
        if found.shape != (n,):
            return f"one value for each of {n} samples is expected, and yours have the shape {tuple(found.shape)}"
        if not abs(float(found.mean()) - 1) < 0.08:
            return (
                f"a network that says 0 has the mean loss 1 at every level; yours is {float(found.mean()):.3g} "
                f"at sigma = {sigma:.3g}, for data of standard deviation {std}"
            )
    return None


EXERCISE = Exercise(
    chapter="normal_nd",
    kind="loss",
    title="A loss that starts at one",
    statement=r"""
Train the preconditioned denoiser $D(x, \sigma) = c_{\text{skip}}\, x + c_{\text{out}}\, F(c_{\text{in}}\, x,
c_{\text{noise}})$ by the weighted square error

$$
\begin{aligned}
L &= \frac{\lambda(\sigma)}{d} \left\lVert D(x, \sigma) - x_0 \right\rVert^2, \\
x &= x_0 + \sigma\, \varepsilon, \\
\lambda(\sigma) &= \frac{\sigma^2 + \sigma_d^2}{(\sigma\, \sigma_d)^2},
\end{aligned}
$$

with $d$ the number of entries of a sample. The weight is $1 / c_{\text{out}}^2$, so that an error of the network counts
the same at every level, and a network that says 0 starts at the loss 1 everywhere. `model` is $F$, not $D$. Return one
value for each sample. You can use your `edm_preconditioning`.
""",
    reference=edm_loss,
    parts={"values": 4, "any shape": 1, CARE: 1},
    cases=cases,
    trains=True,
    properties=(Property("every level starts at 1", starts_at_one),),
    wrong_answers=(
        wrong(skip_and_out_swapped),
        wrong(missing_weight),
        wrong(weight_with_a_sum),
        wrong(weight_of_the_noise_alone),
        wrong(weight_without_its_square),
        wrong(input_not_scaled),
        wrong(sigma_for_c_noise),
        wrong(network_for_the_denoiser),
        wrong(clean_input),
        wrong(mean_over_the_batch),
        wrong(cut_off_from_the_network),
    ),
    right_answers=(right(in_units_of_the_network), right(one_level_at_a_time), right(einsum), right(functional_form)),
    hints=(
        "Put D together first, then compare it with the clean data.",
        "The weight times c_out^2 is 1.",
        "The factors of x have the shape (B, 1, ..., 1); the network's second input has the shape (B,).",
    ),
    source="Karras et al. 2022, equations 2, 7 and 8, and table 1",
)
