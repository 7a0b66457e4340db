"""Run a chapter: data, training, sampling, scores, figures, report."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from diffusion_lab import __version__
from diffusion_lab.chapters.architectures import with_network
from diffusion_lab.chapters.catalogue import get
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.latent import first_rows, in_latent_space, train_autoencoder, untrained, weights_of
from diffusion_lab.chapters.own import settings_of_own, with_own_data
from diffusion_lab.chapters.pieces import Pieces, assemble, refuse_unknown
from diffusion_lab.chapters.readiness import rehearse, require_writable
from diffusion_lab.chapters.trial import Trial
from diffusion_lab.checkpoints import save_network
from diffusion_lab.data import Dataset
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.data.storage import user_cache
from diffusion_lab.devices import make_accelerator, own_randomness
from diffusion_lab.errors import CheckpointError, LabError
from diffusion_lab.networks import build_network, count_parameters, describe
from diffusion_lab.report import Report
from diffusion_lab.train import Settings, Source, Trainer

OnStep = Callable[[str, int, int], None]
"""Called with what is being done, the steps done and the steps in all."""


def silent(what: str, done: int, total: int) -> None:
    """No progress."""


def run_chapter(
    name: str,
    *,
    variant: str = "",
    seed: int = 0,
    budget: str = "quick",
    training: Settings | None = None,
    source: str = "auto",
    data_root: str | Path | None = None,
    own: OwnData | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    on_step: OnStep = silent,
    on_note: Callable[[str], None] = lambda note: None,
    **pieces: Any,
) -> Report:
    """Train, sample and score one chapter.

    Args:
        name: a chapter's name or number, such as "spiral" or 6.
        variant: another method for the same data, where the chapter has one.
        seed: the source of all randomness: the same seed gives the same report on the same machine with as many
            threads (see `diffusion_lab.threads`).
        budget: "smoke" (seconds; the scores mean nothing), "quick" or "full"; chapter 7 also has "gpu".
        training: how long and how fast to train, in place of what the budget says about it.
        source: "real", "bundled", or "auto": real data where they are on disk.
        data_root: where the real data are; by default $DIFFUSION_LAB_DATA, else the user's cache.
        own: data of your own in place of those; `report.dataset` is then called after their folder, and scores have no
            thresholds.
        device: "auto", "cpu", "cuda" or "mps".
        out: folder for report, checkpoint and figures, which go into `results_folder`; None writes nothing.
        resume: go on from the state that an interrupted run left in `out`.
        on_step: progress.
        on_note: called before training with each thing to know about the data.
        schedule, target, loss, step, network, polish, guide, drop_labels, average: your own pieces; see
            `diffusion_lab.chapters.slots.SLOTS`. A network is trained in place, and a name such as "dit" builds one of
            that kind for the shape of the data; the checkpoint keeps that name.

    Returns:
        The report; `report.samples` holds the samples, `report.passed` the verdict.

    Raises:
        LabError: where `out` cannot be written to, before any training.
        PieceError: for a piece that is unknown or does not fit, before any training.
        DataError: also for data that cannot be scored, before any training.
        DataError, DeviceError, CheckpointError, TrainingError: as their names say.
    """
    refuse_unknown(pieces)
    chapter = get(name, variant)
    allowance = budget_of(chapter, budget)
    if training is not None:
        allowance = replace(allowance, training=training)
    if resume and out is None:
        raise CheckpointError("to resume, say with `out` where the interrupted run wrote its state")
    folder = None if out is None else results_folder(out, chapter.name, own)
    if folder is not None:
        require_writable(folder)
    began = time.perf_counter()
    accelerator = make_accelerator(device, chapter.precision)
    root = Path(data_root) if data_root is not None else None
    on_step("loading data", 0, 1)
    if own is None:
        dataset = chapter.load(source, root, seed)
    else:
        chapter, dataset = with_own_data(chapter, own)
    for note in dataset.notes:
        on_note(note)
    if chapter.require is not None:
        chapter.require(dataset)
    named = pieces.pop("network") if isinstance(pieces.get("network"), str) else ""

    def fitted(chapter: Chapter, dataset: Dataset) -> tuple[Chapter, Pieces]:
        """The chapter with the network of that name, and its pieces, tried."""
        if named:
            chapter = with_network(chapter, named, tuple(dataset.train.shape[1:]))
        parts = assemble(chapter, dataset, build(chapter, dataset, seed, budget), pieces)
        with own_randomness(accelerator.device, seed):
            Trial(chapter, dataset, parts).run()
        return chapter, parts

    seconds: dict[str, float] = {}
    if chapter.latent is not None:
        fitted(*in_latent_space(chapter, first_rows(dataset), untrained(chapter.latent, dataset)))  # or refused now
        started = time.perf_counter()
        net = train_autoencoder(chapter.latent, dataset.train, allowance.autoencoder, seed, on_step)
        seconds["autoencoder"] = time.perf_counter() - started
        chapter, dataset = in_latent_space(chapter, dataset, net)
    chapter, parts = fitted(chapter, dataset)
    settings = settings_of(chapter, variant, dataset, parts, budget, seed)
    if named:
        settings["architecture"] = named
    if own is not None:
        settings["own"] = settings_of_own(own, dataset)
    trainer = Trainer(
        network=parts.network,
        loss=parts.loss,
        schedule=parts.schedule,
        source=source_of(chapter, dataset, parts),
        settings=allowance.training,
        accelerator=accelerator,
        seed=seed,
        identity={**settings, **asdict(allowance.training), "processes": accelerator.num_processes},
        update_average=parts.average,
    )
    # The trainer fills this network in place.
    experiment = Experiment(chapter, dataset, parts, allowance, seed, accelerator, trainer.average, judges())
    if parts.own:
        rehearse(experiment)
    experiment.on_step = on_step
    loaded = time.perf_counter()
    steps = allowance.training.steps
    network = trainer.fit(
        state=None if folder is None else folder / "state.safetensors",
        resume=resume,
        on_step=lambda done, loss: on_step("training", done, steps),
    )
    trained = time.perf_counter()
    experiment.draw()
    sampled = time.perf_counter()
    on_step("scoring", 0, 1)
    with own_randomness(accelerator.device, seed):
        scores = chapter.evaluate(experiment)
        floor = (
            chapter.floor(experiment)
            if chapter.floor is not None and not {"loss", "target", "schedule"} & set(parts.own)
            else None
        )
        denoised = experiment.denoised()
    report = Report(
        chapter=chapter.name,
        number=chapter.number,
        title=chapter.title,
        variant=variant,
        budget=budget,
        dataset=dataset.name,
        source=dataset.source,
        schedule=parts.schedule.name,
        target=parts.target.name if parts.target is not None else "tokens",
        own_pieces=parts.own,
        network=describe(parts.network),
        parameters=count_parameters(parts.network),
        device=str(accelerator.device),
        precision="bfloat16" if accelerator.mixed_precision == "bf16" else "float32",
        seed=seed,
        training_steps=steps,
        batch=allowance.training.batch,
        sample_steps=allowance.sample_steps,
        evaluations=experiment.evaluations,
        samples_drawn=len(experiment.samples),
        final_loss=_mean(trainer.losses[-max(1, steps // 10) :]),
        loss_floor=floor,
        notes=dataset.notes,
        scores=scores,
        denoising={"log_snr": denoised["levels"], **denoised["scores"]},
        seconds={},
        versions={"diffusion_lab": __version__, "torch": torch.__version__, "python": platform.python_version()},
        samples=experiment.samples,
        experiment=experiment,
    )
    scored = time.perf_counter()
    if folder is not None and accelerator.is_main_process:
        on_step("drawing figures", 0, 1)
        from diffusion_lab.chapters.figures import draw_figures

        files = {
            "checkpoint": str(save_network(folder / "checkpoint.safetensors", network, settings, weights_of(dataset)))
        }
        files |= draw_figures(experiment, trainer.losses, floor, denoised, folder)
        report = replace(report, files={**files, "report": str(folder / "report.json")})
    finished = time.perf_counter()
    seconds |= {
        "loading": loaded - began - sum(seconds.values()),
        "training": trained - loaded,
        "sampling": sampled - trained,
        "scoring": scored - sampled,
        "figures": finished - scored,
        "total": finished - began,
    }
    report = replace(report, seconds={key: round(value, 2) for key, value in seconds.items()})
    if folder is not None and accelerator.is_main_process:
        report.save(folder / "report.json")
    return report


def results_folder(out: str | Path, name: str, own: OwnData | None = None) -> Path:
    """Where the results of a chapter go: `OUT/CHAPTER`, and `OUT/CHAPTER-FOLDER` on data of the user's own."""
    return Path(out) / (name if own is None else f"{name}-{own.folder}")


