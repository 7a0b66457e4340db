"""dsm_loss: a score learned from noisy data."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.inputs import data_shapes, independent_normals
from diffusion_lab.exercises.mixture.probes import NormalScore
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def dsm_loss(model: nn.Module, x0: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """Denoising score matching, weighted by sigma^2, for each sample.

    Args:
        model: called as model(x, sigma) with x (B, *S) and sigma (B,); returns its guess of the score at x, (B, *S).
        x0: (B, *S), clean data of any rank; S can be empty.
        sigma: (B,), positive, the standard deviation of the noise of each sample; it can be float64 where the data are
            float32, and the model takes both of its inputs in the dtype of the data.
        noise: (B, *S), standard normal.

    Returns:
        (B,), of the dtype of x0: the mean over all axes but the first.
    """
    std = sigma.to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))  # (B, 1, ..., 1)
    error = model(x0 + std * noise, std.flatten()) + noise / std
    return (std**2 * error.square()).reshape(len(x0), -1).mean(dim=1)


def _std(x0, sigma):
    return sigma.to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))


def _error(model, x0, sigma, noise):
    std = _std(x0, sigma)
    return model(x0 + std * noise, sigma.to(x0.dtype)) + noise / std


def target_sign(model, x0, sigma, noise):
    """The sign of the target is turned around, so that this score leads away from the data. The score points from x
    back to where it came from, against the noise."""
    std = _std(x0, sigma)
    return (
        (std**2 * (model(x0 + std * noise, sigma.to(x0.dtype)) - noise / std).square()).reshape(len(x0), -1).mean(dim=1)
    )


def missing_weight(model, x0, sigma, noise):
    """The weight is missing. The target grows like 1 / sigma, so without sigma^2 the smallest level is nearly all of
    the loss and the others are not learned."""
    return _error(model, x0, sigma, noise).square().reshape(len(x0), -1).mean(dim=1)


def weight_of_one_sigma(model, x0, sigma, noise):
    """The squared error was multiplied by sigma. The error is of the size 1 / sigma and is squared, so its weight is
    sigma^2."""
    return (_std(x0, sigma) * _error(model, x0, sigma, noise).square()).reshape(len(x0), -1).mean(dim=1)


def target_not_divided(model, x0, sigma, noise):
    """The model was compared with the noise itself. A score is the gradient of a log-density, which has sigma^2 below
    the distance from x0: look at what remains of sigma there."""
    std = _std(x0, sigma)
    return (std**2 * (model(x0 + std * noise, sigma.to(x0.dtype)) + noise).square()).reshape(len(x0), -1).mean(dim=1)


def variance_times_noise(model, x0, sigma, noise):
    """The noise was multiplied by sigma^2. sigma is its standard deviation already."""
    std = _std(x0, sigma)
    return (
        (std**2 * (model(x0 + std**2 * noise, sigma.to(x0.dtype)) + noise / std).square())
        .reshape(len(x0), -1)
        .mean(dim=1)
    )


def clean_input(model, x0, sigma, noise):
    """The model was given x0. The score is that of noisy data, so the model must see the noisy x."""
    std = _std(x0, sigma)
    return (std**2 * (model(x0, sigma.to(x0.dtype)) + noise / std).square()).reshape(len(x0), -1).mean(dim=1)


def mean_over_the_batch(model, x0, sigma, noise):
    """The mean went over axis 0, which is the batch. Every sample keeps a loss of its own: average over its own
    axes."""
    return (_std(x0, sigma) ** 2 * _error(model, x0, sigma, noise).square()).mean(dim=0)


def sum_over_entries(model, x0, sigma, noise):
    """This sums over the entries of a sample. The mean keeps the loss at one scale for data of every size."""
    return (_std(x0, sigma) ** 2 * _error(model, x0, sigma, noise).square()).reshape(len(x0), -1).sum(dim=1)


def sigma_along_the_last_axis(model, x0, sigma, noise):
    """The (B,) levels were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    sigma = sigma.to(x0.dtype)
    error = model(x0 + sigma * noise, sigma) + noise / sigma
    return (sigma**2 * error.square()).reshape(len(x0), -1).mean(dim=1)


def cut_off_from_the_network(model, x0, sigma, noise):
    """The model's output is cut off from autograd (by `detach`, `no_grad`, a number or NumPy on the way), so that no
    gradient reaches its weights and nothing is learned."""
    std = _std(x0, sigma)
    guess = model(x0 + std * noise, sigma.to(x0.dtype)).detach()
    return (std**2 * (guess + noise / std).square()).reshape(len(x0), -1).mean(dim=1)


def absolute_error(model, x0, sigma, noise):
    """This is the absolute error, whose best answer is a median. The score is a mean over all x0 that fit, and a mean
    minimises the square."""
    return (_std(x0, sigma) * _error(model, x0, sigma, noise)).abs().reshape(len(x0), -1).mean(dim=1)


