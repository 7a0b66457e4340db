"""denoise_digits: clean images from noisy ones, by a network that knows only its own steps."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.mnist.probes import NormalPixels
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def denoise_digits(model: nn.Module, noisy: Tensor, sigma: Tensor, alpha_bar: Tensor) -> Tensor:
    """The network's estimate of clean images, given noisy ones and the strength of their noise.

    Args:
        model: called as model(x_t, t) with x_t (B, *S) and t (B,) int64; returns its guess of v, (B, *S).
        noisy: (B, *S), pixels in [0, 1] with noise added to them.
        sigma: (B,), the standard deviation of that noise, for each image, in the same units. Where it is less or more
            than the network knows, the first or the last step is the nearest.
        alpha_bar: (T,), falling, above 0: the schedule that the network was trained with.

    Returns:
        (B, *S): estimates in [0, 1], without an autograd graph.
    """
    levels = ((1 - alpha_bar) / alpha_bar).sqrt()  # (T,): noise relative to the data, at each step
    t = (levels - 2 * sigma[:, None]).abs().argmin(dim=1)  # [-1, 1] is twice as wide as [0, 1], and so is the noise
    kept = alpha_bar[t].reshape(-1, *[1] * (noisy.ndim - 1))
    x_t = kept.sqrt() * (2 * noisy - 1)
    with torch.no_grad():
        v = model(x_t, t)
    x0 = kept.sqrt() * x_t - (1 - kept).sqrt() * v
    return ((x0 + 1) / 2).clamp(0, 1)


def _step(sigma, alpha_bar):
    return (((1 - alpha_bar) / alpha_bar).sqrt() - sigma[:, None]).abs().argmin(dim=1)


def _solved(model, x_t, t, alpha_bar):
    kept = alpha_bar[t].reshape(-1, *[1] * (x_t.ndim - 1))
    with torch.no_grad():
        return kept.sqrt() * x_t - (1 - kept).sqrt() * model(x_t, t)


def _shrunk(noisy, t, alpha_bar):
    return alpha_bar[t].sqrt().reshape(-1, *[1] * (noisy.ndim - 1)) * (2 * noisy - 1)


def noise_not_doubled(model, noisy, sigma, alpha_bar):
    """The step was found for sigma as it is. From [0, 1] to [-1, 1] everything becomes twice as large, the noise
    too."""
    t = _step(sigma, alpha_bar)
    return ((_solved(model, _shrunk(noisy, t, alpha_bar), t, alpha_bar) + 1) / 2).clamp(0, 1)


def noise_beside_shrunken_data(model, noisy, sigma, alpha_bar):
    """sigma was compared with the noise of x_t, the square root of 1 - alpha_bar, where the data are shrunk. Your
    images have data of full size: compare the ratio of noise to data."""
    t = ((1 - alpha_bar).sqrt() - 2 * sigma[:, None]).abs().argmin(dim=1)
    return ((_solved(model, _shrunk(noisy, t, alpha_bar), t, alpha_bar) + 1) / 2).clamp(0, 1)


def ratio_of_variances(model, noisy, sigma, alpha_bar):
    """sigma was compared with (1 - alpha_bar) / alpha_bar, a ratio of variances. sigma is a standard deviation: take
    the root of the ratio."""
    t = ((1 - alpha_bar) / alpha_bar - 2 * sigma[:, None]).abs().argmin(dim=1)
    return ((_solved(model, _shrunk(noisy, t, alpha_bar), t, alpha_bar) + 1) / 2).clamp(0, 1)


def ratio_inverted(model, noisy, sigma, alpha_bar):
    """sigma was compared with the ratio of data to noise. It measures noise beside data of full size: turn the ratio
    around."""
    t = ((alpha_bar / (1 - alpha_bar)).sqrt() - 2 * sigma[:, None]).abs().argmin(dim=1)
    return ((_solved(model, _shrunk(noisy, t, alpha_bar), t, alpha_bar) + 1) / 2).clamp(0, 1)


def next_step_above(model, noisy, sigma, alpha_bar):
    """This is the first step with at least that much noise. The nearest one is asked for, above or below."""
    levels = ((1 - alpha_bar) / alpha_bar).sqrt()
    t = torch.searchsorted(levels, (2 * sigma).contiguous()).clamp(max=len(alpha_bar) - 1)
    return ((_solved(model, _shrunk(noisy, t, alpha_bar), t, alpha_bar) + 1) / 2).clamp(0, 1)


def time_as_a_fraction(model, noisy, sigma, alpha_bar):
    """The network was told t / T. This one counts steps: it takes t itself, an int64 for each image."""
    t = _step(2 * sigma, alpha_bar)

    def told(x_t, t):
        return model(x_t, t / len(alpha_bar))

    return ((_solved(told, _shrunk(noisy, t, alpha_bar), t, alpha_bar) + 1) / 2).clamp(0, 1)


def sign_of_v(model, noisy, sigma, alpha_bar):
    """v was added where it is taken away. It is noise minus data, each with the other's factor, so x0 has less of it
    than x_t."""
    t = _step(2 * sigma, alpha_bar)
    kept, x_t = alpha_bar[t].reshape(-1, *[1] * (noisy.ndim - 1)), _shrunk(noisy, t, alpha_bar)
    with torch.no_grad():
        x0 = kept.sqrt() * x_t + (1 - kept).sqrt() * model(x_t, t)
    return ((x0 + 1) / 2).clamp(0, 1)


def factors_swapped(model, noisy, sigma, alpha_bar):
    """x_t and v have each other's factor. In clean data, where alpha_bar is 1, the estimate must be x_t itself."""
    t = _step(2 * sigma, alpha_bar)
    kept, x_t = alpha_bar[t].reshape(-1, *[1] * (noisy.ndim - 1)), _shrunk(noisy, t, alpha_bar)
    with torch.no_grad():
        x0 = (1 - kept).sqrt() * x_t - kept.sqrt() * model(x_t, t)
    return ((x0 + 1) / 2).clamp(0, 1)


