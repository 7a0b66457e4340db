"""check_ddpm_step: a check of shapes, ends and closed forms."""

import torch

from diffusion_lab.exercises.checks import CheckTask
from diffusion_lab.exercises.normal_1d import ddpm_step


def check_ddpm_step(piece) -> None:
    """Fail where the piece is not one step of ancestral sampling.

    Args:
        piece: called as piece(x, t, eps, betas, noise, variance), like `ddpm_step` in chapter 1.
    """
    generator = torch.Generator().manual_seed(0)
    x, eps, noise = (3 * torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    betas = torch.linspace(0.05, 0.5, 6, dtype=torch.float64)
    kept = torch.cumprod(1 - betas, dim=0)
    for t in range(len(betas)):
        # By Bayes, through the data that x and eps stand for: another way to the same mean.
        x0 = (x - (1 - kept[t]).sqrt() * eps) / kept[t].sqrt()
        before = kept[t - 1] if t > 0 else torch.ones_like(kept[t])
        mean = (before.sqrt() * betas[t] * x0 + (1 - betas[t]).sqrt() * (1 - before) * x) / (1 - kept[t])
        for variance, spread in (("beta", betas[t]), ("posterior", betas[t] * (1 - before) / (1 - kept[t]))):
            found = piece(x, t, eps, betas, noise, variance)
            assert found.shape == x.shape, "the shape of x"
            expected = mean + spread.sqrt() * noise if t > 0 else mean
            assert torch.allclose(found, expected), f"step {t} with variance {variance}"


def shapes_alone(piece):
    """Nearly every mistake has the right shape."""
    x, betas = torch.ones(4, 3), torch.linspace(0.05, 0.5, 6)
    assert piece(x, 3, x, betas, x, "beta").shape == x.shape


def the_end_alone(piece):
    """Only the step from t = 0 is looked at, and of that only whether the noise matters."""
    x, betas = torch.ones(4, 3), torch.linspace(0.05, 0.5, 6)
    assert torch.equal(piece(x, 0, x, betas, x, "beta"), piece(x, 0, x, betas, -x, "beta"))


def one_closed_form(piece):
    """One number in the middle, without noise: all that concerns the noise and the ends slips through."""
    x, zero, betas = torch.ones(1, 1), torch.zeros(1, 1), torch.full((3,), 0.5)
    assert torch.allclose(piece(x, 1, zero, betas, zero, "beta"), x / 0.5**0.5)


TASK = CheckTask(
    exercise=ddpm_step.EXERCISE,
    title="Check one step back",
    statement=r"""
The piece is `ddpm_step` of chapter 1, called as `piece(x, t, eps, betas, noise, variance)`. It promises:

- the result has the shape of `x`;
- for $t > 0$ it is the mean of the reverse step plus noise with the variance that is asked for, $\beta_t$ for
  `"beta"` and $\frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t} \beta_t$ for `"posterior"`;
- for $t = 0$ it is the mean alone;
- nothing is clipped.

Test **shapes, ends and closed forms**. The ends are where a loop begins and stops: look at the first step, the last,
and the last but one. For the closed form find a second way to the same numbers: compute what `x` and `eps` say of
$x_0$, and take the mean of the posterior $q(x_{t-1} \mid x_t, x_0)$. A test that repeats the formula of the piece
repeats its mistakes too.
""",
    reference=check_ddpm_step,
    naive=(shapes_alone, the_end_alone, one_closed_form),
    hints=("At which t do two branches of the code meet?", "Which arguments could a wrong piece ignore unnoticed?"),
    source="Ho et al. 2020, equations 6 and 7",
)
