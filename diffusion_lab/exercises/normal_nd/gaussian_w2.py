"""gaussian_w2: how far apart two normal distributions are."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def gaussian_w2(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor | float:
    """The 2-Wasserstein distance between two normal distributions.

    Args:
        mean1, mean2: (D,).
        cov1, cov2: (D, D), symmetric, without negative eigenvalues; some can be 0, as those of a single point are.

    Returns:
        The distance as a tensor () or a float, in the unit of the data; not its square, and never nan.
    """
    values, axes = torch.linalg.eigh(cov1)
    root = axes * values.clamp(min=0).sqrt() @ axes.T  # the symmetric square root: root @ root = cov1
    overlap = torch.linalg.eigvalsh(root @ cov2 @ root).clamp(min=0).sqrt().sum()
    spread = cov1.trace() + cov2.trace() - 2 * overlap
    return ((mean1 - mean2).square().sum() + spread.clamp(min=0)).sqrt()


def _root(cov):
    values, axes = torch.linalg.eigh(cov)
    return axes * values.clamp(min=0).sqrt() @ axes.T


def _distance(mean1, cov1, mean2, cov2, overlap):
    spread = cov1.trace() + cov2.trace() - 2 * overlap
    return ((mean1 - mean2).square().sum() + spread.clamp(min=0)).sqrt()


def elementwise_root(mean1, cov1, mean2, cov2):
    """The square root was taken of every entry. The root of a matrix is the matrix that gives it when multiplied with
    itself; its eigenvalues are the roots of the eigenvalues."""
    root = cov1.clamp(min=0).sqrt()
    inner = (root @ cov2 @ root).clamp(min=0).sqrt()
    return _distance(mean1, cov1, mean2, cov2, inner.trace())


def axes_as_rows(mean1, cov1, mean2, cov2):
    """The matrix was put together with its eigenvectors as rows. `eigh` returns them as columns: matrix = axes @
    diagonal @ axes.T."""
    values, axes = torch.linalg.eigh(cov1)
    root = axes.T @ torch.diag(values.clamp(min=0).sqrt()) @ axes
    overlap = torch.linalg.eigvalsh(root @ cov2 @ root).clamp(min=0).sqrt().sum()
    return _distance(mean1, cov1, mean2, cov2, overlap)


def squared(mean1, cov1, mean2, cov2):
    """This is the square of the distance. The distance has the unit of the data: take the root at the end."""
    return gaussian_w2(mean1, cov1, mean2, cov2) ** 2


def means_alone(mean1, cov1, mean2, cov2):
    """Only the means were compared. Two normals of one mean and different covariance are apart too."""
    return (mean1 - mean2).square().sum().sqrt()


def roots_subtracted(mean1, cov1, mean2, cov2):
    """The roots of the two covariances were subtracted, or multiplied with each other, which comes to the same. That is
    right only where both have the same axes; else the mass can be moved more cheaply."""
    return ((mean1 - mean2).square().sum() + (_root(cov1) - _root(cov2)).square().sum()).sqrt()


def variances_alone(mean1, cov1, mean2, cov2):
    """Only the diagonals of the covariances were compared. Two normals with equal variances and different correlations
    are apart."""
    spread = (cov1.diagonal().sqrt() - cov2.diagonal().sqrt()).square().sum()
    return ((mean1 - mean2).square().sum() + spread).sqrt()


def overlap_once(mean1, cov1, mean2, cov2):
    """The root term is subtracted once. It has the factor 2, like the mixed term of a square: check that equal normals
    have the distance 0."""
    overlap = torch.linalg.eigvalsh(_root(cov1) @ cov2 @ _root(cov1)).clamp(min=0).sqrt().sum()
    return ((mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - overlap).sqrt()


def inner_root_forgotten(mean1, cov1, mean2, cov2):
    """The product of the covariances was taken without its root. Each covariance is a square of the data's unit, and so
    must be their overlap."""
    return ((mean1 - mean2).square().sum() + (cov1 + cov2 - 2 * cov1 @ cov2).trace()).sqrt()


def difference_of_covariances(mean1, cov1, mean2, cov2):
    """This adds the squared difference of the covariances, which has the unit of the data to the power four. It cannot
    be added to the square of a distance between means."""
    return ((mean1 - mean2).square().sum() + (cov1 - cov2).square().sum()).sqrt()


def means_left_out(mean1, cov1, mean2, cov2):
    """The means were not compared. The mass of a normal must be moved from one mean to the other too."""
    return gaussian_w2(mean1, cov1, mean1, cov2)


def distance_of_the_means_not_squared(mean1, cov1, mean2, cov2):
    """The distance of the means was added without its square. Below the root stand squares of lengths only."""
    gap, spread = (mean1 - mean2).norm(), gaussian_w2(mean1, cov1, mean1, cov2) ** 2
    return (gap + spread).sqrt()


def roots_added(mean1, cov1, mean2, cov2):
    """The roots of the two parts were added. Squares of distances are added, and one root is taken of the sum, as with
    the sides of a right angle."""
    return (mean1 - mean2).norm() + gaussian_w2(mean1, cov1, mean1, cov2)


def cholesky_factors(mean1, cov1, mean2, cov2):
    """`cholesky` needs eigenvalues above 0. A covariance can have some that are 0, where all samples lie on a line or
    in one point, and then it raises an error. `eigh` works for all of them."""
    # The nuclear norm of L1.T L2 is the same for every pair of factors with L L.T = cov.
    overlap = torch.linalg.matrix_norm(torch.linalg.cholesky(cov1).T @ torch.linalg.cholesky(cov2), ord="nuc")
    return _distance(mean1, cov1, mean2, cov2, overlap)


def cholesky_factor_for_the_root(mean1, cov1, mean2, cov2):
    """A Cholesky factor was taken for the root. It is triangular, and its square is not the covariance; and where an
    eigenvalue is 0, there is none. The symmetric root comes from `eigh`."""
    root = torch.linalg.cholesky(cov1)
    overlap = torch.linalg.eigvalsh(root @ cov2 @ root).clamp(min=0).sqrt().sum()
    return _distance(mean1, cov1, mean2, cov2, overlap)


def cholesky_factor_turned_around(mean1, cov1, mean2, cov2):
    """A Cholesky factor L stands where its transpose belongs, and the other way round: cov1 is L times its transpose,
    not the transpose times L. Where an eigenvalue is 0 there is none besides: `eigh` gives a symmetric root always."""
    root = torch.linalg.cholesky(cov1)
    overlap = torch.linalg.eigvalsh(root @ cov2 @ root.T).clamp(min=0).sqrt().sum()
    return _distance(mean1, cov1, mean2, cov2, overlap)


def cholesky_factors_subtracted(mean1, cov1, mean2, cov2):
    """The Cholesky factors of the two covariances were subtracted. They change with the order of the axes, and the
    distance does not: it needs symmetric roots, from `eigh`, and the root of a product."""
    gap = torch.linalg.cholesky(cov1) - torch.linalg.cholesky(cov2)
    return ((mean1 - mean2).square().sum() + gap.square().sum()).sqrt()


def eigenvalues_of_the_product(mean1, cov1, mean2, cov2):
    overlap = torch.linalg.eigvals(cov1 @ cov2).real.clamp(min=0).sqrt().sum()
    return _distance(mean1, cov1, mean2, cov2, overlap)


def singular_values(mean1, cov1, mean2, cov2):
    overlap = torch.linalg.svdvals(_root(cov1) @ _root(cov2)).sum()
    return _distance(mean1, cov1, mean2, cov2, overlap)


def a_plain_number(mean1, cov1, mean2, cov2):
    return float(singular_values(mean1.double(), cov1.double(), mean2.double(), cov2.double()))


def root_by_scaled_axes(mean1, cov1, mean2, cov2):
    # Any factor with F F.T = cov will do, and this one is not symmetric.
    values, axes = torch.linalg.eigh(cov1)
    factor = axes * values.clamp(min=0).sqrt()
    overlap = torch.linalg.eigvalsh(factor.T @ cov2 @ factor).clamp(min=0).sqrt().sum()
    return _distance(mean1, cov1, mean2, cov2, overlap)


def through_numpy(mean1, cov1, mean2, cov2):
    import numpy as np

    values, axes = np.linalg.eigh(cov2.double().numpy())
    root = (axes * np.sqrt(np.maximum(values, 0))) @ axes.T
    inner = np.linalg.eigvalsh(root @ cov1.double().numpy() @ root)
    spread = float(cov1.double().trace() + cov2.double().trace()) - 2 * np.sqrt(np.maximum(inner, 0)).sum()
    gap = float((mean1.double() - mean2.double()).square().sum())
    return torch.tensor((gap + max(spread, 0)) ** 0.5, dtype=mean1.dtype)


def cases(draw: Draw):
    for dimensions in (2, draw.integer(3, 5), draw.integer(6, 9)):
        one, other = ((draw.normal(dimensions), draw.number(0.5, 2) * draw.covariance(dimensions)) for _ in range(2))
        yield Case("two normals", (*one, *other))
    mean = draw.normal(3)
    yield Case("one mean", (mean, 0.05 * draw.covariance(3), mean.clone(), 0.15 * draw.covariance(3)))
    line = [torch.tensor([[draw.number(0.3, 3)]], dtype=torch.float64) for _ in range(2)]
    yield Case("one dimension", (draw.normal(1), line[0], draw.normal(1), 4 * line[1]))
    # A covariance of zeros has no rounding: whatever the way, its root is zeros too.
    point, cloud = (draw.normal(3), torch.zeros(3, 3, dtype=torch.float64)), (draw.normal(3), draw.covariance(3))
    yield Case("a point and a normal", (*point, *cloud))
    yield Case("a normal and a point", (*cloud, *point))
    yield Case("two points", (*point, draw.normal(3), point[1]))


def same_axes(piece, draw: Draw):
    """With the same axes the roots of the variances are simply subtracted."""
    axes = torch.linalg.qr(draw.normal(4, 4))[0]
    one, other = draw.uniform(4, low=0.2, high=4.0), draw.uniform(4, low=0.2, high=4.0)
    mean1, mean2 = draw.normal(4), draw.normal(4)
    found = float(piece(mean1, axes * one @ axes.T, mean2, axes * other @ axes.T))
    wanted = float(((mean1 - mean2).square().sum() + (one.sqrt() - other.sqrt()).square().sum()).sqrt())
    if abs(found - wanted) < 1e-4 * wanted:
        return None
    return f"two normals with the same axes are {wanted:.6g} apart, by hand; yours are {found:.6g}"


def a_map_between_them(piece, draw: Draw):
    """x -> A x with a symmetric positive A is the cheapest way, and costs tr((A - I) cov (A - I))."""
    cov, matrix, shift = draw.covariance(3), draw.covariance(3), draw.normal(3)
    mean, away = draw.normal(3), matrix - torch.eye(3, dtype=torch.float64)
    moved = matrix @ cov @ matrix
    found = float(piece(mean, cov, mean + shift, (moved + moved.T) / 2))
    wanted = float((shift.square().sum() + (away @ cov @ away).trace()).sqrt())
    if abs(found - wanted) < 1e-4 * wanted:
        return None
    return f"a normal stretched by a symmetric matrix and moved has gone {wanted:.6g}; yours says {found:.6g}"


COPIES, FLAT = 40, 20
"""How many normals are tried where rounding decides: each makes a root of a negative number about every other time."""


def equal_normals(piece, draw: Draw):
    """The distance of a normal to itself is 0, up to rounding, and a number."""
    for _ in range(COPIES):
        mean, cov = draw.normal(5), draw.covariance(5)
        found = float(piece(mean, cov, mean.clone(), cov.clone()))
        if not 0 <= found < 0.01:
            return (
                f"a normal has the distance 0 to itself, and yours is {found:.3g}. Rounding can make the sum below the "
                "root a little negative, and then the root is nan: raise what is below 0 to 0 before you take it"
            )
    return None


def flat_normals(piece, draw: Draw):
    """Normals on planes of four dimensions, with the same axes: the roots of the variances are subtracted."""
    for _ in range(FLAT):
        axes = torch.linalg.qr(draw.normal(4, 4))[0]
        one, other = draw.uniform(4, low=0.2, high=4.0), draw.uniform(4, low=0.2, high=4.0)
        one[:2], other[1:3] = 0.0, 0.0
        mean, shift = draw.normal(4), draw.normal(4)
        covs = [axes * variances @ axes.T for variances in (one, other)]
        first, second = ((cov + cov.T) / 2 for cov in covs)
        found = float(piece(mean, first, mean + shift, second))
        wanted = float((shift.square().sum() + (one.sqrt() - other.sqrt()).square().sum()).sqrt())
        if not abs(found - wanted) < 1e-3 * wanted:
            return (
                f"two flat normals with the same axes are {wanted:.6g} apart, by hand; yours are {found:.6g}. Of their "
                "eigenvalues some are 0, and rounding can make those a little negative: raise them to 0 before a root"
            )
    return None


EXERCISE = Exercise(
    chapter="normal_nd",
    kind="data",
    title="The distance of two normals",
    statement=r"""
