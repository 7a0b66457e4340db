"""chamfer: how far two clouds are from each other, whatever the order of their points."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def chamfer(a: Tensor, b: Tensor) -> Tensor:
    """The Chamfer distance of each pair of clouds: mean squared distances to the nearest point, both ways, summed.

    Args:
        a: (B, P, D), clouds of P points.
        b: (B, Q, D), clouds of Q points; Q may differ from P.

    Returns:
        (B,): mean over the points of a of the squared distance to the nearest one of b, plus the mean over the points
        of b of that to the nearest one of a.
    """
    squared = (a.unsqueeze(2) - b.unsqueeze(1)).square().sum(dim=3)  # (B, P, Q)
    return squared.amin(dim=2).mean(dim=1) + squared.amin(dim=1).mean(dim=1)


def _squared(a, b):
    return (a.unsqueeze(2) - b.unsqueeze(1)).square().sum(dim=3)


def one_way(a, b):
    """Only the way from a to b counts, so that an a that lies in one corner of b is perfect. Add the way back."""
    return _squared(a, b).amin(dim=2).mean(dim=1)


def other_way_only(a, b):
    """Only the way from b to a counts, so that an a with points everywhere is perfect. Add the way from a to b."""
    return _squared(a, b).amin(dim=1).mean(dim=1)


def not_squared(a, b):
    """These are distances, not their squares. Both forms are in use, with other values: here they are squared."""
    distances = _squared(a, b).sqrt()
    return distances.amin(dim=2).mean(dim=1) + distances.amin(dim=1).mean(dim=1)


def squared_after_the_mean(a, b):
    """Distances were averaged and then squared. Square each before the mean."""
    distances = _squared(a, b).sqrt()
    return distances.amin(dim=2).mean(dim=1).square() + distances.amin(dim=1).mean(dim=1).square()


def sums_for_means(a, b):
    """The squares were summed over the points, so that a cloud of more points is further from everything. Take
    means."""
    squared = _squared(a, b)
    return squared.amin(dim=2).sum(dim=1) + squared.amin(dim=1).sum(dim=1)


def sum_halved(a, b):
    """The two ways were averaged. They are added here; papers differ in it, and a table says nothing without it."""
    squared = _squared(a, b)
    return (squared.amin(dim=2).mean(dim=1) + squared.amin(dim=1).mean(dim=1)) / 2


def larger_of_the_two(a, b):
    """The larger way was taken. The Chamfer distance adds them."""
    squared = _squared(a, b)
    return torch.maximum(squared.amin(dim=2).mean(dim=1), squared.amin(dim=1).mean(dim=1))


def furthest_point(a, b):
    """The furthest of the nearest neighbours was taken: that is the Hausdorff distance, squared. Take the mean over the
    points."""
    squared = _squared(a, b)
    return squared.amin(dim=2).amax(dim=1) + squared.amin(dim=1).amax(dim=1)


def point_by_point(a, b):
    """Point i of a was compared with point i of b. A cloud has no order: each point is compared with the nearest."""
    count = min(a.shape[1], b.shape[1])
    return 2 * (a[:, :count] - b[:, :count]).square().sum(dim=2).mean(dim=1)


def all_pairs(a, b):
    """Each point was compared with all the others and not with the nearest: then even a cloud and itself are far
    apart."""
    return 2 * _squared(a, b).mean(dim=(1, 2))


def mean_over_the_axes(a, b):
    """The mean over the coordinates was taken in the place of their sum, so that the value is too small by the number
    of axes."""
    squared = (a.unsqueeze(2) - b.unsqueeze(1)).square().mean(dim=3)
    return squared.amin(dim=2).mean(dim=1) + squared.amin(dim=1).mean(dim=1)


def sum_of_absolute_differences(a, b):
    """The differences along the axes were added up without their squares. The distance is the straight one."""
    distances = (a.unsqueeze(2) - b.unsqueeze(1)).abs().sum(dim=3)
    return distances.amin(dim=2).mean(dim=1) + distances.amin(dim=1).mean(dim=1)


def nearest_axis_by_axis(a, b):
    """The nearest neighbour was looked for along each axis by itself. Points are near when all coordinates are: sum
    over the axes before the minimum."""
    squared = (a.unsqueeze(2) - b.unsqueeze(1)).square()
    return squared.amin(dim=2).sum(dim=2).mean(dim=1) + squared.amin(dim=1).sum(dim=2).mean(dim=1)


def one_mean_for_both_ways(a, b):
    """All nearest neighbours were averaged together, so that the cloud with more points counts more. Each way has a
    mean of its own."""
    squared = _squared(a, b)
    return 2 * torch.cat([squared.amin(dim=2), squared.amin(dim=1)], dim=1).mean(dim=1)


def averaged_over_the_batch(a, b):
    """The pairs were averaged in the end. One value for each pair is asked for."""
    return chamfer(a, b).mean()


def by_cdist(a, b):
    squared = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    return squared.min(dim=2).values.mean(dim=1) + squared.min(dim=1).values.mean(dim=1)


def pair_by_pair(a, b):
    values = []
    for x, y in zip(a, b, strict=True):
        there = torch.stack([(y - p).square().sum(dim=1).min() for p in x]).mean()
        back = torch.stack([(x - p).square().sum(dim=1).min() for p in y]).mean()
        values.append(there + back)
    return torch.stack(values)


def by_index(a, b):
    squared = _squared(a, b)
    near_b = torch.gather(b, 1, squared.argmin(dim=2, keepdim=True).expand(-1, -1, b.shape[2]))
    near_a = torch.gather(a, 1, squared.argmin(dim=1).unsqueeze(2).expand(-1, -1, a.shape[2]))
    return (a - near_b).square().sum(dim=2).mean(dim=1) + (b - near_a).square().sum(dim=2).mean(dim=1)


def through_numpy(a, b):
    import numpy as np

    table = ((a.numpy()[:, :, None] - b.numpy()[:, None]) ** 2).sum(axis=3)
    return torch.from_numpy(np.min(table, axis=2).mean(axis=1) + np.min(table, axis=1).mean(axis=1))


def cases(draw: Draw):
    for label, shape, other, part in (
        ("clouds of different sizes", (draw.integer(3, 5), draw.integer(8, 12), 3), draw.integer(14, 20), "values"),
        ("clouds of one size", (draw.integer(3, 5), 10, 3), 10, "values"),
        ("one pair", (1, draw.integer(5, 9), 3), draw.integer(10, 12), "any shape"),
        ("one point against many", (3, 1, 3), draw.integer(6, 9), "any shape"),
        ("points in the plane", (3, draw.integer(6, 9), 2), draw.integer(4, 5), "any shape"),
        ("every size equal", (4, 4, 4), 4, "any shape"),
    ):
        yield Case(label, (draw.normal(*shape), draw.normal(shape[0], other, shape[2])), part)
    far = draw.normal(3, 9, 3)
    yield Case("a small cloud beside a large one", (0.1 * draw.normal(3, 12, 3) + far[:, :1], far))


def order(piece, draw: Draw):
    """Points in another order give the same, and a cloud lies at 0 from itself."""
    a, b = draw.normal(3, 12, 3), draw.normal(3, 9, 3)
    shuffled = a[:, draw.permutation(12)]
    change = float((piece(shuffled, b) - piece(a, b)).abs().max())
    if not change < 1e-9:
        return f"the same points in another order change the distance by {change:.3g}"
    itself = float(piece(shuffled, a).abs().max())
    return None if itself < 1e-9 else f"a cloud and itself in another order are {itself:.3g} apart, and 0 is right"


EXERCISE = Exercise(
    chapter="points",
    kind="data",
    title="The Chamfer distance",
    statement=r"""
