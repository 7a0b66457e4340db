"""The network: does it look at the time, at x, at each sample by itself, and is it the same twice?"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from diffusion_lab.denoisers import evaluating, modules_of
from diffusion_lab.doctor.calling import NAMES, Raised, Reader, first_tensor, parameters
from diffusion_lab.doctor.findings import Finding
from diffusion_lab.doctor.listening import Path
from diffusion_lab.doctor.noising import wrong_dtype
from diffusion_lab.doctor.subject import Diffusion

PIECE = "network"
PAGE = "05_mnist#what-time-is-it"
LABEL_PAGE = "05_mnist#ask-for-a-seven"
BATCH = 4
OTHERS = 8
"""Sets of weights with which a network is asked whether its answers have both signs."""
SHAPES = ((8,), (2,), (1,), (1, 28, 28), (1, 32, 32), (3, 32, 32), (3, 64, 64), (4, 32, 32), (1, 64))
"""Tried in turn where nobody says what shape a sample has."""
LABELS = {"labels", "label", "y", "classes", "class_labels"}
"""Names of arguments that are class labels; what is called a condition may be anything."""


def examine_network(subject: Diffusion, reader: Reader, path: Path, whole_times: bool) -> Iterator[Finding]:
    """Look at a copy whose weights are moved a little, so that layers that start at zero do not hide what is behind.

    Args:
        whole_times: whether it is told whole numbers.
    """
    network = _moved(subject.network)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, *subject.sample_shape, generator=generator)
    index = torch.linspace(0, len(path) - 1, BATCH).round().long()
    told = path.told_at(index)
    told = told.round().long() if whole_times else told.float()
    labels = torch.zeros(BATCH, dtype=torch.int64)

    def ask(x: Tensor, t: Tensor, labels: Tensor = labels, seed: int = 0) -> Tensor:
        found = _asked(network, reader, x, t, labels, seed)
        if found.shape != x.shape:
            raise Raised(f"for x of shape {tuple(x.shape)} it returned {tuple(found.shape)}")
        return found.detach()

    with evaluating(modules_of(network)):
        given = x.clone()
        plain = ask(given, told)
        written = float((given - x).abs().max())
        if written:
            yield Finding("changes-its-input", PIECE, "It writes into x, which the caller still needs. Make a new "
                          "tensor.", "largest change", written, 0.0, PAGE)  # fmt: skip
            return
        size = float(plain.double().std()) or 1.0
        if plain.dtype != torch.float32:
            yield wrong_dtype(PIECE, plain.dtype)
        again = float((ask(x, told, seed=1) - plain).abs().max()) / size
        if again > 1e-4:
            yield Finding("random-while-sampling", PIECE, "In evaluation mode it gives two answers to one question: "
                          "dropout, or labels dropped at random, is still on while sampling.",
                          "difference of the two, in deviations", again, 0.0, LABEL_PAGE)  # fmt: skip
            return
        by_x = float((ask(torch.flip(x, (0,)) + 1, told) - plain).abs().max()) / size
        by_time = float((ask(x, told.flip(0)) - plain).abs().max()) / size
        if by_x < 1e-5:
            yield Finding("input-never-used", PIECE, "The answer does not depend on x.", "change of the answer", by_x,
                          1.0, PAGE)  # fmt: skip
        elif by_time < 1e-5:
            yield Finding("time-never-used", PIECE, "The answer does not depend on the time, so one answer has to "
                          "serve all noise levels.", "change of the answer, in deviations", by_time, 1.0,
                          PAGE)  # fmt: skip
        else:
            again = [_moved(network, 0.5, seed) for seed in range(OTHERS)] if isinstance(network, nn.Module) else []
            others = [_asked(other, reader, x, told, labels).detach() for other in again]
            yield from _shape_of_answer(ask, x, told, size, others)
            alone = torch.cat([ask(x[i : i + 1], told[i : i + 1]) for i in range(BATCH)])
            mixed = float((alone - plain).abs().max()) / size
            if mixed > 1e-3:
                yield Finding("samples-mixed", PIECE, "A sample's answer depends on the others in its batch: on their "
                              "times or on their contents.", "change of an answer when asked alone, in deviations",
                              mixed, 0.0, PAGE)  # fmt: skip
        if LABELS & parameters(network).keys() and _takes(
            network, reader, {"x": x, "t": told, "sigma": told, "labels": labels}
        ):
            by_label = float((ask(x, told, torch.ones_like(labels)) - plain).abs().max()) / size
            if by_label < 1e-5:
                yield Finding("labels-never-used", PIECE, "The answer does not depend on the label.",
                              "change of the answer, in deviations", by_label, 1.0, LABEL_PAGE)  # fmt: skip
    yield from _gradients(network, reader, x, told, labels)


def _asked(
    network, reader: Reader, x: Tensor, t: Tensor, labels: Tensor, seed: int = 0, sigma: Tensor | None = None
) -> Tensor:
    """The network's answer: to x and t alone where it has an argument for labels and takes none, as in diffusers.

    Args:
        sigma: what is given for a noise level; t where it is None.
    """
    given = {"x": x, "t": t, "sigma": t if sigma is None else sigma, "labels": labels}
    wanted = [parameter for name, parameter in parameters(network).items() if name in NAMES["labels"]]
    may_lack = wanted and all(parameter.default is None for parameter in wanted)
    if may_lack and not _takes(network, reader, given):
        given["labels"] = None
    return first_tensor(PIECE, reader.call(PIECE, network, given, seed))


def _takes(network, reader: Reader, given: dict[str, Tensor]) -> bool:
    """Whether the network answers where it is given labels."""
    try:
        reader.call(PIECE, network, given)
    except Raised:
        return False
    return True


def fitting_shape(subject: Diffusion, reader: Reader) -> tuple[int, ...] | None:
    """The first of the usual shapes that the network answers in, or takes at all; None where it takes none of them."""
    taken = None
    for shape in SHAPES:
        x, t = torch.zeros(2, *shape), torch.zeros(2, dtype=torch.int64)
        for times in (t, t.float()):
            with evaluating(modules_of(subject.network)):
                try:
                    # A noise level of 0 is one that a network may well refuse.
                    found = _asked(subject.network, reader, x, times, t, sigma=times + 1.0)
                except Raised:
                    continue
            taken = taken or shape
            if found.shape == x.shape:
                return shape
    return taken


def _shape_of_answer(ask, x: Tensor, told: Tensor, size: float, others: list[Tensor]) -> Iterator[Finding]:
    """Guesses have both signs, and bend somewhere.

    Args:
        others: answers of the same network with other weights: few numbers may have one sign by chance.
    """
    many = [ask(factor * x, told) for factor in (-2.0, -1.0, 1.0, 2.0)]
    answers = torch.stack([*many, *others])
    if answers.numel() > 30 and (bool((answers >= 0).all()) or bool((answers <= 0).all())):
        yield Finding("one-sided", PIECE, "All answers have one sign. Noise and data have both: end with a plain "
                      "layer.", "share of answers below 0", float((answers < 0).double().mean()), 0.5,
                      PAGE)  # fmt: skip
    rises = many[1] - many[0], (many[2] - many[1]) / 2, many[3] - many[2]  # all the same on a straight line
    bend = float(2 * torch.stack([rises[0] - rises[1], rises[2] - rises[1]]).abs().max()) / size
    if bend < 1e-4:
        yield Finding("straight-line", PIECE, "The answer is a straight line in x: nothing bends between the layers. "
                      "That is the best guess for normal data and for no other.", "bend, in deviations", bend, 1.0,
                      "01_normal_1d#the-whole-loop-in-your-hands")  # fmt: skip


def _hidden(network: nn.Module) -> list[str]:
    """Layers in plain lists, tuples or dictionaries, where PyTorch finds no weights."""
    found = []
    known = set(network.modules())
    for module in network.modules():
        for name, value in vars(module).items():
            inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
            if not name.startswith("_") and any(isinstance(v, nn.Module) and v not in known for v in inside):
                found.append(name)
    return found


def _gradients(network, reader: Reader, x: Tensor, told: Tensor, labels: Tensor) -> Iterator[Finding]:
    if not isinstance(network, nn.Module):
        return
    weights = {name: p for name, p in network.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        answer = _asked(network, reader, x, told, labels)
        if not answer.requires_grad:
            found = [None] * len(weights)
        else:
            found = torch.autograd.grad(answer.square().sum(), list(weights.values()), allow_unused=True)
    still = [f"the layers in '{name}'" for name in _hidden(network)]
    still += [name for name, slope in zip(weights, found, strict=True) if slope is None]
    if still or not weights:
        what = f"{', '.join(still[:3])}{' and others' * (len(still) > 3)}"
        says = (
            f"No gradient reaches {what}, so they are never trained." if still
            else "It has no weights that an optimizer could find: layers in a plain list are not seen."
        )  # fmt: skip
        yield Finding("never-trained", PIECE, says, "weights without a gradient", len(still) or 1, 0,
                      "01_normal_1d#the-whole-loop-in-your-hands")  # fmt: skip


def _moved(network, spread: float = 0.05, seed: int = 0):
    """A copy of the network with its weights moved at random."""
    if not isinstance(network, nn.Module):
        return network
    try:
        network = copy.deepcopy(network)
    except (TypeError, RuntimeError):
        return network
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.is_floating_point():
                weight.add_(spread * torch.randn(weight.shape, generator=generator, dtype=torch.float32).to(weight))
    return network
