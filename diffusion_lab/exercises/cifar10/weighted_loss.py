"""weighted_loss: the loss of a v network, each sample weighted by its level."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.cifar10.probes import OneImage
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def weighted_loss(model: nn.Module, x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor, weight: Tensor) -> Tensor:
    """The mean square error of the predicted v, times the weight of the sample's level.

    Args:
        model: called as model(x_t, t) with x_t (B, *S) and t (B,) int64; returns its guess of v, (B, *S).
        x0, noise: (B, *S), where S has at least one axis.
        t: (B,) int64 in 0..T-1.
        alpha_bar: (T,); the last entry is 0.
        weight: (T,), how much each level counts.

    Returns:
        (B,): for each sample the mean over its entries, times its weight.
    """
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    x_t = kept.sqrt() * x0 + (1 - kept).sqrt() * noise
    v = kept.sqrt() * noise - (1 - kept).sqrt() * x0
    return weight[t] * (model(x_t, t) - v).square().flatten(1).mean(dim=1)


def _parts(x0, t, noise, alpha_bar):
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    a, s = kept.sqrt(), (1 - kept).sqrt()
    return a * x0 + s * noise, a * noise - s * x0


def _errors(model, x0, t, noise, alpha_bar):
    x_t, v = _parts(x0, t, noise, alpha_bar)
    return (model(x_t, t) - v).square().flatten(1).mean(dim=1)


def weight_after_the_mean(model, x0, t, noise, alpha_bar, weight):
    """The errors were averaged over the batch before they were weighted, so that every level counts the same. Each
    sample's own error takes the weight of its own level."""
    return weight[t] * _errors(model, x0, t, noise, alpha_bar).mean()


def v_with_data_and_noise_exchanged(model, x0, t, noise, alpha_bar, weight):
    """Data and noise have changed places in your v. It is noise minus data, each with the factor that the other has in
    x_t."""
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    x_t = kept.sqrt() * x0 + (1 - kept).sqrt() * noise
    v = kept.sqrt() * x0 - (1 - kept).sqrt() * noise
    return weight[t] * (model(x_t, t) - v).square().flatten(1).mean(dim=1)


def weights_averaged(model, x0, t, noise, alpha_bar, weight):
    """The weights were averaged over the batch. A mean weight only scales the loss: each sample needs its own."""
    return weight[t].mean() * _errors(model, x0, t, noise, alpha_bar)


def eps_kept_at_zero_snr(model, x0, t, noise, alpha_bar, weight):
    """The output was compared with the noise. At the last level x is the noise, so that guessing it teaches nothing of
    the image: a schedule with zero terminal SNR needs a network that guesses v."""
    x_t, _ = _parts(x0, t, noise, alpha_bar)
    return weight[t] * (model(x_t, t) - noise).square().flatten(1).mean(dim=1)


def x0_as_the_target(model, x0, t, noise, alpha_bar, weight):
    """The output was compared with the clean image. v is minus the image in pure noise alone; elsewhere it holds the
    noise too."""
    x_t, _ = _parts(x0, t, noise, alpha_bar)
    return weight[t] * (model(x_t, t) - x0).square().flatten(1).mean(dim=1)


def no_roots_in_x_t(model, x0, t, noise, alpha_bar, weight):
    """x_t was mixed with alpha_bar and 1 - alpha_bar themselves. Those are shares of the variance: data and noise are
    multiplied by their square roots."""
    _, v = _parts(x0, t, noise, alpha_bar)
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    return weight[t] * (model(kept * x0 + (1 - kept) * noise, t) - v).square().flatten(1).mean(dim=1)


def no_roots_at_all(model, x0, t, noise, alpha_bar, weight):
    """alpha_bar and 1 - alpha_bar were used without their square roots, in x_t and in v. They are shares of the
    variance; data and noise are multiplied by the roots."""
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    v = kept * noise - (1 - kept) * x0
    return weight[t] * (model(kept * x0 + (1 - kept) * noise, t) - v).square().flatten(1).mean(dim=1)


def time_as_a_fraction(model, x0, t, noise, alpha_bar, weight):
    """The network was told t / T. This one counts steps: it takes t itself, an int64 for each sample."""
    x_t, v = _parts(x0, t, noise, alpha_bar)
    return weight[t] * (model(x_t, t / len(alpha_bar)) - v).square().flatten(1).mean(dim=1)


def clean_input(model, x0, t, noise, alpha_bar, weight):
    """The network was shown the clean data. It must see x_t: that is all it will have when sampling."""
    _, v = _parts(x0, t, noise, alpha_bar)
    return weight[t] * (model(x0, t) - v).square().flatten(1).mean(dim=1)


def sign_of_v(model, x0, t, noise, alpha_bar, weight):
    """v has its sign turned around. In pure noise v is minus x0, in clean data it is the noise."""
    x_t, v = _parts(x0, t, noise, alpha_bar)
    return weight[t] * (model(x_t, t) + v).square().flatten(1).mean(dim=1)