Two clouds have no common order, so their points cannot be compared one by one. Ask each point for its nearest neighbour
in the other cloud:

$$d(a, b) = \frac 1P \sum_i \min_j |a_i - b_j|^2 + \frac 1Q \sum_j \min_i |a_i - b_j|^2 .$$

Both ways are needed: a cloud in one corner of another is near it, and the other one is far. Papers also use sums in
place of means, distances in place of their squares, or half of this: numbers from two papers can be compared only when
both say which.
""",
    reference=chamfer,
    parts={"values": 3, "any shape": 1, CARE: 1},
    cases=cases,
    properties=(Property("order changes nothing, and a cloud is at 0 from itself", order),),
    wrong_answers=(
        wrong(one_way),
        wrong(other_way_only),
        wrong(not_squared),
        wrong(squared_after_the_mean),
        wrong(sums_for_means),
        wrong(sum_halved),
        wrong(larger_of_the_two),
        wrong(furthest_point),
        wrong(point_by_point),
        wrong(all_pairs),
        wrong(mean_over_the_axes),
        wrong(sum_of_absolute_differences),
        wrong(nearest_axis_by_axis),
        wrong(one_mean_for_both_ways),
        wrong(averaged_over_the_batch),
    ),
    right_answers=(right(by_cdist), right(pair_by_pair), right(by_index), right(through_numpy)),
    hints=(
        "How would you make a table of all distances between two clouds?",
        "Minima along one axis of the table, then along the other; a mean of each.",
    ),
    source="Fan, Su & Guibas 2017, section 4.2",
)
