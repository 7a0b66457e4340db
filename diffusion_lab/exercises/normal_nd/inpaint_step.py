"""inpaint_step: putting back what is known."""

import math

import torch
from torch import Tensor

from diffusion_lab.exercises.inputs import data_shapes
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def inpaint_step(x: Tensor, known: Tensor, mask: Tensor, alpha_bar_s: Tensor, noise: Tensor) -> Tensor:
    """Replace the known part of x by the observation, brought to the noise level of x.

    Args:
        x: (B, *S), where a sampler's step has just arrived: the level alpha_bar_s. S can be empty.
        known: (B, *S), the clean observation; what is outside the mask means nothing and can be nan.
        mask: (B, *S) bool, True where the value is known; it can be True everywhere or nowhere.
        alpha_bar_s: (B,), in [0, 1], the level of x for each sample; 1 is the clean end. It can be float64 where x is
            float32.
        noise: (B, *S), standard normal.

    Returns:
        (B, *S), of the dtype of x.
    """
    kept = alpha_bar_s.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))  # (B, 1, ..., 1)
    return torch.where(mask, kept.sqrt() * known + (1 - kept).sqrt() * noise, x)


def _kept(x, alpha_bar_s):
    return alpha_bar_s.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def observation_not_noised(x, known, mask, alpha_bar_s, noise):
    """The clean observation was put into a noisy x. The network has never seen half of an image clean and half noisy:
    the observation must be noised to the level of x."""
    return torch.where(mask, known, x)


def mask_inverted(x, known, mask, alpha_bar_s, noise):
    """What is known was left to the sampler, and what is unknown was overwritten. True means known."""
    kept = _kept(x, alpha_bar_s)
    return torch.where(mask, x, kept.sqrt() * known + (1 - kept).sqrt() * noise)


def shrunk_without_noise(x, known, mask, alpha_bar_s, noise):
    """The observation was shrunk, and no noise was added. At the level of x it has noise like everything else."""
    return torch.where(mask, _kept(x, alpha_bar_s).sqrt() * known, x)


def noise_without_shrinking(x, known, mask, alpha_bar_s, noise):
    """Noise was added to the whole observation. Going to a level also shrinks the data, by the root of alpha_bar."""
    return torch.where(mask, known + (1 - _kept(x, alpha_bar_s)).sqrt() * noise, x)


def missing_roots(x, known, mask, alpha_bar_s, noise):
    """alpha_bar and 1 - alpha_bar are variances. Observation and noise are multiplied by their square roots."""
    kept = _kept(x, alpha_bar_s)
    return torch.where(mask, kept * known + (1 - kept) * noise, x)


def everything_noised(x, known, mask, alpha_bar_s, noise):
    """The unknown part was noised too. It is at its level already; only the observation must be brought there."""
    kept = _kept(x, alpha_bar_s)
    return kept.sqrt() * torch.where(mask, known, x) + (1 - kept).sqrt() * noise


def averaged_with_the_sampler(x, known, mask, alpha_bar_s, noise):
    """The observation was averaged with the sampler's value. What is known takes its place."""
    kept = _kept(x, alpha_bar_s)
    return torch.where(mask, (x + kept.sqrt() * known + (1 - kept).sqrt() * noise) / 2, x)


