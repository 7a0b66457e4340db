"""Losses: deterministic functions of the data, the noise and the level, one value per sample."""

from diffusion_lab.losses.audio import multiresolution_stft_loss
from diffusion_lab.losses.distillation import distillation_loss, grid_density, x0_that_lands
from diffusion_lab.losses.penalty import with_penalty
from diffusion_lab.losses.prediction import (
    Loss,
    Weight,
    denoising_score_matching_loss,
    edm_weight,
    flow_matching_loss,
    min_snr_weight,
    prediction_loss,
    uniform_weight,
)
from diffusion_lab.losses.text import masked_mean, rounding_loss

__all__ = [
    "Loss",
    "Weight",
    "denoising_score_matching_loss",
    "distillation_loss",
    "edm_weight",
    "flow_matching_loss",
    "grid_density",
    "masked_mean",
    "min_snr_weight",
    "multiresolution_stft_loss",
    "prediction_loss",
    "rounding_loss",
    "uniform_weight",
    "with_penalty",
    "x0_that_lands",
]
