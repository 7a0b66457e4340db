"""Chapter 4's pipeline with one wrong piece: Karras levels, preconditioning, Heun steps, distances, known entries."""

import torch
from torch import nn

from diffusion_lab.exercises.bugs import Bug, BugTask, Part, Silent
from diffusion_lab.exercises.normal_nd import (
    edm_loss,
    edm_preconditioning,
    gaussian_w2,
    heun_step,
    inpaint_step,
    karras_sigmas,
)


def find_bug_normal_nd(karras_sigmas, edm_preconditioning, edm_loss, heun_step, gaussian_w2, inpaint_step):
    """Say which piece is wrong, and prove it with a number.

    Args:
        karras_sigmas, edm_preconditioning, gaussian_w2, inpaint_step: the pipeline's pieces; their arguments are those
            of the chapter's exercises.
        edm_loss: (x0, sigma, noise, sigma_data), asked of a network that always answers 0.
        heun_step: (x, sigma, sigma_next), with the exact denoiser of data N(0, 1) in it.

    Returns:
        (piece, idea, found, expected): the name of a piece; an idea, one of the list; a number that you computed with
        the piece; and the number that a right piece would give.
    """
    found = []  # (piece, idea, found, expected): the first that is off tells
    sigmas = karras_sigmas(3, 1.0, 9.0, 2.0)
    found.append(("karras_sigmas", "the levels never end at 0", sigmas[-1], 0.0))
    found.append(("karras_sigmas", "the levels run from little noise to much", sigmas[0], 9.0))
    found.append(("karras_sigmas", "the root is not used", sigmas[1], 4.0))
    skip, _, into, told = (float(part) for part in edm_preconditioning(torch.tensor(3.0), 4.0))
    found.append(("edm_preconditioning", "the noise that the network is told is not divided by 4", told, 1.0986 / 4))
    found.append(("edm_preconditioning", "the input is scaled with a variance", into, 0.2))
    idea = "two of the factors change places" if abs(skip - 2.4) < 1e-3 else "the skip grows with the noise"
    found.append(("edm_preconditioning", idea, skip, 0.64))
    one, zero = torch.ones(1, 2), torch.zeros(1, 2)
    loss = edm_loss(one, torch.tensor([3.0]), zero, 4.0)[0]  # D = 0.64, and the weight is 25 / 144
    plain = abs(loss - 0.1296) < 1e-3
    idea = "large noise counts as much as its error" if plain else "the weight has a sum below the line"
    found.append(("edm_loss", idea, loss, 0.1296 * 25 / 144))
    found.append(("heun_step", "the last step is corrected too", heun_step(one, 1.0, 0.0)[0, 0], 0.5))
    moved = heun_step(one, 1.0, 0.5)[0, 0]  # slopes 0.5 and 0.3
    idea = "the step is never corrected" if abs(moved - 0.75) < 1e-3 else "the second slope is used alone"
    found.append(("heun_step", "the two slopes are added up" if moved < 0.7 else idea, moved, 0.8))
    eye, mean = torch.eye(2), torch.tensor([3.0, 4.0])
    distance = float(gaussian_w2(mean, eye, 0 * mean, eye))
    idea = "the means are ignored" if distance < 0.1 else "the overlap is subtracted once only"
    found.append(("gaussian_w2", "the root of the distance is missing" if distance > 20 else idea, distance, 5.0))
    known = inpaint_step(zero, one, torch.tensor([[True, False]]), torch.tensor([0.36]), 2 * one)[0]
    idea = "the known part stays without noise" if abs(known[0] - 1) < 1e-3 else "the known part is not shrunk"
    idea = "known and unknown change places" if known[1] != 0 else idea
    found.append(("inpaint_step", idea, known[0], 2.2))
    for piece, idea, number, expected in found:
        if abs(float(number) - expected) > 1e-3:
            return piece, idea, float(number), float(expected)
    return piece, idea, float(number), float(expected)


class _Exact(nn.Module):
    """The mean of the data N(0, 1) that fit a noisy x."""

    def forward(self, x, sigma):
        return x / (1 + torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1)) ** 2)


def with_silence(loss):
    """The loss of a network that always answers 0."""
    return lambda x0, sigma, noise, sigma_data: loss(Silent(), x0, sigma, noise, sigma_data)


