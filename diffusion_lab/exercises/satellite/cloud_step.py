"""cloud_step: a step in the space of an autoencoder that keeps what no cloud has touched."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong
from diffusion_lab.exercises.satellite.probes import Surroundings


def cloud_step(
    model: nn.Module, x: Tensor, t: int, s: int, latents: Tensor, clouds: Tensor, alpha_bar: Tensor, noise: Tensor
) -> Tensor:
    """One DDIM step of latents from level t down to level s, held to an image wherever no cloud hides it.

    A latent pixel belongs to a patch of p x p pixels of the image, and is known where no pixel of that patch is hidden.

    Args:
        model: called as model(x, t) with x (B, C, H, W) and t (B,) int64; returns its guess of eps, (B, C, H, W).
        x: (B, C, H, W), at level t.
        t, s: levels, s < t, the same for the batch; s = -1 is the data, where alpha_bar is 1.
        latents: (B, C, H, W), of the cloudy image; where they are not known they mean nothing.
        clouds: (B, p H, p W) bool, True for pixels that a cloud hides; p is at least 1.
        alpha_bar: (T,), falling, in (0, 1).
        noise: (B, C, H, W), standard normal, for the known latents.

    Returns:
        (B, C, H, W), at level s, without an autograd graph: known latents with noise of level s, the step elsewhere.
    """
    with torch.no_grad():
        eps = model(x, torch.full((len(x),), t, device=x.device))
    kept = alpha_bar[s] if s >= 0 else torch.ones_like(alpha_bar[0])
    x0 = (x - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()
    stepped = kept.sqrt() * x0 + (1 - kept).sqrt() * eps
    batch, _, height, width = x.shape
    patch = clouds.shape[-1] // width
    hidden = clouds.reshape(batch, 1, height, patch, width, patch).any(dim=5).any(dim=3)
    return torch.where(hidden, stepped, kept.sqrt() * latents + (1 - kept).sqrt() * noise)


def _ask(model, x, t):
    with torch.no_grad():
        return model(x, torch.full((len(x),), t))


def _kept(alpha_bar, s):
    return alpha_bar[s] if s >= 0 else torch.ones_like(alpha_bar[0])


def _step(x, eps, t, s, alpha_bar):
    kept = _kept(alpha_bar, s)
    x0 = (x - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()
    return kept.sqrt() * x0 + (1 - kept).sqrt() * eps


def _noisy(latents, s, alpha_bar, noise):
    kept = _kept(alpha_bar, s)
    return kept.sqrt() * latents + (1 - kept).sqrt() * noise


def _hidden(clouds, x):
    patch = clouds.shape[-1] // x.shape[-1]
    return F.max_pool2d(clouds.unsqueeze(1).double(), patch) > 0


def clouds_ignored(model, x, t, s, latents, clouds, alpha_bar, noise):
    """This is a plain step of DDIM: it draws some landscape, not the one below the clouds. Where no cloud is, the
    latents of the image are known."""
    return _step(x, _ask(model, x, t), t, s, alpha_bar)


def mask_turned_around(model, x, t, s, latents, clouds, alpha_bar, noise):
    """What is under clouds was kept, and what is known was drawn anew. `clouds` is True where a pixel is hidden."""
    stepped = _step(x, _ask(model, x, t), t, s, alpha_bar)
    return torch.where(_hidden(clouds, x), _noisy(latents, s, alpha_bar, noise), stepped)


def known_without_noise(model, x, t, s, latents, clouds, alpha_bar, noise):
    """The clean latents were put into a noisy x. The network has never seen a part clean and a part noisy: bring them
    to level s."""
    return torch.where(_hidden(clouds, x), _step(x, _ask(model, x, t), t, s, alpha_bar), latents)


def noised_to_the_level_before(model, x, t, s, latents, clouds, alpha_bar, noise):
    """The known latents were noised to level t. The step ends at level s, and all of x must be there."""
    return torch.where(
        _hidden(clouds, x), _step(x, _ask(model, x, t), t, s, alpha_bar), _noisy(latents, t, alpha_bar, noise)
    )


def hidden_where_all_of_a_patch_is(model, x, t, s, latents, clouds, alpha_bar, noise):
    """A latent pixel was kept although a part of its patch is under a cloud. One hidden pixel spoils it: the encoder
    saw the cloud there."""
    patch = clouds.shape[-1] // x.shape[-1]
    hidden = F.max_pool2d(-clouds.unsqueeze(1).double(), patch) < 0
    return torch.where(hidden, _step(x, _ask(model, x, t), t, s, alpha_bar), _noisy(latents, s, alpha_bar, noise))


def hidden_where_most_of_a_patch_is(model, x, t, s, latents, clouds, alpha_bar, noise):
    """A latent pixel was kept where less than half of its patch is hidden. One hidden pixel spoils it: the encoder saw
    the cloud there."""
    patch = clouds.shape[-1] // x.shape[-1]
    hidden = F.avg_pool2d(clouds.unsqueeze(1).double(), patch) >= 0.5
    return torch.where(hidden, _step(x, _ask(model, x, t), t, s, alpha_bar), _noisy(latents, s, alpha_bar, noise))


def one_pixel_of_each_patch(model, x, t, s, latents, clouds, alpha_bar, noise):
    """Only the first pixel of each patch was looked at. A cloud can lie anywhere in it."""
    patch = clouds.shape[-1] // x.shape[-1]
    hidden = clouds[:, None, ::patch, ::patch]
    return torch.where(hidden, _step(x, _ask(model, x, t), t, s, alpha_bar), _noisy(latents, s, alpha_bar, noise))


def clouds_of_the_first_image(model, x, t, s, latents, clouds, alpha_bar, noise):
    """The clouds of the first image were taken for all. Each image has its own."""
    hidden = _hidden(clouds, x)[:1]
    return torch.where(hidden, _step(x, _ask(model, x, t), t, s, alpha_bar), _noisy(latents, s, alpha_bar, noise))


def put_back_before_the_step(model, x, t, s, latents, clouds, alpha_bar, noise):
    """The known latents were put into x before the step, and the step moved them. Put them back after it."""
    x = torch.where(_hidden(clouds, x), x, _noisy(latents, t, alpha_bar, noise))
    return _step(x, _ask(model, x, t), t, s, alpha_bar)


def put_back_before_the_network_looks(model, x, t, s, latents, clouds, alpha_bar, noise):
    """The known latents were put into x before the network was asked, and again after the step. The network sees x as
    it came, and what it says about a hidden place hangs on what is around: put them back once, after the step."""
    hidden = _hidden(clouds, x)
    x = torch.where(hidden, x, _noisy(latents, t, alpha_bar, noise))
    return torch.where(hidden, _step(x, _ask(model, x, t), t, s, alpha_bar), _noisy(latents, s, alpha_bar, noise))


def noise_of_the_network_for_the_known(model, x, t, s, latents, clouds, alpha_bar, noise):
    """The known latents got the network's eps in the place of fresh noise. That is a guess about x, made elsewhere:
    take `noise`."""
    eps = _ask(model, x, t)
    return torch.where(_hidden(clouds, x), _step(x, eps, t, s, alpha_bar), _noisy(latents, s, alpha_bar, eps))


def asked_at_the_other_level(model, x, t, s, latents, clouds, alpha_bar, noise):
    """The network was told level s. It must know the level of the x that it sees, which is t."""
    stepped = _step(x, _ask(model, x, max(s, 0)), t, s, alpha_bar)
    return torch.where(_hidden(clouds, x), stepped, _noisy(latents, s, alpha_bar, noise))


def no_roots(model, x, t, s, latents, clouds, alpha_bar, noise):
    """alpha_bar and 1 - alpha_bar were used without their roots. They are shares of the variance; data and noise are
    multiplied by the roots."""
    eps, kept = _ask(model, x, t), _kept(alpha_bar, s)
    stepped = kept * (x - (1 - alpha_bar[t]) * eps) / alpha_bar[t] + (1 - kept) * eps
    return torch.where(_hidden(clouds, x), stepped, kept * latents + (1 - kept) * noise)


def last_entry_for_the_data(model, x, t, s, latents, clouds, alpha_bar, noise):
    """alpha_bar[-1] is the last entry of the table, the noisiest level. At s = -1 there is no noise."""
    eps, kept = _ask(model, x, t), alpha_bar[s]
    x0 = (x - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()
    stepped = kept.sqrt() * x0 + (1 - kept).sqrt() * eps
    return torch.where(_hidden(clouds, x), stepped, kept.sqrt() * latents + (1 - kept).sqrt() * noise)


def graph_kept(model, x, t, s, latents, clouds, alpha_bar, noise):
    """The network was run with gradients. A sampler needs none, and its memory grows with every step."""
    stepped = _step(x, model(x, torch.full((len(x),), t)), t, s, alpha_bar)
    return torch.where(_hidden(clouds, x), stepped, _noisy(latents, s, alpha_bar, noise))


@torch.no_grad()
def by_pooling(model, x, t, s, latents, clouds, alpha_bar, noise):
    stepped = _step(x, model(x, torch.tensor([t] * len(x))), t, s, alpha_bar)
    return torch.where(_hidden(clouds, x), stepped, _noisy(latents, s, alpha_bar, noise))


@torch.no_grad()
def by_unfolding(model, x, t, s, latents, clouds, alpha_bar, noise):
    patch = clouds.shape[1] // x.shape[2]
    known = ~clouds.unfold(1, patch, patch).unfold(2, patch, patch).flatten(3).any(dim=3).unsqueeze(1)
    stepped = _step(x, _ask(model, x, t), t, s, alpha_bar)
    return known * _noisy(latents.nan_to_num(), s, alpha_bar, noise) + ~known * stepped


@torch.no_grad()
def one_image_at_a_time(model, x, t, s, latents, clouds, alpha_bar, noise):
    rows = []
    for i in range(len(x)):
        one = slice(i, i + 1)
        stepped = _step(x[one], _ask(model, x[one], t), t, s, alpha_bar)
        rows.append(torch.where(_hidden(clouds[one], x[one]), stepped, _noisy(latents[one], s, alpha_bar, noise[one])))
    return torch.cat(rows)


def _sky(draw, batch, height, width, patch):
    """Clouds (batch, patch height, patch width): in some patches one pixel alone, in some all, in some none."""
    share = draw.choice([0.05, 0.1])
    sky = draw.uniform(batch, patch * height, patch * width) < share
    sky[:, : 2 * patch, : 2 * patch] = True
    sky[:, -patch:, -patch:] = False
    return sky


def _images(draw, batch, channels, height, width, patch, levels):
    data = [draw.normal(batch, channels, height, width) for _ in range(3)]
    return Surroundings(draw.integer(0, 99)), *data, _sky(draw, batch, height, width, patch), draw.alpha_bar(levels)


def _arguments(images, t, s):
    model, x, latents, noise, sky, kept = images
    return model, x, t, s, latents, sky, kept, noise


def cases(draw: Draw):
    levels = draw.integer(12, 20)
    for label, batch, channels, patch in (("patches of four", draw.integer(3, 4), 4, 4), ("one image", 1, 3, 2)):
        images = _images(draw, batch, channels, draw.integer(4, 5), draw.integer(6, 7), patch, levels)
        yield Case(label, _arguments(images, draw.integer(7, levels - 1), draw.integer(1, 5)))
    images = _images(draw, 3, 2, 4, 5, 1, levels)
    yield Case("pixels themselves: patches of one", _arguments(images, draw.integer(7, levels - 1), 2))
    size = draw.integer(4, 5)
    yield Case("every size equal", _arguments(_images(draw, size, size, size, size, 2, levels), 9, 3))
    for t in (draw.integer(4, levels - 1), 0):
        images = _images(draw, 3, 2, 4, 5, 4, levels)
        yield Case(f"from level {t} to the data", _arguments(images, t, -1), "to the data")


def what_lies_under_clouds(piece, draw: Draw):
    """Whatever the encoder made of a cloud, the step is the same."""
    model, x, latents, noise, sky, kept = _images(draw, 3, 2, 4, 6, 4, 12)
    spoiled = torch.where(_hidden(sky, x), 30.0, latents)
    change = 0.0
    for s in (4, -1):
        one, other = (piece(model, x, 9, s, y, sky, kept, noise) for y in (latents, spoiled))
        change = max(change, float((one - other).abs().max()))
    if change < 1e-9:
        return None
    return (
        f"30 in the latents of every patch with a cloud changes the result by {change:.3g}, and it should not be seen"
    )


EXERCISE = Exercise(
    chapter="satellite",
    kind="sampler",
    title="Ground under clouds",
    statement=r"""
