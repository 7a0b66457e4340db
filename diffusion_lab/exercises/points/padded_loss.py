"""padded_loss: a loss over clouds of different sizes in one batch."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.points.probes import Crowd
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def padded_loss(model: nn.Module, x0: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor, counts: Tensor) -> Tensor:
    """The mean square error of the predicted v over the points that each cloud has.

    Clouds of different sizes are padded to P points to fit one tensor. The network gets a mask, so that a point that is
    not there is not looked at.

    Args:
        model: called as model(x_t, t, mask) with x_t (B, P, D), t (B,) int64 and mask (B, P) bool, True at real points;
            returns its guess of v, (B, P, D).
        x0, noise: (B, P, D).
        t: (B,) int64 in 0..T-1.
        alpha_bar: (T,), in (0, 1).
        counts: (B,) int64 in 1..P: the first so many points of each cloud are real.

    Returns:
        (B,): the mean over the real points and their coordinates.
    """
    kept = alpha_bar[t].reshape(-1, 1, 1)
    mask = torch.arange(x0.shape[1], device=x0.device) < counts.unsqueeze(1)  # (B, P)
    x_t = kept.sqrt() * x0 + (1 - kept).sqrt() * noise
    v = kept.sqrt() * noise - (1 - kept).sqrt() * x0
    error = (model(x_t, t, mask) - v).square().mean(dim=2)  # (B, P)
    return torch.where(mask, error, 0.0).sum(dim=1) / counts


def _mask(x0, counts):
    return torch.arange(x0.shape[1]) < counts.unsqueeze(1)


def _parts(x0, t, noise, alpha_bar):
    kept = alpha_bar[t].reshape(-1, 1, 1)
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise, kept.sqrt() * noise - (1 - kept).sqrt() * x0


def _error(model, x0, t, noise, alpha_bar, mask):
    x_t, v = _parts(x0, t, noise, alpha_bar)
    return (model(x_t, t, mask) - v).square().mean(dim=2)


def _mean(error, mask, counts):
    return torch.where(mask, error, torch.zeros_like(error)).sum(dim=1) / counts


def padding_counts_too(model, x0, t, noise, alpha_bar, counts):
    """The points of the padding count as well, and the network learns to make some. Only real points count."""
    return _error(model, x0, t, noise, alpha_bar, _mask(x0, counts)).mean(dim=1)


def divided_by_all(model, x0, t, noise, alpha_bar, counts):
    """The sum over the real points was divided by all of them, padding included, so that a small cloud hardly counts.
    Divide by how many are real."""
    mask = _mask(x0, counts)
    return _mean(_error(model, x0, t, noise, alpha_bar, mask), mask, x0.shape[1])


def no_mask_for_the_network(model, x0, t, noise, alpha_bar, counts):
    """The network was not told which points are real, and looks at the padding. Hand it the mask."""
    return _mean(_error(model, x0, t, noise, alpha_bar, None), _mask(x0, counts), counts)


def mask_turned_around(model, x0, t, noise, alpha_bar, counts):
    """The mask that the network gets is True at the padding. True means: this point is real."""
    mask = _mask(x0, counts)
    return _mean(_error(model, x0, t, noise, alpha_bar, ~mask), mask, counts)


def mask_of_numbers(model, x0, t, noise, alpha_bar, counts):
    """The network got the mask as numbers. It takes True and False: to many networks a mask of numbers is something to
    add, and hides no point at all."""
    mask = _mask(x0, counts)
    return _mean(_error(model, x0, t, noise, alpha_bar, mask.float()), mask, counts)


def one_point_more(model, x0, t, noise, alpha_bar, counts):
    """One point of the padding is taken for real. Places count from 0: real are those below the count."""
    mask = torch.arange(x0.shape[1]) <= counts.unsqueeze(1)
    return _mean(_error(model, x0, t, noise, alpha_bar, mask), mask, counts)


def last_points_for_first(model, x0, t, noise, alpha_bar, counts):
    """The last points were taken for real. The padding lies behind the real points, not before them."""
    mask = _mask(x0, counts).flip(1)
    return _mean(_error(model, x0, t, noise, alpha_bar, mask), mask, counts)


def one_mean_for_the_batch(model, x0, t, noise, alpha_bar, counts):
    """The error was divided by the mean count of the batch, so that large clouds count more. Each cloud has a mean of
    its own."""
    mask = _mask(x0, counts)
    return _mean(_error(model, x0, t, noise, alpha_bar, mask), mask, counts.double().mean().to(x0.dtype))


def axes_summed(model, x0, t, noise, alpha_bar, counts):
    """The coordinates of a point were summed. The mean over points and coordinates is asked for."""
    mask = _mask(x0, counts)
    return _mean(_error(model, x0, t, noise, alpha_bar, mask), mask, counts) * x0.shape[2]


def everything_summed(model, x0, t, noise, alpha_bar, counts):
    """Points were summed. The mean keeps the loss at one scale for clouds of every size."""
    mask = _mask(x0, counts)
    return torch.where(mask, _error(model, x0, t, noise, alpha_bar, mask), 0.0).sum(dim=1)


def sign_of_v(model, x0, t, noise, alpha_bar, counts):
    """v has its sign turned around. It is the noise, weighted by alpha, minus the data, weighted by sigma."""
    mask = _mask(x0, counts)
    x_t, v = _parts(x0, t, noise, alpha_bar)
    return _mean((model(x_t, t, mask) + v).square().mean(dim=2), mask, counts)


def compared_with_the_noise(model, x0, t, noise, alpha_bar, counts):
    """The output was compared with the noise. This network guesses v, noise and data at once."""
    mask = _mask(x0, counts)
    x_t, _ = _parts(x0, t, noise, alpha_bar)
    return _mean((model(x_t, t, mask) - noise).square().mean(dim=2), mask, counts)


def no_roots(model, x0, t, noise, alpha_bar, counts):
    """alpha_bar and 1 - alpha_bar were used without their roots. They are shares of the variance; data and noise are
    multiplied by the roots."""
    mask, kept = _mask(x0, counts), alpha_bar[t].reshape(-1, 1, 1)
    x_t, v = kept * x0 + (1 - kept) * noise, kept * noise - (1 - kept) * x0
    return _mean((model(x_t, t, mask) - v).square().mean(dim=2), mask, counts)


def clean_input(model, x0, t, noise, alpha_bar, counts):
    """The network was shown the clean cloud. It must see x_t: that is all it will have when sampling."""
    mask = _mask(x0, counts)
    _, v = _parts(x0, t, noise, alpha_bar)
    return _mean((model(x0, t, mask) - v).square().mean(dim=2), mask, counts)


def averaged_over_the_batch(model, x0, t, noise, alpha_bar, counts):
    """The clouds were averaged in the end. One value for each is asked for."""
    mask = _mask(x0, counts)
    return _mean(_error(model, x0, t, noise, alpha_bar, mask), mask, counts).mean()


def cut_off_from_the_network(model, x0, t, noise, alpha_bar, counts):
    """The network's output was detached, so that no gradient reaches its weights and nothing is learned."""
    mask = _mask(x0, counts)
    x_t, v = _parts(x0, t, noise, alpha_bar)
    return _mean((model(x_t, t, mask).detach() - v).square().mean(dim=2), mask, counts)


