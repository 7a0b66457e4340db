"""A network taught to take fewer steps, from the shipped one of a small chapter to the file that `sample` opens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from diffusion_lab import open_checkpoint, samplers, schedules, targets
from diffusion_lab.chapters import get
from diffusion_lab.chapters.distilling import distill, halve, halvings
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.opening import shipped
from diffusion_lab.chapters.pieces import Pieces
from diffusion_lab.checkpoints import load_tensors, save_tensors
from diffusion_lab.cli import app
from diffusion_lab.data import Dataset
from diffusion_lab.devices import make_accelerator
from diffusion_lab.errors import LabError, PieceError
from diffusion_lab.metrics import energy_distance
from diffusion_lab.train import Settings


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    """Students of the chapter of normal data, 8 -> 4 -> 2, by their number of steps, and the folder."""
    folder, made = tmp_path_factory.mktemp("students"), {}
    training = Settings(steps=50, batch=128, learning_rate=2e-3, ema_decay=0.98)
    distill(
        "normal_2d",
        steps=2,
        teacher_steps=8,
        training=training,
        out=folder,
        on_stage=lambda student, count, path: made.update({count: (student, path)}),
    )
    return folder, made


def test_a_student_of_two_steps_is_nearer_to_the_data_than_its_teacher_in_two(students):
    _, made = students
    teacher = open_checkpoint(name="normal_2d")
    test = teacher.dataset.test[:1000]
    by_student = energy_distance(made[2][0].draw(1000), test)
    by_teacher = energy_distance(teacher.draw(1000, 2), test)
    assert by_student < 0.5 * by_teacher


def test_a_file_opens_as_the_student_that_was_trained(students):
    folder, made = students
    assert sorted(made) == [2, 4]
    student, path = made[4]
    assert path == folder / "normal_2d" / "distilled_4.safetensors"
    opened = open_checkpoint(path)
    assert torch.equal(opened.draw(20), student.draw(20))
    assert opened.evaluations == 4
    assert "card" not in load_tensors(path)[1]  # what it says is true of the teacher


def test_a_student_of_another_network_is_not_laid_over_that_of_the_shipped_one(tmp_path):
    tensors, settings = load_tensors(shipped("normal_2d"))
    named = save_tensors(tmp_path / "named.safetensors", tensors, {**settings, "architecture": "mlp"})
    path = distill(
        "normal_2d", steps=1, teacher_steps=2, checkpoint=named, training=Settings(1, batch=64), out=tmp_path
    )
    assert path == tmp_path / "normal_2d" / "distilled_mlp_1.safetensors"


def test_sample_draws_from_a_student(students):
    folder, made = students
    told = CliRunner().invoke(
        app, ["sample", "2", "--checkpoint", str(made[2][1]), "--count", "4", "--out", str(folder)]
    )
    assert told.exit_code == 0, told.output
    assert "distilled to 2 steps: " in told.output
    assert (folder / "normal_2d" / "samples" / "samples.png").is_file()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--steps", "9"], "was distilled to 2 steps and draws in those alone, not in 9"),
        (
            ["--spacing", "log_snr"],
            "was distilled to 2 even steps of DDIM and takes no spacing 'log_snr': leave it out",
        ),
        (["--sampler", "heun"], "was distilled to 2 even steps of DDIM and takes no sampler 'heun': leave it out"),
    ],
    ids="steps spacing sampler".split(),
)
def test_a_student_is_asked_for_what_it_was_taught_alone(students, tmp_path, asked, said):
    _, made = students
    told = CliRunner().invoke(app, ["sample", "2", "--checkpoint", str(made[2][1]), *asked, "--out", str(tmp_path)])
    assert told.exit_code == 2 and said in " ".join(told.output.split())
    assert not list(tmp_path.rglob("samples.*"))


def test_a_student_knows_no_means_to_denoise_with(students):
    folder, made = students
    told = CliRunner().invoke(app, ["denoise", "2", "--checkpoint", str(made[2][1]), "--out", str(folder)])
    assert told.exit_code == 2
    assert "distilled to 2 steps" in told.output


def test_a_student_is_no_teacher_with_other_guidance_or_of_other_data(students, tmp_path):
    _, made = students
    with pytest.raises(LabError, match="is a student itself"):
        distill("normal_2d", checkpoint=made[4][1], steps=2, teacher_steps=4, out=tmp_path)
    with pytest.raises(PieceError, match="no labels"):
        open_checkpoint(made[4][1], guidance=2.0)
    with pytest.raises(LabError, match="learns from the data of its teacher, MNIST, and here are only 5,000 digits"):
        distill("mnist", data_root=tmp_path, out=tmp_path)


def test_guidance_is_inside_the_student():
    """A network that says one number for each class, without noise to remove, and zero for no class: guided by w, it
    says w times its number, and so must the student, which asks it once and without guidance."""

    class OneNumberEach(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.numbers = torch.nn.Embedding.from_pretrained(torch.tensor([[-1.0], [2.0], [0.0]]))

        def forward(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return self.numbers(labels)

    labels = torch.arange(200) % 2
    rows = torch.tensor([[-1.0], [2.0]])[labels]
    chapter, network = replace(get("normal_2d"), labelled=True, exact=None), OneNumberEach()
    pieces = Pieces(schedules.cosine(), targets.x0, None, samplers.ddim(), network, {})
    teacher = Experiment(
        chapter, Dataset("x", "bundled", "points", rows, rows, labels, labels, ("a", "b")), pieces,
        chapter.budgets["smoke"], 0, make_accelerator("cpu", "float32"), network, None, guidance=3.0,
    )  # fmt: skip
    training = Settings(steps=100, batch=32, learning_rate=0.2, warmup=0, ema_decay=0.9)
    student = halve(teacher, 2, training, 0, lambda what, done, total: None)
    assert torch.allclose(student.draw(4), torch.tensor([[-3.0], [6.0], [-3.0], [6.0]]), atol=0.05)
    assert student.evaluations == 2
    assert torch.equal(network.numbers.weight.flatten(), torch.tensor([-1.0, 2.0, 0.0]))  # the teacher stays


def test_a_student_takes_no_other_guidance(tmp_path):
    tensors, settings = load_tensors(shipped("points"))
    taught = {"steps": 4, "teacher_steps": 8, "guidance": 1.5}
    path = save_tensors(tmp_path / "student.safetensors", tensors, {**settings, "distilled": taught})
    with pytest.raises(PieceError, match=r"was distilled with guidance 1\.5 inside it, and takes no other one"):
        open_checkpoint(path, guidance=2.0)
    with pytest.raises(PieceError, match=r"takes no other one"):
        open_checkpoint(path, guidance_interval=(0.2, 0.8))


@pytest.mark.parametrize("chapter", ["text", "games"])
def test_words_and_boards_are_refused(chapter, tmp_path):
    told = CliRunner().invoke(app, ["distill", chapter, "--out", str(tmp_path)])
    assert told.exit_code == 2
    assert "cannot be distilled" in " ".join(told.output.split())


def test_steps_are_halved():
    assert halvings(16, 2) == [8, 4, 2]
    assert halvings(6, 3) == [3]
    for teacher, student in ((6, 2), (4, 4), (4, 8), (5, 2)):
        with pytest.raises(PieceError, match=f"{teacher} never come to {student}"):
            halvings(teacher, student)


def test_steps_that_no_halving_reaches_are_refused_before_the_teacher_is_opened(tmp_path):
    with pytest.raises(PieceError, match="16 never come to 5"):
        distill("normal_2d", steps=5, checkpoint=tmp_path / "none.safetensors")
