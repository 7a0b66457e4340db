"""ideal_denoiser: what a network would be that had learned its training data perfectly."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def ideal_denoiser(x: Tensor, sigma: float | Tensor, data: Tensor) -> Tensor:
    """The mean of all training points that could have become x, E[x0 | x] for x = x0 + sigma eps.

    Args:
        x: (B, *S), noisy; S has at least one axis.
        sigma: the standard deviation of the noise, positive: one number, or (B,) with one for each sample.
        data: (N, *S), the training points, all equally likely.

    Returns:
        (B, *S).
    """
    sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1)  # (B, 1) or (1, 1)
    squares = (x.unsqueeze(1) - data.unsqueeze(0)).flatten(2).square().sum(dim=2)  # (B, N)
    weights = torch.softmax(-squares / (2 * sigma**2), dim=1)
    return (weights @ data.flatten(1)).reshape(x.shape)


def _squares(x, data):
    return (x.unsqueeze(1) - data.unsqueeze(0)).flatten(2).square().sum(dim=2)


def _column(sigma, x):
    return torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1)


def _mean(logits, x, data, dim=1):
    return (torch.softmax(logits, dim=dim) @ data.flatten(1)).reshape(x.shape)


def softmax_over_the_batch(x, sigma, data):
    """The weights add up to 1 over the batch. They are the probabilities of the training points for one x, so they must
    add up over those."""
    return _mean(-_squares(x, data) / (2 * _column(sigma, x) ** 2), x, data, dim=0)


def missing_factor_two(x, sigma, data):
    """The squared distance was divided by sigma^2. Look at the exponent of a normal density again."""
    return _mean(-_squares(x, data) / _column(sigma, x) ** 2, x, data)


def sigma_not_squared(x, sigma, data):
    """sigma is a standard deviation. In the exponent of a normal density stands the variance."""
    return _mean(-_squares(x, data) / (2 * _column(sigma, x)), x, data)


def distance_not_squared(x, sigma, data):
    """The distance is not squared. Normal noise makes far points very much less likely, by the square of the
    distance."""
    return _mean(-_squares(x, data).sqrt() / (2 * _column(sigma, x) ** 2), x, data)


def far_points_preferred(x, sigma, data):
    """The sign of the exponent is missing: the farthest point gets the most weight. Small noise is more likely than
    large noise."""
    return _mean(_squares(x, data) / (2 * _column(sigma, x) ** 2), x, data)


def mean_over_entries(x, sigma, data):
    """The squares were averaged over the entries of a sample. The noises of the entries are independent, so their
    log-densities add up."""
    return _mean(-_squares(x, data) / x[0].numel() / (2 * _column(sigma, x) ** 2), x, data)


def weights_not_normalised(x, sigma, data):
    """The weights do not add up to 1. They are probabilities: divide by their sum over the training points."""
    weights = torch.exp(-_squares(x, data) / (2 * _column(sigma, x) ** 2))
    return (weights @ data.flatten(1)).reshape(x.shape)


def multiplied_by_the_variance(x, sigma, data):
    """The squared distances were multiplied by the variance. The more noise, the more points are possible: divide by
    it."""
    return _mean(-_squares(x, data) * (2 * _column(sigma, x) ** 2), x, data)


def dot_products(x, sigma, data):
    """Only the dot products of x and the training points count here, so that long vectors win. The squared distance
    holds the points' own lengths too."""
    return _mean(x.flatten(1) @ data.flatten(1).T / _column(sigma, x) ** 2, x, data)


def sum_of_absolute_differences(x, sigma, data):
    """The distance adds up absolute differences. Normal noise has the same density in every direction: take the sum of
    squares."""
    far = (x.unsqueeze(1) - data.unsqueeze(0)).flatten(2).abs().sum(dim=2)
    return _mean(-far.square() / (2 * _column(sigma, x) ** 2), x, data)


def mean_of_all_points(x, sigma, data):
    """This is the mean of all training points, the best guess where nothing is known of x. x tells which of them are
    likely."""
    return data.mean(dim=0).expand(x.shape).clone()


def noise_for_the_data(x, sigma, data):
    """This is the noise, (x - x0) / sigma. Return the clean x0."""
    size = _column(sigma, x).reshape(-1, *[1] * (x.ndim - 1))
    return (x - _mean(-_squares(x, data) / (2 * _column(sigma, x) ** 2), x, data)) / size


