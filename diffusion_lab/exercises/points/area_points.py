"""area_points: points on a mesh, uniform over its area."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def area_points(vertices: Tensor, faces: Tensor, uniforms: Tensor) -> Tensor:
    """Points on the triangles of a mesh: a triangle of twice the area gets twice as many on average.

    Args:
        vertices: (V, 3).
        faces: (F, 3) int64, each row the three vertices of a triangle; some may have no area, but not all.
        uniforms: (P, 3) in [0, 1): the first chooses the triangle, the other two the place in it.

    Returns:
        (P, 3), one point for each row of uniforms. The triangle is the first, in the order of `faces`, up to which the
        share of area exceeds the first number. With its corners a, b, c and the other two numbers v and w the point is
        (1 - r) a + r (1 - w) b + r w c, where r is the root of v.
    """
    a, b, c = vertices[faces].unbind(dim=1)  # (F, 3) each
    areas = torch.linalg.cross(b - a, c - a).norm(dim=1) / 2
    shares = areas.cumsum(dim=0)
    chosen = torch.searchsorted(shares, uniforms[:, 0].contiguous() * shares[-1], right=True).clamp(max=len(faces) - 1)
    r, w = uniforms[:, 1:2].sqrt(), uniforms[:, 2:3]
    return (1 - r) * a[chosen] + r * (1 - w) * b[chosen] + r * w * c[chosen]


def _areas(vertices, faces):
    a, b, c = vertices[faces].unbind(dim=1)
    return torch.linalg.cross(b - a, c - a).norm(dim=1) / 2


def _chosen(areas, u):
    shares = areas.cumsum(dim=0)
    return torch.searchsorted(shares, u.contiguous() * shares[-1], right=True).clamp(max=len(areas) - 1)


def _placed(vertices, faces, chosen, r, w):
    a, b, c = vertices[faces[chosen]].unbind(dim=1)
    return (1 - r) * a + r * (1 - w) * b + r * w * c


def every_triangle_alike(vertices, faces, uniforms):
    """Every triangle was as likely as every other, so that points crowd where the mesh is fine. Choose a triangle by
    its share of the area."""
    chosen = (uniforms[:, 0] * len(faces)).long()
    return _placed(vertices, faces, chosen, uniforms[:, 1:2].sqrt(), uniforms[:, 2:3])


def no_root(vertices, faces, uniforms):
    """The root of the second number is missing: without it points crowd at the first corner. Half of the area of a
    triangle lies beyond 1 / sqrt(2) of the way from a corner to the other side."""
    chosen = _chosen(_areas(vertices, faces), uniforms[:, 0])
    return _placed(vertices, faces, chosen, uniforms[:, 1:2], uniforms[:, 2:3])


def root_of_the_other_number(vertices, faces, uniforms):
    """The root was taken of the third number, which goes along the side b c. It belongs to the second, which goes away
    from a."""
    chosen = _chosen(_areas(vertices, faces), uniforms[:, 0])
    return _placed(vertices, faces, chosen, uniforms[:, 1:2], uniforms[:, 2:3].sqrt())


def both_roots(vertices, faces, uniforms):
    """The root was taken of both numbers. Along the side b c equal lengths are equally likely: only the way from a
    needs a root."""
    chosen = _chosen(_areas(vertices, faces), uniforms[:, 0])
    return _placed(vertices, faces, chosen, uniforms[:, 1:2].sqrt(), uniforms[:, 2:3].sqrt())


def outside_the_triangle(vertices, faces, uniforms):
    """The place is a + v (b - a) + w (c - a), which fills a parallelogram: half of the points lie outside the
    triangle."""
    chosen = _chosen(_areas(vertices, faces), uniforms[:, 0])
    a, b, c = vertices[faces[chosen]].unbind(dim=1)
    return a + uniforms[:, 1:2] * (b - a) + uniforms[:, 2:3] * (c - a)


def weights_made_to_sum_to_one(vertices, faces, uniforms):
    """Three numbers were divided by their sum, which does not make points uniform: they crowd in the middle."""
    chosen = _chosen(_areas(vertices, faces), uniforms[:, 0])
    weights = torch.cat([1 - uniforms[:, 1:2], uniforms[:, 1:]], dim=1)
    weights = weights / weights.sum(dim=1, keepdim=True)
    return (weights.unsqueeze(2) * vertices[faces[chosen]]).sum(dim=1)


def corners_swapped(vertices, faces, uniforms):
    """The corners a and c have each other's weights. It is uniform as well, but not the point asked for."""
    chosen = _chosen(_areas(vertices, faces), uniforms[:, 0])
    return _placed(vertices, faces.flip(1), chosen, uniforms[:, 1:2].sqrt(), uniforms[:, 2:3])


