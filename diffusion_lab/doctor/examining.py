"""The examination: every probe that has what it needs, one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from diffusion_lab.doctor import (
    averages,
    conversions,
    labels,
    loops,
    losses,
    networks,
    noising,
    ranges,
    solvers,
    stepping,
    tables,
)
from diffusion_lab.doctor.calling import Raised, Reader
from diffusion_lab.doctor.findings import Checkup, Finding
from diffusion_lab.doctor.listening import Path
from diffusion_lab.doctor.schedulers import subject_of_scheduler
from diffusion_lab.doctor.subject import Diffusion

TABLES = ("alpha_bar", "betas", "alpha_bar_t", "sigmas")
OF_A_TABLE = ("q_sample", "loss", "ddpm_step", "ddim_step", "sample", "convert", "predict_start_from_noise",
              "predict_noise_from_start", "predict_v", "predict_start_from_v")  # fmt: skip
"""Functions that are about levels: without a table of the subject they are examined only where they ask for ours."""
CONVERSIONS = ("predict_start_from_noise", "predict_noise_from_start", "predict_v", "predict_start_from_v")


class _Examination:
    """Runs probes, and keeps what they find."""

    def __init__(self, subject: Diffusion):
        self.subject, self.given, self.reader = subject, subject, Reader(subject.holder)
        self.findings: list[Finding] = []
        self.examined: list[str] = []
        self.missing: list[str] = []
        self.taken: list[str] = []
        self.guess = ""
        """What to add to an error, where a guess of ours may be its cause."""

    def probe(self, piece: str, what: str, found: Iterable[Any]) -> list[Any]:
        """Take what one probe finds; whatever else it says is returned."""
        self.examined.append(f"{piece}: {what}")
        others = []
        try:
            for item in found:
                (self.findings if isinstance(item, Finding) else others).append(item)
        except Raised as raised:
            self.findings.append(
                Finding("raises", piece, f"{raised}.{self.guess}", "calls that worked", 0, 1, "doctor#your-own"),
            )
        return others


def examine(subject: Any = None, /, **pieces: Any) -> Checkup:
    """Examine a diffusion: its functions are called, in this process, with data whose exact answer is known.

    Args:
        subject: a `Diffusion`, a file's path, a mapping or module of names, or a scheduler of diffusers; or nothing.
        pieces: the fields of `Diffusion`, such as betas=..., q_sample=..., loss=..., in the place of a subject or
            beside one.

    Returns:
        What was found, and what could not be examined.

    Raises:
        SourceError: where a file cannot be read, or a function asks for an argument that nobody knows.
        PieceError: where a table or a function is none.
    """
    from diffusion_lab.doctor.reading import subject_of

    found = subject_of(subject, pieces)
    if found.scheduler is not None:
        own = subject_of_scheduler(found.scheduler)
        found = replace(found, **{k: v for k, v in own.named.items() if getattr(found, k) is None})
    with torch.random.fork_rng(devices=[]):
        return _run(found)


def _run(subject: Diffusion) -> Checkup:
    e = _Examination(subject)
    path = _tables(e)
    if path is None:
        e.missing.append("everything else: it needs a schedule that falls from step to step")
        return _report(e)
    subject = e.subject = _known(e)
    prediction, told = subject.prediction, subject.told
    if subject.q_sample is not None:
        e.probe("q_sample", "the factors of data and noise", noising.examine_noising(subject, e.reader, path))
    if subject.loss is not None:
        learned = e.probe(
            "loss", "what the network is shown, told and compared with",
            losses.examine_loss(losses.LossProbe(subject, e.reader, path)),
        )  # fmt: skip
        if learned:
            prediction, told = prediction or learned[-1].prediction, told or learned[-1].told
    if subject.data is not None:
        scaled = subject.loss is not None and not (learned and learned[-1].pixels is False)
        e.probe("data", "range", ranges.examine_data(subject.data, scaled))
    if prediction is None:
        prediction = "eps"
        if any((subject.ddpm_step, subject.sample)):
            e.taken.append("the network predicts the noise; say prediction = 'x0' or 'v' where it does not")
    elif e.subject.betas is not None or e.subject.alpha_bar is not None:
        e.probe("schedule", "the last level and what is predicted", tables.examine_last_level(path, prediction))
    if told is None:
        told = path.told
    elif subject.told is None:
        first, last = Path(path.alpha, path.sigma, told).ends
        e.taken.append(f"the network is told {first:g} at the first level and {last:g} at the last, as the loss does")
    path = Path(path.alpha, path.sigma, told)
    if subject.network is not None:
        whole = all(float(t).is_integer() for t in path.ends)
        e.probe("network", "time, input, batch, gradients", networks.examine_network(subject, e.reader, path, whole))
    _samplers(e, subject, path, prediction, told)
    _others(e, subject, path)
    return _report(e)


def _known(e: _Examination) -> Diffusion:
    """The subject without the functions that cannot be examined, and with a shape that fits its network."""
    subject, reader, without = e.subject, e.reader, {}
    if not {"betas", "alpha_bar", "sigmas"} & subject.named.keys():
        for piece in OF_A_TABLE:
            function = getattr(subject, piece)
            if function is not None and not any(reader.takes(function, name) for name in TABLES):
                without[piece] = None
                e.missing.append(f"{piece}: it has a table of its own, so hand over betas or alpha_bar beside it")
    if subject.shape is None and subject.data is None:
        shape = networks.fitting_shape(subject, reader) if subject.network is not None else None
        if shape is None and subject.network is not None:
            without["network"] = None
            e.missing.append("network: it takes none of the usual shapes; say the `shape` of one sample")
        elif shape is not None and shape != subject.sample_shape:
            without["shape"] = shape
            e.taken.append(f"one sample has the shape {shape}, which the network takes; say `shape` if it has another")
        else:
            e.guess = f" (A sample had the shape {subject.sample_shape}: say `shape` if yours has another.)"
    return replace(subject, **without)


def _tables(e: _Examination) -> Path | None:
    subject = e.subject
    if subject.betas is not None:
        e.probe("betas", "range and order", tables.examine_betas(subject))
    if subject.alpha_bar is not None:
        e.probe("alpha_bar", "against the product of 1 - beta", tables.examine_alpha_bar(subject, e.reader))
    path, given = tables.path_of(subject)
    if given:
        e.probe("schedule", "both ends", tables.examine_ends(path))
        if not bool((path.alpha_bar.diff() < 0).all()):
            return None
    else:
        e.taken.append("no table was given: functions that ask for one get the linear betas of DDPM, 1,000 steps")
    if subject.sampling_betas is not None or subject.sampling_alpha_bar is not None:
        e.probe("sampling schedule", "against the one of training", tables.examine_sampling_tables(subject, path))
    return path


def _samplers(
    e: _Examination, subject: Diffusion, path: Path, prediction: str, told: tuple[float, float] | str
) -> None:
    subject = replace(subject, prediction=prediction if prediction in ("eps", "x0", "v") else None)
    if subject.ddpm_step is not None:
        found = stepping.examine_step("ddpm_step", subject.ddpm_step, subject, e.reader, path)
        e.probe("ddpm_step", "mean and noise at eight levels", found)
    if subject.ddim_step is not None:
        e.probe("ddim_step", "mean and noise between levels", stepping.examine_ddim(subject, e.reader, path))
    if subject.sample is not None:
        probe = loops.LoopProbe(subject, e.reader, path, subject.prediction or "eps")
        e.probe("sample", "levels, every step, samples of exact data", loops.examine_loop(probe, told))
        if e.reader.takes(subject.sample, "labels"):
            e.probe("sample", "whether labels arrive", labels.examine_loop_labels(probe))
    for piece in ("solver_step", "flow_step", "multistep"):
        if (function := getattr(subject, piece)) is not None:
            e.probe(
                piece, "order of convergence, last step", solvers.examine_solver(piece, function, subject, e.reader)
            )


def _others(e: _Examination, subject: Diffusion, path: Path) -> None:
    if subject.convert is not None:
        e.probe("convert", "known data and noise, all pairs", conversions.examine_convert(subject, e.reader, path))
    for piece in CONVERSIONS:
        if (function := getattr(subject, piece)) is not None:
            found = conversions.examine_predictions(piece, function, subject, e.reader, path)
            e.probe(piece, "known data and noise", found)
    if subject.ema_update is not None:
        e.probe("ema_update", "weights, statistics and counters", averages.examine_average(subject, e.reader))
    if subject.drop_labels is not None:
        e.probe("drop_labels", "which labels go", labels.examine_dropping(subject, e.reader))
    if subject.guided_eps is not None:
        e.probe("guided_eps", "factors of both guesses", labels.examine_guidance(subject, e.reader))


def _report(e: _Examination) -> Checkup:
    given = e.given.named
    if not {"betas", "alpha_bar", "sigmas"} & given.keys():
        e.missing.append("schedule: no betas, alpha_bar or sigmas")
    for name in ("q_sample", "loss", "network", "sample"):
        if name not in given:
            e.missing.append(f"{name}: none was given")
    return Checkup(tuple(e.findings), tuple(e.examined), tuple(e.missing), tuple(e.taken))
