"""v_loss: how wrong the network's guess of v is."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.inputs import data_shapes, thousand_levels
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def v_loss(model: nn.Module, x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """The mean square error of the predicted v, for each sample.

    Args:
        model: called as model(x_t, t) with x_t (B, *S) and t (B,); returns its guess of v, (B, *S).
        x0, noise: (B, *S), of any rank; S can be empty.
        t: (B,) int64 in 0..T-1.
        alpha_bar: (T,), in (0, 1); it can be float64 where the data are float32, and the network takes x_t in the
            dtype of the data.

    Returns:
        (B,), of the dtype of x0: the mean over all axes but the first.
    """
    kept = alpha_bar[t].to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))
    alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
    v = alpha * noise - sigma * x0
    return (model(alpha * x0 + sigma * noise, t) - v).square().reshape(len(x0), -1).mean(dim=1)


def _factors(x0, t, alpha_bar):
    kept = alpha_bar[t].to(x0.dtype).reshape(-1, *[1] * (x0.ndim - 1))
    return kept.sqrt(), (1 - kept).sqrt()


def _loss(model, x0, t, noise, alpha_bar, target):
    alpha, sigma = _factors(x0, t, alpha_bar)
    return (model(alpha * x0 + sigma * noise, t) - target).square().reshape(len(x0), -1).mean(dim=1)


def v_with_the_other_sign(model, x0, t, noise, alpha_bar):
    """v has the other sign here. It is the noise, weighted by alpha, minus the data, weighted by sigma."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    return _loss(model, x0, t, noise, alpha_bar, sigma * x0 - alpha * noise)


def sum_for_difference(model, x0, t, noise, alpha_bar):
    """The two parts of v were added. The data are subtracted: v is at a right angle to x_t."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    return _loss(model, x0, t, noise, alpha_bar, alpha * noise + sigma * x0)


def coefficients_swapped(model, x0, t, noise, alpha_bar):
    """In v the two coefficients have changed places. At little noise alpha is near 1, and there v is the noise."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    return _loss(model, x0, t, noise, alpha_bar, sigma * noise - alpha * x0)


def compares_with_the_noise(model, x0, t, noise, alpha_bar):
    """This compares the network's output with the noise. A v network guesses a mixture of noise and data."""
    return _loss(model, x0, t, noise, alpha_bar, noise)


def v_of_the_noisy_data(model, x0, t, noise, alpha_bar):
    """v was made of the noise and x_t. It is made of the noise and x0: x_t holds noise already."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    return _loss(model, x0, t, noise, alpha_bar, alpha * noise - sigma * (alpha * x0 + sigma * noise))


def missing_roots(model, x0, t, noise, alpha_bar):
    """In v, alpha_bar and 1 - alpha_bar were used as factors. They are variances: the factors are their square
    roots."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    return _loss(model, x0, t, noise, alpha_bar, alpha**2 * noise - sigma**2 * x0)


def clean_input(model, x0, t, noise, alpha_bar):
    """The network was given x0. It must see the noisy x_t: that is all it will have when sampling."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    return (model(x0, t) - (alpha * noise - sigma * x0)).square().reshape(len(x0), -1).mean(dim=1)


def mean_over_the_batch(model, x0, t, noise, alpha_bar):
    """The batch was averaged too. One value for each sample is asked for: weights by t come before that mean."""
    return v_loss(model, x0, t, noise, alpha_bar).mean()


def sum_over_entries(model, x0, t, noise, alpha_bar):
    """This sums over the entries of a sample. The mean keeps the loss at one scale for data of every size."""
    return v_loss(model, x0, t, noise, alpha_bar) * x0[0].numel()


def cut_off_from_the_network(model, x0, t, noise, alpha_bar):
    """The network's output is cut off from autograd (by `detach`, `no_grad`, a number or NumPy on the way), so that no
    gradient reaches its weights and nothing is learned."""
    return v_loss(lambda x, t: model(x, t).detach(), x0, t, noise, alpha_bar)


def factors_along_the_last_axis(model, x0, t, noise, alpha_bar):
    """The (B,) factors were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    kept = alpha_bar[t].to(x0.dtype)
    alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
    error = model(alpha * x0 + sigma * noise, t) - (alpha * noise - sigma * x0)
    return error.square().reshape(len(x0), -1).mean(dim=1)


def compares_with_the_data(model, x0, t, noise, alpha_bar):
    """This compares the network's output with x0. A v network guesses a mixture of noise and data."""
    return _loss(model, x0, t, noise, alpha_bar, x0)


