"""centred_step: a step that leaves the centre of a cloud where it is."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.points.probes import Crowd
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def centred_step(model: nn.Module, x: Tensor, t: int, s: int, alpha_bar: Tensor) -> Tensor:
    """One DDIM step from level t down to level s, for clouds whose centre is at 0.

    Args:
        model: called as model(x, t) with x (B, P, D) and t (B,) int64; returns its guess of eps, (B, P, D), whose mean
            over the points need not be 0.
        x: (B, P, D), at level t, with the mean 0 over the points of each cloud.
        t, s: levels, s < t, the same for the batch; s = -1 is the data, where alpha_bar is 1.
        alpha_bar: (T,), falling, in (0, 1).

    Returns:
        (B, P, D), at level s, without an autograd graph; its mean over the points is 0.
    """
    with torch.no_grad():
        eps = model(x, torch.full((len(x),), t, device=x.device))
    eps = eps - eps.mean(dim=1, keepdim=True)
    x0 = (x - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()
    if s < 0:
        return x0
    return alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * eps


def _ask(model, x, t):
    with torch.no_grad():
        return model(x, torch.full((len(x),), t))


def _centred(x):
    return x - x.mean(dim=1, keepdim=True)


def _ddim(x, eps, t, s, alpha_bar):
    x0 = (x - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()
    return x0 if s < 0 else alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * eps


def centre_left_in(model, x, t, s, alpha_bar):
    """This is a plain step of DDIM: the network's guess has a mean, and the cloud walks away with it. Take the mean
    over the points out of eps."""
    return _ddim(x, _ask(model, x, t), t, s, alpha_bar)


def mean_over_the_axes(model, x, t, s, alpha_bar):
    """The mean over the coordinates of each point was taken out. The centre is the mean over the points, one number for
    each axis."""
    eps = _ask(model, x, t)
    return _ddim(x, eps - eps.mean(dim=2, keepdim=True), t, s, alpha_bar)


def mean_over_the_batch(model, x, t, s, alpha_bar):
    """The mean over the batch was taken out. Every cloud has a centre of its own: the mean over its points."""
    eps = _ask(model, x, t)
    return _ddim(x, eps - eps.mean(dim=0, keepdim=True), t, s, alpha_bar)


def one_mean_for_the_whole_cloud(model, x, t, s, alpha_bar):
    """One number was taken out of the whole cloud. A centre has a coordinate along each axis."""
    eps = _ask(model, x, t)
    return _ddim(x, eps - eps.mean(dim=(1, 2), keepdim=True), t, s, alpha_bar)


def one_centre_for_the_batch(model, x, t, s, alpha_bar):
    """One centre was taken out of all clouds. Every cloud has a centre of its own."""
    eps = _ask(model, x, t)
    return _ddim(x, eps - eps.mean(dim=(0, 1), keepdim=True), t, s, alpha_bar)


def median_for_mean(model, x, t, s, alpha_bar):
    """The median of the points was taken out. Noise on the centred clouds has the mean 0, not the median."""
    eps = _ask(model, x, t)
    return _ddim(x, eps - eps.median(dim=1, keepdim=True).values, t, s, alpha_bar)


def only_in_the_estimate(model, x, t, s, alpha_bar):
    """x0 was centred, and eps kept its mean: with its share of eps the cloud is off again. Take it out of eps."""
    eps = _ask(model, x, t)
    x0 = _centred((x - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt())
    return x0 if s < 0 else alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * eps


def only_in_the_noise(model, x, t, s, alpha_bar):
    """The eps that is put back was centred, and that which x0 comes from was not. It is one eps: centre it first."""
    eps = _ask(model, x, t)
    x0 = (x - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()
    return x0 if s < 0 else alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * _centred(eps)


def scaled_to_one(model, x, t, s, alpha_bar):
    """eps was divided by its spread as well. Only its centre is known: how large the guess is, the network says."""
    eps = _centred(_ask(model, x, t))
    return _ddim(x, eps / eps.std(dim=1, keepdim=True, correction=0), t, s, alpha_bar)


def asked_at_the_other_level(model, x, t, s, alpha_bar):
    """The network was told level s. It must know the level of the x that it sees, which is t."""
    return _ddim(x, _centred(_ask(model, x, max(s, 0))), t, s, alpha_bar)


def no_roots(model, x, t, s, alpha_bar):
    """alpha_bar and 1 - alpha_bar were used without their roots. They are shares of the variance; data and noise are
    multiplied by the roots."""
    eps = _centred(_ask(model, x, t))
    x0 = (x - (1 - alpha_bar[t]) * eps) / alpha_bar[t]
    return x0 if s < 0 else alpha_bar[s] * x0 + (1 - alpha_bar[s]) * eps


def last_entry_for_the_data(model, x, t, s, alpha_bar):
    """alpha_bar[-1] is the last entry of the table, the noisiest level. At s = -1 there is no noise: return x0."""
    eps = _centred(_ask(model, x, t))
    x0 = (x - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()
    return alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * eps


def always_to_the_data(model, x, t, s, alpha_bar):
    """x0 was returned at every level. Only at s = -1 is that the answer: otherwise go to level s with its share of
    eps."""
    return _ddim(x, _centred(_ask(model, x, t)), t, -1, alpha_bar)


def noise_forgotten(model, x, t, s, alpha_bar):
    """The noise that is still there at level s is missing. DDIM puts eps back with the factor of that level."""
    x0 = _ddim(x, _centred(_ask(model, x, t)), t, -1, alpha_bar)
    return x0 if s < 0 else alpha_bar[s].sqrt() * x0


def graph_kept(model, x, t, s, alpha_bar):
    """The network was run with gradients. A sampler needs none, and its memory grows with every step."""
    eps = model(x, torch.full((len(x),), t))
    return _ddim(x, _centred(eps), t, s, alpha_bar)


@torch.no_grad()
def in_place_on_the_guess(model, x, t, s, alpha_bar):
    eps = model(x, torch.full((len(x),), t)).clone()
    eps -= eps.sum(dim=1, keepdim=True) / x.size(1)
    return _ddim(x, eps, t, s, alpha_bar)


@torch.no_grad()
def with_a_projector(model, x, t, s, alpha_bar):
    count = x.shape[1]
    away = torch.eye(count, dtype=x.dtype) - 1 / count
    eps = torch.einsum("pq,bqd->bpd", away, model(x, torch.tensor([t] * len(x))))
    kept = alpha_bar[s] if s >= 0 else torch.ones_like(alpha_bar[0])
    ratio = (kept / alpha_bar[t]).sqrt()
    return ratio * x + ((1 - kept).sqrt() - ratio * (1 - alpha_bar[t]).sqrt()) * eps


@torch.no_grad()
def cloud_by_cloud(model, x, t, s, alpha_bar):
    rows = []
    for cloud in x:
        eps = model(cloud[None], torch.tensor([t]))[0]
        eps = eps - eps.sum(dim=0) / len(eps)
        rows.append(_ddim(cloud, eps, t, s, alpha_bar))
    return torch.stack(rows)


def _clouds(draw, *shape):
    return _centred(draw.normal(*shape) + 2 * draw.normal(shape[0], 1, shape[2]))


def cases(draw: Draw):
    levels = draw.integer(12, 20)
    for label, batch, points in (("clouds", draw.integer(3, 6), draw.integer(8, 12)), ("one cloud", 1, 7)):
        t, s = draw.integer(7, levels - 1), draw.integer(1, 5)
        yield Case(label, (Crowd(draw.integer(0, 99)), _clouds(draw, batch, points, 3), t, s, draw.alpha_bar(levels)))
    size = draw.integer(4, 6)
    clouds = _clouds(draw, size, size, size)
    yield Case("every size equal", (Crowd(draw.integer(0, 99)), clouds, draw.integer(6, 10), 2, draw.alpha_bar(levels)))
    for t in (draw.integer(4, levels - 1), 0):
        arguments = Crowd(draw.integer(0, 99)), _clouds(draw, 3, 9, 3), t, -1, draw.alpha_bar(levels)
        yield Case(f"from level {t} to the data", arguments, "to the data")


def centre_kept(piece, draw: Draw):
    """However the network errs, the centre stays at 0."""
    kept, x = draw.alpha_bar(12), _clouds(draw, 3, 9, 3)
    for s, part in ((4, "at level 4"), (-1, "at the data")):
        centre = float(piece(Crowd(draw.integer(0, 99)), x, 9, s, kept).mean(dim=1).abs().max())
        if not centre < 1e-9:
            return f"{part} the centre of a cloud is {centre:.3g} away from 0, where it was"
    return None


EXERCISE = Exercise(
    chapter="points",
    kind="sampler",
    title="A step that keeps the centre",
    statement=r"""
