"""check_ddim_invert_step: a check by going back."""

import torch
from torch import nn

from diffusion_lab.exercises.audio import ddim_invert_step
from diffusion_lab.exercises.checks import CheckTask

LEVELS = (0.999, 0.9, 0.6, 0.3, 0.05)


class OnePoint(nn.Module):
    """The exact eps of data that are all the same number, 2."""

    def forward(self, x, t):
        kept = torch.tensor(LEVELS, dtype=x.dtype)[t].reshape(-1, *[1] * (x.ndim - 1))
        return (x - 2 * kept.sqrt()) / (1 - kept).sqrt()


def check_ddim_invert_step(piece) -> None:
    """Fail where the piece is not a DDIM step upwards.

    Args:
        piece: called as piece(x, s, t), like `ddim_invert_step` in chapter 8 with five levels and the network of data
            that are all 2.
    """
    levels = torch.tensor([0.999, 0.9, 0.6, 0.3, 0.05], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 1, 4), (3, 3)):
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        path = [2 * kept.sqrt() + (1 - kept).sqrt() * noise for kept in levels]
        for s in range(len(levels)):
            for t in range(s + 1, len(levels)):
                found = piece(path[s], s, t)
                assert found.shape == noise.shape, "the shape of x"
                assert torch.allclose(found, path[t]), f"the same noise, from {s} to {t}"
                # The way back by the step of sampling, written out for this network.
                eps = (found - 2 * levels[t].sqrt()) / (1 - levels[t]).sqrt()
                back = levels[s].sqrt() * 2 + (1 - levels[s]).sqrt() * eps
                assert torch.allclose(back, path[s]), f"and back, from {t} to {s}"


def it_gets_noisier(piece):
    """Every way up leads away from the data."""
    x = torch.full((3, 4), 2.5, dtype=torch.float64)
    assert (piece(x, 0, 4) - 2).abs().max() > 0.1


def the_same_twice(piece):
    """Without randomness a mistake is the same twice too."""
    x = torch.full((3, 4), 2.5, dtype=torch.float64)
    assert torch.equal(piece(x, 0, 3), piece(x, 0, 3))


def a_clean_sound(piece):
    """Clean data have no noise, and all that is done to the noise goes unseen."""
    x = torch.full((3, 4), 2 * 0.999**0.5, dtype=torch.float64)
    assert piece(x, 0, 1).shape == x.shape


def with_one_point(invert):
    """A step with five levels and the network of one point already in it."""
    return lambda x, s, t: invert(OnePoint(), x, s, t, torch.tensor(LEVELS, dtype=torch.float64))


TASK = CheckTask(
    exercise=ddim_invert_step.EXERCISE,
    title="Check a way up by the way down",
    statement=r"""
The piece is `ddim_invert_step` of chapter 8 with a network already in it: it is called as `piece(x, s, t)`, with `x`
of shape `(B, *S)` in float64, and levels $s < t$ from 0 to 4, whose $\bar\alpha$ are 0.999, 0.9, 0.6, 0.3 and 0.05.
The network is the exact one of data that are all the number 2: it guesses $\hat\varepsilon = (x - 2
\sqrt{\bar\alpha}) / \sqrt{1 - \bar\alpha}$, at the level that it is told. For these data the piece promises a way
without any error: the noise that is in $x$ at level $s$ is in the result at level $t$.

Test **invertibility**. Up by the piece and down by the step of sampling must lead back, for every pair of levels. And
draw the noise yourself, so that you know what must come out above: some mistakes lead somewhere else and back again.
""",
    reference=check_ddim_invert_step,
    naive=(it_gets_noisier, the_same_twice, a_clean_sound),
    seen_as=with_one_point,
    hints=("What is known of x at level t before the piece is asked?", "Skip levels too."),
    source="Song et al. 2021 (DDIM), section 4.3",
)
