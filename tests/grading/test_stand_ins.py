"""Pieces that call pieces: a fault counts once, and the student's functions are left as they were."""

from __future__ import annotations

import functools

import pytest
import torch

from diffusion_lab.exercises import exercise
from diffusion_lab.grading.notebook import stand_ins
from diffusion_lab.grading.notebook.stand_ins import check_piece, check_pieces, reached

NOTE = "Checked with our q_sample, because yours is not right yet."


def define(namespace: dict, source: str) -> None:
    exec(compile(source, "student's", "exec"), namespace)


EPS_LOSS = """
def eps_loss(model, x0, t, noise, alpha_bar):
    return (model(q_sample(x0, t, noise, alpha_bar), t) - noise).square().reshape(len(x0), -1).mean(1)
"""
WRONG_Q_SAMPLE = """
def q_sample(x0, t, noise, alpha_bar):
    return x0 + noise
"""


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(stand_ins, "_known", {})


def test_a_right_piece_on_a_right_one_has_no_note(namespace):
    define(namespace, EPS_LOSS)
    verdict = check_piece("eps_loss", namespace)
    assert verdict.passed and verdict.note == ""


@pytest.mark.parametrize(
    "other",
    [
        WRONG_Q_SAMPLE,
        "def q_sample(x0, t, noise, alpha_bar):\n    raise NotImplementedError()",
        "def q_sample(x0, t):\n    return x0",
        "q_sample = None",
        "del q_sample",
    ],
    ids=["wrong", "not written", "crashes", "no function", "missing"],
)
def test_a_piece_is_checked_with_ours_where_the_one_it_calls_is_not_right(other, namespace):
    define(namespace, EPS_LOSS + other)
    before = dict(namespace)
    verdict = check_piece("eps_loss", namespace)
    assert verdict.passed and verdict.note == NOTE
    assert namespace.keys() == before.keys()
    assert all(namespace[key] is before[key] for key in before)


def test_a_wrong_piece_is_still_wrong_with_ours(namespace):
    define(namespace, EPS_LOSS.replace("- noise", "- x0") + WRONG_Q_SAMPLE)
    verdict = check_piece("eps_loss", namespace)
    assert verdict.state == "failed" and NOTE in verdict.note
    assert [idea.name for idea in verdict.ideas] == ["compares with the data"]


INDIRECT = {
    "helper": """
def noisy(*arguments): return q_sample(*arguments)
def eps_loss(model, x0, t, noise, alpha_bar):
    return (model(noisy(x0, t, noise, alpha_bar), t) - noise).square().reshape(len(x0), -1).mean(1)
""",
    "inner": """
def eps_loss(model, x0, t, noise, alpha_bar):
    def one(): return q_sample(x0, t, noise, alpha_bar)
    return (model(one(), t) - noise).square().reshape(len(x0), -1).mean(1)
""",
    "class": """
class Forward:
    def __call__(self, *arguments): return q_sample(*arguments)
forward = Forward()
def eps_loss(model, x0, t, noise, alpha_bar):
    return (model(forward(x0, t, noise, alpha_bar), t) - noise).square().reshape(len(x0), -1).mean(1)
""",
    "decorator": """
def spoken(f):
    def g(*arguments): return f(*arguments)
    return g
@spoken
def eps_loss(model, x0, t, noise, alpha_bar):
    return (model(q_sample(x0, t, noise, alpha_bar), t) - noise).square().reshape(len(x0), -1).mean(1)
""",
    "no_grad": """
@torch.no_grad()
def forward(*arguments): return q_sample(*arguments)
def eps_loss(model, x0, t, noise, alpha_bar):
    return (model(forward(x0, t, noise, alpha_bar), t) - noise).square().reshape(len(x0), -1).mean(1)
""",
    "partial": """
import functools
def noisy(alpha_bar, x0, t, noise): return q_sample(x0, t, noise, alpha_bar)
def plain(model, x0, t, noise, alpha_bar):
    forward = functools.partial(noisy, alpha_bar)
    return (model(forward(x0, t, noise), t) - noise).square().reshape(len(x0), -1).mean(1)
eps_loss = functools.partial(plain)
""",
}


@pytest.mark.parametrize("how", INDIRECT)
def test_calls_through_helpers_are_found(how, namespace):
    define(namespace, INDIRECT[how] + WRONG_Q_SAMPLE)
    verdict = check_piece("eps_loss", namespace)
    assert verdict.passed and verdict.note == NOTE


