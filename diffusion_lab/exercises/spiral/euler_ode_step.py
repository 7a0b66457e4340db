"""euler_ode_step: one step along the velocity."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong
from diffusion_lab.exercises.spiral.probes import NormalVelocity, Timed


def euler_ode_step(model: nn.Module, x: Tensor, t: float, t_next: float) -> Tensor:
    """From x at time t to x at time t_next along the velocity at t.

    Args:
        model: called as model(x, t) with x (B, *S) and t (B,), one time for each sample in the dtype of x; returns
            the velocity dx/dt, (B, *S).
        x: (B, *S).
        t, t_next: times in [0, 1]; a sampler has t_next < t, and the way back from data to noise t_next > t.

    Returns:
        (B, *S), without an autograd graph.
    """
    with torch.no_grad():
        return x + (t_next - t) * model(x, x.new_full((len(x),), t))


def _velocity(model, x, t):
    with torch.no_grad():
        return model(x, x.new_full((len(x),), t))


def step_turned_around(model, x, t, t_next):
    """The step has the wrong sign. The velocity is dx/dt, so x changes by it times the change of t, which is negative
    on the way to the data."""
    return x + (t - t_next) * _velocity(model, x, t)


def length_without_sign(model, x, t, t_next):
    """This uses the length of the step without its sign. When t falls, x must move against the velocity."""
    return x + abs(t_next - t) * _velocity(model, x, t)


def always_towards_the_data(model, x, t, t_next):
    """This always moves against the velocity. When t grows, as on the way from data to noise, x moves along with it."""
    return x - abs(t_next - t) * _velocity(model, x, t)


def velocity_of_the_next_time(model, x, t, t_next):
    """The network was told t_next, and x is still at t. It has learned what x looks like at the time that goes with
    it."""
    return x + (t_next - t) * _velocity(model, x, t_next)


def velocity_in_the_middle(model, x, t, t_next):
    """The network was told the time in the middle of the step, and x is still at t. Euler's step asks for the velocity
    where it stands."""
    return x + (t_next - t) * _velocity(model, x, (t + t_next) / 2)


def second_order(model, x, t, t_next):
    """This is Heun's step: the mean of the velocities at both ends. It is a better one, with two calls of the network;
    Euler's takes the velocity at t alone."""
    first = _velocity(model, x, t)
    second = _velocity(model, x + (t_next - t) * first, t_next)
    return x + (t_next - t) * (first + second) / 2


def step_alone(model, x, t, t_next):
    """This is the step and not the place where it leads. Add it to x."""
    return (t_next - t) * _velocity(model, x, t)


def length_of_the_next_time(model, x, t, t_next):
    """The velocity was multiplied by t_next. The step is as long as the time that passes, from t to t_next."""
    return x + t_next * _velocity(model, x, t)


def time_in_thousands(model, x, t, t_next):
    """The network was told 1000 t. Here its time runs from 0 to 1: tell it t as it is."""
    return x + (t_next - t) * _velocity(model, x, 1000 * t)


def whole_velocity(model, x, t, t_next):
    """A full unit of time was walked. This step is only as long as the time between t and t_next."""
    return x - _velocity(model, x, t)


def straight_to_the_data(model, x, t, t_next):
    """This walks all the way to t = 0, where the straight line of this velocity meets the data. The step ends at
    t_next."""
    return x - t * _velocity(model, x, t)


def time_reversed_for_the_network(model, x, t, t_next):
    """The network was told 1 - t. In this course t = 1 is noise, in training and in sampling alike."""
    return x + (t_next - t) * _velocity(model, x, 1 - t)


def graph_kept(model, x, t, t_next):
    """The result hangs on an autograd graph, which grows with each step until the memory is full. Sampling needs no
    gradients: switch them off."""
    return x + (t_next - t) * model(x, x.new_full((len(x),), t))


def mode_changed(model, x, t, t_next):
    """The network was left in evaluation mode. Whoever trains on after sampling would train without dropout: restore
    `model.training`."""
    return x + (t_next - t) * _velocity(model.eval(), x, t)


def in_place(model, x, t, t_next):
    """x itself was changed, and the caller may still need it: make a new tensor."""
    return x.add_(_velocity(model, x, t), alpha=t_next - t)


def one_sample_at_a_time(model, x, t, t_next):
    time = torch.tensor([t], dtype=x.dtype)
    with torch.no_grad():
        return torch.cat([row - (t - t_next) * model(row, time) for row in x.split(1)])


@torch.no_grad()
def by_decorator(model, x, t, t_next):
    times = torch.ones(x.shape[0], dtype=x.dtype, device=x.device) * t
    return torch.add(x, model(x, times), alpha=t_next - t)


def mix_of_the_ends(model, x, t, t_next):
    velocity = model(x, torch.full_like(x.reshape(len(x), -1)[:, 0], t)).detach()
    data, noise = x - t * velocity, x + (1 - t) * velocity
    return (1 - t_next) * data + t_next * noise


def float64_inside(model, x, t, t_next):
    velocity = model(x, torch.full((len(x),), t, dtype=x.dtype)).detach().double()
    return (x.double() + (t_next - t) * velocity).to(x.dtype)