def no_roots_in_x_t(model, x0, t, noise, alpha_bar):
    """In x_t, alpha_bar and 1 - alpha_bar were used as factors. They are variances: data and noise are multiplied by
    their square roots."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    error = model(alpha**2 * x0 + sigma**2 * noise, t) - (alpha * noise - sigma * x0)
    return error.square().reshape(len(x0), -1).mean(dim=1)


def no_roots_anywhere(model, x0, t, noise, alpha_bar):
    """In x_t and in v, alpha_bar and 1 - alpha_bar were used as factors. They are variances: the factors are their
    square roots."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    error = model(alpha**2 * x0 + sigma**2 * noise, t) - (alpha**2 * noise - sigma**2 * x0)
    return error.square().reshape(len(x0), -1).mean(dim=1)


def absolute_error(model, x0, t, noise, alpha_bar):
    """This is the absolute error, whose best answer is a median. The mean of all v that fit x_t minimises the
    square."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    error = model(alpha * x0 + sigma * noise, t) - (alpha * noise - sigma * x0)
    return error.abs().reshape(len(x0), -1).mean(dim=1)


def root_of_the_mean(model, x0, t, noise, alpha_bar):
    """This is the root of the mean square error. The loss is the mean square itself: no root."""
    return v_loss(model, x0, t, noise, alpha_bar).sqrt()


def time_one_step_off(model, x0, t, noise, alpha_bar):
    """The network was told t + 1 for an x_t of step t. A sampler that tells it t then asks for another level than the
    one it has learned."""
    return v_loss(lambda x, step: model(x, step + 1), x0, t, noise, alpha_bar)


def time_as_a_share(model, x0, t, noise, alpha_bar):
    """The network was told t / T. It is called with the step t itself, as the sampler will call it."""
    return v_loss(lambda x, step: model(x, step / len(alpha_bar)), x0, t, noise, alpha_bar)


def mean_along_the_batch(model, x0, t, noise, alpha_bar):
    """The mean over axis 0 went over the batch. Every sample keeps a loss of its own: average over its own axes."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    return (model(alpha * x0 + sigma * noise, t) - (alpha * noise - sigma * x0)).square().mean(dim=0)


def mean_over_no_axes(model, x0, t, noise, alpha_bar):
    """For data of shape (B,) the batch was averaged. There are no other axes then, and `mean` over an empty tuple of
    axes averages over all of them. Give each sample one axis first, `reshape(len(x0), -1)`, and average over that."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    error = alpha * noise - sigma * x0 - model(sigma * noise + alpha * x0, t)
    return (error * error).mean(dim=tuple(range(1, error.ndim)))


def no_second_axis(model, x0, t, noise, alpha_bar):
    """Data of shape (B,) have no axis 1 to flatten or to average over. `reshape(len(x0), -1)` gives each sample one
    axis, whatever its shape."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    error = model(alpha * x0 + sigma * noise, t) - (alpha * noise - sigma * x0)
    return error.square().flatten(1).mean(1)


def fresh_noise(model, x0, t, noise, alpha_bar):
    """Noise was drawn inside. The noise is handed in: x_t and v are made of it, of the very same."""
    return v_loss(model, x0, t, torch.randn_like(noise), alpha_bar)


def told_alpha_bar(model, x0, t, noise, alpha_bar):
    """The network was told alpha_bar[t]. It is called with the step t itself, as the sampler will call it."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    x_t, v = alpha * x0 + sigma * noise, alpha * noise - sigma * x0
    return (model(x_t, alpha_bar[t].to(x0.dtype)) - v).square().reshape(len(x0), -1).mean(dim=1)


def data_and_noise_swapped(model, x0, t, noise, alpha_bar):
    """In v the data and the noise have changed places. The noise has the factor alpha, and what is subtracted are the
    data, with the factor sigma."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    return _loss(model, x0, t, noise, alpha_bar, alpha * x0 - sigma * noise)


def velocity_of_the_straight_path(model, x0, t, noise, alpha_bar):
    """This compares the network's output with noise - x0, the velocity of flow matching. In v each of the two has its
    factor, alpha or sigma."""
    return _loss(model, x0, t, noise, alpha_bar, noise - x0)


def square_of_the_mean(model, x0, t, noise, alpha_bar):
    """The errors were averaged first and squared then, so that errors of both signs cancel. Square each of them before
    the mean."""
    alpha, sigma = _factors(x0, t, alpha_bar)
    error = model(alpha * x0 + sigma * noise, t) - (alpha * noise - sigma * x0)
    return error.reshape(len(x0), -1).mean(dim=1).square()


def one_sample_at_a_time(model, x0, t, noise, alpha_bar):
    alpha, sigma = _factors(x0, t, alpha_bar)
    said = model(alpha * x0 + sigma * noise, t)
    rows = zip(said, alpha * noise - sigma * x0, strict=True)
    return torch.stack([(guess - wanted).square().mean() for guess, wanted in rows])


