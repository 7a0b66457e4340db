"""The lab of chapter 2: its second notebook."""

from diffusion_lab.exercises.checks import INTRODUCTION
from diffusion_lab.exercises.normal_2d import bug, check_convert, derivation, own_number
from diffusion_lab.exercises.record import Notebook

RECALL = f"""
This lab belongs to chapter 2, in which a network may be asked for the noise, the data or $v$.
{INTRODUCTION}
"""

LAB = Notebook(
    chapter="normal_2d",
    name="normal_2d_lab",
    recall=RECALL,
    exercises=(own_number.TASK, derivation.TASK, check_convert.TASK, bug.TASK),
)
