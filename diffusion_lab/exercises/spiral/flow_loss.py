"""flow_loss: how wrong the network's velocity is."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong
from diffusion_lab.exercises.spiral.probes import NormalVelocity


def flow_loss(model: nn.Module, data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The mean square error of the predicted velocity, for each sample.

    Args:
        model: called as model(x_t, t) with x_t (B, *S) and t (B,); returns its guess of dx/dt, (B, *S).
        data, noise: (B, *S), the ends of the paths, in this order; S has at least one axis.
        t: (B,) in [0, 1]; 0 is data, 1 is noise.

    Returns:
        (B,): the mean over all axes but the first.
    """
    time = t.reshape(-1, *[1] * (data.ndim - 1))  # (B, 1, ..., 1)
    x_t = (1 - time) * data + time * noise
    velocity = noise - data
    return (model(x_t, t) - velocity).square().flatten(1).mean(dim=1)


def _time(t, data):
    return t.reshape(-1, *[1] * (data.ndim - 1))


def _x(data, noise, t):
    return (1 - _time(t, data)) * data + _time(t, data) * noise


def velocity_towards_the_data(model, data, noise, t):
    """This velocity points from noise to data. Differentiate the path by t: t grows towards the noise, and a sampler
    goes back by steps of negative length."""
    return (model(_x(data, noise, t), t) - (data - noise)).square().flatten(1).mean(dim=1)


def noise_as_the_velocity(model, data, noise, t):
    """The network was asked for the noise. The velocity is the derivative of the whole path, and the data move too."""
    return (model(_x(data, noise, t), t) - noise).square().flatten(1).mean(dim=1)


def data_as_the_velocity(model, data, noise, t):
    """The network was asked for the data. A flow network predicts where x is going: the derivative of the path by t."""
    return (model(_x(data, noise, t), t) - data).square().flatten(1).mean(dim=1)


def v_of_the_circle(model, data, noise, t):
    """This is the v of the path that keeps the variance, whose direction turns on the way. A straight path has one
    direction from end to end."""
    time = _time(t, data)
    velocity = (1 - time) * noise - time * data
    return (model(_x(data, noise, t), t) - velocity).square().flatten(1).mean(dim=1)


def way_so_far(model, data, noise, t):
    """This is the way from the data to x_t, which grows with t. A velocity is a way for each unit of time."""
    x_t = _x(data, noise, t)
    return (model(x_t, t) - (x_t - data)).square().flatten(1).mean(dim=1)


def path_reversed(model, data, noise, t):
    """The path runs from noise at t = 0 to data at t = 1, and the velocity the other way: they do not belong together.
    Here t = 0 is data."""
    return (model(_x(noise, data, t), t) - (noise - data)).square().flatten(1).mean(dim=1)


def other_direction_of_time(model, data, noise, t):
    """Path and velocity both run from noise at t = 0 to data at t = 1. That is how some papers turn time, and what
    comes out if data and noise are exchanged: `flow_path` takes the noise first, this function the data."""
    return (model(_x(noise, data, t), t) - (data - noise)).square().flatten(1).mean(dim=1)


def sum_of_the_ends(model, data, noise, t):
    """The network was asked for noise plus data. Differentiate (1 - t) x0 + t eps by t: one of them has a minus."""
    return (model(_x(data, noise, t), t) - (noise + data)).square().flatten(1).mean(dim=1)


def way_that_is_left(model, data, noise, t):
    """This is the way from x_t to the noise, which shrinks with t. A velocity is a way for each unit of time."""
    x_t = _x(data, noise, t)
    return (model(x_t, t) - (noise - x_t)).square().flatten(1).mean(dim=1)


def x_on_the_circle(model, data, noise, t):
    """x_t was taken from the path that keeps the variance, on a quarter circle. The velocity noise minus data belongs
    to the straight line."""
    angle = _time(t, data) * torch.pi / 2
    x_t = angle.cos() * data + angle.sin() * noise
    return (model(x_t, t) - (noise - data)).square().flatten(1).mean(dim=1)


