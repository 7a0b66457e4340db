"""A network taught to take fewer steps, from the shipped one of a small chapter to the file that `sample` opens."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

from diffusion_lab import open_checkpoint
from diffusion_lab.chapters.distilling import TRAINING, distill, halvings
from diffusion_lab.cli import app
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
    assert TRAINING.steps > 0
