"""The average of the weights: a network at rest is approached by the factor `decay` with every update."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from diffusion_lab.doctor.calling import Reader
from diffusion_lab.doctor.findings import Finding
from diffusion_lab.doctor.subject import Diffusion

PIECE = "ema_update"
PAGE = "05_mnist#the-average-network"
DECAY, UPDATES = 0.8, 3


def _network(seed: int) -> nn.Module:
    """Weights, running statistics and a counter: all that a state dictionary can hold."""
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, entry in network.state_dict().items():
            if entry.is_floating_point():
                entry.copy_(0.5 + torch.rand(entry.shape, generator=generator) + (seed if "running" in name else 0))
    network[1].num_batches_tracked.fill_(10 + 90 * seed)
    return network


def examine_average(subject: Diffusion, reader: Reader) -> Iterator[Finding]:
    """After n updates towards a network at rest, decay^n of the first difference is left, and counters are copied."""
    average, online = _network(0), _network(1)
    before, goal = (copy.deepcopy(n.state_dict()) for n in (average, online))
    tracked = False
    for _ in range(UPDATES):
        given = {name: average for name in AVERAGE} | {name: online for name in ONLINE} | {name: DECAY for name in RATE}
        found = reader.call(PIECE, subject.ema_update, given)
        if isinstance(found, nn.Module):
            found = found.state_dict()
        if isinstance(found, Mapping):
            if found.keys() != before.keys():
                lost = sorted(before.keys() - found.keys())
                yield Finding("entries-lost", PIECE, f"The new state lacks {', '.join(lost) or 'nothing'}: a state "
                              "dictionary has buffers beside the weights.", "entries", len(found), len(before),
                              PAGE)  # fmt: skip
                return
            tracked = tracked or any(isinstance(v, Tensor) and v.requires_grad for v in found.values())
            kinds = {n: v.dtype for n, v in found.items() if v.dtype != before[n].dtype}
            if kinds:
                name = next(iter(kinds))
                yield _counter(f"'{name}' is an integer counter, and it came back as {kinds[name]}.",
                               float(found[name]), float(goal[name]))  # fmt: skip
                return
            average.load_state_dict(found)
    moved = max(float((online.state_dict()[n] - v).abs().max()) for n, v in goal.items() if v.is_floating_point())
    if moved > 0:
        yield Finding("online-changed", PIECE, "It writes into the network that is being trained.", "largest change",
                      moved, 0.0, PAGE)  # fmt: skip
        return
    tracked = tracked or any(p.grad_fn is not None for p in average.parameters())
    yield from _judge(average.state_dict(), before, goal, {n for n, _ in average.named_parameters()})
    if tracked:
        yield Finding("average-on-the-graph", PIECE, "The average hangs on the autograd graph of both networks, which "
                      "grows with every step. Update it under torch.no_grad().", "entries on a graph", 1, 0,
                      PAGE)  # fmt: skip


def _left(after: Tensor, before: Tensor, goal: Tensor) -> float:
    """The share of the first difference that is left."""
    gap = before - goal
    return float(((after - goal) * gap).sum() / gap.square().sum())


def _judge(after, before, goal, weights) -> Iterator[Finding]:
    what = f"share of the first difference left after {UPDATES} updates with decay {DECAY:g}"
    wanted = DECAY**UPDATES
    name = min(weights)
    left = _left(after[name], before[name], goal[name])
    if abs(left - wanted) > 1e-3:
        code, says = "average-decay", "The average follows the network at another pace than decay says."
        if abs(left - 1) < 1e-4:
            code, says = "average-does-not-follow", "The average stays where it was: it does not follow the network."
        elif abs(left) < 1e-4:
            code, says = "average-copied", "The average is a copy of the network: decay is not used."
        elif abs(left - (1 - DECAY) ** UPDATES) < 1e-3:
            code, says = "decay-swapped", "decay and 1 - decay have changed places: nearly all of the average is " \
                "forgotten at each step."  # fmt: skip
        elif float(after[name].abs().mean()) > 1.2 * float(torch.maximum(before[name].abs(), goal[name].abs()).mean()):
            code, says = "average-grows", "The weights grow with every update: what comes in must take the place of " \
                "what goes, and the two factors add up to 1."  # fmt: skip
        yield Finding(code, PIECE, says, what, left, wanted, PAGE)
        return
    for name, value in goal.items():
        if not value.is_floating_point():
            if not torch.equal(after[name], value):
                yield _counter(f"'{name}' is a counter: it is copied, not averaged, and not left behind.",
                               float(after[name]), float(value))  # fmt: skip
        elif name not in weights and abs(_left(after[name], before[name], value) - wanted) > 1e-3:
            left = _left(after[name], before[name], value)
            kept = "stay as they were before training" if left > 0.99 else "are those of the other network"
            yield Finding("statistics-not-averaged", PIECE, f"The running statistics ('{name}') {kept}, and do not go "
                          "with the averaged weights: average every entry that is a float.", what, left, wanted,
                          PAGE)  # fmt: skip
            return


def _counter(says: str, found: float, wanted: float) -> Finding:
    return Finding("counter-averaged", PIECE, says, "the counter", found, wanted, PAGE)


AVERAGE = ("average", "ema", "ema_model", "ema_network", "averaged", "shadow", "target", "avg", "slow")
ONLINE = ("online", "model", "network", "net", "source", "current", "fast")
RATE = ("decay", "beta", "ema_decay", "mu", "rate")
