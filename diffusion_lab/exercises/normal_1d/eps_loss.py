"""eps_loss: how wrong the network's guess of the noise is."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.inputs import data_shapes, thousand_levels
from diffusion_lab.exercises.normal_1d.probes import Known
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def eps_loss(model: nn.Module, x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """The mean square error of the predicted noise, for each sample.

    Args:
        model: called as model(x_t, t) with x_t (B, *S) and t (B,); returns its guess of the noise, (B, *S).
        x0, noise: (B, *S), of any rank; S can be empty.
        t: (B,) int64 in 0..T-1.
        alpha_bar: (T,), in (0, 1); it can be float64 where the data are float32, and the network takes x_t in the
            dtype of the data.

    Returns:
        (B,), of the dtype of x0: the mean over all axes but the first.
    """
    kept = alpha_bar[t].to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))
    x_t = kept.sqrt() * x0 + (1 - kept).sqrt() * noise
    return (model(x_t, t) - noise).square().reshape(len(x0), -1).mean(dim=1)


def _noisy(x0, t, noise, alpha_bar):
    kept = alpha_bar[t].to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


def _error(model, x0, t, target, x_t):
    return (model(x_t, t) - target).square().reshape(len(x0), -1).mean(dim=1)


def compares_with_the_data(model, x0, t, noise, alpha_bar):
    """This compares the network's output with x0. An eps network guesses the noise."""
    return (model(_noisy(x0, t, noise, alpha_bar), t) - x0).square().reshape(len(x0), -1).mean(dim=1)


def clean_input(model, x0, t, noise, alpha_bar):
    """The network was given x0. It must see the noisy x_t: that is all it will have when sampling."""
    return (model(x0, t) - noise).square().reshape(len(x0), -1).mean(dim=1)


def sum_over_entries(model, x0, t, noise, alpha_bar):
    """This sums over the entries of a sample. The mean keeps the loss at one scale for data of every size."""
    return (model(_noisy(x0, t, noise, alpha_bar), t) - noise).square().reshape(len(x0), -1).sum(dim=1)


def mean_over_the_batch(model, x0, t, noise, alpha_bar):
    """The batch was averaged too. One value for each sample is asked for: weights by t come before that mean."""
    return (model(_noisy(x0, t, noise, alpha_bar), t) - noise).square().mean()


def absolute_error(model, x0, t, noise, alpha_bar):
    """This is the absolute error, whose best answer is a median. The mean of all noises that fit x_t minimises the
    square."""
    return (model(_noisy(x0, t, noise, alpha_bar), t) - noise).abs().reshape(len(x0), -1).mean(dim=1)


def cut_off_from_the_network(model, x0, t, noise, alpha_bar):
    """The network's output is cut off from autograd (by `detach`, `no_grad`, a number or NumPy on the way), so that no
    gradient reaches its weights and nothing is learned."""
    return (model(_noisy(x0, t, noise, alpha_bar), t).detach() - noise).square().reshape(len(x0), -1).mean(dim=1)


def time_one_step_off(model, x0, t, noise, alpha_bar):
    """The network was told t + 1 for an x_t of step t. A sampler that tells it t then asks for another level than the
    one it has learned."""
    return (model(_noisy(x0, t, noise, alpha_bar), t + 1) - noise).square().reshape(len(x0), -1).mean(dim=1)


def fresh_noise(model, x0, t, noise, alpha_bar):
    """Noise was drawn inside. The noise is handed in: x_t is made of it, and the guess is compared with the very
    same."""
    drawn = torch.randn_like(noise)
    return (model(_noisy(x0, t, drawn, alpha_bar), t) - drawn).square().reshape(len(x0), -1).mean(dim=1)


