"""Chapter 1, a normal distribution in one dimension: forward process, score, ancestral sampling."""

from diffusion_lab.exercises.normal_1d import alpha_bar, ddpm_step, eps_loss, q_sample
from diffusion_lab.exercises.normal_1d.slots import slots
from diffusion_lab.exercises.record import Notebook

RECALL = r"""
Noise is added to data in many small steps until nothing of them is left, and a network learns to take it away again.
Everything in this chapter is normal, so each thing that the network learns is also known exactly.
"""

NOTEBOOK = Notebook(
    chapter="normal_1d",
    recall=RECALL,
    exercises=(alpha_bar.EXERCISE, q_sample.EXERCISE, eps_loss.EXERCISE, ddpm_step.EXERCISE),
    slots=slots,
)
