"""Chapter 3's pipeline with one wrong piece: noise levels, a mixture's score, Langevin steps, Tweedie's formula."""

import torch

from diffusion_lab.exercises.bugs import Bug, BugTask, Part, Silent
from diffusion_lab.exercises.mixture import (
    dsm_loss,
    geometric_sigmas,
    gmm_score,
    langevin_step,
    responsibilities,
    tweedie,
)


def find_bug_mixture(geometric_sigmas, dsm_loss, langevin_step, responsibilities, gmm_score, tweedie):
    """Say which piece is wrong, and prove it with a number.

    Args:
        geometric_sigmas, langevin_step, responsibilities, gmm_score, tweedie: the pipeline's pieces; their arguments
            are those of the chapter's exercises.
        dsm_loss: (x0, sigma, noise), asked of a network that always answers 0.

    Returns:
        (piece, idea, found, expected): the name of a piece; an idea, one of the list; a number that you computed with
        the piece; and the number that a right piece would give.
    """
    found = []  # (piece, idea, found, expected): the first that is off tells
    one, zero = torch.ones(1, 2), torch.zeros(1, 2)
    sigmas = geometric_sigmas(3, 4.0, 1.0)
    found.append(("geometric_sigmas", "the levels run from little noise to much", sigmas[0], 4.0))
    found.append(("geometric_sigmas", "the levels have equal distances", sigmas[1], 2.0))
    loss = [dsm_loss(zero, torch.tensor([sigma]), one)[0] for sigma in (1.0, 2.0)]
    found.append(("dsm_loss", "the loss is halved", loss[0], 1.0))
    found.append(("dsm_loss", "much noise and little noise count differently", loss[1], 1.0))
    drift = langevin_step(zero, one, 0.5, zero)[0, 0]
    idea = "the walk goes away from the data" if drift < 0 else "half a step is taken along the score"
    found.append(("langevin_step", idea, drift, 0.5))
    noise = langevin_step(zero, zero, 0.08, one)[0, 0]
    squared = abs(noise - 0.16) < 1e-3
    idea = "a variance is taken for a standard deviation" if squared else "the two below the root is missing"
    found.append(("langevin_step", idea, noise, 0.4))
    clean, weights = torch.ones(1), torch.tensor([0.8, 0.2])
    same = torch.zeros(2, 2)
    covs = torch.stack([torch.eye(2), 4 * torch.eye(2)])
    share = responsibilities(zero, clean, weights, same, torch.stack([torch.eye(2)] * 2))[0, 0]
    found.append(("responsibilities", "the weights of the components are ignored", share, 0.8))
    share = responsibilities(zero, clean, weights, same, covs)[0, 0]
    found.append(("responsibilities", "wide components are not lower", share, 0.8 / (0.8 + 0.2 / 4)))
    apart, equal = torch.tensor([[2.0, 0.0], [-2.0, 0.0]]), torch.stack([torch.eye(2)] * 2)
    half = torch.tensor([0.5, 0.5])
    x = torch.tensor([[0.5, 0.0]])
    level = torch.full((1,), 0.25)  # means at +1 and -1, variance 1
    share = responsibilities(x, level, half, apart, equal)[0, 0]
    found.append(("responsibilities", "the means keep their full size", share, torch.sigmoid(torch.tensor(1.0))))
    score = gmm_score(x, level, half, apart, equal)[0, 0]
    right = torch.tanh(torch.tensor(0.5)) - 0.5
    idea = "the scores of the components are added up" if abs(score + 1) < 1e-3 else "the means keep their full size"
    idea = "the weights do not depend on the place" if abs(score + 0.5) < 1e-3 else idea
    found.append(("gmm_score", "only the nearest component counts" if abs(score - 0.5) < 1e-3 else idea, score, right))
    mean = tweedie(zero, level, one)[0, 0]
    idea = "the data are not scaled back" if abs(mean - 0.75) < 1e-3 else "a standard deviation is taken for a variance"
    found.append(("tweedie", "the score has the wrong sign" if mean < 0 else idea, mean, 1.5))
    for piece, idea, number, expected in found:
        if abs(float(number) - float(expected)) > 1e-3:
            return piece, idea, float(number), float(expected)
    return piece, idea, float(number), float(expected)


