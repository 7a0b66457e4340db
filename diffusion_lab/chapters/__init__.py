"""Ten chapters: each one record of data, pieces, budgets and judgement, and one function that runs them."""

from diffusion_lab.chapters.catalogue import BEYOND, NAMES, get
from diffusion_lab.chapters.chapter import Budget, Chapter
from diffusion_lab.chapters.experiment import Experiment
from diffusion_lab.chapters.opening import open_checkpoint
from diffusion_lab.chapters.run import results_folder, run_chapter

__all__ = [
    "BEYOND",
    "NAMES",
    "Budget",
    "Chapter",
    "Experiment",
    "get",
    "open_checkpoint",
    "results_folder",
    "run_chapter",
]
