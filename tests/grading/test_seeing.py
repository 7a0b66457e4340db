"""What `lab.see` draws: the learner's function in its scene, right or wrong, beside the reference."""

from __future__ import annotations

import time

import pytest
import torch

from diffusion_lab.errors import LabError
from diffusion_lab.exercises import exercise, notebook
from diffusion_lab.exercises.catalogue import BEYOND, CHAPTERS
from diffusion_lab.grading import start
from diffusion_lab.grading.notebook import see
from diffusion_lab.grading.notebook import seeing as module
from diffusion_lab.grading.notebook.scenes import scenes
from diffusion_lab.plots import Items

# A schedule, a sampler, a formula that differentiates, a distance, tokens, a loss.
QUICK = ("alpha_bar", "ddpm_step", "gmm_score", "energy_distance", "board_to_bits", "eps_loss")
SAME = "the same picture"
EVERY = [item for chapter in (*CHAPTERS, *BEYOND) for item in notebook(chapter).exercises]


@pytest.mark.parametrize("name", QUICK)
def test_a_right_function_gives_our_picture_and_a_wrong_one_another(name):
    item = exercise(name)
    for answer in item.right_answers[:1]:
        sight = see(name, {name: answer.function})
        assert SAME in sight.verdict, answer.name
        for mine, theirs in zip(sight.mine, sight.theirs, strict=True):
            torch.testing.assert_close(mine.numbers(), theirs.numbers(), rtol=1e-3, atol=1e-4)
    mistakes = [wrong for wrong in item.wrong_answers if wrong.symptom is None][:5]
    seen = [see(name, {name: wrong.function}) for wrong in mistakes]
    assert sum(SAME not in sight.verdict for sight in seen) > len(seen) / 2


def test_samples_without_noise_are_seen_to_be_too_narrow():
    """A fact about DDPM that the picture must show: without its noise the samples come out too narrow."""

    def ddpm_step(x, t, eps, betas, noise, variance):
        return exercise("ddpm_step").reference(x, t, eps, betas, torch.zeros_like(noise), variance)

    sight = see("ddpm_step", {"ddpm_step": ddpm_step})
    (mine,), (theirs,) = sight.mine, sight.theirs
    assert isinstance(theirs, Items)
    assert abs(float(theirs.values.std()) - 0.5) < 0.05  # the data of the chapter: N(1.5, 0.5^2)
    assert float(mine.values.std()) < 0.3
    assert "Yours differs from ours" in sight.verdict
    assert "yours" in sight.text and f"{float(mine.values.mean()):.3g}" in sight.text
    assert "Yours: 1500 points" in sight.figure.alt
    assert 'alt="' in sight.html and "data:image/png" in sight.html


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x, *_: x[:3], "a tensor of shape (3, 1), and the course needs a tensor of shape (1500, 1)"),
        (lambda x, *_: None, "nothing (is there a `return`?)"),
        (lambda x, *_: 1 / 0, "ZeroDivisionError"),
        (lambda x, *_: x * torch.nan, "nan or infinite: 100%"),
        (lambda x, *_: x * 1e30, "nan or infinite"),
    ],
    ids=["shape", "nothing", "raises", "nan", "explodes"],
)
def test_what_goes_wrong_is_told_and_still_drawn(function, words, capfd):
    sight = see("ddpm_step", {"ddpm_step": function})
    assert words in sight.verdict
    assert sight.figure is not None and "Traceback" not in sight.text
    assert sight.html
    assert capfd.readouterr().err == ""


def test_a_curve_is_shown_where_the_samples_after_it_cannot_be():
    sight = see("alpha_bar", {"alpha_bar": lambda betas: torch.cumsum(1 - betas, dim=0)})
    assert len(sight.mine) == 1 and len(sight.theirs) == 2
    assert "must decrease" in sight.verdict


def test_an_endless_loop_is_stopped(monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 0.3)

    def gaussian_w2(mean1, cov1, mean2, cov2):
        while True:
            time.sleep(0.01)

    assert "endless loop" in see("gaussian_w2", {"gaussian_w2": gaussian_w2}).verdict


def test_a_loss_that_teaches_nothing_says_so():
    def eps_loss(model, x0, t, noise, alpha_bar):
        return exercise("eps_loss").reference(model, x0, t, noise, alpha_bar).detach()

    assert "nothing can be learned" in see("eps_loss", {"eps_loss": eps_loss}).verdict.lower()


def test_what_is_not_there_or_not_written_is_said():
    def ddpm_step(x, t, eps, betas, noise, variance):
        raise NotImplementedError

    assert "not written yet" in see("ddpm_step", {"ddpm_step": ddpm_step}).verdict
    absent = see("ddpm_step", {})
    assert "no function ddpm_step yet" in absent.verdict and absent.figure is None


def test_a_wrong_helper_is_replaced_and_named():
    space = {"torch": torch}
    code = "def alpha_bar(betas):\n    return betas\ndef linear_betas(T, beta_start, beta_end):\n"
    code += "    alpha_bar(torch.ones(3) / 2)\n    return torch.linspace(beta_start, beta_end, T)\n"
    exec(code, space)
    assert "Drawn with our alpha_bar" in see("linear_betas", space).note


def test_a_session_prints_and_saves_its_picture_and_draws_none_while_grading(monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    lab = start("normal_1d", {"q_sample": exercise("q_sample").reference})
    lab.see("q_sample")
    out, err = capfd.readouterr()
    assert SAME in out and err == ""
    assert (tmp_path / "runs/normal_1d/see_q_sample.png").read_bytes().startswith(b"\x89PNG")
    lab.see("nothing_like_it")
    assert "there is no exercise" in capfd.readouterr().out
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    lab.see("q_sample")
    assert "left out while grading" in capfd.readouterr().out


def test_every_exercise_has_its_scene():
    assert scenes().keys() >= {item.name for item in EVERY}


@pytest.mark.slow
@pytest.mark.parametrize("item", EVERY, ids=[item.name for item in EVERY])
def test_what_is_right_looks_right(item):
    sight = see(item.name, {item.name: item.reference})
    assert SAME in sight.verdict
    assert sight.says and sight.figure is not None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("check_ddpm_step", "the piece that it checks: ddpm_step"),
        ("train_step", "run the last cells of its notebook"),
        ("ddpm_stop", "did you mean ddpm_step"),
    ],
)
def test_what_has_no_picture_says_where_to_look(name, words):
    with pytest.raises(LabError, match=words):
        see(name, {name: len})