def test_a_piece_two_calls_away_is_replaced_too(namespace):
    define(namespace, "def alpha_bar(betas):\n    return betas")
    define(
        namespace,
        """
def ddpm_mean(x, t, eps, betas):
    kept = alpha_bar(betas)
    return (x - betas[t] / (1 - kept[t]).sqrt() * eps) / (1 - betas[t]).sqrt()
def ddpm_step(x, t, eps, betas, noise, variance):
    kept = alpha_bar(betas)
    s = betas[t] if variance == "beta" or t == 0 else (1 - kept[t - 1]) / (1 - kept[t]) * betas[t]
    return ddpm_mean(x, t, eps, betas) + (s.sqrt() * noise if t > 0 else 0)
""",
    )
    states = {v.exercise: (v.state, v.note) for v in check_pieces(namespace, ["alpha_bar", "ddpm_step"])}
    assert states["alpha_bar"][0] == "failed"
    assert states["ddpm_step"] == ("passed", "Checked with our alpha_bar, because yours is not right yet.")


def test_a_local_or_an_attribute_of_the_same_name_is_no_call(namespace):
    define(namespace, "def q_sample(x0, t, noise, alpha_bar):\n    return x0\n")
    define(
        namespace,
        "def alpha_bar(betas):\n    q_sample = (1 - betas).cumprod(0)\n    return q_sample\nalpha_bar.q_sample = 1\n",
    )
    assert check_piece("alpha_bar", namespace).note == ""
    assert not any(key == "q_sample" for _, key in reached(namespace["alpha_bar"], namespace))


def test_pieces_that_call_each_other_or_themselves_end(namespace):
    define(
        namespace,
        "def alpha_bar(betas):\n    return q_sample(betas, 0, 0, 0)\n"
        "def q_sample(x0, t, noise, abar):\n    return alpha_bar(x0)\n"
        "def optimal_eps(*a):\n    return optimal_eps(*a)\n",
    )
    states = [v.state for v in check_pieces(namespace, ["alpha_bar", "q_sample", "optimal_eps"])]
    assert states == ["failed"] * 3


def test_a_piece_used_by_many_is_checked_once_until_it_changes(namespace, monkeypatch):
    checked = []
    whole = stand_ins.check
    monkeypatch.setattr(stand_ins, "check", lambda item, *rest: checked.append(item.name) or whole(item, *rest))
    define(namespace, EPS_LOSS)
    check_piece("eps_loss", namespace)
    check_piece("eps_loss", namespace)
    assert checked == ["q_sample", "eps_loss", "eps_loss"]
    define(namespace, WRONG_Q_SAMPLE)
    assert check_piece("eps_loss", namespace).note == NOTE
    define(namespace, "FACTOR = 1\ndef q_sample(x0, t, noise, alpha_bar):\n    return FACTOR * x0")
    check_piece("eps_loss", namespace)
    checked.clear()
    namespace["FACTOR"] = torch.ones(2)
    check_piece("eps_loss", namespace)
    assert checked == ["q_sample", "eps_loss"], "what it looks up has changed"


MISSING = {
    "near miss": ("def alphabar(betas): pass", "You have alphabar; the course asks for alpha_bar."),
    "upper case": ("def Alpha_Bar(betas): pass", "You have Alpha_Bar; the course asks for alpha_bar."),
    "typing slip": ("def alhpa_bar(betas): pass", "You have alhpa_bar; the course asks for alpha_bar."),
    "nothing": ("", "There is no function alpha_bar yet: alpha_bar(betas: "),
    "tensor": ("alpha_bar = torch.zeros(3)", "`alpha_bar` is a Tensor here, and must be a function."),
    "number": ("alpha_bar = 3", "`alpha_bar` is an int here, and must be a function."),
}


@pytest.mark.parametrize("case", MISSING)
def test_a_missing_piece_names_what_is_there(case, namespace):
    source, message = MISSING[case]
    del namespace["alpha_bar"]
    define(namespace, source)
    verdict = check_piece("alpha_bar", namespace)
    assert verdict.state == "missing" and verdict.points == 0
    assert verdict.note.startswith(message)


def test_the_fault_of_a_cell_is_told_in_its_place(namespace):
    del namespace["alpha_bar"]
    verdict = check_pieces(namespace, ["alpha_bar"], faults={"alpha_bar": "cell 5, line 1: SyntaxError"})[0]
    assert verdict.note == "cell 5, line 1: SyntaxError"


def test_library_functions_are_not_searched(namespace):
    namespace["shout"] = functools.partial(torch.nn.functional.mse_loss, reduction="none")
    define(namespace, "def alpha_bar(betas):\n    shout(betas, betas)\n    return torch.cumprod(1 - betas, 0)")
    homes = {id(namespace)}
    assert {where for where, _ in reached(namespace["alpha_bar"], namespace)} == homes
    namespace["alpha_bar"] = exercise("alpha_bar").reference
    assert reached(namespace["alpha_bar"], namespace) == {}