How good are samples? Fit a normal to them and measure how far its mass must be moved to become the true one. For two
normals the cheapest way is known:

$$
\begin{aligned}
W_2^2 &= \lVert m_1 - m_2 \rVert^2 \\
&\quad + \operatorname{tr}\left( C_1 + C_2 - 2 R \right), \\
R &= \left( C_1^{1/2}\, C_2\, C_1^{1/2} \right)^{1/2}.
\end{aligned}
$$

$C^{1/2}$ is the symmetric matrix whose square is $C$. Return $W_2$ itself, as a tensor or as a float; it has the unit
of the data. A covariance can have eigenvalues that are 0, and rounding can make them a little negative, or the trace of
two equal normals: the distance is a number all the same. The chapter's run is scored by this number, and the Fréchet
distance of images is its square.
""",
    reference=gaussian_w2,
    parts={"values": 4, "by hand": 2, CARE: 1},
    cases=cases,
    properties=(
        Property("the same axes", same_axes, "by hand"),
        Property("a known map", a_map_between_them, "by hand"),
        Property("equal normals", equal_normals),
        Property("flat normals", flat_normals, "by hand"),
    ),
    wrong_answers=(
        wrong(elementwise_root),
        wrong(axes_as_rows),
        wrong(squared),
        wrong(means_alone),
        wrong(roots_subtracted),
        wrong(variances_alone),
        wrong(overlap_once),
        wrong(inner_root_forgotten),
        wrong(difference_of_covariances),
        wrong(means_left_out),
        wrong(distance_of_the_means_not_squared),
        wrong(roots_added),
        wrong(cholesky_factors),
        wrong(cholesky_factor_for_the_root),
        wrong(cholesky_factor_turned_around),
        wrong(cholesky_factors_subtracted),
    ),
    right_answers=(
        right(eigenvalues_of_the_product),
        right(singular_values),
        right(through_numpy),
        right(a_plain_number),
        right(root_by_scaled_axes),
    ),
    hints=(
        "What is the square root of a diagonal matrix, and how does `eigh` make any covariance diagonal?",
        "The trace of a matrix is the sum of its eigenvalues, so of the inner root only the eigenvalues are needed.",
    ),
    source="Dowson & Landau 1982; Olkin & Pukelsheim 1982",
)
