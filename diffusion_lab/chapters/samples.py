"""What a checkpoint is used for: drawing samples, and denoising held-out data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusion_lab import plots
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.figures import denoising_figure, samples_figure
from diffusion_lab.chapters.opening import open_checkpoint
from diffusion_lab.chapters.run import OnStep, silent
from diffusion_lab.checkpoints import save_tensors
from diffusion_lab.metrics import nearest_word


def draw(
    name: str,
    checkpoint: Path,
    *,
    count: int,
    steps: int | None,
    folder: Path,
    on_step: OnStep = silent,
    **options: Any,
) -> list[Path]:
    """Draw `count` samples from a checkpoint and write them: tensors, a picture, and sound or text where data are that.

    `options` go to `open_checkpoint`, whose errors are raised here too.
    """
    experiment = open_checkpoint(checkpoint, name=name, **options)
    experiment.on_step = on_step
    samples = experiment.draw(count, steps)
    settings = {"chapter": name, "dataset": experiment.dataset.name, "seed": experiment.seed}
    files = [save_tensors(folder / "samples.safetensors", {"samples": samples}, settings)]
    files.append(plots.save(samples_figure(experiment), folder / "samples.png"))
    if experiment.kind == "audio":
        files += _write_sounds(experiment, folder)
    if experiment.kind == "phrases":
        path = folder / "samples.txt"
        path.write_text("\n".join(sentences(experiment)) + "\n", encoding="utf-8")
        files.append(path)
    return files


def sentences(experiment: Experiment) -> list[str]:
    """The samples of a text chapter as their nearest words, without padding."""
    words, info = experiment.dataset.info["words"], experiment.dataset.info
    ids = nearest_word(experiment.samples.flatten(0, 1), info["vectors"]).reshape(experiment.samples.shape[:2])
    return [
        " ".join(words[i] for i, real in zip(row.tolist(), mask.tolist(), strict=True) if real)
        for row, mask in zip(ids, experiment.sample_mask, strict=True)
    ]


def _write_sounds(experiment: Experiment, folder: Path) -> list[Path]:
    import soundfile

    paths = []
    for i, wave in enumerate(experiment.samples):
        paths.append(folder / f"{i:03}.wav")
        loudest = wave.abs().max().clamp(min=1.0)
        soundfile.write(paths[-1], (wave[0] / loudest).numpy(), experiment.dataset.info["sample_rate"])
    return paths


def denoise(
    name: str, checkpoint: Path, *, folder: Path, **options: Any
) -> tuple[Path, dict[str, list[float]], list[float]]:
    """Denoise held-out data with a checkpoint: the picture's path, the scores by name, and the log-SNR levels."""
    experiment = open_checkpoint(checkpoint, name=name, **options)
    denoised = experiment.denoised()
    return (
        plots.save(denoising_figure(experiment, denoised), folder / "denoising.png"),
        denoised["scores"],
        denoised["levels"],
    )
