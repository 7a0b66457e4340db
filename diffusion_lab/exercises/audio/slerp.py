"""slerp: from one noise to another without leaving the shell on which noises lie."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def slerp(first: Tensor, second: Tensor, amount: Tensor) -> Tensor:
    """Spherical interpolation, each sample with its own angle and its own amount.

    Args:
        first, second: (B, *S), two noises; S has at least one axis, and no two noises are opposite.
        amount: (B,), in [0, 1]: 0 gives `first`, 1 gives `second`.

    Returns:
        (B, *S); where both point the same way, the straight line between them.
    """
    one, two = first.flatten(1), second.flatten(1)
    cosine = (one * two).sum(dim=1) / (one.norm(dim=1) * two.norm(dim=1))
    angle = torch.arccos(cosine.clamp(-1, 1))
    straight = angle.sin() == 0
    share1 = torch.where(straight, 1 - amount, ((1 - amount) * angle).sin() / angle.sin())
    share2 = torch.where(straight, amount, (amount * angle).sin() / angle.sin())
    shape = -1, *[1] * (first.ndim - 1)
    return share1.reshape(shape) * first + share2.reshape(shape) * second


def _column(values, like):
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _cosine(first, second):
    one, two = first.flatten(1), second.flatten(1)
    return ((one * two).sum(1) / (one.norm(dim=1) * two.norm(dim=1))).clamp(-1, 1)


def _mixed(first, second, amount, angle):
    """All broadcast to the rank of the data."""
    straight = angle.sin() == 0
    share1 = torch.where(straight, 1 - amount, ((1 - amount) * angle).sin() / angle.sin())
    share2 = torch.where(straight, amount, (amount * angle).sin() / angle.sin())
    return share1 * first + share2 * second


def linear_interpolation(first, second, amount):
    """This is the straight line. Half way between two independent noises its norm is smaller by the root of 2, and the
    network has never seen noise so weak: go along the sphere."""
    share = _column(amount, first)
    return (1 - share) * first + share * second


def straight_line_with_its_length_restored(first, second, amount):
    """The straight line was stretched back to full length. It runs along the sphere, but not at an even pace: the angle
    must grow in proportion to the amount."""
    share = _column(amount, first)
    mixed = (1 - share) * first + share * second
    norms = [x.flatten(1).norm(dim=1) for x in (first, second, mixed)]
    return mixed * _column(((1 - amount) * norms[0] + amount * norms[1]) / norms[2], first)


def roots_of_the_shares(first, second, amount):
    """The roots of 1 - amount and amount were used. They keep the norm where the two noises are at right angles, and
    not otherwise: the shares follow from the angle."""
    share = _column(amount, first)
    return (1 - share).sqrt() * first + share.sqrt() * second


def angle_without_norms(first, second, amount):
    """The dot product was taken for the cosine. It is the cosine times both norms: divide by these."""
    dot = (first * second).flatten(1).sum(1).clamp(-1, 1)
    return _mixed(first, second, _column(amount, first), _column(torch.arccos(dot), first))


def angle_without_norms_kept_off_the_ends(first, second, amount):
    """The dot product was taken for the cosine, and what lies beyond 1 was clamped: for long vectors that is nearly
    every pair. Divide it by both norms first; then rounding alone is left to clamp."""
    dot = (first * second).flatten(1).sum(1)
    angle = torch.arccos(dot.clamp(-1, 1))
    mixed = _mixed(first, second, _column(amount, first), _column(angle, first))
    return torch.where(_column(angle.sin() < 1e-6, first), linear_interpolation(first, second, amount), mixed)


def one_angle_for_the_batch(first, second, amount):
    """One angle was computed for the whole batch. Each pair of noises has its own."""
    angle = torch.arccos(_cosine(first.reshape(1, -1), second.reshape(1, -1)))
    return _mixed(first, second, _column(amount, first), _column(angle.expand(len(first)), first))


def angle_along_the_last_axis(first, second, amount):
    """The angle was computed along the last axis, so that a sample is cut into many short vectors. A noise is one
    vector: flatten all axes but the first."""
    dot = (first * second).sum(-1, keepdim=True)
    cosine = dot / (first.norm(dim=-1, keepdim=True) * second.norm(dim=-1, keepdim=True))
    return _mixed(first, second, _column(amount, first), torch.arccos(cosine.clamp(-1, 1)))


def amount_turned_around(first, second, amount):
    """Amount 0 gives the second noise here. It should give the first."""
    angle = torch.arccos(_cosine(first, second))
    return _mixed(first, second, _column(1 - amount, first), _column(angle, first))


def divided_by_zero(first, second, amount):
    """Where both noises point the same way, the sine of their angle is 0 and the shares are 0 / 0. Their limits are
    those of the straight line."""
    angle, share = _column(torch.arccos(_cosine(first, second)), first), _column(amount, first)
    return (((1 - share) * angle).sin() * first + (share * angle).sin() * second) / angle.sin()


def cosine_beyond_one(first, second, amount):
    """Where both point the same way, rounding can make the cosine a little larger than 1, and then its arccos is nan.
    Clamp the cosine to [-1, 1]."""
    one, two = first.flatten(1), second.flatten(1)
    cosine = (one * two).sum(dim=1) / (one.norm(dim=1) * two.norm(dim=1))
    return _mixed(first, second, _column(amount, first), _column(torch.arccos(cosine), first))


def straight_line_too_early(first, second, amount):
    """The straight line was taken where the noises only nearly point the same way. There the sphere can still be told
    from it: take the line only where the sine is too small to divide by."""
    cosine, share = _cosine(first, second), _column(amount, first)
    mixed = _mixed(first, second, share, _column(torch.arccos(cosine), first))
    return torch.where(_column(cosine > 0.9995, first), (1 - share) * first + share * second, mixed)


def straight_line_for_all(first, second, amount):
    """One pair that points the same way made the whole batch go straight. Choose for each pair, with `torch.where`."""
    if bool((_cosine(first, second) == 1).any()):
        return linear_interpolation(first, second, amount)
    return _mixed(first, second, _column(amount, first), _column(torch.arccos(_cosine(first, second)), first))


def first_where_both_point_the_same_way(first, second, amount):
    """Where both point the same way, the first noise came back. The second can be longer or shorter: the limit is the
    straight line between them."""
    same = _column(_cosine(first, second) == 1, first)
    mixed = _mixed(first, second, _column(amount, first), _column(torch.arccos(_cosine(first, second)), first))
    return torch.where(same, first, mixed)


def amount_along_the_last_axis(first, second, amount):
    """The (B,) amounts were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    return _mixed(first, second, amount, _column(torch.arccos(_cosine(first, second)), first))


