"""cosine_alpha_bar: a schedule that spends its steps where they are needed."""

import math

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def cosine_alpha_bar(T: int, s: float, max_beta: float) -> Tensor:
    """What is left of the data along a squared cosine.

    Args:
        T: how many steps, at least 1.
        s: a small offset, which makes the first steps larger; 0.008 in the paper.
        max_beta: no single step adds more noise than this variance, in (0, 1]; 0.999 in the paper.

    Returns:
        (T,) float64: entry t is alpha_bar after step t.
    """
    u = torch.arange(T + 1, dtype=torch.float64) / T  # the T + 1 ends of the steps
    f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    betas = (1 - f[1:] / f[:-1]).clamp(max=max_beta)
    return torch.cumprod(1 - betas, dim=0)


def _curve(T, s, turn=math.pi / 2):
    return torch.cos((torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s) * turn) ** 2


def _clipped(f, max_beta):
    return torch.cumprod(1 - (1 - f[1:] / f[:-1]).clamp(max=max_beta), dim=0)


def cosine_not_squared(T, s, max_beta):
    """The cosine was not squared. It is alpha that follows a cosine, and alpha_bar is the square of alpha."""
    return _clipped(_curve(T, s).sqrt(), max_beta)


def not_divided_by_the_start(T, s, max_beta):
    """f(0) is not quite 1 because of the offset s. Divide by it, so that nothing is lost before the first step."""
    return _curve(T, s)[0] * _clipped(_curve(T, s), max_beta)


def betas_not_clipped(T, s, max_beta):
    """max_beta has no effect. The curve ends at 0, so the last beta is 1 and a step back would divide by 0: clip the
    betas and multiply them up again."""
    f = _curve(T, s)
    return f[1:] / f[0]


def alpha_bar_clipped(T, s, max_beta):
    """alpha_bar was clipped in the place of beta. max_beta limits what a single step adds, not what all of them
    together add."""
    f = _curve(T, s)
    return (f[1:] / f[0]).clamp(min=1 - max_beta)


def one_step_behind(T, s, max_beta):
    """Entry 0 is 1, as if the first step added nothing. Entry t is what is left after step t, at the end t + 1 of
    it."""
    after = _clipped(_curve(T, s), max_beta)
    return torch.cat([torch.ones_like(after[:1]), after[:-1]])


def offset_left_out(T, s, max_beta):
    """The offset s is not used. Without it the first steps of a fine schedule add next to nothing."""
    return _clipped(_curve(T, 0.0), max_beta)


def offset_not_scaled(T, s, max_beta):
    """The offset was added and the whole not divided by 1 + s. The curve must still end at a quarter turn, where the
    cosine is 0."""
    return _clipped(torch.cos((torch.arange(T + 1, dtype=torch.float64) / T + s) * math.pi / 2) ** 2, max_beta)


def betas_themselves(T, s, max_beta):
    """These are the betas. alpha_bar is the product of 1 - beta up to each step."""
    f = _curve(T, s)
    return (1 - f[1:] / f[:-1]).clamp(max=max_beta)


def single_precision(T, s, max_beta):
    """The values are right, and they are float32. Ask for float64, because a thousand factors are multiplied and 1 -
    alpha_bar is small at the start."""
    return cosine_alpha_bar(T, s, max_beta).float()


def starts_with_one(T, s, max_beta):
    """These are T + 1 numbers, with a 1 for the data before any step. The curve has T + 1 places, and between them lie
    T steps: entry t is what is left after step t."""
    return torch.cat([torch.ones(1, dtype=torch.float64), _clipped(_curve(T, s), max_beta)])


def half_a_turn(T, s, max_beta):
    """The cosine goes through half a turn: pi stands where pi / 2 belongs. The curve must end where the cosine is 0 for
    the first time."""
    return _clipped(_curve(T, s, math.pi), max_beta)


def first_step_without_a_beta(T, s, max_beta):
    """The first beta is 0, as if alpha_bar had no entry before the first. It has one: before step 0 all of the data is
    there, alpha_bar is 1, and the first step takes its share of that."""
    f = _curve(T, s)
    betas = (1 - f[1:] / f[:-1]).clamp(max=max_beta)
    betas[0] = 0
    return torch.cumprod(1 - betas, dim=0)


def loop(T, s, max_beta):
    def f(u):
        return math.cos((u + s) / (1 + s) * math.pi / 2) ** 2

    kept, out = 1.0, []
    for t in range(T):
        kept *= 1 - min(1 - f((t + 1) / T) / f(t / T), max_beta)
        out.append(kept)
    return torch.tensor(out, dtype=torch.float64)


def least_share_kept(T, s, max_beta):
    angle = (torch.linspace(0, 1, T + 1, dtype=torch.float64) + s) / (1 + s) * (math.pi / 2)
    shares = torch.cos(angle[1:]).square() / torch.cos(angle[:-1]).square()
    return torch.maximum(shares, torch.full_like(shares, 1 - max_beta)).cumprod(0)


def half_angle(T, s, max_beta):
    f = (1 + torch.cos((torch.arange(T + 1).double() / T + s) / (1 + s) * math.pi)) / 2
    return torch.cumprod(1 - torch.clamp(1 - f[1:] / f[:-1], 0, max_beta), 0)


def through_numpy(T, s, max_beta):
    import numpy as np

    f = np.cos((np.arange(T + 1) / T + s) / (1 + s) * np.pi / 2) ** 2
    return torch.from_numpy(np.cumprod(1 - np.minimum(1 - f[1:] / f[:-1], max_beta)))


