"""One entry from its file to its row: trained, counted, sampled and scored."""

from __future__ import annotations

import platform
import statistics
from pathlib import Path

import torch
from torch import Tensor

from diffusion_lab import __version__
from diffusion_lab.challenge.entries import Entry
from diffusion_lab.challenge.rules import Rules
from diffusion_lab.challenge.running import Runner
from diffusion_lab.challenge.scoring import copied, score
from diffusion_lab.challenge.table import Row
from diffusion_lab.chapters.run import OnStep, silent
from diffusion_lab.data import Dataset, load
from diffusion_lab.grading.isolation import sandbox_of
from diffusion_lab.metrics import Score

SEED = 0
"""Of the training, and of data that are generated."""


def enter(
    rules: Rules,
    entry: Entry,
    *,
    source: str = "auto",
    data_root: Path | None = None,
    isolation: str = "bubblewrap",
    on_step: OnStep = silent,
) -> Row:
    """Train, sample and score an entry.

    Args:
        source, data_root: which data; see `diffusion_lab.data.load`.
        isolation: "bubblewrap", "container" or "none", as in grading.
        on_step: progress.

    Returns:
        Its row. With the rules of a smoke run there are no scores in it.

    Raises:
        ChallengeError: the entry breaks a rule or fails.
        DataError: the data cannot be read.
        SandboxError: the sandbox cannot be had here.
    """
    on_step("loading data", 0, 1)
    dataset = load(rules.name, source=source, root=data_root, seed=SEED)
    drawn: dict[int, list[Tensor]] = {}
    values: dict[str, list[float]] = {}
    floors: dict[str, list[float]] = {}
    others: dict[str, dict[str, float]] = {}
    total = len(rules.seeds) * sum(rules.evaluations)
    done = 0
    with sandbox_of(isolation) as sandbox, sandbox_of(isolation) as home:
        run = Runner(sandbox, home, rules, entry, dataset)
        on_step("building the network", 0, 1)
        shapes = run.shapes()
        weights, seconds = entry.weights, 0.0
        if weights is None:
            weights, seconds = run.train(SEED, on_step)
        parameters = run.check(weights, shapes)
        for evaluations in rules.evaluations:
            for seed in rules.seeds:
                on_step("sampling", done, total)
                noise, labels = start(rules, dataset, seed)
                x, _ = run.sample(weights, noise, labels, evaluations, seed)
                drawn.setdefault(evaluations, []).append(x)
                done += evaluations
    for evaluations, each in drawn.items() if rules.scored else ():
        found = []
        for seed, x in zip(rules.seeds, each, strict=True):
            _, labels = start(rules, dataset, seed)
            found.append(score(rules.name, dataset, x, labels, seed, on_step))
        first: list[Score] = [scores[0] for scores in found]
        values[str(evaluations)] = [each.value for each in first]
        floors[str(evaluations)] = [each.floor for each in first]
        rest = zip(*(scores[1:] for scores in found), strict=True)
        others[str(evaluations)] = {same[0].name: statistics.fmean(each.value for each in same) for same in rest}
    return Row(
        name=entry.name,
        challenge=rules.name,
        data=dataset.name,
        metric=first[0].name if rules.scored else "",
        made_of=entry.pieces,
        digest=entry.digest,
        trained_here=entry.weights is None,
        parameters=parameters,
        seconds=round(seconds, 1),
        values=values,
        floors=floors,
        others=others,
        copied=copied(dataset, drawn[max(drawn)][0]),
        processor=processor(),
        versions={"diffusion_lab": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )


def start(rules: Rules, dataset: Dataset, seed: int) -> tuple[Tensor, Tensor | None]:
    """The noise (n, *S) that samples begin with, and the classes (n,) asked for: every class in turn."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(rules.samples, *dataset.train.shape[1:], generator=generator)
    return noise, torch.arange(rules.samples) % len(dataset.classes) if dataset.classes else None


def processor() -> str:
    """What the system calls this machine's processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine() or "unknown"
