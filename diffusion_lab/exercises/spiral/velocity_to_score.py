"""velocity_to_score: the two fields of the chapters before and of this one are one."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong
from diffusion_lab.exercises.spiral.probes import NormalVelocity


def velocity_to_score(velocity: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """The gradient of the log-density at x, given the velocity there on the straight path.

    Args:
        velocity: (B, *S), the mean velocity at x, E[eps - x0 | x].
        x: (B, *S).
        t: (B,) in (0, 1]; 0 is data, 1 is noise.

    Returns:
        (B, *S), the score.
    """
    time = t.reshape(-1, *[1] * (x.ndim - 1))  # (B, 1, ..., 1)
    eps = x + (1 - time) * velocity
    return -eps / time


def _time(t, x):
    return t.reshape(-1, *[1] * (x.ndim - 1))


def sign_lost(velocity, x, t):
    """This points into the noise. The score points to where the density is higher, against the noise in x."""
    time = _time(t, x)
    return (x + (1 - time) * velocity) / time


def noise_without_its_scale(velocity, x, t):
    """This is the noise, up to its sign. The score is the noise in units of x: think of the width of the density."""
    time = _time(t, x)
    return -(x + (1 - time) * velocity)


def divided_by_the_variance(velocity, x, t):
    """The noise was divided by its variance. What is divided by the variance is the noise as it is in x, already
    multiplied by sigma."""
    time = _time(t, x)
    return -(x + (1 - time) * velocity) / time**2


def whole_velocity(velocity, x, t):
    """A full unit of velocity was added to x, which leads beyond t = 1. Only 1 - t is left from x to the noise."""
    return -(x + velocity) / _time(t, x)


def data_for_noise(velocity, x, t):
    """You followed the velocity back to the data, and the score needs the noise. The noise is at the other end of the
    line."""
    time = _time(t, x)
    return -(x - time * velocity) / time


def velocity_towards_the_data(velocity, x, t):
    """The velocity was taken to point from noise to data. On this path it points to the noise, which it reaches at t =
    1."""
    time = _time(t, x)
    return -(x - (1 - time) * velocity) / time


def other_direction_of_time(velocity, x, t):
    """This formula belongs to papers in which t = 1 is data. Here the noise has the factor t, and the data have 1 -
    t."""
    time = _time(t, x)
    return (time * velocity - x) / (1 - time)


def times_along_the_last_axis(velocity, x, t):
    """t of shape (B,) was lined up with the last axis of the data. It belongs to the first: where all sizes are equal,
    no error tells you."""
    return -(x + (1 - t) * velocity) / t


def in_place(velocity, x, t):
    """The velocity itself was changed, and the caller may still need it: make a new tensor."""
    time = _time(t, x)
    return velocity.mul_(1 - time).add_(x).div_(-time)


def through_the_data(velocity, x, t):
    alpha, sigma = 1 - _time(t, x), _time(t, x)
    x0 = x - sigma * velocity
    return (alpha * x0 - x) / sigma**2


def one_sample_at_a_time(velocity, x, t):
    return torch.stack([v - (y + v) / s for v, y, s in zip(velocity, x, t, strict=True)])


def einsum(velocity, x, t):
    return -torch.einsum("b...,b->b...", x, 1 / t) - torch.einsum("b...,b->b...", velocity, (1 - t) / t)


def through_numpy(velocity, x, t):
    time = t.numpy().reshape(-1, *[1] * (x.ndim - 1))
    return torch.from_numpy(-(x.numpy() + (1 - time) * velocity.numpy()) / time)


def float64_inside(velocity, x, t):
    time = _time(t.double(), x)
    return (-(x + (1 - time) * velocity) / time).to(x.dtype)


def cases(draw: Draw):
    for shape in draw.shapes():
        square = len(set(shape)) == 1
        label, part = ("every size equal", "any shape") if square else ("data of this shape", "values")
        yield Case(label, (draw.normal(*shape), draw.normal(*shape), draw.uniform(shape[0], low=0.1, high=0.95)), part)
    shape = draw.integer(3, 5), draw.integer(2, 4)
    t = draw.uniform(shape[0], low=0.3, high=0.9)
    t[-1] = 1
    yield Case("pure noise, t = 1, at the end of the batch", (draw.normal(*shape), draw.normal(*shape), t))


def gradient_of_a_log_density(piece, draw: Draw):
    """For normal data velocity and density are known: autograd of the log-density is the score."""
    batch, dim = draw.integer(4, 6), draw.integer(2, 3)
    mean, cov = draw.normal(dim), draw.covariance(dim)
    t = draw.uniform(batch, low=0.1, high=1)
    x = draw.normal(batch, dim)
    model = NormalVelocity(mean, cov)
    # The normal distribution of x at every sample's own t; what does not depend on x is left out of the log-density.
    alpha, sigma = (1 - t).reshape(-1, 1), t.reshape(-1, 1)
    variance = alpha.unsqueeze(-1) ** 2 * cov + sigma.unsqueeze(-1) ** 2 * torch.eye(dim, dtype=torch.float64)
    precision = torch.linalg.inv(variance)
    with torch.enable_grad():
        point = x.clone().requires_grad_()
        away = point - alpha * mean
        log_density = -torch.einsum("bi,bij,bj->b", away, precision, away) / 2
        (gradient,) = torch.autograd.grad(log_density.sum(), point)
    worst = float((piece(model(x, t), x, t) - gradient).abs().max() / gradient.abs().max())
    if not worst < 1e-8:
        return (
            "for normal data, whose log-density autograd can differentiate, the score is off by "
            f"{100 * worst:.3g} % of its largest entry"
        )
    return None


EXERCISE = Exercise(
    chapter="spiral",
    kind="data",
    title="One field, two names",
    statement=r"""
The velocity that a flow network learns is the mean over all paths through $x$,
$v(x, t) = \mathrm E[\varepsilon - x_0 \mid x]$, with $x = (1 - t)\, x_0 + t\, \varepsilon$. Solve these two for the
mean noise, $\mathrm E[\varepsilon \mid x]$. The score of the chapters before is the same thing in other units,

$$
\begin{gathered}
\nabla_x \log p_t(x) = -\frac{\mathrm E[\varepsilon \mid x]}{\sigma}, \\
\sigma = t.
\end{gathered}
$$

Return the score for a velocity $v$ at $x$. Every sample of the batch has its own $t > 0$.

Why: flow matching and diffusion train the same model. With this conversion a flow network can be sampled with noise
(Langevin, DDPM) or guided by a gradient.
""",
    reference=velocity_to_score,
    parts={"values": 3, "any shape": 1, CARE: 1},
    cases=cases,
    properties=(Property("autograd of a normal log-density", gradient_of_a_log_density),),
    wrong_answers=(
        wrong(sign_lost),
        wrong(noise_without_its_scale),
        wrong(divided_by_the_variance),
        wrong(whole_velocity),
        wrong(data_for_noise),
        wrong(velocity_towards_the_data),
        wrong(other_direction_of_time),
        wrong(times_along_the_last_axis),
        wrong(in_place, "modified"),
    ),
    right_answers=(
        right(through_the_data),
        right(one_sample_at_a_time),
        right(einsum),
        right(through_numpy),
        right(float64_inside),
    ),
    hints=("Where does the straight line through x with this velocity arrive at t = 1?", "What is the score of noise?"),
    source="Ma et al. 2024, SiT, section 2; Vincent 2011",
)
