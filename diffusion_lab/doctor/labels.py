"""Labels: how many are dropped, and what guidance does with the two guesses."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from diffusion_lab.doctor.calling import Reader, first_tensor, parameters
from diffusion_lab.doctor.findings import Finding
from diffusion_lab.doctor.subject import Diffusion

PAGE = "05_mnist#ask-for-a-seven"
GUIDANCE_PAGE = "05_mnist#what-does-guidance-sample"
CLASSES, MANY = 10, 20_000
PAPER = ("w", "weight", "guidance_weight", "cfg_scale")
"""An argument of this name is taken for the w of Ho & Salimans, which is the scale minus 1."""


def examine_dropping(subject: Diffusion, reader: Reader) -> Iterator[Finding]:
    """drop_labels: the share p, each sample by itself, and none at p = 0."""
    piece = "drop_labels"
    labels = torch.arange(MANY) % CLASSES
    uniform = torch.rand(MANY, generator=torch.Generator().manual_seed(0))
    uniform[0] = 0.0  # a generator can give it

    def ask(p: float, given: Tensor, seed: int = 0) -> Tensor:
        names = {name: p for name in ("p", "prob", "probability", "p_drop", "drop_prob", "p_uncond", "rate")}
        nulls = {name: CLASSES for name in ("null", "null_label", "null_class", "num_classes", "null_token")}
        everything = {"labels": given, "uniform": uniform[: len(given)], **names, **nulls}
        return first_tensor(piece, reader.call(piece, subject.drop_labels, everything, seed))

    given = labels.clone()
    dropped = ask(0.1, given)
    if not torch.equal(given, labels):
        yield Finding("changes-its-input", piece, "It writes into the labels, which belong to the data: in every epoch "
                      "more of them would be gone.", "labels changed", int((given != labels).sum()), 0,
                      PAGE)  # fmt: skip
        return
    if dropped.shape != labels.shape:
        yield Finding("samples-removed", piece, "Every sample stays; only what it says about its class is replaced.",
                      "labels that come back", dropped.numel(), MANY, PAGE)  # fmt: skip
        return
    if dropped.dtype != torch.int64:
        yield Finding("wrong-dtype", piece, "Labels are indices into a table of embeddings and stay int64.",
                      "bits of each number", torch.finfo(dropped.dtype).bits if dropped.dtype.is_floating_point else
                      torch.iinfo(dropped.dtype).bits, 64, PAGE)  # fmt: skip
        return
    changed = dropped != labels
    share = float(changed.double().mean())
    wrong = dropped[changed & (dropped != CLASSES)]
    # A class of its own can stand for none without its samples changing: count what was asked for instead.
    if len(wrong):
        yield Finding("wrong-null", piece, f"Dropped labels become {int(wrong[0])}, which is not the label {CLASSES} "
                      "that stands for none.", "the label of a dropped sample", int(wrong[0]), CLASSES,
                      PAGE)  # fmt: skip
        return
    if abs(share - 0.1) > 0.015:
        yield Finding("wrong-share-dropped", piece, "With p = 0.1 another share of the labels is dropped: p is the "
                      "probability that a label goes.", "share dropped", share, 0.1, PAGE)  # fmt: skip
        return
    none = float((ask(0.0, labels) != labels).double().mean())
    if none > 0:
        yield Finding("drops-while-sampling", piece, "At p = 0, which sampling uses, labels are still dropped.",
                      "share dropped", none, 0.0, PAGE)  # fmt: skip
        return
    uses_uniform = "uniform" in parameters(subject.drop_labels)
    if uses_uniform and not torch.equal(changed, uniform < 0.1):
        off = float((changed != (uniform < 0.1)).double().mean())
        yield Finding("wrong-labels-dropped", piece, "Not those whose uniform number is below p lose their label: each "
                      "sample decides by its own number.", "share of samples decided otherwise", off, 0.0,
                      PAGE)  # fmt: skip
    elif not uses_uniform:
        counts = [float((ask(0.1, labels[:200], seed) != labels[:200]).double().mean()) for seed in range(60)]
        spread = float(torch.tensor(counts).std())
        expected = (0.1 * 0.9 / 200) ** 0.5
        if not 0.5 < spread / expected < 2:
            yield Finding("not-each-by-itself", piece, "The share dropped varies from batch to batch otherwise than "
                          "when each sample decides by itself.", "deviation of the share in batches of 200", spread,
                          expected, PAGE)  # fmt: skip


def examine_guidance(subject: Diffusion, reader: Reader) -> Iterator[Finding]:
    """guided_eps is linear: its factors of both guesses, at several scales."""
    piece, function = "guided_eps", subject.guided_eps
    generator = torch.Generator().manual_seed(0)
    c, u = (3 * torch.randn(4, *subject.sample_shape, generator=generator) for _ in range(2))
    scale_name = next((name for name in reversed(list(parameters(function))) if "uncond" not in name), "scale")
    shift = 1.0 if scale_name in PAPER else 0.0

    def ask(scale: float) -> tuple[Tensor, float]:
        names = {n: c for n in CONDITIONAL} | {n: u for n in UNCONDITIONAL} | {scale_name: scale}
        before = (c.clone(), u.clone())
        found = first_tensor(piece, reader.call(piece, function, names)).double()
        changed = max(float((a - b).abs().max()) for a, b in zip((c, u), before, strict=True))
        c.copy_(before[0])
        u.copy_(before[1])
        return found, changed

    scales = (0.0, 0.5, 1.0, 4.0)
    answers = [ask(scale) for scale in scales]
    known = torch.stack([c.double().flatten(), u.double().flatten()], dim=1)
    factors, bent = [], 0.0
    for found, _ in answers:
        solved = torch.linalg.lstsq(known, found.flatten()[:, None]).solution[:, 0]
        factors.append((float(solved[0]), float(solved[1])))
        bent = max(bent, float((found.flatten() - known @ solved).abs().max()))
    wanted = [(s + shift, 1 - s - shift) for s in scales]
    worst = max(range(4), key=lambda i: abs(factors[i][0] - wanted[i][0]) + abs(factors[i][1] - wanted[i][1]))
    of_c = abs(factors[worst][0] - wanted[worst][0]) >= abs(factors[worst][1] - wanted[worst][1])
    what = f"factor of the guess {'with' if of_c else 'without'} the label at {scale_name} {scales[worst]:g}"
    numbers = (what, factors[worst][1 - of_c], wanted[worst][1 - of_c], GUIDANCE_PAGE)
    if bent > 1e-3:
        yield Finding("guidance-clipped", piece, "The result is no plain combination of the two guesses: it is clipped "
                      "or rescaled. A guess of noise has no ends.", "largest distance from a plain combination", bent,
                      0.0, GUIDANCE_PAGE)  # fmt: skip
        return
    off = max(max(abs(a - b) for a, b in zip(f, w, strict=True)) for f, w in zip(factors, wanted, strict=True))
    if off > 1e-3:
        yield Finding(*_named(factors, scales, piece), *numbers)
        return
    if max(changed for _, changed in answers) > 0:
        yield Finding("changes-its-input", piece, "It writes into one of the guesses, which a solver of second order "
                      "still needs.", "largest change", max(changed for _, changed in answers), 0.0,
                      GUIDANCE_PAGE)  # fmt: skip


def _named(factors, scales, piece: str) -> tuple[str, str, str]:
    def are(rule) -> bool:
        return all(
            max(abs(a - b) for a, b in zip(f, rule(s), strict=True)) < 1e-3
            for f, s in zip(factors, scales, strict=True)
        )

    if all(abs(of_c) < 1e-3 for of_c, _ in factors):
        return ("drops-while-sampling", piece, "The label has no effect: only the guess without it comes back. Labels "
                "are dropped in training; sampling needs both guesses.")  # fmt: skip
    if are(lambda s: (1 + s, -s)):
        return ("guidance-scale", piece, "At scale 0 this is the guess with the label, as with the w of the paper, "
                "which is the scale minus 1: everything is one unit stronger than it says. (Call the argument w if you "
                "mean that.)")  # fmt: skip
    if are(lambda s: (1 - s, s)) or are(lambda s: (-s, 1 + s)):
        return ("guidance-reversed", piece, "A larger scale leads away from what the label means: the two guesses, or "
                "the sign of their difference, have changed places.")  # fmt: skip
    if all(abs(f[0] - 1) < 1e-3 and abs(f[1]) < 1e-3 for f in factors) or are(lambda s: (min(s, 1), 1 - min(s, 1))):
        return ("guidance-stops", piece, "Guidance never goes beyond the guess with the label, whatever the scale.")
    return ("guidance-wrong", piece, "The guesses have other factors than in uncond + scale (cond - uncond).")


def examine_loop_labels(probe) -> Iterator[Finding]:
    """A loop that takes labels: do they reach the network, and do all of them?"""
    labels = 1 + torch.arange(probe.shape[0]) % (CLASSES - 1)
    if not probe.reader.takes(probe.function, "labels"):
        return
    run = probe.run(lambda x, a, s, call: torch.zeros_like(x), labels=labels)
    heard = [a.labels for a in run.asked if a.labels is not None]
    best = 0.0
    if heard:
        by_level: dict[float, float] = {}
        for asked in run.asked:
            if asked.labels is not None:
                share = float((asked.labels == labels[: len(asked.labels)]).double().mean())
                key = float(asked.told[0])
                by_level[key] = max(by_level.get(key, 0.0), share)
        best = min(by_level.values())
    if best < 1:
        yield Finding("drops-while-sampling", "sample", "Not every sample's own label reaches the network while "
                      "sampling: labels are dropped in training only.", "share of labels that arrive, at the worst "
                      "level", best, 1.0, PAGE)  # fmt: skip


CONDITIONAL = ("eps_cond", "cond", "conditional", "eps_c", "pred_cond", "noise_pred_text", "eps_label", "c")
UNCONDITIONAL = ("eps_uncond", "uncond", "unconditional", "eps_u", "pred_uncond", "noise_pred_uncond", "u")
