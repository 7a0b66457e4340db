"""The lab of chapter 8: its second notebook."""

from diffusion_lab.exercises.audio import bug, check_ddim_invert_step, derivation, own_number
from diffusion_lab.exercises.checks import INTRODUCTION
from diffusion_lab.exercises.record import Notebook

RECALL = f"""
This lab belongs to chapter 8, in which sounds are taken back to their noise.
{INTRODUCTION}
"""

LAB = Notebook(
    chapter="audio",
    name="audio_lab",
    recall=RECALL,
    exercises=(own_number.TASK, derivation.TASK, check_ddim_invert_step.TASK, bug.TASK),
)
