"""The loss of the best network, averaged over a schedule of one's own."""

import math

import torch

from diffusion_lab.exercises.own_numbers import OwnNumber
from diffusion_lab.exercises.record import right, wrong


def lowest_loss(std: float, last_beta: float, steps: int) -> float:
    """The noise loss of the best network there can be, averaged over all steps.

    Args:
        std: standard deviation of the normal data.
        last_beta: the betas grow evenly from 0.0001 to this number.
        steps: how many betas there are.

    Returns:
        The mean over the steps of E[(eps - E[eps | x_t])^2], between 0 and 1.
    """
    betas = torch.linspace(1e-4, last_beta, steps, dtype=torch.float64)
    kept = torch.cumprod(1 - betas, dim=0)
    return float((kept * std**2 / (kept * std**2 + 1 - kept)).mean())


def _levels(last_beta, steps):
    return torch.cumprod(1 - torch.linspace(1e-4, last_beta, steps, dtype=torch.float64), dim=0)


def one_step_for_all(std, last_beta, steps):
    """These are the levels of single steps, 1 - beta. At step t all steps up to t have happened: multiply them."""
    kept = 1 - torch.linspace(1e-4, last_beta, steps, dtype=torch.float64)
    return float((kept * std**2 / (kept * std**2 + 1 - kept)).mean())


def std_for_variance(std, last_beta, steps):
    """Noise adds up in variances, and this takes the standard deviation of the data for their variance."""
    return lowest_loss(math.sqrt(std), last_beta, steps)


def what_is_explained(std, last_beta, steps):
    """This is the part of the noise that the network can explain. The loss is the part that is left."""
    return 1 - lowest_loss(std, last_beta, steps)


def floor_of_the_data(std, last_beta, steps):
    """This is the lowest error of a guess of the data. The question is about a guess of the noise."""
    kept = _levels(last_beta, steps)
    return float(((1 - kept) * std**2 / (kept * std**2 + 1 - kept)).mean())


def level_of_the_mean(std, last_beta, steps):
    """This is the loss at the mean level. The mean of the losses is another number: average last."""
    kept = float(_levels(last_beta, steps).mean())
    return kept * std**2 / (kept * std**2 + 1 - kept)


def by_covariance(std, last_beta, steps):
    kept = _levels(last_beta, steps)
    return float((1 - (1 - kept) / (1 - kept + kept * std**2)).mean())


def in_a_loop(std, last_beta, steps):
    kept, total = 1.0, 0.0
    for i in range(steps):
        kept *= 1 - (1e-4 + (last_beta - 1e-4) * i / (steps - 1))
        total += 1 / (1 + (1 - kept) / (kept * std**2))
    return total / steps


def numbers(draw):
    """A schedule that ends in noise, as a real one does."""
    steps = 50 * draw.integer(4, 20)
    return {
        "std": round(draw.number(0.3, 1.6), 2),
        "last_beta": round(2 * draw.number(8, 14) / steps, 3),
        "steps": steps,
    }


TASK = OwnNumber(
    chapter="normal_1d",
    title="How low can your loss go?",
    question="""
Your data are normal with a standard deviation of {std}. Your {steps} betas grow evenly from 0.0001 to {last_beta}.
Always guessing 0 costs a loss of 1. The best network that there can be guesses the noise, at a step drawn evenly. What
is its loss?
""",
    about=r"""
The book asks how low the loss of the best network goes. Here the data and the schedule are your own.

`lowest_loss` computes it: the mean over all steps of what is left of the noise's variance once $x_t$ is known. You have
both parts already, $\bar\alpha_t$ and the floor.
""",
    reference=lowest_loss,
    numbers_from=numbers,
    wrong_answers=(
        wrong(one_step_for_all),
        wrong(std_for_variance),
        wrong(what_is_explained),
        wrong(floor_of_the_data),
        wrong(level_of_the_mean),
    ),
    right_answers=(right(by_covariance), right(in_a_loop)),
    hints=("What is the loss at the first step, and what is it at the last?", "Average the losses, not the levels."),
    source="Ho et al. 2020, equation 14, with the best guess in the place of the network",
)
