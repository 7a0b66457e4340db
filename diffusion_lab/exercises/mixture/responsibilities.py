"""responsibilities: which mode a noisy sample came from."""

import math

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong

CLEAR = 30.0
"""By how much, in log density, one component is likelier than all others: what is left to them no check can see."""


def responsibilities(x: Tensor, alpha_bar_t: Tensor, weights: Tensor, means: Tensor, covs: Tensor) -> Tensor:
    """The probability of each component of a Gaussian mixture, given the noisy x.

    Args:
        x: (B, D), at the level alpha_bar_t: sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise.
        alpha_bar_t: (B,), in [0, 1], a level for each sample.
        weights: (K,), positive, with the sum 1.
        means: (K, D), of the clean data.
        covs: (K, D, D), of the clean data, with positive eigenvalues.
        All but x can be float64 where x is float32.

    Returns:
        (B, K), of the dtype of x, not negative, with the sum 1 over the components.
    """
    weights, means, covs = (value.to(x.dtype) for value in (weights, means, covs))
    kept = alpha_bar_t.to(x.dtype).reshape(-1, 1, 1, 1)
    cov = kept * covs + (1 - kept) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)  # (B, K, D, D)
    away = x.unsqueeze(1) - kept.squeeze(-1).sqrt() * means  # (B, K, D)
    distance = (away * torch.linalg.solve(cov, away.unsqueeze(-1)).squeeze(-1)).sum(dim=-1)  # (B, K)
    return torch.softmax(weights.log() - (distance + torch.logdet(cov)) / 2, dim=1)


def _noisy(x, alpha_bar_t, means, covs):
    """away (B, K, D) and cov (B, K, D, D) of the components at this level."""
    kept = alpha_bar_t.to(x.dtype).reshape(-1, 1, 1, 1)
    cov = kept * covs.to(x.dtype) + (1 - kept) * torch.eye(x.shape[1], dtype=x.dtype)
    return x.unsqueeze(1) - kept.squeeze(-1).sqrt() * means.to(x.dtype), cov


def _distance(away, cov):
    return (away * torch.linalg.solve(cov, away.unsqueeze(-1)).squeeze(-1)).sum(dim=-1)


def no_determinant(x, alpha_bar_t, weights, means, covs):
    """The log-determinant of the covariance is missing. A wide component has a lower peak than a narrow one, and
    without the determinant both have the same height."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    return torch.softmax(weights.log() - _distance(away, cov) / 2, dim=1)


def whole_log_determinant(x, alpha_bar_t, weights, means, covs):
    """The log-determinant counts only half. The density is divided by the square root of the determinant."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    return torch.softmax(weights.log() - _distance(away, cov) / 2 - torch.logdet(cov), dim=1)


def no_weights(x, alpha_bar_t, weights, means, covs):
    """The weights of the mixture were left out. Where the components overlap, the one that occurs more often is the
    more likely origin (Bayes)."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    return torch.softmax(-(_distance(away, cov) + torch.logdet(cov)) / 2, dim=1)


def weights_without_logarithm(x, alpha_bar_t, weights, means, covs):
    """The weights were added to log-densities as they are. The weights multiply densities; among logarithms, their
    logarithms are added."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    return torch.softmax(weights - (_distance(away, cov) + torch.logdet(cov)) / 2, dim=1)


def softmax_over_the_batch(x, alpha_bar_t, weights, means, covs):
    """The softmax went over the samples. What must sum to 1 are the components of one sample, not one component's share
    of the batch."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    return torch.softmax(weights.log() - (_distance(away, cov) + torch.logdet(cov)) / 2, dim=0)


def densities_that_vanish(x, alpha_bar_t, weights, means, covs):
    """Far from all modes every density is rounded to 0, and 0 / 0 is not a number. Stay with logarithms until the
    largest one has been taken off: a softmax does that."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    density = weights * torch.exp(-_distance(away, cov) / 2) / torch.linalg.det(cov).sqrt()
    return density / density.sum(dim=1, keepdim=True)


def clean_covariances(x, alpha_bar_t, weights, means, covs):
    """These are the covariances of the clean data. x is noisy: its components are shrunk, and widened by the noise."""
    away, _ = _noisy(x, alpha_bar_t, means, covs)
    cov = covs.expand(len(x), *covs.shape)
    return torch.softmax(weights.log() - (_distance(away, cov) + torch.logdet(cov)) / 2, dim=1)


def clean_means(x, alpha_bar_t, weights, means, covs):
    """These are the means of the clean data. The mean of x is shrunk by the same factor as the data in it."""
    _, cov = _noisy(x, alpha_bar_t, means, covs)
    away = x.unsqueeze(1) - means
    return torch.softmax(weights.log() - (_distance(away, cov) + torch.logdet(cov)) / 2, dim=1)