def time_in_thousands(model, data, noise, t):
    """The network was told 1000 t. Here its time runs from 0 to 1: tell it t as it is."""
    return (model(_x(data, noise, t), 1000 * t) - (noise - data)).square().flatten(1).mean(dim=1)


def one_time_for_the_batch(model, data, noise, t):
    """Every sample got the time of the first one. Each sample of the batch has its own."""
    t = t[:1].expand(len(t))
    return (model(_x(data, noise, t), t) - (noise - data)).square().flatten(1).mean(dim=1)


def weighted_by_the_time(model, data, noise, t):
    """The error was multiplied by t. In this loss every time counts alike."""
    return t * (model(_x(data, noise, t), t) - (noise - data)).square().flatten(1).mean(dim=1)


def images_alone(model, data, noise, t):
    """This works for pictures (B, C, H, W) alone. Average over all axes but the first, however many there are."""
    return (model(_x(data, noise, t), t) - (noise - data)).square().mean(dim=(1, 2, 3))


def time_reversed_for_the_network(model, data, noise, t):
    """The network was told 1 - t. It must be given the time at which x_t really is, or sampling will ask it for
    others."""
    return (model(_x(data, noise, t), 1 - t) - (noise - data)).square().flatten(1).mean(dim=1)


def clean_input(model, data, noise, t):
    """The network was given the data. It must see x_t: that is all it will have when sampling."""
    return (model(data, t) - (noise - data)).square().flatten(1).mean(dim=1)


def times_along_the_last_axis(model, data, noise, t):
    """t of shape (B,) was lined up with the last axis of the data. It belongs to the first: where all sizes are equal,
    no error tells you."""
    return (model((1 - t) * data + t * noise, t) - (noise - data)).square().flatten(1).mean(dim=1)


def sum_over_entries(model, data, noise, t):
    """This sums over the entries of a sample. The mean keeps the loss at one scale for data of every size."""
    return (model(_x(data, noise, t), t) - (noise - data)).square().flatten(1).sum(dim=1)


def mean_over_the_batch(model, data, noise, t):
    """The batch was averaged too. One value for each sample is asked for: weights by t come before that mean."""
    return (model(_x(data, noise, t), t) - (noise - data)).square().mean()


def absolute_error(model, data, noise, t):
    """This is the absolute error, whose best answer is a median. The field that carries noise to data is a mean of
    velocities, and means minimise squares."""
    return (model(_x(data, noise, t), t) - (noise - data)).abs().flatten(1).mean(dim=1)


def cut_off_from_the_network(model, data, noise, t):
    """The network's output was detached, so that no gradient reaches its weights and nothing is learned."""
    return (model(_x(data, noise, t), t).detach() - (noise - data)).square().flatten(1).mean(dim=1)


def square_of_the_mean(model, data, noise, t):
    """The errors were averaged first and squared then, so that errors of both signs cancel. Square each of them before
    the mean."""
    return (model(_x(data, noise, t), t) - (noise - data)).flatten(1).mean(dim=1).square()


def mean_over_axes(model, data, noise, t):
    error = noise - data - model(_x(data, noise, t), t)
    return (error * error).mean(dim=tuple(range(1, error.ndim)))


def functional_form(model, data, noise, t):
    from torch.nn import functional

    guess = model(torch.lerp(data, noise, _time(t, data).expand_as(data)), t)
    return functional.mse_loss(guess, noise - data, reduction="none").reshape(len(data), -1).mean(-1)


def one_sample_at_a_time(model, data, noise, t):
    losses = []
    for i in range(len(t)):
        x = (data[i] + t[i] * (noise[i] - data[i])).unsqueeze(0)
        losses.append((model(x, t[i : i + 1])[0] + data[i] - noise[i]).pow(2).mean())
    return torch.stack(losses)


