"""langevin_step: a walk that follows the score."""

import math

import torch
from torch import Tensor

from diffusion_lab.exercises.inputs import data_shapes, independent_normals
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def langevin_step(x: Tensor, score: Tensor, step_size: float, noise: Tensor) -> Tensor:
    """One step of Langevin dynamics.

    Args:
        x: (B, *S), where the walk is.
        score: (B, *S), the gradient of the log-density at x.
        step_size: how far along the score, in units of the data's variance; positive.
        noise: (B, *S), standard normal.

    Returns:
        (B, *S), where the walk goes, of the dtype of x.
    """
    return x + step_size * score + math.sqrt(2 * step_size) * noise


def step_for_its_root(x, score, step_size, noise):
    """The noise was multiplied by twice the step. That is the variance which the step adds; its standard deviation is
    the square root."""
    return x + step_size * score + 2 * step_size * noise


def one_step_of_noise(x, score, step_size, noise):
    """Score and noise have the same factor. The variance of the noise is twice the step: with less of it, the walk
    collapses onto the modes."""
    return x + step_size * score + step_size * noise


def missing_two(x, score, step_size, noise):
    """The noise has the variance `step_size`. A full step along the score goes with twice that, or the samples come out
    too narrow; papers that leave out the 2 halve the step along the score."""
    return x + step_size * score + math.sqrt(step_size) * noise


def noise_scaled_twice(x, score, step_size, noise):
    """The noise was multiplied by a standard normal number a second time. A product of two normals has the kurtosis 9
    and not 3; one step shows it, and after many steps no histogram does."""
    return x + step_size * score + math.sqrt(2 * step_size) * noise * noise.flip(0)


def fresh_uniform_noise(x, score, step_size, noise):
    """The noise is not the one that was handed in. All randomness is passed in; a draw of `rand` in place of `randn`
    would also have the mean 1/2, and pull the walk to one side."""
    return x + step_size * score + math.sqrt(2 * step_size) * torch.rand_like(x)


def half_a_step(x, score, step_size, noise):
    """The score was halved. That belongs to the form with noise of variance `step_size`; here the noise has twice that,
    and the whole step goes along the score."""
    return x + 0.5 * step_size * score + math.sqrt(2 * step_size) * noise


def downhill(x, score, step_size, noise):
    """The walk goes against the score, away from the data. The score points to where the density grows."""
    return x - step_size * score + math.sqrt(2 * step_size) * noise


def step_of_half_the_size(x, score, step_size, noise):
    """This is the form with half a step along the score and noise of the variance `step_size`. Here the step is counted
    otherwise: the whole of it goes along the score, and the noise has twice the variance."""
    return x + 0.5 * step_size * score + math.sqrt(step_size) * noise


def noise_left_out(x, score, step_size, noise):
    """The noise was left out: this climbs to the nearest mode and stays there. The noise is what makes a sample of
    it."""
    return x + step_size * score


def root_of_the_step_along_the_score(x, score, step_size, noise):
    """The score was multiplied by the root of twice the step, like the noise. Along the score the walk goes the step
    itself; the root belongs to the noise alone."""
    return x + math.sqrt(2 * step_size) * (score + noise)


def two_outside_the_root(x, score, step_size, noise):
    """The noise was multiplied by 2 sqrt(step_size). The 2 stands below the root: the variance is twice the step."""
    return x + step_size * score + 2 * math.sqrt(step_size) * noise


def only_the_change(x, score, step_size, noise):
    """This is the change alone. Return where the walk goes: x plus the change."""
    return step_size * score + math.sqrt(2 * step_size) * noise


def in_place(x, score, step_size, noise):
    """x itself was changed. The caller still needs it, for a trajectory or another try: make a new tensor."""
    x += step_size * score
    x += math.sqrt(2 * step_size) * noise
    return x


def noise_along_with_the_step(x, score, step_size, noise):
    """The noise was multiplied by the step size once more, together with the score. The step size is the factor of the
    score alone: look at the brackets."""
    return x + step_size * (score + math.sqrt(2 * step_size) * noise)


def entry_by_entry(x, score, step_size, noise):
    entries = zip(x.flatten().tolist(), score.flatten().tolist(), noise.flatten().tolist(), strict=True)
    walked = [a + step_size * s + (2 * step_size) ** 0.5 * z for a, s, z in entries]
    return torch.tensor(walked, dtype=x.dtype).reshape(x.shape)


def drawn_around_its_mean(x, score, step_size, noise):
    mean = torch.add(x, score, alpha=step_size)
    return torch.addcmul(mean, torch.full_like(x, 2 * step_size).sqrt(), noise)


def through_numpy(x, score, step_size, noise):
    walked = x.numpy() + step_size * score.numpy() + (2 * step_size) ** 0.5 * noise.numpy()
    return torch.from_numpy(walked)