def root_of_the_mean(model, x0, sigma, noise):
    """This is the root of the mean square error. The loss is the mean square itself: no root."""
    return dsm_loss(model, x0, sigma, noise).sqrt()


def half_of_the_square(model, x0, sigma, noise):
    """The square has a factor 1/2, as in the paper. The loss that is asked for has none."""
    return dsm_loss(model, x0, sigma, noise) / 2


def weight_upside_down(model, x0, sigma, noise):
    """The squared error was divided by sigma^2. The target grows like 1 / sigma, and the weight sigma^2 undoes the
    square of that: multiply."""
    return (_error(model, x0, sigma, noise).square() / _std(x0, sigma) ** 2).reshape(len(x0), -1).mean(dim=1)


def target_divided_by_the_variance(model, x0, sigma, noise):
    """The noise was divided by sigma^2. That belongs below the distance x - x0, which is sigma times the noise: one
    sigma remains below the noise itself."""
    std = _std(x0, sigma)
    error = model(x0 + std * noise, sigma.to(x0.dtype)) + noise / std**2
    return (std**2 * error.square()).reshape(len(x0), -1).mean(dim=1)


def data_shrunk(model, x0, sigma, noise):
    """The data were shrunk before the noise was added, as in the chapters before. Here x = x0 + sigma noise: the data
    keep their size."""
    std = _std(x0, sigma)
    error = model((x0 + std * noise) / (1 + std**2).sqrt(), sigma.to(x0.dtype)) + noise / std
    return (std**2 * error.square()).reshape(len(x0), -1).mean(dim=1)


def told_the_logarithm(model, x0, sigma, noise):
    """The model was told the logarithm of sigma. It is called with sigma itself, as the sampler will call it."""
    return dsm_loss(lambda x, level: model(x, level.log()), x0, sigma, noise)


def mean_over_everything(model, x0, sigma, noise):
    """The batch was averaged too. One value for each sample is asked for."""
    return dsm_loss(model, x0, sigma, noise).mean()


def mean_over_no_axes(model, x0, sigma, noise):
    """For data of shape (B,) the batch was averaged. There are no other axes then, and `mean` over an empty tuple of
    axes averages over all of them. Give each sample one axis first, `reshape(len(x0), -1)`, and average over that."""
    square = (_std(x0, sigma) * _error(model, x0, sigma, noise)) ** 2
    return square.mean(dim=tuple(range(1, x0.ndim)))


def no_second_axis(model, x0, sigma, noise):
    """Data of shape (B,) have no axis 1 to flatten or to average over. `reshape(len(x0), -1)` gives each sample one
    axis, whatever its shape."""
    return (_std(x0, sigma) * _error(model, x0, sigma, noise)).square().flatten(1).mean(1)


def fresh_noise(model, x0, sigma, noise):
    """Noise was drawn inside. The noise is handed in: x and the target are made of it, of the very same."""
    return dsm_loss(model, x0, sigma, torch.randn_like(noise))


def weight_inside(model, x0, sigma, noise):
    std = _std(x0, sigma)
    return (std * model(x0 + std * noise, sigma.to(x0.dtype)) + noise).square().reshape(len(x0), -1).mean(-1)


def gradient_of_the_log_density(model, x0, sigma, noise):
    std = _std(x0, sigma)
    x = x0 + std * noise
    square = std**2 * (model(x, sigma.to(x0.dtype)) - (x0 - x) / std**2) ** 2
    while square.ndim > 1:
        square = square.mean(dim=-1)
    return square


def einsum(model, x0, sigma, noise):
    sigma = sigma.to(x0.dtype)
    x = x0 + torch.einsum("b,b...->b...", sigma, noise)
    error = (model(x, sigma) + torch.einsum("b,b...->b...", 1 / sigma, noise)).reshape(len(x0), -1)
    return sigma**2 * torch.einsum("bd,bd->b", error, error) / error.shape[1]


def functional_form(model, x0, sigma, noise):
    from torch.nn import functional

    std = _std(x0, sigma)
    scaled = std * model(x0 + std * noise, sigma.to(x0.dtype))
    return functional.mse_loss(scaled, -noise, reduction="none").reshape(len(x0), -1).mean(dim=1)


def one_sample_at_a_time(model, x0, sigma, noise):
    losses = []
    for clean, std, added in zip(x0, sigma.to(x0.dtype), noise, strict=True):
        said = model((clean + std * added).unsqueeze(0), std.reshape(1)).squeeze(0)
        losses.append((std * said + added).square().mean())
    return torch.stack(losses)


def _sigmas(draw: Draw, batch: int):
    return torch.exp(draw.uniform(batch, low=-2.5, high=1.5))


