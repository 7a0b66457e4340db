"""The course's exercises as data: what to write, its cases, its known wrong answers and its right ones."""

from diffusion_lab.exercises.catalogue import exercise, library, notebook, task, tasks
from diffusion_lab.exercises.drawing import Draw
from diffusion_lab.exercises.record import CARE, Case, Exercise, Notebook, Property, RightAnswer, WrongAnswer
from diffusion_lab.exercises.tasks import Task

__all__ = [
    "CARE",
    "Case",
    "Draw",
    "Exercise",
    "Notebook",
    "Property",
    "RightAnswer",
    "Task",
    "WrongAnswer",
    "exercise",
    "library",
    "notebook",
    "task",
    "tasks",
]
