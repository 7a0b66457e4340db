"""latent_loss: learning the latents of an autoencoder at unit variance."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def latent_loss(
    model: nn.Module, latents: Tensor, t: Tensor, noise: Tensor, alpha_bar: Tensor, mean: Tensor, std: Tensor
) -> Tensor:
    """The mean square error of the predicted v of scaled latents, for each image.

    Args:
        model: called as model(x_t, t) with x_t (B, C, H, W) and t (B,) int64; returns its guess of v, (B, C, H, W).
        latents, noise: (B, C, H, W); the latents as the encoder gives them.
        t: (B,) int64 in 0..T-1.
        alpha_bar: (T,), in (0, 1), for data of variance 1.
        mean, std: (C,), of each channel of the latents over the whole data set; std is positive.

    Returns:
        (B,): the mean over channels and places.
    """
    kept = alpha_bar[t].reshape(-1, 1, 1, 1)
    x0 = (latents - mean[:, None, None]) / std[:, None, None]
    v = kept.sqrt() * noise - (1 - kept).sqrt() * x0
    return (model(kept.sqrt() * x0 + (1 - kept).sqrt() * noise, t) - v).square().mean(dim=(1, 2, 3))


def _scaled(latents, mean, std):
    return (latents - mean[:, None, None]) / std[:, None, None]


def _loss(model, x0, t, noise, alpha_bar):
    kept = alpha_bar[t].reshape(-1, 1, 1, 1)
    v = kept.sqrt() * noise - (1 - kept).sqrt() * x0
    return (model(kept.sqrt() * x0 + (1 - kept).sqrt() * noise, t) - v).square().mean(dim=(1, 2, 3))


def latents_as_they_come(model, latents, t, noise, alpha_bar, mean, std):
    """The latents were not scaled. alpha_bar was made for data of variance 1: an encoder's numbers can be ten times as
    large, and then no level is noisy."""
    return _loss(model, latents, t, noise, alpha_bar)


def mean_left_in(model, latents, t, noise, alpha_bar, mean, std):
    """The mean was left in. Take it off before you divide, so that the noisiest level is pure noise around 0."""
    return _loss(model, latents / std[:, None, None], t, noise, alpha_bar)


def std_left_in(model, latents, t, noise, alpha_bar, mean, std):
    """The latents were centred, and not divided by their standard deviation."""
    return _loss(model, latents - mean[:, None, None], t, noise, alpha_bar)


def multiplied_by_the_std(model, latents, t, noise, alpha_bar, mean, std):
    """The latents were multiplied by the standard deviation. That is the way back, to the decoder; here, divide."""
    return _loss(model, (latents - mean[:, None, None]) * std[:, None, None], t, noise, alpha_bar)


def divided_before_the_mean(model, latents, t, noise, alpha_bar, mean, std):
    """The mean was taken off after the division. It is in the encoder's units: take it off first."""
    return _loss(model, latents / std[:, None, None] - mean[:, None, None], t, noise, alpha_bar)


def variance_for_std(model, latents, t, noise, alpha_bar, mean, std):
    """The latents were divided by the variance. The standard deviation is what brings them to variance 1."""
    return _loss(model, (latents - mean[:, None, None]) / std[:, None, None] ** 2, t, noise, alpha_bar)


def scaled_by_the_batch(model, latents, t, noise, alpha_bar, mean, std):
    """The batch was scaled by its own mean and deviation. The same image must always have the same latents: use those
    of the whole data set."""
    std, mean = torch.std_mean(latents, dim=(0, 2, 3), correction=0)
    return _loss(model, _scaled(latents, mean, std + 1e-6), t, noise, alpha_bar)


def one_scale_for_all_channels(model, latents, t, noise, alpha_bar, mean, std):
    """All channels were divided by one number. Each has a standard deviation of its own."""
    return _loss(model, (latents - mean[:, None, None]) / std.mean(), t, noise, alpha_bar)


def along_the_wrong_axis(model, latents, t, noise, alpha_bar, mean, std):
    """Mean and deviation were laid along the width. Where all sizes are equal nobody notices: give them the shape
    (C, 1, 1)."""
    if len(mean) != latents.shape[-1]:
        return _loss(model, _scaled(latents, mean, std), t, noise, alpha_bar)
    return _loss(model, (latents - mean) / std, t, noise, alpha_bar)


