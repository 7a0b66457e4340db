"""Three networks on digits, much smaller and much larger than in the race of `architectures.py`, for the same seconds.

What is asked is whether the order of the networks turns round with their size. Depths stay and widths change; the sizes
between are those of the race itself, whose record has them.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean
from typing import Any

import torch
from experiments.architectures import MARKS, network_of, operations, task, train

from diffusion_lab.networks import count_parameters

WIDTHS = {"unet": (16, 64), "dit": (32, 160), "mixer": (32, 160)}
"""About 0.1 and about 1.6 million weights; attention has heads of 32, so a DiT is one of 0.08 and 1.9."""
SEEDS = (0, 1)


def run(on_step: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Every size of every network, seed after seed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        digits = task("mnist", on_step)
        runs: dict[tuple[str, int], list[dict[str, float]]] = {}
        for seed in SEEDS:
            for name, widths in WIDTHS.items():
                for width in widths:
                    (end,) = train(digits, name, seed, on_step, marks=MARKS[-1:], width=width)
                    runs.setdefault((name, width), []).append(end)
    finally:
        torch.set_num_threads(threads)
    shape = tuple(digits.dataset.train.shape[1:])
    rows = []
    for (name, width), ends in runs.items():
        network = network_of(digits.chapter, digits.dataset, name, 0, width=width)
        distances = [end["distance"] for end in ends]
        rows.append(
            {
                "network": name,
                "width": width,
                "parameters": count_parameters(network),
                "megaflops": operations(network, shape) / 1e6,
                "steps": mean(end["steps"] for end in ends),
                "distance": mean(distances),
                "distance_each": distances,
            }
        )
    return {
        "data": digits.dataset.name,
        "samples": digits.samples,
        "seconds": MARKS[-1],
        "seeds": len(SEEDS),
        "rows": rows,
    }
