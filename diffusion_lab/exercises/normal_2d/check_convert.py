"""check_convert: a check by inverses and symmetry."""

import torch

from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.normal_2d import convert


def check_convert(piece) -> None:
    """Fail where the piece does not turn predictions of every kind into every other.

    Args:
        piece: called as piece(prediction, x, alpha_bar_t, source, target), like `convert` in chapter 2.
    """
    generator = torch.Generator().manual_seed(0)
    for shape in ((4, 2, 4), (5,)):
        x0, eps = (3 * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
        kept = torch.rand(shape[0], generator=generator, dtype=torch.float64)
        kept[0], kept[-1] = 0.001, 0.999
        alpha, sigma = (level.sqrt().reshape(-1, *[1] * (len(shape) - 1)) for level in (kept, 1 - kept))
        # Data and noise come first, so what is true of each kind is known without any conversion.
        x, truth = alpha * x0 + sigma * eps, {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0}
        for i, source in enumerate(truth):
            for target in list(truth)[i:]:
                found = piece(truth[source], x, kept, source, target)
                assert found.shape == x.shape, "the shape of x"
                assert torch.allclose(found, truth[target]), f"from {source} to {target}"
                if source != target:  # there and back: between them, all nine
                    back = piece(found, x, kept, target, source)
                    assert torch.allclose(back, truth[source]), f"and from {target} back"


def there_and_back(piece):
    """A round trip undoes a mistake that is made both ways."""
    x, eps, kept = torch.randn(6, 2), torch.randn(6, 2), torch.full((6,), 0.5)
    assert torch.allclose(piece(piece(eps, x, kept, "eps", "v"), x, kept, "v", "eps"), eps, atol=1e-4)


def into_itself(piece):
    """From a kind into itself nothing is computed."""
    x, eps, kept = torch.ones(6, 2), torch.ones(6, 2), torch.full((6,), 0.5)
    for kind in ("eps", "x0", "v"):
        assert torch.allclose(piece(eps, x, kept, kind, kind), eps, atol=1e-4)


def one_direction(piece):
    """One of the nine conversions, at one level: alpha and sigma are even the same there."""
    x, eps, kept = torch.ones(6, 2), torch.zeros(6, 2), torch.full((6,), 0.5)
    assert torch.allclose(piece(eps, x, kept, "eps", "x0"), x * 2**0.5, atol=1e-4)


TASK = CheckTask(
    exercise=convert.EXERCISE,
    title="Check the conversions",
    statement=r"""
The piece is `convert` of chapter 2, called as `piece(prediction, x, alpha_bar_t, source, target)`. It promises that
the result is the same statement about $x$ in another form: where $x = \sqrt{\bar\alpha}\, x_0 + \sqrt{1 -
\bar\alpha}\, \varepsilon$ and $v = \sqrt{\bar\alpha}\, \varepsilon - \sqrt{1 - \bar\alpha}\, x_0$, it turns each of
`"eps"`, `"x0"` and `"v"` into each, for data of any shape `(B, *S)`, and with a level for each sample, however near
to 0 or 1.

Test **inverses and symmetry**: there and back again must change nothing. That is a strong test and has a blind spot,
for a mistake that is made both ways cancels. So also begin where the truth is known: draw $x_0$ and $\varepsilon$
yourself.
""",
    reference=check_convert,
    naive=(there_and_back, into_itself, one_direction),
    hints=("What becomes of a sign that is wrong on both ways?", "Try a batch as large as the last axis."),
    source="Salimans and Ho 2022, appendix D",
)
