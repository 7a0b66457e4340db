"""v_loss: how wrong the network's guess of v is."""

from torch import Tensor, nn

from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def v_loss(model: nn.Module, x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """The mean square error of the predicted v, for each sample.

    Args:
        model: called as model(x_t, t) with x_t (B, *S) and t (B,); returns its guess of v, (B, *S).
        x0, noise: (B, *S).
        t: (B,) int64 in 0..T-1.
        alpha_bar: (T,).

    Returns:
        (B,): the mean over all axes but the first.
    """
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
    v = alpha * noise - sigma * x0
    return (model(alpha * x0 + sigma * noise, t) - v).square().flatten(1).mean(dim=1)


def _factors(x0, t, alpha_bar):
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    return kept.sqrt(), (1 - kept).sqrt()


def _loss(model, x0, t, noise, alpha_bar, target):
    alpha, sigma = _factors(x0, t, alpha_bar)
    return (model(alpha * x0 + sigma * noise, t) - target).square().flatten(1).mean(dim=1)


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
    return (model(x0, t) - (alpha * noise - sigma * x0)).square().flatten(1).mean(dim=1)


def mean_over_the_batch(model, x0, t, noise, alpha_bar):
    """The batch was averaged too. One value for each sample is asked for: weights by t come before that mean."""
    return v_loss(model, x0, t, noise, alpha_bar).mean()


def sum_over_entries(model, x0, t, noise, alpha_bar):
    """This sums over the entries of a sample. The mean keeps the loss at one scale for data of every size."""
    return v_loss(model, x0, t, noise, alpha_bar) * x0[0].numel()


def cut_off_from_the_network(model, x0, t, noise, alpha_bar):
    """The network's output was detached, so that no gradient reaches its weights and nothing is learned."""
    return v_loss(lambda x, t: model(x, t).detach(), x0, t, noise, alpha_bar)


def factors_along_the_last_axis(model, x0, t, noise, alpha_bar):
    """The (B,) factors were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    alpha, sigma = alpha_bar[t].sqrt(), (1 - alpha_bar[t]).sqrt()
    error = model(alpha * x0 + sigma * noise, t) - (alpha * noise - sigma * x0)
    return error.square().flatten(1).mean(dim=1)


def mean_over_axes(model, x0, t, noise, alpha_bar):
    alpha, sigma = _factors(x0, t, alpha_bar)
    error = alpha * noise - sigma * x0 - model(sigma * noise + alpha * x0, t)
    return (error * error).mean(dim=tuple(range(1, error.ndim)))


def v_from_x(model, x0, t, noise, alpha_bar):
    alpha, sigma = _factors(x0, t, alpha_bar)
    x = alpha * x0 + sigma * noise
    return ((model(x, t) - (noise - sigma * x) / alpha) ** 2).reshape(len(x0), -1).mean(-1)


def functional_form(model, x0, t, noise, alpha_bar):
    from torch.nn import functional

    alpha, sigma = _factors(x0, t, alpha_bar)
    said = model(alpha * x0 + sigma * noise, t)
    return functional.mse_loss(said, alpha * noise - sigma * x0, reduction="none").flatten(1).mean(1)


def error_of_x0(model, x0, t, noise, alpha_bar):
    # The square error of v is that of the x0 it stands for, over sigma squared.
    alpha, sigma = _factors(x0.double(), t, alpha_bar.double())
    x = alpha * x0.double() + sigma * noise.double()
    found = alpha * x - sigma * model(x, t)
    return ((found - x0.double()) / sigma).square().flatten(1).mean(dim=1).to(x0.dtype)


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    for shape in draw.shapes():
        square = len(set(shape)) == 1
        label, part = ("every size equal", "any shape") if square else ("data of this shape", "values")
        noise, table = draw.normal(*shape), draw.alpha_bar(steps)
        arguments = (Probe(draw.integer(0, 99)), draw.normal(*shape), draw.times(shape[0], steps), noise, table)
        yield Case(label, arguments, part)


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
    if float((found - truth).abs().max()) < 1e-9 * float(truth.max()):
        return None
    return (
        "where data and noise cancel to x_t = 0, v is the noise over alpha; there the loss is "
        f"{float(truth[worst]):.6g}, and yours is {float(found[worst]):.6g}"
    )


EXERCISE = Exercise(
    chapter="normal_2d",
    kind="loss",
    title="The loss of a velocity guesser",
    statement=r"""
The network sees $x_t$ and $t$ and guesses $v_t = \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 - \bar\alpha_t}\, x_0$.
Its loss for one sample is

$$L = \frac{1}{d} \left\lVert v_\theta(x_t, t) - v_t \right\rVert^2,$$

with $d$ the number of entries of a sample. Return one value for each sample; the gradient must reach the network's
weights. With little noise $v$ is nearly the noise, with much noise nearly minus the data: at each end the network is
asked for what it cannot read off its input.
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
    ),
    right_answers=(right(mean_over_axes), right(v_from_x), right(functional_form), right(error_of_x0)),
    hints=(
        "Only one line is other than in eps_loss: what the output is compared with.",
        "At t near 0, is v near the noise or near the data?",
    ),
    source="Salimans & Ho 2022, section 4",
)
