"""dpmpp_2m_step: second order at one evaluation of the network a step."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def dpmpp_2m_step(x0_now: Tensor, x0_last: Tensor | None, x: Tensor, levels: Tensor) -> Tensor:
    """One step of DPM-Solver++(2M), which leans on the estimate of the step before.

    Args:
        x0_now: (B, *S), the estimate of x0 at the level now.
        x0_last: (B, *S), the estimate at the level before; None at the first step.
        x: (B, *S), at the level now.
        levels: (3, 2): in the rows the level before, the level now and the next one, in the columns alpha and sigma.
            At the first step the first row means nothing: it may hold anything, nan or the level now. The next level
            may be the data, with alpha = 1 and sigma = 0; the level before or now may be pure noise, with alpha = 0.

    Returns:
        (B, *S), x at the next level.
    """
    alpha, sigma = levels.unbind(dim=1)
    if sigma[2] == 0:
        return alpha[2] * x0_now
    half_log_snr = torch.log(alpha) - torch.log(sigma)
    h = half_log_snr[2] - half_log_snr[1]
    estimate = x0_now
    if x0_last is not None:
        ratio = (half_log_snr[1] - half_log_snr[0]) / h
        estimate = x0_now + (x0_now - x0_last) / (2 * ratio)
    return sigma[2] / sigma[1] * x - alpha[2] * torch.expm1(-h) * estimate


def _parts(levels):
    """alpha, sigma, h of this step and of the one before."""
    alpha, sigma = levels.unbind(dim=1)
    lam = alpha.log() - sigma.log()
    return alpha, sigma, lam[2] - lam[1], lam[1] - lam[0]


def _step(x, levels, estimate):
    alpha, sigma, h, _ = _parts(levels)
    return sigma[2] / sigma[1] * x - alpha[2] * torch.expm1(-h) * estimate


def _estimate(x0_now, x0_last, levels):
    """The estimate carried forward, right at every step."""
    _, sigma, h, before = _parts(levels)
    if x0_last is None or sigma[2] == 0:
        return x0_now
    return x0_now + h / (2 * before) * (x0_now - x0_last)


def growing_exponential(x0_now, x0_last, x, levels):
    """Your exponential grows with the step. h is how far the log-SNR rises, and what remains of the old noise shrinks
    with it: look at the sign of the exponent."""
    alpha, sigma, h, _ = _parts(levels)
    if sigma[2] == 0:
        return alpha[2] * x0_now
    return sigma[2] / sigma[1] * x - alpha[2] * torch.expm1(h) * _estimate(x0_now, x0_last, levels)


def ratio_of_the_steps_inverted(x0_now, x0_last, x, levels):
    """The ratio of the two steps is upside down. A slope measured over a long step is carried over a short one only in
    part."""
    _, sigma, h, before = _parts(levels)
    if x0_last is None or sigma[2] == 0:
        return _step(x, levels, x0_now)
    return _step(x, levels, x0_now + before / (2 * h) * (x0_now - x0_last))


def ratio_of_the_steps_forgotten(x0_now, x0_last, x, levels):
    """This is right only if this step is as long as the one before. Where they differ, the change of the estimate must
    be scaled by the lengths of both steps."""
    _, sigma, _, _ = _parts(levels)
    if x0_last is None or sigma[2] == 0:
        return _step(x, levels, x0_now)
    return _step(x, levels, x0_now + (x0_now - x0_last) / 2)


def whole_change(x0_now, x0_last, x, levels):
    """The estimate was carried to the end of the step. The step wants its mean on the way, which is about the value in
    the middle."""
    _, sigma, h, before = _parts(levels)
    if x0_last is None or sigma[2] == 0:
        return _step(x, levels, x0_now)
    return _step(x, levels, x0_now + h / before * (x0_now - x0_last))


def change_turned_around(x0_now, x0_last, x, levels):
    """The change of the estimate has the wrong sign, so that you go back to the last one. Carry the change on, in the
    direction in which it goes."""
    _, sigma, h, before = _parts(levels)
    if x0_last is None or sigma[2] == 0:
        return _step(x, levels, x0_now)
    return _step(x, levels, x0_now - h / (2 * before) * (x0_now - x0_last))


def last_estimate_ignored(x0_now, x0_last, x, levels):
    """x0_last has no effect: this is DDIM, of first order. The change of the estimate since the last step is what buys
    the second order."""
    return _step(x, levels, x0_now)


def no_first_order_start(x0_now, x0_last, x, levels):
    """At the first step there is no last estimate: x0_last is None. That step has to do with the one estimate that
    there is."""
    _, sigma, h, before = _parts(levels)
    if sigma[2] == 0:
        return _step(x, levels, x0_now)
    return _step(x, levels, x0_now + h / (2 * before) * (x0_now - x0_last))


def zeros_before_the_start(x0_now, x0_last, x, levels):
    """At the first step zeros took the place of the last estimate, as if the data had been believed to be 0. Without an
    estimate before there is no change to carry on."""
    x0_last = torch.zeros_like(x0_now) if x0_last is None else x0_last
    return _step(x, levels, _estimate(x0_now, x0_last, levels))


def change_of_nothing(x0_now, x0_last, x, levels):
    """At the first step you multiply a change of 0 by a ratio that is infinite or nan there, and 0 times that is nan.
    Leave the whole term out where there is no estimate before."""
    _, sigma, h, before = _parts(levels)
    if sigma[2] == 0:
        return _step(x, levels, x0_now)
    last = x0_now if x0_last is None else x0_last
    return _step(x, levels, x0_now + h / (2 * before) * (x0_now - last))


def clean_too_early(x0_now, x0_last, x, levels):
    """You took a small sigma for the data. Only sigma = 0 is the end: before that some noise is left, and the estimate
    is carried on."""
    if levels[2, 1] < 0.01:
        return levels[2, 0] * x0_now
    return _step(x, levels, _estimate(x0_now, x0_last, levels))


def change_carried_into_the_data(x0_now, x0_last, x, levels):
    """On the last step half of the change was added, as between steps of equal length. At sigma = 0 the estimate is the
    answer as it is."""
    if levels[2, 1] == 0:
        return levels[2, 0] * (x0_now if x0_last is None else x0_now + (x0_now - x0_last) / 2)
    return _step(x, levels, _estimate(x0_now, x0_last, levels))


def change_added_to_the_last(x0_now, x0_last, x, levels):
    """The change was added to the estimate before. It is carried on from the estimate now."""
    _, sigma, h, before = _parts(levels)
    if x0_last is None or sigma[2] == 0:
        return _step(x, levels, x0_now)
    return _step(x, levels, x0_last + h / (2 * before) * (x0_now - x0_last))


def columns_swapped(x0_now, x0_last, x, levels):
    """alpha and sigma have changed places: alpha is in the first column of `levels`, sigma in the second."""
    levels = levels.flip(1)
    return _step(x, levels, _estimate(x0_now, x0_last, levels))


def second_order_into_the_data(x0_now, x0_last, x, levels):
    """At sigma = 0 the log-SNR is infinite, and so is the length of the last step: nothing can be carried that far.
    What is x at the data, if x0_now is the estimate of them?"""
    _, _, h, before = _parts(levels)
    if x0_last is None:
        return _step(x, levels, x0_now)
    return _step(x, levels, x0_now + (x0_now - x0_last) / (2 * (before / h)))


def whole_log_snr(x0_now, x0_last, x, levels):
    """h was taken from the log-SNR, log(alpha^2 / sigma^2). The lambda of the method is half of that, log(alpha /
    sigma)."""
    alpha, sigma, h, _ = _parts(levels)
    return sigma[2] / sigma[1] * x - alpha[2] * torch.expm1(-2 * h) * _estimate(x0_now, x0_last, levels)


def alpha_of_the_level_now(x0_now, x0_last, x, levels):
    """The estimate was scaled by alpha of the level now. x arrives at the next level, and its data must have that
    size."""
    alpha, sigma, h, _ = _parts(levels)
    factor = alpha[2] if sigma[2] == 0 else alpha[1]
    return sigma[2] / sigma[1] * x - factor * torch.expm1(-h) * _estimate(x0_now, x0_last, levels)


def noise_scaled_up(x0_now, x0_last, x, levels):
    """The two sigmas in the factor of x are the wrong way round. x comes with the noise of the level now and must leave
    with less."""
    alpha, sigma, h, _ = _parts(levels)
    if sigma[2] == 0:
        return alpha[2] * x0_now
    return sigma[1] / sigma[2] * x - alpha[2] * torch.expm1(-h) * _estimate(x0_now, x0_last, levels)


def without_logarithms_in_the_exponential(x0_now, x0_last, x, levels):
    (_, _), (alpha, sigma), (alpha_next, sigma_next) = levels
    if sigma_next == 0:
        return x0_now * alpha_next
    estimate = x0_now
    if x0_last is not None:
        now, after = (alpha / sigma).log(), (alpha_next / sigma_next).log()
        before = (levels[0, 0] / levels[0, 1]).log()
        weight = 1 + (after - now) / (2 * (now - before))
        estimate = torch.lerp(x0_last, x0_now, weight.to(x0_now))  # older torches mix no dtypes here
    shrink = sigma_next / sigma
    return shrink * x + (alpha_next - shrink * alpha) * estimate


def the_estimate_at_the_data(x0_now, x0_last, x, levels):
    if float(levels[2, 1]) == 0:
        return x0_now.clone()
    return _step(x, levels, _estimate(x0_now, x0_last, levels))


def with_plain_numbers(x0_now, x0_last, x, levels):
    import math

    rows = [(float(alpha), float(sigma)) for alpha, sigma in levels]
    lam = [math.inf if s == 0 else -math.inf if a == 0 else math.log(a / s) for a, s in rows]
    h = lam[2] - lam[1]
    weight = 0.0
    if x0_last is not None and h < math.inf:
        weight = h / (2 * (lam[1] - lam[0]))
    estimate = x0_now if weight == 0 else (1 + weight) * x0_now - weight * x0_last
    return rows[2][1] / rows[1][1] * x - rows[2][0] * math.expm1(-h) * estimate


def through_numpy(x0_now, x0_last, x, levels):
    import numpy as np

    alpha, sigma = levels.numpy().astype(np.float64).T
    if sigma[2] == 0:
        return x0_now * float(alpha[2])
    lam = np.log(alpha) - np.log(sigma)
    last, now = (x0_now if x0_last is None else x0_last).numpy(), x0_now.numpy()
    slope = (now - last) / (lam[1] - lam[0]) if x0_last is not None else np.zeros_like(now)
    h = lam[2] - lam[1]
    carried = now if h == np.inf else now + h / 2 * slope
    found = sigma[2] / sigma[1] * x.numpy() + alpha[2] * (1 - np.exp(-h)) * carried
    return torch.from_numpy(found).to(x)


def float64_inside(x0_now, x0_last, x, levels):
    last = None if x0_last is None else x0_last.double()
    estimate = _estimate(x0_now.double(), last, levels.double())
    return _step(x.double(), levels.double(), estimate).to(x.dtype)


def _levels(draw: Draw, sort: str):
    """(3, 2), three levels of the straight path, or of one that keeps the variance; the steps are of unequal length."""
    t = torch.tensor([0.85, draw.number(0.5, 0.65), draw.number(0.15, 0.4)], dtype=torch.float64)
    return torch.stack([1 - t, t] if sort == "straight" else [(1 - t**2).sqrt(), t], dim=1)


def cases(draw: Draw):
    for shape in draw.shapes():
        sort = draw.choice(("straight", "variance-preserving"))
        x0_now, x0_last, x = (draw.normal(*shape) for _ in range(3))
        yield Case(f"a step on a {sort} path", (x0_now, x0_last, x, _levels(draw, sort)))
    x0_now, x0_last, x = (draw.normal(4) for _ in range(3))
    yield Case("one number a sample", (x0_now, x0_last, x, _levels(draw, "variance-preserving")))
    shape = draw.integer(3, 6), draw.integer(2, 4)
    x0_now, x0_last, x = (draw.normal(*shape) for _ in range(3))
    levels = _levels(draw, "straight")
    levels[2] = torch.tensor([1 - 2**-8, 2**-8])
    yield Case("nearly at the data", (x0_now, x0_last, x, levels), "first and last step")
    for label in (
        "first step",
        "first step, whose first row is nan",
        "first step, whose first row is the level now",
        "first step, from pure noise",
        "last step, to the data",
        "only step",
        "second step",
    ):
        x0_now, x0_last, x = (draw.normal(*shape) for _ in range(3))
        levels = _levels(draw, "straight")
        part = "first and last step"
        if label.startswith("first step") or label == "only step":
            x0_last = None
        if label.endswith("nan"):
            levels[0] = torch.nan
        if label.endswith("the level now"):
            levels[0] = levels[1]
        if label in ("first step, from pure noise", "only step"):
            levels[0], levels[1] = torch.tensor([[0.1, 0.9], [0.0, 1.0]])
        if label in ("last step, to the data", "only step"):
            levels[2] = torch.tensor([1.0, 0.0])
        if label == "second step":
            levels[0] = torch.tensor([0.0, 1.0])
            label = "the second step, after one from pure noise"
        yield Case(label, (x0_now, x0_last, x, levels), part)


def second_order(piece, draw: Draw):
    """The error against the exact flow of a normal distribution falls to a quarter when the steps are doubled.

    The steps are one and two units long by turns, so that a forgotten ratio costs the order. One that is upside down
    does not: its errors are in proportion to the difference of the squares of two neighbouring steps, and cancel along
    the way. Only the values tell.
    """
    mean, cov, noise = draw.normal(2), draw.covariance(2), draw.normal(8, 2)
    variances, axes = torch.linalg.eigh(cov)
    eye = torch.eye(2, dtype=torch.float64)
    errors = []
    for steps in (16, 32, 64):
        widths = 1.0 + torch.arange(steps, dtype=torch.float64) % 2
        half_log_snr = -3 + 6 * torch.cat([torch.zeros(1), widths.cumsum(0) / widths.sum()])
        # On the straight path alpha / sigma = (1 - t) / t.
        levels = torch.stack([torch.sigmoid(half_log_snr), torch.sigmoid(-half_log_snr)], dim=1)
        start, end = (a**2 * variances + s**2 for a, s in (levels[0], levels[-1]))
        x = levels[0, 0] * mean + noise @ axes * start.sqrt() @ axes.T
        truth = levels[-1, 0] * mean + noise @ axes * end.sqrt() @ axes.T
        last = None
        for i in range(steps):
            alpha, sigma = levels[i]
            gain = alpha * cov @ torch.linalg.inv(alpha**2 * cov + sigma**2 * eye)
            estimate = mean + (x - alpha * mean) @ gain.T
            x = piece(estimate, last, x, levels[[max(i - 1, 0), i, i + 1]])
            last = estimate
        errors.append(float((x - truth).square().mean().sqrt()))
    order = float((torch.tensor(errors[0]) / torch.tensor(errors[-1])).log2()) / 2
    if not 1.6 < order < 3:
        return (
            "against the exact flow of a normal distribution the error in 16, 32 and 64 steps is "
            f"{', '.join(f'{e:.3g}' for e in errors)}: that is order {order:.2f}, and this method has order 2"
        )
    return None


EXERCISE = Exercise(
    chapter="spiral",
    kind="sampler",
    title="Second order for the price of first",
    statement=r"""