Clouds hide pixels, and the diffusion works on latents. Let the encoder look at one patch at a time: then a latent pixel
is known where no cloud lies on any of the $p \times p$ pixels of its patch. Take a step of DDIM,

$$
\begin{aligned}
\hat x_0 &= \bigl( x_t - \sqrt{1 - \bar\alpha_t}\, \hat\varepsilon \bigr) / \sqrt{\bar\alpha_t}, \\
x_s &= \sqrt{\bar\alpha_s}\, \hat x_0 + \sqrt{1 - \bar\alpha_s}\, \hat\varepsilon,
\end{aligned}
$$

and then put what is known in its place, $\sqrt{\bar\alpha_s}\, z + \sqrt{1 - \bar\alpha_s}\, \varepsilon$ with the
image's latents $z$ and fresh noise $\varepsilon$. At the end the known latents come out as they are, and the rest was
drawn so that it fits them.
""",
    reference=cloud_step,
    parts={"values": 4, "to the data": 1, CARE: 1},
    cases=cases,
    properties=(Property("what the encoder made of a cloud is not seen", what_lies_under_clouds),),
    wrong_answers=(
        wrong(clouds_ignored),
        wrong(mask_turned_around),
        wrong(known_without_noise),
        wrong(noised_to_the_level_before),
        wrong(hidden_where_all_of_a_patch_is),
        wrong(hidden_where_most_of_a_patch_is),
        wrong(one_pixel_of_each_patch),
        wrong(clouds_of_the_first_image),
        wrong(put_back_before_the_step),
        wrong(put_back_before_the_network_looks),
        wrong(noise_of_the_network_for_the_known),
        wrong(asked_at_the_other_level),
        wrong(no_roots),
        wrong(last_entry_for_the_data),
        wrong(graph_kept, "graph"),
    ),
    right_answers=(right(by_pooling), right(by_unfolding), right(one_image_at_a_time)),
    hints=(
        "How many pixels of a patch must be hidden to spoil its latent?",
        "Fold the mask into patches and ask for any. Step first, then put the known latents back, noised to level s.",
    ),
    source="Lugmayr et al. 2022, equation 8; latents: Rombach et al. 2022, section 4.5",
)