def with_the_truth(step):
    """Steps with the exact denoiser."""
    return lambda x, sigma, sigma_next: step(_Exact(), x, sigma, sigma_next)


def settings(draw):
    return {"steps": draw.integer(8, 16), "rho": draw.number(3, 7), "known value": draw.number(0.5, 1.5)}


def run(pieces, numbers, draw):
    """1,000 pairs of standard normal numbers by Heun's method, once as they come and once with the first one known."""
    n = 1000
    sigmas = pieces["karras_sigmas"](numbers["steps"], 0.02, 20.0, numbers["rho"]).double()
    start = 20 * draw.normal(n, 2)
    x, y, spreads = start, start, []
    known = torch.full((n, 2), numbers["known value"], dtype=torch.float64)
    mask = torch.tensor([True, False]).expand(n, 2)
    for now, after in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        x, y = pieces["heun_step"](x, now, after), pieces["heun_step"](y, now, after)
        scale = (1 + after**2) ** 0.5  # the piece knows data that were shrunk
        level = torch.full((n,), 1 / scale**2, dtype=torch.float64)
        y = scale * pieces["inpaint_step"](y / scale, known, mask, level, draw.normal(n, 2))
        spreads.append(y.std(dim=0))
    inner = sigmas[sigmas > 0]
    distance = pieces["gaussian_w2"](x.mean(dim=0), torch.cov(x.T), 0 * x[0] + 1, 2 * torch.eye(2).double())
    return {
        "samples": x,
        "completed": y,
        "spreads on the way": torch.stack(spreads),
        "factors": torch.stack(pieces["edm_preconditioning"](inner, 0.5)),
        "losses": pieces["edm_loss"](draw.normal(len(inner), 2), inner, draw.normal(len(inner), 2), 1.0),
        "distance": torch.as_tensor(distance).reshape(1),
        "levels": sigmas,
    }


TASK = BugTask(
    chapter="normal_nd",
    title="Find the bug",
    about=r"""
The pipeline draws pairs of standard normal numbers with `heun_step`, along the levels of `karras_sigmas` and with the
exact denoiser, once as they come and once with the first number known, which `inpaint_step` puts back after each step.
`gaussian_w2` compares the samples with another normal distribution of mean 1 and variance 2. The factors of
`edm_preconditioning` and the `edm_loss` of a network that always answers 0 are there too.
""",
    pipeline=(
        Part(karras_sigmas.EXERCISE),
        Part(edm_preconditioning.EXERCISE),
        Part(edm_loss.EXERCISE, with_silence),
        Part(heun_step.EXERCISE, with_the_truth),
        Part(gaussian_w2.EXERCISE),
        Part(inpaint_step.EXERCISE),
    ),
    bugs=(
        Bug("karras_sigmas", "no final zero", "the levels never end at 0"),
        Bug("karras_sigmas", "zero after rising levels", "the levels run from little noise to much"),
        Bug("karras_sigmas", "without rho", "the root is not used"),
        Bug("edm_preconditioning", "noise not divided", "the noise that the network is told is not divided by 4"),
        Bug("edm_preconditioning", "missing root in", "the input is scaled with a variance"),
        Bug("edm_preconditioning", "skip and out swapped", "two of the factors change places"),
        Bug("edm_preconditioning", "skip grows with the noise", "the skip grows with the noise"),
        Bug("edm_loss", "missing weight", "large noise counts as much as its error"),
        Bug("edm_loss", "weight with a sum", "the weight has a sum below the line"),
        Bug("heun_step", "only euler", "the step is never corrected"),
        Bug("heun_step", "second slope alone", "the second slope is used alone"),
        Bug("heun_step", "slopes added", "the two slopes are added up"),
        Bug("gaussian_w2", "squared", "the root of the distance is missing"),
        Bug("gaussian_w2", "means left out", "the means are ignored"),
        Bug("gaussian_w2", "overlap once", "the overlap is subtracted once only"),
        Bug("inpaint_step", "observation not noised", "the known part stays without noise"),
        Bug("inpaint_step", "mask inverted", "known and unknown change places"),
    ),
    decoys=(
        "the last step is corrected too",
        "the known part is not shrunk",
        "the denoiser is asked at the level to come",
        "covariances are compared by their diagonals alone",
    ),
    settings=settings,
    run=run,
    reference=find_bug_normal_nd,
)