def second_and_third_corner_swapped(vertices, faces, uniforms):
    """The corners b and c have each other's weights: b has r (1 - w), and c has r w."""
    chosen = _chosen(_areas(vertices, faces), uniforms[:, 0])
    return _placed(vertices, faces[:, [0, 2, 1]], chosen, uniforms[:, 1:2].sqrt(), uniforms[:, 2:3])


def area_squared(vertices, faces, uniforms):
    """Triangles were weighted by the square of their area: the length of the cross product needs its root."""
    chosen = _chosen(_areas(vertices, faces).square(), uniforms[:, 0])
    return _placed(vertices, faces, chosen, uniforms[:, 1:2].sqrt(), uniforms[:, 2:3])


def by_perimeter(vertices, faces, uniforms):
    """Triangles were weighted by the length of their sides. A long thin triangle has much of that and little area."""
    a, b, c = vertices[faces].unbind(dim=1)
    around = (b - a).norm(dim=1) + (c - b).norm(dim=1) + (a - c).norm(dim=1)
    return _placed(vertices, faces, _chosen(around, uniforms[:, 0]), uniforms[:, 1:2].sqrt(), uniforms[:, 2:3])


def area_by_dot_product(vertices, faces, uniforms):
    """The dot product of two sides was taken for the area. It is 0 at a right angle: the cross product is what has the
    area for its length."""
    a, b, c = vertices[faces].unbind(dim=1)
    chosen = _chosen(((b - a) * (c - a)).sum(dim=1).abs(), uniforms[:, 0])
    return _placed(vertices, faces, chosen, uniforms[:, 1:2].sqrt(), uniforms[:, 2:3])


def area_of_the_shadow(vertices, faces, uniforms):
    """Only the z part of the cross product was used, the area of the shadow on the floor. An upright wall has none:
    take the length of all three parts."""
    a, b, c = vertices[faces].unbind(dim=1)
    chosen = _chosen(torch.linalg.cross(b - a, c - a)[:, 2].abs(), uniforms[:, 0])
    return _placed(vertices, faces, chosen, uniforms[:, 1:2].sqrt(), uniforms[:, 2:3])


def one_triangle_further(vertices, faces, uniforms):
    """Each point lies in the triangle behind the right one. The triangle is the first up to which the share exceeds the
    number, itself included."""
    chosen = (_chosen(_areas(vertices, faces), uniforms[:, 0]) + 1).clamp(max=len(faces) - 1)
    return _placed(vertices, faces, chosen, uniforms[:, 1:2].sqrt(), uniforms[:, 2:3])


def border_to_the_triangle_before(vertices, faces, uniforms):
    """A number that falls on a border went to the triangle before it, so that 0 can choose a triangle without any area.
    The share of area up to the triangle must exceed the number: being equal is not enough."""
    shares = _areas(vertices, faces).cumsum(dim=0)
    chosen = torch.searchsorted(shares, uniforms[:, 0].contiguous() * shares[-1]).clamp(max=len(faces) - 1)
    return _placed(vertices, faces, chosen, uniforms[:, 1:2].sqrt(), uniforms[:, 2:3])


def areas_not_made_shares(vertices, faces, uniforms):
    """The number between 0 and 1 was looked up among areas that do not add up to 1. Divide them by their sum, or
    multiply the number by it."""
    shares = _areas(vertices, faces).cumsum(dim=0)
    chosen = torch.searchsorted(shares, uniforms[:, 0].contiguous(), right=True).clamp(max=len(faces) - 1)
    return _placed(vertices, faces, chosen, uniforms[:, 1:2].sqrt(), uniforms[:, 2:3])


