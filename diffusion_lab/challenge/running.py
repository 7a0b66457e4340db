"""An entry in the sandbox: trained in one process, evaluated in a second, sampled in a third; this side keeps count.

The three see nothing of each other but what goes through here. The process that samples has no weights and no training
data, so an evaluation can only be had by asking; the one that holds the network has no data either. Held-out data stay
on this side.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffusion_lab.challenge.entries import Entry, check_weights
from diffusion_lab.challenge.inside import CALLS, course_code, pieces_code
from diffusion_lab.challenge.rules import ChallengeError, Rules
from diffusion_lab.chapters.run import OnStep, silent
from diffusion_lab.data import Dataset
from diffusion_lab.grading.isolation import Gone
from diffusion_lab.grading.judge import ProcessGone

CELL = 60.0
"""Seconds for an entry's code to be read, imports among them."""
CALL = 30.0
"""Seconds for a small question."""
SLACK = 10
"""Seconds of processor time of a process on top of its allowance: to start, to import, to copy."""
GRACE = 3.0
"""Seconds that a training may take beyond its cap: its last step, and what PyTorch imports when it is first used."""
PART = 7 << 20
"""Bytes of data in one message."""
MOST_ENTRIES = 1 << 21
"""Numbers that one evaluation may be asked about."""


class Runner:
    """Runs one entry under the rules. Every method raises ChallengeError where the entry fails.

    Args:
        sandbox, home: of `diffusion_lab.grading.isolation.sandbox_of`; their limits are set here for each process. The
            second is for the process that holds the network while another one samples: the guard of a sandbox counts
            all processes in it as one submission's.
    """

    def __init__(self, sandbox: Any, home: Any, rules: Rules, entry: Entry, dataset: Dataset):
        self.sandbox, self.home = sandbox, home
        self.rules, self.entry, self.dataset = rules, entry, dataset

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of everything in the network that the entry makes."""
        with self._session(self.sandbox, "make_network", CALL) as session:
            found = _call(session, "_shapes", (), CALL, "make_network", CALL)
        if not isinstance(found, dict) or not all(_is_shape(value) for value in found.values()):
            raise ChallengeError("make_network must return a torch.nn.Module with a state_dict of plain tensors")
        shapes = {name: tuple(value) for name, value in found.items()}
        count = sum(map(math.prod, shapes.values()))
        if count > self.rules.parameters:
            raise ChallengeError(
                f"make_network makes {count:,} parameters; the challenge {self.rules.name!r} allows "
                f"{self.rules.parameters:,}"
            )
        return shapes

    def train(self, seed: int, on_step: OnStep = silent) -> tuple[dict[str, Tensor], float]:
        """The weights after training, and the processor seconds that the entry's process says it took."""
        seconds = self.rules.seconds
        with self._session(self.sandbox, "train", seconds, threads=2) as session:
            for data, labels in _parts(self.dataset):
                _call(session, "_take", (data, labels), CALL, "the data", seconds)
            with _ticking(on_step, seconds):
                # On the clock twice as long: others may keep it from running, and its processor time is what counts.
                said = _call(session, "_train", (seconds,), 2 * seconds + SLACK, "train", seconds, seed)
        if not isinstance(said, tuple) or len(said) != 2 or not isinstance(said[0], dict) or not said[0]:
            raise ChallengeError("train must return the trained network, or None after training it in place")
        weights, spent = said
        if not all(isinstance(value, Tensor) for value in weights.values()):
            raise ChallengeError("the trained network's state must be plain tensors")
        if not isinstance(spent, float) or not spent <= seconds + GRACE:
            raise ChallengeError(
                f"the training took {spent:.0f} seconds of processor time; the challenge {self.rules.name!r} allows "
                f"{seconds:.0f}: let `train` look at time.process_time()"
                if isinstance(spent, float)
                else "train broke the clock that measures it"
            )
        return weights, spent

    def check(self, weights: dict[str, Tensor], shapes: dict[str, tuple[int, ...]]) -> int:
        """The number of parameters; weights that do not fit what `make_network` makes are refused."""
        missing, unknown = sorted(shapes.keys() - weights.keys()), sorted(weights.keys() - shapes.keys())
        unlike = [
            f"{name} is {tuple(weights[name].shape)} and should be {shapes[name]}"
            for name in shapes
            if name in weights and tuple(weights[name].shape) != shapes[name]
        ]
        if missing or unknown or unlike:
            said = [*(f"{name} is missing" for name in missing), *(f"{name} is unknown" for name in unknown), *unlike]
            raise ChallengeError(f"the weights do not fit the network of make_network: {'; '.join(said[:3])}")
        return check_weights(self.rules, weights)

    def sample(self, weights: dict[str, Tensor], noise: Tensor, labels: Tensor | None, evaluations: int, seed: int):
        """Samples (n, *S) float32 from noise of that shape, and the evaluations spent on each of them.

        The count is taken here: rows that the network was asked about, divided by the number of samples.
        """
        budget, spent = evaluations * len(noise), 0
        seconds = self.rules.evaluation_seconds * evaluations
        fault = ""
        with self._session(self.home, "the network", seconds, threads=2) as home:
            _call(home, "_open", (weights,), CALL, "make_network with these weights", seconds)
            with home.piece("_evaluate", seconds + SLACK) as network:

                def evaluate(x: Any, t: Any = None, labels: Any = None) -> Tensor:
                    nonlocal spent, fault
                    if not isinstance(x, Tensor) or x.ndim != noise.ndim or x.shape[1:] != noise.shape[1:]:
                        fault = f"the network takes x of shape (B, {', '.join(map(str, noise.shape[1:]))})"
                    elif spent + len(x) > budget:
                        fault = f"sample asked for more than {evaluations} evaluations of each sample"
                    if fault:
                        raise ValueError(fault)
                    spent += len(x)
                    returned = network((x, t, labels))
                    if returned.fault is not None:
                        fault = f"the network raised {returned.fault.name}: {returned.fault.message}"
                    elif not isinstance(returned.value, Tensor) or returned.value.shape != x.shape:
                        fault = "the network must return a tensor of the shape of x"
                    if fault:
                        raise ValueError(fault)
                    return returned.value

                with self._session(self.sandbox, "sample", seconds) as session:
                    arguments = (noise, labels, evaluations)
                    stand_ins = {"_network": evaluate}
                    limit = seconds * 2 + SLACK
                    with session.piece("_sample", limit, stand_ins, entries=MOST_ENTRIES) as sample:
                        returned = sample(arguments, seed=seed)
        if fault:  # whatever the entry has made of it
            raise ChallengeError(f"{fault}; at {evaluations} evaluations")
        x = _value(returned, f"sample, at {evaluations} evaluations,", seconds)
        if not isinstance(x, Tensor) or x.shape != noise.shape or not x.is_floating_point():
            came = f"a tensor of shape {tuple(x.shape)} and {x.dtype}" if isinstance(x, Tensor) else "something else"
            raise ChallengeError(f"sample must return a float tensor of shape {tuple(noise.shape)}, got {came}")
        if not x.isfinite().all():
            bad = int((~x.isfinite()).flatten(1).any(dim=1).sum())
            raise ChallengeError(f"{bad} of {len(x)} samples hold numbers that are not finite")
        return x.float(), spent / len(noise)

    @contextmanager
    def _session(self, sandbox: Any, what: str, seconds: float, threads: int = 1) -> Iterator[Any]:
        """A process with the entry's code in it, which ends when it has used its processor time."""
        # One process: processor time is limited for each of them by itself.
        before = sandbox.limits
        sandbox.limits = replace(before, cpu=math.ceil(seconds) + SLACK, processes=1, memory=4 << 30)
        try:
            with sandbox.open() as session:
                cells = [("the course", course_code(threads))]
                cells += [("the course's pieces", text) for text in pieces_code(self.rules)]
                cells += [(f"cell {number}", text) for number, text in enumerate(self.entry.cells, 1)]
                for name, text in [*cells, ("calls", CALLS)]:
                    fault = session.run_cell(name, text, CELL)
                    if fault is not None:
                        raise ChallengeError(f"{name} raised {fault.name}: {fault.message} {fault.line}".rstrip())
                yield session
        except Gone as error:
            raise _ended(what, error.why, seconds) from error
        finally:
            sandbox.limits = before