Where a shape stands says nothing about it. If every cloud of the training set is moved so that its centre is at 0, the
data fill a space with $D$ fewer dimensions, and noise with its own centre taken out lives in the same space. The
network does not know this: its guess has a centre, small but not 0, and after many steps the cloud has walked away.
Take the mean over the points out of the guess,

$$\hat\varepsilon_i' = \hat\varepsilon_i - \frac 1P \sum_j \hat\varepsilon_j,$$

and do a step of DDIM with it:
$\hat x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \hat\varepsilon') / \sqrt{\bar\alpha_t}$, and
$x_s = \sqrt{\bar\alpha_s}\, \hat x_0 + \sqrt{1 - \bar\alpha_s}\, \hat\varepsilon'$.
""",
    reference=centred_step,
    parts={"values": 3, "to the data": 1, CARE: 1},
    cases=cases,
    properties=(Property("the centre stays where it is", centre_kept),),
    wrong_answers=(
        wrong(centre_left_in),
        wrong(mean_over_the_axes),
        wrong(mean_over_the_batch),
        wrong(one_mean_for_the_whole_cloud),
        wrong(one_centre_for_the_batch),
        wrong(median_for_mean),
        wrong(only_in_the_estimate),
        wrong(only_in_the_noise),
        wrong(scaled_to_one),
        wrong(asked_at_the_other_level),
        wrong(no_roots),
        wrong(last_entry_for_the_data),
        wrong(always_to_the_data),
        wrong(noise_forgotten),
        wrong(graph_kept, "graph"),
    ),
    right_answers=(right(in_place_on_the_guess), right(with_a_projector), right(cloud_by_cloud)),
    hints=(
        "Over which axis is the centre of a cloud a mean?",
        "Centre eps once, before anything is made of it.",
    ),
    source="Hoogeboom et al. 2022, Equivariant diffusion, section 3.1; Köhler, Klein & Noé 2020, section 5",
)
