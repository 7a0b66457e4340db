"""What an exercise's quantities are, in a few words: from its docstring, else in the words of the whole course."""

from __future__ import annotations

import inspect
import re
from functools import lru_cache

from diffusion_lab.exercises import Exercise

COURSE = {
    "alpha_bar": "what is left of the data's variance at each step",
    "alpha_bar_t": "what is left of the data's variance at level t",
    "alpha_bar_s": "what is left of the data's variance at level s",
    "betas": "the variance of the noise that each step adds",
    "sigma": "the standard deviation of the noise",
    "noise": "standard normal",
    "eps": "the guessed noise",
    "x0": "the clean data",
    "pred": "the estimated data",
    "x": "the noisy data",
    "x_t": "the noisy data",
    "data": "the clean data",
    "images": "the clean data",
    "noisy": "the noisy data",
    "score": "the gradient of the log-density",
    "velocity": "the velocity of the path",
    "model": "the network",
    "network": "the network",
    "denoise": "the network",
    "t": "the time of each sample",
    "t_next": "the time to go to",
    "mean": "the mean of the clean data",
    "std": "the standard deviation of the clean data",
    "cov": "the covariance of the clean data",
    "means": "the means of the components",
    "covs": "the covariances of the components",
    "weights": "the weights of the components",
    "mean1": "the first mean",
    "mean2": "the second mean",
    "cov1": "the first covariance",
    "cov2": "the second covariance",
    "first": "the noise at amount 0",
    "second": "the noise at amount 1",
    "amount": "how far from the first to the second",
    "eta": "how much of the ancestral noise",
    "rho": "the root in which steps are equal",
    "gamma": "the largest SNR that counts",
    "shift": "how far towards the noise the times move",
    "max_beta": "the largest variance of one step",
    "max_period": "the longest period",
    "levels": "the levels before, now and next",
    "steps": "how many steps",
    "mask": "True where a value counts",
    "labels": "the label of each sample",
    "uniform": "a uniform number for each sample",
    "decay": "how much of the average stays",
    "samples": "the generated samples",
    "train": "the training points",
    "a": "the first set",
    "b": "the second set",
    "features1": "the first set of features",
    "features2": "the second set of features",
    "p_x0": "the network's probabilities of each token",
    "logits": "the network's logits of each token",
    "Q": "the transition matrix of each step",
    "Q_bar": "the product of the matrices up to each step",
    "last": "the estimate of the step before",
    "reference_length": "the length that the schedule fits",
}
"""parameter -> what it is, wherever an exercise has no better words for it."""
OTHERWISE = {
    "masked_x0_loss": {"mask": "True for real words"},
    "rounding_loss": {"mask": "True for real words", "std": "the standard deviation around each word"},
    "inpaint_step": {"mask": "True where the value is known"},
    "repaint_jump": {"s": "the level to come back to", "t": "the noisier level"},
    "ddim_invert_step": {"s": "the level now", "t": "the noisier level"},
    "multiresolution_stft_loss": {"a": "the estimated sounds", "b": "the true sounds"},
    "clamp_x0": {"x0": "the estimate of the embeddings"},
    "ddpm_step": {"t": "the step"},
    "denoise_from": {"steps": "how many steps"},
    "dynamic_threshold": {"x0": "the estimates of the images"},
    "transition_matrix": {"alpha_bar_t": "the probability that a token is still its own"},
    "d3pm_bound": {"x0": "the clean tokens", "x_t": "the noisy tokens"},
    "d3pm_loss": {"x0": "the clean tokens"},
    "unmask_step": {"x": "the board so far"},
}
"""The exercises where a name of the course means something of its own."""
PHRASE = re.compile(
    r"(the|a|an|how|what|which|fresh|clean|noisy|pure|sampled|all|true|estimated|covariance|standard|window|units)\b"
)
"""How words begin that can stand for the quantity, and are no range, shape or condition."""


@lru_cache(maxsize=128)
def meanings(exercise: Exercise) -> dict[str, str]:
    """parameter -> what it is: in the few words that the exercise's docstring has for it, or in those of the course."""
    text = inspect.getdoc(exercise.reference) or ""
    found = {}
    for name in exercise.parameters:
        line = re.search(rf"^ +{re.escape(name)}: (.*)$", text, re.M)
        words = re.sub(r"^\([^)]*\)( int64)?[,.]? *", "", line.group(1)) if line else ""
        words = re.split(r"[.;:([]|, ", words)[0].strip().removesuffix(" of any rank")
        own = OTHERWISE.get(exercise.name, {}).get(name)
        if own is None and 8 < len(words) < 45 and PHRASE.match(words) and not re.search(r" (is|in|or)\b", words + " "):
            own = words
        if own or name in COURSE:
            found[name] = own or COURSE[name]
    return found
