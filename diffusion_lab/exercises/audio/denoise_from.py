"""denoise_from: noise of a known loudness taken out of a sound."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.audio.probes import NormalSound
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def denoise_from(model: nn.Module, x: Tensor, sigma: float, alpha_bar: Tensor, steps: int) -> Tensor:
    """Take noise of standard deviation sigma out of x, by DDIM from the level that has as much noise.

    Args:
        model: called as model(x_t, t) with x_t (B, *S) and t (B,) int64; returns its guess of eps, (B, *S).
        x: (B, *S), clean data plus sigma times standard normal noise.
        sigma: above 0, the same for the batch.
        alpha_bar: (T,), falling, in (0, 1).
        steps: how many; at most the level's number plus 1.

    Returns:
        (B, *S), the clean data, without an autograd graph.
    """
    snr = alpha_bar / (1 - alpha_bar)
    t = int((snr * sigma**2).log().abs().argmin())
    x = alpha_bar[t].sqrt() * x
    for i in range(steps):
        now, after = (t + 1) * (steps - i) // steps - 1, (t + 1) * (steps - i - 1) // steps - 1
        with torch.no_grad():
            eps = model(x, torch.full((len(x),), now, device=x.device))
        x0 = (x - (1 - alpha_bar[now]).sqrt() * eps) / alpha_bar[now].sqrt()
        x = x0 if after < 0 else alpha_bar[after].sqrt() * x0 + (1 - alpha_bar[after]).sqrt() * eps
    return x


def _level(alpha_bar, sigma):
    return int((alpha_bar / (1 - alpha_bar) * sigma**2).log().abs().argmin())


def _ask(model, x, t):
    with torch.no_grad():
        return model(x, torch.full((len(x),), t))


def _walk(model, x, t, alpha_bar, steps, asked=lambda now, after: now):
    for i in range(steps):
        now, after = (t + 1) * (steps - i) // steps - 1, (t + 1) * (steps - i - 1) // steps - 1
        eps = _ask(model, x, asked(now, after))
        x0 = (x - (1 - alpha_bar[now]).sqrt() * eps) / alpha_bar[now].sqrt()
        x = x0 if after < 0 else alpha_bar[after].sqrt() * x0 + (1 - alpha_bar[after]).sqrt() * eps
    return x


def not_scaled(model, x, sigma, alpha_bar, steps):
    """x was given to the network as it is. On the network's path the data are multiplied by the root of alpha_bar:
    scale x before the first step."""
    return _walk(model, x, _level(alpha_bar, sigma), alpha_bar, steps)


def sigma_taken_for_the_noise_of_the_level(model, x, sigma, alpha_bar, steps):
    """The level was looked up where the noise of x_t has the deviation sigma. But there the data are smaller too:
    compare the ratios of signal to noise."""
    t = int((1 - alpha_bar - sigma**2).abs().argmin())
    return _walk(model, alpha_bar[t].sqrt() * x, t, alpha_bar, steps)


def sigma_for_its_square(model, x, sigma, alpha_bar, steps):
    """The level was found with sigma in the place of its square. SNR is a ratio of variances: that of x is 1 /
    sigma^2."""
    t = _level(alpha_bar, sigma**0.5)
    return _walk(model, alpha_bar[t].sqrt() * x, t, alpha_bar, steps)


def from_pure_noise(model, x, sigma, alpha_bar, steps):
    """The walk began at the noisiest level, as if x were pure noise. Begin at the level that has as much noise as x."""
    t = len(alpha_bar) - 1
    return _walk(model, alpha_bar[t].sqrt() * x, t, alpha_bar, steps)


def noise_added_again(model, x, sigma, alpha_bar, steps):
    """Noise was drawn, and none is needed. At the start x is noisy already and only needs the scale of its level; the
    steps of DDIM draw none either."""
    t = _level(alpha_bar, sigma)
    noisy = alpha_bar[t].sqrt() * x + (1 - alpha_bar[t]).sqrt() * torch.randn_like(x)
    return _walk(model, noisy, t, alpha_bar, steps)


def eps_at_the_wrong_end(model, x, sigma, alpha_bar, steps):
    """The network was told the level at which the step ends. It must know the level of the x that it sees."""
    t = _level(alpha_bar, sigma)
    return _walk(model, alpha_bar[t].sqrt() * x, t, alpha_bar, steps, lambda now, after: max(after, 0))


def asked_only_once(model, x, sigma, alpha_bar, steps):
    """The network was asked at the first level only, so that the other steps change nothing. Ask it anew at each
    level."""
    t = _level(alpha_bar, sigma)
    return _walk(model, alpha_bar[t].sqrt() * x, t, alpha_bar, 1)


def stops_at_level_0(model, x, sigma, alpha_bar, steps):
    """The walk ends at level 0, which still has a little noise and the scale of that level. The last step leads to the
    data: alpha_bar is 1 there."""
    t = _level(alpha_bar, sigma)
    x = alpha_bar[t].sqrt() * x
    for i in range(steps):
        now, after = (t + 1) * (steps - i) // steps - 1, max((t + 1) * (steps - i - 1) // steps - 1, 0)
        eps = _ask(model, x, now)
        x0 = (x - (1 - alpha_bar[now]).sqrt() * eps) / alpha_bar[now].sqrt()
        x = alpha_bar[after].sqrt() * x0 + (1 - alpha_bar[after]).sqrt() * eps
    return x


def nearest_in_sigma(model, x, sigma, alpha_bar, steps):
    """The level was looked up by the difference of deviations, not of their logarithms. Between two levels that picks
    the other one: a deviation of 2 is as far from 1 as from 4."""
    t = int((((1 - alpha_bar) / alpha_bar).sqrt() - sigma).abs().argmin())
    return _walk(model, alpha_bar[t].sqrt() * x, t, alpha_bar, steps)


def nearest_in_snr(model, x, sigma, alpha_bar, steps):
    """The level was looked up by the difference of the SNR, not of its logarithm. Between two levels that picks the
    other one: an SNR of 2 is as far from 1 as from 4."""
    t = int((alpha_bar / (1 - alpha_bar) - 1 / sigma**2).abs().argmin())
    return _walk(model, alpha_bar[t].sqrt() * x, t, alpha_bar, steps)


def first_noisier_level(model, x, sigma, alpha_bar, steps):
    """The first level with at least as much noise was taken. The level before it can be nearer: compare both."""
    noisier = alpha_bar / (1 - alpha_bar) * sigma**2 <= 1
    t = int(noisier.long().argmax()) if bool(noisier.any()) else len(alpha_bar) - 1
    return _walk(model, alpha_bar[t].sqrt() * x, t, alpha_bar, steps)


def last_quieter_level(model, x, sigma, alpha_bar, steps):
    """The last level with no more noise than x was taken. The level after it can be nearer: compare both."""
    t = max(int((alpha_bar / (1 - alpha_bar) * sigma**2 >= 1).sum()) - 1, 0)
    return _walk(model, alpha_bar[t].sqrt() * x, t, alpha_bar, steps)


def walk_to_level_1(model, x, sigma, alpha_bar, steps):
    """The levels are one too high: the first is t + 1. The walk starts at t, the level that was found."""
    t = _level(alpha_bar, sigma)
    x = alpha_bar[t].sqrt() * x
    for i in range(steps):
        now, after = (t + 1) * (steps - i) // steps, (t + 1) * (steps - i - 1) // steps
        eps = _ask(model, x, now)
        kept = alpha_bar[after] if after > 0 else torch.ones_like(alpha_bar[0])
        x0 = (x - (1 - alpha_bar[now]).sqrt() * eps) / alpha_bar[now].sqrt()
        x = kept.sqrt() * x0 + (1 - kept).sqrt() * eps
    return x


def graph_kept(model, x, sigma, alpha_bar, steps):
    """The network was run with gradients. A sampler needs none, and its memory grows with every step."""
    t = _level(alpha_bar, sigma)
    x = alpha_bar[t].sqrt() * x
    for i in range(steps):
        now, after = (t + 1) * (steps - i) // steps - 1, (t + 1) * (steps - i - 1) // steps - 1
        eps = model(x, torch.full((len(x),), now))
        x0 = (x - (1 - alpha_bar[now]).sqrt() * eps) / alpha_bar[now].sqrt()
        x = x0 if after < 0 else alpha_bar[after].sqrt() * x0 + (1 - alpha_bar[after]).sqrt() * eps
    return x


def around_the_end_at_the_last_step(model, x, sigma, alpha_bar, steps):
    """The last step went to entry -1 of alpha_bar, which Python reads as the last one: the noisiest level. The level -1
    is the data, and alpha_bar is 1 there."""
    t = _level(alpha_bar, sigma)
    x = alpha_bar[t].sqrt() * x
    for i in range(steps):
        now, after = (t + 1) * (steps - i) // steps - 1, (t + 1) * (steps - i - 1) // steps - 1
        eps = _ask(model, x, now)
        x0 = (x - (1 - alpha_bar[now]).sqrt() * eps) / alpha_bar[now].sqrt()
        x = alpha_bar[after].sqrt() * x0 + (1 - alpha_bar[after]).sqrt() * eps
    return x


@torch.no_grad()
def in_units_of_the_data(model, x, sigma, alpha_bar, steps):
    sigmas = ((1 - alpha_bar) / alpha_bar).sqrt()
    t = int((sigmas.log() - torch.tensor(sigma).log()).abs().argmin())
    for i in range(steps):
        now = (t + 1) * (steps - i) // steps - 1
        after = (t + 1) * (steps - i - 1) // steps - 1
        eps = model(alpha_bar[now].sqrt() * x, torch.full((len(x),), now))
        x = x - (sigmas[now] - (sigmas[after] if after >= 0 else 0)) * eps
    return x


@torch.no_grad()
def levels_listed_first(model, x, sigma, alpha_bar, steps):
    t = (torch.special.logit(alpha_bar) + 2 * torch.tensor(sigma, dtype=alpha_bar.dtype).log()).abs().argmin().item()
    levels = [(t + 1) * k // steps - 1 for k in range(steps, -1, -1)]
    kept = torch.cat([alpha_bar, torch.ones_like(alpha_bar[:1])])  # entry -1 is the data
    x = kept[t] ** 0.5 * x
    for now, after in pairwise(levels):
        eps = model(x, torch.tensor([now] * len(x)))
        x0 = (x - (1 - kept[now]) ** 0.5 * eps) / kept[now] ** 0.5
        x = kept[after] ** 0.5 * x0 + (1 - kept[after]) ** 0.5 * eps
    return x


def one_sample_at_a_time(model, x, sigma, alpha_bar, steps):
    t = _level(alpha_bar, sigma)
    return torch.cat([_walk(model, alpha_bar[t].sqrt() * row, t, alpha_bar, steps) for row in x.split(1)])


def float64_inside(model, x, sigma, alpha_bar, steps):
    table = alpha_bar.double()
    t = _level(table, sigma)
    return _walk(model, table[t].sqrt() * x.double(), t, table, steps).to(x.dtype)


def _sigma(draw, alpha_bar, t, side=1):
    """A sigma near that of level t, above or below it: nearer than to any other level by far, and not the same."""
    here, next_one = (float(((1 - alpha_bar[i]) / alpha_bar[i]).sqrt().log()) for i in (t, t + side))
    return float(torch.tensor(here + draw.number(0.05, 0.15) * (next_one - here)).exp())


def _between(t, towards):
    """A coarse alpha_bar (8,), and a sigma that is in the logarithm as good as in the middle of levels t and t + 1.

    towards = 1: a little nearer to t + 1 in the logarithm, and to t by the difference of deviations; -1: nearer to t in
    the logarithm, and to t + 1 by the difference of SNR.
    """
    alpha_bar = torch.linspace(3.5, -3.5, 8, dtype=torch.float64).sigmoid()
    sigmas = ((1 - alpha_bar) / alpha_bar).sqrt()[t : t + 2]
    middle = sigmas.log().mean()
    border = sigmas.mean().log() if towards > 0 else -(sigmas**-2).mean().log() / 2
    return alpha_bar, float(((middle + border) / 2).exp())


def cases(draw: Draw):
    levels = draw.integer(14, 20)
    for i, shape in enumerate(draw.shapes()):
        alpha_bar = draw.alpha_bar(levels)
        t = draw.integer(5, levels - 4)
        sigma, steps = _sigma(draw, alpha_bar, t, 1 if i % 3 else -1), 1 if i % 2 else draw.integer(2, 4)
        label = f"{steps} step{'s' * (steps > 1)}, sigma = {sigma:.3g}"
        arguments = Probe(draw.integer(0, 99)), draw.normal(*shape), sigma, alpha_bar, steps
        yield Case(label, arguments, "one step" if steps == 1 else "several steps")
    alpha_bar = draw.alpha_bar(levels)
    sigma, numbers = _sigma(draw, alpha_bar, 5), draw.normal(draw.integer(3, 6))
    yield Case("one number for each sample", (Probe(3), numbers, sigma, alpha_bar, 2), "several steps")
    shape = (draw.integer(2, 4), 1, draw.integer(9, 14))
    for t, towards in ((draw.integer(0, 2), 1), (draw.integer(4, 6), -1)):
        alpha_bar, sigma = _between(t, towards)
        label = f"between two levels, sigma = {sigma:.3g}"
        yield Case(label, (Probe(draw.integer(0, 99)), draw.normal(*shape), sigma, alpha_bar, 1), "one step")
    for sigma, label in ((0.02, "less noise than at any level"), (30.0, "more noise than at any level")):
        arguments = Probe(draw.integer(0, 99)), draw.normal(*shape), sigma, draw.alpha_bar(6), 1
        yield Case(label, arguments, "one step")
    alpha_bar, t = torch.cumprod(1 - draw.betas(levels) / 3, dim=0), draw.integer(5, 7)
    arguments = Probe(draw.integer(0, 99)), draw.normal(*shape), _sigma(draw, alpha_bar, t), alpha_bar, t + 1
    yield Case(f"every level from {t} on", arguments, "several steps")


def _normal_sounds(draw, levels=60):
    """alpha_bar, a power spectrum that falls, clean sounds of it, and a level with its sigma."""
    alpha_bar = torch.cos(torch.linspace(0.05, 1.4, levels, dtype=torch.float64)).square()
    psd = draw.number(3, 8) / (1 + torch.arange(17, dtype=torch.float64)) ** 1.5
    white = draw.normal(200, 1, 32)
    clean = torch.fft.irfft(torch.fft.rfft(white) * psd.sqrt(), n=32)
    t = draw.integer(25, 40)
    return alpha_bar, psd, clean, float(((1 - alpha_bar[t]) / alpha_bar[t]).sqrt())


def wiener_filter(piece, draw: Draw):
    """One step on normal sounds is the Wiener filter, the best estimate that there is."""
    alpha_bar, psd, clean, sigma = _normal_sounds(draw)
    noisy = clean + sigma * draw.normal(*clean.shape)
    found = piece(NormalSound(psd, alpha_bar), noisy, sigma, alpha_bar, 1)
    best = torch.fft.irfft(torch.fft.rfft(noisy) * psd / (psd + sigma**2), n=32)
    errors = [float((x - clean).square().mean()) for x in (noisy, found, best)]
    if float((found - best).abs().max()) < 1e-6:
        return None
    return (
        f"of a mean square error of {errors[0]:.4g} one step leaves {errors[1]:.4g}, and the Wiener filter, which is "
        f"exact for these sounds, {errors[2]:.4g}"
    )


def exact_map(piece, draw: Draw):
    """Many steps on normal sounds follow the flow, which gives the sounds their own power back."""
    alpha_bar, psd, clean, sigma = _normal_sounds(draw, 200)
    t = _level(alpha_bar, sigma)
    noisy = clean + sigma * draw.normal(*clean.shape)
    found = piece(NormalSound(psd, alpha_bar), noisy[:8], sigma, alpha_bar, t + 1)
    true = torch.fft.irfft(torch.fft.rfft(noisy[:8]) * (psd / (psd + sigma**2)).sqrt(), n=32)
    miss = float((found - true).norm() / true.norm())
    return None if miss < 0.1 else f"{t + 1} steps end {miss:.1%} from where the exact flow of normal sounds leads"


EXERCISE = Exercise(
    chapter="audio",
    kind="sampler",
    title="Noise removal at a known level",
    statement=r"""
