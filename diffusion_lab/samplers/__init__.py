"""Samplers: one loop, and steps that plug into it."""

from diffusion_lab.samplers.inpainting import replacing, resampling
from diffusion_lab.samplers.inversion import invert
from diffusion_lab.samplers.loop import Context, Step, Trajectory, asks_itself, denoise_from, initial_noise, sample
from diffusion_lab.samplers.observing import dps, observing
from diffusion_lab.samplers.steps import (
    STEPS,
    annealed_langevin,
    ddim,
    ddpm,
    dpmpp_2m,
    euler,
    heun,
)
from diffusion_lab.samplers.stochastic import euler_maruyama, noise_rate

__all__ = [
    "STEPS",
    "Context",
    "Step",
    "Trajectory",
    "annealed_langevin",
    "asks_itself",
    "ddim",
    "ddpm",
    "denoise_from",
    "dpmpp_2m",
    "dps",
    "euler",
    "euler_maruyama",
    "heun",
    "initial_noise",
    "invert",
    "noise_rate",
    "observing",
    "replacing",
    "resampling",
    "sample",
]
