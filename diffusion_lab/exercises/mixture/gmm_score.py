"""gmm_score: the exact score of a noisy Gaussian mixture."""

import torch
from torch import Tensor

from diffusion_lab.exercises.mixture.responsibilities import _distance, _noisy, far_away, levels, mixture
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def gmm_score(x: Tensor, alpha_bar_t: Tensor, weights: Tensor, means: Tensor, covs: Tensor) -> Tensor:
    """The gradient of the log-density of noisy mixture data.

    Args:
        x: (B, D), at the level alpha_bar_t: sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise.
        alpha_bar_t: (B,), in [0, 1], a level for each sample.
        weights: (K,), positive, with the sum 1.
        means: (K, D), of the clean data.
        covs: (K, D, D), of the clean data, with positive eigenvalues.
        All but x can be float64 where x is float32.

    Returns:
        (B, D), of the dtype of x.
    """
    weights, means, covs = (value.to(x.dtype) for value in (weights, means, covs))
    kept = alpha_bar_t.to(x.dtype).reshape(-1, 1, 1, 1)
    cov = kept * covs + (1 - kept) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)  # (B, K, D, D)
    away = x.unsqueeze(1) - kept.squeeze(-1).sqrt() * means  # (B, K, D)
    pull = -torch.linalg.solve(cov, away.unsqueeze(-1)).squeeze(-1)  # (B, K, D), each component's own score
    share = torch.softmax(weights.log() + ((away * pull).sum(dim=-1) - torch.logdet(cov)) / 2, dim=1)  # (B, K)
    return (share.unsqueeze(-1) * pull).sum(dim=1)


def _scores(away, cov):
    return -torch.linalg.solve(cov, away.unsqueeze(-1)).squeeze(-1)


def _share(away, cov, weights):
    return torch.softmax(weights.to(away.dtype).log() - (_distance(away, cov) + torch.logdet(cov)) / 2, dim=1)


def _average(share, scores):
    return (share.unsqueeze(-1) * scores).sum(dim=1)


def prior_weights(x, alpha_bar_t, weights, means, covs):
    """The components' scores were averaged by the mixture's weights. Each component counts by how likely x came from
    it: by its responsibility at x."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    return _average(weights, _scores(away, cov))


def plain_sum(x, alpha_bar_t, weights, means, covs):
    """The scores of all components were added up. The score is their average, weighted by the responsibilities."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    return _scores(away, cov).sum(dim=1)


def likeliest_alone(x, alpha_bar_t, weights, means, covs):
    """Only the likeliest component counts here, so that the score jumps between the modes. All of them count, each by
    its responsibility."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    share = _share(away, cov, weights)
    return _average(torch.nn.functional.one_hot(share.argmax(dim=1), share.shape[1]).to(x), _scores(away, cov))


def away_from_the_modes(x, alpha_bar_t, weights, means, covs):
    """The sign is turned around: this leads away from the modes. The score points to where the density grows."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    return -_average(_share(away, cov, weights), _scores(away, cov))


def clean_covariances(x, alpha_bar_t, weights, means, covs):
    """These are the covariances of the clean data. x is noisy: its components are shrunk, and widened by the noise."""
    away, _ = _noisy(x, alpha_bar_t, means, covs)
    cov = covs.expand(len(x), *covs.shape)
    return _average(_share(away, cov, weights), _scores(away, cov))


def clean_means(x, alpha_bar_t, weights, means, covs):
    """These are the means of the clean data. The mean of x is shrunk by the same factor as the data in it."""
    _, cov = _noisy(x, alpha_bar_t, means, covs)
    away = x.unsqueeze(1) - means
    return _average(_share(away, cov, weights), _scores(away, cov))


def one_over_every_entry(x, alpha_bar_t, weights, means, covs):
    """Each entry of the covariance was inverted on its own. The inverse of a matrix is another thing wherever entries
    are correlated: solve the linear system."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    scores = -((1 / cov) @ away.unsqueeze(-1)).squeeze(-1)
    return _average(_share(away, cov, weights), scores)


def not_divided_by_the_covariance(x, alpha_bar_t, weights, means, covs):
    """These are the ways to the means alone. A narrow component pulls more strongly: its score is divided by its
    covariance."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    return _average(_share(away, cov, weights), -away)


def densities_that_vanish(x, alpha_bar_t, weights, means, covs):
    """Far from all modes every density is rounded to 0, and 0 / 0 is not a number. Take the responsibilities from
    logarithms."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    density = weights * torch.exp(-_distance(away, cov) / 2) / torch.linalg.det(cov).sqrt()
    return _average(density / density.sum(dim=1, keepdim=True), _scores(away, cov))


def no_determinant(x, alpha_bar_t, weights, means, covs):
    """In the responsibilities the log-determinant of the covariance is missing. A wide component has a lower peak than
    a narrow one, and without the determinant both have the same height."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    return _average(torch.softmax(weights.log() - _distance(away, cov) / 2, dim=1), _scores(away, cov))