def factors_of_v_swapped(model, x0, t, noise, alpha_bar, weight):
    """Noise and data have each other's factor in v. The factors of v are those of x_t crosswise: v is the direction in
    which x_t turns."""
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    x_t, _ = _parts(x0, t, noise, alpha_bar)
    v = (1 - kept).sqrt() * noise - kept.sqrt() * x0
    return weight[t] * (model(x_t, t) - v).square().flatten(1).mean(dim=1)


def weight_inside_the_square(model, x0, t, noise, alpha_bar, weight):
    """The weight was multiplied to the error and squared with it. It belongs to the squared error, once."""
    return weight[t] ** 2 * _errors(model, x0, t, noise, alpha_bar)


def root_of_the_weight(model, x0, t, noise, alpha_bar, weight):
    """The root of the weight was taken. It is the weight of a squared error already: use it as it is."""
    return weight[t].sqrt() * _errors(model, x0, t, noise, alpha_bar)


def divided_by_the_weight(model, x0, t, noise, alpha_bar, weight):
    """The error was divided by its weight, so that what should count most counts least."""
    return _errors(model, x0, t, noise, alpha_bar) / weight[t]


def weight_of_the_step_before(model, x0, t, noise, alpha_bar, weight):
    """The weight is that of t - 1. The tables count from 0, as t does: a level's weight is at index t, as its alpha_bar
    is."""
    return weight[t - 1] * _errors(model, x0, t, noise, alpha_bar)


def weights_of_mean_1(model, x0, t, noise, alpha_bar, weight):
    """The weights were divided by their mean over the batch, so that a sample's loss depends on which others came with
    it. Use them as they are."""
    return weight[t] / weight[t].mean() * _errors(model, x0, t, noise, alpha_bar)


def weights_of_sum_1(model, x0, t, noise, alpha_bar, weight):
    """The weights were divided by their sum over the batch, so that a sample's loss depends on which others came with
    it. Use them as they are."""
    return weight[t] / weight[t].sum() * _errors(model, x0, t, noise, alpha_bar)


def table_of_mean_1(model, x0, t, noise, alpha_bar, weight):
    """The weights were divided by the mean of the whole table. They are meant as they are: the table already says how
    much each level counts."""
    return weight[t] / weight.mean() * _errors(model, x0, t, noise, alpha_bar)


def absolute_error(model, x0, t, noise, alpha_bar, weight):
    """This is the absolute error, whose best answer is a median. The sampler needs means, and means minimise
    squares."""
    x_t, v = _parts(x0, t, noise, alpha_bar)
    return weight[t] * (model(x_t, t) - v).abs().flatten(1).mean(dim=1)


def root_of_the_error(model, x0, t, noise, alpha_bar, weight):
    """The root of the mean square error was taken. The loss is the mean square itself."""
    return weight[t] * _errors(model, x0, t, noise, alpha_bar).sqrt()


def sum_over_entries(model, x0, t, noise, alpha_bar, weight):
    """This sums over the entries of a sample. The mean keeps the loss at one scale for data of every size."""
    return weight[t] * _errors(model, x0, t, noise, alpha_bar) * x0[0].numel()


def images_alone(model, x0, t, noise, alpha_bar, weight):
    """This works for pictures (B, C, H, W) alone. Average over all axes but the first, however many there are."""
    x_t, v = _parts(x0, t, noise, alpha_bar)
    return weight[t] * (model(x_t, t) - v).square().mean(dim=(1, 2, 3))


def weight_of_the_row(model, x0, t, noise, alpha_bar, weight):
    """The first weights of the table were taken, one for each row of the batch. A sample's weight is that of its own
    level t."""
    return weight[torch.arange(len(t)) % len(weight)] * _errors(model, x0, t, noise, alpha_bar)


def no_weight(model, x0, t, noise, alpha_bar, weight):
    """`weight` was not used, so that every level counts the same."""
    return _errors(model, x0, t, noise, alpha_bar)


def mean_of_the_batch(model, x0, t, noise, alpha_bar, weight):
    """The batch was averaged in the end. One value for each sample is asked for."""
    return (weight[t] * _errors(model, x0, t, noise, alpha_bar)).mean()


def cut_off_from_the_network(model, x0, t, noise, alpha_bar, weight):
    """The network's output was detached, so that no gradient reaches its weights and nothing is learned."""
    x_t, v = _parts(x0, t, noise, alpha_bar)
    return weight[t] * (model(x_t, t).detach() - v).square().flatten(1).mean(dim=1)


def one_sample_at_a_time(model, x0, t, noise, alpha_bar, weight):
    rows = []
    for i in range(len(x0)):
        a, s = alpha_bar[t[i]] ** 0.5, (1 - alpha_bar[t[i]]) ** 0.5
        output = model(a * x0[i : i + 1] + s * noise[i : i + 1], t[i : i + 1])[0]
        rows.append(weight[t[i]] * ((output - a * noise[i] + s * x0[i]) ** 2).mean())
    return torch.stack(rows)