def levels_along_the_last_axis(x, known, mask, alpha_bar_s, noise):
    """The (B,) factors were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    kept = alpha_bar_s.to(x.dtype)
    return torch.where(mask, kept.sqrt() * known + (1 - kept).sqrt() * noise, x)


def times_the_mask(x, known, mask, alpha_bar_s, noise):
    """The observation was multiplied by the mask. What is outside the mask means nothing and can be nan, and nan times
    0 is nan: choose with `torch.where`, or clear those places first."""
    share, kept = mask.to(x.dtype), _kept(x, alpha_bar_s)
    return share * (kept.sqrt() * known + (1 - kept).sqrt() * noise) + (1 - share) * x


def signal_and_noise_swapped(x, known, mask, alpha_bar_s, noise):
    """Observation and noise have each other's factor. At the clean end, alpha_bar = 1, the observation itself is put
    back."""
    kept = _kept(x, alpha_bar_s)
    return torch.where(mask, (1 - kept).sqrt() * known + kept.sqrt() * noise, x)


def noise_on_top_of_x(x, known, mask, alpha_bar_s, noise):
    """x itself was noised in the place of the observation. Where the mask is True, nothing of x is used: the
    observation takes its place, at the level of x."""
    kept = _kept(x, alpha_bar_s)
    return torch.where(mask, kept.sqrt() * x + (1 - kept).sqrt() * noise, x)


def only_the_known_part(x, known, mask, alpha_bar_s, noise):
    """Outside the mask there are zeros. What is not known stays as the sampler has made it."""
    kept = _kept(x, alpha_bar_s)
    return torch.where(mask, kept.sqrt() * known + (1 - kept).sqrt() * noise, torch.zeros_like(x))


def fresh_noise(x, known, mask, alpha_bar_s, noise):
    """Noise was drawn inside. It is handed in, so that a run can be repeated."""
    kept = _kept(x, alpha_bar_s)
    return torch.where(mask, kept.sqrt() * known + (1 - kept).sqrt() * torch.randn_like(noise), x)


def in_place(x, known, mask, alpha_bar_s, noise):
    """x itself was changed. The sampler still needs it: make a new tensor."""
    kept = _kept(x, alpha_bar_s)
    x[mask] = (kept.sqrt() * known + (1 - kept).sqrt() * noise)[mask]
    return x


def by_arithmetic(x, known, mask, alpha_bar_s, noise):
    share, kept = mask.to(x.dtype), _kept(x, alpha_bar_s)
    known = known.masked_fill(~mask, 0.0)
    return share * (kept**0.5 * known + (1 - kept) ** 0.5 * noise) + (1 - share) * x


def one_sample_at_a_time(x, known, mask, alpha_bar_s, noise):
    out = x.clone()
    for i, kept in enumerate(alpha_bar_s.to(x.dtype)):
        out[i][mask[i]] = kept.sqrt() * known[i][mask[i]] + torch.sqrt(1 - kept) * noise[i][mask[i]]
    return out


def masked_scatter(x, known, mask, alpha_bar_s, noise):
    kept = alpha_bar_s.to(x.dtype)
    noisy = torch.einsum("b,b...->b...", kept.sqrt(), known)
    noisy = noisy + torch.einsum("b,b...->b...", (1 - kept).sqrt(), noise)
    return x.masked_scatter(mask, noisy[mask])


def through_numpy(x, known, mask, alpha_bar_s, noise):
    import numpy as np

    kept = _kept(x, alpha_bar_s).numpy()
    noisy = np.sqrt(kept) * known.numpy() + np.sqrt(1 - kept) * noise.numpy()
    return torch.from_numpy(np.where(mask.numpy(), noisy, x.numpy()))


def _mask(draw: Draw, shape: tuple[int, ...]):
    """Neither empty nor full."""
    mask = draw.uniform(*shape) < 0.5
    mask.reshape(-1)[0], mask.reshape(-1)[-1] = True, False
    return mask


def cases(draw: Draw):
    for shape, label, part in data_shapes(draw):
        x, known, noise = (draw.normal(*shape) for _ in range(3))
        levels = draw.uniform(shape[0], low=0.1, high=0.9)
        yield Case(label, (x, known, _mask(draw, shape), levels, noise), part)
    shape = (draw.integer(3, 5), draw.integer(2, 4))
    ones = torch.ones(shape[0], dtype=torch.float64)
    everything = torch.ones(shape, dtype=torch.bool)
    for label, mask, levels in (
        ("the clean end, alpha_bar = 1", _mask(draw, shape), ones),
        ("pure noise, alpha_bar = 0", _mask(draw, shape), 0 * ones),
        ("all is known", everything, 0.5 * ones),
        ("nothing is known", ~everything, 0.5 * ones),
    ):
        x, known, noise = (draw.normal(*shape) for _ in range(3))
        yield Case(label, (x, known, mask, levels, noise))
    mask, levels = _mask(draw, shape), draw.uniform(shape[0], low=0.1, high=0.9)
    x, known, noise = (draw.normal(*shape) for _ in range(3))
    unknown = known.masked_fill(~mask, math.nan)
    yield Case("nan where nothing is known", (x, unknown, mask, levels, noise), "outside the mask")


OBSERVED, CORRELATION = 1.5, 0.9
REPLACED = 0.935, 0.545
"""Mean and standard deviation of the other entry after 100 steps of ancestral DDPM with replacement."""


STEPS, PAIRS = 100, 300


def replacement_and_ddpm(piece, draw: Draw):
    """A whole run on a normal whose denoiser is exact; conditioning would give another answer. Every noise comes with
    its opposite. All steps are linear, so the mean of the pairs has no error of chance. There are two samples, one with
    all noises and one with their opposites."""
    cov = torch.tensor([[1.0, CORRELATION], [CORRELATION, 1.0]], dtype=torch.float64)
    known = torch.tensor([OBSERVED, 0.0], dtype=torch.float64).repeat(2, PAIRS, 1)
    mask = torch.tensor([True, False]).repeat(2, PAIRS, 1)

    def noise():
        half = draw.normal(PAIRS, 2)
        return torch.stack([half, -half])

    # The cosine schedule from log-SNR -10 to the clean end, alpha = cos and sigma = sin of these angles.
    angles = torch.linspace(math.atan(math.exp(5)), 0, STEPS + 1, dtype=torch.float64)
    alphas, sigmas = angles.cos(), angles.sin()
    x = noise()
    for i in range(STEPS):
        (a, b), (s, r) = alphas[i : i + 2], sigmas[i : i + 2]
        added = s**2 - (a / b * r) ** 2  # variance of the forward step
        x0 = a * x @ torch.linalg.solve(a**2 * cov + s**2 * torch.eye(2, dtype=torch.float64), cov)
        x = a / b * (r / s) ** 2 * x + b * added / s**2 * x0 + added.sqrt() * r / s * noise()
        x = piece(x, known, mask, (b**2).repeat(2), noise())
    seen, mean, std = float((x[..., 0] - OBSERVED).abs().max()), float(x[..., 1].mean()), float(x[..., 1].std())
    if not seen < 1e-5:
        return f"at the end of a run the known entry is the observation {OBSERVED}; yours is off by up to {seen:.3g}"
    if abs(mean - REPLACED[0]) < 0.01 and abs(std - REPLACED[1]) < 0.11:
        return None
    return (
        f"a run of DDPM with replacement fills in {REPLACED[0]} ± {REPLACED[1]} where {OBSERVED} is observed with the "
        f"correlation {CORRELATION}; with your step it fills in {mean:.3f} ± {std:.3f}"
    )


EXERCISE = Exercise(
    chapter="normal_nd",
    kind="sampler",
    title="Filling in what is missing",
    statement=r"""
