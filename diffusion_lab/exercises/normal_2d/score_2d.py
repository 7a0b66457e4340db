"""score_2d: the score where coordinates know about one another."""

import torch
from torch import Tensor

from diffusion_lab.exercises.inputs import near_ends
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def score_2d(x: Tensor, alpha_bar_t: Tensor, mean: Tensor, cov: Tensor) -> Tensor:
    """The gradient of log p_t at x, for data from a correlated normal distribution.

    Args:
        x: (B, 2), noisy data x_t.
        alpha_bar_t: (B,), the level of each sample, in (0, 1).
        mean: (2,), of the clean data.
        cov: (2, 2), covariance of the clean data; it has no inverse where the data lie on a line.
        All but x can be float64 where x is float32.

    Returns:
        (B, 2), of the dtype of x.
    """
    kept = alpha_bar_t.to(x.dtype).reshape(-1, 1, 1)
    noisy_cov = kept * cov.to(x.dtype) + (1 - kept) * torch.eye(2, dtype=x.dtype, device=x.device)  # (B, 2, 2)
    away = x - kept.sqrt().squeeze(-1) * mean.to(x.dtype)
    return -torch.linalg.solve(noisy_cov, away.unsqueeze(-1)).squeeze(-1)


def _noisy_cov(alpha_bar_t, cov):
    kept = alpha_bar_t.reshape(-1, 1, 1)
    return kept * cov + (1 - kept) * torch.eye(2).to(cov)


def _away(x, alpha_bar_t, mean):
    return x - alpha_bar_t.sqrt().reshape(-1, 1) * mean


def _pulled_back(away, cov):
    return -torch.linalg.solve(cov, away.unsqueeze(-1)).squeeze(-1)


def inverse_of_the_clean_covariance(x, alpha_bar_t, mean, cov):
    """The covariance of the clean data was inverted. The noise widens it: the covariance of x_t is the one to
    invert."""
    return _pulled_back(_away(x, alpha_bar_t, mean), cov.expand(len(x), 2, 2))


def noise_left_out(x, alpha_bar_t, mean, cov):
    """The covariance of x_t lacks the noise. To alpha_bar times that of the data comes 1 - alpha_bar on the
    diagonal."""
    return _pulled_back(_away(x, alpha_bar_t, mean), alpha_bar_t.reshape(-1, 1, 1) * cov)


def elementwise_reciprocal(x, alpha_bar_t, mean, cov):
    """Each entry of the covariance was inverted by itself. The inverse of a matrix is another matrix: both coordinates
    have a part in each entry of it."""
    return -torch.einsum("bij,bj->bi", 1 / _noisy_cov(alpha_bar_t, cov), _away(x, alpha_bar_t, mean))


def correlation_ignored(x, alpha_bar_t, mean, cov):
    """Only the diagonal of the covariance was used. With correlated coordinates, where one of them is says where the
    other one should be."""
    return -_away(x, alpha_bar_t, mean) / torch.diagonal(_noisy_cov(alpha_bar_t, cov), dim1=1, dim2=2)


def noise_in_every_entry(x, alpha_bar_t, mean, cov):
    """1 - alpha_bar was added to every entry of the covariance. The noise of one coordinate knows nothing of the
    other's: it belongs on the diagonal."""
    kept = alpha_bar_t.reshape(-1, 1, 1)
    return _pulled_back(_away(x, alpha_bar_t, mean), kept * cov + 1 - kept)


def multiplied_by_the_covariance(x, alpha_bar_t, mean, cov):
    """The deviation was multiplied by the covariance. Its inverse is needed: where the data are narrow, the density
    falls fast."""
    return -torch.einsum("bij,bj->bi", _noisy_cov(alpha_bar_t, cov), _away(x, alpha_bar_t, mean))


def covariance_shrunk_by_the_root(x, alpha_bar_t, mean, cov):
    """The covariance was multiplied by the square root of alpha_bar, as the data are. A covariance is made of products
    of two of them."""
    kept = alpha_bar_t.reshape(-1, 1, 1)
    return _pulled_back(_away(x, alpha_bar_t, mean), kept.sqrt() * cov + (1 - kept) * torch.eye(2).to(cov))


