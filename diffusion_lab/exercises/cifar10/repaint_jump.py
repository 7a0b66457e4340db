"""repaint_jump: up by fresh noise and down again by the network."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.cifar10.probes import OneImage
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def repaint_jump(model: nn.Module, x: Tensor, s: int, t: int, alpha_bar: Tensor, noise: Tensor) -> Tensor:
    """From level s up to the noisier level t, and by DDIM without noise down to s again.

    Args:
        model: called as model(x, t) with x (B, *S) and t (B,) int64, the level of each sample; returns its guess of v,
            (B, *S).
        x: (B, *S), at level s.
        s, t: levels, s < t, the same for the batch.
        alpha_bar: (T,), falling; the last entry may be 0.
        noise: (B, *S), fresh standard normal noise for the way up.

    Returns:
        (B, *S), at level s, without an autograd graph.
    """
    step = alpha_bar[t] / alpha_bar[s]
    x = step.sqrt() * x + (1 - step).sqrt() * noise
    with torch.no_grad():
        v = model(x, torch.full((len(x),), t, device=x.device))
    x0 = alpha_bar[t].sqrt() * x - (1 - alpha_bar[t]).sqrt() * v
    eps = alpha_bar[t].sqrt() * v + (1 - alpha_bar[t]).sqrt() * x
    return alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * eps


def _up(x, s, t, alpha_bar, noise):
    step = alpha_bar[t] / alpha_bar[s]
    return step.sqrt() * x + (1 - step).sqrt() * noise


def _ask(model, x, t):
    with torch.no_grad():
        return model(x, torch.full((len(x),), t))


def _down(x, v, s, t, alpha_bar):
    x0 = alpha_bar[t].sqrt() * x - (1 - alpha_bar[t]).sqrt() * v
    eps = alpha_bar[t].sqrt() * v + (1 - alpha_bar[t]).sqrt() * x
    return alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * eps


def alpha_bar_where_alpha_is_meant(model, x, s, t, alpha_bar, noise):
    """The way up used alpha_bar[t], which leads from clean data to level t. x is at level s already: the step from s to
    t keeps less than all and more than alpha_bar[t]."""
    x = alpha_bar[t].sqrt() * x + (1 - alpha_bar[t]).sqrt() * noise
    return _down(x, _ask(model, x, t), s, t, alpha_bar)


def eps_not_recomputed(model, x, s, t, alpha_bar, noise):
    """The network was asked before the jump. It must see x with the fresh noise, or the noise it takes away is not the
    one that is there."""
    guess = _ask(model, x, t)
    return _down(_up(x, s, t, alpha_bar, noise), guess, s, t, alpha_bar)


def time_of_the_cleaner_level(model, x, s, t, alpha_bar, noise):
    """The network was told that x is at level s. After the jump it is at level t."""
    x = _up(x, s, t, alpha_bar, noise)
    return _down(x, _ask(model, x, s), s, t, alpha_bar)


def output_read_as_eps(model, x, s, t, alpha_bar, noise):
    """The output was taken for eps, and x0 found by a division by the root of alpha_bar[t], which is 0 at the last
    level. The network guesses v: both x0 and eps follow from it without any division."""
    x = _up(x, s, t, alpha_bar, noise)
    eps = _ask(model, x, t)
    x0 = (x - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()
    return alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * eps


def variances_subtracted(model, x, s, t, alpha_bar, noise):
    """The variance of the fresh noise is the difference of the two levels here. But the noise that is there shrinks
    with the data on the way up, so more is needed: data and noise together keep the variance 1."""
    step = alpha_bar[t] / alpha_bar[s]
    x = step.sqrt() * x + (alpha_bar[s] - alpha_bar[t]).sqrt() * noise
    return _down(x, _ask(model, x, t), s, t, alpha_bar)


def missing_roots_on_the_way_up(model, x, s, t, alpha_bar, noise):
    """The way up multiplied by shares of the variance. Data and noise are multiplied by the square roots."""
    step = alpha_bar[t] / alpha_bar[s]
    x = step * x + (1 - step) * noise
    return _down(x, _ask(model, x, t), s, t, alpha_bar)


def fresh_noise_at_full_size(model, x, s, t, alpha_bar, noise):
    """The fresh noise came in at full size. Data and noise together keep the variance 1: the noise takes the share that
    the data lose."""
    x = (alpha_bar[t] / alpha_bar[s]).sqrt() * x + noise
    return _down(x, _ask(model, x, t), s, t, alpha_bar)


def no_way_up(model, x, s, t, alpha_bar, noise):
    """`noise` was not used: x was taken for a sample of level t as it is. First go up from s to t with fresh noise."""
    return _down(x, _ask(model, x, t), s, t, alpha_bar)


def one_step_up(model, x, s, t, alpha_bar, noise):
    """You went up by one level. The jump leads from s to t, over all levels between."""
    x = _up(x, s, s + 1, alpha_bar, noise)
    return _down(x, _ask(model, x, t), s, t, alpha_bar)


def one_step_down(model, x, s, t, alpha_bar, noise):
    """You came down by one level. The way down leads back to s, where the sampler goes on."""
    x = _up(x, s, t, alpha_bar, noise)
    return _down(x, _ask(model, x, t), t - 1, t, alpha_bar)


def output_read_as_x0(model, x, s, t, alpha_bar, noise):
    """The output was taken for the clean image. The network guesses v: both x0 and eps follow from it."""
    x = _up(x, s, t, alpha_bar, noise)
    x0 = _ask(model, x, t)
    eps = (x - alpha_bar[t].sqrt() * x0) / (1 - alpha_bar[t]).sqrt()
    return alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * eps


def sign_of_v(model, x, s, t, alpha_bar, noise):
    """v has its sign turned around, in x0 and in eps. In pure noise it is minus x0, in clean data it is the noise."""
    x = _up(x, s, t, alpha_bar, noise)
    return _down(x, -_ask(model, x, t), s, t, alpha_bar)


def down_with_the_fresh_noise(model, x, s, t, alpha_bar, noise):
    """On the way down you used the noise that you had put in. The noise in x at level t is that and what was there
    before: take the network's guess of all of it."""
    x = _up(x, s, t, alpha_bar, noise)
    x0 = alpha_bar[t].sqrt() * x - (1 - alpha_bar[t]).sqrt() * _ask(model, x, t)
    return alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * noise


