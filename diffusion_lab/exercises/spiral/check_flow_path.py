"""check_flow_path: a check by what a flow conserves."""

import torch

from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.spiral import flow_path


def check_flow_path(piece) -> None:
    """Fail where the piece is not the straight path from data to noise.

    Args:
        piece: called as piece(noise, data, t), like `flow_path` in chapter 6.
    """
    generator = torch.Generator().manual_seed(0)
    for shape in ((4, 4), (4, 3, 2, 2), (4,)):
        noise, data = (2 * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
        zero, one = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
        assert torch.allclose(piece(noise, data, zero), data), "t = 0 is the data"
        assert torch.allclose(piece(noise, data, one), noise), "t = 1 is the noise"
        t = torch.tensor([0.0, 0.2, 0.5, 0.9], dtype=torch.float64)
        found = piece(noise, data, t)
        assert found.shape == data.shape, "the shape of the data"
        assert torch.allclose(found[2:3], piece(noise[2:3], data[2:3], t[2:3])), "each sample has its own time"
        # Along a straight line the velocity stays as it is: at every time it is noise - data.
        velocity = (piece(noise, data, t + 0.1) - found) / 0.1
        assert torch.allclose(velocity, noise - data), "the velocity stays as it is"
        # What both ends share is shared by all of the path.
        assert torch.allclose(piece(data, data, t), data), "a path from a point to itself does not move"


def both_ends(piece):
    """Every path has ends; this says nothing of the way between."""
    noise, data = torch.ones(3, 2), torch.zeros(3, 2)
    assert torch.allclose(piece(noise, data, torch.zeros(3)), data)


def from_nowhere(piece):
    """Between 0 and 0 nearly every path stays at 0."""
    zero = torch.zeros(3, 2)
    assert torch.equal(piece(zero, zero, torch.full((3,), 0.5)), zero)


def still_a_shape(piece):
    """The shape alone."""
    assert piece(torch.ones(3, 2), torch.ones(3, 2), torch.ones(3)).shape == (3, 2)


TASK = CheckTask(
    exercise=flow_path.EXERCISE,
    title="Check a path by what it keeps",
    statement=r"""
The piece is `flow_path` of chapter 6, called as `piece(noise, data, t)`. It promises the straight path: at $t = 0$
the data, at $t = 1$ the noise, and between them a velocity that never changes, $\frac{d x_t}{d t} = \varepsilon -
x_0$. Each sample has a time of its own, and data may have any shape `(B, *S)`.

Test what is **conserved**. A straight line keeps its velocity, which two points of the piece show without a formula;
a path whose ends agree keeps still. Circles and other curves have the same ends, and give themselves away there.
""",
    reference=check_flow_path,
    naive=(both_ends, from_nowhere, still_a_shape),
    hints=("How do you get a velocity out of a piece that gives positions?", "Give every sample another time."),
    source="Liu et al. 2023, equation 1; Lipman et al. 2023",
)