def float64_inside(x, score, step_size, noise):
    deviation = torch.tensor(2.0 * step_size, dtype=torch.float64).sqrt()
    return (x.double() + step_size * score.double() + deviation * noise.double()).to(x.dtype)


def cases(draw: Draw):
    for shape, label, _ in data_shapes(draw):
        x, score, noise = (draw.normal(*shape) for _ in range(3))
        yield Case(label, (x, score, draw.number(0.03, 0.4), noise), "score and noise")
    shape = (draw.integer(3, 6), draw.integer(2, 5))
    still = torch.zeros(shape, dtype=torch.float64)
    step = draw.number(0.03, 0.4)
    yield Case("no noise", (draw.normal(*shape), draw.normal(*shape), step, still), "along the score")
    yield Case("a large step, no noise", (draw.normal(*shape), draw.normal(*shape), 1.5, still), "along the score")
    tiny = draw.normal(*shape), 1000 * draw.normal(*shape), draw.number(1e-4, 4e-4), draw.normal(*shape)
    yield Case("a tiny step, a steep score", tiny, "score and noise")
    yield Case("no score", (draw.normal(*shape), still, step, draw.normal(*shape)), "score and noise")


def spread_of_one_step(piece, draw: Draw):
    """From one place, a step leads to a normal distribution: kurtosis 3, variance 2 step_size.

    The noise here has the variance 1 exactly, and the kurtosis that so few numbers can have.
    """
    step, (noise, _) = draw.number(0.05, 0.5), independent_normals(draw)
    noise = noise.reshape(4, -1)
    moved = piece(torch.zeros_like(noise), torch.zeros_like(noise), step, noise)

    def kurtosis(values):
        away = values - values.mean()
        return float(away.pow(4).mean() / away.square().mean() ** 2)

    variance, found, wanted = float(moved.var(correction=0)), kurtosis(moved), kurtosis(noise)
    if abs(found - wanted) < 1e-4 and abs(variance / (2 * step) - 1) < 1e-4:
        return None
    return (
        f"one step of size {step} from a single place has the variance {2 * step:.6g} and the kurtosis of the noise, "
        f"{wanted:.6g}; yours has {variance:.6g} and {found:.6g}"
    )


def a_normal_stays(piece, draw: Draw):
    """N(0, v) is where the walk comes to rest. One step keeps its variance, up to step_size^2 / v."""
    variance, (data, noise) = draw.number(0.5, 2.0), independent_normals(draw)
    step = 0.25 * variance
    x = (variance**0.5 * data).reshape(4, -1)
    found = float(piece(x, -x / variance, step, noise.reshape(4, -1)).var(correction=0))
    wanted = variance + step**2 / variance
    if abs(found / wanted - 1) < 1e-4:
        return None
    return f"a step of size {step:.3g} on N(0, {variance}) leaves the variance {wanted:.6g}, and yours {found:.6g}"


EXERCISE = Exercise(
    chapter="mixture",
    kind="sampler",
    title="A walk along the score",
    statement=r"""
With the score of a density alone, one can draw from it. Go a little way along the score, add noise, repeat:

$$
\begin{gathered}
x' = x + h\; s(x) + \sqrt{2 h}\; z, \\
z \sim \mathcal N(0, I),
\end{gathered}
$$

with $h$ the step size. The two terms are in balance: without the noise the walk ends on a mode, without the score it
runs away. Annealed, as in this chapter's run, the walk goes through the levels from $\sigma_{\max}$ to $\sigma_{\min}$
with $h$ proportional to $\sigma^2$; your function is one step of it.
""",
    reference=langevin_step,
    parts={"along the score": 2, "score and noise": 3, CARE: 1},
    cases=cases,
    properties=(
        Property("one step is normal", spread_of_one_step, "score and noise"),
        Property("a normal keeps its variance", a_normal_stays, "score and noise"),
    ),
    wrong_answers=(
        wrong(step_for_its_root),
        wrong(one_step_of_noise),
        wrong(missing_two),
        wrong(noise_scaled_twice),
        wrong(half_a_step),
        wrong(step_of_half_the_size),
        wrong(downhill),
        wrong(noise_left_out),
        wrong(root_of_the_step_along_the_score),
        wrong(two_outside_the_root),
        wrong(only_the_change),
        wrong(fresh_uniform_noise, "random"),
        wrong(in_place, "modified"),
        wrong(noise_along_with_the_step),
    ),
    right_answers=(right(entry_by_entry), right(drawn_around_its_mean), right(through_numpy), right(float64_inside)),
    hints=(
        "A variance is not a standard deviation.",
        "For a normal distribution, work out which variance of the noise keeps the variance of x as it is.",
    ),
    source="Welling & Teh 2011, equation 3, whose step is 2 h; Song & Ermon 2019, algorithm 1",
)
