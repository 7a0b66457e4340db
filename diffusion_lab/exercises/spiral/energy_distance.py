"""energy_distance: how far one cloud of points is from another."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def energy_distance(a: Tensor, b: Tensor) -> Tensor:
    """The energy distance between two sets of samples.

    Args:
        a: (N, *S), where S has at least one axis.
        b: (M, *S).

    Returns:
        (), at least 0 and never nan: in the square root of the unit of the data.
    """
    a, b = a.flatten(1), b.flatten(1)

    def mean_distance(p: Tensor, q: Tensor) -> Tensor:
        return (p.unsqueeze(1) - q.unsqueeze(0)).square().sum(dim=2).sqrt().mean()

    squared = 2 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b)
    return squared.clamp(min=0).sqrt()


def _table(p, q):
    return (p.flatten(1).unsqueeze(1) - q.flatten(1).unsqueeze(0)).square().sum(dim=2).sqrt()


def missing_root(a, b):
    """This is the square of the distance: the root at the end is missing."""
    return (2 * _table(a, b).mean() - _table(a, a).mean() - _table(b, b).mean()).clamp(min=0)


def missing_factor_two(a, b):
    """The distances between the sets count once. Two equal sets must be 0 apart: what has to cancel two terms of
    distances within?"""
    return (_table(a, b).mean() - _table(a, a).mean() - _table(b, b).mean()).clamp(min=0).sqrt()


def half_of_it(a, b):
    """The bracket is half of the one asked for, so that the result is smaller by the root of 2. Compare its three
    factors with the equation."""
    return (_table(a, b).mean() - _table(a, a).mean() / 2 - _table(b, b).mean() / 2).clamp(min=0).sqrt()


def squared_distances(a, b):
    """The distances were squared. Then all but the two means cancels, and clouds of any form with equal means are 0
    apart."""
    return (
        (2 * (_table(a, b) ** 2).mean() - (_table(a, a) ** 2).mean() - (_table(b, b) ** 2).mean()).clamp(min=0).sqrt()
    )


def sum_of_absolute_differences(a, b):
    """These distances add up absolute differences, and change when the data are turned. The Euclidean distance is the
    root of a sum of squares."""

    def mean_distance(p, q):
        return (p.flatten(1).unsqueeze(1) - q.flatten(1).unsqueeze(0)).abs().sum(dim=2).mean()

    return (2 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b)).clamp(min=0).sqrt()


def mean_over_entries(a, b):
    """The squares were averaged over the entries of a sample. A Euclidean distance is the root of their sum."""
    size = a[0].numel() ** 0.5
    return ((2 * _table(a, b).mean() - _table(a, a).mean() - _table(b, b).mean()) / size).clamp(min=0).sqrt()


def points_with_themselves_left_out(a, b):
    """A point's distance to itself was left out of the mean. That estimate has no bias, and can be negative: here all
    pairs count, so that equal sets are exactly 0 apart."""

    def within(p):
        return _table(p, p).sum() / max(len(p) * (len(p) - 1), 1)

    return (2 * _table(a, b).mean() - within(a) - within(b)).clamp(min=0).sqrt()


def terms_turned_around(a, b):
    """The signs are turned around: the distances within the sets count more here than those between them. Between two
    different clouds the distances are larger on average."""
    return (_table(a, a).mean() + _table(b, b).mean() - 2 * _table(a, b).mean()).clamp(min=0).sqrt()


def rows_in_pairs(a, b):
    """Each point was compared with the one in the same row of the other set. The order of the points means nothing:
    take all pairs."""
    n = min(len(a), len(b))
    between = (a[:n] - b[:n]).flatten(1).norm(dim=1).mean()
    return (2 * between - _table(a, a).mean() - _table(b, b).mean()).clamp(min=0).sqrt()


def pairs_counted_once(a, b):
    """Within a set each pair was counted once and divided by the number of all pairs. (x, y) and (y, x) are both among
    them."""
    within = _table(a, a).triu().mean() + _table(b, b).triu().mean()
    return (2 * _table(a, b).mean() - within).clamp(min=0).sqrt()


def part_of_the_distance(a, b):
    """The result was divided by the distance between the sets. That is a share, without a unit: return the
    distance itself."""
    between = 2 * _table(a, b).mean()
    return ((between - _table(a, a).mean() - _table(b, b).mean()) / between).clamp(min=0).sqrt()


def distance_of_the_means(a, b):
    """This is the distance between the two means. Clouds of very different form can share their mean: compare all pairs
    of points."""
    return (a.flatten(1).mean(dim=0) - b.flatten(1).mean(dim=0)).norm()


def distances_between_alone(a, b):
    """Only the distances between the sets are here, and those are large for wide clouds, equal ones too. Take off what
    the clouds have within themselves."""
    return (2 * _table(a, b).mean()).sqrt()


def loops(a, b):
    def mean_distance(p, q):
        return sum((x - y).square().sum().sqrt() for x in p for y in q) / (len(p) * len(q))

    return torch.relu(2 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b)) ** 0.5


def distances_of_the_library(a, b):
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    within = torch.cdist(a, a).mean() + torch.cdist(b, b).mean()
    return torch.sqrt(torch.clamp(2 * torch.cdist(a, b).mean() - within, min=0))


def one_table(a, b):
    both = torch.cat([a, b])
    weights = torch.cat([a.new_full((len(a),), 1 / len(a)), b.new_full((len(b),), -1 / len(b))])
    return (-(weights @ _table(both, both) @ weights)).clamp(min=0).sqrt()


def through_numpy(a, b):
    import numpy as np

    p, q = (c.numpy().astype(np.float64).reshape(len(c), -1) for c in (a, b))

    def mean_distance(u, v):
        return np.linalg.norm(u[:, None] - v[None], axis=-1).mean()

    squared = 2 * mean_distance(p, q) - mean_distance(p, p) - mean_distance(q, q)
    return torch.tensor(np.sqrt(max(squared, 0.0)), dtype=a.dtype)


def cases(draw: Draw):
    for shape in draw.shapes():
        square = len(set(shape)) == 1
        others = shape[0] if square else shape[0] + draw.integer(1, 4)
        # Clouds of another place and width, so that no root is taken of a difference of nearly equal numbers.
        b = draw.normal(others, *shape[1:]) * draw.number(0.3, 0.6) + draw.number(0.5, 1.5)
        yield Case("every size equal" if square else "data of this shape", (draw.normal(*shape), b))
    dim = draw.integer(2, 4)
    wide, narrow = draw.normal(draw.integer(8, 12), dim), 0.2 * draw.normal(draw.integer(5, 7), dim)
    yield Case("equal means, other widths", (wide - wide.mean(dim=0), narrow - narrow.mean(dim=0)))
    yield Case("one point in each set", (draw.normal(1, dim), draw.normal(1, dim)))


def on_a_line(piece, draw: Draw):
    """On a line the square is twice the integral of the squared difference of the distribution functions."""
    a, b = draw.normal(draw.integer(5, 15)), draw.number(0.5, 2) * draw.normal(draw.integer(5, 15)) + draw.number(-1, 1)
    found = float(piece(a.unsqueeze(1), b.unsqueeze(1)))
    edges = torch.cat([a, b]).sort().values
    below = [(c.sort().values.unsqueeze(1) <= edges[:-1]).double().mean(dim=0) for c in (a, b)]
    wanted = float((2 * ((below[0] - below[1]).square() * edges.diff()).sum()).sqrt())
    if not abs(found - wanted) < 1e-7:
        return f"for points on a line the distribution functions give {wanted:.6g}, and yours is {found:.6g}"
    return None


def equal_sets(piece, draw: Draw):
    """The same points, three times each and in another order, are 0 apart, however the sums are rounded."""
    # Of any way to sum, rounding takes a quarter or more of these below 0: among forty there is always one.
    for _ in range(40):
        a = draw.normal(draw.integer(2, 4), 2)
        found = float(piece(a, a.repeat(3, 1)[draw.permutation(3 * len(a))]))
        if found != found:
            return (
                "for the same points, three times each and in another order, it is nan: rounding can make the bracket "
                "a little less than 0, where its root is no number"
            )
        if not 0 <= found < 1e-4:
            return f"for the same points, three times each and in another order, it is {found:.4g}, and must be 0"
    return None


EXERCISE = Exercise(
    chapter="spiral",
    kind="data",
    title="How far apart two clouds are",
    statement=r"""
