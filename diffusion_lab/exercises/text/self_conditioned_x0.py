"""self_conditioned_x0: a network that sees its own last estimate."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong
from diffusion_lab.exercises.text.probes import SeesLast


def self_conditioned_x0(model: nn.Module, x: Tensor, t: Tensor, last: Tensor | None, uniform: Tensor | None) -> Tensor:
    """Estimate x0 with a network that also sees an estimate made before.

    Sampling, with `last`: the network sees `last`, the estimate of the step before. At the first step `last` and
    `uniform` are both None, and it sees zeros.

    Training, with `uniform` and `last` None: a sample whose uniform is below 0.5 gets an estimate of its own, made at
    the same x and t from zeros. It is an input like any other: no gradient goes through it. The others get zeros.

    Args:
        model: called as model(x, t, None, last) (None stands for labels, and never for `last`); returns an estimate of
            x0, (B, *S). The answer is differentiated by its weights.
        x: (B, *S), noisy data.
        t: (B,), the times.
        last: (B, *S) or None.
        uniform: (B,), uniform numbers in [0, 1), or None.

    Returns:
        (B, *S), the estimate of x0.
    """
    if last is None:
        last = torch.zeros_like(x)
        if uniform is not None:
            with torch.no_grad():
                first = model(x, t, None, last)
            chosen = (uniform < 0.5).reshape(-1, *[1] * (x.ndim - 1))  # (B, 1, ..., 1)
            last = torch.where(chosen, first, last)
    return model(x, t, None, last)


def _column(values, x):
    return values.reshape(-1, *[1] * (x.ndim - 1))


def _first(model, x, t):
    with torch.no_grad():
        return model(x, t, None, torch.zeros_like(x))


def _with(make):
    """The answer in which `make` (model, x, t, uniform) gives what is seen in training."""

    def answer(model, x, t, last, uniform):
        if last is None:
            last = torch.zeros_like(x) if uniform is None else make(model, x, t, uniform)
        return model(x, t, None, last)

    return answer


def no_detach(model, x, t, last, uniform):
    """The gradient goes through both passes of the network. The first estimate is an input: cut it off, or training
    costs twice the memory and learns something else."""

    def seen(model, x, t, uniform):
        first = model(x, t, None, torch.zeros_like(x))
        return torch.where(_column(uniform < 0.5, x), first, torch.zeros_like(x))

    return _with(seen)(model, x, t, last, uniform)


def always_on(model, x, t, last, uniform):
    """Every training sample got an estimate, and `uniform` was not looked at. Sampling starts with zeros, so that half
    of the samples must be trained with zeros."""
    return _with(lambda model, x, t, uniform: _first(model, x, t))(model, x, t, last, uniform)


def never_on(model, x, t, last, uniform):
    """In training the network only ever sees zeros. It then never learns to use an estimate when sampling."""
    return _with(lambda model, x, t, uniform: torch.zeros_like(x))(model, x, t, last, uniform)


def one_coin_for_all(model, x, t, last, uniform):
    """One uniform number decided for the whole batch. Every sample has a number of its own."""

    def seen(model, x, t, uniform):
        return _first(model, x, t) if uniform[0] < 0.5 else torch.zeros_like(x)

    return _with(seen)(model, x, t, last, uniform)


def coin_turned_around(model, x, t, last, uniform):
    """The estimate went to the samples whose uniform is 0.5 or more. As often, but asked for was below 0.5."""

    def seen(model, x, t, uniform):
        return torch.where(_column(uniform < 0.5, x), torch.zeros_like(x), _first(model, x, t))

    return _with(seen)(model, x, t, last, uniform)


def noisy_data_as_the_estimate(model, x, t, last, uniform):
    """The network was shown x twice. Its second input is an estimate of x0: zeros, or what it has said before."""

    def seen(model, x, t, uniform):
        return torch.where(_column(uniform < 0.5, x), x, torch.zeros_like(x))

    return _with(seen)(model, x, t, last, uniform)


def estimate_of_another_step(model, x, t, last, uniform):
    """In training the first estimate was made at another time than t. x is noisy as at t, and both passes see the same
    x and t."""

    def seen(model, x, t, uniform):
        return torch.where(_column(uniform < 0.5, x), _first(model, x, t + 1), torch.zeros_like(x))

    return _with(seen)(model, x, t, last, uniform)


def made_anew_while_sampling(model, x, t, last, uniform):
    """While sampling, `last` was replaced by a new estimate at this step. The estimate of the step before is carried
    over: it costs nothing."""
    if uniform is None:
        return model(x, t, None, _first(model, x, t))
    return self_conditioned_x0(model, x, t, last, uniform)


def zeros_while_sampling(model, x, t, last, uniform):
    """While sampling, the network does not see `last`: nothing is carried from step to step."""
    return self_conditioned_x0(model, x, t, None, uniform)


def none_for_zeros(model, x, t, last, uniform):
    """The network was given None where it should see zeros. To a network zeros are an estimate like any other: make the
    tensor, with `zeros_like`."""
    if uniform is None:
        return model(x, t, None, last)
    with torch.no_grad():
        first = model(x, t, None, None)
    return model(x, t, None, torch.where(_column(uniform < 0.5, x), first, torch.zeros_like(x)))


def none_at_the_first_sampling_step(model, x, t, last, uniform):
    """At the first sampling step the network was given None. It should see zeros there, as half of the training samples
    do."""
    return (
        model(x, t, None, None) if last is None and uniform is None else self_conditioned_x0(model, x, t, last, uniform)
    )


def none_for_the_first_pass(model, x, t, last, uniform):
    """In training the first pass was made with None for the estimate. It should see zeros: those samples are trained
    as if no estimate had been made yet."""

    def seen(model, x, t, uniform):
        with torch.no_grad():
            first = model(x, t, None, None)
        return torch.where(_column(uniform < 0.5, x), first, torch.zeros_like(x))

    return _with(seen)(model, x, t, last, uniform)


def two_passes_at_the_first_sampling_step(model, x, t, last, uniform):
    """At the first sampling step an estimate was made on the spot and the network asked once more. There the network
    sees zeros: one pass."""
    if last is None and uniform is None:
        return model(x, t, None, _first(model, x, t))
    return self_conditioned_x0(model, x, t, last, uniform)


def first_estimate_returned(model, x, t, last, uniform):
    """In training the first estimate itself came back. It is the second input of another pass, whose answer counts."""
    if uniform is None:
        return self_conditioned_x0(model, x, t, last, uniform)
    return torch.where(_column(uniform < 0.5, x), _first(model, x, t), model(x, t, None, torch.zeros_like(x)))


def cut_off_from_the_network(model, x, t, last, uniform):
    """No gradient goes through the second pass either, so that nothing is learned. Only the first one is cut off."""
    return self_conditioned_x0(model, x, t, last, uniform).detach()


def one_sample_at_a_time(model, x, t, last, uniform):
    rows = []
    for i in range(len(x)):
        own, time = x[i : i + 1], t[i : i + 1]
        seen = torch.zeros_like(own) if last is None else last[i : i + 1]
        if last is None and uniform is not None and float(uniform[i]) < 0.5:
            seen = model(own, time, None, seen).detach()
        rows.append(model(own, time, None, seen))
    return torch.cat(rows)


def only_those_that_need_it(model, x, t, last, uniform):
    seen = torch.zeros_like(x) if last is None else last
    if last is None and uniform is not None:
        rows = (uniform < 0.5).nonzero().flatten()
        if len(rows):
            first = model(x[rows], t[rows], None, seen[rows]).detach()
            seen = seen.index_copy(0, rows, first)
    return model(x, t, None, seen)


def by_multiplication(model, x, t, last, uniform):
    if last is not None:
        return model(x, t, None, last)
    on = torch.zeros(len(x)) if uniform is None else (uniform < 0.5).to(x.dtype)
    with torch.no_grad():
        last = torch.einsum("b,b...->b...", on.to(x), model(x, t, None, 0 * x))
    return model(x, t, None, last)


def cases(draw: Draw):
    points, one, _, image, square, _ = draw.shapes()
    for shape in (points, one, image, square):
        b, model = shape[0], SeesLast(draw.integer(0, 99))
        # The first sample and the last get different coins.
        uniform = torch.where(torch.arange(b) % 2 == draw.integer(0, 1), 0.0, 0.5) + 0.49 * draw.uniform(b)
        sizes, times, last = ", every size equal" if shape == square else "", draw.times(b, 20), draw.normal(*shape)
        yield Case(f"training{sizes}", (model, draw.normal(*shape), times, None, uniform), "training")
        if shape in (points, image):
            yield Case("sampling, a later step", (model, draw.normal(*shape), times, last, None), "sampling")
    b, d = draw.integer(3, 5), draw.integer(4, 6)
    for label, low in (("training, all below 0.5", 0.0), ("training, none below 0.5", 0.5)):
        uniform = low + 0.49 * draw.uniform(b)
        yield Case(label, (SeesLast(1), draw.normal(b, d), draw.times(b, 20), None, uniform), "training")
    uniform = draw.uniform(b, low=0.1, high=0.4)
    uniform[0] = 0.9
    yield Case(
        "one number for each sample", (SeesLast(3), draw.normal(b), draw.times(b, 20), None, uniform), "training"
    )
    yield Case("sampling, the first step", (SeesLast(2), draw.normal(b, d), draw.times(b, 20), None, None), "sampling")


def half_of_the_samples(piece, draw: Draw):
    """Equal samples give one of two answers, each as often as its coin."""
    model, n = SeesLast(draw.integer(0, 99)), 40
    x, t = draw.normal(1, 3).expand(n, 3).contiguous(), torch.full((n,), 7)
    uniform = (draw.permutation(n) + 0.5) / n
    answers = piece(model, x, t, None, uniform.double())
    kinds = len(answers.round(decimals=6).unique(dim=0))
    return None if kinds == 2 else f"{n} equal samples have {kinds} different answers; with coins there are two"


def a_half_is_not_below(piece, draw: Draw):
    """A property, because a rounding error in a uniform of 0.5 would be a matter of another answer."""
    model, x, t = SeesLast(draw.integer(0, 99)), draw.normal(3, 4), torch.full((3,), 5)
    found = piece(model, x, t, None, torch.tensor([0.5, 0.0, 0.75], dtype=torch.float64))
    if float((found - model(x, t, None, torch.zeros_like(x)))[0].abs().max()) < 1e-6:
        return None
    return "a sample whose uniform is exactly 0.5 should see zeros: the estimate is for those below 0.5"


EXERCISE = Exercise(
    chapter="text",
    kind="sampler",
    title="Seeing one's own estimate",
    statement=r"""