@contextmanager
def _ticking(on_step: OnStep, seconds: float) -> Iterator[None]:
    """Show the time that goes by: a training says nothing before it has ended."""
    over, began = threading.Event(), time.monotonic()

    def tick() -> None:
        while not over.wait(0.5):
            on_step(f"training, {seconds:.0f} s at most", round(min(time.monotonic() - began, seconds)), round(seconds))

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        over.set()
        ticker.join()


def _ended(what: str, why: str, seconds: float) -> ChallengeError:
    """What is said of a process that is gone, and what it may use: `seconds`, and some to start."""
    return ChallengeError(
        f"{what}: {why} (a process of an entry may use {math.ceil(seconds) + SLACK} seconds of processor time here, "
        "and no other process)"
    )


def _call(session: Any, name: str, arguments: tuple, limit: float, what: str, allowed: float, seed: int = 0) -> Any:
    """What a call gave within `limit` seconds, in a process that may use `allowed`; see `_value`."""
    with session.piece(name, limit) as call:
        return _value(call(arguments, seed=seed), what, allowed)


def _value(returned: Any, what: str, seconds: float) -> Any:
    """What a call gave. Raises ChallengeError with what went wrong in it."""
    fault = returned.fault
    if isinstance(fault, ProcessGone):
        raise _ended(what, fault.message, seconds)
    if fault is not None:
        where = f" ({fault.line})" if fault.line else ""
        raise ChallengeError(f"{what} raised {fault.name}: {fault.message}{where}")
    return returned.value


def _is_shape(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(type(size) is int and 0 <= size < 2**31 for size in value)


def _parts(dataset: Dataset) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The training data in messages: images as bytes, as they were in the file."""
    data, labels = dataset.train, dataset.train_labels
    if dataset.kind == "image":
        data = ((data + 1) * 127.5).round().to(torch.uint8)
    rows = max(1, PART // max(1, data[0].numel() * data.element_size() + 8))
    for start in range(0, len(data), rows):
        yield data[start : start + rows], None if labels is None else labels[start : start + rows]
