"""wander_step: a step towards a strip that agrees with a recording, but for its wandering baseline."""

import math

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def wander_step(
    model: nn.Module, x: Tensor, t: int, s: int, recording: Tensor, curves: Tensor, alpha_bar: Tensor
) -> Tensor:
    """One DDIM step from level t down to level s, held to a recording wherever it can be trusted.

    Args:
        model: called as model(x, t) with x (B, C, L) and t (B,) int64; returns its guess of eps, (B, C, L).
        x: (B, C, L), at level t.
        t, s: levels, s < t, the same for the batch; s = -1 is the data, where alpha_bar is 1.
        recording: (B, C, L), the clean strip plus any mixture of the curves in each lead.
        curves: (K, L), orthonormal: what a baseline can look like.
        alpha_bar: (T,), falling, in (0, 1).

    Returns:
        (B, C, L), at level s, without an autograd graph.
    """
    with torch.no_grad():
        eps = model(x, torch.full((len(x),), t, device=x.device))
    guess = (x - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()
    x0 = recording + (guess - recording) @ curves.T @ curves
    if s < 0:
        return x0
    return alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * eps


def _ask(model, x, t):
    with torch.no_grad():
        return model(x, torch.full((len(x),), t))


def _x0(x, eps, t, alpha_bar):
    return (x - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()


def _down(x0, eps, s, alpha_bar):
    return x0 if s < 0 else alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * eps


def _along(x, curves):
    return x @ curves.T @ curves


def recording_not_used(model, x, t, s, recording, curves, alpha_bar):
    """This is a plain step of DDIM: the strip will look like some heart, not like the one that was recorded. Outside
    the curves, the recording takes the place of the guess."""
    eps = _ask(model, x, t)
    return _down(_x0(x, eps, t, alpha_bar), eps, s, alpha_bar)


def recording_taken_whole(model, x, t, s, recording, curves, alpha_bar):
    """The whole recording took the place of the guess, baseline and all. Along the curves the guess must stay."""
    return _down(recording, _ask(model, x, t), s, alpha_bar)


def parts_swapped(model, x, t, s, recording, curves, alpha_bar):
    """The two parts are swapped: along the curves the recording was trusted, and that is where it is wrong. It is right
    everywhere else."""
    eps = _ask(model, x, t)
    guess = _x0(x, eps, t, alpha_bar)
    return _down(guess + _along(recording - guess, curves), eps, s, alpha_bar)


def curves_cut_out(model, x, t, s, recording, curves, alpha_bar):
    """What lies along the curves was cut out of the recording, and nothing was put in its place. That is a filter,
    which takes a part of the heartbeat with it: the guess fills it in."""
    eps = _ask(model, x, t)
    return _down(recording - _along(recording, curves), eps, s, alpha_bar)


def guess_added_to_the_recording(model, x, t, s, recording, curves, alpha_bar):
    """The guess along the curves was added to the whole recording, whose own part along the curves is still in it. Take
    that out first."""
    eps = _ask(model, x, t)
    return _down(recording + _along(_x0(x, eps, t, alpha_bar), curves), eps, s, alpha_bar)


def mixed_half_and_half(model, x, t, s, recording, curves, alpha_bar):
    """Recording and guess were averaged outside the curves. The recording is exact there and takes the place of the
    guess altogether."""
    eps = _ask(model, x, t)
    guess = _x0(x, eps, t, alpha_bar)
    mean = (guess + recording) / 2
    return _down(mean + _along(guess - mean, curves), eps, s, alpha_bar)


def x_held_to_the_recording(model, x, t, s, recording, curves, alpha_bar):
    """The noisy x was held to the clean recording before the network saw it. x is at level t; it is the guess of x0
    that can be compared with a recording."""
    x = recording + _along(x - recording, curves)
    eps = _ask(model, x, t)
    return _down(_x0(x, eps, t, alpha_bar), eps, s, alpha_bar)


def result_held_to_the_recording(model, x, t, s, recording, curves, alpha_bar):
    """The recording was put into the result, which is at level s and has noise. Put it into the guess of x0, and take
    the step from there."""
    eps = _ask(model, x, t)
    x = _down(_x0(x, eps, t, alpha_bar), eps, s, alpha_bar)
    return recording + _along(x - recording, curves)


def eps_found_anew(model, x, t, s, recording, curves, alpha_bar):
    """eps was computed again from x and the corrected x0. Here the step keeps the network's own eps, as the formula
    says."""
    eps = _ask(model, x, t)
    guess = _x0(x, eps, t, alpha_bar)
    x0 = recording + _along(guess - recording, curves)
    return _down(x0, (x - alpha_bar[t].sqrt() * x0) / (1 - alpha_bar[t]).sqrt(), s, alpha_bar)


def asked_at_the_other_level(model, x, t, s, recording, curves, alpha_bar):
    """The network was told level s. It must know the level of the x that it sees, which is t."""
    eps = _ask(model, x, max(s, 0))
    x0 = recording + _along(_x0(x, eps, t, alpha_bar) - recording, curves)
    return _down(x0, eps, s, alpha_bar)


def no_roots(model, x, t, s, recording, curves, alpha_bar):
    """alpha_bar and 1 - alpha_bar were used without their roots. They are shares of the variance; data and noise are
    multiplied by the roots."""
    eps = _ask(model, x, t)
    guess = (x - (1 - alpha_bar[t]) * eps) / alpha_bar[t]
    x0 = recording + _along(guess - recording, curves)
    return x0 if s < 0 else alpha_bar[s] * x0 + (1 - alpha_bar[s]) * eps


def last_entry_for_the_data(model, x, t, s, recording, curves, alpha_bar):
    """alpha_bar[-1] is the last entry of the table, the noisiest level. At s = -1 there is no noise: return x0."""
    eps = _ask(model, x, t)
    x0 = recording + _along(_x0(x, eps, t, alpha_bar) - recording, curves)
    return alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * eps


def always_to_the_data(model, x, t, s, recording, curves, alpha_bar):
    """The corrected x0 was returned at every level. Only at s = -1 is that the answer: otherwise go to level s with its
    share of eps."""
    eps = _ask(model, x, t)
    return recording + _along(_x0(x, eps, t, alpha_bar) - recording, curves)


def first_curve_only(model, x, t, s, recording, curves, alpha_bar):
    """Only the first curve was left to the guess. The baseline can be a mixture of all of them."""
    eps = _ask(model, x, t)
    x0 = recording + _along(_x0(x, eps, t, alpha_bar) - recording, curves[:1])
    return _down(x0, eps, s, alpha_bar)


def one_amount_for_all_leads(model, x, t, s, recording, curves, alpha_bar):
    """The leads were averaged before the curves were fitted. Every lead has a baseline of its own."""
    eps = _ask(model, x, t)
    away = (_x0(x, eps, t, alpha_bar) - recording).mean(dim=1, keepdim=True)
    return _down(recording + _along(away, curves).expand_as(x), eps, s, alpha_bar)


def graph_kept(model, x, t, s, recording, curves, alpha_bar):
    """The network was run with gradients. A sampler needs none, and its memory grows with every step."""
    eps = model(x, torch.full((len(x),), t))
    x0 = recording + _along(_x0(x, eps, t, alpha_bar) - recording, curves)
    return _down(x0, eps, s, alpha_bar)


@torch.no_grad()
def with_a_projector(model, x, t, s, recording, curves, alpha_bar):
    onto = curves.T @ curves  # (L, L)
    off = torch.eye(len(onto)).to(onto) - onto
    eps = model(x, torch.tensor([t] * len(x)))
    x0 = torch.einsum("bcl,lk->bck", recording, off) + torch.einsum("bcl,lk->bck", _x0(x, eps, t, alpha_bar), onto)
    kept = alpha_bar[s] if s >= 0 else torch.ones_like(alpha_bar[0])
    return kept.sqrt() * x0 + (1 - kept).sqrt() * eps


@torch.no_grad()
def curve_by_curve(model, x, t, s, recording, curves, alpha_bar):
    eps = _ask(model, x, t)
    x0 = recording.clone()
    away = _x0(x, eps, t, alpha_bar) - recording
    for curve in curves:
        x0 = x0 + (away * curve).sum(dim=-1, keepdim=True) * curve
    return _down(x0, eps, s, alpha_bar)


@torch.no_grad()
def one_strip_at_a_time(model, x, t, s, recording, curves, alpha_bar):
    rows = []
    for strip, heard in zip(x, recording, strict=True):
        eps = model(strip[None], torch.tensor([t]))[0]
        guess = (strip - (1 - alpha_bar[t]) ** 0.5 * eps) / alpha_bar[t] ** 0.5
        rows.append(_down(heard + (guess - heard) @ curves.mT @ curves, eps, s, alpha_bar))
    return torch.stack(rows)


def _curves(count, length):
    """The first rows of the orthonormal cosine transform: slow waves and an offset."""
    k, n = torch.arange(count, dtype=torch.float64).unsqueeze(1), torch.arange(length, dtype=torch.float64)
    rows = torch.cos(math.pi * k * (n + 0.5) / length)
    return rows / rows.norm(dim=1, keepdim=True)


def cases(draw: Draw):
    levels = draw.integer(12, 20)
    for label, batch, leads in (("two leads", draw.integer(3, 6), 2), ("one strip of one lead", 1, 1)):
        length = draw.integer(12, 20)
        t, s = draw.integer(7, levels - 1), draw.integer(1, 5)
        strips = draw.normal(batch, leads, length), t, s, draw.normal(batch, leads, length)
        yield Case(
            label, (Probe(draw.integer(0, 99)), *strips, _curves(draw.integer(2, 4), length), draw.alpha_bar(levels))
        )
    size = draw.integer(4, 6)
    strips = draw.normal(size, size, size), draw.integer(6, 10), 2, draw.normal(size, size, size)
    yield Case("every size equal", (Probe(draw.integer(0, 99)), *strips, _curves(2, size), draw.alpha_bar(levels)))
    for t in (draw.integer(4, levels - 1), 0):
        length = draw.integer(12, 20)
        strips = draw.normal(3, 2, length), t, -1, draw.normal(3, 2, length)
        arguments = (Probe(draw.integer(0, 99)), *strips, _curves(3, length), draw.alpha_bar(levels))
        yield Case(f"from level {t} to the data", arguments, "to the data")


def any_baseline(piece, draw: Draw):
    """Whatever baseline is added to the recording, the step is the same."""
    length, kept = 24, draw.alpha_bar(12)
    curves, x, recording = _curves(3, length), draw.normal(3, 2, length), draw.normal(3, 2, length)
    wander = 5 * draw.normal(3, 2, 3) @ curves
    model, change = Probe(draw.integer(0, 99)), 0.0
    for s in (4, -1):
        one, other = (piece(model, x, 9, s, y, curves, kept) for y in (recording, recording + wander))
        change = max(change, float((one - other).abs().max()))
    if change < 1e-6:
        return None
    return f"another baseline in the recording changes the result by {change:.3g}, and it should not be seen at all"


def agrees_with_the_recording(piece, draw: Draw):
    """At the end, the strip and the recording differ by a baseline and nothing else."""
    length, kept = 24, draw.alpha_bar(12)
    curves, recording = _curves(3, length), draw.normal(3, 2, length)
    away = piece(Probe(draw.integer(0, 99)), draw.normal(3, 2, length), 6, -1, recording, curves, kept) - recording
    # The fit by least squares knows nothing of projections.
    fit = torch.linalg.lstsq(curves.T, away.flatten(0, 1).T.to(curves)).solution
    rest = float((away.flatten(0, 1).T - curves.T @ fit).abs().max())
    if rest < 1e-6:
        return None
    return f"strip and recording differ by {rest:.3g} more than a baseline can explain"


EXERCISE = Exercise(
    chapter="heartbeats",
    kind="sampler",
    title="A baseline that wanders",
    statement=r"""
Breathing and moving shift the baseline of a recording slowly up and down. A high-pass filter takes the drift away, and
with it the slow part of the heartbeat. With a network as prior you can do better: say which part of the recording you
do not trust, and have the network draw that part anew so that it fits the rest. If the rows of $Q$ are orthonormal
curves that a baseline can be made of, the estimate

$$
\begin{aligned}
\hat x_0 &= \bigl( x_t - \sqrt{1 - \bar\alpha_t}\, \hat\varepsilon \bigr) / \sqrt{\bar\alpha_t}, \\
\hat x_0' &= y + (\hat x_0 - y)\, Q^\top Q
\end{aligned}
$$

has the recording $y$ outside the curves, and the network's guess along them. The step ends at
$\sqrt{\bar\alpha_s}\, \hat x_0' + \sqrt{1 - \bar\alpha_s}\, \hat\varepsilon$, with the $\hat\varepsilon$ that the
network gave.
""",
    reference=wander_step,
    parts={"values": 4, "to the data": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("any other baseline gives the same", any_baseline),
        Property("at the end only a baseline is different", agrees_with_the_recording, "to the data"),
    ),
    wrong_answers=(
        wrong(recording_not_used),
        wrong(recording_taken_whole),
        wrong(parts_swapped),
        wrong(curves_cut_out),
        wrong(guess_added_to_the_recording),
        wrong(mixed_half_and_half),
        wrong(x_held_to_the_recording),
        wrong(result_held_to_the_recording),
        wrong(eps_found_anew),
        wrong(asked_at_the_other_level),
        wrong(no_roots),
        wrong(last_entry_for_the_data),
        wrong(always_to_the_data),
        wrong(first_curve_only),
        wrong(one_amount_for_all_leads),
        wrong(graph_kept, "graph"),
    ),
    right_answers=(right(with_a_projector), right(curve_by_curve), right(one_strip_at_a_time)),
    hints=(
        "How do you split a row into what lies along orthonormal curves, and the rest?",
        "Take the difference of guess and recording, keep what lies along the curves, and add it to the recording.",
    ),
    source="Wang, Yu & Zhang 2023, DDNM, equations 12 to 15",
)
