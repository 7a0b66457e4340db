"""guided_eps: classifier-free guidance."""

from itertools import pairwise

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def guided_eps(eps_cond: Tensor, eps_uncond: Tensor, scale: float) -> Tensor:
    """From the guess without a label in the direction of the guess with one, and beyond.

    Args:
        eps_cond: (B, *S), the guess of the noise given the label.
        eps_uncond: (B, *S), the guess without a label.
        scale: at least 0: 0 ignores the label, 1 is the conditional guess, more exaggerates what the label changes.

    Returns:
        (B, *S).
    """
    return eps_uncond + scale * (eps_cond - eps_uncond)


def one_plus_w(eps_cond, eps_uncond, scale):
    """This is (1 + w) eps_cond - w eps_uncond with w = scale, so scale 0 is already conditional. The paper's w is
    scale - 1."""
    return (1 + scale) * eps_cond - scale * eps_uncond


def label_dropped_while_sampling(eps_cond, eps_uncond, scale):
    """The label has no effect: this is the guess without it. Labels are dropped in training only; while sampling, both
    guesses are needed."""
    return eps_uncond.clone()


def never_beyond_the_label(eps_cond, eps_uncond, scale):
    """This is the conditional guess at every scale. Guidance goes on in the same direction, beyond it."""
    return eps_cond.clone()


def guidance_off_up_to_1(eps_cond, eps_uncond, scale):
    """Guidance is switched off for scales up to 1: there you return the conditional guess, and at scale 0 the label
    must have no effect. The formula needs no exception."""
    return eps_cond.clone() if scale <= 1 else eps_uncond + scale * (eps_cond - eps_uncond)


def scale_cut_at_1(eps_cond, eps_uncond, scale):
    """The scale is cut at 1, so guidance stops at the conditional guess. It should go on in the same direction, beyond
    it."""
    return eps_uncond + min(scale, 1.0) * (eps_cond - eps_uncond)


def away_from_the_label(eps_cond, eps_uncond, scale):
    """The difference has the wrong sign: from the guess without a label you go away from what the label means. It
    points from the guess without to the guess with it."""
    return eps_uncond - scale * (eps_cond - eps_uncond)


def whole_guess_added(eps_cond, eps_uncond, scale):
    """The whole conditional guess was added to the other one, so the noise is counted more than once. Add only the
    difference that the label makes."""
    return eps_uncond + scale * eps_cond


def clipped_like_an_image(eps_cond, eps_uncond, scale):
    """The result was clipped to [-1, 1]. It is a guess of noise, and noise has no such ends."""
    return (eps_uncond + scale * (eps_cond - eps_uncond)).clamp(-1, 1)


def rescaled(eps_cond, eps_uncond, scale):
    """The result was brought back to the standard deviation of the conditional guess. Some samplers do that
    afterwards; here the plain combination is asked for."""
    out = eps_uncond + scale * (eps_cond - eps_uncond)
    size = (eps_cond.reshape(len(out), -1).std(dim=1) / out.reshape(len(out), -1).std(dim=1)).nan_to_num(1.0)
    return out * size.reshape(-1, *[1] * (out.ndim - 1))


def guesses_swapped(eps_cond, eps_uncond, scale):
    """Conditional and unconditional guess have changed places: a larger scale leads away from the label."""
    return eps_cond + scale * (eps_uncond - eps_cond)


def difference_alone(eps_cond, eps_uncond, scale):
    """This is the difference that the label makes, times the scale. It must be added to the guess without a label, or
    most of the noise stays in the picture."""
    return scale * (eps_cond - eps_uncond)


def scaled_guess(eps_cond, eps_uncond, scale):
    """The conditional guess was multiplied by the scale, which removes more noise than there is. Only the difference
    that the label makes is exaggerated."""
    return scale * eps_cond


def in_place(eps_cond, eps_uncond, scale):
    """Your function writes into one of the guesses. Make a new tensor: a sampler of second order needs the old one."""
    eps_uncond += scale * (eps_cond - eps_uncond)
    return eps_uncond


def weighted_sum(eps_cond, eps_uncond, scale):
    return scale * eps_cond + (1 - scale) * eps_uncond


def from_the_conditional(eps_cond, eps_uncond, scale):
    return eps_cond + (scale - 1) * (eps_cond - eps_uncond)


def lerp(eps_cond, eps_uncond, scale):
    return torch.lerp(eps_uncond, eps_cond, scale)