def mean_of_one_point_more(model, x0, t, noise, alpha_bar, counts):
    """The mask holds one point too many, and the mean was taken over them all. Places count from 0, so the place whose
    number is the count is padding already."""
    mask = torch.arange(x0.shape[1]) <= counts.unsqueeze(1)
    return _mean(_error(model, x0, t, noise, alpha_bar, mask), mask, mask.sum(dim=1))


def cloud_by_cloud(model, x0, t, noise, alpha_bar, counts):
    values = []
    for i, count in enumerate(counts.tolist()):
        a, s = alpha_bar[t[i]].sqrt(), (1 - alpha_bar[t[i]]).sqrt()
        x, e = x0[i : i + 1, :count], noise[i : i + 1, :count]
        guess = model(a * x + s * e, t[i : i + 1], torch.ones(1, count, dtype=torch.bool))
        values.append((guess - (a * e - s * x)).square().mean())
    return torch.stack(values)


def padding_cleared_first(model, x0, t, noise, alpha_bar, counts):
    mask = _mask(x0, counts)
    x_t, v = _parts(x0.masked_fill(~mask.unsqueeze(2), 0), t, noise, alpha_bar)
    guess = model(x_t, t, mask).masked_fill(~mask.unsqueeze(2), 0)
    wanted = v.masked_fill(~mask.unsqueeze(2), 0)
    return (guess - wanted).square().flatten(1).sum(dim=1) / (counts * x0.shape[2])