def no_half(x, alpha_bar_t, weights, means, covs):
    """The distance counts in full. The exponent of a normal density is minus half of the squared distance."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    return torch.softmax(weights.log() - _distance(away, cov) - torch.logdet(cov) / 2, dim=1)


def variances_alone(x, alpha_bar_t, weights, means, covs):
    """Only the diagonals of the covariances were used. Correlated entries must be measured along the axes of the whole
    matrix."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    variance = torch.diagonal(cov, dim1=-2, dim2=-1)
    return torch.softmax(weights.log() - ((away**2 / variance) + variance.log()).sum(dim=-1) / 2, dim=1)


def mean_scaled_without_the_root(x, alpha_bar_t, weights, means, covs):
    """The means were multiplied by alpha_bar. The data in x have the factor sqrt(alpha_bar), and so have their
    means."""
    kept = alpha_bar_t.reshape(-1, 1, 1)
    _, cov = _noisy(x, alpha_bar_t, means, covs)
    away = x.unsqueeze(1) - kept * means
    return torch.softmax(weights.log() - (_distance(away, cov) + torch.logdet(cov)) / 2, dim=1)


def noise_left_out(x, alpha_bar_t, weights, means, covs):
    """The covariances of x lack the noise. To alpha_bar times those of the data comes 1 - alpha_bar on the diagonal."""
    kept = alpha_bar_t.reshape(-1, 1, 1, 1)
    away, _ = _noisy(x, alpha_bar_t, means, covs)
    cov = kept * covs
    return torch.softmax(weights.log() - (_distance(away, cov) + torch.logdet(cov)) / 2, dim=1)


def noise_in_every_entry(x, alpha_bar_t, weights, means, covs):
    """1 - alpha_bar was added to every entry of the covariances. The noise of one coordinate knows nothing of the
    other's: it belongs on the diagonal."""
    kept = alpha_bar_t.reshape(-1, 1, 1, 1)
    away, _ = _noisy(x, alpha_bar_t, means, covs)
    cov = kept * covs + 1 - kept
    return torch.softmax(weights.log() - (_distance(away, cov) + torch.logdet(cov)) / 2, dim=1)


def distances_alone(x, alpha_bar_t, weights, means, covs):
    """Only the distance to the means was looked at. A wide component reaches further than a narrow one: the distance is
    measured with the inverse of its covariance."""
    away, _ = _noisy(x, alpha_bar_t, means, covs)
    return torch.softmax(weights.log() - away.square().sum(dim=-1) / 2, dim=1)


def logarithms_of_the_shares(x, alpha_bar_t, weights, means, covs):
    """These are the logarithms of the probabilities. Take the exponential, or `softmax` in place of `log_softmax`."""
    return responsibilities(x, alpha_bar_t, weights, means, covs).log()


def shares_not_normalised(x, alpha_bar_t, weights, means, covs):
    """These are the weighted densities, which do not add up to 1. Bayes' rule divides by their sum over the
    components."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    return weights * torch.distributions.MultivariateNormal(torch.zeros_like(away), cov).log_prob(away).exp()


def something_added_to_the_sum(x, alpha_bar_t, weights, means, covs):
    """A little was added to the sum below, against 0 / 0. Far from all modes the densities are smaller than that, and
    the answer is 0 where it should add up to 1. Stay with logarithms until the largest one has been taken off."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    density = weights * torch.exp(-_distance(away, cov) / 2) / torch.det(cov).sqrt()
    return density / (density.sum(dim=1, keepdim=True) + 1e-12)


def distributions(x, alpha_bar_t, weights, means, covs):
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    joint = torch.distributions.MultivariateNormal(torch.zeros_like(away), cov).log_prob(away) + weights.log()
    return (joint - joint.logsumexp(dim=1, keepdim=True)).exp().to(x.dtype)


def one_sample_at_a_time(x, alpha_bar_t, weights, means, covs):
    alpha_bar_t, weights, means, covs = (a.to(x.dtype) for a in (alpha_bar_t, weights, means, covs))
    rows = []
    for point, kept in zip(x, alpha_bar_t, strict=True):
        logs = []
        for weight, mean, cov in zip(weights, means, covs, strict=True):
            noisy = kept * cov + (1 - kept) * torch.eye(len(point), dtype=x.dtype)
            away = point - kept.sqrt() * mean
            logs.append(weight.log() - 0.5 * (away @ torch.linalg.inv(noisy) @ away + torch.linalg.slogdet(noisy)[1]))
        rows.append(torch.softmax(torch.stack(logs), dim=0))
    return torch.stack(rows)