def score_for_the_data(x, sigma, data):
    """This is the score, (x0 - x) / sigma^2. Return the clean x0."""
    size = _column(sigma, x).reshape(-1, *[1] * (x.ndim - 1))
    return (_mean(-_squares(x, data) / (2 * _column(sigma, x) ** 2), x, data) - x) / size**2


def mean_sigma_for_all(x, sigma, data):
    """Every sample got the mean of the sigmas. Where sigma is (B,), each sample has its own."""
    return _mean(-_squares(x, data) / (2 * _column(sigma, x).mean() ** 2), x, data)


def overflowing_exponentials(x, sigma, data):
    """Far from all data every exponential is 0, and 0 / 0 is no number. Weights do not change when the same is added to
    all exponents: use that, or a function that does."""
    weights = torch.exp(-_squares(x, data) / (2 * _column(sigma, x) ** 2))
    return (weights / weights.sum(dim=1, keepdim=True) @ data.flatten(1)).reshape(x.shape)


def only_one_sigma(x, sigma, data):
    """A sigma for each sample does not work: of shape (B,) it was lined up with the training points. It belongs to the
    axis of the batch."""
    return _mean(-_squares(x, data) / (2 * sigma**2), x, data)


def first_sigma_for_all(x, sigma, data):
    """Every sample got the sigma of the first one. Where sigma is (B,), each sample has its own."""
    return _mean(-_squares(x, data) / (2 * _column(sigma, x)[0] ** 2), x, data)


def nearest_point_alone(x, sigma, data):
    """This is the nearest training point. The best guess is the mean of all that are possible, and the noise says how
    far away they may be."""
    return data[_squares(x, data).argmin(dim=1)]


def something_added_to_the_sum(x, sigma, data):
    """A little was added to the sum of the weights, against 0 / 0. Far from all data the weights are smaller than that,
    and the answer is 0. Weights do not change when the same is added to all exponents: use that, or a function that
    does."""
    weights = torch.exp(-_squares(x, data) / (2 * _column(sigma, x) ** 2))
    weights = weights / (weights.sum(dim=1, keepdim=True) + 1e-12)
    return torch.tensordot(weights, data, dims=1)


def one_sample_at_a_time(x, sigma, data):
    sigmas = sigma if isinstance(sigma, torch.Tensor) else [sigma] * len(x)
    rows = []
    for noisy, s in zip(x, sigmas, strict=True):
        exponent = torch.stack([-((noisy - point) ** 2).sum() / (2 * s**2) for point in data])
        weights = (exponent - exponent.max()).exp()
        rows.append(sum(w * point for w, point in zip(weights / weights.sum(), data, strict=True)))
    return torch.stack(rows)


def distances_of_the_library(x, sigma, data):
    scaled = torch.cdist(x.reshape(len(x), -1), data.reshape(len(data), -1)) / _column(sigma, x)
    log_weights = (-0.5 * scaled**2).log_softmax(dim=-1)
    return torch.einsum("bn,n...->b...", log_weights.exp(), data)


def by_logsumexp(x, sigma, data):
    exponent = -_squares(x, data) * 0.5 * _column(sigma, x) ** -2.0
    weights = torch.exp(exponent - torch.logsumexp(exponent, dim=1, keepdim=True))
    return torch.tensordot(weights, data, dims=1)


def through_numpy(x, sigma, data):
    import numpy as np

    flat, points = x.numpy().reshape(len(x), 1, -1), data.numpy().reshape(1, len(data), -1)
    exponent = -((flat - points) ** 2).sum(axis=2) / (2 * np.asarray(sigma).reshape(-1, 1) ** 2)
    weights = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return torch.from_numpy(weights / weights.sum(axis=1, keepdims=True) @ points[0]).to(x).reshape(x.shape)


def float64_inside(x, sigma, data):
    fine, points = x.double(), data.double()
    return _mean(-_squares(fine, points) / (2 * _column(sigma, fine) ** 2), fine, points).to(x.dtype)


def _sigma(draw: Draw, low: float, high: float) -> float:
    """A number that float32 holds exactly, so that it does not matter in which dtype a tensor is made of it."""
    return round(draw.number(low, high) * 256) / 256


