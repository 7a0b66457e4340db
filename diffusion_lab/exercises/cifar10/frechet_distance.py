"""frechet_distance: how far two sets of features are from each other, as normal distributions."""

import math

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def frechet_distance(features1: Tensor, features2: Tensor) -> Tensor:
    """The Fréchet distance between the normal distributions fitted to two sets of features.

    Args:
        features1: (N, D), one row for each image.
        features2: (M, D).

    Returns:
        (), in squared units of the features; nan where a set has fewer than D + 1 rows. Covariances divide by N - 1.
    """
    if min(len(features1), len(features2)) <= features1.shape[1]:
        return features1.new_tensor(math.nan)
    mean1, mean2 = features1.mean(dim=0), features2.mean(dim=0)
    away1, away2 = features1 - mean1, features2 - mean2
    cov1 = away1.T @ away1 / (len(features1) - 1)
    cov2 = away2.T @ away2 / (len(features2) - 1)
    values, vectors = torch.linalg.eigh(cov1)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    overlap = torch.linalg.eigvalsh(root @ cov2 @ root).clamp(min=0).sqrt().sum()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * overlap


def _moments(features, correction=1):
    away = features - features.mean(dim=0)
    return features.mean(dim=0), away.T @ away / (len(features) - correction)


def _too_few(features1, features2):
    return min(len(features1), len(features2)) <= features1.shape[1]


def _root(cov):
    values, vectors = torch.linalg.eigh(cov)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def _distance(mean1, cov1, mean2, cov2):
    overlap = torch.linalg.svdvals(_root(cov1) @ _root(cov2)).sum()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * overlap


def standard_deviations_only(features1, features2):
    """Only the standard deviation of each feature was compared. Features that rise and fall together differ from those
    that do not: compare whole covariance matrices."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    means = (features1.mean(0) - features2.mean(0)).square().sum()
    return means + (features1.std(0) - features2.std(0)).square().sum()


def root_of_each_entry(features1, features2):
    """The root was taken of each entry of C1 C2. A root of a matrix is the matrix that, times itself, gives it."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    (mean1, cov1), (mean2, cov2) = _moments(features1), _moments(features2)
    overlap = (cov1 @ cov2).diagonal().clamp(min=0).sqrt().sum()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * overlap


def complex_square_root(features1, features2):
    """The result is complex: C1 C2 is not symmetric, and a general routine finds its roots among the complex numbers.
    Put the product in a symmetric order, whose eigenvalues are real and not negative."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    (mean1, cov1), (mean2, cov2) = _moments(features1), _moments(features2)
    overlap = torch.linalg.eigvals(cov1 @ cov2).sqrt().sum()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * overlap


def too_few_samples(features1, features2):
    """A number was returned for D rows or fewer. A covariance of D features needs at least D + 1 rows; with fewer, the
    distance is far too large and says nothing."""
    return _distance(*_moments(features1), *_moments(features2))


def one_row_too_few(features1, features2):
    """A number was returned for exactly D rows. Their mean is fitted too, so a covariance of D features needs one row
    more, D + 1."""
    if min(len(features1), len(features2)) < features1.shape[1]:
        return features1.new_tensor(math.nan)
    return _distance(*_moments(features1), *_moments(features2))


def first_set_alone_counted(features1, features2):
    """Only the rows of the first set were counted. The second can be too small too."""
    if len(features1) <= features1.shape[1]:
        return features1.new_tensor(math.nan)
    return _distance(*_moments(features1), *_moments(features2))


def rows_of_both_sets(features1, features2):
    """The rows of both sets were counted together. Each covariance is fitted to its own set, which needs D + 1 rows of
    its own."""
    if len(features1) + len(features2) < 2 * (features1.shape[1] + 1):
        return features1.new_tensor(math.nan)
    return _distance(*_moments(features1), *_moments(features2))


def more_rows_asked_for(features1, features2):
    """D + 1 rows are enough, and you returned nan for them."""
    if min(len(features1), len(features2)) <= features1.shape[1] + 1:
        return features1.new_tensor(math.nan)
    return _distance(*_moments(features1), *_moments(features2))


def product_of_the_roots(features1, features2):
    """The trace is that of the product of the two roots. The root of a product is another matrix, unless the
    covariances have the same axes."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    (mean1, cov1), (mean2, cov2) = _moments(features1), _moments(features2)
    return (mean1 - mean2).square().sum() + (cov1 + cov2 - 2 * _root(cov1) @ _root(cov2)).trace()


def root_forgotten(features1, features2):
    """The eigenvalues of the product were summed without their roots: this is the trace of C1 C2."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    (mean1, cov1), (mean2, cov2) = _moments(features1), _moments(features2)
    return (mean1 - mean2).square().sum() + (cov1 + cov2 - 2 * cov1 @ cov2).trace()


def means_not_taken_off(features1, features2):
    """The mean was not taken off before the features were multiplied, so that these are no covariances."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    second1, second2 = (f.T @ f / (len(f) - 1) for f in (features1, features2))
    return _distance(features1.mean(0), second1, features2.mean(0), second2)