def cholesky(x, alpha_bar_t, weights, means, covs):
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    root = torch.linalg.cholesky(cov)
    white = torch.linalg.solve_triangular(root, away.unsqueeze(-1), upper=False).squeeze(-1)
    logs = weights.log() - white.square().sum(-1) / 2 - torch.diagonal(root, dim1=-2, dim2=-1).log().sum(-1)
    shares = (logs - logs.amax(dim=1, keepdim=True)).exp()
    return (shares / shares.sum(dim=1, keepdim=True)).to(x.dtype)


def float64_inside(x, alpha_bar_t, weights, means, covs):
    values, axes = torch.linalg.eigh(covs.double())
    kept = alpha_bar_t.double()[:, None, None]
    variance = kept * values + 1 - kept
    z = torch.einsum("bkd,kde->bke", x.double()[:, None] - kept.sqrt() * means.double(), axes)
    logs = weights.double().log() - (z**2 / variance + variance.log()).sum(-1) / 2
    return torch.softmax(logs, dim=1).to(x.dtype)


def mixture(draw: Draw, components: int, dimensions: int):
    """weights (K,), means (K, D) and covs (K, D, D), the covariances of very different size."""
    shares = draw.uniform(components, low=0.1, high=1.0)
    sizes = 4.0 ** draw.uniform(components, 1, 1, low=-1.0, high=1.0)
    covs = torch.stack([draw.covariance(dimensions) for _ in range(components)])
    return shares / shares.sum(), 1.5 * draw.normal(components, dimensions), sizes * covs


def levels(draw: Draw, batch: int):
    """alpha_bar (B,); with three samples or more also clean data and pure noise."""
    kept = draw.uniform(batch, low=0.1, high=0.9)
    if batch > 2:
        kept[0], kept[1] = 1.0, 0.0
    return kept


def far_away(draw: Draw) -> tuple[Tensor, ...]:
    """Arguments with points of the plane, 250 from its middle, at each of which one of the components is the likeliest.

    Two that are as likely have distances of thousands, and what float32 rounds off these decides between them: such a
    point is turned around the middle, a little at a time.
    """
    batch = draw.integer(3, 5)
    direction = torch.nn.functional.normalize(draw.normal(batch, 2), dim=1)
    kept, (weights, means, covs) = draw.uniform(batch, low=0.2, high=0.8), mixture(draw, 3, 2)
    angle = torch.tensor(0.1, dtype=torch.float64)
    turn = torch.stack([torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])])
    while True:
        away, cov = _noisy(250 * direction, kept, means, covs)
        likely = (weights.log() - (_distance(away, cov) + torch.logdet(cov)) / 2).topk(2, dim=1).values
        near = likely[:, 0] - likely[:, 1] < CLEAR
        if not near.any():
            return 250 * direction, kept, weights, means, covs
        direction[near] = direction[near] @ turn


def cases(draw: Draw):
    n = draw.integer(2, 4)
    for label, batch, components, dimensions in (
        ("points in the plane", draw.integer(6, 9), 3, 2),
        ("more dimensions", draw.integer(5, 8), draw.integer(2, 4), draw.integer(3, 4)),
        ("one sample", 1, draw.integer(3, 5), 2),
        ("one dimension", draw.integer(4, 6), 3, 1),
        ("every size equal", n, n, n),
    ):
        yield Case(
            label, (1.5 * draw.normal(batch, dimensions), levels(draw, batch), *mixture(draw, components, dimensions))
        )
    yield Case("far from every mode", far_away(draw), "far away")
    weights = torch.tensor([1 - 1e-6, 1e-6], dtype=torch.float64)
    means = torch.tensor([[-2.0], [2.0]], dtype=torch.float64) + draw.normal(1, 1)
    places = means.mean() + torch.tensor([[-1.0], [0.0], [4.0], [9.0]], dtype=torch.float64)
    rare = places, torch.ones(4, dtype=torch.float64), weights, means, torch.ones(2, 1, 1, dtype=torch.float64)
    yield Case("a very rare component, without noise", rare)


def pure_noise_knows_nothing(piece, draw: Draw):
    """At alpha_bar = 0 all components are N(0, I): what is left are the weights."""
    weights, means, covs = mixture(draw, 4, 2)
    found = piece(draw.normal(6, 2), torch.zeros(6, dtype=torch.float64), weights, means, covs)
    worst = float((found - weights).abs().max())
    if worst < 1e-5:
        return None
    return f"in pure noise (alpha_bar = 0) the answer is the weights for every x, and yours are off by {worst:.3g}"