def einsum(model, x0, t, noise, alpha_bar, weight):
    a, s = alpha_bar[t].sqrt(), (1 - alpha_bar[t]).sqrt()

    def times(factor, data):
        return torch.einsum("b,b...->b...", factor, data)

    error = model(times(a, x0) + times(s, noise), t) - times(a, noise) + times(s, x0)
    return times(weight[t], error * error).mean(dim=tuple(range(1, error.ndim)))


def through_x_t(model, x0, t, noise, alpha_bar, weight):
    from torch.nn import functional

    kept = alpha_bar.gather(0, t).view(-1, *[1] * (x0.ndim - 1))
    x_t = torch.sqrt(kept) * x0 + torch.sqrt(1 - kept) * noise
    v = torch.where(kept > 0.5, (noise - (1 - kept).sqrt() * x_t) / kept.sqrt(), 0)
    v = torch.where(kept > 0.5, v, (kept.sqrt() * x_t - x0) / (1 - kept).sqrt())
    error = functional.mse_loss(model(x_t, t), v, reduction="none").reshape(len(x0), -1)
    return error.mean(-1) * weight.index_select(0, t)


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    for shape in draw.shapes():
        square = len(set(shape)) == 1
        alpha_bar, weight = draw.alpha_bar(steps), draw.uniform(steps, low=0.3, high=3.0)
        alpha_bar[-1] = 0
        x0, t, noise = draw.normal(*shape), draw.times(shape[0], steps), draw.normal(*shape)
        label = "every size equal" if square else "data of this shape"
        yield Case(
            label,
            (Probe(draw.integer(0, 99)), x0, t, noise, alpha_bar, weight),
            "any shape" if square else "values",
        )
    shape = (draw.integer(4, 6), draw.integer(5, 8))
    # Ordinary levels beside pure noise, or a mean of weights and v as -x0 would look right.
    t = torch.full((shape[0],), steps - 1)
    t[:2] = draw.permutation(steps - 1)[:2]
    yield Case(
        "pure noise, beside other levels",
        (Probe(draw.integer(0, 99)), draw.normal(*shape), t, draw.normal(*shape), alpha_bar, weight),
        "zero SNR",
    )


def one_image_only(piece, draw: Draw):
    """Where all data are one image, v is known from x_t, and a network that has it is right at every level. It looks t
    up in a table, as an index."""
    steps, batch, image = draw.integer(12, 30), draw.integer(3, 6), draw.normal(2, 3, 4)
    alpha_bar, weight = draw.alpha_bar(steps), draw.uniform(steps, low=0.3, high=3.0)
    alpha_bar[-1] = 0
    x0, noise = image.expand(batch, 2, 3, 4).clone(), draw.normal(batch, 2, 3, 4)
    losses = piece(OneImage(image, alpha_bar), x0, draw.times(batch, steps), noise, alpha_bar, weight)
    worst = float(losses.abs().max())
    return (
        None if worst < 1e-9 else f"where all data are one image, a network with the exact v has a loss of {worst:.3g}"
    )


EXERCISE = Exercise(
    chapter="cifar10",
    kind="loss",
    title="A loss with a weight for each level",
    statement=r"""
The network guesses $v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1 - \bar\alpha_t}\,x_0$, which is defined at every
level, pure noise included. Its weighted loss for one sample is

$$L = \frac{w_t}{d} \left\lVert v_\theta(x_t, t) - v \right\rVert^2,$$

with $d$ the number of entries of a sample and $w_t$ from a table such as `min_snr_weight(alpha_bar, 5.0, "v")`.
Return one value for each sample.
""",
    reference=weighted_loss,
    parts={"values": 4, "any shape": 1, "zero SNR": 1, CARE: 1},
    cases=cases,
    properties=(Property("data that are one image", one_image_only),),
    trains=True,
    time="t",
    wrong_answers=(
        wrong(weight_after_the_mean),
        wrong(weights_averaged),
        wrong(v_with_data_and_noise_exchanged),
        wrong(eps_kept_at_zero_snr),
        wrong(x0_as_the_target),
        wrong(no_roots_in_x_t),
        wrong(no_roots_at_all),
        wrong(time_as_a_fraction),
        wrong(clean_input),
        wrong(sign_of_v),
        wrong(factors_of_v_swapped),
        wrong(weight_inside_the_square),
        wrong(root_of_the_weight),
        wrong(divided_by_the_weight),
        wrong(weight_of_the_step_before),
        wrong(weights_of_mean_1),
        wrong(weights_of_sum_1),
        wrong(table_of_mean_1),
        wrong(absolute_error),
        wrong(root_of_the_error),
        wrong(sum_over_entries),
        wrong(images_alone),
        wrong(weight_of_the_row),
        wrong(no_weight),
        wrong(mean_of_the_batch),
        wrong(cut_off_from_the_network),
    ),
    right_answers=(right(one_sample_at_a_time), right(einsum), right(through_x_t)),
    hints=(
        "Which mean may be taken before the weight, and which may not?",
        "What does x_t hold at the last level, and what is v there?",
    ),
    source="Hang et al. 2023, section 3.4; v: Salimans & Ho 2022, section 4; why v: Lin et al. 2024, section 3.2",
)
