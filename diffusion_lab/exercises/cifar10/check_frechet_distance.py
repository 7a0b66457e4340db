"""check_frechet_distance: a check by the axioms of a distance."""

import torch

from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.cifar10 import frechet_distance


def check_frechet_distance(piece) -> None:
    """Fail where the piece is not the Fréchet distance of two sets of features.

    Args:
        piece: called as piece(features1, features2), like `frechet_distance` in chapter 7.
    """
    generator = torch.Generator().manual_seed(0)
    one, mixing = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (9, 3))
    other = torch.randn(12, 3, generator=generator, dtype=torch.float64) @ mixing + 2
    apart = piece(one, other)
    assert apart.shape == () and apart.is_floating_point() and apart > 0, "one real number above 0"
    assert abs(piece(one, one)) < 1e-6, "nothing lies between a set and itself"
    assert torch.allclose(piece(other, one), apart), "the same both ways"
    assert torch.allclose(piece(3 * one, 3 * other), 9 * apart), "squared units"
    turn = torch.linalg.qr(mixing)[0]
    assert torch.allclose(piece(one @ turn, other @ turn), apart), "a rotation of both changes nothing"
    # A symmetric positive matrix moves a normal by the shortest way, so that the distance is the mean square move.
    stretch = mixing @ mixing.T + torch.eye(3, dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    move = stretch - torch.eye(3, dtype=torch.float64)
    means = (one.mean(0) @ move + shift).square().sum()
    wanted = means + (move @ torch.cov(one.T) @ move).trace()
    assert torch.allclose(piece(one, one @ stretch + shift), wanted), "a stretch"
    for rows, others in ((4, 9), (9, 4)):
        assert piece(one[:rows], other[:others]).isfinite(), "D + 1 rows are enough"
    for rows, others in ((3, 9), (9, 3), (2, 9)):
        assert piece(one[:rows], other[:others]).isnan(), "fewer are not"


def zero_to_itself(piece):
    """Many numbers are 0 for a set and itself."""
    one = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert abs(piece(one, one)) < 1e-4


def symmetric(piece):
    """A wrong distance is as symmetric as the right one."""
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(9, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    assert torch.allclose(piece(one, other), piece(other, one))


def farther_is_more(piece):
    """That it grows with the distance of the means leaves out the covariances."""
    one = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert piece(one, one + 2) > piece(one, one + 1)


TASK = CheckTask(
    exercise=frechet_distance.EXERCISE,
    title="Check a distance by its axioms",
    statement=r"""
The piece is `frechet_distance` of chapter 7, called as `piece(features1, features2)` with features `(N, D)` and `(M,
D)`. It promises the squared Fréchet distance of the two fitted normal distributions, one real number, with
covariances divided by $N - 1$, and nan where a set has fewer than $D + 1$ rows.

Test the **axioms**: a set has no distance to itself, the way there is as long as the way back, a rotation of both
sets changes nothing, and twice the features are four times the number. Axioms find much and not all: a number can
keep them and be another distance. So add a case in which the truth is known. A map $x \mapsto A x + b$ with $A$
symmetric and positive moves a normal distribution by the shortest way, and the distance is the mean square of the
moves.
""",
    reference=check_frechet_distance,
    naive=(zero_to_itself, symmetric, farther_is_more),
    hints=("Do your features correlate?", "Which of the two sets may be too small?"),
    source="Heusel et al. 2017; Dowson and Landau 1982",
)
