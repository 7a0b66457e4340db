"""What a checkpoint is used for: drawing samples, and denoising held-out data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusion_lab import plots
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.figures import denoising_figure, samples_figure
from diffusion_lab.chapters.opening import open_checkpoint, shipped
from diffusion_lab.chapters.readiness import require_writable
from diffusion_lab.checkpoints import save_tensors
from diffusion_lab.errors import CheckpointError, PieceError
from diffusion_lab.metrics import nearest_word


def open_network(name: str, checkpoint: Path | None, folder: Path, **options: Any) -> tuple[Experiment, str]:
    """A chapter's network, and in a sentence which one it is.

    It is the one of `checkpoint`, else the one that a run has left in `folder`, else the one that ships with the
    package. `options` go to `open_checkpoint`, whose errors are raised here too, and a LabError where nothing can be
    written to `folder`.
    """
    require_writable(folder)
    left = folder / "checkpoint.safetensors"
    path = checkpoint or (left if left.is_file() else None)
    if path is None and options.get("own") is not None:
        own = options["own"]
        raise CheckpointError(
            f"no network was trained on {own.name} yet, at {left}; "
            f"`diffusion-lab run {name} --{own.kind} {own.path}` trains one"
        )
    experiment = open_checkpoint(path, name=name, **options)
    where = path or f"shipped with the package, {shipped(name).with_suffix('.md')} tells about it"
    student = f", distilled to {experiment.distilled} steps" if experiment.distilled else ""
    return experiment, f"network trained on {experiment.trained_on}{student}: {where}"


def label_of(experiment: Experiment, word: str) -> int:
    """The label of a class, given by its name or its number.

    Raises:
        PieceError: for a class that there is not.
    """
    names = experiment.classes
    if not experiment.chapter.labelled:
        if experiment.dataset.source == "own":
            raise PieceError(f"{experiment.dataset.name} has no classes, so there are no labels")
        raise PieceError(f"chapter '{experiment.chapter.name}' has no labels")
    if word in names:
        return names.index(word)
    if word.isdecimal() and int(word) < len(names):
        return int(word)
    raise PieceError(f"there is no class {word!r}; the classes are {', '.join(names)}, or 0 to {len(names) - 1}")


def draw(
    experiment: Experiment, folder: Path, *, count: int, steps: int | None = None, label: int | None = None
) -> list[Path]:
    """Draw `count` samples and write them: tensors, a picture, and sound or text where data are that."""
    samples = experiment.draw(count, steps, label)
    settings = {
        "chapter": experiment.chapter.name,
        "dataset": experiment.dataset.name,
        "trained_on": experiment.trained_on,
        "guidance": experiment.guidance,
        "guidance_interval": experiment.guidance_interval,
        "evaluations": experiment.evaluations,
        "seed": experiment.seed,
    }
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


def denoise(experiment: Experiment, folder: Path) -> tuple[list[Path], dict[str, list[float]], list[float]]:
    """Denoise held-out data: the paths of pictures, the scores by name, and the log-SNR levels.

    Raises:
        PieceError: for a distilled network.
    """
    if experiment.distilled:
        raise PieceError(
            f"this network was distilled to {experiment.distilled} steps: it answers with the end of a path, and "
            "not with the mean that `denoise` asks for; take its teacher"
        )
    denoised = experiment.denoised()
    files = [plots.save(denoising_figure(experiment, denoised), folder / "denoising.png")]
    if experiment.chapter.restored is not None:
        files.append(plots.save(experiment.chapter.restored(experiment), folder / "restored.png"))
    return files, denoised["scores"], denoised["levels"]
