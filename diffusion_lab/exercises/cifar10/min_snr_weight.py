"""min_snr_weight: how much each level counts in the loss, for each target."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def min_snr_weight(alpha_bar_t: Tensor, gamma: float, target: str) -> Tensor:
    """The weight of the squared error of a target at each level.

    Args:
        alpha_bar_t: (B,), in [0, 1); 0 is pure noise.
        gamma: the signal-to-noise ratio above which a level counts no more; above 0.
        target: what the network guesses: "eps", "x0" or "v".

    Returns:
        (B,), finite everywhere.
    """
    snr = alpha_bar_t / (1 - alpha_bar_t)
    if target == "eps":
        return (gamma / snr).clamp(max=1)
    weight = snr.clamp(max=gamma)
    return weight if target == "x0" else weight / (snr + 1)


def _weight(snr, gamma, target):
    if target == "eps":
        return torch.where(snr > gamma, gamma / snr, torch.ones_like(snr))
    weight = snr.clamp(max=gamma)
    return weight if target == "x0" else weight / (snr + 1)


def root_of_the_ratio(alpha_bar_t, gamma, target):
    """This uses the root of alpha_bar / (1 - alpha_bar). The signal-to-noise ratio is a ratio of variances, without a
    root."""
    return _weight((alpha_bar_t / (1 - alpha_bar_t)).sqrt(), gamma, target)


def noise_to_signal(alpha_bar_t, gamma, target):
    """This is the ratio of noise to signal. SNR is large where there is little noise."""
    return _weight((1 - alpha_bar_t) / alpha_bar_t, gamma, target)


def larger_of_the_two(alpha_bar_t, gamma, target):
    """The larger of SNR and gamma was taken. The weight is held down where SNR is large, so that nearly clean levels do
    not rule the loss."""
    snr = alpha_bar_t / (1 - alpha_bar_t)
    weight = snr.clamp(min=gamma)
    return weight / {"eps": snr, "x0": torch.ones_like(snr), "v": snr + 1}[target]


def eps_weight_for_all(alpha_bar_t, gamma, target):
    """`target` was not looked at: every network got the weight of an eps network. An error of x0 is another number as
    an error of eps or of v, so each target has its own divisor."""
    return _weight(alpha_bar_t / (1 - alpha_bar_t), gamma, "eps")


def x0_weight_for_all(alpha_bar_t, gamma, target):
    """`target` was not looked at: min(SNR, gamma) is the weight of an x0 network. An error of x0 is SNR times as large
    as an error of eps, squared, and SNR + 1 times for v."""
    return (alpha_bar_t / (1 - alpha_bar_t)).clamp(max=gamma)


def v_like_eps(alpha_bar_t, gamma, target):
    """The weight of v was divided by SNR, as that of eps. The squared error of v is SNR + 1 times that of x0."""
    return _weight(alpha_bar_t / (1 - alpha_bar_t), gamma, "eps" if target == "v" else target)


def one_added_to_the_weight(alpha_bar_t, gamma, target):
    """For v, 1 was added to the weight. It belongs to the divisor: min(SNR, gamma) / (SNR + 1)."""
    snr = alpha_bar_t / (1 - alpha_bar_t)
    return _weight(snr, gamma, "eps") + 1 if target == "v" else _weight(snr, gamma, target)


def gamma_beside_snr_plus_1(alpha_bar_t, gamma, target):
    """For v, SNR + 1 was compared with gamma. The minimum is that of SNR and gamma for every target; only the divisor
    differs."""
    snr = alpha_bar_t / (1 - alpha_bar_t)
    return (gamma / (snr + 1)).clamp(max=1) if target == "v" else _weight(snr, gamma, target)


def v_like_x0(alpha_bar_t, gamma, target):
    """v got the weight of x0. The squared error of v is SNR + 1 times that of x0, so its weight is smaller by that."""
    return _weight(alpha_bar_t / (1 - alpha_bar_t), gamma, "x0" if target == "v" else target)


def eps_and_x0_exchanged(alpha_bar_t, gamma, target):
    """eps and x0 have each other's weight. The squared error of eps is SNR times that of x0: it is divided by SNR, and
    that of x0 is not."""
    other = {"eps": "x0", "x0": "eps"}.get(target, target)
    return _weight(alpha_bar_t / (1 - alpha_bar_t), gamma, other)


def multiplied_for_v(alpha_bar_t, gamma, target):
    """For v the weight was multiplied by SNR + 1. Its squared error is larger than that of x0 by that factor already:
    divide."""
    snr = alpha_bar_t / (1 - alpha_bar_t)
    return snr.clamp(max=gamma) * (snr + 1) if target == "v" else _weight(snr, gamma, target)


def gamma_not_used(alpha_bar_t, gamma, target):
    """gamma has no effect, so nearly clean levels rule the loss of x0. Hold SNR down at gamma."""
    snr = alpha_bar_t / (1 - alpha_bar_t)
    return {"eps": torch.ones_like(snr), "x0": snr, "v": snr / (snr + 1)}[target]


def weights_of_mean_1(alpha_bar_t, gamma, target):
    """The weights were divided by their mean over the batch, so that a level's weight depends on which others came with
    it. Use them as they are."""
    weight = _weight(alpha_bar_t / (1 - alpha_bar_t), gamma, target)
    return weight / weight.mean()


def alpha_bar_as_the_ratio(alpha_bar_t, gamma, target):
    """alpha_bar was taken for the signal-to-noise ratio. It is the share of the signal: divide it by that of the noise,
    1 - alpha_bar."""
    return _weight(alpha_bar_t, gamma, target)


def x0_counted_by_1(alpha_bar_t, gamma, target):
    """An x0 network got the weight 1 at every level. The loss counts the squared error of x0 by min(SNR, gamma), and
    nothing divides it: the network's own error is that of x0."""
    snr = alpha_bar_t / (1 - alpha_bar_t)
    return torch.ones_like(snr) if target == "x0" else _weight(snr, gamma, target)


