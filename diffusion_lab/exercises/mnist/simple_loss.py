"""simple_loss: from a batch of images to the loss of each."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.mnist.probes import NormalPixels, Silent
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def simple_loss(model: nn.Module, images: Tensor, uniform: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """The mean square error of the predicted v at random times, for each image.

    Args:
        model: called as model(x_t, t) with x_t (B, *S) and t (B,) int64; returns its guess of v, (B, *S).
        images: (B, *S), pixels in [0, 1] as they come from the file; S has at least one axis.
        uniform: (B,), uniform in [0, 1), from which the time of each image is drawn.
        noise: (B, *S), standard normal.
        alpha_bar: (T,), above 0 and below 1.

    Returns:
        (B,): the mean over all axes but the first.
    """
    x0 = 2 * images - 1
    t = (uniform * len(alpha_bar)).floor().long()  # each of 0..T-1 equally likely
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    x_t = kept.sqrt() * x0 + (1 - kept).sqrt() * noise
    v = kept.sqrt() * noise - (1 - kept).sqrt() * x0
    return (model(x_t, t) - v).square().flatten(1).mean(dim=1)


def _times(uniform, alpha_bar):
    return (uniform * len(alpha_bar)).floor().long()


def _errors(model, x0, t, noise, alpha_bar):
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    v = kept.sqrt() * noise - (1 - kept).sqrt() * x0
    return (model(kept.sqrt() * x0 + (1 - kept).sqrt() * noise, t) - v).flatten(1)


def pixels_from_0_to_1(model, images, uniform, noise, alpha_bar):
    """The pixels were left in [0, 1]. The network's data lie on both sides of 0, as the noise does: scale them to
    [-1, 1]."""
    return _errors(model, images, _times(uniform, alpha_bar), noise, alpha_bar).square().mean(dim=1)


def one_time_for_the_batch(model, images, uniform, noise, alpha_bar):
    """The whole batch got the time of its first image. Each image has a time of its own, or every step of training sees
    one noise level alone."""
    t = _times(uniform[:1].expand(len(uniform)), alpha_bar)
    return _errors(model, 2 * images - 1, t, noise, alpha_bar).square().mean(dim=1)


def last_step_never_drawn(model, images, uniform, noise, alpha_bar):
    """T - 1 is never drawn: the uniform was multiplied by T - 1 and cut down. That is the step where sampling begins,
    and the network would never have seen it."""
    t = (uniform * (len(alpha_bar) - 1)).floor().long()
    return _errors(model, 2 * images - 1, t, noise, alpha_bar).square().mean(dim=1)


def first_step_never_drawn(model, images, uniform, noise, alpha_bar):
    """t = 0 is never drawn: yours are 1 to T - 1. Times count from 0, and all T of them are trained."""
    t = 1 + (uniform * (len(alpha_bar) - 1)).floor().long()
    return _errors(model, 2 * images - 1, t, noise, alpha_bar).square().mean(dim=1)


def ends_half_as_often(model, images, uniform, noise, alpha_bar):
    """The times were rounded to the nearest, so that the first and the last come half as often as the others. Cut T
    times the uniform down instead."""
    t = (uniform * (len(alpha_bar) - 1)).round().long()
    return _errors(model, 2 * images - 1, t, noise, alpha_bar).square().mean(dim=1)


def compares_with_the_noise(model, images, uniform, noise, alpha_bar):
    """This compares the output with the noise. The network of this chapter guesses v, a mixture of noise and data."""
    x0, t = 2 * images - 1, _times(uniform, alpha_bar)
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    guess = model(kept.sqrt() * x0 + (1 - kept).sqrt() * noise, t)
    return (guess - noise).square().flatten(1).mean(dim=1)


def sign_of_v(model, images, uniform, noise, alpha_bar):
    """Your v has the other sign. It is noise minus data, each with the other's factor."""
    x0, t = 2 * images - 1, _times(uniform, alpha_bar)
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    v = (1 - kept).sqrt() * x0 - kept.sqrt() * noise
    return (model(kept.sqrt() * x0 + (1 - kept).sqrt() * noise, t) - v).square().flatten(1).mean(dim=1)


def compares_with_the_image(model, images, uniform, noise, alpha_bar):
    """This compares the output with the clean image. The network of this chapter guesses v, a mixture of noise and
    data."""
    x0, t = 2 * images - 1, _times(uniform, alpha_bar)
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    guess = model(kept.sqrt() * x0 + (1 - kept).sqrt() * noise, t)
    return (guess - x0).square().flatten(1).mean(dim=1)