def factors_along_the_last_axis(model, x0, t, noise, alpha_bar):
    """The (B,) factors were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    kept = alpha_bar[t].to(x0.dtype)
    x_t = kept.sqrt() * x0 + (1 - kept).sqrt() * noise
    return (model(x_t, t) - noise).square().reshape(len(x0), -1).mean(dim=1)


def mean_over_no_axes(model, x0, t, noise, alpha_bar):
    """For data of shape (B,) the batch was averaged. There are no other axes then, and `mean` over an empty tuple of
    axes averages over all of them. Give each sample one axis first, `reshape(len(x0), -1)`, and average over that."""
    error = noise - model(_noisy(x0, t, noise, alpha_bar), t)
    return (error * error).mean(dim=tuple(range(1, error.ndim)))


def no_second_axis(model, x0, t, noise, alpha_bar):
    """Data of shape (B,) have no axis 1 to flatten or to average over. `reshape(len(x0), -1)` gives each sample one
    axis, whatever its shape."""
    return (model(_noisy(x0, t, noise, alpha_bar), t) - noise).square().flatten(1).mean(1)


def time_as_a_share(model, x0, t, noise, alpha_bar):
    """The network was told t / T. It is called with the step t itself, as the sampler will call it."""
    return _error(model, x0, t / len(alpha_bar), noise, _noisy(x0, t, noise, alpha_bar))


def no_roots_in_x_t(model, x0, t, noise, alpha_bar):
    """In x_t, alpha_bar and 1 - alpha_bar were used as factors. They are variances: data and noise are multiplied by
    their square roots."""
    kept = alpha_bar[t].to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))
    return _error(model, x0, t, noise, kept * x0 + (1 - kept) * noise)


def compares_with_the_noise_as_added(model, x0, t, noise, alpha_bar):
    """This compares the network's output with the noise times its factor in x_t. The network guesses the noise itself,
    of variance 1 at every step."""
    kept = alpha_bar[t].to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))
    return _error(model, x0, t, (1 - kept).sqrt() * noise, _noisy(x0, t, noise, alpha_bar))


def root_of_the_mean(model, x0, t, noise, alpha_bar):
    """This is the root of the mean square error. The loss is the mean square itself: no root."""
    return eps_loss(model, x0, t, noise, alpha_bar).sqrt()


def half_of_the_square(model, x0, t, noise, alpha_bar):
    """The square has a factor 1/2. The loss that is asked for is the plain mean of the squares, with which the floor of
    this chapter is compared."""
    return eps_loss(model, x0, t, noise, alpha_bar) / 2


def weighted_by_the_noise_ratio(model, x0, t, noise, alpha_bar):
    """The loss has a weight that depends on t: this is the error of the x0 that the guess stands for. The loss of the
    noise has no weight."""
    kept = alpha_bar[t].to(x0.dtype)
    return (1 - kept) / kept * eps_loss(model, x0, t, noise, alpha_bar)


def divided_by_the_batch(model, x0, t, noise, alpha_bar):
    """The sum over a sample was divided by the number of samples. Divide by the number of entries of a sample."""
    return (model(_noisy(x0, t, noise, alpha_bar), t) - noise).square().reshape(len(x0), -1).sum(dim=1) / len(x0)


def mean_along_the_batch(model, x0, t, noise, alpha_bar):
    """The mean over axis 0 went over the batch. Every sample keeps a loss of its own: average over its own axes."""
    return (model(_noisy(x0, t, noise, alpha_bar), t) - noise).square().mean(dim=0)


def told_alpha_bar(model, x0, t, noise, alpha_bar):
    """The network was told alpha_bar[t]. It is called with the step t itself, as the sampler will call it."""
    return _error(model, x0, alpha_bar[t].to(x0.dtype), noise, _noisy(x0, t, noise, alpha_bar))


def square_of_the_mean(model, x0, t, noise, alpha_bar):
    """The errors were averaged first and squared then, so that errors of both signs cancel. Square each of them before
    the mean."""
    return (model(_noisy(x0, t, noise, alpha_bar), t) - noise).reshape(len(x0), -1).mean(dim=1).square()


def mean_over_trailing_axes(model, x0, t, noise, alpha_bar):
    square = (noise - model(_noisy(x0, t, noise, alpha_bar), t)) ** 2
    while square.ndim > 1:
        square = square.mean(dim=-1)
    return square


def one_sample_at_a_time(model, x0, t, noise, alpha_bar):
    said = model(_noisy(x0, t, noise, alpha_bar), t)
    return torch.stack([((guess - wanted) ** 2).mean() for guess, wanted in zip(said, noise, strict=True)])


def functional_form(model, x0, t, noise, alpha_bar):
    from torch.nn import functional

    guess = model(_noisy(x0, t, noise, alpha_bar), t)
    return functional.mse_loss(guess, noise, reduction="none").reshape(len(x0), -1).mean(-1)


def norm(model, x0, t, noise, alpha_bar):
    error = (model(_noisy(x0, t, noise, alpha_bar), t) - noise).reshape(len(x0), -1)
    return (error**2).sum(dim=1) / error.shape[1]


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    for shape, label, part in data_shapes(draw):
        noise, table = draw.normal(*shape), draw.alpha_bar(steps)
        arguments = (Probe(draw.integer(0, 99)), draw.normal(*shape), draw.times(shape[0], steps), noise, table)
        yield Case(label, arguments, part)
    shape = (draw.integer(3, 6), draw.integer(2, 5))
    noise, t = draw.normal(*shape), draw.times(shape[0], 1000)
    arguments = (Probe(draw.integer(0, 99)), draw.normal(*shape), t, noise, thousand_levels())
    yield Case("the first and the last of a thousand steps", arguments, "values")


def error_of_one_size(piece, draw: Draw):
    """A network that is off by the same amount everywhere has the square of it as its loss, for data of any size."""
    for shape in ((4, 1), (3, draw.integer(5, 9)), (2, 3, draw.integer(4, 6), 5)):
        noise, offset, steps = draw.normal(*shape), draw.number(0.5, 2.0), draw.integer(12, 30)
        times = draw.times(shape[0], steps)
        found = piece(Known(noise, offset), draw.normal(*shape), times, noise, draw.alpha_bar(steps))
        if found.shape != (shape[0],):
            return f"for {shape[0]} samples the loss has the shape {tuple(found.shape)}"
        if float((found - offset**2).abs().max()) > 1e-5:
            return (
                f"a network that is off by {offset:g} in every entry of data {shape} has the loss {offset**2:.7g}, "
                f"and yours is {float(found[0]):.7g}"
            )
    return None


EXERCISE = Exercise(
    chapter="normal_1d",
    kind="loss",
    title="The loss of a noise guesser",
    statement=r"""