def estimate_clipped(model, x, s, t, alpha_bar, noise):
    """The estimate of x0 was clipped to [-1, 1]. That is a step of its own, which this function does not take."""
    x = _up(x, s, t, alpha_bar, noise)
    v = _ask(model, x, t)
    x0 = (alpha_bar[t].sqrt() * x - (1 - alpha_bar[t]).sqrt() * v).clamp(-1, 1)
    eps = alpha_bar[t].sqrt() * v + (1 - alpha_bar[t]).sqrt() * x
    return alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * eps


def never_came_down(model, x, s, t, alpha_bar, noise):
    """This is x at level t, after the way up. The network then brings it down to level s again."""
    return _up(x, s, t, alpha_bar, noise)


def down_to_the_data(model, x, s, t, alpha_bar, noise):
    """This is the estimate of x0. The sampler goes on from level s, so some of the guessed noise stays."""
    x = _up(x, s, t, alpha_bar, noise)
    return alpha_bar[t].sqrt() * x - (1 - alpha_bar[t]).sqrt() * _ask(model, x, t)


def graph_kept(model, x, s, t, alpha_bar, noise):
    """The network was run with gradients. A sampler needs none, and its memory grows with every step."""
    x = _up(x, s, t, alpha_bar, noise)
    return _down(x, model(x, torch.full((len(x),), t)), s, t, alpha_bar)


