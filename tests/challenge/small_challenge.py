"""Rules that a test keeps to in moments."""

from __future__ import annotations

from dataclasses import replace

from diffusion_lab.challenge.rules import rules_of

RULES = replace(rules_of("spiral", "smoke"), seconds=0.3, samples=64, evaluations=(4,))