def factors_of_v_swapped(model, images, uniform, noise, alpha_bar):
    """Noise and data have each other's factor in v. The factors of v are those of x_t crosswise: v is the direction in
    which x_t turns."""
    x0, t = 2 * images - 1, _times(uniform, alpha_bar)
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    v = (1 - kept).sqrt() * noise - kept.sqrt() * x0
    return (model(kept.sqrt() * x0 + (1 - kept).sqrt() * noise, t) - v).square().flatten(1).mean(dim=1)


def no_roots_in_x_t(model, images, uniform, noise, alpha_bar):
    """x_t was mixed with alpha_bar and 1 - alpha_bar themselves. Those are shares of the variance: data and noise are
    multiplied by their square roots."""
    x0, t = 2 * images - 1, _times(uniform, alpha_bar)
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    v = kept.sqrt() * noise - (1 - kept).sqrt() * x0
    return (model(kept * x0 + (1 - kept) * noise, t) - v).square().flatten(1).mean(dim=1)


def no_roots_at_all(model, images, uniform, noise, alpha_bar):
    """alpha_bar and 1 - alpha_bar were used without their square roots, in x_t and in v. They are shares of the
    variance; data and noise are multiplied by the roots."""
    x0, t = 2 * images - 1, _times(uniform, alpha_bar)
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    v = kept * noise - (1 - kept) * x0
    return (model(kept * x0 + (1 - kept) * noise, t) - v).square().flatten(1).mean(dim=1)


def time_as_a_fraction(model, images, uniform, noise, alpha_bar):
    """The network was told t / T. This one counts steps: it takes t itself, an int64 for each image."""
    t = _times(uniform, alpha_bar)

    def told(x_t, t):
        return model(x_t, t / len(alpha_bar))

    return _errors(told, 2 * images - 1, t, noise, alpha_bar).square().mean(dim=1)


def time_counted_from_1(model, images, uniform, noise, alpha_bar):
    """The network was told t + 1. It counts from 0, as the table does: tell it the t whose alpha_bar you used."""

    def told(x_t, t):
        return model(x_t, t + 1)

    return _errors(told, 2 * images - 1, _times(uniform, alpha_bar), noise, alpha_bar).square().mean(dim=1)


def pixels_shifted_only(model, images, uniform, noise, alpha_bar):
    """The pixels were moved to [-1/2, 1/2] and not stretched. [-1, 1] is twice as wide as [0, 1]."""
    return _errors(model, images - 0.5, _times(uniform, alpha_bar), noise, alpha_bar).square().mean(dim=1)


def clean_input(model, images, uniform, noise, alpha_bar):
    """The network was shown the clean images. It must see x_t: that is all it will have when sampling."""
    x0 = 2 * images - 1

    def shown(x_t, t):
        return model(x0, t)

    return _errors(shown, x0, _times(uniform, alpha_bar), noise, alpha_bar).square().mean(dim=1)


def absolute_error(model, images, uniform, noise, alpha_bar):
    """This is the absolute error, whose best answer is a median. The sampler needs means, and means minimise
    squares."""
    return _errors(model, 2 * images - 1, _times(uniform, alpha_bar), noise, alpha_bar).abs().mean(dim=1)


def images_alone(model, images, uniform, noise, alpha_bar):
    """This works for pictures (B, C, H, W) alone. Average over all axes but the first, however many there are."""
    error = _errors(model, 2 * images - 1, _times(uniform, alpha_bar), noise, alpha_bar).reshape(images.shape)
    return error.square().mean(dim=(1, 2, 3))


def sum_over_pixels(model, images, uniform, noise, alpha_bar):
    """This sums over the pixels. The mean keeps the loss at one scale for images of every size."""
    return _errors(model, 2 * images - 1, _times(uniform, alpha_bar), noise, alpha_bar).square().sum(dim=1)


def mean_over_the_batch(model, images, uniform, noise, alpha_bar):
    """The batch was averaged too. One value for each image is asked for."""
    return _errors(model, 2 * images - 1, _times(uniform, alpha_bar), noise, alpha_bar).square().mean()


def cut_off_from_the_network(model, images, uniform, noise, alpha_bar):
    """The network was called without gradients, so that none reaches its weights and nothing is learned."""
    with torch.no_grad():
        errors = _errors(model, 2 * images - 1, _times(uniform, alpha_bar), noise, alpha_bar)
    return errors.square().mean(dim=1)