def left_in_evaluation_mode(model, x, s, t, alpha_bar, noise):
    """The network was put in evaluation mode and left there. Put it back in the mode in which it came."""
    model.eval()
    x = _up(x, s, t, alpha_bar, noise)
    return _down(x, _ask(model, x, t), s, t, alpha_bar)


def v_taken_for_eps(model, x, s, t, alpha_bar, noise):
    """x0 is right, and for the noise you took v as it came. v is noise and data at once: find eps from v and x, as you
    found x0."""
    x = _up(x, s, t, alpha_bar, noise)
    v = _ask(model, x, t)
    x0 = alpha_bar[t].sqrt() * x - (1 - alpha_bar[t]).sqrt() * v
    return alpha_bar[s].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * v


@torch.no_grad()
def turning(model, x, s, t, alpha_bar, noise):
    here, there = (torch.arccos(alpha_bar[i].sqrt()) for i in (t, s))
    step = alpha_bar[t] / alpha_bar[s]
    x = x * step**0.5 + noise * (1 - step) ** 0.5
    v = model(x, torch.full((x.shape[0],), t, dtype=torch.long))
    return torch.cos(here - there) * x - torch.sin(here - there) * v


@torch.no_grad()
def step_by_sample(model, x, s, t, alpha_bar, noise):
    return torch.cat(
        [
            _down(up, model(up, torch.tensor([t])), s, t, alpha_bar)
            for up in (_up(x[i : i + 1], s, t, alpha_bar, noise[i : i + 1]) for i in range(len(x)))
        ]
    )


def evaluation_mode_and_back(model, x, s, t, alpha_bar, noise):
    training = model.training
    model.eval()
    x = _up(x, s, t, alpha_bar, noise)
    v = _ask(model, x, t)
    model.train(training)
    return _down(x, v, s, t, alpha_bar)


def float64_inside(model, x, s, t, alpha_bar, noise):
    alpha_bar = alpha_bar.double()
    up = _up(x.double(), s, t, alpha_bar, noise.double())
    return _down(up, _ask(model, up, t), s, t, alpha_bar).to(x.dtype)


def cases(draw: Draw):
    steps = draw.integer(12, 20)
    for shape in draw.shapes():
        s = draw.integer(1, steps - 5)
        t = draw.choice((s + 1, s + 3))
        arguments = Probe(draw.integer(0, 99)), draw.normal(*shape), s, t, draw.alpha_bar(steps), draw.normal(*shape)
        yield Case(f"from {s} to {t} and back", arguments)
    b, s = draw.integer(3, 5), draw.integer(1, steps - 5)
    arguments = draw.normal(b), s, s + 3, draw.alpha_bar(steps), draw.normal(b)
    yield Case("one number a sample", (Probe(draw.integer(0, 99)), *arguments))
    shape = (draw.integer(2, 4), 3, 4, 5)
    arguments = draw.normal(*shape), 0, 1, draw.alpha_bar(steps), draw.normal(*shape)
    yield Case("from 0 to 1 and back", (Probe(draw.integer(0, 99)), *arguments))
    for s in (steps - 2, draw.integer(2, steps - 4)):
        alpha_bar = draw.alpha_bar(steps)
        alpha_bar[-1] = 0
        arguments = draw.normal(*shape), s, steps - 1, alpha_bar, draw.normal(*shape)
        yield Case(f"from {s} to pure noise and back", (Probe(draw.integer(0, 99)), *arguments), "zero SNR")


def back_on_the_level(piece, draw: Draw):
    """With one image as the data, what is not the image is standard normal noise before and after."""
    steps = 12
    alpha_bar, image = draw.alpha_bar(steps), 2 * draw.normal(40)
    s = draw.integer(2, 5)
    t = draw.integer(s + 1, steps - 1)
    a, b = alpha_bar[s].sqrt(), (1 - alpha_bar[s]).sqrt()
    x = a * image + b * draw.normal(200, 40)
    back = piece(OneImage(image, alpha_bar), x, s, t, alpha_bar, draw.normal(len(x), 40))
    rest = (back - a * image) / b
    mean, std = float(rest.mean(0).abs().max()), float(rest.std())
    if abs(std - 1) < 0.05 and mean < 0.4:
        return None
    return (
        f"the noise left at level {s} after a jump to {t} has the standard deviation {std:.3g} and a mean of up to "
        f"{mean:.3g}, and standard normal noise is right"
    )