def unscaled_mean(x, alpha_bar_t, mean, cov):
    """x was compared with the mean of the clean data. x_t holds the data times the square root of alpha_bar, and so its
    mean shrinks too."""
    return _pulled_back(x - mean, _noisy_cov(alpha_bar_t, cov))


def wrong_sign(x, alpha_bar_t, mean, cov):
    """The sign is turned around. The score points to where the density is higher, which is towards the mean."""
    return -score_2d(x, alpha_bar_t, mean, cov)


def levels_along_the_last_axis(x, alpha_bar_t, mean, cov):
    """In the mean the (B,) levels met the coordinates. There they need the shape (B, 1), and beside the covariance (B,
    1, 1): one for each sample."""
    return _pulled_back(x - alpha_bar_t.sqrt() * mean, _noisy_cov(alpha_bar_t, cov))


def levels_along_the_covariance(x, alpha_bar_t, mean, cov):
    """In the covariance the (B,) levels met its columns. There they need the shape (B, 1, 1): one for each sample, and
    so a covariance for each sample, (B, 2, 2)."""
    noisy = alpha_bar_t * cov + (1 - alpha_bar_t) * torch.eye(2).to(cov)
    return _pulled_back(_away(x, alpha_bar_t, mean), noisy.expand(len(x), 2, 2))


def levels_along_the_rows(x, alpha_bar_t, mean, cov):
    """In the covariance the levels met its rows: (B, 1) is one axis short. They need the shape (B, 1, 1), so that every
    sample has a covariance of its own, (B, 2, 2)."""
    kept = alpha_bar_t.reshape(-1, 1)
    noisy = kept * cov + (1 - kept) * torch.eye(2).to(cov)
    return _pulled_back(_away(x, alpha_bar_t, mean), noisy.expand(len(x), 2, 2))


def one_covariance_for_all(x, alpha_bar_t, mean, cov):
    """All samples were given the covariance of the first one's level. Every sample has a level of its own, and so a
    covariance of its own."""
    return _pulled_back(_away(x, alpha_bar_t, mean), _noisy_cov(alpha_bar_t, cov)[:1].expand(len(x), 2, 2))


def mean_scaled_without_the_root(x, alpha_bar_t, mean, cov):
    """The mean was multiplied by alpha_bar. The data in x_t have the factor sqrt(alpha_bar), and so has their mean."""
    return _pulled_back(x - alpha_bar_t.reshape(-1, 1) * mean, _noisy_cov(alpha_bar_t, cov))


def mean_left_out(x, alpha_bar_t, mean, cov):
    """`mean` was not used, as if the data lay around 0. The score leads to the mean of x_t."""
    return _pulled_back(x, _noisy_cov(alpha_bar_t, cov))


def noise_by_its_deviation(x, alpha_bar_t, mean, cov):
    """The square root of 1 - alpha_bar was put on the diagonal. A covariance holds variances: the noise adds 1 -
    alpha_bar."""
    kept = alpha_bar_t.reshape(-1, 1, 1)
    return _pulled_back(_away(x, alpha_bar_t, mean), kept * cov + (1 - kept).sqrt() * torch.eye(2).to(cov))


def covariance_not_shrunk(x, alpha_bar_t, mean, cov):
    """The covariance of the data went into that of x_t at full size. x_t holds the data times a factor, and their
    covariance shrinks by the square of it, alpha_bar."""
    kept = alpha_bar_t.reshape(-1, 1, 1)
    return _pulled_back(_away(x, alpha_bar_t, mean), cov + (1 - kept) * torch.eye(2).to(cov))


def guess_of_the_noise(x, alpha_bar_t, mean, cov):
    """This is the best guess of the noise. The score is that over minus the standard deviation of the noise."""
    return -(1 - alpha_bar_t).sqrt().reshape(-1, 1) * score_2d(x, alpha_bar_t, mean, cov)


