"""velocity_to_score: the two fields of the chapters before and of this one are one."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong
from diffusion_lab.exercises.spiral.probes import NormalVelocity


def velocity_to_score(velocity: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """The gradient of the log-density at x, given the velocity there on the straight path.

    Args:
        velocity: (B, *S), the mean velocity at x, E[eps - x0 | x].
        x: (B, *S), of any rank, (B,) included.
        t: (B,) in (0, 1]; 0 is data, 1 is noise. However small t is, nothing is added to it.

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


def velocity_as_the_noise(velocity, x, t):
    """The velocity itself was taken for the noise. It is the noise minus the data: follow it from x to the noise, at
    t = 1."""
    return -velocity / _time(t, x)


def x_as_the_noise(velocity, x, t):
    """x itself was taken for the noise, and the velocity was not used. That holds at t = 1 alone."""
    return -x / _time(t, x)


def root_of_the_time(velocity, x, t):
    """The noise was divided by the root of t. sigma is t itself on this path, not its root."""
    time = _time(t, x)
    return -(x + (1 - time) * velocity) / time.sqrt()


def multiplied_by_sigma(velocity, x, t):
    """The noise was multiplied by t. The narrower the density, the steeper its logarithm: divide."""
    time = _time(t, x)
    return -(x + (1 - time) * velocity) * time


def way_to_the_wrong_end(velocity, x, t):
    """x was moved by t times the velocity. From x, at time t, only 1 - t is left to the noise."""
    time = _time(t, x)
    return -(x + time * velocity) / time


def small_times_held_up(velocity, x, t):
    """You kept t from getting small before you divided. Close to the data the score really is that large: t is above 0,
    so divide by t itself."""
    time = _time(t, x)
    return -(x + (1 - time) * velocity) / time.clamp(min=0.05)


def something_added_to_t(velocity, x, t):
    """Something small was added to t before the division. t is above 0, so nothing can go wrong without, and with it
    every score is a little too small."""
    time = _time(t, x)
    return -(x + (1 - time) * velocity) / (time + 1e-3)


def one_time_for_the_batch(velocity, x, t):
    """Every sample got the time of the first one. Each sample of the batch has its own."""
    return -(x + (1 - t[0]) * velocity) / t[0]


def images_alone(velocity, x, t):
    """t was given the shape (B, 1, 1, 1), which fits pictures alone. Count the axes of x."""
    time = t.reshape(-1, 1, 1, 1)
    return -(x + (1 - time) * velocity) / time


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
    b = draw.integer(3, 6)
    t = draw.uniform(b, low=0.1, high=0.95)
    yield Case("one number a sample", (draw.normal(b), draw.normal(b), t), "any shape")
    t = draw.uniform(b, low=0.02, high=0.04)
    yield Case("close to the data, t from .02 to .04", (draw.normal(b, 3), draw.normal(b, 3), t))
    shape = draw.integer(3, 5), draw.integer(2, 4)
    t = draw.uniform(shape[0], low=0.3, high=0.9)
    t[-1] = 1
    yield Case("pure noise, t = 1, at the end of the batch", (draw.normal(*shape), draw.normal(*shape), t))


def gradient_of_a_log_density(piece, draw: Draw):
    """For normal data velocity and density are known: autograd of the log-density is the score."""
    batch, dim = draw.integer(4, 6), draw.integer(2, 3)
    mean, cov = draw.normal(dim), draw.covariance(dim)
    t = draw.uniform(batch, low=0.1, high=1)
    t[:2] = 10 ** draw.uniform(2, low=-4, high=-3.2)  # close to the data, where the score is at its largest
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
    # Sample by sample, or a large score would hide a small one.
    off = (piece(model(x, t), x, t) - gradient).abs().amax(dim=1) / gradient.abs().amax(dim=1)
    if not float(off.max()) < 1e-7:
        worst = int(off.nan_to_num(torch.inf).argmax())
        return (
            "for normal data, whose log-density autograd can differentiate, the score at "
            f"t = {float(t[worst]):.3g} is off by {100 * float(off[worst]):.3g} % of its largest entry"
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

Return the score for a velocity $v$ at $x$. Every sample of the batch has its own $t > 0$, which may be small: the
score is large then, and rightly so.

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
        wrong(velocity_as_the_noise),
        wrong(x_as_the_noise),
        wrong(root_of_the_time),
        wrong(multiplied_by_sigma),
        wrong(way_to_the_wrong_end),
        wrong(small_times_held_up),
        wrong(something_added_to_t),
        wrong(one_time_for_the_batch),
        wrong(images_alone),
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
