"""Chapter 7's pipeline with one wrong piece: a schedule that ends in noise, its weights, and pictures of one colour."""

import torch

from diffusion_lab.exercises.bugs import Bug, BugTask, Part, Silent
from diffusion_lab.exercises.cifar10 import (
    dynamic_threshold,
    frechet_distance,
    min_snr_weight,
    repaint_jump,
    rescale_zero_terminal_snr,
    weighted_loss,
)


def find_bug_cifar10(
    rescale_zero_terminal_snr, min_snr_weight, weighted_loss, dynamic_threshold, repaint_jump, frechet_distance
):
    """Say which piece is wrong, and prove it with a number.

    Args:
        rescale_zero_terminal_snr, min_snr_weight, dynamic_threshold, frechet_distance: the pipeline's pieces; their
            arguments are those of the chapter's exercises.
        weighted_loss, repaint_jump: without their first argument, asked of a network that always answers 0.

    Returns:
        (piece, idea, found, expected): the name of a piece; an idea, one of the list; a number that you computed with
        the piece; and the number that a right piece would give.
    """
    found = []  # (piece, idea, found, expected): the first that is off tells
    levels = rescale_zero_terminal_snr(torch.tensor([0.9, 0.4, 0.1]))
    found.append(("rescale_zero_terminal_snr", "the first level changes too", levels[0], 0.9))
    found.append(("rescale_zero_terminal_snr", "a variance is shifted where its root is meant", levels[1], 0.225))
    kept = torch.tensor([0.5, 0.9])  # ratios of 1 and 9
    weight = min_snr_weight(kept, 5.0, "x0")[1]
    found.append(("min_snr_weight", "the ratio is one of amplitudes", weight, 5.0))
    found.append(("min_snr_weight", "one target gets the weight of another", min_snr_weight(kept, 5.0, "v")[0], 0.5))
    data, noise, table = 3 * torch.ones(2, 8), 2 * torch.ones(2, 8), torch.tensor([0.64, 0.0])
    at_the_end = weighted_loss(data, torch.tensor([1, 1]), noise, table, torch.ones(2))[0]
    found.append(("weighted_loss", "the network is taken for one that guesses the noise", at_the_end, 9.0))
    mixed = weighted_loss(data, torch.tensor([0, 1]), noise, table, torch.tensor([1.0, 3.0]))
    found.append(("weighted_loss", "the batch is averaged before it is weighted", mixed[0], 0.04))
    found.append(("weighted_loss", "every level counts the same", mixed[1], 27.0))
    bright = torch.tensor([[4.0, 4, 4, 4], [0.5, 0.5, 0.5, 0.5]])
    held = dynamic_threshold(bright, 0.5)[:, 0]
    found.append(("dynamic_threshold", "values still reach beyond the range", held[0], 1.0))
    found.append(("dynamic_threshold", "one sample darkens the others", held[1], 0.5))
    ones, table = torch.ones(1, 4), torch.tensor([0.64, 0.36])
    kept_of_x = repaint_jump(ones, 0, 1, table, 0 * ones)[0, 0]
    found.append(("repaint_jump", "the way up begins at clean data", kept_of_x, 0.72))
    fresh = repaint_jump(0 * ones, 0, 1, table, ones)[0, 0]
    found.append(("repaint_jump", "the fresh noise is what two levels differ by", fresh, 0.96 * 0.4375**0.5))
    cross = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    leaning = torch.tensor([[1.0, 1], [-1, -1], [0.5, -0.5], [-0.5, 0.5]])
    found.append(("frechet_distance", "equal crowds are apart", frechet_distance(cross, cross), 0.0))
    apart = frechet_distance(cross, leaning)
    found.append(("frechet_distance", "a root is taken entry by entry", apart, 3 - 8**0.5))
    moved = frechet_distance(cross, cross + torch.tensor([3.0, 0]))
    found.append(("frechet_distance", "the mean is counted as spread", moved, 9.0))
    for piece, idea, number, right in found:
        if abs(float(number) - right) > 1e-3:
            return piece, idea, float(number), float(right)
    return piece, idea, float(number), float(right)


def loss_without_network(loss):
    return lambda x0, t, noise, alpha_bar, weight: loss(Silent(), x0, t, noise, alpha_bar, weight)


def jump_without_network(jump):
    return lambda x, s, t, alpha_bar, noise: jump(Silent(), x, s, t, alpha_bar, noise)


SIZE, TEXTURE = (3, 4, 4), 0.1
"""Of a picture: its shape, and the standard deviation of each pixel around the picture's own brightness."""


def settings(draw):
    return {"steps": draw.integer(30, 50), "gamma": draw.number(3, 7), "brightness": draw.number(-0.3, 0.3),
            "its spread": draw.number(0.3, 0.5), "exaggeration": draw.number(1.2, 1.5)}  # fmt: skip