def time_in_the_default_dtype(model, x, t, t_next):
    with torch.no_grad():
        return x + (t_next - t) * model(x, torch.full((len(x),), t))


def _time(draw: Draw, low: float, high: float) -> float:
    """A number that float32 holds exactly, so that it does not matter in which dtype a tensor is made of it."""
    return round(draw.number(low, high) * 256) / 256


def cases(draw: Draw):
    for shape in draw.shapes():
        t, after = _time(draw, 0.6, 1), _time(draw, 0.2, 0.5)
        label = "every size equal" if len(set(shape)) == 1 else "from noise towards data"
        yield Case(label, (Timed(draw.integer(0, 99)), draw.normal(*shape), t, after))
    t, after = _time(draw, 0.6, 1), _time(draw, 0.2, 0.5)
    yield Case("one number a sample", (Timed(draw.integer(0, 99)), draw.normal(draw.integer(3, 5)), t, after))
    shape = draw.integer(2, 5), draw.integer(2, 4)
    yield Case("the first step, from t = 1", (Timed(draw.integer(0, 99)), draw.normal(*shape), 1.0, 0.75))
    yield Case("the last step, to t = 0", (Timed(draw.integer(0, 99)), draw.normal(*shape), _time(draw, 0.1, 0.4), 0.0))
    backwards = _time(draw, 0.1, 0.3), _time(draw, 0.6, 0.9)
    yield Case("back, from data towards noise", (Timed(draw.integer(0, 99)), draw.normal(*shape), *backwards))


def straight_to_a_point(piece, draw: Draw):
    """Where all data are one point, every path is straight, and any two steps from t = 1 to 0 arrive exactly."""
    dim = draw.integer(2, 4)
    point, x, middle = draw.normal(dim), draw.normal(5, dim), _time(draw, 0.2, 0.8)
    model = NormalVelocity(point, torch.zeros(dim, dim))
    found = piece(model, piece(model, x, 1.0, middle), middle, 0.0)
    worst = float((found - point).abs().max())
    if not worst < 1e-9:
        return f"where all data are one point, two steps from t = 1 to 0 must end there, and miss it by {worst:.3g}"
    return None


def first_order(piece, draw: Draw):
    """The error against the exact flow of a normal distribution is halved when the steps are."""
    mean, cov, x = draw.normal(2), draw.covariance(2), draw.normal(8, 2)
    variances, axes = torch.linalg.eigh(cov)
    # From noise of variance 1 to data: along each axis the distance to the mean scales by the standard deviation.
    truth = mean + (x @ axes * variances.sqrt()) @ axes.T
    model, errors = NormalVelocity(mean, cov), []
    for steps in (8, 16, 32):
        state, times = x, [1 - i / steps for i in range(steps + 1)]
        for t, t_next in pairwise(times):
            state = piece(model, state, t, t_next)
        errors.append(float((state - truth).square().mean().sqrt()))
    order = float((torch.tensor(errors[0]) / torch.tensor(errors[-1])).log2()) / 2
    if not 0.75 < order < 1.4:
        return (
            "against the exact flow of a normal distribution the error in 8, 16 and 32 steps is "
            f"{', '.join(f'{e:.3g}' for e in errors)}: that is order {order:.2f}, and Euler's step has order 1"
        )
    return None


EXERCISE = Exercise(
    chapter="spiral",
    kind="sampler",
    title="A step along the velocity",
    statement=r"""
The network has learned a velocity, $\mathrm d x / \mathrm d t = v_\theta(x, t)$. Sampling is walking: from noise at
$t = 1$ to data at $t = 0$. Euler's step takes the velocity at $t$ for the whole way to $t'$:

$$x_{t'} = x_t + (t' - t)\, v_\theta(x_t, t).$$

The network wants a time for each sample of the batch, $(B,)$, in the dtype of $x$. Nothing here is random. The same
step with $t' > t$ leads from data to the noise that they come from. No autograd graph should be left behind, and the
network stays in its mode.

Why: this is the sampler of flow matching, and on the straight path it is DDIM. Halving the steps halves its error.
""",
    reference=euler_ode_step,
    parts={"values": 3, "exact flows": 2, CARE: 1},
    cases=cases,
    properties=(
        Property("data at a single point", straight_to_a_point, "exact flows"),
        Property("order 1", first_order, "exact flows"),
    ),
    wrong_answers=(
        wrong(step_turned_around),
        wrong(length_without_sign),
        wrong(always_towards_the_data),
        wrong(velocity_of_the_next_time),
        wrong(velocity_in_the_middle),
        wrong(second_order),
        wrong(step_alone),
        wrong(length_of_the_next_time),
        wrong(time_in_thousands),
        wrong(whole_velocity),
        wrong(straight_to_the_data),
        wrong(time_reversed_for_the_network),
        wrong(graph_kept, "graph"),
        wrong(mode_changed, "mode"),
        wrong(in_place, "modified"),
    ),
    right_answers=(
        right(one_sample_at_a_time),
        right(by_decorator),
        right(mix_of_the_ends),
        right(float64_inside),
        right(time_in_the_default_dtype),
    ),
    hints=("By how much does t change in this step, and with which sign?", "The network wants a t for each sample."),
    like="x",
    source="Lipman et al. 2023, section 2; Song et al. 2021b, equation 13",
)
