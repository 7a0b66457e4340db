"""Chapter 6's pipeline with one wrong piece: straight paths, Euler steps, shifted times, and what tells copies."""

import itertools

import torch
from torch import nn

from diffusion_lab.exercises.bugs import Bug, BugTask, Part, Silent
from diffusion_lab.exercises.spiral import (
    energy_distance,
    euler_ode_step,
    flow_loss,
    flow_path,
    ideal_denoiser,
    nearest_train,
    shifted_times,
    velocity_to_score,
)


def find_bug_spiral(
    flow_path, flow_loss, euler_ode_step, shifted_times, velocity_to_score, ideal_denoiser, nearest_train,
    energy_distance,
):  # fmt: skip
    """Say which piece is wrong, and prove it with a number.

    Args:
        flow_path, shifted_times, velocity_to_score, ideal_denoiser, nearest_train, energy_distance: the pipeline's
            pieces; their arguments are those of the chapter's exercises.
        flow_loss: (data, noise, t), asked of a network that always answers 0.
        euler_ode_step: (x, t, t_next), along the exact velocity for data N(0, 0.5^2).

    Returns:
        (piece, idea, found, expected): the name of a piece; an idea, one of the list; a number that you computed with
        the piece; and the number that a right piece would give.
    """
    found = []  # (piece, idea, found, expected): the first that is off tells
    one, zero, t = torch.ones(1, 2), torch.zeros(1, 2), torch.tensor([0.36])
    noise = flow_path(one, zero, t)[0, 0]
    idea = "noise and data change places in time" if abs(noise - 0.64) < 1e-3 else "roots are taken, as of variances"
    found.append(("flow_path", idea, noise, 0.36))
    found.append(("flow_path", "the data never fade", flow_path(zero, one, t)[0, 0], 0.64))
    loss = flow_loss(3 * one, one, t)[0]
    idea = "the noise is the target" if abs(loss - 1) < 1e-3 else "the ends are added"
    found.append(("flow_loss", "the loss is added up" if abs(loss - 8) < 1e-3 else idea, loss, 4.0))
    moved = euler_ode_step(one, 1.0, 0.5)[0, 0]  # at t = 1 the velocity is x
    idea = "the step goes towards the noise" if moved > 1.1 else "the velocity at the end of the step is used"
    found.append(("euler_ode_step", idea, moved, 0.5))
    times = shifted_times(2, 3.0)
    found.append(("shifted_times", "times run from the data to the noise", times[0], 1.0))
    idea = "the shift is not used" if abs(times[1] - 0.5) < 1e-3 else "times are moved towards the data"
    found.append(("shifted_times", idea, times[1], 0.75))
    score = velocity_to_score(one, zero, t)[0, 0]
    idea = "the score has the wrong sign" if score > 0 else "the noise is not divided by its scale"
    idea = "a variance is taken for a standard deviation" if abs(score + 0.64 / 0.36**2) < 1e-3 else idea
    found.append(("velocity_to_score", idea, score, -0.64 / 0.36))
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    mean = ideal_denoiser(torch.tensor([[1.0, 0.0]]), 2.0, points)[0, 0]
    right = torch.sigmoid(torch.tensor(1 / 8))
    idea = "far points have more weight" if mean < 0.5 else "the two below the square is missing"
    found.append(("ideal_denoiser", idea, mean, right))
    distance = nearest_train(torch.tensor([[3.0, 4.0]]), points[:1])[0][0]
    found.append(("nearest_train", "the root of the distance is missing", distance, 5.0))
    distance = nearest_train(points[:1], torch.tensor([[0.0, 1.0], [0.0, 9.0]]))[0][0]
    found.append(("nearest_train", "the second nearest point is given", distance, 1.0))
    energy = energy_distance(torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [3.0, 4.0]]))
    idea = "the root of the distance is missing" if energy > 9 else "the distance between is counted once"
    found.append(("energy_distance", idea, energy, 10**0.5))
    for piece, idea, number, expected in found:
        if abs(float(number) - float(expected)) > 1e-3:
            return piece, idea, float(number), float(expected)
    return piece, idea, float(number), float(expected)


class _Velocity(nn.Module):
    """The exact mean velocity for data N(0, 0.5^2)."""

    def forward(self, x, t):
        t = t.reshape(-1, *[1] * (x.ndim - 1))
        return (t - (1 - t) / 4) / ((1 - t) ** 2 / 4 + t**2) * x


