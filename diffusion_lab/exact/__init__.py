"""Exact truth: distributions whose denoiser, score, density and loss floor are known in closed form."""

from diffusion_lab.exact.finite import FiniteSet
from diffusion_lab.exact.floors import loss_floor
from diffusion_lab.exact.gaussian import Gaussian
from diffusion_lab.exact.mixture import Mixture
from diffusion_lab.exact.tokens import FiniteTokens

__all__ = ["FiniteSet", "FiniteTokens", "Gaussian", "Mixture", "loss_floor"]