def nothing_for_zero_over_zero(alpha_bar_t, gamma, target):
    """At a level of pure noise the weight of eps is 0 / 0, and you put 0 there. Its limit is 1: wherever SNR is below
    gamma, eps counts by 1."""
    snr = alpha_bar_t / (1 - alpha_bar_t)
    return (snr.clamp(max=gamma) / {"eps": snr, "x0": torch.ones_like(snr), "v": snr + 1}[target]).nan_to_num(0.0)


def zero_over_zero(alpha_bar_t, gamma, target):
    """At a level of pure noise SNR is 0, and the weight of eps is computed as 0 / 0. Where SNR is below gamma that
    weight is 1: find an order of division that stays finite."""
    snr = alpha_bar_t / (1 - alpha_bar_t)
    return snr.clamp(max=gamma) / {"eps": snr, "x0": torch.ones_like(snr), "v": snr + 1}[target]


def table_of_targets(alpha_bar_t, gamma, target):
    noise = 1 - alpha_bar_t
    rows = {
        "eps": torch.where(alpha_bar_t > gamma * noise, gamma * noise / alpha_bar_t, torch.ones_like(noise)),
        "x0": torch.minimum(alpha_bar_t, gamma * noise) / noise,
        "v": torch.minimum(alpha_bar_t, gamma * noise),
    }
    return rows[target]


def one_level_at_a_time(alpha_bar_t, gamma, target):
    rows = []
    for kept in alpha_bar_t:
        snr = kept / (1 - kept)
        if target == "eps":
            rows.append(gamma / snr if snr > gamma else torch.ones_like(snr))
        else:
            rows.append(torch.minimum(snr, torch.full_like(snr, gamma)) / (snr + 1 if target == "v" else 1))
    return torch.stack(rows)


def through_numpy(alpha_bar_t, gamma, target):
    import numpy as np

    kept = alpha_bar_t.numpy()
    snr = kept / (1 - kept)
    if target == "eps":
        out = gamma / np.maximum(snr, gamma)
    else:
        out = np.minimum(snr, gamma) / (1 + snr * (target == "v")) ** (target == "v")
    return torch.from_numpy(out).to(alpha_bar_t.dtype)


def float64_inside(alpha_bar_t, gamma, target):
    kept = alpha_bar_t.double()
    return _weight(kept / (1 - kept), gamma, target).to(alpha_bar_t.dtype)


