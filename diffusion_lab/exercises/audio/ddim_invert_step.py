"""ddim_invert_step: from a sound towards the noise that gives it."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.audio.probes import NormalSound
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def ddim_invert_step(model: nn.Module, x: Tensor, s: int, t: int, alpha_bar: Tensor) -> Tensor:
    """One DDIM step upwards, from level s to the noisier level t.

    Args:
        model: called as model(x, t) with x (B, *S) and t (B,) int64; returns its guess of eps, (B, *S).
        x: (B, *S), at level s.
        s, t: levels, s < t, the same for the batch.
        alpha_bar: (T,), falling, above 0.

    Returns:
        (B, *S), at level t, without an autograd graph.
    """
    with torch.no_grad():
        eps = model(x, torch.full((len(x),), s, device=x.device))
    x0 = (x - (1 - alpha_bar[s]).sqrt() * eps) / alpha_bar[s].sqrt()
    return alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * eps


def _ask(model, x, t):
    with torch.no_grad():
        return model(x, torch.full((len(x),), t))


def _move(x, eps, s, t, alpha_bar):
    x0 = (x - (1 - alpha_bar[s]).sqrt() * eps) / alpha_bar[s].sqrt()
    return alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * eps


def eps_at_the_wrong_end(model, x, s, t, alpha_bar):
    """The network was told that x is at level t. x is still at level s, and the network must know where the x is that
    it sees."""
    return _move(x, _ask(model, x, t), s, t, alpha_bar)


def step_downwards(model, x, s, t, alpha_bar):
    """The two levels are swapped: this starts from level t and ends at s. Inversion goes up, towards the noise."""
    return _move(x, _ask(model, x, s), t, s, alpha_bar)


def levels_swapped_and_time_too(model, x, s, t, alpha_bar):
    """This is a DDIM step down from level t, as in sampling. x is at level s, and inversion goes up from there."""
    return _move(x, _ask(model, x, t), t, s, alpha_bar)


def forward_process(model, x, s, t, alpha_bar):
    """The guessed noise was added like fresh noise. The noise that is in x already would then be counted twice: go
    through x0, and add the guessed noise with the factor of the new level."""
    step = alpha_bar[t] / alpha_bar[s]
    return step.sqrt() * x + (1 - step).sqrt() * _ask(model, x, s)


def x_taken_for_clean(model, x, s, t, alpha_bar):
    """x was taken for the clean sound. It is at level s: take the guessed noise out of it first, and divide by the root
    of alpha_bar[s]."""
    return alpha_bar[t].sqrt() * x + (1 - alpha_bar[t]).sqrt() * _ask(model, x, s)


def fresh_noise(model, x, s, t, alpha_bar):
    """Noise was drawn. Then no way leads back to this very sound: the step up uses the guessed noise, and nothing
    random."""
    eps = _ask(model, x, s)
    x0 = (x - (1 - alpha_bar[s]).sqrt() * eps) / alpha_bar[s].sqrt()
    return alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * torch.randn_like(x)


def missing_roots(model, x, s, t, alpha_bar):
    """alpha_bar and 1 - alpha_bar are variances. Data and noise are multiplied by their square roots."""
    eps = _ask(model, x, s)
    x0 = (x - (1 - alpha_bar[s]) * eps) / alpha_bar[s]
    return alpha_bar[t] * x0 + (1 - alpha_bar[t]) * eps


def stops_at_the_clean_sound(model, x, s, t, alpha_bar):
    """This is the guess of the clean sound. The step goes on from there: up to level t, with the same guessed noise."""
    eps = _ask(model, x, s)
    return (x - (1 - alpha_bar[s]).sqrt() * eps) / alpha_bar[s].sqrt()


def noise_of_the_old_level(model, x, s, t, alpha_bar):
    """The guessed noise was put back as loud as it was at level s. At level t it has the factor of that level."""
    eps = _ask(model, x, s)
    x0 = (x - (1 - alpha_bar[s]).sqrt() * eps) / alpha_bar[s].sqrt()
    return alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[s]).sqrt() * eps


def asked_twice(model, x, s, t, alpha_bar):
    """The network was asked again at level t, about an x that is still at level s. One answer serves for both: the
    noise that is taken out is put back in."""
    x0 = (x - (1 - alpha_bar[s]).sqrt() * _ask(model, x, s)) / alpha_bar[s].sqrt()
    return alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * _ask(model, x, t)


def time_as_a_fraction(model, x, s, t, alpha_bar):
    """The network was told its level as a share of all levels. This one counts levels: it takes s itself, an int64 for
    each sound."""
    with torch.no_grad():
        eps = model(x, torch.full((len(x),), s) / len(alpha_bar))
    return _move(x, eps, s, t, alpha_bar)


def time_of_the_end_as_a_fraction(model, x, s, t, alpha_bar):
    """The network was told t as a share of all levels. It counts levels, and it must know where the x is that it sees:
    tell it s itself."""
    with torch.no_grad():
        eps = model(x, torch.full((len(x),), t) / len(alpha_bar))
    return _move(x, eps, s, t, alpha_bar)


def graph_kept(model, x, s, t, alpha_bar):
    """The network was run with gradients. A sampler needs none, and its memory grows with every step."""
    return _move(x, model(x, torch.full((len(x),), s)), s, t, alpha_bar)


@torch.no_grad()
def by_noise_to_signal(model, x, s, t, alpha_bar):
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
    eps = model(x, torch.tensor([s] * len(x)))
    return alpha_bar[t].sqrt() * (x / alpha_bar[s].sqrt() + (sigma[t] - sigma[s]) * eps)


@torch.no_grad()
def turning(model, x, s, t, alpha_bar):
    here, there = torch.arccos(alpha_bar[s].sqrt()), torch.arccos(alpha_bar[t].sqrt())
    eps = model(x, torch.full(x.shape[:1], s, dtype=torch.int64))
    return (torch.cos(there) * x + torch.sin(there - here) * eps) / torch.cos(here)


@torch.no_grad()
def sample_by_sample(model, x, s, t, alpha_bar):
    rows = [_move(row, model(row, torch.tensor([s])), s, t, alpha_bar) for row in x.split(1)]
    return torch.cat(rows)


def float64_inside(model, x, s, t, alpha_bar):
    up = x.double()
    return _move(up, _ask(model, up, s), s, t, alpha_bar.double()).to(x.dtype)


def cases(draw: Draw):
    steps = draw.integer(12, 20)
    for shape in draw.shapes():
        s = draw.integer(1, steps - 5)
        t = draw.choice((s + 1, s + 3))
        label = f"every size equal, from {s} to {t}" if len(set(shape)) == 1 else f"from {s} to {t}"
        yield Case(label, (Probe(draw.integer(0, 99)), draw.normal(*shape), s, t, draw.alpha_bar(steps)))
    arguments = Probe(draw.integer(0, 99)), draw.normal(draw.integer(3, 6)), 2, 4, draw.alpha_bar(steps)
    yield Case("one number for each sample", arguments)
    shape = (draw.integer(2, 4), 1, draw.integer(9, 14))
    for s, t in ((0, 1), (0, steps - 1), (steps - 2, steps - 1)):
        arguments = Probe(draw.integer(0, 99)), draw.normal(*shape), s, t, draw.alpha_bar(steps)
        yield Case(f"from {s} to {t} of {steps}", arguments)


def there_and_back(piece, draw: Draw):
    """Up in many small steps, down by DDIM in as many: what is missed falls with the steps, and x comes back."""
    length = 16
    x, psd = draw.normal(3, 1, length), draw.uniform(length // 2 + 1, low=0.2, high=3.0)
    misses = []
    for steps in (6, 12):
        alpha_bar = torch.cos(torch.linspace(0.3, 1.3, steps + 1, dtype=torch.float64)).square()
        model = NormalSound(psd, alpha_bar)
        up = x
        for s in range(steps):
            up = piece(model, up, s, s + 1, alpha_bar)
        for t in range(steps, 0, -1):
            eps = model(up, torch.full((3,), t))
            x0 = (up - (1 - alpha_bar[t]).sqrt() * eps) / alpha_bar[t].sqrt()
            up = alpha_bar[t - 1].sqrt() * x0 + (1 - alpha_bar[t - 1]).sqrt() * eps
        misses.append(float((up - x).norm() / x.norm()))
    if misses[0] < 0.3 and 1.5 < misses[0] / misses[1] < 2.7:
        return None
    return (
        f"6 steps up and 6 steps down miss the start by {misses[0]:.2%}, 12 and 12 by {misses[1]:.2%}; "
        "twice the steps should halve what is missed"
    )


def exact_map(piece, draw: Draw):
    """For normal sounds the flow stretches each frequency by the ratio of its deviations at both levels."""
    length, steps = 16, 8
    x, psd = draw.normal(2, 1, length), draw.uniform(length // 2 + 1, low=0.2, high=3.0)
    alpha_bar = torch.cos(torch.linspace(0.4, 1.2, steps + 1, dtype=torch.float64)).square()
    model, up = NormalSound(psd, alpha_bar), x
    for s in range(steps):
        up = piece(model, up, s, s + 1, alpha_bar)
    first, last = (alpha_bar[i] * psd + 1 - alpha_bar[i] for i in (0, -1))
    true = torch.fft.irfft(torch.fft.rfft(x) * (last / first).sqrt(), n=length)
    miss = float((up - true).norm() / true.norm())
    return None if miss < 0.08 else f"{steps} steps up end {miss:.1%} from where the exact flow of normal sounds leads"


EXERCISE = Exercise(
    chapter="audio",
    kind="sampler",
    title="From a sound to its noise",
    statement=r"""
