"""The schedule: does it start with data, end in noise, and is it the same everywhere?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from diffusion_lab import betas as discrete
from diffusion_lab.chapters.pieces import MOST_LEFT
from diffusion_lab.doctor.calling import Reader, first_tensor
from diffusion_lab.doctor.findings import Finding
from diffusion_lab.doctor.listening import Path
from diffusion_lab.doctor.subject import Diffusion

STEPS = 1000
PURE = 1e-4
"""An alpha below this is pure noise to float32."""
PAGE = "01_normal_1d#drowning-a-number"
ZERO_PAGE = "07_cifar10#a-last-level-that-is-pure-noise"


def path_of(subject: Diffusion) -> tuple[Path, bool]:
    """The levels that the subject's table stands for, and whether it has one; else the linear betas of DDPM."""
    given = True
    if subject.sigmas is not None:
        sigma = subject.sigmas.double()
        alpha = torch.ones_like(sigma)
    else:
        if isinstance(subject.alpha_bar, Tensor):
            alpha_bar = subject.alpha_bar.double()
        elif subject.betas is not None:
            alpha_bar = discrete.alpha_bar_from_betas(subject.betas)
        else:
            alpha_bar, given = discrete.alpha_bar_from_betas(discrete.linear_betas(STEPS)), False
        alpha, sigma = alpha_bar.clamp(0, 1).sqrt(), (1 - alpha_bar).clamp(0, 1).sqrt()
    return Path(alpha, sigma, subject.told or (0.0, float(len(alpha) - 1))), given


def table_for(subject: Diffusion, path: Path) -> tuple[Tensor, Tensor]:
    """betas and alpha_bar (T,) for functions that ask for them, of the dtype of the subject's own tables."""
    kept = path.alpha_bar
    betas = discrete.betas_from_alpha_bar(kept) if subject.betas is None else subject.betas
    own = subject.alpha_bar if isinstance(subject.alpha_bar, Tensor) else subject.betas
    dtype = own.dtype if own is not None and own.is_floating_point() else torch.float32
    return betas.to(dtype), kept.to(dtype)


def examine_betas(subject: Diffusion) -> Iterator[Finding]:
    """betas are variances of noise: inside (0, 1], and small at the start."""
    betas = subject.betas.double()
    if not bool(((betas > 0) & (betas <= 1)).all()):
        worst = betas[(betas <= 0) | (betas > 1) | betas.isnan()][0]
        yield Finding(
            "beta-out-of-range", "betas", "A beta is the variance of the noise that one step adds, so it lies between "
            "0 and 1, and not all of yours do.", "a beta outside", float(worst), 0.02, PAGE,
        )  # fmt: skip
    elif betas[0] > 0.5 and betas[0] > betas[-1]:
        yield Finding(
            "betas-are-alphas", "betas", "These look like alphas, the shares that each step keeps. A beta is the "
            "variance of the noise that a step adds: 1 - alpha.", "the first entry", float(betas[0]),
            float(1 - betas[0]), PAGE,
        )  # fmt: skip
    elif betas[0] > betas[-1]:
        yield Finding(
            "betas-fall", "betas", "Your betas fall from step to step. The first steps add the least noise, and the "
            "last ones the most.", "first beta over last beta", float(betas[0] / betas[-1]), 0.005, PAGE,
        )  # fmt: skip


def examine_alpha_bar(subject: Diffusion, reader: Reader) -> Iterator[Finding]:
    """alpha_bar, or the function that makes it, beside the cumulative product of 1 - beta."""
    betas = subject.betas
    if callable(subject.alpha_bar):
        betas = discrete.linear_betas(STEPS) if betas is None else betas.double()
        found = first_tensor("alpha_bar", reader.call("alpha_bar", subject.alpha_bar, {"betas": betas}))
        if found.ndim != 1 or abs(len(found) - len(betas)) > 1:
            yield Finding(
                "table-length", "alpha_bar", f"It must have one entry for each of the {len(betas)} steps, and it has "
                f"the shape {tuple(found.shape)}.", "entries", found.numel(), len(betas), PAGE,
            )  # fmt: skip
            return
    else:
        found = subject.alpha_bar
    found = found.double()
    if betas is not None:
        wanted = discrete.alpha_bar_from_betas(betas)
        if len(found) != len(wanted) or not torch.allclose(found, wanted, rtol=1e-3, atol=1e-6):
            yield _differs(found, wanted, betas.double())
            return
    if bool(((found < 0) | (found > 1)).any()) or not bool(found.isfinite().all()):
        worst = found[(found < 0) | (found > 1) | ~found.isfinite()][0]
        yield Finding("alpha-bar-out-of-range", "alpha_bar", "alpha_bar is the share of the variance that is still "
                      "data, between 0 and 1, and not all of your entries are.", "an entry outside", float(worst),
                      1.0, PAGE)  # fmt: skip
    elif bool((found.diff() > 0).any()):
        at = int(found.diff().argmax())
        yield Finding("alpha-bar-rises", "alpha_bar", f"alpha_bar is what is left of the data, so it can only fall. "
                      f"Yours rises from entry {at} to {at + 1}; a table of 1 - alpha_bar, or one that starts with the "
                      "noise, does that.", f"rise after entry {at}", float(found.diff().max()), 0.0, PAGE)  # fmt: skip