The network sees $x_t$ and $t$ and guesses the noise. Its loss for one sample is

$$L = \frac{1}{d} \left\lVert \varepsilon_\theta(x_t, t) - \varepsilon \right\rVert^2,$$

with $d$ the number of entries of a sample. Return one value for each sample, not their mean; data can have any shape,
`(B,)` included. The gradient must reach the network's weights. You can use your `q_sample`.
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
        wrong(mean_over_no_axes),
        wrong(no_second_axis),
        wrong(time_as_a_share),
        wrong(no_roots_in_x_t),
        wrong(compares_with_the_noise_as_added),
        wrong(root_of_the_mean),
        wrong(half_of_the_square),
        wrong(weighted_by_the_noise_ratio),
        wrong(divided_by_the_batch),
        wrong(mean_along_the_batch),
        wrong(fresh_noise, "random"),
        wrong(told_alpha_bar),
        wrong(square_of_the_mean),
    ),
    right_answers=(
        right(mean_over_trailing_axes),
        right(one_sample_at_a_time),
        right(functional_form),
        right(norm),
    ),
    hints=(
        "What does the network see when it samples?",
        "Which of the two that make up x_t does it guess?",
        "Average over all axes but the first.",
    ),
    source="Ho et al. 2020, equation 14",
    like="x0",
)
