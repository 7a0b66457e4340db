"""observed_loss: learning from strips with gaps."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.heartbeats.probes import Neighbours
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def observed_loss(model: nn.Module, x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor, seen: Tensor) -> Tensor:
    """The mean square error of the predicted v over what was recorded, for each strip.

    Where nothing was recorded, x0 holds some number that means nothing. It is set to 0 before anything else, so that
    the network never sees it; noise is added there like everywhere.

    Args:
        model: called as model(x_t, t) with x_t (B, C, L) and t (B,) int64; returns its guess of v, (B, C, L).
        x0, noise: (B, C, L).
        t: (B,) int64 in 0..T-1.
        alpha_bar: (T,), in (0, 1).
        seen: (B, C, L) bool, True where there is a recording; a strip may have none at all.

    Returns:
        (B,): the mean over the samples that were recorded; 0 for a strip without any.
    """
    kept = alpha_bar[t].reshape(-1, 1, 1)
    x0 = torch.where(seen, x0, 0.0)
    v = kept.sqrt() * noise - (1 - kept).sqrt() * x0
    error = (model(kept.sqrt() * x0 + (1 - kept).sqrt() * noise, t) - v).square() * seen
    return error.sum(dim=(1, 2)) / seen.sum(dim=(1, 2)).clamp(min=1)


def _parts(x0, t, noise, alpha_bar):
    kept = alpha_bar[t].reshape(-1, 1, 1)
    a, s = kept.sqrt(), (1 - kept).sqrt()
    return a * x0 + s * noise, a * noise - s * x0


def _filled(x0, seen):
    return torch.where(seen, x0, torch.zeros_like(x0))


def _errors(model, x0, t, noise, alpha_bar):
    x_t, v = _parts(x0, t, noise, alpha_bar)
    return (model(x_t, t) - v).square()


def _mean(error, seen):
    return (error * seen).sum(dim=(1, 2)) / seen.sum(dim=(1, 2)).clamp(min=1)


def divided_by_all(model, x0, t, noise, alpha_bar, seen):
    """The sum over what was recorded was divided by the number of all samples, so that a strip with a long gap hardly
    counts. Divide by how many were recorded."""
    return (_errors(model, _filled(x0, seen), t, noise, alpha_bar) * seen).mean(dim=(1, 2))


def gaps_count_too(model, x0, t, noise, alpha_bar, seen):
    """The error in the gaps counts as well, so that the network learns to draw a flat line there. Only what was
    recorded counts."""
    return _errors(model, _filled(x0, seen), t, noise, alpha_bar).mean(dim=(1, 2))


def mask_turned_around(model, x0, t, noise, alpha_bar, seen):
    """The loss is taken over the gaps and leaves out what was recorded. `seen` is True where there is a recording."""
    return _mean(_errors(model, _filled(x0, seen), t, noise, alpha_bar), ~seen)


def numbers_of_the_gap_shown(model, x0, t, noise, alpha_bar, seen):
    """The network was shown what stands in the gaps, numbers that mean nothing. Set x0 to 0 there before the noise is
    added."""
    return _mean(_errors(model, x0, t, noise, alpha_bar), seen)


def gaps_without_noise(model, x0, t, noise, alpha_bar, seen):
    """The noisy strip was set to 0 in the gaps, noise and all. The network would see where they are, and when sampling
    there are none: clear x0 first, then add noise everywhere."""
    x_t, v = _parts(_filled(x0, seen), t, noise, alpha_bar)
    return _mean((model(_filled(x_t, seen), t) - v).square(), seen)


def nothing_by_nothing(model, x0, t, noise, alpha_bar, seen):
    """A strip without any recording gives 0 divided by 0, which is nan, and one nan spoils the whole network. Its loss
    is 0."""
    error = _errors(model, _filled(x0, seen), t, noise, alpha_bar) * seen
    return error.sum(dim=(1, 2)) / seen.sum(dim=(1, 2))


def mean_over_the_whole_batch(model, x0, t, noise, alpha_bar, seen):
    """The errors were divided by how many samples of the whole batch were recorded. Each strip has a mean of its
    own."""
    error = _errors(model, _filled(x0, seen), t, noise, alpha_bar) * seen
    return error.sum(dim=(1, 2)) / seen.sum() * len(x0)


def one_more_in_the_count(model, x0, t, noise, alpha_bar, seen):
    """The count has 1 added to it, which makes every mean a little too small. Only a count of 0 needs help: clamp
    it."""
    error = _errors(model, _filled(x0, seen), t, noise, alpha_bar) * seen
    return error.sum(dim=(1, 2)) / (seen.sum(dim=(1, 2)) + 1)


def mean_of_the_leads(model, x0, t, noise, alpha_bar, seen):
    """A mean was taken in each lead, and then the mean of these, so that what is left of a lead with a long gap counts
    more. Every recorded sample counts the same."""
    error = _errors(model, _filled(x0, seen), t, noise, alpha_bar) * seen
    return (error.sum(dim=2) / seen.sum(dim=2).clamp(min=1)).mean(dim=1)


def summed(model, x0, t, noise, alpha_bar, seen):
    """The errors were summed. The mean keeps the loss at one scale for strips of every length."""
    return (_errors(model, _filled(x0, seen), t, noise, alpha_bar) * seen).sum(dim=(1, 2))


def sign_of_v(model, x0, t, noise, alpha_bar, seen):
    """v has its sign turned around. It is the noise, weighted by alpha, minus the data, weighted by sigma."""
    x_t, v = _parts(_filled(x0, seen), t, noise, alpha_bar)
    return _mean((model(x_t, t) + v).square(), seen)


def compared_with_the_noise(model, x0, t, noise, alpha_bar, seen):
    """The output was compared with the noise. This network guesses v, noise and data at once."""
    x_t, _ = _parts(_filled(x0, seen), t, noise, alpha_bar)
    return _mean((model(x_t, t) - noise).square(), seen)


def no_roots(model, x0, t, noise, alpha_bar, seen):
    """alpha_bar and 1 - alpha_bar were used without their roots. They are shares of the variance; data and noise are
    multiplied by the roots."""
    kept, x0 = alpha_bar[t].reshape(-1, 1, 1), _filled(x0, seen)
    x_t, v = kept * x0 + (1 - kept) * noise, kept * noise - (1 - kept) * x0
    return _mean((model(x_t, t) - v).square(), seen)


def clean_input(model, x0, t, noise, alpha_bar, seen):
    """The network was shown the clean strip. It must see x_t: that is all it will have when sampling."""
    _, v = _parts(_filled(x0, seen), t, noise, alpha_bar)
    return _mean((model(_filled(x0, seen), t) - v).square(), seen)


def averaged_over_the_batch(model, x0, t, noise, alpha_bar, seen):
    """The strips were averaged in the end. One value for each strip is asked for."""
    return _mean(_errors(model, _filled(x0, seen), t, noise, alpha_bar), seen).mean()


def cut_off_from_the_network(model, x0, t, noise, alpha_bar, seen):
    """The network's output was detached, so that no gradient reaches its weights and nothing is learned."""
    x_t, v = _parts(_filled(x0, seen), t, noise, alpha_bar)
    return _mean((model(x_t, t).detach() - v).square(), seen)


