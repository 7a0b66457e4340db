"""Chapter 2's pipeline with one wrong piece: the cosine schedule, exact scores, conversions, DDIM."""

import torch

from diffusion_lab.exercises.bugs import Bug, BugTask, Part, Silent
from diffusion_lab.exercises.normal_2d import convert, cosine_alpha_bar, ddim_step, score_2d, v_loss


def find_bug_normal_2d(cosine_alpha_bar, score_2d, convert, v_loss, ddim_step):
    """Say which piece is wrong, and prove it with a number.

    Args:
        cosine_alpha_bar, score_2d, convert, ddim_step: the pipeline's pieces; their arguments are those of the
            chapter's exercises.
        v_loss: (x0, t, noise, alpha_bar), asked of a network that always answers 0.

    Returns:
        (piece, idea, found, expected): the name of a piece; an idea, one of the list; a number that you computed with
        the piece; and the number that a right piece would give.
    """
    one, zero = torch.ones(1, 2), torch.zeros(1, 2)
    found = []  # (piece, idea, found, expected): the first that is off tells
    kept = cosine_alpha_bar(2, 0.0, 0.9)
    found.append(("cosine_alpha_bar", "the cosine is not squared", kept[0], 0.5))
    rising = "the variances of the steps are given in place of what is left"
    idea = rising if kept[1] > kept[0] else "no step is held below the largest variance"
    found.append(("cosine_alpha_bar", idea, kept[1], 0.05))
    level = torch.tensor([0.25])
    cov = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    score = score_2d(torch.tensor([[1.0, 0.0]]), level, torch.zeros(2), cov)[0, 1]
    idea = "the correlation is ignored" if abs(score) < 1e-3 else "the noise is left out of the covariance"
    found.append(("score_2d", idea, score, 0.2 / 0.96))
    found.append(
        ("score_2d", "the mean keeps its full size", score_2d(zero, level, torch.full((2,), 2.0), cov)[0, 0], 1 / 1.2)
    )
    level = torch.tensor([0.36])
    x0 = convert(one, zero, level, "eps", "x0")[0, 0]
    idea = "the data are not scaled back" if abs(x0 + 0.8) < 1e-3 else "variances are taken for standard deviations"
    found.append(("convert", idea, x0, -0.8 / 0.6))
    found.append(("convert", "v has the other sign", convert(one, zero, level, "v", "x0")[0, 0], -0.8))
    loss = v_loss(3 * one, torch.tensor([0]), 2 * one, level)[0]
    found.append(
        (
            "v_loss",
            "the loss compares with the noise" if abs(loss - 4) < 1e-3 else "the parts of v are added",
            loss,
            1.44,
        )
    )
    now, after = torch.tensor(0.36), torch.tensor(0.64)
    added = ddim_step(zero, now, after, zero, 1.0, one)[0, 0]
    idea = "fresh noise is never added" if added == 0 else "a variance is taken for a standard deviation"
    found.append(("ddim_step", idea, added, (0.5625 * 0.4375) ** 0.5))
    moved = ddim_step(zero, now, after, one, 1.0, zero)[0, 0]
    expected = -0.8 * 0.8 / 0.6 + (0.36 - 0.5625 * 0.4375) ** 0.5
    found.append(("ddim_step", "fresh noise comes on top of all the old noise", moved, expected))
    for piece, idea, number, right in found:
        if abs(float(number) - right) > 1e-3:
            return piece, idea, float(number), float(right)
    return piece, idea, float(number), float(right)


def with_silence(loss):
    """The loss of a network that always answers 0."""
    return lambda x0, t, noise, alpha_bar: loss(Silent(), x0, t, noise, alpha_bar)


def settings(draw):
    return {"steps": draw.integer(20, 40), "correlation": draw.number(0.6, 0.9), "eta": draw.number(0.3, 0.9)}


def run(pieces, numbers, draw):
    """2,000 points drawn with exact scores by DDIM, the noiseless guesses on the way, and losses at every level."""
    n, shared = 2000, numbers["correlation"]
    mean = torch.tensor([1.0, -0.5], dtype=torch.float64)
    cov = torch.tensor([[1.0, shared], [shared, 1.0]], dtype=torch.float64)
    levels = pieces["cosine_alpha_bar"](numbers["steps"], 0.008, 0.999)
    t = torch.arange(len(levels))
    x, guesses = draw.normal(n, 2), []
    for step in reversed(range(len(levels))):
        now = levels[step].expand(n)
        eps = -(1 - levels[step]).sqrt() * pieces["score_2d"](x, now, mean, cov)
        guesses.append(pieces["convert"](eps, x, now, "eps", "v").mean(dim=0))
        guesses.append(pieces["convert"](guesses[-1].expand(n, 2), x, now, "v", "x0").mean(dim=0))
        after = levels[step - 1] if step else torch.ones((), dtype=levels.dtype)
        x = pieces["ddim_step"](x, levels[step], after, eps, numbers["eta"], draw.normal(n, 2))
    losses = pieces["v_loss"](draw.normal(len(t), 2), t, draw.normal(len(t), 2), levels)
    return {"samples": x, "guesses": torch.stack(guesses), "losses": losses, "levels": levels}


TASK = BugTask(
    chapter="normal_2d",
    title="Find the bug",
    about=r"""
The pipeline draws points of a correlated normal distribution: the levels of `cosine_alpha_bar`, exact scores from
`score_2d`, turned into $v$ and $x_0$ by `convert` to look at them, and steps of `ddim_step` with a little fresh noise.
`v_loss` measures a network that always answers 0.
""",
    pipeline=(
        Part(cosine_alpha_bar.EXERCISE),
        Part(score_2d.EXERCISE),
        Part(convert.EXERCISE),
        Part(v_loss.EXERCISE, with_silence),
        Part(ddim_step.EXERCISE),
    ),
    bugs=(
        Bug("cosine_alpha_bar", "cosine not squared", "the cosine is not squared"),
        Bug("cosine_alpha_bar", "betas themselves", "the variances of the steps are given in place of what is left"),
        Bug("cosine_alpha_bar", "betas not clipped", "no step is held below the largest variance"),
        Bug("score_2d", "correlation ignored", "the correlation is ignored"),
        Bug("score_2d", "inverse of the clean covariance", "the noise is left out of the covariance"),
        Bug("score_2d", "unscaled mean", "the mean keeps its full size"),
        Bug("convert", "not divided", "the data are not scaled back"),
        Bug("convert", "missing roots", "variances are taken for standard deviations"),
        Bug("convert", "v with the other sign", "v has the other sign"),
        Bug("v_loss", "compares with the noise", "the loss compares with the noise"),
        Bug("v_loss", "sum for difference", "the parts of v are added"),
        Bug("ddim_step", "eta not used", "fresh noise is never added"),
        Bug("ddim_step", "variance as a deviation", "a variance is taken for a standard deviation"),
        Bug("ddim_step", "direction without minus the variance", "fresh noise comes on top of all the old noise"),
    ),
    decoys=(
        "the levels run from noise to data",
        "the guess is clipped before the step",
        "the loss is added up instead of averaged",
        "each sample gets the level of the first one",
    ),
    settings=settings,
    run=run,
    reference=find_bug_normal_2d,
)
