"""The lab of chapter 4: its second notebook."""

from diffusion_lab.exercises.checks import INTRODUCTION
from diffusion_lab.exercises.normal_nd import bug, check_heun_step, derivation, own_number
from diffusion_lab.exercises.record import Notebook

RECALL = f"""
This lab belongs to chapter 4, in which samplers take fewer and better steps.
{INTRODUCTION}
"""

LAB = Notebook(
    chapter="normal_nd",
    name="normal_nd_lab",
    recall=RECALL,
    exercises=(own_number.TASK, derivation.TASK, check_heun_step.TASK, bug.TASK),
)