def build(chapter: Chapter, dataset: Dataset, seed: int, budget: str = "quick") -> torch.nn.Module:
    """The chapter's own network at a budget, for the shape and the classes of this dataset."""
    return network_for(chapter, tuple(dataset.train.shape[1:]), len(dataset.classes), seed, budget)


def network_for(chapter: Chapter, shape: tuple[int, ...], classes: int, seed: int, budget: str) -> torch.nn.Module:
    """The chapter's own network at a budget, for data of one shape with so many classes."""
    return build_network(
        shape,
        classes=classes if chapter.labelled else 0,
        self_condition=chapter.self_condition,
        seed=seed,
        **{**chapter.network, **budget_of(chapter, budget).network},
    )


def settings_of(
    chapter: Chapter, variant: str, dataset: Dataset, pieces: Pieces, budget: str, seed: int
) -> dict[str, Any]:
    """What a checkpoint says about itself; enough to use it again."""
    return {
        "chapter": chapter.name,
        "variant": variant,
        "dataset": dataset.name,
        "source": dataset.source,
        "shape": list(dataset.train.shape[1:]),
        "classes": list(dataset.classes),
        "network": describe(pieces.network),
        "own_pieces": pieces.own,
        "schedule": pieces.schedule.name,
        "target": pieces.target.name if pieces.target is not None else "tokens",
        "budget": budget,
        "seed": seed,
        "version": __version__,
    }


def budget_of(chapter: Chapter, budget: str) -> Budget:
    """The chapter's budget of that name. Raises LabError naming the budgets that there are."""
    if budget not in chapter.budgets:
        raise LabError(f"there is no budget {budget!r}; the budgets are {', '.join(chapter.budgets)}")
    return chapter.budgets[budget]


def source_of(chapter: Chapter, dataset: Dataset, pieces: Pieces) -> Source:
    """What a chapter trains on: data, conditions, and how labels are dropped."""
    return Source(
        data=dataset.train,
        labels=dataset.train_labels if chapter.labelled else None,
        mask=dataset.info.get("train_mask"),
        classes=len(dataset.classes),
        drop_share=chapter.drop_labels,
        drop_labels=pieces.drop_labels,
        self_condition=pieces.target if chapter.self_condition else None,
    )


def judges() -> Path:
    """Where the classifiers that judge images are kept from run to run."""
    return user_cache() / "judges"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