From step to step a sampler forgets what the network has estimated. With self-conditioning the network is told:

$$\hat x_0 = f_\theta(x_t, t, \tilde x_0).$$

While sampling, $\tilde x_0$ is the estimate of the step before (`last`), at the first step $0$. In training there is no
step before, so for half of the samples (`uniform` below 0.5) a first pass makes one,
$\tilde x_0 = f_\theta(x_t, t, 0)$, through which no gradient goes. The other half sees $\tilde x_0 = 0$. Wherever it
says 0, the network gets a tensor of zeros and not `None`.
""",
    reference=self_conditioned_x0,
    parts={"training": 3, "exactly 0.5": 1, "sampling": 2, CARE: 1},
    cases=cases,
    properties=(
        Property("a coin for each sample", half_of_the_samples, "training"),
        Property("a uniform of exactly 0.5", a_half_is_not_below, "exactly 0.5"),
    ),
    trains=True,
    time="t",
    wrong_answers=(
        wrong(no_detach),
        wrong(always_on),
        wrong(never_on),
        wrong(one_coin_for_all),
        wrong(coin_turned_around),
        wrong(noisy_data_as_the_estimate),
        wrong(estimate_of_another_step),
        wrong(made_anew_while_sampling),
        wrong(zeros_while_sampling),
        wrong(none_for_zeros),
        wrong(none_at_the_first_sampling_step),
        wrong(none_for_the_first_pass),
        wrong(two_passes_at_the_first_sampling_step),
        wrong(first_estimate_returned),
        wrong(cut_off_from_the_network),
    ),
    right_answers=(right(one_sample_at_a_time), right(only_those_that_need_it), right(by_multiplication)),
    hints=(
        "There are three situations: training, the first sampling step, and the later ones.",
        "Which of the two passes should learn?",
        "The network always gets a tensor as its last input, if only of zeros.",
    ),
    source="Chen, Zhang & Hinton 2023 (Analog Bits), section 2.3 and algorithm 1",
)