def half_of_the_inverse(x, alpha_bar_t, mean, cov):
    """Only one of the two triangles was solved with. A covariance is L times its transpose: solve with L, and then with
    the transpose."""
    lower = torch.linalg.cholesky(_noisy_cov(alpha_bar_t, cov))
    away = _away(x, alpha_bar_t, mean).unsqueeze(-1)
    return -torch.linalg.solve_triangular(lower, away, upper=False).squeeze(-1)


def other_half_of_the_inverse(x, alpha_bar_t, mean, cov):
    """Only the transposed triangle was solved with. A covariance is L times its transpose: solve with L first, and then
    with the transpose."""
    upper = torch.linalg.cholesky(_noisy_cov(alpha_bar_t, cov)).mT
    away = _away(x, alpha_bar_t, mean).unsqueeze(-1)
    return -torch.linalg.solve_triangular(upper, away, upper=True).squeeze(-1)


def closed_form_inverse(x, alpha_bar_t, mean, cov):
    alpha_bar_t, mean, cov = (value.to(x.dtype) for value in (alpha_bar_t, mean, cov))
    dx, dy = (x - alpha_bar_t.sqrt()[:, None] * mean).unbind(1)
    a, b = alpha_bar_t * cov[0, 0] + 1 - alpha_bar_t, alpha_bar_t * cov[0, 1]
    d = alpha_bar_t * cov[1, 1] + 1 - alpha_bar_t
    return torch.stack([b * dy - d * dx, b * dx - a * dy], dim=1) / (a * d - b * b)[:, None]


def along_the_axes(x, alpha_bar_t, mean, cov):
    variances, axes = torch.linalg.eigh(cov.double())
    kept = alpha_bar_t.double()[:, None]
    along = (x.double() - kept.sqrt() * mean.double()) @ axes
    return (-(along / (kept * variances + 1 - kept)) @ axes.T).to(x.dtype)


def derivative_by_autograd(x, alpha_bar_t, mean, cov):
    alpha_bar_t, mean, cov = (value.to(x.dtype) for value in (alpha_bar_t, mean, cov))
    away = _away(x, alpha_bar_t, mean).detach().requires_grad_()
    precision = torch.linalg.inv(_noisy_cov(alpha_bar_t, cov))
    log_density = -0.5 * torch.einsum("bi,bij,bj->", away, precision, away)
    return torch.autograd.grad(log_density, away)[0]


def one_sample_at_a_time(x, alpha_bar_t, mean, cov):
    alpha_bar_t, mean, cov = (value.to(x.dtype) for value in (alpha_bar_t, mean, cov))
    rows = []
    for sample, kept in zip(x, alpha_bar_t, strict=True):
        noisy = kept * cov + torch.diag(torch.stack([1 - kept, 1 - kept]))
        rows.append(torch.linalg.inv(noisy) @ (torch.sqrt(kept) * mean - sample))
    return torch.stack(rows)


def through_numpy(x, alpha_bar_t, mean, cov):
    import numpy as np

    kept = alpha_bar_t.numpy()[:, None, None]
    noisy = kept * cov.numpy() + (1 - kept) * np.eye(2)
    away = x.numpy() - kept[:, 0] ** 0.5 * mean.numpy()
    return torch.from_numpy(-np.linalg.solve(noisy, away[:, :, None])[:, :, 0]).to(x.dtype)


def _correlated(draw: Draw, low: float, high: float):
    """A covariance (2, 2) with a correlation of this size, of either sign."""
    rho = draw.choice((-1, 1)) * draw.number(low, high)
    first, second = draw.number(0.5, 0.9), draw.number(1.1, 2.0)
    shared = rho * first * second
    return rho, torch.tensor([[first**2, shared], [shared, second**2]], dtype=torch.float64)


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    for batch in (draw.integer(3, 9), 1, draw.integer(3, 9), 2, 2):
        for low, high in ((0.2, 0.4), (0.85, 0.97)):
            rho, cov = _correlated(draw, low, high)
            levels = draw.alpha_bar(steps)[draw.times(batch, steps)]
            part = "two samples" if batch == 2 else "values"
            yield Case(f"correlation {rho:g}", (draw.normal(batch, 2), levels, 1 + draw.uniform(2), cov), part)
    rho, cov = _correlated(draw, 0.7, 0.9)
    ends = draw.normal(4, 2), near_ends(draw, 4), draw.normal(2), cov
    yield Case(f"nearly noise and nearly clean data, correlation {rho:g}", ends, "values")
    side = torch.tensor([1.0, draw.choice((-2.0, 2.0))], dtype=torch.float64)  # exact in float32
    line = draw.normal(4, 2), draw.uniform(4, low=0.2, high=0.8), draw.normal(2), torch.outer(side, side)
    yield Case("data on a line, correlation 1 or -1", line, "values")


