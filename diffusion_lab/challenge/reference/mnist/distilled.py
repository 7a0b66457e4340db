# ruff: noqa: F821 - the course's own pieces are there when an entry runs
"""A network taught by the course's own: it learns where the noise goes that guided sampling begins with.

Each noise has one end, so there is no mean of many digits to be blurred (Luhman & Luhman 2021, who learn one step; here
the network learns all levels between the two ends, as in rectified flow).
"""

FIRST = 0.5
"""The share of the seconds for the network that teaches."""
PAIRS, EVALUATIONS = 14, 16
"""Ends for each second of training, and what each costs."""
GUIDANCE = 1.0  # guidance is in what it was taught


def train(network, data, labels, seconds):
    global GUIDANCE
    began = time.process_time()
    first = fit(network, lambda: batch(data, labels), FIRST * seconds)
    noise = torch.randn(int(PAIRS * seconds), *data.shape[1:])
    wanted = torch.arange(len(noise)) % CLASSES
    GUIDANCE = 1.5
    with torch.no_grad():
        parts = zip(noise.split(500), wanted.split(500), strict=True)
        ends = torch.cat([sample(first, *part, EVALUATIONS) for part in parts])

    def draw():
        rows = torch.randint(len(noise), (BATCH,))
        return ends[rows], noise[rows], {"labels": wanted[rows]}

    return fit(first.requires_grad_(True), draw, SHARE * seconds - (time.process_time() - began))