def cases(draw: Draw):
    for shape, label, part in data_shapes(draw):
        arguments = Probe(draw.integer(0, 99)), draw.normal(*shape), _sigmas(draw, shape[0]), draw.normal(*shape)
        yield Case(label, arguments, part)
    ends = torch.tensor([draw.number(0.01, 0.02), draw.number(20, 50)], dtype=torch.float64)
    arguments = Probe(draw.integer(0, 99)), draw.normal(2, 3), ends, draw.normal(2, 3)
    yield Case("very little and very much noise", arguments, "values")


def a_point_has_no_loss(piece, draw: Draw):
    """Where all data are one point, the score is known from x alone, and the noise can be told exactly."""
    point = draw.normal(3)
    x0, noise, sigma = point.expand(8, 3).clone(), draw.normal(8, 3), _sigmas(draw, 8)
    worst = float(piece(NormalScore(point), x0, sigma, noise).abs().max())
    return None if worst < 1e-6 else f"the exact score of data at one point has loss 0, and yours is up to {worst:.3g}"


def the_floor_of_a_normal(piece, draw: Draw):
    """The exact score of N(0, v) has the mean loss v / (v + sigma^2): of noisy data the noise cannot be told.

    Each sample holds every pair of some data and noises, so that its mean has no error of chance.
    """
    variance, sigmas = draw.number(0.5, 2.0), torch.tensor([0.3, 1.0, 3.0], dtype=torch.float64)
    data, noise = independent_normals(draw)
    x0, noise = (variance**0.5 * data).repeat(3, 1), noise.repeat(3, 1)
    found = piece(NormalScore(0.0, variance), x0, sigmas, noise)
    if found.shape != (3,):
        return f"one value for each of 3 samples is expected, and yours have the shape {tuple(found.shape)}"
    wanted = variance / (variance + sigmas**2)
    for sigma, value, floor in zip(sigmas.tolist(), found.tolist(), wanted.tolist(), strict=True):
        if not abs(value - floor) < 1e-4 * floor:
            return (
                f"for data of variance {variance} and sigma = {sigma} the exact score has the mean loss {floor:.6g}, "
                f"and yours gives it {value:.6g}"
            )
    return None


EXERCISE = Exercise(
    chapter="mixture",
    kind="loss",
    title="The loss of a score",
    statement=r"""
The score of noisy data is the gradient of their log-density, which nobody knows. But given $x_0$, the density of
$x = x_0 + \sigma\, \varepsilon$ is normal, and its score is $-(x - x_0) / \sigma^2 = -\varepsilon / \sigma$. A network
that guesses *this* in the mean square comes out at the score of all data. The loss for one sample is

$$L = \frac{\sigma^2}{d} \left\lVert s_\theta(x, \sigma) + \frac{\varepsilon}{\sigma} \right\rVert^2,$$

with $d$ the number of entries of a sample. The weight $\sigma^2$ makes all levels count alike. Return one value for
each sample, of data of any shape, `(B,)` included; the gradient must reach the network's weights.
""",
    reference=dsm_loss,
    parts={"values": 4, "any shape": 1, CARE: 1},
    cases=cases,
    trains=True,
    properties=(
        Property("data at one point leave no loss", a_point_has_no_loss),
        Property("the floor of normal data", the_floor_of_a_normal),
    ),
    wrong_answers=(
        wrong(target_sign),
        wrong(missing_weight),
        wrong(weight_of_one_sigma),
        wrong(target_not_divided),
        wrong(variance_times_noise),
        wrong(clean_input),
        wrong(mean_over_the_batch),
        wrong(sum_over_entries),
        wrong(sigma_along_the_last_axis),
        wrong(cut_off_from_the_network),
        wrong(absolute_error),
        wrong(root_of_the_mean),
        wrong(half_of_the_square),
        wrong(weight_upside_down),
        wrong(target_divided_by_the_variance),
        wrong(data_shrunk),
        wrong(told_the_logarithm),
        wrong(mean_over_everything),
        wrong(mean_over_no_axes),
        wrong(no_second_axis),
        wrong(fresh_noise, "random"),
    ),
    right_answers=(
        right(weight_inside),
        right(gradient_of_the_log_density),
        right(einsum),
        right(functional_form),
        right(one_sample_at_a_time),
    ),
    hints=(
        "Write down the log-density of x given x0 and take its gradient: which way does it point?",
        "How large is the target where sigma is small? The weight must undo the square of that.",
        "Give sigma the shape (B, 1, ..., 1) before it meets the data, and average over all axes but the first.",
    ),
    source="Vincent 2011, section 4.3; Song & Ermon 2019, equations 5 and 6",
    tables=("sigma",),
    like="x0",
)
