"""Chapter 1's pipeline with one wrong piece: linear betas, exact noise guesses, ancestral sampling."""

import torch

from diffusion_lab.exercises.bugs import Bug, BugTask, Part, Silent
from diffusion_lab.exercises.normal_1d import alpha_bar, ddpm_step, eps_loss, linear_betas, optimal_eps, q_sample


def find_bug_normal_1d(linear_betas, alpha_bar, q_sample, optimal_eps, eps_loss, ddpm_step):
    """Say which piece is wrong, and prove it with a number.

    Args:
        linear_betas, alpha_bar, q_sample, optimal_eps, ddpm_step: the pipeline's pieces; their arguments are those of
            the chapter's exercises.
        eps_loss: (x0, t, noise, alpha_bar), asked of a network that always answers 0.

    Returns:
        (piece, idea, found, expected): the name of a piece; an idea, one of the list; a number that you computed with
        the piece; and the number that a right piece would give.
    """
    half, ones = torch.full((4,), 0.5), torch.ones(1, 8)
    found = []  # (piece, idea, found, expected): the first that is off tells
    betas = linear_betas(101, 0.01, 0.21)
    found.append(("linear_betas", "the last step is left out of the schedule", betas[-1], 0.21))
    found.append(("linear_betas", "the roots grow in equal steps", betas[50], 0.11))
    kept = alpha_bar(half)
    found.append(("alpha_bar", "only one step is counted", kept[3] / kept[2], 0.5))
    found.append(("alpha_bar", "the table is one step behind", kept[0], 0.5))
    t, table = torch.tensor([1]), torch.tensor([0.8, 0.36])
    data_factor = q_sample(ones, t, 0 * ones, table)[0, 0]
    full = abs(data_factor - 1) < 1e-3
    idea = "the data keep their full size" if full else "a single step's noise is used for all steps"
    found.append(("q_sample", idea, data_factor, 0.6))
    noise_factor = q_sample(0 * ones, t, ones, table)[0, 0]
    found.append(("q_sample", "a variance is taken for a standard deviation", noise_factor, 0.8))
    guess = [optimal_eps(torch.ones(1), torch.tensor([0.36]), 0.0, std)[0] for std in (1.0, 2.0)]
    found.append(("optimal_eps", "the score is given in place of the noise", guess[0], 0.8))
    found.append(("optimal_eps", "the data's standard deviation is taken for their variance", guess[1], 0.8 / 2.08))
    loss = eps_loss(3 * ones, t, 2 * ones, table)[0]
    data = abs(loss - 9) < 1e-3
    idea = "the loss compares with the data" if data else "the loss is added up instead of averaged"
    found.append(("eps_loss", idea, loss, 4.0))
    last = ddpm_step(ones, 0, 0 * ones, half, ones, "beta") - ddpm_step(ones, 0, 0 * ones, half, 0 * ones, "beta")
    found.append(("ddpm_step", "the last step adds noise", last[0, 0], 0.0))
    spread = ddpm_step(0 * ones, 3, 0 * ones, half / 2, ones, "beta")[0, 0]
    found.append(("ddpm_step", "a variance is taken for a standard deviation", spread, 0.5))
    drift = ddpm_step(0 * ones, 1, ones, half, 0 * ones, "beta")[0, 0]
    found.append(("ddpm_step", "the guess is scaled with a single step's noise", drift, -0.5 / 0.75**0.5 / 0.5**0.5))
    for piece, idea, number, expected in found:
        if abs(float(number) - expected) > 1e-3:
            return piece, idea, float(number), float(expected)
    return piece, idea, float(number), float(expected)


def with_silence(loss):
    """The loss of a network that always answers 0."""
    return lambda x0, t, noise, alpha_bar: loss(Silent(), x0, t, noise, alpha_bar)


def settings(draw):
    return {"steps": draw.integer(60, 120), "mean": draw.number(-1, 1), "std": draw.number(0.4, 0.8)}


def run(pieces, numbers, draw):
    """4,000 samples drawn with exact guesses, and the loss of a network that answers 0 at every level."""
    mean, std, n = numbers["mean"], numbers["std"], 4000
    betas = pieces["linear_betas"](numbers["steps"], 0.002, 0.12)
    steps = len(betas)
    levels = pieces["alpha_bar"](betas)
    t = torch.arange(min(steps, len(levels)))
    x0 = mean + std * draw.normal(len(t), 64)
    noise = draw.normal(len(t), 64)
    x = draw.normal(n, 1).to(betas.dtype)
    for step in reversed(range(steps)):
        guess = pieces["optimal_eps"](x, levels[step].expand(n), mean, std)
        x = pieces["ddpm_step"](x, step, guess, betas, draw.normal(n, 1).to(x.dtype), "beta")
    return {
        "samples": x[:, 0],
        "noisy data": pieces["q_sample"](x0, t, noise, levels),
        "losses": pieces["eps_loss"](x0, t, noise, levels),
        "levels": levels,
    }


TASK = BugTask(
    chapter="normal_1d",
    title="Find the bug",
    about=r"""
The pipeline draws samples of a normal distribution: a schedule from `linear_betas` and `alpha_bar`, exact guesses from
`optimal_eps`, and a step back with `ddpm_step` for each level. It also adds noise to data with `q_sample` and measures
the loss of a network that always answers 0 with `eps_loss`.
""",
    pipeline=(
        Part(linear_betas.EXERCISE),
        Part(alpha_bar.EXERCISE),
        Part(q_sample.EXERCISE),
        Part(optimal_eps.EXERCISE),
        Part(eps_loss.EXERCISE, with_silence),
        Part(ddpm_step.EXERCISE),
    ),
    bugs=(
        Bug("linear_betas", "last step missed", "the last step is left out of the schedule"),
        Bug("linear_betas", "roots in equal steps", "the roots grow in equal steps"),
        Bug("alpha_bar", "single steps", "only one step is counted"),
        Bug("alpha_bar", "one step behind", "the table is one step behind"),
        Bug("q_sample", "data not scaled", "the data keep their full size"),
        Bug("q_sample", "alpha of one step", "a single step's noise is used for all steps"),
        Bug("q_sample", "missing root of the noise", "a variance is taken for a standard deviation"),
        Bug("optimal_eps", "score instead of noise", "the score is given in place of the noise"),
        Bug("optimal_eps", "std for variance", "the data's standard deviation is taken for their variance"),
        Bug("eps_loss", "compares with the data", "the loss compares with the data"),
        Bug("eps_loss", "sum over entries", "the loss is added up instead of averaged"),
        Bug("ddpm_step", "noise at the end", "the last step adds noise"),
        Bug("ddpm_step", "variance as a deviation", "a variance is taken for a standard deviation"),
        Bug("ddpm_step", "single step below beta", "the guess is scaled with a single step's noise"),
    ),
    decoys=(
        "the guess is clipped to the range of the data",
        "the network is told the step as a share of all steps",
        "noise is drawn once and used in every step",
        "the schedule runs from the data to the noise",
    ),
    settings=settings,
    run=run,
    reference=find_bug_normal_1d,
)
