"""Shipped networks taught to sample in few steps, beside their teacher in many steps and in as few."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from diffusion_lab import open_checkpoint
from diffusion_lab.chapters.distilling import TRAINING, as_student, distill
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.images import judge_of
from diffusion_lab.metrics import beat_features, floor_of, frechet_distance, random_rows

NAMES = ("mnist", "heartbeats")
TEACHERS = {"mnist": {"guidance": 1.25, "step": "ddim", "spacing": "uniform"}, "heartbeats": {}}
"""How the teachers draw. A student learns less from one that is guided for a while only, as chapter 5 guides."""
MANY = {"mnist": 30, "heartbeats": 50}
"""The steps with which a teacher draws well."""
TEACHER_STEPS = 16
HALVING = replace(TRAINING, steps=300)
COUNTS = (4, 2, 1)
SAMPLES, SEEDS = 1000, (0, 1)
"""Samples of each seed of the noise. The networks are trained once."""
OnStep = Callable[[str, int, int], None]


def distance_of(teacher: Experiment) -> Callable[[Tensor], float]:
    """Fréchet distance of decoded samples to held-out data, as the chapter has it."""
    if teacher.chapter.name == "heartbeats":
        rate = teacher.dataset.info["sample_rate"]
        held = beat_features(teacher.decode(teacher.dataset.test), rate)
        return lambda x: frechet_distance(beat_features(x, rate), held)
    judge = judge_of(teacher, crop=2, flip=False)
    held = judge.features(teacher.dataset.test)
    return lambda x: frechet_distance(judge.features(x), held)


def score(experiment: Experiment, steps: int, distance: Callable[[Tensor], float]) -> dict[str, Any]:
    """The distance over the seeds, and the evaluations that a sample cost."""
    values = [distance(replace(experiment, seed=seed).draw(SAMPLES, steps)) for seed in SEEDS]
    counted = replace(experiment)
    counted.draw(1, steps)
    return {
        "steps": steps,
        "evaluations": counted.evaluations,
        "distance": mean(values),
        "spread": stdev(values),
        "distances": values,
    }


def study(name: str, on_step: OnStep, kept: Callable[[str, dict[str, Any]], None] = lambda kind, row: None):
    """All rows of one chapter; `kept` is called with each as soon as it is there."""
    # One learned part, measured once: without the exact answer, which nothing here asks for.
    teacher = open_checkpoint(name=name, **TEACHERS[name])
    teacher = replace(
        teacher, chapter=replace(teacher.chapter, exact=None), budget=replace(teacher.budget, judge_epochs=2)
    )
    distance = distance_of(teacher)
    rows: dict[str, list[dict[str, Any]]] = {"teacher": [], "unguided": [], "student": []}

    def keep(kind: str, row: dict[str, Any]) -> None:
        rows[kind].append(row)
        kept(kind, row)

    began = {"at": time.process_time()}

    def stage(student: Experiment, steps: int, path: Any) -> None:
        spent = time.process_time() - began["at"]
        if steps in COUNTS:
            keep("student", {**score(student, steps, distance), "seconds": spent})
        began["at"] = time.process_time()

    with TemporaryDirectory() as folder:
        distill(
            name,
            steps=min(COUNTS),
            teacher_steps=TEACHER_STEPS,
            guidance=TEACHERS[name].get("guidance"),
            training=HALVING,
            out=folder,
            on_step=on_step,
            on_stage=stage,
        )
    # The same even steps of DDIM without distillation, guided as the student has learned it, and not.
    for steps in (*reversed(COUNTS), TEACHER_STEPS, MANY[name]):
        on_step("teacher", steps, MANY[name])
        plain = replace(as_student(teacher, steps), guidance=teacher.guidance)
        keep("teacher", score(plain if steps != MANY[name] else teacher, steps, distance))
        if steps in COUNTS and teacher.guidance != 1.0:
            keep("unguided", score(replace(plain, guidance=1.0), steps, distance))
    generator = torch.Generator().manual_seed(1)
    floor = floor_of(distance, lambda: teacher.decode(random_rows(teacher.dataset.train, SAMPLES, generator)))
    return {
        "data": teacher.dataset.name,
        "guidance": teacher.guidance,
        "teacher_steps": TEACHER_STEPS,
        "training_steps": HALVING.steps,
        "batch": HALVING.batch,
        "samples": SAMPLES,
        "noise_seeds": len(SEEDS),
        "floor": floor,
        **rows,
    }


def run(on_step: OnStep) -> dict[str, Any]:
    """Every chapter in turn."""
    found = {name: study(name, on_step) for name in NAMES}
    return {"data": " and ".join(row["data"] for row in found.values()), "chapters": found}
