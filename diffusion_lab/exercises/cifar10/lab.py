"""The lab of chapter 7: its second notebook."""

from diffusion_lab.exercises.checks import INTRODUCTION
from diffusion_lab.exercises.cifar10 import bug, check_frechet_distance, derivation, own_number
from diffusion_lab.exercises.record import Notebook

RECALL = f"""
This lab belongs to chapter 7, in which pictures are scored by a distance.
{INTRODUCTION}
"""

LAB = Notebook(
    chapter="cifar10",
    name="cifar10_lab",
    recall=RECALL,
    exercises=(own_number.TASK, derivation.TASK, check_frechet_distance.TASK, bug.TASK),
)
