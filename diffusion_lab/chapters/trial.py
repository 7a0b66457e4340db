"""One small batch through the pieces of a run, before any training, with every shape checked."""

from __future__ import annotations

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
    """One small batch through network, loss and step, with every shape checked."""

    COUNT = 3

    def __init__(self, chapter: Chapter, dataset: Dataset, pieces: Pieces):
        self.chapter, self.dataset, self.pieces = chapter, dataset, pieces
        self.x0 = dataset.train[: self.COUNT]
        generator = torch.Generator().manual_seed(0)
        draw = torch.randn if self.x0.is_floating_point() else torch.rand
        self.noise = draw(self.x0.shape, generator=generator)
        times = torch.linspace(pieces.schedule.t_min, pieces.schedule.t_max, self.COUNT, dtype=torch.float64)
        self.level = pieces.schedule.at(times, like=self.noise)
        self.cond: dict[str, Tensor] = {}
        if chapter.labelled:
            self.cond["labels"] = dataset.train_labels[: self.COUNT]
        if "train_mask" in dataset.info:
            self.cond["mask"] = dataset.info["train_mask"][: self.COUNT]
        if chapter.self_condition:
            self.cond["last"] = torch.zeros_like(self.x0)

    def run(self) -> None:
        """Raise a PieceError, naming the slot, for the first piece that does not fit."""
        self._network()
        self._loss()
        self._step()

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
