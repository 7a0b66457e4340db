"""flow_path: the straight line from data to noise."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def flow_path(noise: Tensor, data: Tensor, t: Tensor) -> Tensor:
    """A point of the straight path between a sample of the data and a sample of noise.

    Args:
        noise: (B, *S), standard normal. It comes before the data here.
        data: (B, *S), of any rank, (B,) included.
        t: (B,) in [0, 1], a time for each sample: 0 is data, 1 is noise.

    Returns:
        x_t: (B, *S).
    """
    time = t.reshape(-1, *[1] * (data.ndim - 1))  # (B, 1, ..., 1)
    return (1 - time) * data + time * noise


def _time(t, data):
    return t.reshape(-1, *[1] * (data.ndim - 1))


def direction_reversed(noise, data, t):
    """Your path is noise at t = 0 and data at t = 1. That is how some papers turn time, and what comes out if the two
    arguments are exchanged: `noise` is the first. Here every path starts at the data."""
    time = _time(t, data)
    return time * data + (1 - time) * noise


def quarter_circle(noise, data, t):
    """These factors lie on a circle, the path that keeps the variance of unit data. The path asked for is a straight
    line: its factors add up to 1."""
    time = _time(t, data)
    return (1 - time**2).sqrt() * data + time * noise


def quarter_circle_by_angle(noise, data, t):
    """These factors are a cosine and a sine, the path that keeps the variance of unit data. The path asked for is a
    straight line: its factors add up to 1."""
    angle = _time(t, data) * torch.pi / 2
    return angle.cos() * data + angle.sin() * noise


def squares_of_the_time(noise, data, t):
    """t was squared, so the path starts slowly and ends fast. It should be walked at an even speed."""
    time = _time(t, data) ** 2
    return (1 - time) * data + time * noise


def noise_subtracted(noise, data, t):
    """The noise was taken away where it is added. At t = 1 the path must end at the noise itself, with its sign."""
    time = _time(t, data)
    return (1 - time) * data - time * noise


def velocity_of_the_path(noise, data, t):
    """This is the velocity of the path, the same at every t. Return the point that it has reached at t."""
    return noise - data


def images_alone(noise, data, t):
    """t was given the shape (B, 1, 1, 1), which fits pictures alone. Count the axes of the data."""
    time = t.reshape(-1, 1, 1, 1)
    return (1 - time) * data + time * noise


def square_roots(noise, data, t):
    """Here t is no share of the variance, so no root is taken. The factors of data and noise change evenly with t."""
    time = _time(t, data)
    return (1 - time).sqrt() * data + time.sqrt() * noise


def data_never_fade(noise, data, t):
    """The data keep their full size, so that something of them is left at t = 1. The path must end in noise alone."""
    return data + _time(t, data) * noise


def time_through_a_sigmoid(noise, data, t):
    """t was taken for a normal number and squeezed into (0, 1). It is a time already, whatever distribution it was
    drawn from."""
    time = _time(t.sigmoid(), data)
    return (1 - time) * data + time * noise


def one_time_for_the_batch(noise, data, t):
    """Every sample got the time of the first one. Each sample of the batch has its own."""
    return (1 - t[0]) * data + t[0] * noise


def times_along_the_last_axis(noise, data, t):
    """t of shape (B,) was lined up with the last axis of the data. It belongs to the first: where all sizes are equal,
    no error tells you."""
    return (1 - t) * data + t * noise


def fresh_noise(noise, data, t):
    """Noise was drawn inside. The noise is handed in, because the velocity of this path depends on the very same
    noise."""
    time = _time(t, data)
    return (1 - time) * data + time * torch.randn_like(noise)


def in_place(noise, data, t):
    """The data themselves were changed. The loss still needs them for the velocity: make a new tensor."""
    time = _time(t, data)
    return data.mul_(1 - time).add_(time * noise)


def one_sample_at_a_time(noise, data, t):
    return torch.stack([(1 - s) * x + s * e for e, x, s in zip(noise, data, t, strict=True)])


def from_the_data_on(noise, data, t):
    return data + torch.einsum("b,b...->b...", t, noise - data)


def library_function(noise, data, t):
    return torch.lerp(data, noise, t.view(t.shape + (1,) * (noise.ndim - 1)).expand_as(data))


def through_numpy(noise, data, t):
    time = t.numpy().reshape(-1, *[1] * (data.ndim - 1))
    return torch.from_numpy((1 - time) * data.numpy() + time * noise.numpy())


def float64_inside(noise, data, t):
    time = _time(t.double(), data)
    return (data - time * data + time * noise).to(data.dtype)


def cases(draw: Draw):
    for shape in draw.shapes():
        square = len(set(shape)) == 1
        label, part = ("every size equal", "any shape") if square else ("data of this shape", "values")
        yield Case(label, (draw.normal(*shape), draw.normal(*shape), draw.uniform(shape[0], low=0.05, high=0.95)), part)
    b = draw.integer(3, 6)
    t = draw.uniform(b, low=0.05, high=0.95)
    yield Case("one number a sample", (draw.normal(b), draw.normal(b), t), "any shape")
    shape = draw.integer(2, 4), draw.integer(5, 7)
    ends = draw.permutation(shape[0]) % 2  # both ends among them
    yield Case("t = 0 and t = 1", (draw.normal(*shape), draw.normal(*shape), ends.double()), "ends")
    near = torch.tensor([2**-12, 1 - 2**-12], dtype=torch.float64)
    yield Case("close to both ends", (draw.normal(2, 5), draw.normal(2, 5), near), "ends")


def straight_and_even(piece, draw: Draw):
    """Half of the time between two times is half of the way between their points."""
    batch = draw.integer(3, 6)
    noise, data = draw.normal(batch, 2), draw.normal(batch, 2)
    early, late = draw.uniform(batch, high=0.4), draw.uniform(batch, low=0.6)
    first, middle, last = (piece(noise, data, t) for t in (early, (early + late) / 2, late))
    worst = float((middle - (first + last) / 2).abs().max())
    if not worst <= 1e-9:
        return f"the point half-way in time is {worst:.3g} away from half of the way: the path bends, or is not even"
    return None


EXERCISE = Exercise(
    chapter="spiral",
    kind="schedule",
    title="The straight path",
    statement=r"""
