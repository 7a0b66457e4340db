"""Chapter 9's pipeline with one wrong piece: sentences of independent words, from exact guesses, clamped and read."""

import torch
from torch import nn

from diffusion_lab.exercises.bugs import Bug, BugTask, Part
from diffusion_lab.exercises.text import (
    clamp_x0,
    masked_x0_loss,
    round_to_words,
    rounding_loss,
    self_conditioned_x0,
    sqrt_alpha_bar,
)


def find_bug_text(sqrt_alpha_bar, round_to_words, masked_x0_loss, rounding_loss, self_conditioned_x0, clamp_x0):
    """Say which piece is wrong, and prove it with a number.

    Args:
        sqrt_alpha_bar, round_to_words, masked_x0_loss, clamp_x0: the pipeline's pieces; their arguments are those of
            the chapter's exercises.
        rounding_loss: without its first argument, asked of a network that answers what it sees.
        self_conditioned_x0: the same, of a network that answers what it sees plus the last estimate.

    Returns:
        (piece, idea, found, expected): the name of a piece; an idea, one of the list; a number that you computed with
        the piece; and the number that a right piece would give.
    """
    found = []  # (piece, idea, found, expected): the first that is off tells
    first = sqrt_alpha_bar(4, 0.04)[0]
    idea = "the offset is not under the root" if first > 0.8 else "the schedule is squared again"
    found.append(("sqrt_alpha_bar", idea, first, 0.8))
    in_a_row, apart = torch.tensor([[1.0, 0], [4, 0]]), torch.tensor([[2.0, 2], [6, 1]])
    long = round_to_words(torch.tensor([[1.2, 0]]), in_a_row)[0]
    found.append(("round_to_words", "long vectors are preferred", long, 0))
    near = round_to_words(torch.tensor([[2.6, 0.3]]), apart)[0]
    found.append(("round_to_words", "directions are compared", near, 0))
    truth, words = torch.zeros(1, 4, 2), torch.tensor([[True, True, False, False]])
    guess = torch.tensor([2.0, 2, 6, 6]).reshape(1, 4, 1).expand(1, 4, 2)
    loss = masked_x0_loss(guess, truth, words)[0]
    idea = "padding is counted" if loss > 4 else "the sum is divided by the whole length"
    found.append(("masked_x0_loss", idea, loss, 4.0))
    table, word, there = torch.tensor([[0.0, 0], [2, 0]]), torch.tensor([[0]]), torch.tensor([[True]])
    surprise = rounding_loss(torch.zeros(1, 1, 2), torch.zeros(1), table, word, there, 3.0)[0]
    idea = "a distance is taken for its square" if surprise > 0.5882 else "a standard deviation is taken for a variance"
    found.append(("rounding_loss", idea, surprise, torch.log1p(torch.tensor(-4 / 18.0).exp())))
    one, t = torch.ones(2, 1), torch.zeros(2)
    carried = self_conditioned_x0(one, t, 3 * one, None)[0, 0]
    found.append(("self_conditioned_x0", "the last estimate is not handed on", carried, 4.0))
    trained = self_conditioned_x0(one, t, None, torch.tensor([0.2, 0.8]))[:, 0]
    found.append(("self_conditioned_x0", "training never shows an estimate", trained[0], 2.0))
    found.append(("self_conditioned_x0", "training always shows an estimate", trained[1], 1.0))
    clean, eps = clamp_x0(torch.tensor([[1.6, 0.1]]), torch.ones(1, 2), torch.tensor([0.64]), table)
    found.append(("clamp_x0", "the estimate stays between words", clean[0, 0], 2.0))
    idea = "the noise is found before the word" if eps[0, 0] > -0.6 else "variances are taken for standard deviations"
    found.append(("clamp_x0", idea, eps[0, 0], -1.0))
    for piece, idea, number, expected in found:
        if abs(float(number) - float(expected)) > 1e-3:
            return piece, idea, float(number), float(expected)
    return piece, idea, float(number), float(expected)


class _Echo(nn.Module):
    """Answers what it sees, plus the last estimate where it is given one."""

    def forward(self, x, t, labels=None, last=None):
        return x.clone() if last is None else x + last


def loss_of_an_echo(loss):
    return lambda x_t, t, embeddings, ids, mask, std: loss(_Echo(), x_t, t, embeddings, ids, mask, std)


def estimate_of_an_echo(estimate):
    return lambda x, t, last, uniform: estimate(_Echo(), x, t, last, uniform)


