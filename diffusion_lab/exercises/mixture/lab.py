"""The lab of chapter 3: its second notebook."""

from diffusion_lab.exercises.checks import INTRODUCTION
from diffusion_lab.exercises.mixture import bug, check_langevin_step, derivation, own_number
from diffusion_lab.exercises.record import Notebook

RECALL = f"""
This lab belongs to chapter 3, in which samples walk along a score.
{INTRODUCTION}
"""

LAB = Notebook(
    chapter="mixture",
    name="mixture_lab",
    recall=RECALL,
    exercises=(own_number.TASK, derivation.TASK, check_langevin_step.TASK, bug.TASK),
)