def float64_inside(model, data, noise, t):
    guess = model(_x(data, noise, t), t).double()
    return (guess - (noise.double() - data.double())).square().flatten(1).mean(dim=1).to(data.dtype)


def cases(draw: Draw):
    for shape in draw.shapes():
        square = len(set(shape)) == 1
        label, part = ("every size equal", "any shape") if square else ("data of this shape", "values")
        model = Probe(draw.integer(0, 99))
        # Not near t = 1/2, where t and 1 - t are alike.
        t = draw.uniform(shape[0], low=0.05, high=0.4)
        t = t.where(draw.uniform(shape[0]) < 0.5, 1 - t)
        yield Case(label, (model, draw.normal(*shape), draw.normal(*shape), t), part)
    shape = draw.integer(4, 6), 2
    t = draw.permutation(shape[0]).double() % 2
    t[0], t[-1] = 0, 1
    yield Case("t = 0 and t = 1", (Probe(draw.integer(0, 99)), draw.normal(*shape), draw.normal(*shape), t))


def nothing_left_for_one_point(piece, draw: Draw):
    """Where all data are one point, the velocity (x - point) / t is known from x, and a network that has it is
    right."""
    batch, dim = draw.integer(3, 6), draw.integer(2, 4)
    point = draw.normal(dim)
    model = NormalVelocity(point, torch.zeros(dim, dim))
    losses = piece(model, point.expand(batch, dim).clone(), draw.normal(batch, dim), draw.uniform(batch, low=0.2))
    worst = float(losses.abs().max())
    if not worst < 1e-9:
        return f"where all data are one point, a network with the exact velocity must have no loss, and has {worst:.4g}"
    return None


EXERCISE = Exercise(
    chapter="spiral",
    kind="loss",
    title="The loss of a velocity",
    statement=r"""
The network sees $x_t$ and $t$ and guesses how fast and where to $x_t$ moves. Along the straight path
$x_t = (1 - t)\, x_0 + t\, \varepsilon$ the velocity is the derivative $\mathrm d x_t / \mathrm d t$, and the loss of
one sample is

$$L = \frac{1}{d} \left\lVert v_\theta(x_t, t) - \frac{\mathrm d x_t}{\mathrm d t} \right\rVert^2,$$

with $d$ the number of entries of a sample. Return one value for each sample, not their mean. You can use your
`flow_path`, which takes the noise before the data: `flow_path(noise, data, t)`.

Why: many paths cross at one $x_t$, and the mean of their velocities is a field that carries noise to data. Because
they do cross, the loss does not fall to zero.
""",
    reference=flow_loss,
    parts={"values": 4, "any shape": 1, CARE: 1},
    cases=cases,
    properties=(Property("data at a single point", nothing_left_for_one_point),),
    trains=True,
    wrong_answers=(
        wrong(velocity_towards_the_data),
        wrong(noise_as_the_velocity),
        wrong(data_as_the_velocity),
        wrong(v_of_the_circle),
        wrong(way_so_far),
        wrong(path_reversed),
        wrong(other_direction_of_time),
        wrong(sum_of_the_ends),
        wrong(way_that_is_left),
        wrong(x_on_the_circle),
        wrong(time_in_thousands),
        wrong(one_time_for_the_batch),
        wrong(weighted_by_the_time),
        wrong(images_alone),
        wrong(time_reversed_for_the_network),
        wrong(clean_input),
        wrong(times_along_the_last_axis),
        wrong(sum_over_entries),
        wrong(mean_over_the_batch),
        wrong(absolute_error),
        wrong(cut_off_from_the_network),
        wrong(square_of_the_mean),
    ),
    right_answers=(
        right(mean_over_axes),
        right(functional_form),
        right(one_sample_at_a_time),
        right(float64_inside),
    ),
    hints=("Differentiate the path by t.", "The velocity of a straight line does not contain t."),
    source="Lipman et al. 2023, equation 23 (with time turned around)",
)
