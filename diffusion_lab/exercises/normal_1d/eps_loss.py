"""eps_loss: how wrong the network's guess of the noise is."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.normal_1d.probes import Known
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def eps_loss(model: nn.Module, x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """The mean square error of the predicted noise, for each sample.

    Args:
        model: called as model(x_t, t) with x_t (B, *S) and t (B,); returns its guess of the noise, (B, *S).
        x0, noise: (B, *S).
        t: (B,) int64 in 0..T-1.
        alpha_bar: (T,).

    Returns:
        (B,): the mean over all axes but the first.
    """
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    x_t = kept.sqrt() * x0 + (1 - kept).sqrt() * noise
    return (model(x_t, t) - noise).square().flatten(1).mean(dim=1)


def _noisy(x0, t, noise, alpha_bar):
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


def compares_with_the_data(model, x0, t, noise, alpha_bar):
    """This compares the network's output with x0. An eps network guesses the noise."""
    return (model(_noisy(x0, t, noise, alpha_bar), t) - x0).square().flatten(1).mean(dim=1)


def clean_input(model, x0, t, noise, alpha_bar):
    """The network was given x0. It must see the noisy x_t: that is all it will have when sampling."""
    return (model(x0, t) - noise).square().flatten(1).mean(dim=1)


def sum_over_entries(model, x0, t, noise, alpha_bar):
    """This sums over the entries of a sample. The mean keeps the loss at one scale for data of every size."""
    return (model(_noisy(x0, t, noise, alpha_bar), t) - noise).square().flatten(1).sum(dim=1)


def mean_over_the_batch(model, x0, t, noise, alpha_bar):
    """The batch was averaged too. One value for each sample is asked for: weights by t come before that mean."""
    return (model(_noisy(x0, t, noise, alpha_bar), t) - noise).square().mean()


def absolute_error(model, x0, t, noise, alpha_bar):
    """This is the absolute error, whose best answer is a median. The mean of all noises that fit x_t minimises the
    square."""
    return (model(_noisy(x0, t, noise, alpha_bar), t) - noise).abs().flatten(1).mean(dim=1)


def cut_off_from_the_network(model, x0, t, noise, alpha_bar):
    """The network's output was detached, so that no gradient reaches its weights and nothing is learned."""
    return (model(_noisy(x0, t, noise, alpha_bar), t).detach() - noise).square().flatten(1).mean(dim=1)


def time_one_step_off(model, x0, t, noise, alpha_bar):
    """The network was told t + 1 for an x_t of step t. A sampler that tells it t then asks for another level than the
    one it has learned."""
    return (model(_noisy(x0, t, noise, alpha_bar), t + 1) - noise).square().flatten(1).mean(dim=1)


def fresh_noise(model, x0, t, noise, alpha_bar):
    """Noise was drawn inside. The noise is handed in: x_t is made of it, and the guess is compared with the very
    same."""
    drawn = torch.randn_like(noise)
    return (model(_noisy(x0, t, drawn, alpha_bar), t) - drawn).square().flatten(1).mean(dim=1)


def factors_along_the_last_axis(model, x0, t, noise, alpha_bar):
    """The (B,) factors were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    x_t = alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * noise
    return (model(x_t, t) - noise).square().flatten(1).mean(dim=1)


def mean_over_axes(model, x0, t, noise, alpha_bar):
    error = noise - model(_noisy(x0, t, noise, alpha_bar), t)
    return (error * error).mean(dim=tuple(range(1, error.ndim)))


def functional_form(model, x0, t, noise, alpha_bar):
    from torch.nn import functional

    guess = model(_noisy(x0, t, noise, alpha_bar), t)
    return functional.mse_loss(guess, noise, reduction="none").reshape(len(x0), -1).mean(-1)


def norm(model, x0, t, noise, alpha_bar):
    error = (model(_noisy(x0, t, noise, alpha_bar), t) - noise).flatten(1)
    return (error**2).sum(dim=1) / error.shape[1]


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    for shape in draw.shapes():
        square = len(set(shape)) == 1
        label, part = ("every size equal", "any shape") if square else ("data of this shape", "values")
        noise, table = draw.normal(*shape), draw.alpha_bar(steps)
        arguments = (Probe(draw.integer(0, 99)), draw.normal(*shape), draw.times(shape[0], steps), noise, table)
        yield Case(label, arguments, part)


def error_of_one_size(piece, draw: Draw):
    """A network that is off by the same amount everywhere has the square of it as its loss, for data of any size."""
    for shape in ((4, 1), (3, draw.integer(5, 9)), (2, 3, draw.integer(4, 6), 5)):
        noise, offset, steps = draw.normal(*shape), draw.number(0.5, 2.0), draw.integer(12, 30)
        times = draw.times(shape[0], steps)
        found = piece(Known(noise, offset), draw.normal(*shape), times, noise, draw.alpha_bar(steps))
        if found.shape != (shape[0],):
            return f"for {shape[0]} samples the loss has the shape {tuple(found.shape)}"
        if float((found - offset**2).abs().max()) > 1e-9:
            return (
                f"a network that is off by {offset:g} in every entry of data {shape} has the loss {offset**2:.5g}, "
                f"and yours is {float(found[0]):.5g}"
            )
    return None


EXERCISE = Exercise(
    chapter="normal_1d",
    kind="loss",
    title="The loss of a noise guesser",
    statement=r"""
The network sees $x_t$ and $t$ and guesses the noise. Its loss for one sample is

$$L = \frac{1}{d} \left\lVert \varepsilon_\theta(x_t, t) - \varepsilon \right\rVert^2,$$

with $d$ the number of entries of a sample. Return one value for each sample, not their mean. The gradient must reach
the network's weights. You can use your `q_sample`.
""",
    reference=eps_loss,
    parts={"values": 4, "any shape": 1, CARE: 1},
    cases=cases,
    properties=(Property("an error of one size everywhere", error_of_one_size),),
    trains=True,
    time="t",
    wrong_answers=(
        wrong(compares_with_the_data),
        wrong(clean_input),
        wrong(sum_over_entries),
        wrong(mean_over_the_batch),
        wrong(absolute_error),
        wrong(time_one_step_off),
        wrong(factors_along_the_last_axis),
        wrong(cut_off_from_the_network),
        wrong(fresh_noise, "random"),
    ),
    right_answers=(right(mean_over_axes), right(functional_form), right(norm)),
    hints=(
        "What does the network see when it samples?",
        "Which of the two that make up x_t does it guess?",
        "Average over all axes but the first.",
    ),
    source="Ho et al. 2020, equation 14",
)
