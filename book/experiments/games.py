"""Chapter 10, game states: kernels at equal cost, orders and temperatures, and a network that fits in a table."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import combinations

import torch
from torch import Tensor

from diffusion_lab import open_checkpoint, samplers, schedules
from diffusion_lab.chapters.catalogue import get
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.run import build
from diffusion_lab.data import Dataset
from diffusion_lab.data.games import bits_to_board, board_to_bits
from diffusion_lab.denoisers import from_network
from diffusion_lab.devices import make_accelerator
from diffusion_lab.discrete import token_denoiser
from diffusion_lab.exact import FiniteSet, FiniteTokens
from diffusion_lab.metrics import board_total_variation, legality_rate
from diffusion_lab.train import Settings, Source, Trainer

CELLS, MASK = 9, 3
PLACE = 4 ** torch.arange(CELLS - 1, -1, -1)
"""What a token of each cell adds to the number of a partial board, whose cells are 0, 1, 2 or the mask 3."""
EVALUATIONS = (2, 4, 8, 16, 32, 64)
CURVE = (1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 24, 32, 48, 64, 96, 128, 256)
SETTINGS = Settings(steps=1700, batch=256, learning_rate=3e-3, ema_decay=0.995)
"""One training for every kernel."""
COUNT = 5000
BLOCK = 20
"""Training steps whose mean loss is recorded as one number."""
ORDERS = ("random", "row by row", "surest first", "least sure first")
TEMPERATURES = (1.25, 0.8, 0.6, 0.4, 0.2, 0.0)


@cache
def partial_boards() -> Tensor:
    """All 4^9 = 262,144 boards of empty, X, O and the mask, in the order of their numbers: (4^9, 9)."""
    return torch.arange(4**CELLS)[:, None] // PLACE % 4


@cache
def hidden_cells() -> Tensor:
    """Which cells of each partial board are hidden, as the bits of a number: (4^9,)."""
    return ((partial_boards() == MASK) * 2 ** torch.arange(CELLS)).sum(dim=1)


@cache
def how_many_hidden() -> Tensor:
    return (partial_boards() == MASK).sum(dim=1)


@cache
def complete() -> Tensor:
    """The numbers (3^9,) of the boards without a mask."""
    return torch.nonzero(how_many_hidden() == 0)[:, 0]


def ways_to_choose(size: int) -> Tensor:
    """In how many ways so many hidden cells of each partial board can be chosen, (4^9,)."""
    return torch.tensor([math.comb(n, size) for n in range(CELLS + 1)], dtype=torch.float64)[how_many_hidden()]


def number_of(boards: Tensor) -> Tensor:
    return (boards * PLACE).sum(dim=-1)


def counts(boards: Tensor) -> Tensor:
    """How many of these boards (N, 9) agree with each partial board: (4^9,), float64."""
    table = torch.zeros((3,) * CELLS, dtype=torch.float64)
    table[tuple(boards.T)] = 1
    for cell in range(CELLS):
        table = torch.cat([table, table.sum(dim=cell, keepdim=True)], dim=cell)
    return table.flatten()


def exact_beliefs(boards: Tensor) -> Tensor:
    """p(x0 | x) of every cell of every partial board, (4^9, 9, 3); a third each where no board agrees."""
    count, partial = counts(boards), partial_boards()
    found = torch.zeros(len(partial), CELLS, 3, dtype=torch.float64)
    for cell in range(CELLS):
        hidden = partial[:, cell] == MASK
        rows = torch.nonzero(hidden)[:, 0]
        for token in range(3):
            found[~hidden, cell, token] = (partial[~hidden, cell] == token).double()
            share = count[rows + (token - MASK) * PLACE[cell]] / count[rows]
            found[rows, cell, token] = torch.where(count[rows] > 0, share, 1 / 3)
    return found


@torch.no_grad()
def learned_beliefs(network, process, on_step: Callable) -> Tensor:
    """The same of a network, asked at the time at which as many cells are hidden on average."""
    denoise, partial = token_denoiser(network, process), partial_boards()
    times = how_many_hidden() / CELLS
    schedule, found = schedules.masking(), []
    blocks = torch.arange(len(partial)).split(4096)
    for done, rows in enumerate(blocks):
        on_step("a table of the network", done, len(blocks))
        t = times[rows].clamp(schedule.t_min, schedule.t_max)
        found.append(denoise(partial[rows], schedule.at(t, like=torch.zeros(1))).double())
    return torch.cat(found)


def sharpened(beliefs: Tensor, temperature: float) -> Tensor:
    """Beliefs to the power of 1 / temperature, with sum 1; with temperature 0 the most likely token alone."""
    if temperature == 0:
        return torch.nn.functional.one_hot(beliefs.argmax(dim=-1), 3).double()
    logs = beliefs.clamp(min=1e-300).log() / temperature
    return logs.softmax(dim=-1)


def ranks(beliefs: Tensor, order: str) -> Tensor | None:
    """The place of every hidden cell in the order in which cells are revealed, (4^9, 9); None for a random order."""
    hidden = partial_boards() == MASK  # (4^9, 9)
    sure = beliefs.amax(dim=-1)
    # Equally sure cells, such as the four corners, are taken as they come.
    sure = sure - 1e-9 * torch.arange(CELLS)
    key = {
        "random": None,
        "row by row": torch.arange(CELLS).double().expand(len(hidden), CELLS),
        "surest first": -sure,
        "least sure first": sure,
    }[order]
    if key is None:
        return None
    return key.masked_fill(~hidden, math.inf).argsort(dim=1, stable=True).argsort(dim=1)


def reveal(p: Tensor, beliefs: Tensor, size: int, rank: Tensor | None = None) -> Tensor:
    """One step of all samples: p (4^9,) of partial boards becomes that after `size` more cells are revealed.

    The cells of one step are drawn independently of one another, from the beliefs before it.
    """
    out, ways = torch.zeros_like(p), ways_to_choose(size)
    tokens = torch.cartesian_prod(*[torch.arange(3)] * size).reshape(-1, size)  # (3^size, size)
    for cells in combinations(range(CELLS), size):
        chosen = sum(2**cell for cell in cells)
        rows = torch.nonzero((p > 0) & (hidden_cells() & chosen == chosen))[:, 0]
        if rank is not None:
            rows = rows[(rank[rows][:, cells] < size).all(dim=1)]
        mass = (p[rows] / ways[rows] if rank is None else p[rows])[:, None]  # (rows, 1)
        for cell in cells:
            mass = (mass[:, :, None] * beliefs[rows, cell][:, None]).reshape(len(rows), 3 * mass.shape[1])
        moved = ((tokens - MASK) * PLACE[list(cells)]).sum(dim=1)
        out.index_add_(0, (rows[:, None] + moved).flatten(), mass.flatten())
    return out


def outcome(beliefs: Tensor, sizes: tuple[int, ...], rank: Tensor | None = None) -> Tensor:
    """The exact distribution (4^9,) of sampled boards where the steps reveal these numbers of cells."""
    p = torch.zeros(4**CELLS, dtype=torch.float64)
    p[-1] = 1  # all cells are hidden
    for size in sizes:
        p = reveal(p, beliefs, size, rank)
    return p


def block_sums(beliefs: Tensor, on_step: Callable) -> list[Tensor]:
    """For b = 1..9 the sum over all ways to split the cells into b ordered groups of the probability of each board.

    A sampler of S steps on the straight schedule puts each cell into one of S groups, each as likely. So boards have
    the probabilities sum_b C(S, b) S^-9 times the b-th of these sums.
    """
    p, found = torch.zeros(4**CELLS, dtype=torch.float64), []
    p[-1] = 1
    for groups in range(1, CELLS + 1):
        on_step("groups of cells", groups - 1, CELLS)
        after = torch.zeros_like(p)
        for size in range(1, CELLS + 2 - groups):
            # reveal() takes the mean over the groups of one size, and here is a sum.
            after += reveal(p * ways_to_choose(size), beliefs, size)
        p = after
        found.append(p[complete()])
    return found


def after_steps(sums: list[Tensor], steps: int) -> Tensor:
    """The distribution (3^9,) of boards after that many steps of the straight schedule."""
    return sum(math.comb(steps, b) / steps**CELLS * part for b, part in enumerate(sums, start=1))


class Truth:
    """Judges a distribution over all 3^9 complete boards against equally likely legal ones."""

    def __init__(self, boards: Tensor):
        self.rows = torch.searchsorted(complete(), number_of(boards))
        self.boards = len(boards)

    def __call__(self, p: Tensor) -> dict[str, float | None]:
        legal = p[self.rows]
        share = float(legal.sum())
        here = legal / legal.sum()
        entropy = float(-(here * here.clamp(min=1e-300).log()).sum())
        return {
            "legal": share,
            "tv": float((legal - 1 / self.boards).abs().sum() + 1 - share) / 2,
            # The true boards' surprise at the sampler, less their own entropy; infinite if one of them never comes.
            "kl": float(-math.log(self.boards) - legal.log().mean()) if bool((legal > 0).all()) else None,
            "boards": math.exp(entropy),
        }


def belief_gaps(exact: Tensor, learned: Tensor, boards: Tensor) -> dict:
    """Exact against learned belief of a hidden cell, by how many cells are hidden; and the bound on the likelihood."""
    kl, tv, surprise, number = (torch.zeros(CELLS + 1, dtype=torch.float64) for _ in range(4))
    for size in range(1, CELLS + 1):
        for cells in combinations(range(CELLS), size):
            seen = boards.clone()
            seen[:, cells] = MASK
            rows = number_of(seen)
            p, q = exact[rows][:, cells], learned[rows][:, cells].clamp(min=1e-12)
            kl[size] += (p * (p.clamp(min=1e-300).log() - q.log())).sum(dim=-1).mean(dim=0).sum()
            tv[size] += (p - q).abs().sum(dim=-1).mean(dim=0).sum() / 2
            right = q.gather(-1, boards[:, list(cells)][..., None])[..., 0]
            surprise[size] += -right.log().mean(dim=0).sum()
            number[size] += size
    number[0] = 1
    return {
        "kl": (kl / number)[1:].tolist(),
        "tv": (tv / number)[1:].tolist(),
        "surprise": (surprise / number)[1:].tolist(),
        "bound": float((surprise / number)[1:].sum()),
        "entropy": math.log(len(boards)),
    }


def transformer_for_bits():
    """The variant "bits" with the transformer of the masks in place of its perceptron: nine cells, two numbers each."""
    chapter = get("games").variants["bits"]

    def load(*where) -> Dataset:
        data = chapter.load(*where)
        return replace(data, train=data.train.unflatten(1, (CELLS, 2)), test=data.test.unflatten(1, (CELLS, 2)))

    same = {name: get("games").network[name] for name in ("kind", "width", "depth")}
    return replace(chapter, load=load, network=same)


def train(chapter, settings: Settings):
    """The chapter with its own network, loss and schedule: the network, its pieces, the losses."""
    data = chapter.load("auto", None, 0)
    own = assemble(chapter, data, build(chapter, data, 0), {})
    accelerator = make_accelerator("cpu", "float32")
    trainer = Trainer(own.network, own.loss, own.schedule, Source(data.train), settings, accelerator, 0)
    return trainer.fit(), own, trainer.losses


def draw(denoise: Callable, own, process, shape: tuple[int, ...], steps: int, count: int) -> Tensor:
    """Boards (count, 9) that a sampler of this many steps makes; a board of the data has this shape."""
    generator = torch.Generator().manual_seed(0)
    if process is None:
        start = samplers.initial_noise(own.schedule, torch.randn(count, *shape, generator=generator))
    else:
        start = process.start((count, *shape), torch.rand(count, *shape, generator=generator))
    x, way = samplers.sample(denoise, own.schedule, own.step, start, steps=steps, generator=generator)
    assert way.evaluations <= steps  # a step of masks that opens no cell asks for none
    return bits_to_board(x.flatten(1))[0] if process is None else x


def judged(x: Tensor, boards: Tensor) -> dict[str, float]:
    return {"legal": legality_rate(x, boards), "tv": board_total_variation(x, boards)}


def compare_kernels(shipped, sums: list[Tensor], settings: Settings, count: int, on_step: Callable) -> dict:
    """Masks, uniform tokens and bits in equally many steps, with a trained network and with the exact belief.

    `sums` are those of the exact belief, from which boards by masks are drawn without a walk.
    """
    masks, boards, rows, kernels = get("games"), shipped.dataset.train, [], {}
    exact_bits = FiniteSet(board_to_bits(boards))
    jobs = {
        "masks": masks,
        "masks, shipped": masks,
        "random tokens": masks.variants["uniform"],
        "bits": transformer_for_bits(),
        "bits, perceptron": masks.variants["bits"],
    }
    for kernel, chapter in jobs.items():
        on_step(f"training: {kernel}", 0, 1)
        began = time.perf_counter()
        if kernel == "masks, shipped":
            network, own, losses = shipped.network, shipped.pieces, []
        else:
            network, own, losses = train(chapter, settings)
        seconds, process = time.perf_counter() - began, chapter.process
        kernels[kernel] = {
            "parameters": sum(p.numel() for p in network.parameters()),
            "seconds": round(seconds, 1),
            "losses": [math.fsum(losses[i : i + BLOCK]) / BLOCK for i in range(0, len(losses) - BLOCK + 1, BLOCK)],
        }
        learned = from_network(network, own.target) if process is None else token_denoiser(network, process)
        shape = (CELLS,) if process is not None else (CELLS, 2) if kernel == "bits" else (2 * CELLS,)
        for steps in EVALUATIONS:
            on_step(f"sampling: {kernel}, {steps} evaluations", 0, 1)
            row = {"kernel": kernel, "evaluations": steps}
            row["learned"] = judged(draw(learned, own, process, shape, steps, count), boards)
            if kernel == "masks":
                p, generator = after_steps(sums, steps), torch.Generator().manual_seed(1)
                x = partial_boards()[complete()][torch.multinomial(p, count, replacement=True, generator=generator)]
                row["exact"] = judged(x, boards)
            elif kernel == "random tokens":
                row["exact"] = judged(
                    draw(FiniteTokens(boards, process).denoise, own, process, shape, steps, count), boards
                )
            elif kernel == "bits":
                row["exact"] = judged(draw(exact_bits.denoise, own, process, (2 * CELLS,), steps, count), boards)
            rows.append(row)
    return {"rows": rows, "kernels": kernels, "steps": settings.steps, "batch": settings.batch}


def floors(boards: Tensor, count: int) -> dict[str, float]:
    """What boards of the true distribution score, and boards of random tokens."""
    generator = torch.Generator().manual_seed(9)
    true = boards[torch.randint(len(boards), (count,), generator=generator)]
    chance = torch.randint(3, (count, CELLS), generator=generator)
    return {"true": judged(true, boards), "random": judged(chance, boards)}


def orders(beliefs: dict[str, Tensor], truth: Truth, on_step: Callable) -> list[dict]:
    """Which cell comes first, how many at once, and at which temperature: exact distributions, no samples."""
    rows, full = [], complete()
    jobs = [(order, sizes, 1.0) for order in ORDERS for sizes in ((1,) * 9, (3,) * 3)]
    jobs += [("random", (1,) * 9, temperature) for temperature in TEMPERATURES]
    for done, (order, sizes, temperature) in enumerate(jobs):
        on_step("orders and temperatures", done, len(jobs))
        row = {"order": order, "evaluations": len(sizes), "at_once": sizes[0], "temperature": temperature}
        for kind, table in beliefs.items():
            p = outcome(sharpened(table, temperature), sizes, ranks(table, order))[full]
            row[kind] = truth(p)
        rows.append(row)
    return rows


def run(on_step: Callable[[str, int, int], None], scale: float = 1.0) -> dict:
    """Everything that chapter 10 shows and a page has no time for."""
    settings, count = replace(SETTINGS, steps=int(SETTINGS.steps * scale)), int(COUNT * scale)
    shipped = open_checkpoint(name="games", device="cpu")
    boards, truth = shipped.dataset.train, Truth(shipped.dataset.train)
    beliefs = {
        "exact": exact_beliefs(boards),
        "learned": learned_beliefs(shipped.network, shipped.chapter.process, on_step),
    }
    sums = {kind: block_sums(table, on_step) for kind, table in beliefs.items()}
    return {
        "data": shipped.dataset.name,
        "boards": len(boards),
        "count": count,
        "block": BLOCK,
        "floors": floors(boards, count),
        "gaps": belief_gaps(beliefs["exact"], beliefs["learned"], boards),
        "curves": {
            kind: [{"steps": steps, **truth(after_steps(parts, steps))} for steps in CURVE]
            for kind, parts in sums.items()
        },
        "orders": orders(beliefs, truth, on_step),
        "kernels": compare_kernels(shipped, sums["exact"], settings, count, on_step),
    }