def only_vertices(vertices, faces, uniforms):
    """These are corners of triangles, not points in them: a mesh has few vertices where it is flat."""
    return vertices[faces[_chosen(_areas(vertices, faces), uniforms[:, 0]), 0]]


def numbers_of_the_place_swapped(vertices, faces, uniforms):
    """The second and the third number have changed places. It is uniform as well, but not the point asked for: the
    second one, v, goes away from a by its root, and the third, w, goes along the side b c."""
    chosen = _chosen(_areas(vertices, faces), uniforms[:, 0])
    return _placed(vertices, faces, chosen, uniforms[:, 2:3].sqrt(), uniforms[:, 1:2])


def triangle_by_triangle(vertices, faces, uniforms):
    corners = vertices[faces]
    areas = [float((c[1] - c[0]).cross(c[2] - c[0], dim=0).norm()) for c in corners]
    points = []
    for u, v, w in uniforms:
        left = float(u) * sum(areas)
        row = 0
        while row < len(areas) - 1 and left >= areas[row]:
            left -= areas[row]
            row += 1
        a, b, c = corners[row]
        points.append(a + v.sqrt() * ((b - a) + w * (c - b)))
    return torch.stack(points)


def by_heron(vertices, faces, uniforms):
    corners = vertices[faces].double()
    x, y, z = ((corners[:, i] - corners[:, i - 1]).norm(dim=1) for i in range(3))
    half = (x + y + z) / 2
    areas = (half * (half - x) * (half - y) * (half - z)).clamp(min=0).sqrt()
    shares = areas.cumsum(dim=0) / areas.sum()
    chosen = (uniforms[:, :1] >= shares).sum(dim=1).clamp(max=len(faces) - 1)
    r, w = uniforms[:, 1].sqrt(), uniforms[:, 2]
    weights = torch.stack([1 - r, r * (1 - w), r * w], dim=1)
    return torch.einsum("pk,pkd->pd", weights, vertices[faces[chosen]])


def through_numpy(vertices, faces, uniforms):
    import numpy as np

    corners, u = vertices.numpy()[faces.numpy()], uniforms.numpy()
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    shares = np.cumsum(areas) / areas.sum()
    rows = np.minimum(np.searchsorted(shares, u[:, 0], side="right"), len(shares) - 1)
    a, b, c = (corners[rows, i] for i in range(3))
    r, w = np.sqrt(u[:, 1:2]), u[:, 2:3]
    return torch.from_numpy(a * (1 - r) + b * r * (1 - w) + c * r * w)


def _mesh(draw, vertices, faces):
    """Triangles of very different sizes."""
    places = draw.normal(vertices, 3) * draw.uniform(vertices, 1, low=0.3, high=2.5)
    rows = torch.stack([draw.permutation(vertices)[:3] for _ in range(faces)])
    return places, rows


def _uniforms(draw, vertices, faces, count):
    """The numbers of the points (count, 3); the first never lies near a border between two triangles."""
    shares = _areas(vertices, faces).cumsum(dim=0) / _areas(vertices, faces).sum()
    numbers = draw.uniform(count, 3, low=0.01, high=0.98)
    near = (numbers[:, :1] - shares).abs().min(dim=1).values < 1e-3
    numbers[:, 0] = torch.where(near, (numbers[:, 0] + 3e-3).clamp(max=0.985), numbers[:, 0])
    return numbers