WORDS, LENGTH, WIDTH = 12, 6, 4


def settings(draw):
    return {"steps": draw.integer(24, 30), "size of the vectors": draw.number(1.5, 2.5), "std": draw.number(0.3, 0.6)}


def _guess(x, kept, embeddings):
    """The exact mean of x0 given x, where all words are as likely and come one by one."""
    away = (x.unsqueeze(-2) - kept.sqrt() * embeddings).square().sum(dim=-1)  # (B, L, V)
    return (-away / (2 * (1 - kept))).softmax(dim=-1) @ embeddings


def run(pieces, numbers, draw):
    """150 sentences from exact guesses, each clamped to words; and what training would look at."""
    n, steps = 150, numbers["steps"]
    embeddings = numbers["size of the vectors"] * draw.normal(WORDS, WIDTH)
    levels = pieces["sqrt_alpha_bar"](steps, 0.2 / steps)
    x = draw.normal(n, LENGTH, WIDTH)
    for i in reversed(range(steps)):
        guess = _guess(x, levels[i], embeddings)
        x0, eps = pieces["clamp_x0"](guess, x, levels[i].expand(n), embeddings)
        x = x0 if i == 0 else levels[i - 1].sqrt() * x0 + (1 - levels[i - 1]).sqrt() * eps
    ids = draw.integers(0, WORDS, n, LENGTH)
    mask = torch.arange(LENGTH) < draw.integers(2, LENGTH, n)[:, None]
    kept = levels[steps // 3]
    noisy = kept.sqrt() * embeddings[ids] + (1 - kept).sqrt() * draw.normal(n, LENGTH, WIDTH)
    guess, t = _guess(noisy, kept, embeddings), torch.full((n,), steps // 3)
    return {
        "samples": x,
        "words": pieces["round_to_words"](guess, embeddings),
        "levels": levels,
        "losses": pieces["masked_x0_loss"](guess, embeddings[ids], mask),
        "surprise": pieces["rounding_loss"](guess, t, embeddings, ids, mask, numbers["std"]),
        "shown in training": pieces["self_conditioned_x0"](noisy, t, None, draw.uniform(n)),
        "shown in sampling": pieces["self_conditioned_x0"](noisy, t, guess, None),
    }


TASK = BugTask(
    chapter="text",
    title="Find the bug",
    about=r"""
The pipeline draws sentences of words that come one by one, so that the best guess is known: its levels are those of
`sqrt_alpha_bar`, and each guess is moved to words by `clamp_x0`. `round_to_words` reads guesses. What training would
use is there too: `masked_x0_loss`, `rounding_loss` for a network that answers what it sees, and `self_conditioned_x0`
for one that adds the last estimate to what it sees.
""",
    pipeline=(
        Part(sqrt_alpha_bar.EXERCISE),
        Part(round_to_words.EXERCISE),
        Part(masked_x0_loss.EXERCISE),
        Part(rounding_loss.EXERCISE, loss_of_an_echo),
        Part(self_conditioned_x0.EXERCISE, estimate_of_an_echo),
        Part(clamp_x0.EXERCISE),
    ),
    bugs=(
        Bug("sqrt_alpha_bar", "squared again", "the schedule is squared again"),
        Bug("sqrt_alpha_bar", "offset outside the root", "the offset is not under the root"),
        Bug("round_to_words", "largest dot product", "long vectors are preferred"),
        Bug("round_to_words", "smallest angle", "directions are compared"),
        Bug("masked_x0_loss", "padding counted", "padding is counted"),
        Bug("masked_x0_loss", "padding in the number", "the sum is divided by the whole length"),
        Bug("rounding_loss", "distance without its square", "a distance is taken for its square"),
        Bug("rounding_loss", "std for variance", "a standard deviation is taken for a variance"),
        Bug("self_conditioned_x0", "zeros while sampling", "the last estimate is not handed on"),
        Bug("self_conditioned_x0", "never on", "training never shows an estimate"),
        Bug("self_conditioned_x0", "always on", "training always shows an estimate"),
        Bug("clamp_x0", "not clamped", "the estimate stays between words"),
        Bug("clamp_x0", "clamped late", "the noise is found before the word"),
        Bug("clamp_x0", "missing roots", "variances are taken for standard deviations"),
    ),
    decoys=(
        "the noisy vectors are moved to words",
        "the likeliest word is looked for among the places",
        "one coin decides for the whole batch",
        "the last alpha_bar is negative",
    ),
    settings=settings,
    run=run,
    reference=find_bug_text,
)