def whole_log_determinant(x, alpha_bar_t, weights, means, covs):
    """In the responsibilities the log-determinant counts only half. The density is divided by the square root of the
    determinant."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    share = torch.softmax(weights.log() - _distance(away, cov) / 2 - torch.logdet(cov), dim=1)
    return _average(share, _scores(away, cov))


def no_weights(x, alpha_bar_t, weights, means, covs):
    """The weights of the mixture were left out of the responsibilities. Where the components overlap, the one that
    occurs more often is the more likely origin (Bayes)."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    share = torch.softmax(-(_distance(away, cov) + torch.logdet(cov)) / 2, dim=1)
    return _average(share, _scores(away, cov))


def weights_without_logarithm(x, alpha_bar_t, weights, means, covs):
    """The weights were added to log-densities as they are. The weights multiply densities; among logarithms, their
    logarithms are added."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    share = torch.softmax(weights - (_distance(away, cov) + torch.logdet(cov)) / 2, dim=1)
    return _average(share, _scores(away, cov))


def no_half(x, alpha_bar_t, weights, means, covs):
    """In the responsibilities the distance counts in full. The exponent of a normal density is minus half of the
    squared distance."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    share = torch.softmax(weights.log() - _distance(away, cov) - torch.logdet(cov) / 2, dim=1)
    return _average(share, _scores(away, cov))


def variances_alone(x, alpha_bar_t, weights, means, covs):
    """Only the diagonals of the covariances were used. In correlated data, where one coordinate is says where the other
    one should be."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    cov = torch.diag_embed(torch.diagonal(cov, dim1=-2, dim2=-1))
    return _average(_share(away, cov, weights), _scores(away, cov))


def noise_in_every_entry(x, alpha_bar_t, weights, means, covs):
    """1 - alpha_bar was added to every entry of the covariances. The noise of one coordinate knows nothing of the
    other's: it belongs on the diagonal."""
    kept = alpha_bar_t.reshape(-1, 1, 1, 1)
    away, _ = _noisy(x, alpha_bar_t, means, covs)
    cov = kept * covs + 1 - kept
    return _average(_share(away, cov, weights), _scores(away, cov))


def mean_scaled_without_the_root(x, alpha_bar_t, weights, means, covs):
    """The means were multiplied by alpha_bar. The data in x have the factor sqrt(alpha_bar), and so have their
    means."""
    _, cov = _noisy(x, alpha_bar_t, means, covs)
    away = x.unsqueeze(1) - alpha_bar_t.reshape(-1, 1, 1) * means
    return _average(_share(away, cov, weights), _scores(away, cov))


def components_of_the_clean_data(x, alpha_bar_t, weights, means, covs):
    """The responsibilities are right, and the pull of each component is that of the clean data. Noise shrinks its mean
    and widens its covariance: both stand in the formula as they are at this level."""
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    clean = (covs.to(x.dtype) + torch.zeros_like(cov)).contiguous()
    return _average(_share(away, cov, weights), _scores(x.unsqueeze(1) - means.to(x.dtype), clean))


def by_autograd(x, alpha_bar_t, weights, means, covs):
    x = x.detach().clone().requires_grad_()
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    log_density = (weights.to(x.dtype).log() - (_distance(away, cov) + torch.logdet(cov)) / 2).logsumexp(dim=1)
    return torch.autograd.grad(log_density.sum(), x)[0]


def one_sample_at_a_time(x, alpha_bar_t, weights, means, covs):
    alpha_bar_t, weights, means, covs = (a.to(x.dtype) for a in (alpha_bar_t, weights, means, covs))
    rows = []
    for point, kept in zip(x, alpha_bar_t, strict=True):
        logs, scores = [], []
        for weight, mean, cov in zip(weights, means, covs, strict=True):
            inverse = torch.linalg.inv(kept * cov + (1 - kept) * torch.eye(len(point), dtype=x.dtype))
            away = point - kept.sqrt() * mean
            logs.append(weight.log() - 0.5 * (away @ inverse @ away - torch.logdet(inverse)))
            scores.append(-inverse @ away)
        share = torch.softmax(torch.stack(logs), dim=0)
        rows.append(sum(s * v for s, v in zip(share, scores, strict=True)))
    return torch.stack(rows)