def target_not_scaled(model, latents, t, noise, alpha_bar, mean, std):
    """The network saw scaled latents, and v was made of those that were not. Both come from the same x0."""
    kept = alpha_bar[t].reshape(-1, 1, 1, 1)
    v = kept.sqrt() * noise - (1 - kept).sqrt() * latents
    x_t = kept.sqrt() * _scaled(latents, mean, std) + (1 - kept).sqrt() * noise
    return (model(x_t, t) - v).square().mean(dim=(1, 2, 3))


def noise_scaled_too(model, latents, t, noise, alpha_bar, mean, std):
    """The noise was divided as well. It has variance 1 already."""
    return _loss(model, _scaled(latents, mean, std), t, noise / std[:, None, None], alpha_bar)


def compared_with_the_noise(model, latents, t, noise, alpha_bar, mean, std):
    """The network's answer was compared with the noise. It predicts v."""
    kept = alpha_bar[t].reshape(-1, 1, 1, 1)
    x_t = kept.sqrt() * _scaled(latents, mean, std) + (1 - kept).sqrt() * noise
    return (model(x_t, t) - noise).square().mean(dim=(1, 2, 3))


def sign_of_v(model, latents, t, noise, alpha_bar, mean, std):
    """The sign of v is turned around: v is alpha times the noise minus sigma times the data."""
    kept = alpha_bar[t].reshape(-1, 1, 1, 1)
    x0 = _scaled(latents, mean, std)
    v = (1 - kept).sqrt() * x0 - kept.sqrt() * noise
    return (model(kept.sqrt() * x0 + (1 - kept).sqrt() * noise, t) - v).square().mean(dim=(1, 2, 3))


def no_roots(model, latents, t, noise, alpha_bar, mean, std):
    """alpha_bar and 1 - alpha_bar were used without their roots. They are shares of the variance; data and noise are
    multiplied by the roots."""
    kept = alpha_bar[t].reshape(-1, 1, 1, 1)
    x0 = _scaled(latents, mean, std)
    v = kept * noise - (1 - kept) * x0
    return (model(kept * x0 + (1 - kept) * noise, t) - v).square().mean(dim=(1, 2, 3))


def averaged_over_the_batch(model, latents, t, noise, alpha_bar, mean, std):
    """One number came back for the whole batch. Return the loss of each image, (B,)."""
    return _loss(model, _scaled(latents, mean, std), t, noise, alpha_bar).mean()


def cut_off_from_the_network(model, latents, t, noise, alpha_bar, mean, std):
    """The network's answer was detached, so nothing can be learned from this loss. Leave the graph in place."""
    return _loss(lambda x, t: model(x, t).detach(), _scaled(latents, mean, std), t, noise, alpha_bar)


def statistics_of_the_batch(model, latents, t, noise, alpha_bar, mean, std):
    """Mean and deviation of each channel were found in the batch. Another batch would give the same image other
    latents: use those handed in, of the whole data set."""
    std, mean = torch.std_mean(latents, dim=(0, 2, 3))
    return _loss(model, _scaled(latents, mean, std), t, noise, alpha_bar)


def each_image_by_itself(model, latents, t, noise, alpha_bar, mean, std):
    """Each image was scaled by its own mean and deviation. A bright image and a dark one then look the same: use those
    handed in, of the whole data set."""
    std, mean = torch.std_mean(latents, dim=(2, 3), keepdim=True)
    return _loss(model, (latents - mean) / std, t, noise, alpha_bar)


def one_number_of_the_batch(model, latents, t, noise, alpha_bar, mean, std):
    """One mean and one deviation were found in the whole batch. Each channel has units of its own, and those handed in
    are of the whole data set: use them."""
    return _loss(model, (latents - latents.mean()) / latents.std(), t, noise, alpha_bar)


def channel_by_channel(model, latents, t, noise, alpha_bar, mean, std):
    x0 = torch.stack([(latents[:, c] - mean[c]) / std[c] for c in range(len(mean))], dim=1)
    return _loss(model, x0, t, noise, alpha_bar)


def channels_last(model, latents, t, noise, alpha_bar, mean, std):
    x0 = ((latents.movedim(1, -1) - mean) / std).movedim(-1, 1)
    return _loss(model, x0, t, noise, alpha_bar)


