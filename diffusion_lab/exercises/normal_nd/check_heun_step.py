"""check_heun_step: a check by order of convergence."""

import math

import torch

from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.normal_nd import heun_step
from diffusion_lab.exercises.probes import NormalDenoiser

MEAN, STD = 1.0, 0.5


def check_heun_step(piece) -> None:
    """Fail where the piece is not a step of Heun's method.

    Args:
        piece: called as piece(x, sigma, sigma_next), like `heun_step` in chapter 4 with the denoiser of N(1, 0.5^2).
    """
    x = torch.tensor([[-3.0], [0.4], [5.0]], dtype=torch.float64)

    def width(sigma):  # of the normal at that level; distances to the mean shrink alike
        return math.sqrt(0.5**2 + sigma**2)

    for sigma in (0.05, 1.0, 4.0):
        last = piece(x, sigma, 0.0)
        assert last.shape == x.shape, "the shape of x"
        assert torch.allclose(last, 1 + 0.25 / width(sigma) ** 2 * (x - 1)), "the step to 0"
    for high, low in ((4.0, 0.3), (0.09, 0.01)):
        exact, errors = 1 + (x - 1) * width(low) / width(high), []
        for steps in (4, 8):
            levels = torch.linspace(high**0.5, low**0.5, steps + 1, dtype=torch.float64).square().tolist()
            walked = x
            for i in range(steps):
                walked = piece(walked, levels[i], levels[i + 1])
            errors.append(float((walked - exact).abs().max()))
        order = math.log2(errors[0] / errors[1])
        assert errors[1] < 0.02 and 1.7 < order < 2.5, f"order {order:.2f} from {high} to {low}"


def in_the_right_direction(piece):
    """A step towards the data comes nearer to them, at any order."""
    x = torch.full((3, 1), 5.0, dtype=torch.float64)
    assert (piece(x, 3.0, 1.0) - 1).abs().max() < 4


def small_errors(piece):
    """With many steps first order is accurate too."""
    x = torch.full((3, 1), 5.0, dtype=torch.float64)
    assert torch.allclose(piece(x, 3.0, 2.9), 1 + (x - 1) * (0.25 + 2.9**2) ** 0.5 / 9.25**0.5, atol=0.02)


def the_last_step(piece):
    """Euler's step and Heun's are the same there."""
    x = torch.full((3, 1), 5.0, dtype=torch.float64)
    assert torch.allclose(piece(x, 2.0, 0.0), 1 + 0.25 / 4.25 * (x - 1))


def with_the_normal_denoiser(heun):
    """A step with the exact denoiser of N(1, 0.5^2) already in it."""
    mean, cov = torch.tensor([MEAN], dtype=torch.float64), torch.tensor([[STD**2]], dtype=torch.float64)
    return lambda x, sigma, sigma_next: heun(NormalDenoiser(mean, cov), x, sigma, sigma_next)


TASK = CheckTask(
    exercise=heun_step.EXERCISE,
    title="Check the order of a step",
    statement=r"""
The piece is `heun_step` of chapter 4 with a denoiser already in it: it is called as `piece(x, sigma, sigma_next)`,
with `x` of shape `(B, 1)` in float64. The denoiser is the exact one of data from $\mathcal N(1, 0.5^2)$, so the path
is known: the distance to the mean shrinks like the standard deviation, $x(\sigma) - 1 \propto \sqrt{0.5^2 +
\sigma^2}$, and the denoiser says $D(x, \sigma) = 1 + \frac{0.5^2}{0.5^2 + \sigma^2} (x - 1)$. The piece promises:

- steps of second order, at every level: with twice as many, the error is a quarter;
- that the step to $\sigma = 0$ ends at $D(x, \sigma)$.

Test the **order of convergence**. That one step comes out nearly right says nothing, for a method of first order does
so as well. Walk the same way with $n$ and with $2n$ steps and compare the two errors.
""",
    reference=check_heun_step,
    naive=(in_the_right_direction, small_errors, the_last_step),
    seen_as=with_the_normal_denoiser,
    beyond=("midpoint", "no correction close to 0"),  # so close to 0 no walk is long enough to show an order
    hints=("What does the logarithm of the ratio of two errors say?", "Are small levels walked like large ones?"),
    source="Karras et al. 2022, algorithm 1",
)