def _estimate(x, kept, mean, spread):
    """The exact mean of x0 given x: brightness and texture are shrunk by their own ratios of signal to noise."""
    a, noise, pixels = kept.sqrt(), 1 - kept, x[0].numel()
    brightness = x.flatten(1).mean(dim=1).reshape(-1, 1, 1, 1)
    of_brightness = spread**2 + TEXTURE**2 / pixels
    shrunk = a * of_brightness / (kept * of_brightness + noise / pixels)
    return mean + shrunk * (brightness - a * mean) + a * TEXTURE**2 / (kept * TEXTURE**2 + noise) * (x - brightness)


def run(pieces, numbers, draw):
    """400 pictures, bright and dark, from exact guesses that are exaggerated; and what training would weigh."""
    mean, spread, steps, n = numbers["brightness"], numbers["its spread"], numbers["steps"], 400
    levels = pieces["rescale_zero_terminal_snr"](torch.linspace(0.995, 0.1, steps, dtype=torch.float64).square())
    x = draw.normal(n, *SIZE)
    for i in reversed(range(steps)):
        kept = levels[i]
        x0 = pieces["dynamic_threshold"](numbers["exaggeration"] * _estimate(x, kept, mean, spread), 0.9)
        eps = (x - kept.sqrt() * x0) / (1 - kept).sqrt()
        x = x0 if i == 0 else levels[i - 1].sqrt() * x0 + (1 - levels[i - 1]).sqrt() * eps
    data = mean + spread * draw.normal(n, 1, 1, 1) + TEXTURE * draw.normal(n, *SIZE)
    noise, t = draw.normal(n, *SIZE), draw.times(n, steps)
    weights = {target: pieces["min_snr_weight"](levels, numbers["gamma"], target) for target in ("eps", "x0", "v")}
    here, there = steps // 3, steps // 2
    noisy = levels[here].sqrt() * data + (1 - levels[here]).sqrt() * noise
    colours = [127.5 * (pictures.mean(dim=(2, 3)) + 1) for pictures in (x, data)]  # from 0 to 255
    return {
        "samples": x,
        "levels": levels,
        "weights of eps": weights["eps"],
        "weights of x0": weights["x0"],
        "weights of v": weights["v"],
        "losses": pieces["weighted_loss"](data, t, noise, levels, weights["v"]),
        "up and down again": pieces["repaint_jump"](noisy, here, there, levels, draw.normal(n, *SIZE)),
        "distance of the colours": pieces["frechet_distance"](*colours).reshape(1),
    }


TASK = BugTask(
    chapter="cifar10",
    title="Find the bug",
    about=r"""
The pipeline draws small pictures, each with a brightness of its own, with exact guesses that are exaggerated, as
guidance does: its levels are those of `rescale_zero_terminal_snr`, and `dynamic_threshold` holds each guess in range.
What training would use is there too: `min_snr_weight`, and `weighted_loss` for a network that always answers 0.
`repaint_jump`, with the same network, goes up and down again, and `frechet_distance` compares the colours of samples
and data.
""",
    pipeline=(
        Part(rescale_zero_terminal_snr.EXERCISE),
        Part(min_snr_weight.EXERCISE),
        Part(weighted_loss.EXERCISE, loss_without_network),
        Part(dynamic_threshold.EXERCISE),
        Part(repaint_jump.EXERCISE, jump_without_network),
        Part(frechet_distance.EXERCISE),
    ),
    bugs=(
        Bug("rescale_zero_terminal_snr", "shift without stretch", "the first level changes too"),
        Bug("rescale_zero_terminal_snr", "shifts alpha bar itself", "a variance is shifted where its root is meant"),
        Bug("min_snr_weight", "root of the ratio", "the ratio is one of amplitudes"),
        Bug("min_snr_weight", "v like eps", "one target gets the weight of another"),
        Bug("weighted_loss", "eps kept at zero snr", "the network is taken for one that guesses the noise"),
        Bug("weighted_loss", "weight after the mean", "the batch is averaged before it is weighted"),
        Bug("weighted_loss", "no weight", "every level counts the same"),
        Bug("dynamic_threshold", "clip without dividing", "values still reach beyond the range"),
        Bug("dynamic_threshold", "batch wide quantile", "one sample darkens the others"),
        Bug("repaint_jump", "alpha bar where alpha is meant", "the way up begins at clean data"),
        Bug("repaint_jump", "variances subtracted", "the fresh noise is what two levels differ by"),
        Bug("frechet_distance", "overlap counted once", "equal crowds are apart"),
        Bug("frechet_distance", "root of each entry", "a root is taken entry by entry"),
        Bug("frechet_distance", "means not taken off", "the mean is counted as spread"),
    ),
    decoys=(
        "the last level keeps a trace of the data",
        "the network is told the level where the step ends",
        "each channel is brought into range by itself",
        "the network is left in evaluation mode",
    ),
    settings=settings,
    run=run,
    reference=find_bug_cifar10,
)