A recording is $y = x_0 + \sigma z$, with white noise of a known deviation. Somewhere on the path there is a level
with just as much noise: the $t$ whose $\bar\alpha_t / (1 - \bar\alpha_t)$ is nearest to $1 / \sigma^2$ in the
logarithm. On the path the data are smaller, so

$$x_t = \sqrt{\bar\alpha_t}\; y,$$

and DDIM without noise walks down from there. With $n$ steps the level after step $i$ is $\lfloor (t + 1)(n - i) / n
\rfloor - 1$, and the level $-1$ is the data, $\bar\alpha = 1$. Take $x$ to be exactly at level $t$.

One step gives the mean of all sounds that could be behind $y$: for normal sounds that is the Wiener filter, the best
linear filter. Many steps give one sound that could be it, sharper and a little farther from the truth. Compare both
by SI-SDR.
""",
    reference=denoise_from,
    parts={"one step": 3, "several steps": 3, CARE: 1},
    cases=cases,
    properties=(
        Property("the Wiener filter on normal sounds", wiener_filter, "one step"),
        Property("the exact flow of normal sounds", exact_map, "several steps"),
    ),
    wrong_answers=(
        wrong(not_scaled),
        wrong(sigma_taken_for_the_noise_of_the_level),
        wrong(sigma_for_its_square),
        wrong(from_pure_noise),
        wrong(noise_added_again, "random"),
        wrong(eps_at_the_wrong_end),
        wrong(asked_only_once),
        wrong(stops_at_level_0),
        wrong(nearest_in_sigma),
        wrong(nearest_in_snr),
        wrong(first_noisier_level),
        wrong(last_quieter_level),
        wrong(walk_to_level_1),
        wrong(graph_kept, "graph"),
        wrong(around_the_end_at_the_last_step),
    ),
    right_answers=(
        right(in_units_of_the_data),
        right(levels_listed_first),
        right(one_sample_at_a_time),
        right(float64_inside),
    ),
    hints=(
        "What is the signal-to-noise ratio of y, and what is multiplied by what on the network's path?",
        "Scale y by the root of alpha_bar[t], then take DDIM steps; the last one leads to alpha_bar = 1.",
    ),
    source="Song et al. 2021a, equation 12; Wiener 1949",
)
