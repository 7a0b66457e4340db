"""edm_loss: a denoiser's loss that starts at 1 for every level."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.inputs import data_shapes, independent_normals
from diffusion_lab.exercises.normal_nd.edm_preconditioning import edm_preconditioning
from diffusion_lab.exercises.normal_nd.probes import Silent
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def edm_loss(model: nn.Module, x0: Tensor, sigma: Tensor, noise: Tensor, sigma_data: float) -> Tensor:
    """The weighted mean square error of the preconditioned denoiser, for each sample.

    Args:
        model: the network F itself, called as model(c_in x, c_noise) with (B, *S) and (B,); returns (B, *S).
        x0: (B, *S), clean data of any rank; S can be empty.
        sigma: (B,), positive, the standard deviation of the noise of each sample; it can be float64 where the data are
            float32, and the network takes both of its inputs in the dtype of the data.
        noise: (B, *S), standard normal.
        sigma_data: the standard deviation of the clean data.

    Returns:
        (B,), of the dtype of x0: the mean over all axes but the first.
    """
    std = sigma.to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))  # (B, 1, ..., 1)
    total = std**2 + sigma_data**2
    x = x0 + std * noise
    output = model(x / total.sqrt(), std.flatten().log() / 4)
    denoised = sigma_data**2 / total * x + std * sigma_data / total.sqrt() * output
    weight = total / (std * sigma_data) ** 2
    return (weight * (denoised - x0).square()).reshape(len(x0), -1).mean(dim=1)


def _parts(x0, sigma, noise, sigma_data):
    """x and c_skip, c_out, c_in, c_noise and the weight: all (B, 1, ..., 1) but x and c_noise."""
    std = sigma.to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))
    skip, out, scale, level = edm_preconditioning(std, sigma_data)
    return x0 + std * noise, skip, out, scale, level.flatten(), 1 / out**2


def _mean(values):
    return values.reshape(len(values), -1).mean(dim=1)


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
    """The network's output is cut off from autograd (by `detach`, `no_grad`, a number or NumPy on the way), so that no
    gradient reaches its weights and nothing is learned."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight * (skip * x + out * model(scale * x, level).detach() - x0).square())


def absolute_error(model, x0, sigma, noise, sigma_data):
    """This is the absolute error, whose best answer is a median. A denoiser is a mean over all x0 that fit, and a mean
    minimises the square."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight.sqrt() * (skip * x + out * model(scale * x, level) - x0).abs())


def sum_over_entries(model, x0, sigma, noise, sigma_data):
    """This sums over the entries of a sample. The mean keeps the loss at one scale for data of every size."""
    return edm_loss(model, x0, sigma, noise, sigma_data) * x0[0].numel()


def c_noise_not_divided(model, x0, sigma, noise, sigma_data):
    """The network was told log sigma. Its second input is c_noise, a quarter of that."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight * (skip * x + out * model(scale * x, 4 * level) - x0).square())


def weight_upside_down(model, x0, sigma, noise, sigma_data):
    """The squared error was multiplied by c_out^2. An error of the network is in there times c_out already: the weight
    undoes that, and divides."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean((skip * x + out * model(scale * x, level) - x0).square() / weight)


def weight_squared(model, x0, sigma, noise, sigma_data):
    """The weight was multiplied before the error was squared, and so it is squared too. Weigh the square."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean((weight * (skip * x + out * model(scale * x, level) - x0)).square())


def skip_of_the_scaled_input(model, x0, sigma, noise, sigma_data):
    """c_skip was multiplied by c_in x. Only the network sees the scaled input; past it goes x itself."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight * (skip * scale * x + out * model(scale * x, level) - x0).square())


def skip_left_out(model, x0, sigma, noise, sigma_data):
    """c_skip x is missing: D is the network's part alone. With little noise x is nearly the answer, and the network has
    only to say what is left."""
    x, _, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight * (out * model(scale * x, level) - x0).square())


def compares_with_the_noise(model, x0, sigma, noise, sigma_data):
    """The denoised data were compared with the noise. D guesses the clean data x0."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight * (skip * x + out * model(scale * x, level) - noise).square())


def mean_along_the_batch(model, x0, sigma, noise, sigma_data):
    """The mean over axis 0 went over the batch. Every sample keeps a loss of its own: average over its own axes."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return (weight * (skip * x + out * model(scale * x, level) - x0).square()).mean(dim=0)


def mean_over_no_axes(model, x0, sigma, noise, sigma_data):
    """For data of shape (B,) the batch was averaged. There are no other axes then, and `mean` over an empty tuple of
    axes averages over all of them. Give each sample one axis first, `reshape(len(x0), -1)`, and average over that."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    square = weight * (skip * x + out * model(scale * x, level) - x0).square()
    return square.mean(dim=tuple(range(1, x0.ndim)))


def no_second_axis(model, x0, sigma, noise, sigma_data):
    """Data of shape (B,) have no axis 1 to flatten or to average over. `reshape(len(x0), -1)` gives each sample one
    axis, whatever its shape."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return (weight * (skip * x + out * model(scale * x, level) - x0).square()).flatten(1).mean(1)


def sigma_along_the_last_axis(model, x0, sigma, noise, sigma_data):
    """The (B,) levels were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    skip, out, scale, level = edm_preconditioning(sigma.to(x0.dtype), sigma_data)
    x = x0 + sigma.to(x0.dtype) * noise
    return _mean((skip * x + out * model(scale * x, level) - x0).square() / out**2)


