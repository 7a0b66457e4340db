"""nearest_train: has the model learned, or does it know its training data by heart?"""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def nearest_train(samples: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """The training point nearest to each sample.

    Args:
        samples: (B, *S), where S has at least one axis; some may be exact copies of training points.
        train: (N, *S).

    Returns:
        distance: (B,), the Euclidean distance to the nearest training point; 0 for a copy.
        index: (B,) int64, which one it is, 0..N-1.
    """
    squares = (samples.unsqueeze(1) - train.unsqueeze(0)).flatten(2).square().sum(dim=2)  # (B, N)
    nearest, index = squares.min(dim=1)
    return nearest.sqrt(), index


def _distances(samples, train):
    return (samples.unsqueeze(1) - train.unsqueeze(0)).flatten(2).square().sum(dim=2).sqrt()


def largest_dot_product(samples, train):
    """The index is that of the largest dot product, which prefers points far from 0. Nearest means the smallest
    distance."""
    index = (samples.flatten(1) @ train.flatten(1).T).argmax(dim=1)
    return (samples - train[index]).flatten(1).norm(dim=1), index


def nearest_sample(samples, train):
    """This finds the nearest sample for each training point. You want it the other way round, the nearest training
    point for each sample: over which axis do you take the smallest?"""
    distance, index = _distances(samples, train).min(dim=0)
    return distance, index


def squared_distance(samples, train):
    """The distance is squared still. A distance is measured in the unit of the data."""
    distance, index = _distances(samples, train).min(dim=1)
    return distance**2, index


def mean_over_entries(samples, train):
    """The squares were averaged over the entries of a sample. A Euclidean distance is the root of their sum."""
    distance, index = _distances(samples, train).min(dim=1)
    return distance / samples[0].numel() ** 0.5, index


def sum_of_absolute_differences(samples, train):
    """This adds up absolute differences. The Euclidean distance is the root of a sum of squares."""
    distance, index = (samples.unsqueeze(1) - train.unsqueeze(0)).flatten(2).abs().sum(dim=2).min(dim=1)
    return distance, index


def second_nearest(samples, train):
    """The nearest point was left out, as one does when a set is compared with itself. The samples are not the training
    points, and one that is equal to them is just what we look for."""
    distance, index = _distances(samples, train).topk(min(2, len(train)), dim=1, largest=False)
    return distance[:, -1], index[:, -1]


def copies_left_out(samples, train):
    """A distance of exactly 0 was left out, as one does when a set is compared with itself. A sample that is equal to a
    training point is just what we look for."""
    table = _distances(samples, train)
    distance, index = table.masked_fill(table == 0, torch.inf).min(dim=1)
    return distance, index


def digits_cancelled(samples, train):
    """|x|^2 + |y|^2 - 2 xy is right on paper. For a copy those large numbers cancel, and what is left is rounding: not
    0, or the root of a negative number. Subtract first, square afterwards. (`torch.cdist` computes it like this too,
    from 26 points on, if its `compute_mode` does not forbid it.)"""
    a, b = samples.flatten(1), train.flatten(1)
    squares = a.square().sum(dim=1, keepdim=True) + b.square().sum(dim=1) - 2 * a @ b.T
    distance, index = squares.clamp(min=0).sqrt().min(dim=1)
    return distance, index


def largest_difference(samples, train):
    """This is the largest difference of any entry. The Euclidean distance counts all of them: the root of a sum of
    squares."""
    distance, index = (samples.unsqueeze(1) - train.unsqueeze(0)).flatten(2).abs().amax(dim=2).min(dim=1)
    return distance, index


def smallest_angle(samples, train):
    """This finds the training point in the most similar direction, whatever its length. Nearest means the smallest
    distance."""
    index = torch.cosine_similarity(samples.flatten(1).unsqueeze(1), train.flatten(1), dim=2).argmax(dim=1)
    return (samples - train[index]).flatten(1).norm(dim=1), index


def counted_from_1(samples, train):
    """The index counts from 1. Rows count from 0, as in `train[index]`."""
    distance, index = _distances(samples, train).min(dim=1)
    return distance, index + 1


def point_in_the_place_of_its_index(samples, train):
    """You return the training points themselves. Return which ones they are, as indices (B,)."""
    distance, index = _distances(samples, train).min(dim=1)
    return distance, train[index]


def farthest_point(samples, train):
    """This is the farthest training point."""
    distance, index = _distances(samples, train).max(dim=1)
    return distance, index


def mean_distance(samples, train):
    """This is the mean distance to all training points, which says nothing of a copy. One close point is enough to
    tell."""
    return _distances(samples, train).mean(dim=1), _distances(samples, train).argmin(dim=1)


def index_first(samples, train):
    """Index and distance are in each other's place: the distance comes first."""
    distance, index = _distances(samples, train).min(dim=1)
    return index, distance


def one_sample_at_a_time(samples, train):
    distances, indices = [], []
    for sample in samples:
        each = torch.stack([torch.linalg.vector_norm(sample - point) for point in train])
        indices.append(int(each.argmin()))
        distances.append(each[indices[-1]])
    return torch.stack(distances), torch.tensor(indices)


def distances_of_the_library(samples, train):
    exact = "donot_use_mm_for_euclid_dist"
    found = torch.cdist(samples.reshape(len(samples), -1), train.reshape(len(train), -1), compute_mode=exact)
    return tuple(found.min(dim=-1))


def by_sorting(samples, train):
    distance, order = _distances(samples, train).sort(dim=1)
    return distance[:, 0], order[:, 0]


def through_numpy(samples, train):
    import numpy as np

    flat, points = samples.numpy().reshape(len(samples), 1, -1), train.numpy().reshape(1, len(train), -1)
    table = np.linalg.norm(flat - points, axis=2)
    return torch.from_numpy(table.min(axis=1)), torch.from_numpy(table.argmin(axis=1))


def dot_products_then_distance(samples, train):
    flat, points = samples.flatten(1).double(), train.flatten(1).double()
    index = (points.square().sum(dim=1) - 2 * flat @ points.T).argmin(dim=1)
    return (flat - points[index]).square().sum(dim=1).sqrt().to(samples.dtype), index


def cases(draw: Draw):
    for shape in draw.shapes():
        square = len(set(shape)) == 1
        points = shape[0] if square else draw.integer(7, 12)
        # The larger a vector, the larger its dot products: the training points differ in size.
        train = draw.normal(points, *shape[1:]) * draw.uniform(points, low=0.3, high=2).reshape(
            -1, *[1] * (len(shape) - 1)
        )
        yield Case(
            "every size equal" if square else "data of this shape",
            (draw.normal(*shape), train),
        )
    dim = draw.integer(2, 4)
    yield Case("a single training point", (draw.normal(draw.integer(3, 5), dim), draw.normal(1, dim)))
    yield Case("copies of training points, and one that is none", _copies(draw), "copies")


def _copies(draw: Draw):
    """Training points, and copies of some of them among other samples. In float32 they are copies too."""
    points, dim = draw.integer(27, 33), draw.integer(6, 9)  # from 26 on, `torch.cdist` uses dot products
    train = draw.normal(points, dim)
    samples = train[draw.permutation(points)[: points - 2]].clone()
    samples[0] = samples[0] + 0.5 * draw.normal(dim)
    return samples, train


def copies_are_found(piece, draw: Draw):
    """Training points with a known little shift: the index is known, and so is the distance."""
    points, dim = draw.integer(18, 25), draw.integer(3, 5)
    train = 3 * draw.normal(points, dim)
    rows = draw.permutation(points)[: draw.integer(6, 9)]
    directions = draw.normal(len(rows), dim)
    lengths = draw.uniform(len(rows), low=1e-6, high=1e-5)
    shift = directions / directions.norm(dim=1, keepdim=True) * lengths.unsqueeze(1)
    distance, index = piece(train[rows] + shift, train)
    if not torch.equal(index, rows):
        wrong_ones = int((index != rows).sum())
        return f"{wrong_ones} of {len(rows)} copies of training points, moved by less than .00001, were not found"
    worst = float(((distance - lengths) / lengths).abs().max())
    if not worst < 1e-5:
        return (
            f"for copies moved by known lengths of about .000005 the distance is off by up to {100 * worst:.3g} %: "
            "digits cancel where large squares are subtracted from each other"
        )
    return None


EXERCISE = Exercise(
    chapter="spiral",
    kind="data",
    title="New points, or old ones?",
    statement=r"""
A model that gives back its training points looks perfect in every picture. So look for the training point nearest to
each sample $x_b$:

$$
\begin{aligned}
i_b &= \operatorname*{arg\,min}_n \lVert x_b - y_n \rVert, \\
d_b &= \lVert x_b - y_{i_b} \rVert.
\end{aligned}
$$

Return the distances and the indices, in this order.

Why: samples of a model that has learned are as far from the training points as held-out data are. Samples of your
`ideal_denoiser` have the distance 0: they are copies. That is memorisation, and your function must see it, in float32
too: subtract before you square, or the digits that tell a copy are lost.
""",
    reference=nearest_train,
    parts={"values": 3, "copies": 2, CARE: 1},
    cases=cases,
    properties=(Property("copies are found", copies_are_found, "copies"),),
    wrong_answers=(
        wrong(largest_dot_product),
        wrong(nearest_sample),
        wrong(squared_distance),
        wrong(mean_over_entries),
        wrong(sum_of_absolute_differences),
        wrong(second_nearest),
        wrong(copies_left_out),
        wrong(digits_cancelled),
        wrong(largest_difference),
        wrong(smallest_angle),
        wrong(counted_from_1),
        wrong(point_in_the_place_of_its_index),
        wrong(farthest_point),
        wrong(mean_distance),
        wrong(index_first),
    ),
    right_answers=(
        right(one_sample_at_a_time),
        right(distances_of_the_library),
        right(by_sorting),
        right(through_numpy),
        right(dot_products_then_distance),
    ),
    hints=("Make a table (B, N) of distances first.", "`min` over an axis gives a value and where it stands."),
    source="Karras et al. 2022, appendix B.3; Carlini et al. 2023",
)