def cases(draw: Draw):
    for target in ("eps", "x0", "v"):
        levels = torch.cat([draw.uniform(4, low=0.02, high=0.4), draw.uniform(4, low=0.88, high=0.98)])
        levels = levels[draw.permutation(8)]
        yield Case(f'"{target}"', (levels, draw.number(1.5, 6), target))
        yield Case(f'"{target}", one level', (draw.uniform(1, low=0.9, high=0.99), draw.number(1.5, 6), target))
    for target in ("eps", "x0", "v"):
        ends = torch.tensor([1 - 2**-10, 2**-14, 1 - 2**-8, 2**-9], dtype=torch.float64)
        yield Case(f'"{target}", nearly clean and nearly pure noise', (ends, draw.number(1.5, 6), target))
    for target in ("eps", "x0", "v"):
        levels = torch.cat([draw.alpha_bar(draw.integer(8, 14)), torch.zeros(1, dtype=torch.float64)])
        yield Case(f'"{target}", with a level of pure noise', (levels, draw.number(1.5, 6), target), "zero SNR")


def one_loss_for_three_targets(piece, draw: Draw):
    """A guess of x0 stands for a guess of eps and one of v, and the weighted errors agree."""
    kept, gamma = draw.uniform(9, low=0.05, high=0.97), draw.number(1.5, 6)
    x0, noise, guess = (draw.normal(9, 5) for _ in range(3))
    a, s = kept.sqrt().unsqueeze(1), (1 - kept).sqrt().unsqueeze(1)
    x = a * x0 + s * noise
    guessed_noise = (x - a * guess) / s
    pairs = {
        "eps": (noise, guessed_noise),
        "x0": (x0, guess),
        "v": (a * noise - s * x0, a * guessed_noise - s * guess),
    }
    losses = {name: piece(kept, gamma, name) * (true - own).square().mean(1) for name, (true, own) in pairs.items()}
    for name in ("eps", "v"):
        ratio = losses[name] / losses["x0"]
        if not bool(((ratio - 1).abs() < 1e-6).all()):
            return (
                f"one and the same guess has a weighted loss that is {float(ratio[0]):.4g} times as large when it is "
                f'read as a guess of "{name}" as when it is read as one of "x0"'
            )
    return None


EXERCISE = Exercise(
    chapter="cifar10",
    kind="loss",
    title="How much a level counts",
    statement=r"""
All targets lead to the same estimate of $x_0$, and they weigh its errors differently. The min-SNR weight counts the
squared error of $x_0$ by $\min(\mathrm{SNR}, \gamma)$, where

$$\mathrm{SNR}_t = \frac{\bar\alpha_t}{1 - \bar\alpha_t}.$$

Nearly clean levels are easy and would otherwise rule the loss. Read as a weight of the network's own squared error,
with $m = \min(\mathrm{SNR}, \gamma)$, it is

$$
\begin{gathered}
w_\varepsilon = \frac{m}{\mathrm{SNR}}, \qquad w_{x_0} = m, \\
w_v = \frac{m}{\mathrm{SNR} + 1}.
\end{gathered}
$$

At a level of pure noise SNR is 0. There $w_\varepsilon$ is its limit, 1.
""",
    reference=min_snr_weight,
    parts={"values": 4, "zero SNR": 2, CARE: 1},
    cases=cases,
    properties=(Property("one guess has one loss, whatever the target", one_loss_for_three_targets),),
    wrong_answers=(
        wrong(root_of_the_ratio),
        wrong(noise_to_signal),
        wrong(larger_of_the_two),
        wrong(eps_weight_for_all),
        wrong(x0_weight_for_all),
        wrong(v_like_eps),
        wrong(v_like_x0),
        wrong(one_added_to_the_weight),
        wrong(gamma_beside_snr_plus_1),
        wrong(eps_and_x0_exchanged),
        wrong(multiplied_for_v),
        wrong(gamma_not_used),
        wrong(x0_counted_by_1),
        wrong(weights_of_mean_1),
        wrong(alpha_bar_as_the_ratio),
        wrong(nothing_for_zero_over_zero),
        wrong(zero_over_zero),
    ),
    right_answers=(
        right(table_of_targets),
        right(one_level_at_a_time),
        right(through_numpy),
        right(float64_inside),
    ),
    hints=(
        "Is SNR a ratio of variances or of standard deviations?",
        "m / SNR is min(1, gamma / SNR): which of the two can be computed where SNR is 0?",
    ),
    source="Hang et al. 2023, section 3.4",
)