def in_place(model, images, uniform, noise, alpha_bar):
    """Your function scales the images in place. They belong to the data: the next epoch would scale them again."""
    images.mul_(2).sub_(1)
    return _errors(model, images, _times(uniform, alpha_bar), noise, alpha_bar).square().mean(dim=1)


def _variance_for_deviation(model, images, uniform, noise, alpha_bar, in_x_t, in_v):
    x0, t = 2 * images - 1, _times(uniform, alpha_bar)
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    added = [1 - kept if forgotten else (1 - kept).sqrt() for forgotten in (in_x_t, in_v)]
    v = kept.sqrt() * noise - added[1] * x0
    return (model(kept.sqrt() * x0 + added[0] * noise, t) - v).square().flatten(1).mean(dim=1)


def root_of_the_noise_forgotten(model, images, uniform, noise, alpha_bar):
    """alpha_bar has its root, and 1 - alpha_bar has none, in x_t and in v. Both are shares of the variance, and both
    factors are roots."""
    return _variance_for_deviation(model, images, uniform, noise, alpha_bar, True, True)


def root_of_the_noise_in_x_t_forgotten(model, images, uniform, noise, alpha_bar):
    """In x_t the noise has the factor 1 - alpha_bar. That is its variance: the factor is the root."""
    return _variance_for_deviation(model, images, uniform, noise, alpha_bar, True, False)


def root_of_the_data_in_v_forgotten(model, images, uniform, noise, alpha_bar):
    """In v the data have the factor 1 - alpha_bar. That is a share of the variance: the factor is the root, as it is in
    x_t."""
    return _variance_for_deviation(model, images, uniform, noise, alpha_bar, False, True)


def by_angles(model, images, uniform, noise, alpha_bar):
    x0, t = (images - 0.5) / 0.5, (len(alpha_bar) * uniform).long()
    angle = torch.acos(alpha_bar.sqrt())[t].reshape(-1, *[1] * (images.ndim - 1))
    error = (
        torch.cos(angle) * noise - torch.sin(angle) * x0 - model(torch.cos(angle) * x0 + torch.sin(angle) * noise, t)
    )
    return error.pow(2).mean(dim=tuple(range(1, error.ndim)))


def through_x_t(model, images, uniform, noise, alpha_bar):
    from torch.nn import functional

    t = torch.floor(uniform * alpha_bar.shape[0]).to(torch.int64)
    kept = torch.einsum("b,b...->b...", alpha_bar[t], torch.ones_like(images))
    x_t = kept**0.5 * (images * 2 - 1) + (1 - kept) ** 0.5 * noise
    v = (noise - (1 - kept) ** 0.5 * x_t) / kept**0.5
    return functional.mse_loss(model(x_t, t), v, reduction="none").reshape(len(t), -1).mean(-1)


def float64_inside(model, images, uniform, noise, alpha_bar):
    t = _times(uniform, alpha_bar)
    x0, noise, kept = 2 * images.double() - 1, noise.double(), alpha_bar.double()
    return _errors(model, x0, t, noise, kept).square().mean(dim=1).to(images.dtype)


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    for shape in draw.shapes():
        label = "every size equal" if len(set(shape)) == 1 else "images of this shape"
        t = draw.times(shape[0], steps)
        # Inside the share of each step, away from where rounding could move it into another.
        uniform = (t + draw.uniform(shape[0], low=0.6, high=0.9)) / steps
        images, noise = draw.uniform(*shape), draw.normal(*shape)
        yield Case(label, (Probe(draw.integer(0, 99)), images, uniform, noise, draw.alpha_bar(steps)))
    batch = draw.integer(3, 5)
    for end, label in ((0, "t = 0"), (steps - 1, "t = T - 1")):
        uniform = (end + draw.uniform(batch, low=0.1, high=0.9)) / steps
        # 0 itself, and the largest number below 1 that float32 has, can be drawn.
        uniform[-1] = 0.0 if end == 0 else 1 - 2**-24
        images, noise = draw.uniform(batch, 1, 4, 5), draw.normal(batch, 1, 4, 5)
        arguments = Probe(draw.integer(0, 99)), images, uniform, noise, draw.alpha_bar(steps)
        yield Case(f"all images at {label}", arguments, "first and last step")


