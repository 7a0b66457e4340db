"""The slots around the network: polishing, guidance, dropped labels, averaged weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffusion_lab import denoisers, open_checkpoint, run_chapter, schedules
from diffusion_lab import train as training
from diffusion_lab.chapters import get
from diffusion_lab.chapters import run as running
from diffusion_lab.chapters.chapter import Budget
from diffusion_lab.errors import PieceError
from diffusion_lab.levels import Prediction
from diffusion_lab.train import Settings


def my_clip(x0):
    return torch.minimum(torch.maximum(x0, torch.tensor(-1.0)), torch.tensor(1.0))


def my_guide(eps_cond, eps_uncond, scale):
    return eps_uncond + scale * (eps_cond - eps_uncond)


def my_drop(labels, p, null, uniform):
    return labels.masked_fill(uniform < p, null)


def my_average(average, online, decay):
    for a, o in zip(average.state_dict().values(), online.state_dict().values(), strict=True):
        a.copy_(torch.lerp(a, o, 1 - decay) if a.is_floating_point() else o)


OWN = {"polish": my_clip, "guide": my_guide, "drop_labels": my_drop, "average": my_average}


@pytest.fixture
def small(monkeypatch):
    """Chapter mnist with a network and a budget that take seconds, scored by one number."""
    whole = get("mnist")
    chapter = replace(
        whole,
        network={"width": 16},
        precision="float32",
        budgets={"smoke": Budget(Settings(steps=6, batch=8), samples=8, sample_steps=3)},
        evaluate=lambda experiment: [],
        exact=None,
    )
    monkeypatch.setattr(running, "get", lambda name, variant="": chapter if name == "mnist" else get(name, variant))

    def run(name="mnist", **pieces):
        return run_chapter(name, budget="smoke", source="bundled", device="cpu", **pieces)

    return run


@pytest.fixture
def no_training(monkeypatch):
    """A piece must be refused before training begins."""

    def fails(*_, **__):
        raise AssertionError("training began with a piece that does not fit")

    monkeypatch.setattr(running.Trainer, "fit", fails)


def test_own_versions_of_the_defaults_give_the_same_samples(small):
    reference, own = small(), small(**{slot: OWN[slot] for slot in ("polish", "drop_labels", "average")})
    assert torch.equal(reference.samples, own.samples)
    assert reference.final_loss == own.final_loss
    assert own.own_pieces == {slot: f"my_{slot.partition('_')[0]}" for slot in ("drop_labels", "average")} | {
        "polish": "my_clip"
    }
    assert reference.own_pieces == {}


def test_an_own_linear_guide_differs_from_the_default_by_rounding_alone(small):
    reference, own = small(), small(guide=my_guide)
    assert own.own_pieces == {"guide": "my_guide"}
    torch.testing.assert_close(own.samples, reference.samples, atol=1e-4, rtol=0)


WRONG = {
    "polish": lambda x0: x0.clamp(-0.5, 0.5),
    "guide": lambda eps_cond, eps_uncond, scale: eps_cond + scale * (eps_cond - eps_uncond),
    "drop_labels": lambda labels, p, null, uniform: torch.where(uniform < 1 - p, null, labels),
    "average": lambda average, online, decay: my_average(average, online, 1 - decay),
}


@pytest.mark.parametrize("slot", WRONG)
def test_a_wrong_piece_changes_the_samples(slot, small):
    assert (small(**{slot: WRONG[slot]}).samples - small().samples).abs().max() > 0.01


def detached_copy(average, online, decay):
    for o in online.parameters():
        o.mul_(decay)
    my_average(average, online, decay)


BAD = {
    "polish number": ({"polish": 1.0}, r"slot 'polish': got float\. It must be a function x0 -> x0"),
    "polish shape": ({"polish": lambda x0: x0.mean()}, r"slot 'polish': for x0 \(3, 1, 28, 28\).*a tensor \(\)"),
    "polish dtype": ({"polish": lambda x0: x0.double()}, r"slot 'polish'.*torch.float64"),
    "polish nan": ({"polish": lambda x0: x0.clamp(min=0).sqrt() / 0}, r"slot 'polish': it is not finite"),
    "polish in place": ({"polish": lambda x0: x0.clamp_(-1, 1)}, r"slot 'polish': it changed its input x0 in place"),
    "polish crash": ({"polish": lambda x0, p: x0}, r"slot 'polish': it raised TypeError"),
    "guide shape": ({"guide": lambda c, u, s: c[:1]}, r"slot 'guide': for eps_cond .* it returned a tensor \(1,"),
    "guide in place": ({"guide": lambda c, u, s: c.sub(u.mul_(s))}, r"changed its input eps_uncond in place"),
    "guide nothing": ({"guide": lambda c, u, s: None}, r"slot 'guide'.*it returned NoneType"),
    "labels float": ({"drop_labels": lambda y, p, null, u: y * (u > p).float()}, r"slot 'drop_labels'.*torch.float32"),
    "labels outside": ({"drop_labels": lambda y, p, null, u: torch.where(u < p, -1, y)}, r"labels are 0 to 9, and 10"),
    "labels in place": (
        {"drop_labels": lambda y, p, null, u: y.masked_fill_(u < p, null)},
        r"changed its input labels in place",
    ),
    "average idle": ({"average": lambda a, o, decay: None}, r"slot 'average': it left the average as it was"),
    "average online": ({"average": detached_copy}, r"slot 'average': it changed the online network"),
    "average module": ({"average": torch.nn.Identity}, r"slot 'average': it raised TypeError|left the average"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_piece_that_does_not_fit_is_refused_before_training(case, small, no_training):
    pieces, message = BAD[case]
    with pytest.raises(PieceError, match=message):
        small(**pieces)


USELESS = {
    "guide without labels": ("normal_1d", {"guide": my_guide}, r"slot 'guide' has no use.*its data have no labels"),
    "drop without labels": ("text", {"drop_labels": my_drop}, r"slot 'drop_labels' has no use.*no labels"),
    "polish of tokens": ("games", {"polish": my_clip}, r"'polish' has no use.*no estimated x0"),
}


@pytest.mark.parametrize("case", USELESS)
def test_a_piece_that_would_never_be_called_is_refused(case, no_training):
    name, pieces, message = USELESS[case]
    with pytest.raises(PieceError, match=message):
        run_chapter(name, budget="smoke", source="bundled", **pieces)


def test_unknown_slots_name_the_new_ones():
    with pytest.raises(PieceError, match="polish, guide, drop_labels, average"):
        run_chapter("mnist", clip=my_clip)


def test_points_can_be_polished_too():
    plain = run_chapter("normal_2d", budget="smoke")
    clipped = run_chapter("normal_2d", budget="smoke", polish=lambda x0: x0.clamp(-0.5, 0.5))
    assert clipped.samples.abs().max() <= 0.5 < plain.samples.abs().max()


@pytest.mark.usefixtures("no_figures")
def test_a_checkpoint_does_without_the_pieces_that_its_weights_do_not_need(tmp_path):
    polished = run_chapter("normal_2d", budget="smoke", out=tmp_path, polish=my_clip, average=my_average)
    experiment = open_checkpoint(tmp_path / "normal_2d" / "checkpoint.safetensors", polish=my_clip)
    assert torch.equal(experiment.draw(), polished.samples)
    assert not torch.equal(open_checkpoint(tmp_path / "normal_2d" / "checkpoint.safetensors").draw(), polished.samples)


@pytest.mark.parametrize("t", [0.1, 0.9, 1.0])
def test_guidance_by_a_rule_for_eps_is_the_guidance_of_both_guesses(t):
    level = schedules.zero_terminal_linear().at(torch.tensor([t, t, 0.5], dtype=torch.float64), like=torch.zeros(3, 2))
    level = type(level)(*(field.double() for field in level))
    generator = torch.Generator().manual_seed(0)
    x, one, other = (torch.randn(3, 2, generator=generator, dtype=torch.float64) for _ in range(3))

    def knowing(x0):
        return lambda x, level: Prediction(x0, (x - level.alpha * x0) / level.sigma)

    expected = denoisers.guided(knowing(one), knowing(other), 2.5)(x, level)
    found = denoisers.guided(knowing(one), knowing(other), 2.5, my_guide)(x, level)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_the_default_pieces_are_the_library_s_own():
    assert training.Source(torch.zeros(1, 2)).drop_labels is training.drop_labels
