"""A chapter's network taught to take few steps: progressive distillation, halving after halving."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffusion_lab import samplers
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.latent import weights_of
from diffusion_lab.chapters.opening import open_checkpoint, shipped
from diffusion_lab.chapters.own import found_again
from diffusion_lab.chapters.readiness import require_writable
from diffusion_lab.chapters.run import OnStep, results_folder, silent
from diffusion_lab.checkpoints import load_tensors, save_network
from diffusion_lab.errors import LabError, PieceError
from diffusion_lab.levels import Level
from diffusion_lab.losses import distillation_loss, grid_density
from diffusion_lab.times import uniform_spacing
from diffusion_lab.train import Settings, Source, Trainer

TEACHER_STEPS = 16
"""Steps of DDIM that the first student learns from, if it is asked for fewer than half of them."""
TRAINING = Settings(steps=600, batch=64, learning_rate=1e-3, warmup=50, ema_decay=0.99)
"""Of each halving."""


def distill(
    name: str,
    *,
    steps: int = 4,
    teacher_steps: int = TEACHER_STEPS,
    checkpoint: str | Path | None = None,
    guidance: float | None = None,
    training: Settings = TRAINING,
    out: str | Path = "runs",
    data_root: str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
    on_step: OnStep = silent,
    on_stage: Callable[[Experiment, int, Path], None] = lambda student, steps, path: None,
) -> Path:
    """Teach a student to sample in `steps` evaluations what a network samples in many (Salimans & Ho 2022).

    The first student does in one step what the teacher does in two of its `teacher_steps`, with the chapter's guidance
    and polish inside; it starts from the teacher's weights. Each student is the next one's teacher, until `steps` are
    left. For each number N of steps on the way `distilled_N.safetensors` is written where the chapter's results go
    (`results_folder`), or `distilled_NAME_N.safetensors` for a variant or a network of that name, and
    `open_checkpoint` draws from it in N steps without further guidance.

    Args:
        name: the chapter's name or number.
        steps: of the last student; `teacher_steps` is this times 2, 4, 8, ...
        teacher_steps: even steps of DDIM that the teacher takes.
        checkpoint: the teacher; None for the network that ships with the package.
        guidance: the teacher's guidance scale, the whole way; None for the chapter's, in the chapter's interval.
        training: of each halving.
        out: the folder for results.
        on_step: progress.
        on_stage: called with each student, its number of steps, and its file.

    Returns:
        The file of the last student.

    Raises:
        PieceError: for numbers of steps that halving does not connect, and for a chapter of words or boards.
        LabError: where the data that the teacher was trained on are not here, it was distilled before, or nothing can
            be written to the folder.
        CheckpointError: for the teacher's file.
    """
    counts = halvings(teacher_steps, steps)
    teacher = open_checkpoint(checkpoint, name=name, data_root=data_root, device=device, seed=seed, guidance=guidance)
    chapter, path = teacher.chapter, Path(checkpoint) if checkpoint is not None else shipped(name)
    if chapter.process is not None or chapter.self_condition or "train_mask" in teacher.dataset.info:
        raise PieceError(f"chapter '{chapter.name}' cannot be distilled: that is for numbers, not for words or boards")
    if teacher.dataset.name != teacher.trained_on:
        raise LabError(
            f"a student learns from the data of its teacher, {teacher.trained_on}, and here are only "
            f"{teacher.dataset.name}; `diffusion-lab data` tells how to get them"
        )
    if teacher.distilled:
        raise LabError(f"{path} is a student itself; give the network that it was taught by")
    settings = load_tensors(path)[1]
    settings.pop("card", None)  # of the teacher
    own = found_again(settings["own"], None, path) if "own" in settings else None
    folder = results_folder(out, chapter.name, own)
    require_writable(folder)
    prefix = "_".join(filter(None, ("distilled", settings["variant"], settings.get("architecture"))))
    inside, written = teacher.guidance, path
    for count in counts:
        student = halve(teacher, count, training, seed, on_step)
        settings = {**settings, "distilled": {"steps": count, "teacher_steps": teacher_steps, "guidance": inside}}
        written = save_network(
            folder / f"{prefix}_{count}.safetensors", student.network, settings, weights_of(student.dataset)
        )
        on_stage(student, count, written)
        teacher = student
    return written


def halvings(teacher_steps: int, steps: int) -> list[int]:
    """The numbers of steps of all students: 16 and 2 -> [8, 4, 2].

    Raises:
        PieceError: where halving does not lead from one to the other.
    """
    counts, count = [], teacher_steps
    while count > steps >= 1 and count % 2 == 0:
        count //= 2
        counts.append(count)
    if not counts or counts[-1] != steps:
        raise PieceError(
            f"steps are halved from the teacher's to the student's, and {teacher_steps} never come to {steps}: give 16 "
            "and 4, for instance"
        )
    return counts


def halve(teacher: Experiment, steps: int, training: Settings, seed: int, on_step: OnStep) -> Experiment:
    """A student of `steps` steps of a teacher that takes twice as many."""
    schedule = replace(teacher.pieces.schedule, spacing=uniform_spacing)

    def denoise(x: Any, level: Level, cond: dict) -> Any:
        with teacher.accelerator.autocast():
            guess = teacher.denoiser(cond.get("labels"))(x, level)
        return type(guess)(*(value.float() for value in guess))

    labels = teacher.dataset.train_labels if teacher.chapter.labelled else None
    trainer = Trainer(
        network=copy.deepcopy(teacher.network).requires_grad_(True),
        loss=distillation_loss(denoise, teacher.pieces.target, schedule, steps),
        schedule=replace(schedule, density=grid_density(steps)),
        source=Source(teacher.dataset.train, labels, classes=len(teacher.classes)),
        settings=training,
        accelerator=teacher.accelerator,
        seed=seed,
    )
    network = trainer.fit(on_step=lambda done, loss: on_step(f"{steps} steps", done, training.steps))
    return as_student(replace(teacher, network=network.requires_grad_(False)), steps)


def as_student(experiment: Experiment, steps: int) -> Experiment:
    """An experiment that draws in so many even steps of DDIM, without guidance: that is inside the network."""
    schedule = replace(experiment.pieces.schedule, spacing=uniform_spacing)
    pieces = replace(experiment.pieces, schedule=schedule, step=samplers.ddim())
    budget = replace(experiment.budget, sample_steps=steps)
    return replace(experiment, pieces=pieces, budget=budget, guidance=1.0, distilled=steps)