def mean_over_features(features1, features2):
    """The squared differences of the means were averaged over the features. The squared length of a vector is a sum,
    and so is the trace beside it."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    (mean1, cov1), (mean2, cov2) = _moments(features1), _moments(features2)
    return _distance(mean1, cov1, mean1, cov2) + (mean1 - mean2).square().mean()


def overlap_counted_once(features1, features2):
    """The root of C1 C2 was subtracted once. It is the double product of a binomial: two equal sets must have the
    distance 0."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    (mean1, cov1), (mean2, cov2) = _moments(features1), _moments(features2)
    overlap = torch.linalg.svdvals(_root(cov1) @ _root(cov2)).sum()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - overlap


def root_of_the_distance(features1, features2):
    """This is the square root of what is asked for. The Fréchet distance of the literature, as in FID, is the squared
    distance."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    return _distance(*_moments(features1), *_moments(features2)).sqrt()


def means_only(features1, features2):
    """Only the means were compared. Samples that are all the same picture would have a perfect mean: the spread counts
    too."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    return (features1.mean(0) - features2.mean(0)).square().sum()


def distance_of_the_means_not_squared(features1, features2):
    """The distance between the means was added without its square. All terms are squared distances."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    (mean1, cov1), (mean2, cov2) = _moments(features1), _moments(features2)
    return _distance(mean1, cov1, mean1, cov2) + (mean1 - mean2).norm()


def divided_by_n(features1, features2):
    """The covariances were divided by the number of rows, which makes small sets seem too narrow. Divide by one less:
    the mean was fitted to the same rows."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    return _distance(*_moments(features1, 0), *_moments(features2, 0))


def product_taken_for_symmetric(features1, features2):
    """`eigvalsh` was given C1 C2, which is not symmetric. It looks at one half of a matrix and takes the other for its
    mirror image: give it a product in a symmetric order, which has the same eigenvalues."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    (mean1, cov1), (mean2, cov2) = _moments(features1), _moments(features2)
    overlap = torch.linalg.eigvalsh(cov1 @ cov2).clamp(min=0).sqrt().sum()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * overlap


def roots_of_negative_numbers(features1, features2):
    """The value is nan: `eigvalsh` was given C1 C2, which is not symmetric, and so some of what it says is negative. To
    raise those to 0 would only hide it: give `eigvalsh` a product in a symmetric order."""
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    (mean1, cov1), (mean2, cov2) = _moments(features1), _moments(features2)
    overlap = torch.linalg.eigvalsh(cov1 @ cov2).sqrt().sum()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * overlap


def singular_values(features1, features2):
    if _too_few(features1, features2):
        return torch.full((), float("nan"), dtype=features1.dtype)
    away1, away2 = (
        (features - features.mean(0, keepdim=True)) / (len(features) - 1) ** 0.5 for features in (features1, features2)
    )
    overlap = torch.linalg.matrix_norm(away1 @ away2.T, ord="nuc")
    means = ((features1.mean(0) - features2.mean(0)) ** 2).sum()
    return means + (away1**2).sum() + (away2**2).sum() - 2 * overlap


def real_part_of_the_eigenvalues(features1, features2):
    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    first, second = features1.double(), features2.double()
    cov1, cov2 = (torch.cov(f.T).reshape(f.shape[1], f.shape[1]) for f in (first, second))
    overlap = torch.linalg.eigvals(cov1 @ cov2).real.clamp(min=0).sqrt().sum()
    means = (first.mean(0) - second.mean(0)).square().sum()
    return (means + torch.trace(cov1 + cov2) - 2 * overlap).to(features1.dtype)


def through_numpy(features1, features2):
    import numpy as np

    if _too_few(features1, features2):
        return features1.new_tensor(math.nan)
    one, two = features1.double().numpy(), features2.double().numpy()
    cov1, cov2 = np.atleast_2d(np.cov(one, rowvar=False)), np.atleast_2d(np.cov(two, rowvar=False))
    lower = np.linalg.cholesky(cov1)
    overlap = np.sqrt(np.clip(np.linalg.eigvalsh(lower.T @ cov2 @ lower), 0, None)).sum()
    value = np.square(one.mean(0) - two.mean(0)).sum() + np.trace(cov1) + np.trace(cov2) - 2 * overlap
    return torch.tensor(value, dtype=features1.dtype)


def _features(draw, rows, dimensions):
    mixing = draw.normal(dimensions, dimensions) + 1.5 * draw.normal(dimensions, 1)
    return draw.normal(rows, dimensions) @ mixing.T / dimensions**0.5 + draw.normal(dimensions)


def cases(draw: Draw):
    for dimensions, label in ((draw.integer(3, 5), "a few features"), (draw.integer(8, 12), "more features")):
        rows, others = draw.integer(30, 40), draw.integer(45, 60)
        yield Case(label, (_features(draw, rows, dimensions), _features(draw, others, dimensions)))
    yield Case("one feature", (_features(draw, 12, 1), 2 * _features(draw, 15, 1)))

    dimensions = draw.integer(4, 6)
    part = "too few samples"
    yield Case("D + 1 rows", (_features(draw, dimensions + 1, dimensions), _features(draw, 30, dimensions)), part)
    # Far apart: a number given here must not hang on the rounding of eigenvalues that are 0.
    far = 30 + 10 * draw.uniform(dimensions)
    yield Case("D rows", (_features(draw, dimensions, dimensions) + far, _features(draw, 30, dimensions)), part)
    few = _features(draw, 3, dimensions) - far
    yield Case("few rows in the second set", (_features(draw, 30, dimensions), few), part)
    both = _features(draw, dimensions, dimensions) + far, _features(draw, dimensions - 1, dimensions)
    yield Case("few rows in both sets", both, part)


def _exact(draw, rows, mean, root):
    """Features (rows, D) whose sample mean and covariance are exactly `mean` and root root^T."""
    raw = draw.normal(rows, len(mean))
    raw = raw - raw.mean(0)
    basis = torch.linalg.qr(raw).Q * math.sqrt(rows - 1)
    return basis @ root.T + mean


def known_normals(piece, draw: Draw):
    """Covariances with the same eigenvectors: each direction has a distance of its own, and they add up."""
    dimensions = draw.integer(3, 6)
    turn = torch.linalg.qr(draw.normal(dimensions, dimensions)).Q
    std1, std2 = draw.uniform(dimensions, low=0.3, high=2.5), draw.uniform(dimensions, low=0.3, high=2.5)
    mean1, mean2 = draw.normal(dimensions), draw.normal(dimensions)
    found = float(piece(_exact(draw, 25, mean1, turn * std1), _exact(draw, 40, mean2, turn * std2)))
    true = float((mean1 - mean2).square().sum() + (std1 - std2).square().sum())
    if abs(found - true) < 1e-6 * true:
        return None
    return f"two normals whose distance is {true:.5g} in closed form are {found:.5g} apart"


def turning_changes_nothing(piece, draw: Draw):
    """The same rotation of both sets leaves the distance, and a set is at distance 0 from itself."""
    dimensions = draw.integer(3, 6)
    one, other = _features(draw, 30, dimensions), _features(draw, 35, dimensions)
    turn = torch.linalg.qr(draw.normal(dimensions, dimensions)).Q
    here, turned, itself = float(piece(one, other)), float(piece(one @ turn, other @ turn)), float(piece(one, one))
    if abs(here - turned) > 1e-6 * abs(here):
        return f"the distance changes from {here:.5g} to {turned:.5g} when the axes of all features are turned"
    return None if abs(itself) < 1e-6 * here else f"a set is {itself:.3g} away from itself"


EXERCISE = Exercise(
    chapter="cifar10",
    kind="data",
    title="The Fréchet distance of two sets of images",
    statement=r"""
