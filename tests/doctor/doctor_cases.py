"""The course's wrong answers as somebody's own code: what is handed to the doctor, and what it must say."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffusion_lab.betas import linear_betas
from diffusion_lab.exercises import library
from diffusion_lab.exercises.driving import piece_of

BETAS = linear_betas(1000)
SHORT = linear_betas(100, 1e-3, 0.2)
BEYOND = torch.linspace(-2, 2, 64).reshape(8, 8)


def function_of(exercise: str, answer: str = "") -> Callable:
    """A wrong or right answer by name, as a learner would have written it; the reference for ""."""
    item = library()[exercise]
    if not answer:
        return piece_of(item)
    known = {a.name: a.function for a in (*item.wrong_answers, *item.right_answers)}
    return getattr(known[answer], "__wrapped__", known[answer]) if item.driver else known[answer]


def loop_told_the_step(network: Callable, x: Tensor, betas: Tensor) -> Tensor:
    """DDPM whose network is told the number of the step, as `eps_loss` does."""
    left = torch.cumprod(1 - betas, dim=0)
    with torch.no_grad():
        for t in reversed(range(len(betas))):
            x = (x - betas[t] / (1 - left[t]).sqrt() * network(x, torch.full((len(x),), t))) / (1 - betas[t]).sqrt()
            x = x + betas[t].sqrt() * torch.randn_like(x) if t else x
    return x


def _weighted(f: Callable) -> dict:
    weight = torch.linspace(0.5, 2, 1000)

    def loss(network, x0, t, noise, alpha_bar):
        return f(network, x0, t, noise, alpha_bar, weight)

    return {"betas": BETAS.float(), "loss": loss, "prediction": "v"}


HANDED: dict[str, Callable[[Callable], dict]] = {
    "alpha_bar": lambda f: {"betas": BETAS, "alpha_bar": f},
    "linear_betas": lambda f: {"betas": f(1000, 1e-4, 0.02)},
    "cosine_alpha_bar": lambda f: {"alpha_bar": f(1000, 0.008, 0.999), "prediction": "eps"},
    "q_sample": lambda f: {"betas": BETAS, "q_sample": f},
    "eps_loss": lambda f: {"betas": BETAS, "loss": f, "prediction": "eps"},
    "eps_loss beside a sampler": lambda f: {"betas": SHORT.float(), "loss": f, "sample": loop_told_the_step},
    "v_loss": lambda f: {"betas": BETAS, "loss": f, "prediction": "v"},
    "weighted_loss": _weighted,
    "simple_loss": lambda f: {
        "betas": BETAS.float(), "loss": f, "prediction": "v", "data": torch.linspace(0, 1, 64).reshape(8, 8)
    },
    "ddpm_step": lambda f: {"betas": BETAS, "ddpm_step": f, "data": BEYOND},
    "ddim_step": lambda f: {"betas": BETAS, "ddim_step": f, "data": BEYOND},
    "sampling_loop": lambda f: {"betas": SHORT, "sample": f, "told": (1 / 100, 1.0)},
    "convert": lambda f: {"betas": BETAS, "convert": f},
    "ema_update": lambda f: {"ema_update": f},
    "guided_eps": lambda f: {"guided_eps": f},
    "drop_labels": lambda f: {"drop_labels": f},
    "heun_step": lambda f: {"solver_step": f},
    "euler_ode_step": lambda f: {"flow_step": f},
    "dpmpp_2m_step": lambda f: {"multistep": f},
    "tiny_denoiser": lambda f: {"network": f(8, 16), "told": (0.001, 1.0)},
}  # fmt: skip
"""What is handed over for an answer to an exercise."""


def handed(context: str, answer: str) -> dict:
    """The pieces for one case."""
    return HANDED[context](function_of(context.partition(" ")[0], answer))


def _all(code: str, *answers: str) -> dict[str, str]:
    return dict.fromkeys(answers, code)


EXPECTED: dict[str, dict[str, str]] = {
    "alpha_bar": {
        **_all("sum-for-product", "cumulative sum", "cumulative sum of betas", "cumulative sum of what is kept"),
        **_all("product-of-betas", "product of betas"),
        **_all("single-step", "single steps"),
        **_all("one-step-behind", "one step behind", "starts with one"),
        **_all("root-of-alpha-bar", "square root"),
        **_all("share-of-the-noise", "share of the noise"),
        **_all("alpha-bar-differs", "exponential of the sum", "one minus the product"),
        **_all("logarithms", "logarithms only"),
        **_all("product-from-the-end", "from the last step"),
        **_all("table-length", "only the last step"),
    },
    "linear_betas": {
        **_all("signal-left", "equal ratios"),
        **_all("betas-fall", "from large to small"),
        **_all("betas-are-alphas", "what each step keeps"),
    },
    "cosine_alpha_bar": {
        **_all("one-step-behind", "one step behind", "starts with one", "first step without a beta"),
        **_all("eps-of-pure-noise", "betas not clipped"),
        **_all("alpha-bar-out-of-range", "offset not scaled", "half a turn"),
        **_all("alpha-bar-rises", "betas themselves"),
    },
    "q_sample": {
        **_all("wrong-mixture", "table read backwards"),
        **_all("variance-for-deviation", "missing root of the signal", "missing root of the noise", "no roots"),
        **_all("single-step", "alpha of one step"),
        **_all("signal-and-noise-swapped", "signal and noise swapped"),
        **_all("one-step-off", "counted from one"),
        **_all("roots-add-up", "one minus the root"),
        **_all("data-not-scaled", "data not scaled"),
        **_all("noise-sign", "noise subtracted"),
        **_all("multiplied-twice", "multiplied up again"),
        **_all("one-time-for-all", "step of the first sample"),
        **_all("wrong-axis", "factors along the last axis"),
        **_all("draws-its-own-noise", "fresh noise"),
        **_all("changes-its-input", "in place"),
    },
    "eps_loss": {
        **_all("trained-for-another", "compares with the data"),
        **_all("clean-input", "clean input"),
        **_all("summed", "sum over entries"),
        **_all("not-squared", "absolute error", "root of the mean"),
        **_all("wrong-axis", "factors along the last axis"),
        **_all("cut-off", "cut off from the network"),
        **_all("variance-for-deviation", "no roots in x t"),
        **_all("wrong-target", "compares with the noise as added", "square of the mean"),
        **_all("draws-its-own-noise", "fresh noise"),
    },
    "eps_loss beside a sampler": {
        **_all("told-times-differ", "time one step off", "time as a share"),
        **_all("trained-for-another", "compares with the data"),
    },
    "v_loss": {
        **_all("wrong-target", "v with the other sign", "sum for difference", "coefficients swapped"),
        **_all("wrong-target", "data and noise swapped", "square of the mean"),
        **_all("wrong-target", "v of the noisy data", "missing roots"),
        **_all("trained-for-another", "compares with the noise", "compares with the data"),
        **_all("trained-for-another", "velocity of the straight path"),
        **_all("clean-input", "clean input"),
        **_all("summed", "sum over entries"),
        **_all("wrong-axis", "factors along the last axis"),
        **_all("cut-off", "cut off from the network"),
        **_all("variance-for-deviation", "no roots in x t", "no roots anywhere"),
        **_all("not-squared", "absolute error", "root of the mean"),
        **_all("draws-its-own-noise", "fresh noise"),
    },
    "weighted_loss": {
        **_all("wrong-target", "v with data and noise exchanged"),
        **_all("trained-for-another", "eps kept at zero snr", "x0 as the target"),
        **_all("variance-for-deviation", "no roots in x t", "no roots at all"),
        **_all("clean-input", "clean input"),
        **_all("wrong-target", "sign of v", "factors of v swapped"),
        **_all("not-squared", "absolute error", "root of the error"),
        **_all("raises", "images alone"),
        **_all("cut-off", "cut off from the network"),
    },
    "simple_loss": {
        **_all("wrong-target", "root of the data in v forgotten"),
        **_all("variance-for-deviation", "root of the noise forgotten", "root of the noise in x t forgotten"),
        **_all("data-range", "pixels from 0 to 1"),
        **_all("clean-input", "clean input"),
        **_all("one-time-for-all", "one time for the batch"),
        **_all("level-never-trained", "last step never drawn", "first step never drawn"),
        **_all("trained-for-another", "compares with the noise", "compares with the image"),
        **_all("wrong-target", "sign of v", "factors of v swapped"),
        **_all("variance-for-deviation", "no roots in x t", "no roots at all"),
        **_all("wrong-mixture", "pixels shifted only"),
        **_all("not-squared", "absolute error"),
        **_all("raises", "images alone"),
        **_all("summed", "sum over pixels"),
        **_all("cut-off", "cut off from the network"),
        **_all("changes-its-input", "in place"),
    },
    "ddpm_step": {
        **_all("noise-at-the-end", "noise at the end", "noise of the first step at the end"),
        **_all("noise-at-the-end", "last entry at the first index"),
        **_all("too-little-noise", "no noise at t 1"),
        **_all("variance-for-deviation", "variance as a deviation", "missing root below beta"),
        **_all("too-much-noise", "one variance for both", "posterior of the next step", "posterior upside down"),
        **_all("too-much-noise", "variances exchanged", "ratio of the data"),
        **_all("back-at-once", "alpha bar in front"),
        **_all("step-mean", "single step below beta", "only x scaled back", "nothing done at the end"),
        **_all("all-noise-at-once", "all of the noise"),
        **_all("not-scaled-back", "not scaled back"),
        **_all("scaled-the-wrong-way", "shrunk again"),
        **_all("guess-added", "guessed noise added"),
        **_all("data-beyond-the-clip", "clean data clipped"),
    },
    "ddim_step": {
        **_all("not-finite", "levels swapped", "variance upside down"),
        **_all("step-mean", "direction without minus the variance", "direction minus the deviation"),
        **_all("step-mean", "alpha of one step", "data not scaled back", "roots left out"),
        **_all("no-noise", "eta not used"),
        **_all("too-much-noise", "eta scales the variance", "step between upside down"),
        **_all("variance-for-deviation", "variance as a deviation"),
        **_all("noise-at-the-end", "variance of the forward step"),
        **_all("back-at-once", "data at once", "data at full size"),
        **_all("all-noise-at-once", "data near the end", "old noise left out"),
        **_all("data-beyond-the-clip", "clean data clipped"),
        **_all("draws-its-own-noise", "fresh noise"),
    },
    "sampling_loop": {
        **_all("walks-the-wrong-way", "from clean to noisy", "time backwards"),
        **_all("noise-at-the-end", "noise at the end"),
        **_all("no-noise", "no noise"),
        **_all("last-step-left-out", "last step left out"),
        **_all("starts-late", "first step left out", "one call too many"),
        **_all("asked-twice", "two calls a step"),
        **_all("told-times-differ", "time as a whole number", "time one step early"),
        **_all("variance-for-deviation", "variance for the root"),
        **_all("not-scaled-back", "not widened"),
        **_all("all-noise-at-once", "all noise at once"),
        **_all("samples-blurred", "guess never renewed"),
        **_all("graph-kept", "gradients tracked"),
    },
    "convert": {
        **_all("conversion-wrong", "v with the other sign", "source and target swapped", "alpha and sigma exchanged"),
        **_all("conversion-wrong", "parts of v added", "levels cut off", "factors along the last axis"),
        **_all("conversions-not-inverse", "v sign lost on the way back", "v coefficients swapped"),
        **_all("conversions-not-inverse", "v of the noisy data", "missing roots", "not divided", "v with x for eps"),
        **_all("conversions-not-inverse", "eps and x0 exchanged from v", "v not solved"),
    },
    "ema_update": {
        **_all("decay-swapped", "decay swapped"),
        **_all("statistics-not-averaged", "buffers forgotten", "buffers copied"),
        **_all("entries-lost", "buffers left out"),
        **_all("counter-averaged", "counters averaged", "counters kept", "counters as floats"),
        **_all("average-grows", "average not shrunk"),
        **_all("average-decay", "plain mean"),
        **_all("average-copied", "copied"),
        **_all("average-on-the-graph", "gradients tracked"),
    },
    "guided_eps": {
        **_all("guidance-scale", "one plus w"),
        **_all("drops-while-sampling", "label dropped while sampling"),
        **_all("guidance-stops", "never beyond the label", "scale cut at 1"),
        **_all("guidance-wrong", "guidance off up to 1", "whole guess added", "difference alone", "scaled guess"),
        **_all("guidance-reversed", "guesses swapped", "away from the label"),
        **_all("guidance-clipped", "clipped like an image", "rescaled"),
        **_all("changes-its-input", "in place"),
    },
    "drop_labels": {
        **_all("wrong-null", "zero for no label", "last class for no label", "minus one for no label"),
        **_all("wrong-null", "one beyond null"),
        **_all("wrong-share-dropped", "probability inverted", "one coin for the batch"),
        **_all("wrong-labels-dropped", "upper end dropped", "always the same share", "the first ones"),
        **_all("drops-while-sampling", "dropped at p too"),
        **_all("samples-removed", "samples removed"),
        **_all("changes-its-input", "in place"),
        **_all("wrong-dtype", "floats"),
    },
    "heun_step": {
        **_all("does-not-converge", "slope not divided"),
        **_all("last-step", "correction at the end"),
        **_all("order-below", "states averaged", "only euler", "second slope alone", "old level for the trial"),
        **_all("order-below", "divided by the old level", "denoiser asked at the old level"),
        **_all("order-below", "old state at the new level"),
        **_all("does-not-converge", "corrected from the trial", "slopes added", "slope turned around"),
        **_all("does-not-converge", "slope of the variance", "no correction at small noise"),
        **_all("graph-kept", "graph left"),
    },
    "euler_ode_step": {
        **_all("does-not-converge", "step turned around", "length without sign", "step alone"),
        **_all("does-not-converge", "length of the next time", "whole velocity", "straight to the data"),
        **_all("told-times-differ", "velocity of the next time", "velocity in the middle", "time in thousands"),
        **_all("told-times-differ", "time reversed for the network"),
        **_all("graph-kept", "graph kept"),
        **_all("changes-its-input", "in place"),
    },
    "dpmpp_2m_step": {
        **_all("does-not-converge", "growing exponential", "columns swapped", "whole log snr", "noise scaled up"),
        **_all("another-solver", "ratio of the steps inverted"),
        **_all("order-below", "ratio of the steps forgotten", "whole change", "change turned around"),
        **_all("order-below", "last estimate ignored", "change added to the last", "alpha of the level now"),
        **_all("raises", "no first order start"),
        **_all("not-finite", "zeros before the start", "change of nothing"),
        **_all("last-step", "second order into the data", "change carried into the data", "clean too early"),
    },
    "tiny_denoiser": {
        **_all("time-never-used", "time left out"),
        **_all("samples-mixed", "one time for all", "over the batch"),
        **_all("input-never-used", "input left out"),
        **_all("straight-line", "no bend"),
        **_all("one-sided", "bend at the end"),
        **_all("never-trained", "layers in a list", "cut off"),
        **_all("raises", "a number for each point"),
        **_all("random-while-sampling", "random each time"),
        **_all("changes-its-input", "changed in place"),
    },
}
"""The first finding for each wrong answer."""

ALLOWED: dict[str, set[str]] = {
    # What the statement of an exercise fixes and a diffusion of one's own is free to choose: which betas there are,
    # constant factors and weights of a loss, means in another order, whether an average is changed in place.
    "linear_betas": {"last step missed", "first step missed", "roots in equal steps", "one too many",
                     "standard deviations", "single precision", "end left out", "counted from one"},
    "cosine_alpha_bar": {"cosine not squared", "not divided by the start", "alpha bar clipped", "offset left out",
                         "single precision"},
    "eps_loss": {"mean over the batch", "mean over no axes", "no second axis", "half of the square",
                 "weighted by the noise ratio", "divided by the batch", "mean along the batch"},
    "v_loss": {"mean over the batch", "mean along the batch", "mean over no axes", "no second axis"},
    "weighted_loss": {"weight after the mean", "weights averaged", "weight inside the square", "root of the weight",
                      "divided by the weight", "weight of the step before", "weights of mean 1", "weights of sum 1",
                      "table of mean 1", "sum over entries", "weight of the row", "no weight", "mean of the batch"},
    "simple_loss": {"ends half as often", "mean over the batch"},
    "ema_update": {"in place"},
    # Its walks do not come so close to 0.
    "heun_step": {"midpoint", "no correction close to 0", "something added to the level"},
    # Both draw from the same distribution, or from as good a one.
    "sampling_loop": {"posterior variance", "noise in the order of the loop"},
    "euler_ode_step": {"always towards the data", "second order", "mode changed"},
}  # fmt: skip
"""Wrong answers of the exercises that the doctor takes for a choice."""
BESIDE_A_SAMPLER = {
    "time one step off",
    "time as a share",
    "time as a fraction",
    "time counted from 1",
    "told alpha bar",
}
"""What a network is told is a choice too, unless the sampler tells it something else."""