def with_silence(loss):
    """The loss of a network that always answers 0."""
    return lambda x0, sigma, noise: loss(Silent(), x0, sigma, noise)


def settings(draw):
    return {"levels": draw.integer(8, 14), "distance": draw.number(2.5, 4), "larger share": draw.number(0.6, 0.85)}


def run(pieces, numbers, draw):
    """500 points of a mixture, drawn by annealed Langevin steps; their components, means and losses."""
    n, per_level = 500, 8
    far, share = numbers["distance"], numbers["larger share"]
    weights = torch.tensor([share, 1 - share], dtype=torch.float64)
    means = torch.tensor([[far, 0.0], [-far, 1.0]], dtype=torch.float64)
    covs = torch.stack([torch.eye(2), 0.25 * torch.eye(2)]).double()
    sigmas = pieces["geometric_sigmas"](numbers["levels"], 4.0, 0.1).double()
    x = 4 * draw.normal(n, 2)
    for sigma in sigmas:
        kept = 1 / (1 + sigma**2)  # the same noise beside data that were shrunk
        for _ in range(per_level):
            score = kept.sqrt() * pieces["gmm_score"](kept.sqrt() * x, kept.expand(n), weights, means, covs)
            x = pieces["langevin_step"](x, score, float(0.15 * sigma**2), draw.normal(n, 2))
    level = torch.full((n,), 0.5, dtype=torch.float64)
    noisy = 0.5**0.5 * (means[draw.integers(0, 2, n)] + draw.normal(n, 2))
    score = pieces["gmm_score"](noisy, level, weights, means, covs)
    return {
        "samples": x,
        "shares": pieces["responsibilities"](noisy, level, weights, means, covs),
        "denoised": pieces["tweedie"](noisy, level, score),
        "losses": pieces["dsm_loss"](draw.normal(len(sigmas), 2), sigmas, draw.normal(len(sigmas), 2)),
        "levels": sigmas,
    }


TASK = BugTask(
    chapter="mixture",
    title="Find the bug",
    about=r"""
The pipeline draws points of a mixture of two normal distributions: at each level of `geometric_sigmas` it takes eight
steps with `langevin_step` along `gmm_score`. It also sorts noisy points with `responsibilities`, cleans them with
`tweedie`, and measures a network that always answers 0 with `dsm_loss`.
""",
    pipeline=(
        Part(geometric_sigmas.EXERCISE),
        Part(dsm_loss.EXERCISE, with_silence),
        Part(langevin_step.EXERCISE),
        Part(responsibilities.EXERCISE),
        Part(gmm_score.EXERCISE),
        Part(tweedie.EXERCISE),
    ),
    bugs=(
        Bug("geometric_sigmas", "ascending", "the levels run from little noise to much"),
        Bug("geometric_sigmas", "linear spacing", "the levels have equal distances"),
        Bug("dsm_loss", "missing weight", "much noise and little noise count differently"),
        Bug("dsm_loss", "half of the square", "the loss is halved"),
        Bug("langevin_step", "downhill", "the walk goes away from the data"),
        Bug("langevin_step", "step of half the size", "half a step is taken along the score"),
        Bug("langevin_step", "missing two", "the two below the root is missing"),
        Bug("langevin_step", "step for its root", "a variance is taken for a standard deviation"),
        Bug("responsibilities", "no weights", "the weights of the components are ignored"),
        Bug("responsibilities", "no determinant", "wide components are not lower"),
        Bug("responsibilities", "clean means", "the means keep their full size"),
        Bug("gmm_score", "prior weights", "the weights do not depend on the place"),
        Bug("gmm_score", "plain sum", "the scores of the components are added up"),
        Bug("gmm_score", "likeliest alone", "only the nearest component counts"),
        Bug("tweedie", "away from the data", "the score has the wrong sign"),
        Bug("tweedie", "still shrunk", "the data are not scaled back"),
        Bug("tweedie", "deviation for variance", "a standard deviation is taken for a variance"),
    ),
    decoys=(
        "the covariance of the first component is used for all",
        "the softmax runs over the batch",
        "noise is left out of the walk",
        "the smallest level is clean",
    ),
    settings=settings,
    run=run,
    reference=find_bug_mixture,
)
