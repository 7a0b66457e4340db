"""sampling_loop: from pure noise to data, one step after the other."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.normal_1d.probes import Counting, NormalGuess
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def sampling_loop(network: nn.Module, x: Tensor, betas: Tensor, noise: Tensor) -> Tensor:
    """Draw samples: all T steps of ancestral sampling, from the noisiest level to the data.

    Args:
        network: called as network(x, time) with the noisy x (B, *S) and the time (t + 1) / T, shape (B,), of the dtype
            of x; it guesses the noise, (B, *S). It is called once in each step.
        x: (B, *S), pure noise, the start.
        betas: (T,), in (0, 1); T can be 1.
        noise: (T, B, *S), fresh noise: noise[t] belongs to step t, and noise[0] is not used.

    Returns:
        (B, *S), the samples, of the dtype of x. They hang on no graph. The step from t adds noise of variance betas[t],
        but for the last one, t = 0, which adds none.
    """
    left = torch.cumprod(1 - betas, dim=0)
    with torch.no_grad():
        for t in reversed(range(len(betas))):
            time = torch.full((len(x),), (t + 1) / len(betas), dtype=x.dtype)
            guess = network(x, time)
            x = (x - betas[t] / (1 - left[t]).sqrt() * guess) / (1 - betas[t]).sqrt()
            if t > 0:
                x = x + betas[t].sqrt() * noise[t]
    return x


def _time(x, t, betas):
    return torch.full((len(x),), (t + 1) / len(betas), dtype=x.dtype)


def _step(x, t, guess, betas, noise):
    left = torch.cumprod(1 - betas, dim=0)
    x = (x - betas[t] / (1 - left[t]).sqrt() * guess) / (1 - betas[t]).sqrt()
    return x + betas[t].sqrt() * noise[t] if t > 0 else x


@torch.no_grad()
def _walk(network, x, betas, noise, steps=None, time=_time, step=_step):
    for t in reversed(range(len(betas))) if steps is None else steps:
        x = step(x, t, network(x, time(x, t, betas)), betas, noise)
    return x


def from_clean_to_noisy(network, x, betas, noise):
    """The steps run from t = 0 up to T - 1. Sampling starts at the noisiest level: go through the steps backwards."""
    return _walk(network, x, betas, noise, range(len(betas)))


def noise_at_the_end(network, x, betas, noise):
    """Noise was added in the last step too. The step from t = 0 leads to the data, and no step is left to take its
    noise away."""

    def step(x, t, guess, betas, noise):
        return _step(x, t, guess, betas, noise) + (betas[0].sqrt() * noise[0] if t == 0 else 0)

    return _walk(network, x, betas, noise, step=step)


def no_noise(network, x, betas, noise):
    """No step adds noise. Each one loses spread, and the samples crowd in the middle."""
    return _walk(network, x, betas, torch.zeros_like(noise))


def last_step_left_out(network, x, betas, noise):
    """The loop ends before t = 0, so that the samples keep the noise of the first level. `range(T - 1, 0, -1)` stops
    at 1."""
    return _walk(network, x, betas, noise, range(len(betas) - 1, 0, -1))


def first_step_left_out(network, x, betas, noise):
    """The loop begins at t = T - 2. Pure noise is the level after the last step, t = T - 1: begin there."""
    return _walk(network, x, betas, noise, range(len(betas) - 2, -1, -1))


def one_call_too_many(network, x, betas, noise):
    """The network was called once before the first step, and its answer was thrown away. Calls are what sampling costs:
    T steps need T of them."""
    with torch.no_grad():
        network(x, _time(x, 0, betas))
    return _walk(network, x, betas, noise)


def two_calls_a_step(network, x, betas, noise):
    """The network was called twice in each step. Keep its answer: calls are what sampling costs."""

    def step(x, t, guess, betas, noise):
        return _step(x, t, network(x, _time(x, t, betas)), betas, noise)

    return _walk(network, x, betas, noise, step=step)


def time_as_a_whole_number(network, x, betas, noise):
    """The network got the number of the step, and it takes times in (0, 1]: give it (t + 1) / T."""
    return _walk(network, x, betas, noise, time=lambda x, t, betas: torch.full((len(x),), float(t), dtype=x.dtype))


def time_one_step_early(network, x, betas, noise):
    """The network got t / T. Step t leads away from the level at time (t + 1) / T, and that is what x is."""
    return _walk(network, x, betas, noise, time=lambda x, t, betas: torch.full((len(x),), t / len(betas)).to(x))


def time_backwards(network, x, betas, noise):
    """The network was told the times in the wrong order: in the first step, where x is pure noise, it heard 1 / T."""
    return _walk(network, x, betas, noise, time=lambda x, t, betas: _time(x, len(betas) - 1 - t, betas))


def variance_for_the_root(network, x, betas, noise):
    """The fresh noise was multiplied by betas[t], which is a variance. Multiply by its root."""

    def step(x, t, guess, betas, noise):
        return _step(x, t, guess, betas, noise * betas[t].sqrt())

    return _walk(network, x, betas, noise, step=step)


def not_widened(network, x, betas, noise):
    """The division by the root of 1 - betas[t] is missing: the step forward has shrunk the data, and the step back has
    to undo that."""

    def step(x, t, guess, betas, noise):
        left = torch.cumprod(1 - betas, dim=0)
        x = x - betas[t] / (1 - left[t]).sqrt() * guess
        return x + betas[t].sqrt() * noise[t] if t > 0 else x

    return _walk(network, x, betas, noise, step=step)


def all_noise_at_once(network, x, betas, noise):
    """Each step takes away the whole guessed noise, times the root of 1 - alpha_bar, and not the share that step t has
    added."""

    def step(x, t, guess, betas, noise):
        left = torch.cumprod(1 - betas, dim=0)
        x = (x - (1 - left[t]).sqrt() * guess) / (1 - betas[t]).sqrt()
        return x + betas[t].sqrt() * noise[t] if t > 0 else x

    return _walk(network, x, betas, noise, step=step)


def guess_never_renewed(network, x, betas, noise):
    """The network was asked only at the start, and its first guess used in every step. Ask it again in each step: x has
    changed, and so has the time."""
    with torch.no_grad():
        guess = network(x, _time(x, len(betas) - 1, betas))
        for t in reversed(range(len(betas))):
            x = _step(x, t, guess, betas, noise)
    return x


def gradients_tracked(network, x, betas, noise):
    """The samples still hang on the graph of all steps, which grows until memory is full. Put the loop under
    `torch.no_grad()`."""
    for t in reversed(range(len(betas))):
        x = _step(x, t, network(x, _time(x, t, betas)), betas, noise)
    return x


def posterior_variance(network, x, betas, noise):
    """The fresh noise has the posterior variance. That is the other choice of the paper; here each step adds the
    variance beta_t."""
    left = torch.cumprod(1 - betas, dim=0)
    share = torch.cat([torch.ones_like(left[:1]), (1 - left[:-1]) / (1 - left[1:])])
    return _walk(network, x, betas, share.sqrt().reshape(-1, *[1] * x.ndim).to(noise.dtype) * noise)


def noise_in_the_order_of_the_loop(network, x, betas, noise):
    """The noise was taken in the order in which the loop runs, the first entry first. noise[t] belongs to step t, so
    the first step of the loop takes the last entry."""
    return _walk(network, x, betas, noise.flip(0))


def by_the_guessed_data(network, x, betas, noise):
    left = torch.cumprod(1 - betas, dim=0)
    with torch.no_grad():
        for t in range(len(betas) - 1, -1, -1):
            guess = network(x, x.new_full((x.shape[0],), (t + 1) / len(betas)))
            data = (x - (1 - left[t]).sqrt() * guess) / left[t].sqrt()
            before = left[t - 1] if t else torch.ones_like(left[0])
            shrink = (1 - betas[t]).sqrt() * (1 - before) / (1 - left[t])
            x = shrink * x + before.sqrt() * betas[t] / (1 - left[t]) * data
            x = x + (betas[t].sqrt() * noise[t] if t else 0)
    return x


@torch.no_grad()
def with_a_counter(network, x, betas, noise):
    t, keep = len(betas), 1 - betas
    while t > 0:
        t -= 1
        away = betas[t] / (1 - keep[: t + 1].prod()).sqrt()
        x = (x - away * network(x, torch.ones(len(x)).to(x) * (t + 1) / len(betas))) * keep[t].rsqrt()
        if t != 0:
            x = x + noise[t] * betas[t] ** 0.5
    return x


def with_zeros_for_the_last(network, x, betas, noise):
    left = torch.cumprod(1 - betas, dim=0)
    fresh = torch.cat([torch.zeros_like(noise[:1]), noise[1:]])
    times = torch.arange(1, len(betas) + 1).to(x) / len(betas)
    with torch.inference_mode():
        for time, beta, kept, eps in zip(times.flip(0), betas.flip(0), left.flip(0), fresh.flip(0), strict=True):
            guess = network(x, time.expand(len(x)))
            x = (x - beta * guess / (1 - kept) ** 0.5) / (1 - beta) ** 0.5 + beta**0.5 * eps
    return x.clone()


def cases(draw: Draw):
    for part, shape in zip(("order", "order", "any shape", "any shape"), draw.shapes(), strict=False):
        steps = draw.integer(4, 7)
        yield Case(
            f"{steps} steps",
            (Counting(draw.integer(0, 999)), draw.normal(*shape), draw.betas(steps), draw.normal(steps, *shape)),
            part,
        )
    b = draw.integer(3, 5)
    network = Counting(draw.integer(0, 999))
    yield Case(
        "one step", (network, draw.normal(b, 2), draw.uniform(1, low=0.2, high=0.5), draw.normal(1, b, 2)), "end"
    )


def one_point(piece, draw: Draw):
    """All data are one point c, and the network guesses the noise exactly: every sample must be c, to the last
    digit."""
    point, steps = draw.number(-2.0, 2.0), draw.integer(20, 40)
    betas = draw.betas(steps)
    network = NormalGuess(point, 0.0, torch.cumprod(1 - betas, dim=0))
    samples = piece(network, draw.normal(50, 1), betas, draw.normal(steps, 50, 1))
    worst = float((samples - point).abs().max())
    if not worst < 1e-6:
        return f"all data are {point:g} and the network knows it, but a sample is {worst:.3g} away"
    return None


def right_spread(piece, draw: Draw):
    """Normal data and the exact guess: each step multiplies and adds, so mean and variance of the samples are known."""
    mean, std, steps, count = draw.number(-1.5, 1.5), draw.number(0.4, 0.8), draw.integer(20, 40), 4000
    betas = draw.betas(steps)
    left = torch.cumprod(1 - betas, dim=0)
    centre, variance = 0.0, 1.0
    for t in reversed(range(steps)):
        kept, beta = float(left[t]), float(betas[t])
        pull = beta / (kept * std**2 + 1 - kept)
        centre = (centre - pull * (centre - kept**0.5 * mean)) / (1 - beta) ** 0.5
        variance = (1 - pull) ** 2 * variance / (1 - beta) + (beta if t else 0.0)
    samples = piece(NormalGuess(mean, std, left), draw.normal(count, 1), betas, draw.normal(steps, count, 1))
    for what, got, wanted, error in (
        ("mean", float(samples.mean()), centre, (variance / count) ** 0.5),
        ("standard deviation", float(samples.std()), variance**0.5, (variance / 2 / count) ** 0.5),
    ):
        if not abs(got - wanted) < 6 * error:
            return f"with the exact guess for N({mean:g}, {std:g}²) the {what} is {got:.4f}, and by hand {wanted:.4f}"
    return None


EXERCISE = Exercise(
    chapter="normal_1d",
    kind="sampler",
    title="The sampling loop",
    statement=r"""