DDIM without noise draws a curve from noise to sound, and a curve can be walked both ways. One step upwards, from
level $s$ to the noisier level $t$, is

$$
\begin{aligned}
\hat x_0 &= \frac{x_s - \sqrt{1 - \bar\alpha_s}\; \hat\varepsilon}{\sqrt{\bar\alpha_s}}, \\
x_t &= \sqrt{\bar\alpha_t}\; \hat x_0 + \sqrt{1 - \bar\alpha_t}\; \hat\varepsilon, \\
\hat\varepsilon &= \varepsilon_\theta(x_s, s).
\end{aligned}
$$

The network is asked where $x$ is, at level $s$. On the way down it would be asked at level $t$: the two differ a
little, so the way back is exact only in the limit of small steps. With the noise of a sound in hand you can change
it: see `slerp`.
""",
    reference=ddim_invert_step,
    parts={"values": 4, "there and back": 2, CARE: 1},
    cases=cases,
    time="t",
    properties=(
        Property("up and down again comes home, to first order", there_and_back, "there and back"),
        Property("the exact flow of normal sounds", exact_map, "there and back"),
    ),
    wrong_answers=(
        wrong(eps_at_the_wrong_end),
        wrong(step_downwards),
        wrong(levels_swapped_and_time_too),
        wrong(forward_process),
        wrong(x_taken_for_clean),
        wrong(fresh_noise, "random"),
        wrong(missing_roots),
        wrong(stops_at_the_clean_sound),
        wrong(noise_of_the_old_level),
        wrong(asked_twice),
        wrong(time_as_a_fraction),
        wrong(time_of_the_end_as_a_fraction),
        wrong(graph_kept, "graph"),
    ),
    right_answers=(right(by_noise_to_signal), right(turning), right(sample_by_sample), right(float64_inside)),
    hints=(
        "At which level is the x that the network sees?",
        "Estimate x0 with the factors of level s, then make x with those of level t and the same eps.",
    ),
    source="Song et al. 2021a, section 4.3; Dhariwal & Nichol 2021, appendix F",
)
