"""The lab of chapter 5: its second notebook."""

from diffusion_lab.exercises.checks import INTRODUCTION
from diffusion_lab.exercises.mnist import bug, check_guided_eps, derivation, own_number
from diffusion_lab.exercises.record import Notebook

RECALL = f"""
This lab belongs to chapter 5, in which a label guides the samples.
{INTRODUCTION}
"""

LAB = Notebook(
    chapter="mnist",
    name="mnist_lab",
    recall=RECALL,
    exercises=(own_number.TASK, derivation.TASK, check_guided_eps.TASK, bug.TASK),
)