def by_angle(model, latents, t, noise, alpha_bar, mean, std):
    angle = alpha_bar[t].sqrt().acos()[:, None, None, None]
    x0 = (latents - mean.view(1, -1, 1, 1)) * std.reciprocal().view(1, -1, 1, 1)
    x_t, v = angle.cos() * x0 + angle.sin() * noise, angle.cos() * noise - angle.sin() * x0
    return (v - model(x_t, t)).pow(2).flatten(1).sum(dim=1) / v[0].numel()


def _batch(draw, batch, channels, height, width, steps):
    mean, std = 3 * draw.normal(channels), draw.uniform(channels, low=0.3, high=6.0)
    latents = mean[:, None, None] + std[:, None, None] * draw.normal(batch, channels, height, width)
    noise = draw.normal(batch, channels, height, width)
    return (Probe(draw.integer(0, 99)), latents, draw.times(batch, steps), noise, draw.alpha_bar(steps), mean, std)


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    yield Case("four channels", _batch(draw, draw.integer(3, 6), 4, draw.integer(5, 7), draw.integer(8, 9), steps))
    yield Case("one image of one channel", _batch(draw, 1, 1, 6, 5, steps))
    size = draw.integer(3, 4)
    yield Case("every size equal", _batch(draw, size, size, size, size, steps), "each channel")
    model, latents, t, noise, kept, mean, std = _batch(draw, 4, 3, 5, 6, steps)
    yield Case(
        "channels of very different scale",
        (model, latents, t, noise, kept, mean, std * std.new_tensor([0.01, 1.0, 50.0])),
        "each channel",
    )
    yield Case("latents that are scaled already", (model, latents, t, noise, kept, 0 * mean, torch.ones_like(std)))


def units_do_not_matter(piece, draw: Draw):
    """An encoder that gives the same latents in other units has the same loss."""
    model, latents, t, noise, kept, mean, std = _batch(draw, 3, 4, 5, 6, 12)
    factor, offset = draw.uniform(4, low=0.2, high=5.0), draw.normal(4)
    other = latents * factor[:, None, None] + offset[:, None, None]
    one = piece(model, latents, t, noise, kept, mean, std).detach()
    same = piece(model, other, t, noise, kept, mean * factor + offset, std * factor).detach()
    change = float((one - same).abs().max())
    if change < 1e-8:
        return None
    return f"with the latents in other units, and mean and deviation in the same, the loss changes by {change:.3g}"


EXERCISE = Exercise(
    chapter="satellite",
    kind="loss",
    title="A loss for latents",
    statement=r"""
An autoencoder is free to use any units for its latents, and each channel may have others. A schedule is not free: it
counts noise in units of the data's standard deviation. So bring each channel to mean 0 and variance 1 before anything
else, by the mean $\mu_c$ and standard deviation $s_c$ of the whole data set:

$$
\begin{aligned}
x_0 &= (z - \mu) / s, \\
x_t &= \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon, \\
v &= \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 - \bar\alpha_t}\, x_0,
\end{aligned}
$$

and return the mean of $(v_\theta(x_t, t) - v)^2$ for each image.
""",
    reference=latent_loss,
    parts={"values": 3, "each channel": 1, CARE: 1},
    cases=cases,
    properties=(Property("the encoder's units do not matter", units_do_not_matter),),
    trains=True,
    time="t",
    wrong_answers=(
        wrong(latents_as_they_come),
        wrong(mean_left_in),
        wrong(std_left_in),
        wrong(multiplied_by_the_std),
        wrong(divided_before_the_mean),
        wrong(variance_for_std),
        wrong(scaled_by_the_batch),
        wrong(one_scale_for_all_channels),
        wrong(along_the_wrong_axis),
        wrong(target_not_scaled),
        wrong(noise_scaled_too),
        wrong(compared_with_the_noise),
        wrong(sign_of_v),
        wrong(no_roots),
        wrong(averaged_over_the_batch),
        wrong(cut_off_from_the_network),
        wrong(statistics_of_the_batch),
        wrong(each_image_by_itself),
        wrong(one_number_of_the_batch),
    ),
    right_answers=(right(channel_by_channel), right(channels_last), right(by_angle)),
    hints=(
        "In which units does alpha_bar count, and in which are the latents?",
        "Give mean and std the shape (C, 1, 1), scale first, and make x_t and v of the scaled latents.",
    ),
    source="Rombach et al. 2022, appendix G; v: Salimans & Ho 2022, section 4",
)
