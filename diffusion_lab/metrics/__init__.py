"""Scores for generated samples, each a pure function on tensors, and each to be read beside its own floor.

`Score` and `floor_of` say what a score is. The rest is by the kind of data:

- normal distributions: `gaussian`; mixtures: `mixture`; points: `energy`; clouds of points: `clouds`; curves: `curve`
- images: `classifier`, `classifier_cache` and `frechet`; from satellites also `spectrum` and `cloud_cover`
- audio: `audio` and `noise_removal`; electrocardiograms: `heartbeats`
- words and sentences: `words`; game boards: `games`
"""

from __future__ import annotations

from diffusion_lab.metrics.audio import (
    audio_frechet_distance,
    log_spectral_distance,
    pairwise_log_spectral_distance,
    power_spectral_density,
    spectral_features,
)
from diffusion_lab.metrics.classifier import FeatureClassifier, accuracy_of, train_classifier
from diffusion_lab.metrics.classifier_cache import cached_classifier, load_classifier, save_classifier
from diffusion_lab.metrics.cloud_cover import cloud_mask, image_covariance, kriging
from diffusion_lab.metrics.clouds import (
    chamfer_distance,
    chamfer_distances,
    coverage,
    earth_movers_distance,
    earth_movers_distances,
    minimum_matching_distance,
    nearest_neighbour_accuracy,
)
from diffusion_lab.metrics.curve import CurveDistance, coverage_along_curve, distance_to_curve
from diffusion_lab.metrics.energy import energy_distance, random_directions, sliced_wasserstein
from diffusion_lab.metrics.frechet import class_balance, confidence, frechet_distance
from diffusion_lab.metrics.games import (
    board_codes,
    board_total_variation,
    legality_rate,
    pair_total_variation,
    reconstruction_accuracy,
)
from diffusion_lab.metrics.gaussian import Moments, gaussian_w2, moments, sample_w2
from diffusion_lab.metrics.heartbeats import (
    agreement,
    beat_features,
    r_peaks,
    rhythm_distance,
    rr_intervals,
    train_beat_judge,
)
from diffusion_lab.metrics.mixture import mean_log_likelihood, mode_weights, nearest_mean, total_variation
from diffusion_lab.metrics.noise_removal import si_sdr, wiener_filter
from diffusion_lab.metrics.score import Score, floor_of, random_rows
from diffusion_lab.metrics.spectrum import decibels_apart, radial_spectrum, spectrum_distance
from diffusion_lab.metrics.words import nearest_word, sentence_accuracy, word_accuracy

__all__ = [
    "CurveDistance",
    "FeatureClassifier",
    "Moments",
    "Score",
    "accuracy_of",
    "agreement",
    "audio_frechet_distance",
    "beat_features",
    "board_codes",
    "board_total_variation",
    "cached_classifier",
    "chamfer_distance",
    "chamfer_distances",
    "class_balance",
    "cloud_mask",
    "confidence",
    "coverage",
    "coverage_along_curve",
    "decibels_apart",
    "distance_to_curve",
    "earth_movers_distance",
    "earth_movers_distances",
    "energy_distance",
    "floor_of",
    "frechet_distance",
    "gaussian_w2",
    "image_covariance",
    "kriging",
    "legality_rate",
    "load_classifier",
    "log_spectral_distance",
    "mean_log_likelihood",
    "minimum_matching_distance",
    "mode_weights",
    "moments",
    "nearest_mean",
    "nearest_neighbour_accuracy",
    "nearest_word",
    "pair_total_variation",
    "pairwise_log_spectral_distance",
    "power_spectral_density",
    "r_peaks",
    "radial_spectrum",
    "random_directions",
    "random_rows",
    "reconstruction_accuracy",
    "rhythm_distance",
    "rr_intervals",
    "sample_w2",
    "save_classifier",
    "sentence_accuracy",
    "si_sdr",
    "sliced_wasserstein",
    "spectral_features",
    "spectrum_distance",
    "total_variation",
    "train_beat_judge",
    "train_classifier",
    "wiener_filter",
    "word_accuracy",
]
