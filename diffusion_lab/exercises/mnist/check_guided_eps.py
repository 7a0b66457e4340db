"""check_guided_eps: a check by limits."""

import torch

from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.mnist import guided_eps


def check_guided_eps(piece) -> None:
    """Fail where the piece is not classifier-free guidance.

    Args:
        piece: called as piece(eps_cond, eps_uncond, scale), like `guided_eps` in chapter 5.
    """
    generator = torch.Generator().manual_seed(0)
    for shape in ((4, 1, 3, 3), (3, 3), (5,)):
        cond, uncond = (4 * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
        assert torch.allclose(piece(cond, uncond, 0.0), uncond), "scale 0 ignores the label"
        assert torch.allclose(piece(cond, uncond, 1.0), cond), "scale 1 is the conditional guess"
        for scale in (0.3, 2.5, 7.0):
            found = piece(cond, uncond, scale)
            assert found.shape == cond.shape, "the shape of the guesses"
            # On the line through both guesses, as far from each as the scale says.
            assert torch.allclose(found - uncond, scale * (cond - uncond)), f"scale {scale}"
            assert torch.allclose(piece(cond, cond, scale), cond), "without a difference nothing changes"


def the_conditional_guess(piece):
    """At scale 1 the ways to be wrong agree."""
    cond, uncond = torch.ones(3, 2), torch.zeros(3, 2)
    assert torch.allclose(piece(cond, uncond, 1.0), cond)


def nothing_to_guide(piece):
    """Two guesses that agree hide which is which."""
    cond = torch.ones(3, 2)
    assert torch.allclose(piece(cond, cond, 3.0), cond)


def beyond_it(piece):
    """That the scale does something is not yet guidance."""
    cond, uncond = torch.ones(3, 2), torch.zeros(3, 2)
    assert not torch.allclose(piece(cond, uncond, 3.0), piece(cond, uncond, 0.5))


TASK = CheckTask(
    exercise=guided_eps.EXERCISE,
    title="Check guidance at its limits",
    statement=r"""
The piece is `guided_eps` of chapter 5, called as `piece(eps_cond, eps_uncond, scale)`. It promises a point on the
straight line through both guesses: at scale 0 the guess without a label, at scale 1 the one with it, beyond that as
far as the scale says. Nothing is clipped or brought back to another size.

Test **limits**, and what lies between and beyond them. At a limit a formula becomes so simple that you know the
answer; but several formulas can have the same limits. So add a scale between the limits and one far outside, and
guesses as large as networks give them.
""",
    reference=check_guided_eps,
    naive=(the_conditional_guess, nothing_to_guide, beyond_it),
    hints=("Which wrong formulas agree with the right one at scale 1?", "How large are your guesses?"),
    source="Ho and Salimans 2022, equation 6",
)
