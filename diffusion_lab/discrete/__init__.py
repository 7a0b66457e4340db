"""Diffusion of tokens instead of numbers: cells of a board, letters, words by index."""

from diffusion_lab.discrete.losses import cross_entropy_loss, variational_bound
from diffusion_lab.discrete.process import DiscreteProcess, draw
from diffusion_lab.discrete.samplers import ancestral, keeping, token_denoiser

__all__ = [
    "DiscreteProcess",
    "ancestral",
    "cross_entropy_loss",
    "draw",
    "keeping",
    "token_denoiser",
    "variational_bound",
]
