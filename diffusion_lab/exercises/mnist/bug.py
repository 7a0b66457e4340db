"""Chapter 5's pipeline with one wrong piece: labels, times, guidance, averaged weights, on two tiny pictures."""

import torch
from torch import nn

from diffusion_lab.exercises.bugs import Bug, BugTask, Part, Silent
from diffusion_lab.exercises.mnist import (
    denoise_digits,
    drop_labels,
    ema_update,
    extract,
    guided_eps,
    simple_loss,
    strided_times,
    timestep_embedding,
)


def find_bug_mnist(
    extract, drop_labels, timestep_embedding, simple_loss, ema_update, strided_times, guided_eps, denoise_digits
):
    """Say which piece is wrong, and prove it with a number.

    Args:
        extract, drop_labels, timestep_embedding, strided_times, guided_eps: the pipeline's pieces; their arguments are
            those of the chapter's exercises.
        simple_loss, denoise_digits: without their first argument, asked of a network that always answers 0.
        ema_update: (average, online, decay) with tensors in the place of networks; returns a tensor.

    Returns:
        (piece, idea, found, expected): the name of a piece; an idea, one of the list; a number that you computed with
        the piece; and the number that a right piece would give.
    """
    found = []  # (piece, idea, found, expected): the first that is off tells
    t, images = torch.tensor([2, 1]), torch.ones(2, 1, 2, 2)
    table = torch.tensor([0.8, 0.5, 0.2])
    looked_up = extract(table, t, images).flatten()
    found.append(("extract", "the table is read one step early", looked_up[0], 0.2))
    found.append(("extract", "all samples get the step of the first one", looked_up[1], 0.5))
    labels, coins = torch.arange(10), torch.tensor([0.1, 0.9] * 5)
    dropped = drop_labels(labels, 0.2, 10, coins)
    found.append(("drop_labels", "the probability is turned around", (dropped[1::2] == labels[1::2]).sum(), 5))
    found.append(("drop_labels", "a missing label looks like a class", dropped[2], 10))
    where = timestep_embedding(torch.tensor([1.0]), 8, 100.0)[0]
    found.append(("timestep_embedding", "sines and cosines change places", where[0], 0.84147))
    found.append(("timestep_embedding", "the lowest frequency is fixed", torch.arcsin(where[3]), 0.01))
    loss = simple_loss(images, torch.tensor([0.99, 0.0]), 0 * images, table)
    range_of = "pixels stay between 0 and 1"
    found.append(
        ("simple_loss", "the loss compares with the noise" if loss[0] < 1e-3 else "the loss is added up", loss[0], 0.8)
    )
    found.append(("simple_loss", "one time is used for the whole batch", loss[1], 0.2))
    found.append(
        ("simple_loss", range_of, simple_loss(0 * images, torch.tensor([0.99, 0.0]), 0 * images, table)[0], 0.8)
    )
    mixed = ema_update(torch.ones(1), torch.zeros(1), 0.9)[0]
    idea = "the share that stays is the share that is new" if mixed < 0.2 else "old and new count the same"
    found.append(("ema_update", idea, mixed, 0.9))
    times = strided_times(100, 10).float()
    found.append(("strided_times", "steps run from the data to the noise", times[0] > times[-1], 1))
    found.append(("strided_times", "the noisiest step is never visited", times[0], 99))
    eps = [guided_eps(torch.full((1,), 2.0), torch.ones(1), scale)[0] for scale in (0.0, 1.0)]
    idea = "the two guesses change places" if eps[1] < 1.5 else "a scale of 1 already exaggerates"
    found.append(("guided_eps", idea, eps[0], 1.0))
    found.append(("guided_eps", "the guess without a label is never left out", eps[1], 2.0))
    clean = denoise_digits(images, torch.tensor([0.5, 0.5]), table).flatten()[0]
    found.append(("denoise_digits", "the level is looked up in the wrong units", clean, 0.75))
    for piece, idea, number, right in found:
        if abs(float(number) - right) > 1e-3:
            return piece, idea, float(number), float(right)
    return piece, idea, float(number), float(right)