def picked_one_by_one(model, x0, t, noise, alpha_bar, seen):
    error = _errors(model, x0.masked_fill(~seen, 0), t, noise, alpha_bar)
    return torch.stack([row[mask].sum() / max(1, int(mask.sum())) for row, mask in zip(error, seen, strict=True)])


def with_weights(model, x0, t, noise, alpha_bar, seen):
    count = seen.flatten(1).sum(dim=1)
    weight = seen.to(x0.dtype) / torch.where(count > 0, count, torch.ones_like(count)).reshape(-1, 1, 1)
    return (weight * _errors(model, _filled(x0, seen), t, noise, alpha_bar)).flatten(1).sum(dim=1)


def sum_over_count(model, x0, t, noise, alpha_bar, seen):
    error = _errors(model, _filled(x0, seen), t, noise, alpha_bar)
    total = torch.where(seen, error, torch.zeros_like(error)).flatten(1).sum(1)
    count = seen.flatten(1).count_nonzero(dim=1)
    return total / count.to(total.dtype).clamp_min(1.0)


def _strips(draw, batch, leads, length, steps):
    """Everything but `seen`."""
    data = Neighbours(draw.integer(0, 99)), draw.normal(batch, leads, length), draw.times(batch, steps)
    return (*data, draw.normal(batch, leads, length), draw.alpha_bar(steps))


