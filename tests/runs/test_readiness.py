"""What would stop a run after its training is found before it: folders, data, libraries, networks of one's own."""

from __future__ import annotations

import builtins
import copy
import sys
from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest
import soundfile
import torch
from packaging.requirements import Requirement
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from diffusion_lab import errors, run_chapter, schedules
from diffusion_lab.chapters import run as running
from diffusion_lab.cli import app
from diffusion_lab.data import storage
from diffusion_lab.errors import DataError, InstallationError, PieceError
from diffusion_lab.metrics import classifier_cache
from diffusion_lab.metrics.audio import spectral_features
from diffusion_lab.train import Settings


@pytest.fixture
def no_training(monkeypatch):
    def fails(*_, **__):
        raise AssertionError("training began")

    monkeypatch.setattr(running.Trainer, "fit", fails)


class Network(nn.Module):
    """A small network with dropout and, if asked for, a scale in float64."""

    def __init__(self, dropout: float = 0.0, scale: torch.dtype = torch.float32):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.body = nn.Sequential(nn.Linear(3, 32), nn.SiLU(), nn.Dropout(dropout), nn.Linear(32, 2))
        for weight in self.body.parameters():
            nn.init.normal_(weight, std=0.2, generator=generator)
        self.register_buffer("scale", torch.ones(2, dtype=scale))

    def forward(self, x, t):
        return self.body(torch.cat([x, t.reshape(-1, 1).expand(len(x), 1).to(x)], dim=1)) * self.scale


def test_a_network_that_answers_in_float64_is_refused_before_training(no_training):
    with pytest.raises(PieceError, match=r"slot 'network': .*float64 \(scale: float64; `.float\(\)` makes"):
        run_chapter("spiral", budget="smoke", network=Network(scale=torch.float64))


def test_pieces_that_fail_together_are_refused_before_training(no_training):
    """Alone each of them passes: the step is tried with a batch of 3, and draws noise for one of 3 only."""

    def step(x, now, after, prediction, context):
        return after.noisy(prediction.x0, prediction.eps) + 0 * torch.zeros(3, 2).expand(len(x), 2)

    with pytest.raises(PieceError, match=r"do not work together \(step '.*step'\): .*test_readiness.py:\d+ in step"):
        run_chapter("spiral", budget="smoke", step=step)


class Stopped(Exception):
    pass


@pytest.mark.slow
def test_dropout_repeats_resumes_and_leaves_the_global_generator_alone(tmp_path):
    settings = Settings(steps=30, batch=32)

    fresh = Network(dropout=0.3)

    def run(**options):
        return run_chapter("normal_2d", budget="smoke", network=copy.deepcopy(fresh), training=settings, **options)

    def stop(what: str, done: int, total: int) -> None:
        if (what, done) == ("training", 17):
            raise Stopped

    torch.manual_seed(1)
    before = torch.get_rng_state()
    whole = run()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(run().samples, whole.samples)
    with pytest.raises(Stopped):
        run(out=tmp_path, on_step=stop)
    torch.manual_seed(3)
    resumed = run(out=tmp_path, resume=True)
    assert torch.equal(resumed.samples, whole.samples) and resumed.final_loss == whole.final_loss
    assert run(seed=1).final_loss != whole.final_loss