Are the generated images like real ones, as a crowd? A classifier turns every image into $D$ features. Fit a normal
distribution to each crowd, with means $m_1, m_2$ and covariances $C_1, C_2$. Then

$$
\begin{aligned}
d &= \lVert m_1 - m_2 \rVert^2 \\
&\quad + \operatorname{tr}\left(C_1 + C_2 - 2\,(C_1 C_2)^{1/2}\right).
\end{aligned}
$$

$C_1 C_2$ is not symmetric. It has the same eigenvalues as the symmetric $C_1^{1/2} C_2\, C_1^{1/2}$, and the trace of
a root is the sum of the roots of the eigenvalues. A covariance of $D$ features needs at least $D + 1$ rows: with
fewer, return nan, because no number would mean anything. Even with enough rows the distance is too large for few
samples, so compare only scores of one sample size.
""",
    reference=frechet_distance,
    parts={"values": 4, "too few samples": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("normals with a known distance", known_normals),
        Property("turned axes, and a set beside itself", turning_changes_nothing),
    ),
    wrong_answers=(
        wrong(standard_deviations_only),
        wrong(root_of_each_entry),
        wrong(complex_square_root),
        wrong(too_few_samples),
        wrong(one_row_too_few),
        wrong(first_set_alone_counted),
        wrong(rows_of_both_sets),
        wrong(more_rows_asked_for),
        wrong(product_of_the_roots),
        wrong(root_forgotten),
        wrong(means_not_taken_off),
        wrong(mean_over_features),
        wrong(overlap_counted_once),
        wrong(root_of_the_distance),
        wrong(means_only),
        wrong(distance_of_the_means_not_squared),
        wrong(divided_by_n),
        wrong(product_taken_for_symmetric),
        wrong(roots_of_negative_numbers),
    ),
    right_answers=(right(singular_values), right(real_part_of_the_eigenvalues), right(through_numpy)),
    hints=(
        "What is the distance of a set from itself?",
        "The eigenvectors of a symmetric matrix give its root: take the root of each eigenvalue.",
    ),
    source="Heusel et al. 2017, equation 6; Dowson & Landau 1982",
)