Start from pure noise and go back through all steps, $t = T - 1, \dots, 0$. In each, the network guesses the noise in
$x$, told the time $(t + 1) / T$, and

$$x \leftarrow \frac{1}{\sqrt{1 - \beta_t}} \left( x - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \hat\varepsilon
\right) + \sqrt{\beta_t}\; z_t, \qquad \bar\alpha_t = \prod_{i \le t} (1 - \beta_i),$$

with `noise[t]` for $z_t$. The last step, $t = 0$, adds none. The network is called once in each step and never
otherwise; what you return hangs on no graph.
""",
    reference=sampling_loop,
    parts={"order": 3, "any shape": 1, "end": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("data that are one point are met exactly", one_point, "end"),
        Property("mean and spread of normal data", right_spread, "order"),
    ),
    wrong_answers=(
        wrong(from_clean_to_noisy),
        wrong(noise_at_the_end),
        wrong(no_noise),
        wrong(last_step_left_out),
        wrong(first_step_left_out),
        wrong(one_call_too_many),
        wrong(two_calls_a_step),
        wrong(time_as_a_whole_number),
        wrong(time_one_step_early),
        wrong(time_backwards),
        wrong(variance_for_the_root),
        wrong(not_widened),
        wrong(all_noise_at_once),
        wrong(guess_never_renewed),
        wrong(gradients_tracked, "graph"),
        wrong(posterior_variance),
        wrong(noise_in_the_order_of_the_loop),
    ),
    right_answers=(right(by_the_guessed_data), right(with_a_counter), right(with_zeros_for_the_last)),
    hints=(
        "Which t is the noisiest level, and what does your loop do there?",
        "What must not happen at t = 0, and how often has the network been called when the loop ends?",
    ),
    source="Ho et al. 2020, algorithm 2",
    like="x",
)