def cases(draw: Draw):
    for shape in draw.shapes():
        size = torch.Size(shape[1:]).numel()
        # Distances grow with the number of entries; so does the noise at which several points are possible.
        scale = size**0.25
        square = len(set(shape)) == 1
        points = shape[0] if square else draw.integer(7, 12)
        label = "every size equal" if square else "data of this shape"
        x, data = draw.normal(*shape), draw.normal(points, *shape[1:])
        yield Case(f"{label}, one sigma", (x, _sigma(draw, 0.6 * scale, 1.2 * scale), data))
        x, data = draw.normal(*shape), draw.normal(points, *shape[1:])
        sigma = draw.uniform(shape[0], low=0.5, high=1.3) * scale
        yield Case(f"{label}, a sigma for each sample", (x, sigma, data), "a sigma for each sample")
    batch, points, dim = draw.integer(3, 5), draw.integer(6, 9), draw.integer(2, 3)
    x, data = 8 + draw.normal(batch, dim), draw.normal(points, dim)
    yield Case("little noise, far from all data", (x, _sigma(draw, 0.05, 0.1), data), "far from the data")


def tweedie(piece, draw: Draw):
    """x + sigma^2 times the gradient of the log-density of the noisy training set, by autograd."""
    batch, points, dim = draw.integer(3, 5), draw.integer(6, 9), draw.integer(2, 3)
    x, data, sigma = draw.normal(batch, dim), draw.normal(points, dim), _sigma(draw, 0.4, 1)
    with torch.enable_grad():
        point = x.clone().requires_grad_()
        kernels = torch.distributions.Independent(torch.distributions.Normal(data, sigma), 1)
        density = kernels.log_prob(point.unsqueeze(1)).exp().mean(dim=1)
        (score,) = torch.autograd.grad(density.log().sum(), point)
    worst = float((piece(x, sigma, data) - (x + sigma**2 * score)).abs().max())
    if not worst < 1e-9:
        return f"x + sigma^2 grad log p(x), with the gradient by autograd, differs from yours by {worst:.3g}"
    return None


EXERCISE = Exercise(
    chapter="spiral",
    kind="data",
    title="The network that learned everything",
    statement=r"""
Which network has the smallest loss on $N$ training points $y_1, \dots, y_N$? It needs no training. For
$x = x_0 + \sigma \varepsilon$ with $x_0$ one of these points, Bayes' rule gives each of them a probability, and the
best estimate is their mean:

$$
\begin{gathered}
D(x, \sigma) = \sum_n w_n\, y_n, \quad \sum_n w_n = 1, \\
w_n \propto \exp\left( -\frac{\lVert x - y_n \rVert^2}{2 \sigma^2} \right).
\end{gathered}
$$

`sigma` is one number, or holds one for each sample of the batch. Far from all data every exponential is 0 in the
computer's arithmetic: the weights must not become $0 / 0$.

Why: this is the truth to compare a network with. It is a warning too: its samples are training points.
""",
    reference=ideal_denoiser,
    parts={"values": 3, "a sigma for each sample": 2, "far from the data": 1, CARE: 1},
    cases=cases,
    properties=(Property("Tweedie's formula, by autograd", tweedie),),
    wrong_answers=(
        wrong(softmax_over_the_batch),
        wrong(missing_factor_two),
        wrong(sigma_not_squared),
        wrong(distance_not_squared),
        wrong(far_points_preferred),
        wrong(mean_over_entries),
        wrong(weights_not_normalised),
        wrong(multiplied_by_the_variance),
        wrong(dot_products),
        wrong(sum_of_absolute_differences),
        wrong(mean_of_all_points),
        wrong(noise_for_the_data),
        wrong(score_for_the_data),
        wrong(mean_sigma_for_all),
        wrong(overflowing_exponentials),
        wrong(only_one_sigma),
        wrong(first_sigma_for_all),
        wrong(nearest_point_alone),
        wrong(something_added_to_the_sum),
    ),
    right_answers=(
        right(one_sample_at_a_time),
        right(distances_of_the_library),
        right(by_logsumexp),
        right(through_numpy),
        right(float64_inside),
    ),
    hints=(
        "Make a table (B, N) of squared distances first.",
        "Weights that add up to 1 and never overflow: which function makes them?",
    ),
    source="Karras et al. 2022, appendix B.3, equation 57",
)