class _Holder(nn.Module):
    """One tensor as the weight of a network."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)


def without_network(loss):
    return lambda images, uniform, noise, alpha_bar: loss(Silent(), images, uniform, noise, alpha_bar)


def denoiser_without_network(denoise):
    return lambda noisy, sigma, alpha_bar: denoise(Silent(), noisy, sigma, alpha_bar)


def of_tensors(update):
    return lambda average, online, decay: update(_Holder(average), _Holder(online), decay)["weight"]


SPREAD = 0.3
"""The standard deviation of the pictures around the ring and around the bar."""


def settings(draw):
    return {"visited steps": draw.integer(8, 14), "guidance": draw.number(1.5, 3), "dropped": draw.number(0.1, 0.3)}


def run(pieces, numbers, draw):
    """200 pictures of a ring, guided away from a bar, from exact guesses; and what training would have looked at."""
    size, n, steps = 8, 200, 200
    grid = torch.arange(size, dtype=torch.float64) - 3.5
    radius = (grid[:, None].square() + grid.square()).sqrt()
    ring, bar = ((radius - 2.5).abs() < 1).double() * 2 - 1, (grid.abs() < 1).double().expand(size, size) * 2 - 1
    pictures = torch.stack([ring, bar]).reshape(2, 1, size, size)
    alpha_bar = torch.cos(torch.linspace(0.02, 1.5, steps, dtype=torch.float64)).square()
    times = pieces["strided_times"](steps, numbers["visited steps"])
    x = draw.normal(n, 1, size, size)
    for i, step in enumerate(times):
        kept = pieces["extract"](alpha_bar, step.expand(n), x)
        variance = kept * SPREAD**2 + 1 - kept
        away = x.unsqueeze(1) - kept.sqrt().unsqueeze(1) * pictures  # (n, 2, 1, 8, 8)
        shares = torch.softmax(-away.flatten(2).square().sum(dim=2) / (2 * variance.flatten(1)), dim=1)
        of_each = (1 - kept).sqrt().unsqueeze(1) * away / variance.unsqueeze(1)
        with_label, without = of_each[:, 0], (shares.reshape(n, 2, 1, 1, 1) * of_each).sum(dim=1)
        eps = pieces["guided_eps"](with_label, without, numbers["guidance"])
        after = alpha_bar[times[i + 1]] if i + 1 < len(times) else torch.ones((), dtype=torch.float64)
        x = after.sqrt() * (x - (1 - kept).sqrt() * eps) / kept.sqrt() + (1 - after).sqrt() * eps
    labels, noise = draw.integers(0, 2, n), draw.normal(n, 1, size, size)
    images = (pictures[labels] + 1) / 2
    factors = pieces["extract"](alpha_bar, draw.times(n, steps), images)
    return {
        "samples": x,
        "noisy data": factors.sqrt() * (2 * images - 1) + (1 - factors).sqrt() * noise,
        "losses": pieces["simple_loss"](images, draw.uniform(n), noise, alpha_bar),
        "labels": pieces["drop_labels"](labels, numbers["dropped"], 2, draw.uniform(n)),
        "embeddings": pieces["timestep_embedding"](times.double(), 16, 1000.0),
        "averaged weights": pieces["ema_update"](torch.zeros(4), torch.ones(4), 0.99),
        "cleaned": pieces["denoise_digits"](images + 0.3 * noise, torch.full((n,), 0.3), alpha_bar),
    }


TASK = BugTask(
    chapter="mnist",
    title="Find the bug",
    about=r"""
The pipeline draws pictures of a ring, guided away from a bar, with exact guesses: it visits the `strided_times`, looks
levels up with `extract` and guides with `guided_eps`. What training would use is there too: `drop_labels`,
`timestep_embedding`, `ema_update` for one tensor of weights, `simple_loss` and `denoise_digits` for a network that
always answers 0.
""",
    pipeline=(
        Part(extract.EXERCISE),
        Part(drop_labels.EXERCISE),
        Part(timestep_embedding.EXERCISE),
        Part(simple_loss.EXERCISE, without_network),
        Part(ema_update.EXERCISE, of_tensors),
        Part(strided_times.EXERCISE),
        Part(guided_eps.EXERCISE),
        Part(denoise_digits.EXERCISE, denoiser_without_network),
    ),
    bugs=(
        Bug("extract", "one step for all", "all samples get the step of the first one"),
        Bug("extract", "one step early", "the table is read one step early"),
        Bug("drop_labels", "probability inverted", "the probability is turned around"),
        Bug("drop_labels", "zero for no label", "a missing label looks like a class"),
        Bug("timestep_embedding", "cosines first", "sines and cosines change places"),
        Bug("timestep_embedding", "ten thousand for all", "the lowest frequency is fixed"),
        Bug("simple_loss", "compares with the noise", "the loss compares with the noise"),
        Bug("simple_loss", "sum over pixels", "the loss is added up"),
        Bug("simple_loss", "one time for the batch", "one time is used for the whole batch"),
        Bug("simple_loss", "pixels from 0 to 1", "pixels stay between 0 and 1"),
        Bug("ema_update", "decay swapped", "the share that stays is the share that is new"),
        Bug("ema_update", "plain mean", "old and new count the same"),
        Bug("strided_times", "ascending", "steps run from the data to the noise"),
        Bug("strided_times", "noisiest step missed", "the noisiest step is never visited"),
        Bug("guided_eps", "one plus w", "a scale of 1 already exaggerates"),
        Bug("guided_eps", "guesses swapped", "the two guesses change places"),
        Bug("guided_eps", "whole guess added", "the guess without a label is never left out"),
        Bug("denoise_digits", "noise not doubled", "the level is looked up in the wrong units"),
    ),
    decoys=(
        "the network is told the step as a share of all steps",
        "guesses are clipped to the range of the pixels",
        "integer counters are averaged too",
        "fresh noise is added in the last step",
    ),
    settings=settings,
    run=run,
    reference=find_bug_mnist,
)