def every_step_equally_often(piece, draw: Draw):
    """A network that says 0, black and white pixels and no noise: the loss is 1 - alpha_bar[t], which tells t."""
    steps, each = draw.integer(12, 30), 4
    alpha_bar = draw.alpha_bar(steps)
    uniform = ((torch.arange(steps * each, dtype=torch.float64) + 0.5) / (steps * each))[draw.permutation(steps * each)]
    images = draw.integers(0, 2, len(uniform), 1, 3, 3).double()
    loss = piece(Silent(), images, uniform, torch.zeros_like(images), alpha_bar)
    far = (loss[:, None] - (1 - alpha_bar)).abs()
    if not float(far.min(dim=1).values.max()) <= 1e-6:
        return "for a network that says 0, black and white pixels and no noise, the loss is not 1 - alpha_bar[t]"
    counts = torch.bincount(far.argmin(dim=1), minlength=steps)
    odd = int((counts - each).abs().argmax())
    if counts[odd] == each:
        return None
    return f"of {len(uniform)} evenly placed uniforms, {int(counts[odd])} gave t = {odd} and not {each}"


def one_grey_picture(piece, draw: Draw):
    """Where every picture is the same grey one, v is known from x_t, and a network that has it is right. It looks t up
    in a table, as an index."""
    steps, batch, grey = draw.integer(12, 30), draw.integer(3, 6), draw.number(0.1, 0.9)
    alpha_bar, images = draw.alpha_bar(steps), torch.full((batch, 1, 4, 4), grey, dtype=torch.float64)
    model = NormalPixels(2 * grey - 1, 0.0, alpha_bar)
    worst = float(piece(model, images, draw.uniform(batch), draw.normal(batch, 1, 4, 4), alpha_bar).abs().max())
    if not worst < 1e-9:
        return f"where all pictures are one grey picture, a network with the exact v has a loss of {worst:.3g}, not 0"
    return None


EXERCISE = Exercise(
    chapter="mnist",
    kind="loss",
    title="The simple loss, from the file to the number",
    statement=r"""
Training on images is three draws and a square. Scale the pixels from $[0, 1]$ to $[-1, 1]$: this is $x_0$. Draw a step
for each image, all of $0, \dots, T - 1$ equally likely: $t = \lfloor u\, T \rfloor$. Add noise, and compare the guess
with the truth,

$$
\begin{aligned}
L &= \frac{1}{d} \left\lVert v_\theta(x_t, t) - v \right\rVert^2, \\
x_t &= \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon, \\
v &= \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 - \bar\alpha_t}\, x_0 .
\end{aligned}
$$

Ho et al. call a loss *simple* in which every step counts alike. Theirs is about the noise. This one is about $v$, since
it is also clear what to guess where hardly any data are left.
""",
    reference=simple_loss,
    parts={"values": 4, "first and last step": 2, CARE: 1},
    cases=cases,
    properties=(
        Property("every step is drawn equally often", every_step_equally_often, "first and last step"),
        Property("pictures of one grey", one_grey_picture),
    ),
    trains=True,
    wrong_answers=(
        wrong(pixels_from_0_to_1),
        wrong(one_time_for_the_batch),
        wrong(last_step_never_drawn),
        wrong(first_step_never_drawn),
        wrong(ends_half_as_often),
        wrong(compares_with_the_noise),
        wrong(compares_with_the_image),
        wrong(sign_of_v),
        wrong(factors_of_v_swapped),
        wrong(no_roots_in_x_t),
        wrong(no_roots_at_all),
        wrong(time_as_a_fraction),
        wrong(time_counted_from_1),
        wrong(pixels_shifted_only),
        wrong(clean_input),
        wrong(absolute_error),
        wrong(images_alone),
        wrong(sum_over_pixels),
        wrong(mean_over_the_batch),
        wrong(cut_off_from_the_network),
        wrong(in_place, "modified"),
        wrong(root_of_the_noise_forgotten),
        wrong(root_of_the_noise_in_x_t_forgotten),
        wrong(root_of_the_data_in_v_forgotten),
    ),
    right_answers=(right(by_angles), right(through_x_t), right(float64_inside)),
    hints=(
        "What range have pixels in a file, and what range has the data of the model?",
        "For which uniforms does your t become T - 1? Each step should get an equal share of [0, 1).",
    ),
    source="Ho et al. 2020, algorithm 1 and equation 14, with the v of Salimans & Ho 2022, section 4",
)