def one_sample_at_a_time(eps_cond, eps_uncond, scale):
    out = torch.empty_like(eps_cond)
    for i in range(len(out)):
        out[i] = eps_uncond[i] + (eps_cond[i] - eps_uncond[i]) * scale
    return out


def through_numpy(eps_cond, eps_uncond, scale):
    c, u = eps_cond.numpy(), eps_uncond.numpy()
    return torch.from_numpy(u - scale * (u - c))


def cases(draw: Draw):
    for shape in draw.shapes():
        yield Case("a scale above 1", (draw.normal(*shape), draw.normal(*shape), draw.number(1.5, 8)))
    batch = draw.integer(3, 6)
    yield Case("one number a sample", (draw.normal(batch), draw.normal(batch), draw.number(1.5, 8)))
    shape = draw.shapes()[3]
    yield Case("a scale between 0 and 1", (draw.normal(*shape), draw.normal(*shape), draw.number(0.2, 0.8)))
    yield Case("scale 0 ignores the label", (draw.normal(*shape), draw.normal(*shape), 0.0), "scale 0 and 1")
    yield Case("scale 1 is conditional", (draw.normal(*shape), draw.normal(*shape), 1.0), "scale 0 and 1")


def two_modes(piece, draw: Draw):
    """Sampling one of two modes, -1 and 1 with standard deviation .5, by the exact probability-flow ODE."""
    # The quantiles of pure noise stand for a large sample, so nothing here is random.
    n, modes, std = 101, torch.tensor([-1.0, 1.0], dtype=torch.float64), 0.5
    quantiles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    angles = torch.linspace(torch.pi / 2 - 1e-3, 1e-3, 31, dtype=torch.float64)
    for scale, mean, spread in ((1.0, 1.0, 0.5), (4.0, 1.67, 0.29)):
        x = torch.special.ndtri(quantiles)
        for now, after in pairwise(angles):
            variance = (now.cos() * std) ** 2 + now.sin() ** 2
            guesses = now.sin() * (x[:, None] - now.cos() * modes) / variance  # (n, 2), E[eps | x] for each mode
            weights = torch.softmax(-((x[:, None] - now.cos() * modes) ** 2) / (2 * variance), dim=1)
            # One sample of n entries, so that a loop over samples takes no longer.
            eps = piece(guesses[None, :, 1], (weights * guesses).sum(dim=1)[None], scale)[0]
            x = after.cos() * (x - now.sin() * eps) / now.cos() + after.sin() * eps
        found = float(x.mean()), float(x.std())
        if not (abs(found[0] - mean) < 0.05 and abs(found[1] - spread) < 0.04):
            return (
                f"two modes at -1 and 1, the second asked for at scale {scale:g}: samples are {found[0]:.2f} ± "
                f"{found[1]:.2f} instead of {mean:.2f} ± {spread:.2f}"
            )
    return None


EXERCISE = Exercise(
    chapter="mnist",
    kind="sampler",
    title="Guidance",
    statement=r"""
The difference between the guess with a label and the guess without one points to what the label means. Guidance goes
further in that direction:

$$\hat\varepsilon = \varepsilon_\varnothing + s\, (\varepsilon_y - \varepsilon_\varnothing).$$

At $s = 1$ this samples the class $y$ as it is. At $s > 1$ samples look more typical and vary less, and they no longer
follow the distribution of the class: with two modes at $\pm 1$ of standard deviation 0.5, samples of the upper one are
$1.00 \pm 0.50$ at $s = 1$ and $1.67 \pm 0.29$ at $s = 4$.
""",
    reference=guided_eps,
    parts={"values": 3, "scale 0 and 1": 1, "two modes": 1, CARE: 1},
    cases=cases,
    properties=(Property("samples of one of two modes", two_modes, "two modes"),),
    wrong_answers=(
        wrong(one_plus_w),
        wrong(label_dropped_while_sampling),
        wrong(never_beyond_the_label),
        wrong(guidance_off_up_to_1),
        wrong(scale_cut_at_1),
        wrong(guesses_swapped),
        wrong(away_from_the_label),
        wrong(whole_guess_added),
        wrong(clipped_like_an_image),
        wrong(rescaled),
        wrong(difference_alone),
        wrong(scaled_guess),
        wrong(in_place, "modified"),
    ),
    right_answers=(
        right(weighted_sum),
        right(from_the_conditional),
        right(lerp),
        right(one_sample_at_a_time),
        right(through_numpy),
    ),
    hints=("What must come out at scale 0, and what at scale 1?", "Start at the guess without a label."),
    source="Ho & Salimans 2022, equation 6, with scale = 1 + w",
)