Part of the data is known, and the rest is to be filled in by a model that was trained on whole data. After each step
of a sampler, which arrives at the level $\bar\alpha_s$, put the known part back, noised to that level:

$$
\begin{aligned}
x &\leftarrow \sqrt{\bar\alpha_s}\; x_{\text{known}} + \sqrt{1 - \bar\alpha_s}\; \varepsilon \\
&\qquad \text{where the mask is True,} \\
x &\leftarrow x \quad \text{elsewhere.}
\end{aligned}
$$

The levels here are those of chapter 2, where the data shrink: the $\sigma$ of this chapter is $\bar\alpha = 1 / (1 +
\sigma^2)$, with $x$ divided by $\sqrt{1 + \sigma^2}$. Outside the mask nothing was observed, so `known` can hold
anything there, nan too.

**Replacement is not conditioning.** Take two standard normal entries with the correlation 0.9 and observe 1.5 for the
first. The exact answer for the second is $0.9 \cdot 1.5 = 1.35$, with the standard deviation $\sqrt{1 - 0.9^2} =
0.436$. One hundred steps of the ancestral DDPM sampler (cosine schedule, posterior variance, the exact denoiser) with
this replacement give $0.935 \pm 0.545$ instead: the model sees the observation through noise that is drawn anew at
each level, and learns its value only when the rest is nearly settled. Another sampler gives other numbers ($0.67 \pm
0.65$ with deterministic DDIM), and more steps do not help. Your function is put through this run, too.
""",
    reference=inpaint_step,
    parts={"values": 2, "outside the mask": 1, "any shape": 1, "a whole run": 1, CARE: 1},
    cases=cases,
    properties=(Property("one hundred steps of DDPM with replacement", replacement_and_ddpm, "a whole run"),),
    wrong_answers=(
        wrong(observation_not_noised),
        wrong(mask_inverted),
        wrong(shrunk_without_noise),
        wrong(noise_without_shrinking),
        wrong(missing_roots),
        wrong(everything_noised),
        wrong(averaged_with_the_sampler),
        wrong(levels_along_the_last_axis),
        wrong(times_the_mask),
        wrong(signal_and_noise_swapped),
        wrong(noise_on_top_of_x),
        wrong(only_the_known_part),
        wrong(fresh_noise, "random"),
        wrong(in_place, "modified"),
    ),
    right_answers=(right(by_arithmetic), right(one_sample_at_a_time), right(masked_scatter), right(through_numpy)),
    hints=(
        "Which level has x after the step, and which level has the observation?",
        "`torch.where` chooses entry by entry.",
    ),
    source='Song et al. 2021, "Score-based generative modeling", appendix I.2; Lugmayr et al. 2022, section 4.1',
    tables=("alpha_bar_s",),
    like="x",
)
