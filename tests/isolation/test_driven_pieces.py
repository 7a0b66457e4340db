"""Exercises with a driver: the same marks in this process and behind the walls, for right and wrong answers."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys

import pytest

from diffusion_lab.exercises import library
from diffusion_lab.exercises.driving import driver_of, piece_of
from diffusion_lab.exercises.mnist import conv_denoiser
from diffusion_lab.exercises.mnist import lab as images_lab
from diffusion_lab.exercises.normal_1d import lab, tiny_denoiser, train_step
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.checking import check
from diffusion_lab.grading.notebook.stand_ins import check_pieces

HELPERS = {
    "conv_denoiser": (conv_denoiser._Layers,),
    "tiny_denoiser": (tiny_denoiser._Layers,),
    "train_step": (train_step._noisy, train_step._loss, train_step._follow, train_step._finish),
}


def written(name: str, function) -> str:
    """A function of the records as a student's cell, under the exercise's name."""
    source = "\n".join(inspect.getsource(helper) for helper in HELPERS[name])
    return f"{source}\n{inspect.getsource(function)}\n{name} = {function.__name__}\n"


@pytest.mark.parametrize(
    "function",
    [
        train_step.train_step,
        train_step.by_state_dictionary,
        train_step.gradients_kept,
        train_step.average_tracked,
        tiny_denoiser.tiny_denoiser,
        tiny_denoiser.time_left_out,
        conv_denoiser.conv_denoiser,
        pytest.param(conv_denoiser.normalised_over_the_batch, marks=pytest.mark.slow),
    ],
    ids=lambda function: getattr(function, "__name__", None),
)
def test_marks_are_the_same_here_and_behind_the_walls(sandbox, function):
    name = function.__module__.rpartition(".")[2]
    exercise = library()[name]
    with sandbox.open() as session:
        assert session.run_cell("cell", written(name, function)) is None
        with session.piece(name, driver=exercise.driver) as caller:
            behind = check(exercise, caller, 5)
    here = check(exercise, LocalCaller(function, driver=exercise.driver), 5)
    assert (behind.points, behind.state, [idea.name for idea in behind.ideas]) == (
        here.points,
        here.state,
        [idea.name for idea in here.ideas],
    )
    listed = {answer.name for answer in exercise.wrong_answers}
    assert behind.passed == (function.__name__.replace("_", " ") not in listed)


def test_a_notebook_checks_with_the_driver_too():
    namespace = {
        "train_step": train_step.train_step,
        "tiny_denoiser": tiny_denoiser.tiny_denoiser,
        "conv_denoiser": conv_denoiser.conv_denoiser,
    }
    verdicts = check_pieces(namespace, list(namespace), 0)
    assert [verdict.state for verdict in verdicts] == ["passed", "passed", "passed"]


def test_others_call_the_piece_without_its_driver():
    exercise = library()["train_step"]
    assert piece_of(exercise) is train_step.train_step and driver_of(exercise) is exercise.driver
    assert piece_of(library()["q_sample"]) is library()["q_sample"].reference
    assert driver_of(library()["q_sample"]) is None


def test_an_answer_that_is_no_number_and_one_that_is_no_network_are_told():
    for name, function, words in (
        ("train_step", lambda *arguments: None, "must return the loss, one number, and it returned NoneType"),
        ("tiny_denoiser", lambda size, width: size, "must return a network, an nn.Module, and it returned int"),
        ("conv_denoiser", lambda channels: channels, "must return a network, an nn.Module, and it returned int"),
    ):
        exercise = library()[name]
        verdict = check(exercise, LocalCaller(function, driver=exercise.driver))
        assert verdict.points == 0 and words in verdict.outcomes[0].raised.message


@pytest.mark.slow
def test_the_three_pieces_make_a_model_without_the_package():
    """The last cell of the lab, with the solutions: its samples have the mean and the spread of the data."""
    import matplotlib
    import torch
    from torch import Tensor, nn

    matplotlib.use("Agg")
    space = {"torch": torch, "Tensor": Tensor, "nn": nn}
    for exercise in lab.LAB.exercises:
        if exercise.name in ("tiny_denoiser", "train_step", "sampling_loop"):
            exec(inspect.getsource(piece_of(exercise)), space)
    assert "diffusion_lab" not in lab.FINALE
    with torch.random.fork_rng(devices=[]):
        exec(lab.FINALE, space)
    samples = space["samples"]
    assert abs(samples.mean() - 1.5) < 0.06 and abs(samples.std() - 0.5) < 0.05
    assert abs(sum(space["losses"][-500:]) / 500 - space["floor"]) < 0.02


@pytest.mark.slow
def test_the_convolutional_network_draws_digits_without_the_package():
    """The last cell of chapter 5's lab, with fewer steps: its samples have the grey values of the data.

    They lie nearer to the digits of the data than these are to each other's mean, which no single blur does.
    """
    import matplotlib
    import torch
    from torch import Tensor, nn

    matplotlib.use("Agg")
    assert "diffusion_lab" not in images_lab.FINALE and "range(1500)" in images_lab.FINALE
    space = {"math": math, "torch": torch, "Tensor": Tensor, "nn": nn}
    exec(inspect.getsource(piece_of(library()["conv_denoiser"])), space)
    with torch.random.fork_rng(devices=[]):
        exec(images_lab.FINALE.replace("range(1500)", "range(400)"), space)
    samples, images = space["samples"], space["images"]
    assert space["large"].shape == (6, 1, 16, 16)
    assert abs(samples.mean() - images.mean()) < 0.1 and abs(samples.std() - images.std()) < 0.25
    nearest = torch.cdist(samples.flatten(1), images.flatten(1)).amin(dim=1)
    assert nearest.mean() < (images - images.mean(dim=0)).flatten(1).norm(dim=1).mean()


@pytest.mark.slow
def test_what_optimizers_import_is_no_part_of_a_call():
    """An import that a time limit ends half way leaves PyTorch broken for the rest of the process."""
    code = (
        "import sys, diffusion_lab\n"
        "from diffusion_lab.exercises import tasks\n"
        "from diffusion_lab.grading.judge import LocalCaller, prepare\n"
        "from diffusion_lab.grading.judge import calling\n"
        "real = calling._time_limit\n"
        "def late(seconds):\n"
        "    assert 'torch._dynamo' in sys.modules, 'imported under the limit'\n"
        "    return real(seconds)\n"
        "calling._time_limit = late\n"
        "prepare(tasks()['train_step'], 5)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