def einsum(x, alpha_bar_t, weights, means, covs):
    away, cov = _noisy(x, alpha_bar_t, means, covs)
    precision = torch.linalg.inv(cov)
    return -torch.einsum("bk,bkde,bke->bd", _share(away, cov, weights), precision, away)


def float64_inside(x, alpha_bar_t, weights, means, covs):
    values, axes = torch.linalg.eigh(covs.double())
    kept = alpha_bar_t.double()[:, None, None]
    variance = kept * values + 1 - kept
    z = torch.einsum("bkd,kde->bke", x.double()[:, None] - kept.sqrt() * means.double(), axes)
    share = torch.softmax(weights.double().log() - (z**2 / variance + variance.log()).sum(-1) / 2, dim=1)
    return -torch.einsum("bk,bke,kde->bd", share, z / variance, axes).to(x.dtype)


def cases(draw: Draw):
    n = draw.integer(2, 4)
    for label, batch, components, dimensions in (
        ("points in the plane", draw.integer(6, 9), 3, 2),
        ("more dimensions", draw.integer(5, 8), draw.integer(2, 4), draw.integer(3, 4)),
        ("one sample", 1, draw.integer(3, 5), 2),
        ("one component", draw.integer(4, 6), 1, 3),
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


def gradient_of_the_density(piece, draw: Draw):
    """Autograd of PyTorch's own log-density of a mixture."""
    weights, means, covs = mixture(draw, 3, 2)
    kept, x = draw.uniform(6, low=0.1, high=0.9), draw.normal(6, 2).requires_grad_()
    level = kept[:, None, None, None]
    parts = torch.distributions.MultivariateNormal(
        kept[:, None, None].sqrt() * means, level * covs + (1 - level) * torch.eye(2, dtype=torch.float64)
    )
    which = torch.distributions.Categorical(weights.expand(6, 3))
    log_density = torch.distributions.MixtureSameFamily(which, parts).log_prob(x)
    (wanted,) = torch.autograd.grad(log_density.sum(), x)
    worst = float((piece(x.detach(), kept, weights, means, covs) - wanted).abs().max())
    if worst < 1e-5:
        return None
    return f"the gradient of the log-density, by autograd, differs from yours by up to {worst:.3g}"


def pure_noise(piece, draw: Draw):
    """At alpha_bar = 0 all components are N(0, I), whose score is -x."""
    x = draw.normal(5, 3)
    found = piece(x, torch.zeros(5, dtype=torch.float64), *mixture(draw, 4, 3))
    worst = float((found + x).abs().max())
    return None if worst < 1e-5 else f"in pure noise (alpha_bar = 0) the score is -x, and yours is off by {worst:.3g}"


EXERCISE = Exercise(
    chapter="mixture",
    kind="data",
    title="The exact score of many modes",
    statement=r"""
The network of this chapter learns a score that can be written down. With $m_k$, $C_k$ and the responsibilities $r_k$ of
the noisy components as before,

$$
\begin{aligned}
&\nabla_x \log p_t(x) \\
&\quad = - \sum_k r_k(x)\; C_k^{-1} (x - m_k).
\end{aligned}
$$

Each component pulls towards its own mean, and counts by how likely $x$ came from it. You can use your
`responsibilities`. This is what a learned score is compared with in the pictures.
""",
    reference=gmm_score,
    parts={"values": 4, "far away": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("the gradient of the log-density", gradient_of_the_density),
        Property("the score of pure noise", pure_noise),
    ),
    wrong_answers=(
        wrong(prior_weights),
        wrong(plain_sum),
        wrong(likeliest_alone),
        wrong(away_from_the_modes),
        wrong(clean_covariances),
        wrong(clean_means),
        wrong(one_over_every_entry),
        wrong(not_divided_by_the_covariance),
        wrong(densities_that_vanish),
        wrong(no_determinant),
        wrong(whole_log_determinant),
        wrong(no_weights),
        wrong(weights_without_logarithm),
        wrong(no_half),
        wrong(variances_alone),
        wrong(noise_in_every_entry),
        wrong(mean_scaled_without_the_root),
        wrong(components_of_the_clean_data),
    ),
    right_answers=(right(by_autograd), right(one_sample_at_a_time), right(einsum), right(float64_inside)),
    hints=(
        "What is the score of a single normal distribution?",
        "Take the gradient of log sum_k exp(l_k): which weights do the gradients of the l_k get?",
        "`torch.linalg.solve` divides by a whole batch of matrices.",
    ),
    source='Bishop 2006, section 9.2; at a noise level as in Song et al. 2021, "Score-based generative modeling"',
    tables=("alpha_bar_t", "weights", "means", "covs"),
    like="x",
)
