"""Every wrong answer of the course, handed over as somebody's own code, is found under its name."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from doctor_cases import ALLOWED, BESIDE_A_SAMPLER, EXPECTED, handed

from diffusion_lab.doctor import examine
from diffusion_lab.exercises import library

BOOK = Path(__file__).parents[2] / "book"
WALKS = ("sampling_loop", "eps_loss beside a sampler", "heun_step", "euler_ode_step", "dpmpp_2m_step")
QUICK = [context for context in EXPECTED if context not in WALKS]
CASES = [(context, answer) for context in QUICK for answer in EXPECTED[context]]
SLOW = [(c, answer) for c in EXPECTED if c not in QUICK for answer in EXPECTED[c]]
TELLING = [  # of the slow ones, one for each kind of probe
    ("sampling_loop", "noise at the end"),
    ("euler_ode_step", "straight to the data"),
    ("dpmpp_2m_step", "last estimate ignored"),
]


def found(context: str, answer: str) -> None:
    checkup = examine(**handed(context, answer))
    assert checkup.codes[:1] == (EXPECTED[context][answer],), checkup.as_text()
    first = checkup.findings[0]
    assert not (first.measured == first.expected), first
    assert first.says.endswith((".", ")")), first.says
    assert math.isfinite(first.expected), first
    page, _, section = first.page.partition("#")
    headings = re.findall(r"^#+ (.*)$", (BOOK / f"{page}.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    assert not section or section in slugs, first.page


@pytest.mark.parametrize(("context", "answer"), CASES + TELLING)
def test_a_wrong_answer_is_found_and_named(context: str, answer: str):
    found(context, answer)


@pytest.mark.slow
@pytest.mark.parametrize(("context", "answer"), SLOW)
def test_a_wrong_answer_is_found_and_named_slowly(context: str, answer: str):
    found(context, answer)


def test_every_wrong_answer_has_its_finding_or_its_reason():
    for context, expected in EXPECTED.items():
        if " " in context:
            continue
        names = {wrong.name for wrong in library()[context].wrong_answers}
        assert names - expected.keys() - ALLOWED.get(context, set()) <= BESIDE_A_SAMPLER, context


@pytest.mark.parametrize(
    ("context", "answer"),
    [
        pytest.param(context, answer, marks=pytest.mark.slow if context in WALKS else ())
        for context, answers in ALLOWED.items()
        for answer in sorted(answers)
    ],
)
def test_what_is_a_choice_is_no_finding(context: str, answer: str):
    assert examine(**handed(context, answer)).codes == ()


def test_the_number_of_the_last_step_is_the_forward_deviation():
    """Noise of variance beta_0 at the end, whose root is known."""
    finding = examine(**handed("ddpm_step", "noise of the first step at the end")).findings[0]
    assert finding.measured == pytest.approx(1e-4**0.5, rel=1e-3)
    assert finding.expected == 0


def test_the_order_of_euler_is_one():
    finding = examine(**handed("heun_step", "only euler")).findings[0]
    assert finding.measured == pytest.approx(1, abs=0.15)
    assert finding.expected == 2


def test_the_share_that_an_average_keeps_is_a_power():
    finding = examine(**handed("ema_update", "plain mean")).findings[0]
    assert (finding.measured, finding.expected) == (pytest.approx(0.5**3), pytest.approx(0.8**3))


def test_two_schedules_are_told_by_the_product_of_the_steps():
    """A sampler on half the betas of training: alpha_bar of its steps, by hand."""
    betas = torch.linspace(1e-3, 0.2, 60)
    other = betas / 2

    def sample(network, x):
        left = torch.cumprod(1 - other, dim=0)
        with torch.no_grad():
            for t in reversed(range(60)):
                guess = network(x, torch.full((len(x),), t))
                x = (x - other[t] / (1 - left[t]).sqrt() * guess) / (1 - other[t]).sqrt()
                x = x + other[t].sqrt() * torch.randn_like(x) if t else x
        return x

    findings = {f.code: f for f in examine(betas=betas, sample=sample).findings}
    assert "two-schedules" in findings
    # Both runs start from one x, so that all steps but the first are measured.
    assert findings["two-schedules"].measured == pytest.approx(float((1 - other[:-1]).prod()), rel=1e-3)
    assert findings["two-schedules"].expected == pytest.approx(float((1 - betas[:-1]).prod()), rel=1e-3)
    told = examine(betas=betas, sampling_betas=other).findings[0]
    assert (told.code, told.piece) == ("two-schedules", "sampling schedule")