def slope_of_the_log_density(piece, draw: Draw):
    """Automatic differentiation of PyTorch's own normal density."""
    _, cov = _correlated(draw, 0.85, 0.97)
    x, mean, kept = draw.normal(5, 2), draw.normal(2), draw.uniform(5, low=0.1, high=0.95)
    found = piece(x, kept, mean, cov)
    noisy = kept[:, None, None] * cov + torch.diag_embed((1 - kept)[:, None].expand(5, 2))
    with torch.enable_grad():
        variable = x.clone().requires_grad_()
        density = torch.distributions.MultivariateNormal(kept.sqrt()[:, None] * mean, noisy)
        truth = torch.autograd.grad(density.log_prob(variable).sum(), variable)[0]
    if found.shape != truth.shape:
        return f"for x of shape (5, 2) the score has the shape {tuple(found.shape)}"
    worst = int((found - truth).abs().amax(dim=1).argmax())
    if float((found - truth).abs().max()) < 1e-4:
        return None
    wanted, given = ([round(v, 5) for v in rows[worst].tolist()] for rows in (truth, found))
    return f"at x = {[round(v, 4) for v in x[worst].tolist()]} the slope of log p_t is {wanted}, and yours is {given}"


EXERCISE = Exercise(
    chapter="normal_2d",
    kind="data",
    title="The score of correlated data",
    statement=r"""
Data from $\mathcal N(m, C)$ stay normal under noise. At level $t$ the mean is $\sqrt{\bar\alpha_t}\, m$ and the
covariance is $C_t = \bar\alpha_t C + (1 - \bar\alpha_t) I$, and so

$$\nabla_x \log p_t(x) = -C_t^{-1} \left( x - \sqrt{\bar\alpha_t}\, m \right).$$

Where the data form a thin ellipse, the score points across it much more strongly than along it: what one coordinate
should be, the other one says. Every sample has a level of its own, and so a covariance of its own.
""",
    reference=score_2d,
    parts={"values": 4, "two samples": 1, CARE: 1},
    cases=cases,
    properties=(Property("the slope of the log-density", slope_of_the_log_density),),
    wrong_answers=(
        wrong(inverse_of_the_clean_covariance),
        wrong(noise_left_out),
        wrong(elementwise_reciprocal),
        wrong(correlation_ignored),
        wrong(noise_in_every_entry),
        wrong(multiplied_by_the_covariance),
        wrong(covariance_shrunk_by_the_root),
        wrong(unscaled_mean),
        wrong(wrong_sign),
        wrong(levels_along_the_last_axis),
        wrong(levels_along_the_covariance),
        wrong(levels_along_the_rows),
        wrong(one_covariance_for_all),
        wrong(mean_scaled_without_the_root),
        wrong(mean_left_out),
        wrong(noise_by_its_deviation),
        wrong(covariance_not_shrunk),
        wrong(guess_of_the_noise),
        wrong(half_of_the_inverse),
        wrong(other_half_of_the_inverse),
    ),
    right_answers=(
        right(closed_form_inverse),
        right(along_the_axes),
        right(derivative_by_autograd),
        right(one_sample_at_a_time),
        right(through_numpy),
    ),
    hints=(
        "First the covariance of x_t, one for each sample: shape (B, 2, 2).",
        "A linear system is solved, or a matrix inverted; an entry alone never is.",
    ),
    source="Song et al. 2021b, section 3.1; Petersen & Pedersen 2012, section 8.1, for the gradient",
    tables=("alpha_bar_t", "mean", "cov"),
    like="x",
)
