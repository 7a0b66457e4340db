"""timestep_embedding: a step as waves, so that a network can read it."""

import math

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def timestep_embedding(t: Tensor, dim: int, max_period: float) -> Tensor:
    """Sines and cosines of t at frequencies from 1 down to 1 / max_period.

    Args:
        t: (B,) float, the step; it need not be an integer.
        dim: size of the embedding, even and at least 4.
        max_period: the lowest frequency is 1 / max_period.

    Returns:
        (B, dim): the dim / 2 sines, highest frequency first, then the dim / 2 cosines in the same order. The
        frequencies are a geometric sequence with both ends included.
    """
    exponents = torch.arange(dim // 2, dtype=t.dtype, device=t.device) / (dim // 2 - 1)  # 0 to 1
    frequencies = torch.exp(-math.log(max_period) * exponents)
    angles = t[:, None] * frequencies  # (B, dim / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _waves(t, exponents, max_period):
    angles = t[:, None] * torch.exp(-math.log(max_period) * exponents.to(t))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def integer_division(t, dim, max_period):
    """The exponents were found by integer division, so they are 0 but for the last one: nearly all waves have frequency
    1, and t and t + 2 pi look the same."""
    return _waves(t, torch.arange(dim // 2) // (dim // 2 - 1), max_period)


def sines_and_cosines_along_the_batch(t, dim, max_period):
    """Sines and cosines were joined along the batch. They belong to one sample each: join them along the last axis, so
    that the shape is (B, dim)."""
    angles = t[:, None] * torch.exp(-math.log(max_period) * torch.linspace(0, 1, dim // 2).to(t))
    return torch.cat([angles.sin(), angles.cos()], dim=0)


def sines_and_cosines_in_turn(t, dim, max_period):
    """Sines and cosines alternate. Any order would do for a network that is trained with it; here it is all sines, then
    all cosines."""
    both = _waves(t, torch.linspace(0, 1, dim // 2, dtype=torch.float64), max_period)
    return both.reshape(len(t), 2, -1).transpose(1, 2).reshape(len(t), -1)


def cosines_first(t, dim, max_period):
    """The cosines come first. Here it is all sines, then all cosines."""
    return _waves(t, torch.linspace(0, 1, dim // 2, dtype=torch.float64), max_period).roll(dim // 2, dims=1)


def steps_cut_down(t, dim, max_period):
    """t was cut down to an integer first. It is a float and need not be a whole step: use it as it comes."""
    return _waves(t.trunc(), torch.linspace(0, 1, dim // 2, dtype=torch.float64), max_period)


def lowest_frequency_first(t, dim, max_period):
    """The frequencies rise from 1 / max_period to 1. Any order would do for a network that is trained with it; here the
    highest comes first."""
    return _waves(t, torch.linspace(1, 0, dim // 2, dtype=torch.float64), max_period)


def whole_turns(t, dim, max_period):
    """The angles were multiplied by 2 pi. Here omega t is the angle itself, in radians, without that factor."""
    return _waves(2 * math.pi * t, torch.linspace(0, 1, dim // 2, dtype=torch.float64), max_period)


def ten_thousand_for_all(t, dim, max_period):
    """`max_period` was not used: the lowest frequency is 1 / 10000 whatever is asked for."""
    return _waves(t, torch.linspace(0, 1, dim // 2, dtype=torch.float64), 10_000.0)


def logarithm_forgotten(t, dim, max_period):
    """The exponent holds max_period itself, and all frequencies but the first are nearly 0. A power of max_period is
    the exponential of its logarithm times the exponent."""
    angles = t[:, None] * torch.exp(-max_period * torch.linspace(0, 1, dim // 2, dtype=t.dtype))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def gaps_of_all_numbers(t, dim, max_period):
    """The exponents were divided by dim - 1, as if there were dim frequencies. There are dim / 2 of them, one for a
    sine and a cosine, with dim / 2 - 1 gaps."""
    return _waves(t, torch.arange(dim // 2, dtype=torch.float64) / (dim - 1), max_period)


def last_frequency_missed(t, dim, max_period):
    """The exponents were divided by dim / 2, so the lowest frequency is never reached. Both ends are included: dim / 2
    numbers have dim / 2 - 1 gaps."""
    return _waves(t, torch.arange(dim // 2) / (dim // 2), max_period)


def frequencies_on_a_line(t, dim, max_period):
    """These frequencies are equally spaced, so almost all of them are high. A geometric sequence has as many for slow
    waves as for fast ones."""
    angles = t[:, None] * torch.linspace(1, 1 / max_period, dim // 2, dtype=t.dtype)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def rising_frequencies(t, dim, max_period):
    """The sign of the exponent is turned around: frequencies rise to max_period, and neighbouring steps have nothing in
    common."""
    return _waves(t, -torch.linspace(0, 1, dim // 2, dtype=torch.float64), max_period)


def sines_alone(t, dim, max_period):
    """These are dim sines and no cosine. A sine alone cannot tell t from pi - t: with its cosine it can."""
    angles = t[:, None] * torch.exp(-math.log(max_period) * torch.linspace(0, 1, dim, dtype=t.dtype))
    return angles.sin()


def powers(t, dim, max_period):
    frequencies = max_period ** -torch.linspace(0, 1, dim // 2, dtype=t.dtype)
    angles = torch.outer(t, frequencies)
    return torch.stack([angles.sin(), angles.cos()], dim=1).flatten(1)


def loop(t, dim, max_period):
    columns = [
        wave(t * max_period ** (-i / (dim // 2 - 1))) for wave in (torch.sin, torch.cos) for i in range(dim // 2)
    ]
    return torch.stack(columns, dim=1)


def through_numpy(t, dim, max_period):
    import numpy as np

    angles = t.numpy()[:, None] * np.geomspace(1, 1 / max_period, dim // 2)
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], axis=1)).to(t.dtype)


def complex_waves(t, dim, max_period):
    exponents = torch.linspace(0, 1, dim // 2, dtype=torch.float64)
    waves = torch.exp(1j * t.double()[:, None] * max_period**-exponents)
    return torch.cat([waves.imag, waves.real], dim=1).to(t.dtype)


def cases(draw: Draw):
    # Small angles here, even where frequencies rise: float32 has digits left for mistakes to be told apart by.
    for batch, label in ((draw.integer(3, 6), "some steps"), (1, "one sample")):
        period = float(draw.integer(4, 9))
        yield Case(label, (draw.uniform(batch, low=1, high=5), 2 * draw.integer(4, 9), period))
    yield Case("the smallest embedding", (draw.uniform(3, low=1, high=5), 4, float(draw.integer(4, 9))))
    size = 2 * draw.integer(3, 4)
    yield Case("as many samples as waves", (draw.uniform(size, low=1, high=5), size, float(draw.integer(4, 9))))
    t = draw.times(5, 6).double()
    yield Case("t = 0 is among the steps", (t, 2 * draw.integer(4, 9), float(draw.integer(4, 9))))
    part = "long periods"
    yield Case("the period of Ho et al.", (draw.uniform(4, low=1, high=40), 32, 10_000.0), part)
    arguments = draw.uniform(3, low=1, high=40), 2 * draw.integer(4, 9), float(draw.integer(500, 2000))
    yield Case("another long period", arguments, part)


def depends_on_the_difference(piece, draw: Draw):
    """The inner product of two embeddings depends on the difference of their times alone (sin a sin b + cos a cos
    b)."""
    dim, gap = 2 * draw.integer(8, 16), draw.number(1, 9)
    t = draw.uniform(6, high=500)
    products = (piece(t, dim, 10_000.0) * piece(t + gap, dim, 10_000.0)).sum(dim=1)
    spread = float(products.max() - products.min())
    return None if spread < 1e-6 else f"the inner product of t and t + {gap:g} varies with t, by {spread:.3g}"


def constant_length(piece, draw: Draw):
    """sin^2 + cos^2 = 1 for each of the dim / 2 waves."""
    dim = 2 * draw.integer(4, 16)
    worst = float((piece(draw.uniform(7, high=999), dim, 10_000.0).square().sum(dim=1) - dim / 2).abs().max())
    return None if worst < 1e-6 else f"the squares of an embedding of {dim} numbers do not sum to {dim // 2}"


EXERCISE = Exercise(
    chapter="mnist",
    kind="schedule",
    title="A step that a network can read",
    statement=r"""
One number is a poor input for a network. Waves of $t$, some fast and some slow, tell it apart from its neighbours and
say roughly where it is. With $h$ = `dim` / 2 frequencies

$$
\begin{gathered}
\omega_i = \texttt{max\_period}^{-i / (h - 1)}, \\
i = 0, \dots, h - 1,
\end{gathered}
$$

the embedding of $t$ is $(\sin \omega_0 t, \dots, \sin \omega_{h-1} t, \cos \omega_0 t, \dots, \cos \omega_{h-1} t)$.
""",
    reference=timestep_embedding,
    parts={"values": 3, "long periods": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("the inner product depends on the difference alone", depends_on_the_difference),
        Property("every embedding has the same length", constant_length),
    ),
    wrong_answers=(
        wrong(integer_division),
        wrong(sines_and_cosines_along_the_batch),
        wrong(sines_and_cosines_in_turn),
        wrong(cosines_first),
        wrong(steps_cut_down),
        wrong(lowest_frequency_first),
        wrong(whole_turns),
        wrong(ten_thousand_for_all),
        wrong(logarithm_forgotten),
        wrong(gaps_of_all_numbers),
        wrong(last_frequency_missed),
        wrong(frequencies_on_a_line),
        wrong(rising_frequencies),
        wrong(sines_alone),
    ),
    right_answers=(right(powers), right(loop), right(through_numpy), right(complex_waves)),
    hints=(
        "How many gaps are there between h numbers?",
        "Make the frequencies (h,) first, then all angles (B, h) at once, then their sines and cosines.",
    ),
    source="Vaswani et al. 2017, section 3.5, in the form of Ho et al. 2020, appendix B",
)