def one_sample_at_a_time(first, second, amount):
    rows = []
    for a, b, share in zip(first, second, amount, strict=True):
        angle = torch.arccos(((a * b).sum() / (a.norm() * b.norm())).clamp(-1, 1))
        if angle < 1e-6:
            rows.append(a + share * (b - a))
        else:
            rows.append((torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle))
    return torch.stack(rows)


def turning_towards_the_second(first, second, amount):
    cosine = _cosine(first, second)
    sine = (1 - cosine**2).clamp(min=0).sqrt()
    angle = torch.atan2(sine, cosine) * amount
    along = torch.where(sine > 1e-7, angle.sin() / sine, amount)
    return torch.einsum("b,b...->b...", angle.cos() - cosine * along, first) + torch.einsum(
        "b,b...->b...", along, second
    )


def through_numpy(first, second, amount):
    import numpy as np

    one, two = (x.double().numpy().reshape(len(x), -1) for x in (first, second))
    share = amount.double().numpy()[:, None]
    cosine = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    angle = np.maximum(np.arccos(np.clip(cosine, -1, 1)), 1e-9)[:, None]
    mixed = (np.sin((1 - share) * angle) * one + np.sin(share * angle) * two) / np.sin(angle)
    return torch.from_numpy(mixed).reshape(first.shape).to(first.dtype)


def float64_inside(first, second, amount):
    one, two = first.double(), second.double()
    angle = _column(torch.arccos(_cosine(one, two)), one)
    return _mixed(one, two, _column(amount.double(), one), angle).to(first.dtype)