def cases(draw: Draw):
    for label, steps in (("a few steps", draw.integer(4, 8)), ("some steps", draw.integer(15, 40))):
        offset = draw.number(0.02, 0.1)
        yield Case(f"{label}, nothing to clip (max_beta 1)", (steps, offset, 1.0), "the curve")
        yield Case(f"{label}, clipped at the end", (steps, offset, draw.number(0.3, 0.6)), "the clip")
    yield Case("a thousand steps, nothing to clip (max_beta 1)", (1000, 0.008, 1.0), "the curve")
    yield Case("a single step", (1, draw.number(0.02, 0.1), draw.number(0.3, 0.6)), "the clip")
    yield Case("every step clipped", (draw.integer(5, 9), 0.5, draw.number(0.01, 0.03)), "the clip")
    yield Case("ten steps with the numbers of the paper", (10, 0.008, 0.999), "the clip")


def lies_on_the_curve(piece, draw: Draw):
    """Where nothing is clipped, alpha_bar is cos^2 over its start: at the middle of the path with s = 0 it is 1/2."""
    half = draw.integer(4, 20)
    found = piece(2 * half, 0.0, 1.0)
    if found.shape != (2 * half,):
        return f"for {2 * half} steps the result has the shape {tuple(found.shape)}"
    for t, truth in ((half - 1, 0.5), (2 * half - 1, 0.0)):
        if abs(float(found[t]) - truth) > 1e-5:
            return f"for s = 0 and {2 * half} steps, alpha_bar[{t}] is {truth:g}, and yours is {float(found[t]):.6g}"
    return None


def no_step_above_the_limit(piece, draw: Draw):
    """The betas that the result stands for."""
    limit = draw.number(0.3, 0.6)
    found = piece(draw.integer(10, 30), draw.number(0.005, 0.05), limit)
    betas = 1 - found[1:] / found[:-1]
    worst = float(betas.max())
    if worst > limit + 1e-5 or not bool(betas.isfinite().all()):
        return f"with max_beta = {limit:g} there is a step with beta = {worst:.6g}"
    return None if abs(worst - limit) < 1e-5 else f"with max_beta = {limit:g} the largest beta is only {worst:.6g}"


def all_digits(piece, draw: Draw):
    """float64 is asked for, and with it its digits: not those of float32 in a wider dtype."""
    steps, offset = draw.integer(30, 60), draw.number(0.005, 0.05)
    found = piece(steps, offset, 1.0)

    def curve(u: float) -> float:
        return math.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2

    truth = torch.tensor([curve((t + 1) / steps) / curve(0) for t in range(steps)], dtype=torch.float64)
    if found.shape != truth.shape:
        return f"there are {tuple(found.shape)} values for T = {steps}"
    worst = float((found.double() - truth).abs().max())
    if worst < 1e-12:
        return None
    return (
        f"for T = {steps}, s = {offset:g} and max_beta = 1, the values are off by up to {worst:.2g}. If they are right "
        "but for that, they were made in float32, and a cast at the end does not bring lost digits back: ask for "
        "float64 where the numbers are made"
    )


EXERCISE = Exercise(
    chapter="normal_2d",
    kind="schedule",
    title="The cosine schedule",
    statement=r"""
Linear betas destroy most of the data early and then waste steps on what is already noise. The cosine schedule writes
down $\bar\alpha$ itself:

$$
\begin{aligned}
f(u) &= \cos^2\!\left( \frac{u + s}{1 + s} \cdot \frac{\pi}{2} \right), \\
\bar\alpha_t &= \frac{f\big((t + 1) / T\big)}{f(0)}, \\
\beta_t &= 1 - \frac{\bar\alpha_t}{\bar\alpha_{t-1}} \le \beta_\text{max}.
\end{aligned}
$$

The curve ends at 0, where the last $\beta$ would be 1. So take the betas of the curve (with $\bar\alpha_{-1} = 1$),
clip them at `max_beta`, and multiply them up to $\bar\alpha$ again. In chapter 1's counting, entry $t$ is what is left
*after* step $t$. The dtype is float64, with all its digits.
""",
    reference=cosine_alpha_bar,
    parts={"the curve": 3, "the clip": 2, CARE: 1},
    cases=cases,
    properties=(
        Property("half of the way with s = 0", lies_on_the_curve, "the curve"),
        Property("no step above max_beta", no_step_above_the_limit, "the clip"),
        Property("all digits of float64", all_digits, CARE),
    ),
    wrong_answers=(
        wrong(cosine_not_squared),
        wrong(not_divided_by_the_start),
        wrong(betas_not_clipped),
        wrong(alpha_bar_clipped),
        wrong(one_step_behind),
        wrong(offset_left_out),
        wrong(offset_not_scaled),
        wrong(betas_themselves),
        wrong(starts_with_one),
        wrong(half_a_turn),
        wrong(single_precision, "dtype"),
        wrong(first_step_without_a_beta),
    ),
    right_answers=(right(loop), right(least_share_kept), right(half_angle), right(through_numpy)),
    hints=(
        "T steps have T + 1 ends.",
        "What does f(0) do to the quotient of two neighbours on the curve?",
        "Curve, then betas, then clip, then the cumulative product of chapter 1.",
    ),
    source="Nichol & Dhariwal 2021, equation 17",
)
