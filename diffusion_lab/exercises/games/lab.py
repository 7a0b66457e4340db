"""The lab of chapter 10: its second notebook."""

from diffusion_lab.exercises.checks import INTRODUCTION
from diffusion_lab.exercises.games import bug, check_d3pm_posterior, derivation, own_number
from diffusion_lab.exercises.record import Notebook

RECALL = f"""
This lab belongs to chapter 10, in which tokens take the place of numbers.
{INTRODUCTION}
"""

LAB = Notebook(
    chapter="games",
    name="games_lab",
    recall=RECALL,
    exercises=(own_number.TASK, derivation.TASK, check_d3pm_posterior.TASK, bug.TASK),
)