With no density at hand, two sets of samples are compared by the distances between their points:

$$
\begin{gathered}
\mathcal E(a, b) = \sqrt{2\, M_{XY} - M_{XX'} - M_{YY'}}, \\
M_{XY} = \mathrm E \lVert X - Y \rVert,
\end{gathered}
$$

with $X, X'$ from `a` and $Y, Y'$ from `b`, and $M_{XX'}$ and $M_{YY'}$ alike. Each expectation is the mean over all
pairs, a point with itself among them. What is under the root is never negative, except by rounding: return 0 then.

Why: it is 0 only where the two distributions are the same, whatever their form, and it needs no bins and no network.
Two fresh sets of one distribution are not 0 apart: that is the floor to compare a model with.
""",
    reference=energy_distance,
    parts={"values": 3, "exact truths": 2, CARE: 1},
    cases=cases,
    properties=(
        Property("points on a line", on_a_line, "exact truths"),
        Property("equal sets are 0 apart", equal_sets, "exact truths"),
    ),
    wrong_answers=(
        wrong(missing_root),
        wrong(missing_factor_two),
        wrong(half_of_it),
        wrong(squared_distances),
        wrong(sum_of_absolute_differences),
        wrong(mean_over_entries),
        wrong(points_with_themselves_left_out),
        wrong(terms_turned_around),
        wrong(rows_in_pairs),
        wrong(pairs_counted_once),
        wrong(part_of_the_distance),
        wrong(distance_of_the_means),
        wrong(distances_between_alone),
    ),
    right_answers=(right(loops), right(distances_of_the_library), right(one_table), right(through_numpy)),
    hints=("Three tables of distances, one mean of each.", "Put b = a into your formula: what must come out?"),
    source="Szekely & Rizzo 2013; with the square root, as in SciPy",
)
