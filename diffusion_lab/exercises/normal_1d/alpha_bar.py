"""alpha_bar: how much of the data is left after t steps."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def alpha_bar(betas: Tensor) -> Tensor:
    """The cumulative product of 1 - beta.

    Args:
        betas: (T,), the variance of the noise that each step adds, in (0, 1).

    Returns:
        (T,), of the dtype of the betas: entry t is the product of 1 - beta over the steps 0 to t.
    """
    return torch.cumprod(1 - betas, dim=0)


def cumulative_sum(betas):
    """These are cumulative sums. Each step keeps the share 1 - beta of what is left, and shares of shares multiply:
    alpha_bar is a cumulative product."""
    return 1 - torch.cumsum(betas, dim=0)


def cumulative_sum_of_betas(betas):
    """These are cumulative sums, of the noise at that. alpha_bar is a cumulative product, of what each step keeps."""
    return torch.cumsum(betas, dim=0)


def cumulative_sum_of_what_is_kept(betas):
    """These are cumulative sums of 1 - beta, and they grow. Each step keeps a share of what is left, and such shares
    multiply: alpha_bar is a cumulative product, and it falls."""
    return torch.cumsum(1 - betas, dim=0)


def product_of_betas(betas):
    """This is the product of the betas, the variances of the noise. What is left of the data is the product of 1 -
    beta."""
    return torch.cumprod(betas, dim=0)


def single_steps(betas):
    """This is alpha, what one step keeps. alpha_bar is what all steps up to t keep together."""
    return 1 - betas


def one_step_behind(betas):
    """Entry t must include step t itself. Yours ends at step t - 1, so that the noise of the last step is never
    there."""
    kept = torch.cumprod(1 - betas, dim=0)
    return torch.cat([torch.ones_like(kept[:1]), kept[:-1]])


def square_root(betas):
    """This is the square root of alpha_bar, the factor of x0 in x_t. alpha_bar itself is the product without a root."""
    return torch.cumprod(1 - betas, dim=0).sqrt()


def starts_with_one(betas):
    """These are T + 1 numbers, with a 1 for the data before any step. Entry 0 is what the first step leaves: each of
    the T steps has one entry."""
    return torch.cat([torch.ones_like(betas[:1]), torch.cumprod(1 - betas, dim=0)])


def share_of_the_noise(betas):
    """This is 1 - alpha_bar, the share of the noise, and it grows. alpha_bar is the share of the data, and it falls."""
    return 1 - torch.cumprod(1 - betas, dim=0)


def exponential_of_the_sum(betas):
    """This is the exponential of minus the sum of the betas. It is close to the product of 1 - beta only while every
    beta is small: multiply the shares themselves, or add up log(1 - beta)."""
    return torch.exp(-torch.cumsum(betas, dim=0))


def logarithms_only(betas):
    """These are the logarithms of alpha_bar. A sum of logarithms is the logarithm of the product: take the exponential
    at the end."""
    return torch.cumsum(torch.log(1 - betas), dim=0)


def from_the_last_step(betas):
    """The product runs from step t to the last step. What is left of the data after step t is the product of the steps
    from 0 to t."""
    return torch.cumprod((1 - betas).flip(0), dim=0).flip(0)


def only_the_last_step(betas):
    """This is one number, what all steps together leave. A table is asked for: one entry for each step."""
    return torch.prod(1 - betas)


def one_minus_the_product(betas):
    """The betas were multiplied up, and the product taken from 1. It is what each step keeps, 1 - beta, that
    multiplies: take from 1 first."""
    return 1 - torch.cumprod(betas, dim=0)


def loop(betas):
    kept, out = torch.ones_like(betas[0]), []
    for beta in betas:
        kept = kept * (1 - beta)
        out.append(kept)
    return torch.stack(out)


def logarithms(betas):
    return torch.log1p(-betas).cumsum(0).exp()


def through_numpy(betas):
    import numpy as np

    return torch.from_numpy(np.cumprod(1 - betas.numpy())).to(betas)


def float64_inside(betas):
    return (1 - betas.double()).cumprod(0).to(betas.dtype)


def cases(draw: Draw):
    yield Case("ten steps", (draw.betas(10),))
    yield Case("a single step", (draw.betas(1),))
    yield Case("many steps", (draw.betas(draw.integer(150, 250)) / 10,))
    yield Case("steps that add very little or nearly all", (torch.tensor([1e-4, 0.6, 2e-4, 0.999]).double(),))


def constant_beta(piece, draw: Draw):
    """With one beta for all steps, alpha_bar is a power of 1 - beta."""
    beta, steps = draw.number(0.01, 0.2), draw.integer(5, 20)
    found = piece(torch.full((steps,), beta, dtype=torch.float64))
    if found.shape != (steps,):
        return f"for {steps} betas the result has the shape {tuple(found.shape)}"
    powers = torch.tensor([(1 - beta) ** (t + 1) for t in range(steps)], dtype=torch.float64)
    worst = float((found - powers).abs().max())
    if worst < 1e-5:
        return None
    return f"with every beta = {beta}, alpha_bar[t] is {1 - beta:.4g} to the power t + 1; yours is off by {worst:.2g}"


EXERCISE = Exercise(
    chapter="normal_1d",
    kind="schedule",
    title="What is left of the data",
    statement=r"""
One step of the forward process keeps the share $1 - \beta_t$ of the variance that comes from the data. After the steps
$0, \dots, t$ what is left is

$$\bar\alpha_t = \prod_{i=0}^{t} (1 - \beta_i).$$

It is the table that everything else looks up: how much of $x_t$ is data, and how much is noise.
""",
    reference=alpha_bar,
    parts={"values": 3, CARE: 1},
    cases=cases,
    properties=(Property("a constant beta gives powers", constant_beta),),
    wrong_answers=(
        wrong(cumulative_sum),
        wrong(cumulative_sum_of_betas),
        wrong(cumulative_sum_of_what_is_kept),
        wrong(product_of_betas),
        wrong(single_steps),
        wrong(one_step_behind),
        wrong(square_root),
        wrong(starts_with_one),
        wrong(share_of_the_noise),
        wrong(exponential_of_the_sum),
        wrong(logarithms_only),
        wrong(from_the_last_step),
        wrong(only_the_last_step),
        wrong(one_minus_the_product),
    ),
    right_answers=(right(loop), right(logarithms), right(through_numpy), right(float64_inside)),
    hints=("Each step keeps a share of what the step before it has left.", "PyTorch has a cumulative product."),
    source="Ho et al. 2020, section 2",
)
