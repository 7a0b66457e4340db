"""The worked example of the book's page: the three mistakes in it are found, and mended they are gone."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from diffusion_lab.doctor import Diffusion, examine

PAGE = (Path(__file__).parents[2] / "book" / "doctor.md").read_text(encoding="utf-8")
PATIENT = next(cell for cell in re.findall(r"```\{code-cell\} ipython3\n(.*?)```", PAGE, re.DOTALL) if "betas" in cell)
MENDED = {
    "300)": "1000)",
    "torch.randint(len(betas) - 1": "torch.randint(len(betas)",
    "        x = x + betas[t].sqrt() * torch.randn_like(x)": (
        "        x = x + betas[t].sqrt() * torch.randn_like(x) if t > 0 else x"
    ),
}


def codes(text: str) -> tuple[str, ...]:
    names: dict = {}
    exec(text, names)
    return examine({name: names[name] for name in ("betas", "loss", "sample")}).codes


def test_the_three_mistakes_of_the_page_are_found():
    assert codes(PATIENT) == ("signal-left", "level-never-trained", "noise-at-the-end")


def test_mended_it_is_well():
    text = PATIENT
    for wrong, right in MENDED.items():
        assert wrong in text
        text = text.replace(wrong, right)
    assert codes(text.replace("1e-4, 0.02, 1000", "1e-3, 0.2, 100")) == ()


def test_the_page_names_what_can_be_handed_over():
    named = set(re.findall(r"`(\w+)`", PAGE))
    listed = {field.name for field in fields(Diffusion)}
    unsaid = {"scheduler", "holder", "predict_noise_from_start", "predict_v", "predict_start_from_v"}
    assert listed - named == unsaid
