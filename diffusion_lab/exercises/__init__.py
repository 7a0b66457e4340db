"""The course's exercises as data: what to write, its cases, its known wrong answers and its right ones."""

from diffusion_lab.exercises.catalogue import exercise, library, notebook
from diffusion_lab.exercises.drawing import Draw
from diffusion_lab.exercises.record import CARE, Case, Exercise, Notebook, Property, RightAnswer, WrongAnswer

__all__ = [
    "CARE",
    "Case",
    "Draw",
    "Exercise",
    "Notebook",
    "Property",
    "RightAnswer",
    "WrongAnswer",
    "exercise",
    "library",
    "notebook",
]