def _gaps(draw, batch, leads, length):
    """A gap in each lead, of another length in each."""
    seen = torch.ones(batch, leads, length, dtype=torch.bool)
    for row in seen.flatten(0, 1):
        start = draw.integer(0, length // 2)
        row[start : start + draw.integer(1, length // 2)] = False
    return seen


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    batch, leads, length = draw.integer(3, 6), 2, draw.integer(12, 20)
    yield Case("a gap in each lead", (*_strips(draw, batch, leads, length, steps), _gaps(draw, batch, leads, length)))
    seen = torch.ones(batch, leads, length, dtype=torch.bool)
    yield Case("no gap", (*_strips(draw, batch, leads, length, steps), seen))
    yield Case("one strip of one lead", (*_strips(draw, 1, 1, length, steps), _gaps(draw, 1, 1, length)))
    seen = _gaps(draw, batch, leads, length)
    seen[1, 0] = False
    yield Case("an electrode that fell off", (*_strips(draw, batch, leads, length, steps), seen), "gaps")
    seen = _gaps(draw, batch, leads, length)
    seen[0] = False
    yield Case("nothing recorded in one strip", (*_strips(draw, batch, leads, length, steps), seen), "gaps")
    model, x0, *rest = _strips(draw, batch, leads, length, steps)
    seen = _gaps(draw, batch, leads, length)
    yield Case("-50 in the gaps", (model, torch.where(seen, x0, -50.0), *rest, seen), "gaps")
    size = draw.integer(4, 6)
    yield Case("every size equal", (*_strips(draw, size, size, size, steps), _gaps(draw, size, size, size)))


def what_a_gap_holds(piece, draw: Draw):
    """Whatever stands in the gaps, the loss is the same."""
    model, x0, *rest = _strips(draw, 3, 2, 15, 12)
    seen = _gaps(draw, 3, 2, 15)
    losses = [piece(model, torch.where(seen, x0, value), *rest, seen).detach() for value in (0.0, 20.0)]
    change = float((losses[1] - losses[0]).abs().max())
    if change < 1e-9:
        return None
    return f"with 20 in the place of 0 in the gaps the loss changes by {change:.3g}, and nothing was recorded there"


EXERCISE = Exercise(
    chapter="heartbeats",
    kind="loss",
    title="A loss for strips with gaps",
    statement=r"""
Electrodes come off, and a recorder goes on writing some number that means nothing. Such strips are not lost: learn from
what is there. With $m$ 1 where something was recorded and 0 elsewhere, clear the rest, $\tilde x_0 = m x_0$, add noise
everywhere, and take

$$
\begin{aligned}
x_t &= \sqrt{\bar\alpha_t}\, \tilde x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon, \\
v &= \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 - \bar\alpha_t}\, \tilde x_0, \\
L &= \frac{\sum m\, (v_\theta(x_t, t) - v)^2}{\sum m}
\end{aligned}
$$

for each strip, the sums over leads and time. A strip in which nothing was recorded has the loss 0.
""",
    reference=observed_loss,
    parts={"values": 3, "gaps": 2, CARE: 1},
    cases=cases,
    properties=(Property("what stands in a gap makes no difference", what_a_gap_holds, "gaps"),),
    trains=True,
    time="t",
    wrong_answers=(
        wrong(divided_by_all),
        wrong(gaps_count_too),
        wrong(mask_turned_around),
        wrong(numbers_of_the_gap_shown),
        wrong(gaps_without_noise),
        wrong(nothing_by_nothing),
        wrong(mean_over_the_whole_batch),
        wrong(one_more_in_the_count),
        wrong(mean_of_the_leads),
        wrong(summed),
        wrong(sign_of_v),
        wrong(compared_with_the_noise),
        wrong(no_roots),
        wrong(clean_input),
        wrong(averaged_over_the_batch),
        wrong(cut_off_from_the_network),
    ),
    right_answers=(right(picked_one_by_one), right(with_weights), right(sum_over_count)),
    hints=(
        "Which numbers must the network never see, and which may never count?",
        "Clear x0 first. At the end divide a sum by a count, and mind a count of 0.",
    ),
    source="v: Salimans & Ho 2022, section 4; a loss over what was observed: Tashiro et al. 2021, section 4",
)