def with_picked_rows(model, x0, t, noise, alpha_bar, counts):
    mask = _mask(x0, counts)
    error = _error(model, x0, t, noise, alpha_bar, mask)
    return torch.stack([row[real].mean() for row, real in zip(error, mask, strict=True)])


def _clouds(draw, batch, points, axes, steps):
    data = Crowd(draw.integer(0, 99)), draw.normal(batch, points, axes), draw.times(batch, steps)
    return (*data, draw.normal(batch, points, axes), draw.alpha_bar(steps))


def _counts(draw, batch, points):
    """Different ones, not all of them `points`."""
    counts = draw.integers(2, points, batch)
    counts[0] = max(1, points // 3)
    return counts


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    batch, points = draw.integer(3, 6), draw.integer(9, 14)
    yield Case("clouds of different sizes", (*_clouds(draw, batch, points, 3, steps), _counts(draw, batch, points)))
    yield Case("no padding", (*_clouds(draw, batch, points, 3, steps), torch.full((batch,), points)))
    yield Case("one cloud", (*_clouds(draw, 1, points, 3, steps), _counts(draw, 1, points)))
    size = draw.integer(4, 6)
    yield Case("every size equal", (*_clouds(draw, size, size, size, steps), _counts(draw, size, size)))
    counts = _counts(draw, batch, points)
    counts[-1] = 1
    yield Case("a cloud of one point", (*_clouds(draw, batch, points, 3, steps), counts), "padding")
    model, x0, *rest = _clouds(draw, batch, points, 3, steps)
    counts = _counts(draw, batch, points)
    far = torch.where((torch.arange(points) < counts.unsqueeze(1)).unsqueeze(2), x0, 40.0)
    yield Case("padding far away", (model, far, *rest, counts), "padding")


def what_the_padding_holds(piece, draw: Draw):
    """Whatever stands in the padding, the loss is the same."""
    model, x0, *rest = _clouds(draw, 3, 10, 3, 12)
    counts = _counts(draw, 3, 10)
    real = (torch.arange(10) < counts.unsqueeze(1)).unsqueeze(2)
    one, other = (piece(model, torch.where(real, x0, value), *rest, counts).detach() for value in (0.0, 7.0))
    change = float((one - other).abs().max())
    if change < 1e-9:
        return None
    return f"with 7 in the place of 0 in the padding the loss changes by {change:.3g}, and no point is there"


EXERCISE = Exercise(
    chapter="points",
    kind="loss",
    title="A loss for clouds of different sizes",
    statement=r"""
Clouds come in all sizes, and a tensor has one. So pad: all clouds get $P$ points, of which the first $n_b$ of cloud $b$
are real. The padding must have no say. The network gets a mask and looks at real points alone, and the loss is the mean
over these. With $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon$ and
$v = \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 - \bar\alpha_t}\, x_0$,

$$L_b = \frac{1}{n_b D} \sum_{i < n_b} |v_\theta(x_t, t, \text{mask})_i - v_i|^2 .$$
""",
    reference=padded_loss,
    parts={"values": 3, "padding": 2, CARE: 1},
    cases=cases,
    properties=(Property("what stands in the padding makes no difference", what_the_padding_holds, "padding"),),
    trains=True,
    time="t",
    wrong_answers=(
        wrong(padding_counts_too),
        wrong(divided_by_all),
        wrong(no_mask_for_the_network),
        wrong(mask_turned_around),
        wrong(mask_of_numbers),
        wrong(one_point_more),
        wrong(last_points_for_first),
        wrong(one_mean_for_the_batch),
        wrong(axes_summed),
        wrong(everything_summed),
        wrong(sign_of_v),
        wrong(compared_with_the_noise),
        wrong(no_roots),
        wrong(clean_input),
        wrong(averaged_over_the_batch),
        wrong(cut_off_from_the_network),
        wrong(mean_of_one_point_more),
    ),
    right_answers=(right(cloud_by_cloud), right(padding_cleared_first), right(with_picked_rows)),
    hints=(
        "Who must not look at the padding, and what must not count it?",
        "`torch.arange(P) < counts.unsqueeze(1)` is the mask, for the network and for the mean.",
    ),
    source="v: Salimans & Ho 2022, section 4; masks over sets: Lee et al. 2019, section 3",
)