def input_clipped(model, noisy, sigma, alpha_bar):
    """The noisy image was clipped before the network saw it. Its noise is not normal any more then: clip the estimate
    alone."""
    t = _step(2 * sigma, alpha_bar)
    return ((_solved(model, _shrunk(noisy.clamp(0, 1), t, alpha_bar), t, alpha_bar) + 1) / 2).clamp(0, 1)


def not_shrunk(model, noisy, sigma, alpha_bar):
    """The network got data of full size with noise on top. The x_t of its training is smaller: multiply by the square
    root of alpha_bar."""
    t = _step(2 * sigma, alpha_bar)
    return ((_solved(model, 2 * noisy - 1, t, alpha_bar) + 1) / 2).clamp(0, 1)


def pixels_from_0_to_1(model, noisy, sigma, alpha_bar):
    """The network got pixels from 0 to 1. It was trained on -1 to 1."""
    t = _step(2 * sigma, alpha_bar)
    shrunk = alpha_bar[t].sqrt().reshape(-1, *[1] * (noisy.ndim - 1)) * noisy
    return ((_solved(model, shrunk, t, alpha_bar) + 1) / 2).clamp(0, 1)


def estimate_from_minus_1_to_1(model, noisy, sigma, alpha_bar):
    """The estimate is on the network's scale from -1 to 1. Bring it back to that of the images."""
    t = _step(2 * sigma, alpha_bar)
    return _solved(model, _shrunk(noisy, t, alpha_bar), t, alpha_bar).clamp(-1, 1)


def clipped_to_0_and_1_too_early(model, noisy, sigma, alpha_bar):
    """The estimate was clipped to [0, 1] while it was on the scale from -1 to 1. Bring it back to that of the images
    first."""
    t = _step(2 * sigma, alpha_bar)
    return _solved(model, _shrunk(noisy, t, alpha_bar), t, alpha_bar).clamp(0, 1)


def clipped_to_0_and_1_before_the_way_back(model, noisy, sigma, alpha_bar):
    """The estimate was clipped to [0, 1] while it was on the scale from -1 to 1, so that all below middle grey became
    middle grey. Bring it back to the scale of the images first, and clip there."""
    t = _step(2 * sigma, alpha_bar)
    return (_solved(model, _shrunk(noisy, t, alpha_bar), t, alpha_bar).clamp(0, 1) + 1) / 2


def not_clipped(model, noisy, sigma, alpha_bar):
    """Some pixels are below 0 or above 1. No digit has such pixels: clip them."""
    t = _step(2 * sigma, alpha_bar)
    return (_solved(model, _shrunk(noisy, t, alpha_bar), t, alpha_bar) + 1) / 2


def output_taken_for_noise(model, noisy, sigma, alpha_bar):
    """The output was taken for the noise. This network guesses v."""
    t = _step(2 * sigma, alpha_bar)
    kept, x_t = alpha_bar[t].reshape(-1, *[1] * (noisy.ndim - 1)), _shrunk(noisy, t, alpha_bar)
    with torch.no_grad():
        x0 = (x_t - (1 - kept).sqrt() * model(x_t, t)) / kept.sqrt()
    return ((x0 + 1) / 2).clamp(0, 1)


def output_taken_for_the_image(model, noisy, sigma, alpha_bar):
    """The output was taken for the clean image. This network guesses v."""
    t = _step(2 * sigma, alpha_bar)
    with torch.no_grad():
        return ((model(_shrunk(noisy, t, alpha_bar), t) + 1) / 2).clamp(0, 1)