def pure_noise_forgets(piece, draw: Draw):
    """Up to a level that holds nothing, two different x end the same."""
    steps = 12
    alpha_bar, noise = draw.alpha_bar(steps), draw.normal(4, 6)
    alpha_bar[-1] = 0
    one, other = (piece(Probe(3), draw.normal(4, 6), 5, steps - 1, alpha_bar, noise) for _ in range(2))
    worst = float((one - other).abs().max())
    if not worst < 1e-9:
        return f"after a jump to pure noise the result still depends on x: it changes by {worst:.3g}"
    return None if float(one.abs().max()) > 1e-3 else "after a jump to pure noise nothing is left, and noise should be"


EXERCISE = Exercise(
    chapter="cifar10",
    kind="sampler",
    title="RePaint: up and down again",
    statement=r"""
Known pixels put back into a sample do not yet agree with the rest of it. RePaint gives them time to agree: go up to a
noisier level with fresh noise, ask the network again, come down, and repeat. With $a = \bar\alpha_t / \bar\alpha_s$,
what the steps from $s$ to $t$ keep, the way up is

$$
\begin{gathered}
x_t = \sqrt{a}\; x_s + \sqrt{1 - a}\; z, \\
z \sim \mathcal N(0, I).
\end{gathered}
$$

The network guesses $v$ at $x_t$, when you tell it the level $t$ of each sample, $(B,)$. Then

$$
\begin{aligned}
\hat x_0 &= \sqrt{\bar\alpha_t}\, x_t - \sqrt{1 - \bar\alpha_t}\, v, \\
\hat\varepsilon &= \sqrt{\bar\alpha_t}\, v + \sqrt{1 - \bar\alpha_t}\, x_t,
\end{aligned}
$$

and the way down is a DDIM step, $x_s = \sqrt{\bar\alpha_s}\, \hat x_0 + \sqrt{1 - \bar\alpha_s}\, \hat\varepsilon$.
After each round `inpaint_step` of chapter 4 puts the known pixels back.
""",
    reference=repaint_jump,
    parts={"values": 4, "zero SNR": 2, CARE: 1},
    cases=cases,
    time="t",
    properties=(
        Property("the noise stays standard normal", back_on_the_level),
        Property("pure noise remembers nothing", pure_noise_forgets, "zero SNR"),
    ),
    wrong_answers=(
        wrong(alpha_bar_where_alpha_is_meant),
        wrong(eps_not_recomputed),
        wrong(time_of_the_cleaner_level),
        wrong(output_read_as_eps),
        wrong(variances_subtracted),
        wrong(missing_roots_on_the_way_up),
        wrong(fresh_noise_at_full_size),
        wrong(no_way_up),
        wrong(one_step_up),
        wrong(one_step_down),
        wrong(output_read_as_x0),
        wrong(sign_of_v),
        wrong(down_with_the_fresh_noise),
        wrong(estimate_clipped),
        wrong(never_came_down),
        wrong(down_to_the_data),
        wrong(graph_kept, "graph"),
        wrong(left_in_evaluation_mode, "mode"),
        wrong(v_taken_for_eps),
    ),
    right_answers=(
        right(turning),
        right(step_by_sample),
        right(evaluation_mode_and_back),
        right(float64_inside),
    ),
    hints=(
        "At which level is x already, and how much of it do the steps up to t keep?",
        "Ask the network after the jump, at the level where x then is.",
    ),
    source="Lugmayr et al. 2022, algorithm 1; the step down: Song et al. 2021a, equation 12",
)