DPM-Solver++(2M) counts its way in half the log-SNR, $\lambda = \log(\alpha / \sigma)$. From level $t$ to the next level
$s$, with the estimate $\hat x_0$ of the clean data, the solution of the flow is

$$
\begin{aligned}
x_s &= \frac{\sigma_s}{\sigma_t}\, x_t - \alpha_s \left( e^{-h} - 1 \right) D, \\
h &= \lambda_s - \lambda_t,
\end{aligned}
$$

where $D$ stands for the estimate on the way. With $D = \hat x_0(t)$ this is DDIM, of first order. The second order
costs nothing: carry on the change since the estimate before, at level $r$,

$$
\begin{aligned}
D &= \hat x_0(t) + \frac{1}{2 \rho} \left( \hat x_0(t) - \hat x_0(r) \right), \\
\rho &= \frac{\lambda_t - \lambda_r}{h}.
\end{aligned}
$$

`levels` holds alpha and sigma of the levels $r, t, s$. At the first step there is no estimate before (`x0_last` is
`None`): it is of first order. So is the last step, to the data with $\sigma_s = 0$: there $h$ is infinite, and only one
term is left.

Why: a network is dear and arithmetic is cheap. Heun's step pays for its second order with a second evaluation; this
one remembers.
""",
    reference=dpmpp_2m_step,
    parts={"values": 3, "first and last step": 2, "order 2": 2, CARE: 1},
    cases=cases,
    properties=(Property("order 2", second_order, "order 2"),),
    wrong_answers=(
        wrong(growing_exponential),
        wrong(ratio_of_the_steps_inverted),
        wrong(ratio_of_the_steps_forgotten),
        wrong(whole_change),
        wrong(change_turned_around),
        wrong(last_estimate_ignored),
        wrong(no_first_order_start),
        wrong(zeros_before_the_start),
        wrong(change_of_nothing),
        wrong(second_order_into_the_data),
        wrong(change_carried_into_the_data),
        wrong(clean_too_early),
        wrong(change_added_to_the_last),
        wrong(columns_swapped),
        wrong(whole_log_snr),
        wrong(alpha_of_the_level_now),
        wrong(noise_scaled_up),
    ),
    right_answers=(
        right(without_logarithms_in_the_exponential),
        right(the_estimate_at_the_data),
        right(with_plain_numbers),
        right(through_numpy),
        right(float64_inside),
    ),
    hints=(
        "Write the first-order step first, and compare it with DDIM.",
        "What do the formulas give at alpha = 0 and at sigma = 0? Only one of the two needs a branch.",
    ),
    tables=("levels",),
    source="Lu et al. 2022b, algorithm 2",
)