def one_step_for_the_batch(model, noisy, sigma, alpha_bar):
    """All images were denoised at the step that fits the first one. Each has noise of its own strength."""
    t = _step(2 * sigma[:1].expand(len(sigma)), alpha_bar)
    return ((_solved(model, _shrunk(noisy, t, alpha_bar), t, alpha_bar) + 1) / 2).clamp(0, 1)


def step_of_the_mean_noise(model, noisy, sigma, alpha_bar):
    """All images were denoised at one step, that of their mean sigma. Each has noise of its own strength."""
    t = _step(2 * sigma.mean().expand(len(sigma)), alpha_bar)
    return ((_solved(model, _shrunk(noisy, t, alpha_bar), t, alpha_bar) + 1) / 2).clamp(0, 1)


def graph_kept(model, noisy, sigma, alpha_bar):
    """The network was called with gradients on, and the estimates hold on to all that it calculated. Nothing is trained
    here: switch them off."""
    t = _step(2 * sigma, alpha_bar)
    kept, x_t = alpha_bar[t].reshape(-1, *[1] * (noisy.ndim - 1)), _shrunk(noisy, t, alpha_bar)
    return ((kept.sqrt() * x_t - (1 - kept).sqrt() * model(x_t, t) + 1) / 2).clamp(0, 1)


def mode_not_restored(model, noisy, sigma, alpha_bar):
    """The network was put into evaluation mode and left there. Put it back, or training goes on without dropout and
    with statistics at rest."""
    model.eval()
    t = _step(2 * sigma, alpha_bar)
    return ((_solved(model, _shrunk(noisy, t, alpha_bar), t, alpha_bar) + 1) / 2).clamp(0, 1)


def one_image_at_a_time(model, noisy, sigma, alpha_bar):
    found = []
    for image, strength in zip(noisy, sigma, strict=True):
        t = torch.argmin((torch.sqrt(1 / alpha_bar - 1) - 2 * strength).abs())
        x_t = alpha_bar[t].sqrt() * (image * 2 - 1)
        with torch.no_grad():
            v = model(x_t[None], t[None])[0]
        found.append((0.5 + 0.5 * (alpha_bar[t].sqrt() * x_t - (1 - alpha_bar[t]).sqrt() * v)).clip(0, 1))
    return torch.stack(found)


def by_log_snr(model, noisy, sigma, alpha_bar):
    log_snr = torch.logit(alpha_bar)
    t = (log_snr + 2 * torch.log(2 * sigma)[:, None]).abs().argmin(dim=1)
    kept = alpha_bar.gather(0, t).reshape(-1, *[1] * (noisy.ndim - 1))
    data = (noisy - 0.5) / 0.5
    with torch.inference_mode():
        v = model(kept.sqrt() * data, t)
    return torch.clamp((kept * data - (1 - kept).sqrt() * v.clone()) * 0.5 + 0.5, 0, 1)


def through_eps(model, noisy, sigma, alpha_bar):
    was = model.training
    model.eval()
    t = _step(2 * sigma, alpha_bar)
    kept, x_t = alpha_bar[t].reshape(-1, *[1] * (noisy.ndim - 1)), _shrunk(noisy, t, alpha_bar)
    eps = (1 - kept).sqrt() * x_t + kept.sqrt() * model(x_t, t).detach()
    model.train(was)
    x0 = (x_t - (1 - kept).sqrt() * eps) / kept.sqrt()
    return torch.minimum(torch.maximum((x0 + 1) / 2, torch.zeros_like(x0)), torch.ones_like(x0))


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    for shape in draw.shapes():
        label = "every size equal" if len(set(shape)) == 1 else "images of this shape"
        alpha_bar = draw.alpha_bar(steps)
        t = draw.integers(1, steps, shape[0])
        # Close to a step's own level, so that no rounding and no other measure of distance moves it to a neighbour.
        sigma = (1 / alpha_bar[t] - 1).sqrt() / 2 * draw.uniform(shape[0], low=0.99, high=1.01)
        noisy = draw.uniform(*shape) + 0.3 * draw.normal(*shape)
        yield Case(label, (Probe(draw.integer(0, 99)), noisy, sigma, alpha_bar))
    for t, label in ((0, "noise of t = 0"), (steps - 1, "noise of t = T - 1")):
        batch, alpha_bar = draw.integer(2, 4), draw.alpha_bar(steps)
        sigma = (1 / alpha_bar[t] - 1).sqrt() / 2 * draw.uniform(batch, low=0.99, high=1.01)
        noisy = draw.uniform(batch, 1, 4, 5) + sigma.reshape(-1, 1, 1, 1) * draw.normal(batch, 1, 4, 5)
        yield Case(label, (Probe(draw.integer(0, 99)), noisy, sigma, alpha_bar))
    alpha_bar = draw.alpha_bar(steps)
    least, most = ((1 / alpha_bar[t] - 1).sqrt() / 2 for t in (0, -1))
    sigma = torch.stack([draw.number(0.3, 0.8) * least, draw.number(1.2, 3) * most])[draw.permutation(2)]
    noisy = draw.uniform(2, 1, 4, 5) + sigma.reshape(-1, 1, 1, 1) * draw.normal(2, 1, 4, 5)
    yield Case("less and more noise than at any step", (Probe(draw.integer(0, 99)), noisy, sigma, alpha_bar))
    # One number for each sample, the noise that of two steps, and a little less and more.
    t = draw.permutation(steps - 2)[:4] + 1
    sigma = (1 / alpha_bar[t] - 1).sqrt() / 2 * torch.tensor([0.99, 1.01, 1.01, 0.99], dtype=torch.float64)
    yield Case("one pixel", (Probe(draw.integer(0, 99)), draw.uniform(4) + 0.3 * draw.normal(4), sigma, alpha_bar))