def with_silence(loss):
    """The loss of a network that always answers 0."""
    return lambda data, noise, t: loss(Silent(), data, noise, t)


def with_the_truth(step):
    """Steps along the exact velocity."""
    return lambda x, t, t_next: step(_Velocity(), x, t, t_next)


def settings(draw):
    return {"steps": draw.integer(8, 16), "shift": draw.number(1.5, 3), "noise": draw.number(0.3, 0.6)}


def run(pieces, numbers, draw):
    """500 pairs of normal numbers by Euler's method, compared with data; and noisy training points, cleaned."""
    n = 500
    times = pieces["shifted_times"](numbers["steps"], numbers["shift"]).tolist()
    x = draw.normal(n, 2)
    for now, after in itertools.pairwise(times):
        x = pieces["euler_ode_step"](x, now, after)
    data, noise, t = draw.normal(n, 2) / 2, draw.normal(n, 2), draw.uniform(n, low=0.05)
    on_path = pieces["flow_path"](noise, data, t)
    train = draw.normal(40, 2) / 2
    noisy = train + numbers["noise"] * draw.normal(40, 2)
    return {
        "samples": x,
        "on the path": on_path,
        "losses": pieces["flow_loss"](data, noise, t),
        "scores": pieces["velocity_to_score"](noise - data, on_path, t),
        "cleaned": pieces["ideal_denoiser"](noisy, numbers["noise"], train),
        "distances to the training points": pieces["nearest_train"](x[:100], train)[0],
        "energy distance": pieces["energy_distance"](x[:200], data[:200] + 1).reshape(1),
        "times": torch.tensor(times),
    }


TASK = BugTask(
    chapter="spiral",
    title="Find the bug",
    about=r"""
The pipeline draws pairs of normal numbers of standard deviation 0.5: it visits the `shifted_times` with
`euler_ode_step`, along the exact velocity. `nearest_train` and `energy_distance` compare the samples with data.
`flow_path`, the `flow_loss` of a network that always answers 0, `velocity_to_score`, and the `ideal_denoiser` of forty
training points are there too.
""",
    pipeline=(
        Part(flow_path.EXERCISE),
        Part(flow_loss.EXERCISE, with_silence),
        Part(euler_ode_step.EXERCISE, with_the_truth),
        Part(shifted_times.EXERCISE),
        Part(velocity_to_score.EXERCISE),
        Part(ideal_denoiser.EXERCISE),
        Part(nearest_train.EXERCISE),
        Part(energy_distance.EXERCISE),
    ),
    bugs=(
        Bug("flow_path", "direction reversed", "noise and data change places in time"),
        Bug("flow_path", "data never fade", "the data never fade"),
        Bug("flow_path", "square roots", "roots are taken, as of variances"),
        Bug("flow_loss", "noise as the velocity", "the noise is the target"),
        Bug("flow_loss", "sum of the ends", "the ends are added"),
        Bug("flow_loss", "sum over entries", "the loss is added up"),
        Bug("euler_ode_step", "step turned around", "the step goes towards the noise"),
        Bug("euler_ode_step", "velocity of the next time", "the velocity at the end of the step is used"),
        Bug("shifted_times", "ascending", "times run from the data to the noise"),
        Bug("shifted_times", "shift forgotten", "the shift is not used"),
        Bug("shifted_times", "shifted to the data", "times are moved towards the data"),
        Bug("velocity_to_score", "sign lost", "the score has the wrong sign"),
        Bug("velocity_to_score", "noise without its scale", "the noise is not divided by its scale"),
        Bug("velocity_to_score", "divided by the variance", "a variance is taken for a standard deviation"),
        Bug("ideal_denoiser", "missing factor two", "the two below the square is missing"),
        Bug("ideal_denoiser", "far points preferred", "far points have more weight"),
        Bug("nearest_train", "squared distance", "the root of the distance is missing"),
        Bug("nearest_train", "second nearest", "the second nearest point is given"),
        Bug("energy_distance", "missing root", "the root of the distance is missing"),
        Bug("energy_distance", "missing factor two", "the distance between is counted once"),
    ),
    decoys=(
        "the network is told the time in thousands",
        "the last time is not quite clean",
        "images are compared and vectors are not",
        "the softmax runs over the batch",
    ),
    settings=settings,
    run=run,
    reference=find_bug_spiral,
)