def test_a_step_with_global_randomness_repeats():
    def step(x, now, after, prediction, context):
        return after.noisy(prediction.x0, torch.randn_like(x))

    first, second = (run_chapter("normal_2d", budget="smoke", step=step).samples for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("T", [50, 200, 400])
def test_a_schedule_that_ends_before_the_data_are_gone_is_refused_with_the_number(T, no_training):
    betas = np.linspace(1e-4, 0.02, T)
    left = f"{np.prod(1 - betas):.2g}"
    for piece in (schedules.linear(T), torch.tensor(np.cumprod(1 - betas))):
        with pytest.raises(PieceError, match=rf"slot 'schedule': .* {left} of the variance is still data"):
            run_chapter("normal_1d", budget="smoke", schedule=piece)


def test_schedules_of_ours_end_in_noise():
    for name, make in schedules.SCHEDULES.items():
        assert make().left_at_end() < 0.01, name
    assert schedules.karras(sigma_max=3.0).left_at_end() == pytest.approx(1 / 10)


@pytest.mark.parametrize("name", ["run", "sample", "denoise"])
def test_a_folder_that_cannot_be_written_to_is_named_first(name, tmp_path, no_training):
    (tmp_path / "file").touch()
    options = ["--budget", "smoke"] if name == "run" else []
    result = CliRunner().invoke(app, [name, "spiral", *options, "--out", str(tmp_path / "file" / "runs")])
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert f"results cannot be written to {tmp_path}/file/runs/spiral: Not a directory" in result.stderr


def test_a_cache_that_cannot_be_written_to_costs_time_alone(tmp_path):
    (tmp_path / "file").touch()
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 2
    data = (images, labels, ("a", "b"), images, labels)
    judge = classifier_cache.cached_classifier(tmp_path / "file" / "judges", *data, epochs=1, seed=0)
    assert judge.accuracy is not None


def test_too_few_pictures_are_refused_before_training(tmp_path, monkeypatch, no_training):
    monkeypatch.setattr(storage, "user_cache", lambda: tmp_path / "cache")
    rng = np.random.default_rng(0)
    for number in range(200):
        place = tmp_path / "cifar10" / ("cat", "dog")[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(place)
    with pytest.raises(DataError, match=r"20 held out are too few to score, at least 65 are needed"):
        run_chapter("cifar10", budget="smoke", source="real", data_root=tmp_path)
    for place in (tmp_path / "cifar10").rglob("*.png"):
        place.rename(tmp_path / "cifar10" / place.name)
    with pytest.raises(DataError, match=r"images of cifar10 .* have no classes.*folder of its own"):
        run_chapter("cifar10", budget="smoke", source="real", data_root=tmp_path)


def test_too_few_sounds_are_refused_before_training(tmp_path, no_training):
    wave = np.sin(np.arange(1600) / 3) * np.hanning(1600)
    for take in range(10):
        (tmp_path / "fsdd" / "recordings").mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "fsdd" / "recordings" / f"3_theo_{take}.wav", wave, 8000)
    with pytest.raises(DataError, match=r"5 held out are too few to score, at least 41 are needed"):
        run_chapter("audio", budget="smoke", source="real", data_root=tmp_path)


UNFIT = RuntimeError("operator torchvision::nms does not exist"), OSError("undefined symbol: _Z\n at x")


@pytest.fixture(params=UNFIT)
def unfit(request, monkeypatch):
    """A torchvision and a torchaudio that were built for another torch."""
    real = builtins.__import__

    def fails(name, *arguments, **options):
        if name.split(".")[0] in ("torchvision", "torchaudio"):
            raise request.param
        return real(name, *arguments, **options)

    for name in [name for name in sys.modules if name.split(".")[0] in ("torchvision", "torchaudio")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", fails)
    return str(request.param).partition("\n")[0]


def test_a_torchaudio_that_does_not_fit_torch_is_told_in_one_line_before_training(unfit, no_training):
    for work in (lambda: spectral_features(torch.zeros(2, 4096), 8000), lambda: run_chapter("audio", budget="smoke")):
        with pytest.raises(InstallationError, match=r"^torchaudio 2\S+ does not go with torch 2\S+ \(") as caught:
            work()
        assert unfit in str(caught.value) and "\n" not in str(caught.value)
        assert '--no-deps "torchaudio' in str(caught.value)


@pytest.mark.parametrize("library", ["torchvision", "torchaudio"])
def test_the_release_that_is_advised_goes_with_torch_by_its_own_word(library):
    """What is installed says in its metadata which torch it wants; that torch must be advised this release."""
    wanted = [Requirement(each) for each in metadata.requires(library) or []]
    of_torch = [str(each.specifier) for each in wanted if each.name == "torch"]
    if not of_torch or not of_torch[0].startswith("=="):
        pytest.skip(f"this {library} does not ask for one torch alone")
    advised = Requirement(errors.companion(library, of_torch[0].removeprefix("==")))
    assert advised.name == library and metadata.version(library) in advised.specifier


@pytest.mark.parametrize(
    ("library", "torch_release", "fits", "does_not"),
    [
        ("torchvision", "2.6.0+cu124", "0.21.0", "0.22.0"),
        ("torchaudio", "2.8.0", "2.8.0", "2.11.1"),
        ("torchvision", "2.13.0+cpu", "0.28.0", "0.26.0"),  # the wheel of 0.28.0 asks for torch==2.13.0,
        ("torchvision", "2.15.0", "0.29.1", "0.28.0"),  # that of 0.29.1 for torch>=2.14.0
        ("torchaudio", "2.13.0+cpu", "2.11.1", "2.11.0"),
    ],
)
def test_another_torch_is_advised_other_companions(library, torch_release, fits, does_not):
    advised = Requirement(errors.companion(library, torch_release)).specifier
    assert fits in advised and does_not not in advised


@pytest.mark.parametrize("unfit", UNFIT[:1], indirect=True)  # it asks for neither, so one way to fail is enough
def test_a_point_chapter_runs_without_torchvision_and_torchaudio(unfit, tmp_path):
    assert run_chapter("normal_1d", budget="smoke", out=tmp_path) is not None


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_torchvision_that_does_not_fit_torch_is_told_in_one_line(name, unfit, tmp_path):
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "cifar-10-batches-py").mkdir()
    for each in ("train-images", "train-labels", "t10k-images", "t10k-labels"):
        (tmp_path / "MNIST" / "raw" / f"{each}-idx{3 if 'images' in each else 1}-ubyte").touch()
    calls = (["run", name, "--budget", "smoke", "--source", "real"], ["data", "fetch", name])
    for arguments in calls:
        out = ["--out", str(tmp_path / "runs")] if arguments[0] == "run" else []
        result = CliRunner().invoke(app, [*arguments, *out, "--data-root", str(tmp_path)])
        assert result.exit_code == 2 and unfit in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.slow
def test_notes_on_the_data_are_in_the_report_and_said(tmp_path, monkeypatch):
    from diffusion_lab.chapters import get

    chapter = get("normal_2d")

    def load(source, root, seed):
        return replace(chapter.load(source, root, seed), notes=("3 points were blue",))

    monkeypatch.setattr("diffusion_lab.chapters.normal_2d.CHAPTER", replace(chapter, load=load))
    result = CliRunner().invoke(app, ["run", "normal_2d", "--budget", "smoke", "--out", str(tmp_path)])
    assert result.exit_code == 0 and "3 points were blue" in result.stdout
    assert "3 points were blue" in (tmp_path / "normal_2d" / "report.json").read_text()


def test_a_full_disk_is_told_in_one_line(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", str(tmp_path / "state.safetensors"))

    monkeypatch.setattr(running.Trainer, "fit", full)
    result = CliRunner().invoke(app, ["run", "spiral", "--budget", "smoke", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr == f"error in chapter 'spiral': {tmp_path}/state.safetensors: No space left on device\n"
