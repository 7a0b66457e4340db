"""The lab of chapter 6: its second notebook."""

from diffusion_lab.exercises.checks import INTRODUCTION
from diffusion_lab.exercises.record import Notebook
from diffusion_lab.exercises.spiral import bug, check_flow_path, derivation, own_number

RECALL = f"""
This lab belongs to chapter 6, in which paths between noise and data are straight.
{INTRODUCTION}
"""

LAB = Notebook(
    chapter="spiral",
    name="spiral_lab",
    recall=RECALL,
    exercises=(own_number.TASK, derivation.TASK, check_flow_path.TASK, bug.TASK),
)