def v_from_x(model, x0, t, noise, alpha_bar):
    alpha, sigma = _factors(x0, t, alpha_bar)
    x = alpha * x0 + sigma * noise
    return ((model(x, t) - (noise - sigma * x) / alpha) ** 2).reshape(len(x0), -1).mean(-1)


def functional_form(model, x0, t, noise, alpha_bar):
    from torch.nn import functional

    alpha, sigma = _factors(x0, t, alpha_bar)
    said = model(alpha * x0 + sigma * noise, t)
    return functional.mse_loss(said, alpha * noise - sigma * x0, reduction="none").reshape(len(x0), -1).mean(1)


def error_of_x0(model, x0, t, noise, alpha_bar):
    # The square error of v is that of the x0 it stands for, over sigma squared.
    alpha, sigma = _factors(x0.double(), t, alpha_bar.double())
    x = alpha * x0.double() + sigma * noise.double()
    found = alpha * x - sigma * model(x.to(x0.dtype), t)
    return ((found - x0.double()) / sigma).square().reshape(len(x0), -1).mean(dim=1).to(x0.dtype)


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


def scaled_error_of_the_data(piece, draw: Draw):
    """With data and noise that make x_t = 0, v is noise / alpha = -x0 / sigma; a trained gain of 1 at x = 0 adds
    nothing."""
    steps, shape = draw.integer(12, 30), (4, draw.integer(2, 5))
    table, times = draw.alpha_bar(steps), draw.times(4, steps)
    kept, noise = table[times].reshape(-1, 1), draw.normal(*shape)
    x0 = -((1 - kept) / kept).sqrt() * noise  # so that x_t is 0
    probe = Probe(draw.integer(0, 99))
    said = probe(0 * noise, times).detach()
    truth = (said - noise / kept.sqrt()).square().mean(dim=1)
    found = piece(probe, x0, times, noise, table)
    if found.shape != truth.shape:
        return f"for 4 samples the loss has the shape {tuple(found.shape)}"
    worst = int((found - truth).abs().argmax())
    if float((found - truth).abs().max()) < 1e-5 * float(truth.max()):
        return None
    return (
        "where data and noise cancel to x_t = 0, v is the noise over alpha; there the loss is "
        f"{float(truth[worst]):.7g}, and yours is {float(found[worst]):.7g}"
    )


EXERCISE = Exercise(
    chapter="normal_2d",
    kind="loss",
    title="The loss of a velocity guesser",
    statement=r"""
The network sees $x_t$ and $t$ and guesses $v_t = \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 - \bar\alpha_t}\, x_0$.
Its loss for one sample is

$$L = \frac{1}{d} \left\lVert v_\theta(x_t, t) - v_t \right\rVert^2,$$

with $d$ the number of entries of a sample. Return one value for each sample, of data of any shape, `(B,)` included; the
gradient must reach the network's weights. With little noise $v$ is nearly the noise, with much noise nearly minus the
data: at each end the network is asked for what it cannot read off its input.
""",
    reference=v_loss,
    parts={"values": 3, "any shape": 1, CARE: 1},
    cases=cases,
    properties=(Property("data and noise that cancel", scaled_error_of_the_data),),
    trains=True,
    time="t",
    wrong_answers=(
        wrong(v_with_the_other_sign),
        wrong(sum_for_difference),
        wrong(coefficients_swapped),
        wrong(compares_with_the_noise),
        wrong(v_of_the_noisy_data),
        wrong(missing_roots),
        wrong(clean_input),
        wrong(mean_over_the_batch),
        wrong(sum_over_entries),
        wrong(factors_along_the_last_axis),
        wrong(cut_off_from_the_network),
        wrong(compares_with_the_data),
        wrong(no_roots_in_x_t),
        wrong(no_roots_anywhere),
        wrong(absolute_error),
        wrong(root_of_the_mean),
        wrong(time_one_step_off),
        wrong(time_as_a_share),
        wrong(mean_along_the_batch),
        wrong(mean_over_no_axes),
        wrong(no_second_axis),
        wrong(fresh_noise, "random"),
        wrong(told_alpha_bar),
        wrong(data_and_noise_swapped),
        wrong(velocity_of_the_straight_path),
        wrong(square_of_the_mean),
    ),
    right_answers=(right(one_sample_at_a_time), right(v_from_x), right(functional_form), right(error_of_x0)),
    hints=(
        "Only one line is other than in eps_loss: what the output is compared with.",
        "At t near 0, is v near the noise or near the data?",
    ),
    source="Salimans & Ho 2022, section 4",
    like="x0",
)