def fresh_noise(model, x0, sigma, noise, sigma_data):
    """Noise was drawn inside. The noise is handed in, so that a loss can be computed again."""
    return edm_loss(model, x0, sigma, torch.randn_like(noise), sigma_data)


def network_for_the_whole_denoiser(model, x0, sigma, noise, sigma_data):
    """The network was taken for the denoiser D itself: it got x and sigma, and its answer was compared with x0. The
    network is F, and D is put together around it by the four factors."""
    x, *_, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight * (model(x, sigma.to(x0.dtype)) - x0).square())


def weight_for_rows_alone(model, x0, sigma, noise, sigma_data):
    """The weight has the shape (B, 1), which fits data of shape (B, D) alone. Give it as many axes as the data have, or
    weigh the mean of each sample, (B,)."""
    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    return _mean(weight.reshape(-1, 1) * (skip * x + out * model(scale * x, level) - x0).square())


def in_units_of_the_network(model, x0, sigma, noise, sigma_data):
    x, skip, out, scale, level, _ = _parts(x0, sigma, noise, sigma_data)
    return (model(scale * x, level) - (x0 - skip * x) / out).square().reshape(len(x0), -1).mean(-1)


def one_level_at_a_time(model, x0, sigma, noise, sigma_data):
    sigma, losses = sigma.to(x0.dtype), []
    for i in range(len(x0)):
        x = x0[i : i + 1] + sigma[i] * noise[i : i + 1]
        skip, out, scale, level = edm_preconditioning(sigma[i], sigma_data)
        denoised = skip * x + out * model(scale * x, level.reshape(1))
        losses.append(((denoised - x0[i : i + 1]) / out).pow(2).mean())
    return torch.stack(losses)


def einsum(model, x0, sigma, noise, sigma_data):
    sigma = sigma.to(x0.dtype)
    skip, out, scale, level = edm_preconditioning(sigma, sigma_data)
    x = x0 + torch.einsum("b,b...->b...", sigma, noise)
    output = model(torch.einsum("b,b...->b...", scale, x), level)
    error = torch.einsum("b,b...->b...", skip, x) + torch.einsum("b,b...->b...", out, output) - x0
    return error.square().reshape(len(x0), -1).mean(dim=1) / out**2


def functional_form(model, x0, sigma, noise, sigma_data):
    from torch.nn import functional

    x, skip, out, scale, level, weight = _parts(x0, sigma, noise, sigma_data)
    denoised = skip * x + out * model(scale * x, level)
    return weight.flatten() * functional.mse_loss(denoised, x0, reduction="none").reshape(len(x0), -1).mean(1)


def _sigmas(draw: Draw, batch: int):
    return torch.exp(draw.uniform(batch, low=-2.5, high=2.5))


def cases(draw: Draw):
    for shape, label, part in data_shapes(draw):
        std = draw.number(0.3, 0.8)
        arguments = Probe(draw.integer(0, 99)), std * draw.normal(*shape), _sigmas(draw, shape[0]), draw.normal(*shape)
        yield Case(label, (*arguments, std), part)
    std, ends = draw.number(0.3, 0.8), torch.tensor([0.002, 80.0], dtype=torch.float64)
    arguments = Probe(draw.integer(0, 99)), std * draw.normal(2, 3), ends, draw.normal(2, 3), std
    yield Case("very little and very much noise", arguments, "values")


def starts_at_one(piece, draw: Draw):
    """A network that says 0 has the mean loss 1 at every level: that is what the weight is for.

    Each sample holds every pair of some data and noises, so that its mean has no error of chance.
    """
    std, (data, noise) = draw.number(0.3, 2.0), independent_normals(draw)
    sigmas = torch.tensor([0.02, std, 50.0], dtype=torch.float64)
    found = piece(Silent(), (std * data).repeat(3, 1), sigmas, noise.repeat(3, 1), std)
    if found.shape != (3,):
        return f"one value for each of 3 samples is expected, and yours have the shape {tuple(found.shape)}"
    for sigma, value in zip(sigmas.tolist(), found.tolist(), strict=True):
        if not abs(value - 1) < 1e-3:
            return (
                f"a network that says 0 has the mean loss 1 at every level; yours is {value:.5g} at sigma = "
                f"{sigma:.3g}, for data of standard deviation {std}"
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
value for each sample, of data of any shape, `(B,)` included; the gradient must reach the network's weights. You can use
your `edm_preconditioning`.
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
        wrong(absolute_error),
        wrong(sum_over_entries),
        wrong(c_noise_not_divided),
        wrong(weight_upside_down),
        wrong(weight_squared),
        wrong(skip_of_the_scaled_input),
        wrong(skip_left_out),
        wrong(compares_with_the_noise),
        wrong(mean_along_the_batch),
        wrong(mean_over_no_axes),
        wrong(no_second_axis),
        wrong(sigma_along_the_last_axis),
        wrong(fresh_noise, "random"),
        wrong(network_for_the_whole_denoiser),
        wrong(weight_for_rows_alone),
    ),
    right_answers=(right(in_units_of_the_network), right(one_level_at_a_time), right(einsum), right(functional_form)),
    hints=(
        "Put D together first, then compare it with the clean data.",
        "The weight times c_out^2 is 1.",
        "The factors of x have the shape (B, 1, ..., 1); the network's second input has the shape (B,).",
    ),
    source="Karras et al. 2022, equations 2, 7 and 8, and table 1",
    tables=("sigma",),
    like="x0",
)