def _differs(found: Tensor, wanted: Tensor, betas: Tensor) -> Finding:
    """The known mistake that gives this table, or the largest difference."""
    one = torch.ones(1, dtype=torch.float64)
    known: tuple[tuple[Tensor, str, str], ...] = (
        (wanted.sqrt(), "root-of-alpha-bar", "This is the square root of alpha_bar, the factor of the data. alpha_bar "
         "itself is the product of 1 - beta."),
        (1 - betas, "single-step", "This is alpha, what one step keeps. alpha_bar is what all steps so far keep "
         "together: their cumulative product."),
        (torch.cat([one, wanted[:-1]]), "one-step-behind", "Your table is one step behind: entry t must include step "
         "t itself."),
        (torch.cat([one, wanted]), "one-step-behind", "Your table starts with a 1 for the data, so that every entry "
         "is one step behind: entry t must include step t itself."),
        (1 - wanted, "share-of-the-noise", "This is 1 - alpha_bar, the share of the noise. alpha_bar is the share of "
         "the data."),
        (1 - betas.cumsum(0), "sum-for-product", "The betas were added up. Each step keeps a share of what is left, "
         "and shares of shares multiply."),
        (betas.cumsum(0), "sum-for-product", "The betas were added up. alpha_bar is the cumulative product of what "
         "each step keeps, 1 - beta."),
        ((1 - betas).cumsum(0), "sum-for-product", "The shares 1 - beta were added up. Shares of what is left "
         "multiply: alpha_bar is a cumulative product."),
        (betas.cumprod(0), "product-of-betas", "The betas were multiplied. What is left of the data is the product of "
         "1 - beta."),
        (wanted.log(), "logarithms", "These are the logarithms of alpha_bar. Take the exponential at the end."),
        ((1 - betas).flip(0).cumprod(0).flip(0), "product-from-the-end", "The product runs from step t to the last "
         "one. alpha_bar is the product of the steps from 0 to t."),
    )  # fmt: skip
    for table, code, says in known:
        if len(table) == len(found) and torch.allclose(found, table, rtol=1e-3, atol=1e-7):
            entry = min(len(wanted) - 1, len(wanted) // 2)
            return Finding(code, "alpha_bar", says, f"entry {entry}", float(found[entry]), float(wanted[entry]), PAGE)
    if len(found) != len(wanted):
        return Finding("table-length", "alpha_bar", "betas and alpha_bar must have one entry for each step.",
                       "entries of alpha_bar", len(found), len(wanted), PAGE)  # fmt: skip
    at = int((found - wanted).abs().nan_to_num(torch.inf).argmax())
    return Finding("alpha-bar-differs", "alpha_bar", "alpha_bar is not the cumulative product of 1 - beta: your betas "
                   "and your alpha_bar are two different schedules.", f"entry {at}", float(found[at]),
                   float(wanted[at]), PAGE)  # fmt: skip


def examine_ends(path: Path) -> Iterator[Finding]:
    """The first level is nearly data, the last nearly noise."""
    kept = path.alpha_bar
    first, last = float(kept[0]), float(kept[-1])
    if last > MOST_LEFT:
        yield Finding("signal-left", "schedule", f"The last level still holds {last:.2g} of the data's variance, and "
                      "samples start from noise alone, where none is: the network never sees such an input in "
                      "training. Take more steps, larger betas, or rescale the schedule to end at zero.",
                      "last alpha_bar", last, 0.0, ZERO_PAGE)  # fmt: skip
    if first == 1:
        yield Finding("one-step-behind", "schedule", "The first level has no noise at all, so nothing can be learned "
                      "there: entry t is what is left after step t, and the data themselves have no entry.",
                      "first alpha_bar", 1.0, float(kept[1]), PAGE)  # fmt: skip
    if first < 0.9:
        yield Finding("starts-noisy", "schedule", "The first step takes most of the data away at once, so that fine "
                      "detail is never trained. It should leave nearly everything; betas that are standard deviations "
                      "or shares kept do this.", "first alpha_bar", first, 0.9999, PAGE)  # fmt: skip


def examine_last_level(path: Path, prediction: str) -> Iterator[Finding]:
    """In pure noise a guess of the noise says nothing: x0 = (x - sigma eps) / alpha is 0 / 0."""
    if prediction == "eps" and float(path.alpha[-1]) < 1e-6:
        yield Finding("eps-of-pure-noise", "schedule", "The last level is pure noise, and the network guesses the "
                      "noise: there it only repeats x, and the data cannot be found from its answer. Predict v or x0, "
                      "or end the schedule a little earlier.", "last alpha", float(path.alpha[-1]), 0.005,
                      ZERO_PAGE)  # fmt: skip


def examine_sampling_tables(subject: Diffusion, path: Path) -> Iterator[Finding]:
    """Training and sampling must mean the same levels."""
    table: Any = subject.sampling_alpha_bar
    if table is None:
        table = discrete.alpha_bar_from_betas(subject.sampling_betas)
    table, wanted = table.double(), path.alpha_bar
    if len(table) != len(wanted):
        yield Finding("two-schedules", "sampling schedule", "The sampler counts other steps than training does, so "
                      "the network is asked about levels by the wrong number.", "steps", len(table), len(wanted),
                      PAGE)  # fmt: skip
    elif not torch.allclose(table, wanted, rtol=1e-3, atol=1e-6):
        at = int((table - wanted).abs().argmax())
        yield Finding("two-schedules", "sampling schedule", "Training and sampling use different schedules: at the "
                      f"same step {at} the network was trained on another noise level than the sampler believes.",
                      f"alpha_bar at step {at}", float(table[at]), float(wanted[at]), PAGE)  # fmt: skip