def cases(draw: Draw):
    for label, vertices, faces, count in (
        ("a mesh", draw.integer(6, 9), draw.integer(7, 12), draw.integer(30, 50)),
        ("as many triangles as vertices and points", 6, 6, 6),
        ("one triangle", 3, 1, draw.integer(10, 15)),
        ("one point", draw.integer(6, 9), draw.integer(7, 12), 1),
    ):
        mesh = _mesh(draw, vertices, faces)
        part = "any shape" if label.startswith(("as", "one")) else "values"
        yield Case(label, (*mesh, _uniforms(draw, *mesh, count)), part)
    places, rows = _mesh(draw, 7, 9)
    rows[3, 2], rows[8, 1] = rows[3, 1], rows[8, 0]
    yield Case("triangles without any area", (places, rows, _uniforms(draw, places, rows, 40)))
    # No area comes before the second triangle, exactly: 0 is the border between it and the first.
    places, rows = _mesh(draw, 7, 9)
    rows[0, 1] = rows[0, 0]
    numbers = _uniforms(draw, places, rows, 12)
    numbers[::3, 0] = 0
    yield Case("a first triangle without any area, and numbers that are 0", (places, rows, numbers))
    size = draw.number(1.0, 2.0)
    corners = torch.tensor([[0, 0, 0], [3, 0, 0], [3, 1, 0], [0, 1, 0], [0, 0, 2], [3, 0, 2]], dtype=torch.float64)
    walls = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 1, 5], [0, 5, 4]])
    yield Case("a floor and an upright wall", (size * corners, walls, _uniforms(draw, corners, walls, 40)))


def means(piece, draw: Draw):
    """Over a fine grid of numbers the points' mean is that of the areas' centres, and each lies in a triangle."""
    places, rows = _mesh(draw, 6, 5)
    n = 60
    line = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    areas = _areas(places, rows)
    # Within each triangle a grid of places; the numbers that choose it lie in the middle of its share.
    middles = (areas.cumsum(0) - areas / 2) / areas.sum()
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1).reshape(-1, 2)
    off = 0.0
    for middle, corners in zip(middles, places[rows], strict=True):
        numbers = torch.cat([middle.expand(len(grid), 1), grid], dim=1)
        points = piece(places, rows, numbers).double()
        # For points uniform on a triangle: their mean is its centre, their covariance that of the corners over 12.
        centre = corners.mean(dim=0)
        away, spread = points - centre, (corners - centre).T @ (corners - centre) / 12
        off = max(off, float((away.T @ away / len(away) - spread).abs().max()), float(away.mean(dim=0).abs().max()))
    if off < 0.03:
        return None
    return f"points uniform on a triangle have its centre as mean and a known covariance; yours are off by {off:.3g}"


EXERCISE = Exercise(
    chapter="points",
    kind="data",
    title="Points on a mesh, by area",
    statement=r"""
A mesh has few large triangles where it is flat and many small ones where it bends. Whoever takes its vertices, or every
triangle as often as every other, gets a cloud that shows how the mesh was drawn and not the shape. Choose a triangle
with the probability of its share of the whole area, which is half the length of $(b - a) \times (c - a)$. Then a place
in it: with $r = \sqrt v$,

$$p = (1 - r)\, a + r\, (1 - w)\, b + r\, w\, c .$$

The root makes it uniform: the part of a triangle within the share $r$ of the way from $a$ has the area $r^2$.
""",
    reference=area_points,
    parts={"values": 3, "any shape": 1, CARE: 1},
    cases=cases,
    properties=(Property("mean and covariance on each triangle", means),),
    wrong_answers=(
        wrong(every_triangle_alike),
        wrong(no_root),
        wrong(root_of_the_other_number),
        wrong(both_roots),
        wrong(outside_the_triangle),
        wrong(weights_made_to_sum_to_one),
        wrong(corners_swapped),
        wrong(second_and_third_corner_swapped),
        wrong(area_squared),
        wrong(by_perimeter),
        wrong(area_by_dot_product),
        wrong(area_of_the_shadow),
        wrong(one_triangle_further),
        wrong(border_to_the_triangle_before),
        wrong(areas_not_made_shares),
        wrong(only_vertices),
        wrong(numbers_of_the_place_swapped),
    ),
    right_answers=(right(triangle_by_triangle), right(by_heron), right(through_numpy)),
    hints=(
        "Which triangles should get more points, and how much of the area lies close to one corner?",
        "Cumulative areas and `torch.searchsorted` choose the triangle; the root of v says how far from a.",
    ),
    source="Osada, Funkhouser, Chazelle & Dobkin 2002, section 4.1, equation 1",
)