Flow matching joins a sample of the data and a sample of noise by a straight line, walked at an even speed:

$$x_t = (1 - t)\, x_0 + t\, \varepsilon, \qquad t \in [0, 1].$$

In our notation $\alpha = 1 - t$ and $\sigma = t$: $t = 0$ is data and $t = 1$ is noise, as everywhere in this course.
(Many papers turn time around. Always look at the ends.) Every sample of the batch has its own $t$. Mind the order of
the arguments: the noise comes first here, `flow_path(noise, data, t)`, and after the data in the next exercise,
`flow_loss(model, data, noise, t)`.

Why: the velocity of a straight line does not change on the way, and what changes little is easy to integrate.
""",
    reference=flow_path,
    parts={"values": 2, "ends": 1, "any shape": 1, CARE: 1},
    cases=cases,
    properties=(Property("half of the time is half of the way", straight_and_even),),
    wrong_answers=(
        wrong(direction_reversed),
        wrong(quarter_circle),
        wrong(quarter_circle_by_angle),
        wrong(square_roots),
        wrong(squares_of_the_time),
        wrong(noise_subtracted),
        wrong(velocity_of_the_path),
        wrong(images_alone),
        wrong(data_never_fade),
        wrong(time_through_a_sigmoid),
        wrong(one_time_for_the_batch),
        wrong(times_along_the_last_axis),
        wrong(fresh_noise, "random"),
        wrong(in_place, "modified"),
    ),
    right_answers=(
        right(one_sample_at_a_time),
        right(from_the_data_on),
        right(library_function),
        right(through_numpy),
        right(float64_inside),
    ),
    hints=("What must be left at t = 0, and what at t = 1?", "Give t the shape (B, 1, ..., 1)."),
    source="Lipman et al. 2023, equation 22 (with time turned around); Liu et al. 2023, section 2",
)
