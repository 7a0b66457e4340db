# ruff: noqa: F821 - the course's own pieces are there when an entry runs
"""Rectified flow (Liu et al. 2022): a flow is trained, and then trained again on straight lines between its own ends.

Where each noise has one end of its own, one long step goes almost where many short ones go.
"""

FIRST, DRAWING = 0.4, 0.1
"""The shares of the seconds for the first flow, and for the ends of its paths."""
PAIRS = 400
"""For each second of training."""


def train(network, data, labels, seconds):
    first = fit(network, lambda: batch(data, labels), FIRST * seconds)
    pairs = int(PAIRS * seconds)
    noise = torch.randn(pairs, *data.shape[1:])
    with torch.no_grad():
        ends = torch.cat([sample(first, part, None, 40) for part in noise.split(10_000)])

    def draw():
        rows = torch.randint(pairs, (BATCH,))
        return ends[rows], noise[rows], {}

    return fit(first.requires_grad_(True), draw, (SHARE - FIRST - DRAWING) * seconds)