def halfway_between_equals(piece, draw: Draw):
    """Two components that differ in the mean alone: the answer is a logistic function, 1/2 halfway for equal
    weights."""
    one, other, cov = draw.normal(3), draw.normal(3), draw.covariance(3)
    means, covs = torch.stack([one, other]), torch.stack([cov, cov])
    kept = draw.uniform(7, low=0.3, high=0.9)
    x = kept[:, None].sqrt() * (one + other) / 2 + draw.normal(7, 3)
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    found = piece(x, kept, weights, means, covs)[:, 0]
    noisy = kept[:, None, None] * cov + (1 - kept[:, None, None]) * torch.eye(3, dtype=torch.float64)
    slope = torch.linalg.solve(noisy, (kept[:, None].sqrt() * (one - other)).unsqueeze(-1)).squeeze(-1)
    wanted = torch.sigmoid((slope * (x - kept[:, None].sqrt() * (one + other) / 2)).sum(dim=1))
    worst = float((found - wanted).abs().max())
    if worst < 1e-5:
        return None
    return (
        "for two components of equal weight and covariance the answer is a logistic function of x, 1/2 halfway between "
        f"the means; yours is off by {worst:.3g}"
    )


def shares_far_away(piece, draw: Draw):
    """In one dimension the odds of two far points are known by hand."""
    place = draw.number(200.0, 400.0)
    weights, means = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([[0.01], [0.0]], dtype=torch.float64)
    found = piece(
        torch.tensor([[place]], dtype=torch.float64),
        torch.ones(1, dtype=torch.float64),
        weights,
        means,
        torch.ones(2, 1, 1, dtype=torch.float64),
    )
    wanted = 1 / (1 + math.exp(-(0.01 * place - 0.01**2 / 2)))
    value = float(found[0, 0])
    if abs(value - wanted) < 1e-4:
        return None
    return (
        f"for N(0.01, 1) and N(0, 1) of equal weight the share of the first at x = {place} is {wanted:.6g}, "
        f"and yours {value:.6g}"
    )


EXERCISE = Exercise(
    chapter="mixture",
    kind="data",
    title="Which mode did it come from?",
    statement=r"""
The data come from a mixture of $K$ normals with weights $w_k$, means $m_k$ and covariances $C_k$. Noise makes
each component a wider normal, so that

$$
\begin{aligned}
r_k(x) &= \frac{w_k\, \mathcal N(x;\ \sqrt{\bar\alpha_t}\, m_k, V_k)}
                {\sum_j w_j\, \mathcal N(x;\ \sqrt{\bar\alpha_t}\, m_j, V_j)}, \\
V_k &= \bar\alpha_t C_k + (1 - \bar\alpha_t) I,
\end{aligned}
$$

is the probability that $x$ came from component $k$. Every sample has its own $\bar\alpha_t$. The answer must be right
far from all modes too, where each density on its own is rounded to zero: sampling starts there.
""",
    reference=responsibilities,
    parts={"values": 4, "far away": 2, CARE: 1},
    cases=cases,
    properties=(
        Property("pure noise knows nothing", pure_noise_knows_nothing),
        Property("two alike give a logistic function", halfway_between_equals),
        Property("odds by hand, far away", shares_far_away, "far away"),
    ),
    wrong_answers=(
        wrong(no_determinant),
        wrong(whole_log_determinant),
        wrong(no_weights),
        wrong(weights_without_logarithm),
        wrong(softmax_over_the_batch),
        wrong(densities_that_vanish),
        wrong(clean_covariances),
        wrong(clean_means),
        wrong(no_half),
        wrong(variances_alone),
        wrong(mean_scaled_without_the_root),
        wrong(noise_left_out),
        wrong(noise_in_every_entry),
        wrong(distances_alone),
        wrong(logarithms_of_the_shares),
        wrong(shares_not_normalised),
        wrong(something_added_to_the_sum),
    ),
    right_answers=(right(distributions), right(one_sample_at_a_time), right(cholesky), right(float64_inside)),
    hints=(
        "Write the logarithm of w_k N(x; m_k, C_k). It has three terms that differ from component to component.",
        "What does a softmax over the components make of logarithms?",
        "Give alpha_bar the shape (B, 1, 1, 1) for the covariances, and x the shape (B, 1, D) for the means.",
    ),
    source="Bishop 2006, equations 2.192 and 9.23, at the level of Ho et al. 2020, equation 4",
    tables=("alpha_bar_t", "weights", "means", "covs"),
    like="x",
)