def normal_pixels(piece, draw: Draw):
    """The best network for normal pixels gives the mean of the noisy pixel and the prior, weighted by their
    precision."""
    mean, std = draw.number(0.45, 0.55), draw.number(0.05, 0.08)
    alpha_bar, batch = draw.alpha_bar(20), draw.integer(3, 5)
    t = draw.permutation(20)[:batch]
    sigma = (1 / alpha_bar[t] - 1).sqrt() / 2
    clean = mean + std * draw.uniform(batch, 1, 5, 5, low=-1.5, high=1.5)
    width = sigma.reshape(-1, 1, 1, 1)
    noisy = clean + width * draw.uniform(batch, 1, 5, 5, low=-1.5, high=1.5)
    found = piece(NormalPixels(2 * mean - 1, 2 * std, alpha_bar), noisy, sigma, alpha_bar)
    wanted = (std**2 * noisy + width**2 * mean) / (std**2 + width**2)
    worst = float((found - wanted).abs().max())
    return None if worst < 1e-6 else f"for normal pixels the estimate is up to {worst:.3g} away from the posterior mean"


EXERCISE = Exercise(
    chapter="mnist",
    kind="data",
    title="Denoise a digit",
    statement=r"""
Here is what the network was trained for: take a noisy digit $y = y_0 + \sigma z$ with pixels from 0 to 1, and estimate
the clean one. The network knows only its own world, so bring the image there and back:

1. On the scale from $-1$ to $1$ the image is $2y - 1$ and its noise has the standard deviation $2\sigma$.
2. Find the step with that much noise relative to the data: the $t$ whose $\sqrt{(1 - \bar\alpha_t) / \bar\alpha_t}$ is
   nearest to $2\sigma$.
3. There the data are smaller: $x_t = \sqrt{\bar\alpha_t}\, (2y - 1)$. Ask the network for $v$.
4. $\hat x_0 = \sqrt{\bar\alpha_t}\, x_t - \sqrt{1 - \bar\alpha_t}\, v$, brought back to $[0, 1]$ and clipped there.

The answer is the mean of all digits that fit, so it is blurred where the noise is strong.
""",
    reference=denoise_digits,
    parts={"values": 5, "normal pixels": 1, CARE: 1},
    cases=cases,
    properties=(Property("the posterior mean of normal pixels", normal_pixels, "normal pixels"),),
    wrong_answers=(
        wrong(noise_not_doubled),
        wrong(noise_beside_shrunken_data),
        wrong(ratio_of_variances),
        wrong(ratio_inverted),
        wrong(next_step_above),
        wrong(time_as_a_fraction),
        wrong(not_shrunk),
        wrong(pixels_from_0_to_1),
        wrong(estimate_from_minus_1_to_1),
        wrong(clipped_to_0_and_1_too_early),
        wrong(clipped_to_0_and_1_before_the_way_back),
        wrong(not_clipped),
        wrong(input_clipped),
        wrong(sign_of_v),
        wrong(factors_swapped),
        wrong(output_taken_for_noise),
        wrong(output_taken_for_the_image),
        wrong(one_step_for_the_batch),
        wrong(step_of_the_mean_noise),
        wrong(graph_kept, "graph"),
        wrong(mode_not_restored, "mode"),
    ),
    right_answers=(right(one_image_at_a_time), right(by_log_snr), right(through_eps)),
    hints=(
        "What happens to the standard deviation when pixels are scaled from [0, 1] to [-1, 1]?",
        "x_t divided by the square root of alpha_bar is the data with noise on top: how strong is that noise?",
    ),
    source="Salimans & Ho 2022, appendix D, for x0 from v; Ho et al. 2020, equation 15",
)
