"""The lab of chapter 9: its second notebook."""

from diffusion_lab.exercises.checks import INTRODUCTION
from diffusion_lab.exercises.record import Notebook
from diffusion_lab.exercises.text import bug, check_round_to_words, derivation, own_number

RECALL = f"""
This lab belongs to chapter 9, in which vectors become words.
{INTRODUCTION}
"""

LAB = Notebook(
    chapter="text",
    name="text_lab",
    recall=RECALL,
    exercises=(own_number.TASK, derivation.TASK, check_round_to_words.TASK, bug.TASK),
)