def _pair(draw: Draw, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Two noises at angles that are neither small nor near a half turn, also where they have two entries only."""
    while True:
        first = draw.normal(*shape)
        second = draw.number(0.7, 1.5) * draw.normal(*shape) + 0.5 * first
        if bool((_cosine(first, second).abs() < 0.95).all()):
            return first, second


def cases(draw: Draw):
    for shape in draw.shapes():
        square = len(set(shape)) == 1
        first, second = _pair(draw, shape)
        label = "every size equal" if square else "data of this shape"
        amount = draw.uniform(shape[0], low=0.1, high=0.4)
        yield Case(label, (first, second, amount), "any shape" if square else "values")
    shape = (3, 1, draw.integer(10, 20))
    amount = torch.tensor([0.0, 1.0, draw.number(0.6, 0.9)], dtype=torch.float64)
    yield Case("from end to end", (*_pair(draw, shape), amount))
    # Short enough for a dot product, too, to be the cosine of some angle.
    first, second = (0.1 * x for x in _pair(draw, (4, 1, 16)))
    yield Case("weaker noises", (first, second, draw.uniform(4, low=0.2, high=0.4)))
    first, second = _pair(draw, (4, 1, 16))
    second = second * _column(-_cosine(first, second).sign(), second)
    yield Case("more than a right angle apart", (first, second, draw.uniform(4, low=0.2, high=0.4)))
    # Signs and powers of 2: norms and products are exact, and so the cosine is exactly 1.
    first = (2.0 * draw.integers(0, 2, 3, 1, 16) - 1).double()
    amount = draw.uniform(3, low=0.2, high=0.8)
    yield Case("both point the same way", (first, 2 * first, amount), "the same way")
    # So many that, however it is computed, some cosine comes out above 1.
    several = draw.normal(60, 7)
    longer = several * draw.uniform(60, 1, low=1.1, high=1.9)
    yield Case("the same way, up to rounding", (several, longer, draw.uniform(60)), "the same way")
    # One pair at a small angle and one at none, among others.
    several, other = _pair(draw, (4, 1, 16))
    across = draw.normal(1, 16)
    across = across - several[1] * (several[1] * across).sum() / several[1].square().sum()
    lean = draw.number(0.02, 0.03) * several[1].norm() / across.norm()
    other[1], several[2], other[2] = several[1] + lean * across, first[0], 2 * first[0]
    amount = draw.uniform(4, low=0.3, high=0.7)
    yield Case("nearly and exactly the same way, among others", (several, other, amount), "the same way")


def even_pace_on_the_sphere(piece, draw: Draw):
    """Between noises of one length: that length all the way, and an angle that grows with the amount."""
    first, second = (x / x.norm(dim=1, keepdim=True) for x in (draw.normal(5, 12), draw.normal(5, 12)))
    amount = draw.uniform(5, low=0.1, high=0.9)
    found = piece(3 * first, 3 * second, amount) / 3
    length = found.norm(dim=1)
    if not bool(((length - 1).abs() < 1e-6).all()):
        return f"between two noises of length 1 the length becomes {float(length.min()):.4g}"
    angles = [torch.arccos((first * x).sum(1).clamp(-1, 1)) for x in (found, second)]
    shares = angles[0] / angles[1]
    if bool(((shares - amount).abs() < 1e-5).all()):
        return None
    return f"at amount {float(amount[0]):.3g} it has gone {float(shares[0]):.3g} of the angle"


def stays_typical(piece, draw: Draw):
    """Half way between two independent noises the variance is still 1."""
    first, second = draw.normal(4, 1, 4000), draw.normal(4, 1, 4000)
    found = piece(first, second, torch.full((4,), 0.5, dtype=torch.float64))
    variance = float(found.square().mean())
    return None if abs(variance - 1) < 0.06 else f"half way between two noises the variance is {variance:.3g}, not 1"


EXERCISE = Exercise(
    chapter="audio",
    kind="data",
    title="Between two noises",
    statement=r"""
Nearly all normal noise of $d$ entries has a norm near $\sqrt d$: it lies on a thin shell. The straight line between two
noises leaves the shell, so the sound half way is dull. Go along the sphere. With $\theta$ the angle between the noises
$a$ and $b$, each taken as one long vector, and $u$ the amount,

$$
\begin{gathered}
\frac{\sin((1 - u)\,\theta)}{\sin\theta}\, a + \frac{\sin(u\,\theta)}{\sin\theta}\, b, \\
\cos\theta = \frac{a \cdot b}{\lVert a \rVert\, \lVert b \rVert}.
\end{gathered}
$$

Where $a$ and $b$ point the same way, $\theta = 0$, and the limit is the straight line. A small angle is not yet 0: the
line is for pairs whose sine is too small to divide by, and for those alone.
""",
    reference=slerp,
    parts={"values": 3, "any shape": 1, "the same way": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("an even pace on the sphere", even_pace_on_the_sphere),
        Property("half way, the variance is still 1", stays_typical),
    ),
    wrong_answers=(
        wrong(linear_interpolation),
        wrong(straight_line_with_its_length_restored),
        wrong(roots_of_the_shares),
        wrong(angle_without_norms),
        wrong(angle_without_norms_kept_off_the_ends),
        wrong(one_angle_for_the_batch),
        wrong(angle_along_the_last_axis),
        wrong(amount_turned_around),
        wrong(divided_by_zero),
        wrong(cosine_beyond_one),
        wrong(straight_line_too_early),
        wrong(straight_line_for_all),
        wrong(first_where_both_point_the_same_way),
        wrong(amount_along_the_last_axis),
    ),
    right_answers=(
        right(one_sample_at_a_time),
        right(turning_towards_the_second),
        right(through_numpy),
        right(float64_inside),
    ),
    hints=(
        "What is the norm half way between two vectors at right angles?",
        "One angle for each sample, from its flattened entries; look at sin(angle) = 0 apart.",
    ),
    source="Shoemake 1985; for noises of diffusion models Song et al. 2021a, section 5.3",
)
