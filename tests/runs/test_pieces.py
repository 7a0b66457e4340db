"""The caller's own pieces: used where they fit, refused before training where they do not."""

from __future__ import annotations

import pytest
import torch

from diffusion_lab import run_chapter, schedules, targets
from diffusion_lab.chapters import run as running
from diffusion_lab.errors import PieceError


@pytest.fixture
def no_training(monkeypatch):
    """A piece must be refused before training begins."""

    def fails(*_, **__):
        raise AssertionError("training began with a piece that does not fit")

    monkeypatch.setattr(running.Trainer, "fit", fails)


def cosine_path(t):
    return torch.cos(t * torch.pi / 2), torch.sin(t * torch.pi / 2)


class Doubles(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, t):
        return torch.cat([x, x], dim=1) * self.scale


BAD = {
    "unknown slot": ({"sampler": "ddim"}, r"no slot 'sampler'; the slots are schedule, target, loss, step, network"),
    "schedule name": ({"schedule": "cosin"}, r"slot 'schedule': there is no 'cosin'.*cosine"),
    "schedule number": ({"schedule": 3}, r"slot 'schedule': got int"),
    "schedule shape": (
        {"schedule": lambda t: t.sum()},
        r"slot 'schedule': for t of shape \(33,\) it returned a tensor \(\)",
    ),
    "schedule rises": ({"schedule": lambda t: (t, 1 - t)}, r"slot 'schedule': t = 0 is data"),
    "schedule bends": (
        {"schedule": lambda t: (torch.ones_like(t), torch.sin(3 * t))},
        r"alpha / sigma must fall as t grows from data to noise",
    ),
    "schedule sums": ({"schedule": torch.linspace(0.1, 5, 10).cumsum(0)}, r"cumulative product"),
    "schedule crash": ({"schedule": lambda t: t / 0 + undefined_name}, r"raised NameError.*test_pieces.py:\d+"),  # noqa: F821
    "target shape": ({"target": lambda level: level.alpha}, r"slot 'target': for two levels it returned a tensor"),
    "target at zero SNR": (
        {"schedule": "zero_terminal_linear", "target": "eps"},
        r"target 'eps' cannot be used with schedule 'zero_terminal_linear'",
    ),
    "loss mean": (
        {"loss": lambda net, x0, eps, level, cond: net(x0, level.t.flatten()).mean()},
        r"slot 'loss'.*\(3,\)",
    ),
    "loss detached": (
        {"loss": lambda net, x0, eps, level, cond: (x0 - eps).square().mean(1)},
        r"slot 'loss': its value does not depend on the network's weights",
    ),
    "loss nan": (
        {"loss": lambda net, x0, eps, level, cond: net(x0, level.t.flatten()).sum(1) * torch.nan},
        r"slot 'loss': it is not finite",
    ),
    "step shape": (
        {"step": lambda x, now, after, prediction, context: x[:1]},
        r"slot 'step'.*it returned a tensor \(1, 2\)",
    ),
    "step nan": (
        {"step": lambda x, now, after, p, c: x * (after.sigma / after.sigma)},
        r"slot 'step': it is not finite",
    ),
    "step in place": ({"step": lambda x, now, after, p, c: x.add_(1)}, r"changed its input x in place"),
    "step arguments": ({"step": lambda x: x}, r"slot 'step': it raised TypeError"),
    "network class": ({"network": torch.nn.Linear}, r"slot 'network': got type"),
    "network output": ({"network": Doubles()}, r"slot 'network': for x \(3, 2\) it returned a tensor \(3, 4\)"),
    "network frozen": ({"network": torch.nn.Identity()}, r"no parameters to train"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_piece_that_does_not_fit_is_refused_before_training(case, no_training):
    pieces, message = BAD[case]
    with pytest.raises(PieceError, match=message):
        run_chapter("normal_2d", budget="smoke", **pieces)


def test_a_chapter_of_tokens_has_no_target(no_training):
    with pytest.raises(PieceError, match=r"no use in chapter 'games'.*uniform, bits"):
        run_chapter("games", budget="smoke", target="eps")


def test_unknown_chapters_variants_and_budgets_name_what_there_is(no_training):
    with pytest.raises(PieceError, match=r"'mnits'.*normal_1d, .*games, heartbeats, points, satellite, or 1 to 13"):
        run_chapter("mnits")
    with pytest.raises(PieceError, match=r"no variant 'bit'; its variants are uniform, bits"):
        run_chapter("games", variant="bit")
    with pytest.raises(Exception, match=r"no budget 'big'; the budgets are smoke, quick, full"):
        run_chapter("spiral", budget="big")


def test_a_right_piece_of_ones_own_reproduces_the_reference_to_the_digit():
    def my_ddim(x, now, after, prediction, context):
        return after.alpha * prediction.x0 + after.sigma * prediction.eps

    def my_loss(network, x0, eps, level, cond):
        x = level.alpha * x0 + level.sigma * eps
        wanted = level.alpha * eps - level.sigma * x0
        return (network(x, level.t.flatten()) - wanted).square().flatten(1).mean(1)

    reference = run_chapter("normal_2d", budget="smoke", seed=4)
    own = run_chapter("normal_2d", budget="smoke", seed=4, step=my_ddim, loss=my_loss)
    assert torch.equal(reference.samples, own.samples)
    assert [score.value for score in reference.scores] == [score.value for score in own.scores]
    assert own.own_pieces["loss"].endswith("my_loss")
    assert reference.own_pieces == {}


def test_a_wrong_piece_of_ones_own_changes_the_result():
    reference = run_chapter("normal_2d", budget="smoke")
    wrong = run_chapter("normal_2d", budget="smoke", step=lambda x, now, after, p, c: after.alpha * p.x0)
    assert wrong.scores[0].value > reference.scores[0].value


def test_every_slot_takes_an_object_a_name_or_a_function():
    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 2)

        def forward(self, x, t):
            return self.layer(torch.cat([x, t[:, None]], dim=1))

    report = run_chapter(
        "normal_2d",
        budget="smoke",
        schedule=cosine_path,
        target=lambda level: (torch.ones_like(level.alpha), torch.zeros_like(level.alpha)),
        loss="min_snr",
        step="heun",
        network=Small(),
    )
    assert set(report.own_pieces) == {"schedule", "target", "loss", "step", "network"}
    assert report.network.startswith("Small")
    assert report.loss_floor is None, "the floor of the chapter's own loss does not hold for another one"
    by_object = run_chapter("normal_2d", budget="smoke", schedule=schedules.cosine(), target=targets.v)
    by_name = run_chapter("normal_2d", budget="smoke", schedule="cosine", target="v")
    assert torch.equal(by_object.samples, by_name.samples)
