"""One small batch through the pieces of a run, before any training, with every shape checked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lab.chapters.chapter import Chapter
from diffusion_lab.chapters.pieces import Pieces
from diffusion_lab.chapters.slots import call, shape_of, unfit
from diffusion_lab.data import Dataset
from diffusion_lab.levels import Level, Prediction
from diffusion_lab.samplers import Context


class Trial:
    """One small batch through every piece that works on a batch, with every shape checked."""

    COUNT = 3

    def __init__(self, chapter: Chapter, dataset: Dataset, pieces: Pieces):
        self.chapter, self.dataset, self.pieces = chapter, dataset, pieces
        rows = torch.arange(self.COUNT) % len(dataset.train)  # own data may be fewer
        self.x0 = dataset.train[rows]
        generator = torch.Generator().manual_seed(0)
        draw = torch.randn if self.x0.is_floating_point() else torch.rand
        self.noise = draw(self.x0.shape, generator=generator)
        times = torch.linspace(pieces.schedule.t_min, pieces.schedule.t_max, self.COUNT, dtype=torch.float64)
        self.level = pieces.schedule.at(times, like=self.noise)
        self.cond: dict[str, Tensor] = {}
        if chapter.labelled:
            self.cond["labels"] = dataset.train_labels[rows]
        if "train_mask" in dataset.info:
            self.cond["mask"] = dataset.info["train_mask"][rows]
        if chapter.self_condition:
            self.cond["last"] = torch.zeros_like(self.x0)

    def run(self) -> None:
        """Raise a PieceError, naming the slot, for the first piece that does not fit."""
        self._network()
        self._loss()
        self._step()
        # The chapter's own were tried when the chapter was written.
        for slot in ("polish", "guide", "drop_labels", "average"):
            if slot in self.pieces.own:
                getattr(self, f"_{slot}")()

    def _noisy(self) -> Tensor:
        if self.chapter.process is not None:
            return self.chapter.process.noisy(self.x0, self.level, self.noise)
        return self.level.noisy(self.x0, self.noise)

    def _network(self) -> None:
        network = self.pieces.network
        if not isinstance(network, nn.Module):
            raise unfit("network", f"got {type(network).__name__}")
        if not any(p.requires_grad for p in network.parameters()):
            raise unfit("network", f"{type(network).__name__} has no parameters to train")
        x = self._noisy()
        process = self.chapter.process
        wanted = x.shape if process is None else (*x.shape, process.categories)
        with torch.no_grad():
            time = self.level.t.flatten().float()
            output = call("network", lambda *inputs: network(*inputs, **self.cond), x, time)
        if not isinstance(output, Tensor) or output.shape != wanted:
            raise unfit("network", f"for x {tuple(x.shape)} it returned {shape_of(output)}, not {tuple(wanted)}")
        if output.dtype == torch.float64 or not output.is_floating_point():
            raise unfit("network", f"for {x.dtype} it answered in {output.dtype}{_doubles(network)}, not in float32")

    def _loss(self) -> None:
        values = call("loss", self.pieces.loss, self.pieces.network, self.x0, self.noise, self.level, self.cond)
        if not isinstance(values, Tensor) or values.shape != (self.COUNT,):
            raise unfit("loss", f"for {self.COUNT} samples it returned {shape_of(values)}, not ({self.COUNT},)")
        if not values.requires_grad:
            raise unfit("loss", "its value does not depend on the network's weights through autograd")
        if not bool(values.isfinite().all()):
            raise unfit(
                "loss", f"it is not finite: {values.detach().tolist()} at t = {self.level.t.flatten().tolist()}"
            )

    def _step(self) -> None:
        schedule, x = self.pieces.schedule, self._noisy()
        grid = schedule.times(2)
        like = self.noise
        now, middle, end = (Level(*(f.to(like.dtype) for f in schedule.at(t))) for t in grid)
        if self.chapter.process is not None:
            prediction: Any = torch.full(
                (*x.shape, self.chapter.process.categories), 1 / self.chapter.process.categories
            )
        else:
            prediction = Prediction(self.x0, self.noise)
        for before, after in ((now, middle), (middle, end)):
            context = Context(lambda *_: prediction, torch.Generator().manual_seed(0))
            given = x.clone()
            out = call("step", self.pieces.step, given, before, after, prediction, context)
            if not isinstance(out, Tensor) or out.shape != x.shape or out.dtype != x.dtype:
                raise unfit("step", f"for x {tuple(x.shape)} {x.dtype} it returned {shape_of(out)}")
            if not bool(out.isfinite().all()):
                raise unfit("step", f"it is not finite from t = {float(before.t):.3g} to t = {float(after.t):.3g}")
            if not torch.equal(given, x):
                raise unfit("step", "it changed its input x in place")

    def _polish(self) -> None:
        self._like_input("polish", self.pieces.polish, {"x0": 2 * self.x0 + 0.1 * self.noise})

    def _guide(self) -> None:
        guesses = {"eps_cond": self.noise, "eps_uncond": self.noise - 0.1 * self.x0}
        self._like_input("guide", self.pieces.guide, guesses, self.chapter.guidance)

    def _drop_labels(self) -> None:
        labels, null = self.cond["labels"], len(self.dataset.classes)
        share, uniform = self.chapter.drop_labels, torch.linspace(0, 0.99, self.COUNT)
        out = self._like_input("drop_labels", self.pieces.drop_labels, {"labels": labels}, share, null, uniform)
        if int(out.min()) < 0 or int(out.max()) > null:
            raise unfit(
                "drop_labels", f"it returned {out.tolist()}; labels are 0 to {null - 1}, and {null} is no label"
            )

    def _average(self) -> None:
        average = copy.deepcopy(self.pieces.network).requires_grad_(False)
        online = copy.deepcopy(self.pieces.network)
        with torch.no_grad():
            for weight in online.parameters():
                weight.add_(1.0)
        states = {name: value.clone() for name, value in average.state_dict().items()}
        latest = {name: value.clone() for name, value in online.state_dict().items()}
        with torch.no_grad():
            call("average", self.pieces.average, average, online, 0.5)
        after = average.state_dict()
        if after.keys() != states.keys() or any(after[name].shape != states[name].shape for name in states):
            raise unfit("average", "it changed the shapes of the average's weights")
        if not all(bool(value.isfinite().all()) for value in after.values()):
            raise unfit("average", "it made weights that are not finite")
        if all(torch.equal(after[name], states[name]) for name in states):
            raise unfit("average", "it left the average as it was")
        if not all(torch.equal(value, latest[name]) for name, value in online.state_dict().items()):
            raise unfit("average", "it changed the online network, and only the average may change")

    def _like_input(self, slot: str, piece: Callable, tensors: dict[str, Tensor], *others: Any) -> Tensor:
        """Call a piece whose output is shaped like its inputs, and look at what comes back."""
        given = {name: value.clone() for name, value in tensors.items()}
        with torch.no_grad():
            out = call(slot, piece, *given.values(), *others)
        name, like = next(iter(tensors.items()))
        if not isinstance(out, Tensor) or out.shape != like.shape or out.dtype != like.dtype:
            raise unfit(slot, f"for {name} {tuple(like.shape)} {like.dtype} it returned {shape_of(out)}")
        if not bool(out.isfinite().all()):
            raise unfit(
                slot, f"it is not finite for {name} between {float(like.min()):.3g} and {float(like.max()):.3g}"
            )
        for name, value in tensors.items():
            if not torch.equal(given[name], value):
                raise unfit(slot, f"it changed its input {name} in place")
        return out


def _doubles(network: nn.Module) -> str:
    """The weights and buffers that are float64, in words."""
    names = [name for name, value in network.state_dict().items() if value.dtype == torch.float64]
    return f" ({', '.join(names[:3])}: float64; `.float()` makes the network float32)" if names else ""
