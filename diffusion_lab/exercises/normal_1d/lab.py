"""The lab of chapter 1: its second notebook."""

from diffusion_lab.exercises.checks import INTRODUCTION
from diffusion_lab.exercises.normal_1d import check_ddpm_step
from diffusion_lab.exercises.record import Notebook

RECALL = f"""
This lab belongs to chapter 1. In its notebook you have written the pieces of a diffusion in one dimension.
{INTRODUCTION}
"""

LAB = Notebook(
    chapter="normal_1d",
    name="normal_1d_lab",
    recall=RECALL,
    exercises=(check_ddpm_step.TASK,),
)
