"""One run in progress: what a chapter's judgement and figures work on."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lab import denoisers, samplers, threads
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.pieces import Pieces
from diffusion_lab.data import Dataset
from diffusion_lab.devices import own_randomness
from diffusion_lab.discrete import token_denoiser
from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Level
from diffusion_lab.samplers import Trajectory

BLOCK = 125
"""How many images or sentences are drawn at once; more leave a processor's cache and take longer."""
BLOCKS = {"audio": 64, "board": 500}
"""The same for sounds, which are larger, and for boards, of which a step evaluates only those that it changes."""
KEPT = {"points": 500, "cloud": 8, "board": 64, "image": 16, "audio": 8, "leads": 8, "phrases": 16, "words": 16}
"""How many samples of the trajectory are kept for the figure, by kind of data."""
SHOWN = {"points": 256}
"""How many denoised samples are shown at each level; 8 where no number stands here."""


def visible(x: Tensor, mask: Tensor | None) -> Tensor:
    """Sentences (B, L, D) with zeros, the vector of padding, where `mask` (B, L) has no word."""
    return x if mask is None else x * mask.to(x).unsqueeze(-1)


def _part(x: Tensor | None, rows: slice) -> Tensor | None:
    return None if x is None else x[rows]


@dataclass
class Experiment:
    """A trained network with everything around it."""

    chapter: Chapter
    dataset: Dataset
    pieces: Pieces
    budget: Budget
    seed: int
    accelerator: Any
    network: nn.Module
    """The averaged network that samples are drawn from."""
    cache: Path
    """Folder for what is trained once and used by many runs: the judges of images."""
    on_step: Callable[[str, int, int], None] = lambda what, done, total: None
    exact: Any = None
    samples: Tensor = None  # type: ignore[assignment] - filled by `draw`
    sample_labels: Tensor | None = None
    sample_mask: Tensor | None = None
    trajectory: Trajectory | None = None
    evaluations: int = 0
    """Network calls for each sample, at most: a guided step has two, and many boards with masks need none."""
    asked_again: int = 0
    """Calls without the condition, for guidance, since the experiment was opened."""
    guidance: float = None  # type: ignore[assignment] - the budget's or the chapter's, where the caller gives none
    """The guidance scale of samples; 1 is the conditional network alone."""
    guidance_interval: tuple[float, float] = None  # type: ignore[assignment] - the same
    """The first and the last time at which samples are guided."""
    classes: tuple[str, ...] = ()
    """What the network's labels mean; those of the data, unless it was trained on other data."""
    distilled: int = 0
    """The few steps that the network was taught to take by `diffusion-lab distill`; 0 for any other."""
    trained_on: str = ""
    """The name of the data that the network was trained on; those of `dataset`, unless the caller says otherwise."""

    def __post_init__(self):
        if self.guidance is None:
            self.guidance = self.chapter.guidance if self.budget.guidance is None else self.budget.guidance
        if self.guidance_interval is None:
            self.guidance_interval = self.chapter.guidance_interval
        self.classes = self.classes or self.dataset.classes
        self.trained_on = self.trained_on or self.dataset.name
        if self.chapter.exact is not None:
            self.exact = self.chapter.exact(self.dataset)

    @property
    def kind(self) -> str:
        """The kind of data that is scored and drawn."""
        return self.chapter.kind or self.dataset.kind

    def generator(self, purpose: str) -> torch.Generator:
        """A generator of its own for each purpose, so that a new use does not change the others."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + zlib.crc32(purpose.encode()))

    def denoiser(self, labels: Tensor | None = None, mask: Tensor | None = None) -> Callable[[Tensor, Level], Any]:
        """The trained network as a denoiser, with guidance and polishing as the chapter has them."""
        chapter, target = self.chapter, self.pieces.target
        cond = {name: value for name, value in (("labels", labels), ("mask", mask)) if value is not None}
        if chapter.process is not None:
            return token_denoiser(self.network, chapter.process, cond)
        if chapter.self_condition:
            denoise = denoisers.self_conditioned(self.network, target, cond)
        else:
            denoise = denoisers.from_network(self.network, target, cond)
        if labels is not None and self.guidance != 1.0:
            nobody = torch.full_like(labels, len(self.classes))
            without = denoisers.from_network(self.network, target, {**cond, "labels": nobody})

            def asked_again(x: Tensor, level: Level) -> Any:
                self.asked_again += 1
                return without(x, level)

            denoise = denoisers.guided(denoise, asked_again, self.guidance, self.pieces.guide, self.guidance_interval)
        if self.pieces.polish is not None:
            denoise = denoisers.with_x0(denoise, self.pieces.polish)
        return denoise

    def start(self, n: int, generator: torch.Generator) -> Tensor:
        """n samples of pure noise, on the run's device."""
        shape = (n, *self.dataset.train.shape[1:])
        if self.chapter.process is not None:
            return self.chapter.process.start(shape, torch.rand(shape, generator=generator)).to(self.accelerator.device)
        noise = torch.randn(shape, generator=generator).to(self.accelerator.device)
        return samplers.initial_noise(self.pieces.schedule, noise)

    def draw(self, n: int | None = None, steps: int | None = None, labels: Tensor | int | None = None) -> Tensor:
        """Sample, remember samples and trajectory, and return the samples (n, *S) on the CPU, decoded.

        Args:
            n, steps: how many samples and sampler steps; by default those of the budget.
            labels: (n,) int64, or one label for all; by default every class in turn. Where the data have none: nothing.

        Raises:
            PieceError: for labels that the network does not know, or where it takes none; for another number of steps
                than a distilled network was taught.
        """
        if self.distilled and steps not in (None, self.distilled):
            raise PieceError(
                f"this network was distilled to {self.distilled} steps and draws in those alone, not in {steps}"
            )
        n, steps = n or self.budget.samples, steps or self.budget.sample_steps
        generator = self.generator("samples")
        labels, mask = self._conditions(n, generator, labels)
        blocks = self._blocks(n)
        drawn = []
        for number, rows in enumerate(blocks):
            threads.follow()
            before = self.asked_again
            device = self.accelerator.device
            own = [c if c is None else c.to(device) for c in (_part(labels, rows), _part(mask, rows))]
            with self.accelerator.autocast(), own_randomness(device, self.seed + number):
                x, trajectory = samplers.sample(
                    self.denoiser(*own),
                    self.pieces.schedule,
                    self.pieces.step,
                    self.start(rows.stop - rows.start, generator),
                    steps=steps,
                    generator=generator,
                    keep=KEPT[self.kind] if number == 0 else 0,
                    on_step=lambda done, total, number=number: self.on_step(
                        "sampling", number * total + done, len(blocks) * total
                    ),
                )
            drawn.append(x.float().cpu() if x.is_floating_point() else x.cpu())
            if number == 0:
                self.evaluations = trajectory.evaluations + self.asked_again - before
                seen = None if mask is None else mask[: KEPT[self.kind]]
                self.trajectory = replace(trajectory, states=[visible(state, seen) for state in trajectory.states])
        self.sample_labels, self.sample_mask = labels, mask
        self.samples = self.decode(visible(torch.cat(drawn), mask))
        return self.samples

    def _blocks(self, n: int) -> list[slice]:
        """n samples in the parts that the network gets at once."""
        size = n if self.kind == "points" else BLOCKS.get(self.kind, BLOCK)
        return [slice(i, min(i + size, n)) for i in range(0, n, size)]

    def decode(self, x: Tensor) -> Tensor:
        """From the network's data to what is scored and drawn."""
        return x if self.chapter.decode is None else self.chapter.decode(x)

    def _conditions(
        self, n: int, generator: torch.Generator, labels: Tensor | int | None
    ) -> tuple[Tensor | None, Tensor | None]:
        mask, count = None, len(self.classes)
        if not self.chapter.labelled:
            if labels is not None:
                raise PieceError(f"the network of chapter '{self.chapter.name}' takes no labels")
        elif labels is None:
            labels = torch.arange(n) % count
        else:
            labels = torch.as_tensor(labels).expand(n)
            if labels.is_floating_point() or not bool(((labels >= 0) & (labels < count)).all()):
                raise PieceError(f"labels of chapter '{self.chapter.name}' are integers from 0 to {count - 1}")
        if "train_mask" in self.dataset.info:
            # Lengths are part of the question: as many sentences of each length as the training text has.
            masks = self.dataset.info["train_mask"]
            mask = masks[torch.randint(len(masks), (n,), generator=generator)]
        return labels, mask

    def denoised(self) -> dict[str, Any]:
        """Held-out data at the chapter's noise levels, with the learned and the exact answer to each.

        Returns:
            "levels" (log-SNR of each level), "clean", "noisy", "learned" and "exact" (lists of (count, *S) tensors;
            exact is None where nothing exact is known), and "scores": name -> one number per level.
        """
        generator = self.generator("denoising")
        schedule, chapter = self.pieces.schedule, self.chapter
        data = self.dataset.test
        # The score is taken over more samples than are shown.
        many, count = min(len(data), 256), SHOWN.get(self.kind, 8)
        rows = torch.randperm(len(data), generator=generator)[:many]
        clean = data[rows]
        labels = self.dataset.test_labels[rows] if chapter.labelled else None
        if labels is not None and self.classes != self.dataset.classes:
            labels = torch.full_like(labels, len(self.classes))  # a label of other data means nothing to the network
        mask = self.dataset.info["test_mask"][rows] if "test_mask" in self.dataset.info else None
        result: dict[str, Any] = {key: [] for key in ("levels", "clean", "noisy", "learned", "exact")}
        scores: dict[str, list[float]] = {}
        for log_snr in chapter.denoise_log_snr:
            t = schedule.time_at(torch.tensor(log_snr))
            noise = torch.randn(clean.shape, generator=generator) if chapter.process is None else None
            if chapter.process is None:
                level = schedule.at(t, like=clean)
                noisy = level.noisy(clean, noise)
            else:
                uniforms = torch.rand(clean.shape, generator=generator)
                level = schedule.at(t, like=uniforms)
                noisy = chapter.process.noisy(clean, level, uniforms)
            learned = [
                self._estimate(self.conditional(_part(labels, some), _part(mask, some)), noisy[some], level)
                for some in self._blocks(many)
            ]
            answers = {"learned": torch.cat(learned)}
            if self.exact is not None:
                answers["exact"] = self._estimate(self.exact.denoise, noisy, level, on="cpu")
            for name, estimate in answers.items():
                measure, value = self._denoise_score(clean, estimate, noisy, mask)
                scores.setdefault(f"{measure} {name}", []).append(value)
            result["levels"].append(float(schedule.log_snr(t)))
            for key, value in {"clean": clean, "noisy": noisy, **answers}.items():
                shown = visible(value[:count], None if mask is None else mask[:count])
                result[key].append(self.decode(shown))
        if self.exact is None:
            result["exact"] = None
        return {**result, "scores": scores}

    def conditional(self, labels: Tensor | None, mask: Tensor | None) -> Callable[[Tensor, Level], Any]:
        """The network's own estimate, without guidance or polishing: the posterior mean that it was trained to give."""
        cond = {name: value for name, value in (("labels", labels), ("mask", mask)) if value is not None}
        cond = {name: value.to(self.accelerator.device) for name, value in cond.items()}
        if self.chapter.process is not None:
            return token_denoiser(self.network, self.chapter.process, cond)
        return denoisers.from_network(self.network, self.pieces.target, cond)

    def _estimate(self, denoise: Callable, noisy: Tensor, level: Level, on: str | None = None) -> Tensor:
        device = torch.device(on) if on else self.accelerator.device
        with torch.no_grad(), self.accelerator.autocast():
            answer = denoise(noisy.to(device), Level(*(f.to(device) for f in level)))
        if self.chapter.process is not None:
            return answer.argmax(dim=-1).cpu()
        return answer.x0.float().cpu()

    def _denoise_score(self, clean: Tensor, estimate: Tensor, noisy: Tensor, mask: Tensor | None) -> tuple[str, float]:
        if self.chapter.denoise_score is not None:
            return self.chapter.denoise_score(self, clean, estimate, noisy, mask)
        return "MSE", float((clean - estimate).square().mean())
