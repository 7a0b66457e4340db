"""convert: three ways to say the same thing about a noisy x."""

import torch
from torch import Tensor

from diffusion_lab.exercises.inputs import data_shapes, near_ends
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def convert(prediction: Tensor, x: Tensor, alpha_bar_t: Tensor, source: str, target: str) -> Tensor:
    """Turn a prediction of one kind into any kind, at the same x; into its own, it stays as it is.

    Args:
        prediction: (B, *S), what the network said; of the kind `source`.
        x: (B, *S), the noisy data that it saw; S can be empty.
        alpha_bar_t: (B,), the level of each sample, in (0, 1); it can be float64 where x is float32.
        source, target: each "eps", "x0" or "v" = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0; they can be the same.

    Returns:
        (B, *S), of the kind `target` and the dtype of x.
    """
    kept = alpha_bar_t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))  # (B, 1, ..., 1)
    alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
    if source == "eps":
        eps, x0 = prediction, (x - sigma * prediction) / alpha
    elif source == "x0":
        eps, x0 = (x - alpha * prediction) / sigma, prediction
    else:
        eps, x0 = sigma * x + alpha * prediction, alpha * x - sigma * prediction
    return {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0}[target]


def _factors(x, alpha_bar_t):
    kept = alpha_bar_t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    return kept.sqrt(), (1 - kept).sqrt()


def _solved(prediction, x, alpha, sigma, source):
    """The pair (eps, x0)."""
    if source == "eps":
        return prediction, (x - sigma * prediction) / alpha
    if source == "x0":
        return (x - alpha * prediction) / sigma, prediction
    return sigma * x + alpha * prediction, alpha * x - sigma * prediction


def v_with_the_other_sign(prediction, x, alpha_bar_t, source, target):
    """v has the other sign here, both ways, so that a round trip does not show it. v is the noise, weighted by alpha,
    minus the data, weighted by sigma."""
    alpha, sigma = _factors(x, alpha_bar_t)
    eps, x0 = _solved(-prediction if source == "v" else prediction, x, alpha, sigma, source)
    return {"eps": eps, "x0": x0, "v": sigma * x0 - alpha * eps}[target]


def v_sign_lost_on_the_way_back(prediction, x, alpha_bar_t, source, target):
    """From v the signs are turned around, and a round trip from eps over v does not come back. Solve the two equations
    for x and v again, and mind which term is subtracted."""
    alpha, sigma = _factors(x, alpha_bar_t)
    eps, x0 = _solved(-prediction if source == "v" else prediction, x, alpha, sigma, source)
    return {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0}[target]


def v_coefficients_swapped(prediction, x, alpha_bar_t, source, target):
    """In v the two coefficients have changed places. At little noise alpha is near 1, and there v is the noise."""
    alpha, sigma = _factors(x, alpha_bar_t)
    if source == "v":
        eps, x0 = alpha * x + sigma * prediction, sigma * x - alpha * prediction
    else:
        eps, x0 = _solved(prediction, x, alpha, sigma, source)
    return {"eps": eps, "x0": x0, "v": sigma * eps - alpha * x0}[target]


def v_of_the_noisy_data(prediction, x, alpha_bar_t, source, target):
    """v was made of eps and x. It is made of eps and x0: x holds noise already."""
    alpha, sigma = _factors(x, alpha_bar_t)
    eps, x0 = _solved(prediction, x, alpha, sigma, source)
    return {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x}[target]


def missing_roots(prediction, x, alpha_bar_t, source, target):
    """alpha_bar and 1 - alpha_bar were used as factors. They are variances: the factors are their square roots."""
    kept = alpha_bar_t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    eps, x0 = _solved(prediction, x, kept, 1 - kept, source)
    return {"eps": eps, "x0": x0, "v": kept * eps - (1 - kept) * x0}[target]


def not_divided(prediction, x, alpha_bar_t, source, target):
    """One part was subtracted from x, and what is left was not divided by its factor. x holds alpha x0, not x0, and
    sigma eps, not eps."""
    alpha, sigma = _factors(x, alpha_bar_t)
    if source == "eps":
        eps, x0 = prediction, x - sigma * prediction
    elif source == "x0":
        eps, x0 = x - alpha * prediction, prediction
    else:
        eps, x0 = _solved(prediction, x, alpha, sigma, source)
    return {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0}[target]


def source_and_target_swapped(prediction, x, alpha_bar_t, source, target):
    """This converts from `target` to `source`. The prediction is of the kind `source`."""
    return convert(prediction, x, alpha_bar_t, target, source)


def factors_along_the_last_axis(prediction, x, alpha_bar_t, source, target):
    """The (B,) levels were multiplied along the last axis. Reshape them to (B, 1, ..., 1): one for each sample."""
    kept = alpha_bar_t.to(x.dtype)
    alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
    eps, x0 = _solved(prediction, x, alpha, sigma, source)
    return {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0}[target]


def alpha_and_sigma_exchanged(prediction, x, alpha_bar_t, source, target):
    """The two factors have changed places everywhere. The data have the root of alpha_bar, and the noise the root of 1
    - alpha_bar."""
    alpha, sigma = _factors(x, alpha_bar_t)
    eps, x0 = _solved(prediction, x, sigma, alpha, source)
    return {"eps": eps, "x0": x0, "v": sigma * eps - alpha * x0}[target]


def v_with_x_for_eps(prediction, x, alpha_bar_t, source, target):
    """v was made of x and x0. It is made of eps and x0: x holds the data already."""
    alpha, sigma = _factors(x, alpha_bar_t)
    eps, x0 = _solved(prediction, x, alpha, sigma, source)
    return {"eps": eps, "x0": x0, "v": alpha * x - sigma * x0}[target]


def parts_of_v_added(prediction, x, alpha_bar_t, source, target):
    """The two parts of v were added. The data are subtracted: v is at a right angle to x."""
    alpha, sigma = _factors(x, alpha_bar_t)
    if source == "v":
        x0 = (prediction - alpha / sigma * x) / (sigma - alpha**2 / sigma)
        eps = (x - alpha * x0) / sigma
    else:
        eps, x0 = _solved(prediction, x, alpha, sigma, source)
    return {"eps": eps, "x0": x0, "v": alpha * eps + sigma * x0}[target]


def eps_and_x0_exchanged_from_v(prediction, x, alpha_bar_t, source, target):
    """From v, eps and x0 have changed places: what is returned for one of them is the other."""
    if source == "v" and target != "v":
        target = {"eps": "x0", "x0": "eps"}[target]
    return convert(prediction, x, alpha_bar_t, source, target)


def v_not_solved(prediction, x, alpha_bar_t, source, target):
    """From v nothing is solved: v was returned as it came. x and v are two equations for eps and x0: solve them."""
    return prediction.clone() if source == "v" else convert(prediction, x, alpha_bar_t, source, target)


def levels_cut_off(prediction, x, alpha_bar_t, source, target):
    """alpha_bar was kept away from 0 and 1. It can be any number between them, and near the ends the levels are those
    of the schedule all the same: a limit here makes every prediction there wrong."""
    return convert(prediction, x, alpha_bar_t.clamp(0.01, 0.99), source, target)


def two_by_two_system(prediction, x, alpha_bar_t, source, target):
    alpha, sigma = _factors(x, alpha_bar_t)
    rows = {"eps": (0 * alpha, 0 * alpha + 1), "x0": (0 * alpha + 1, 0 * alpha), "v": (-sigma, alpha)}
    c, d = rows[source]
    determinant = alpha * d - sigma * c
    x0, eps = (d * x - sigma * prediction) / determinant, (alpha * prediction - c * x) / determinant
    c, d = rows[target]
    return c * x0 + d * eps


def always_through_the_data(prediction, x, alpha_bar_t, source, target):
    alpha, sigma = _factors(x.double(), alpha_bar_t.double())
    said, seen = prediction.double(), x.double()
    x0 = {"x0": said, "eps": (seen - sigma * said) / alpha, "v": alpha * seen - sigma * said}[source]
    out = {"x0": x0, "eps": (seen - alpha * x0) / sigma, "v": (alpha * seen - x0) / sigma}[target]
    return out.to(x.dtype)


def always_through_the_noise(prediction, x, alpha_bar_t, source, target):
    if target == source:
        return prediction
    alpha, sigma = _factors(x, alpha_bar_t)
    eps = {"eps": prediction, "x0": (x - alpha * prediction) / sigma, "v": sigma * x + alpha * prediction}[source]
    return {"eps": eps, "x0": (x - sigma * eps) / alpha, "v": (eps - sigma * x) / alpha}[target]


def direct_formulas(prediction, x, alpha_bar_t, source, target):
    if source == target:
        return prediction.clone()
    a, s = _factors(x, alpha_bar_t)
    return {
        ("eps", "x0"): lambda y: (x - s * y) / a,
        ("eps", "v"): lambda y: (y - s * x) / a,
        ("x0", "eps"): lambda y: (x - a * y) / s,
        ("x0", "v"): lambda y: (a * x - y) / s,
        ("v", "eps"): lambda y: s * x + a * y,
        ("v", "x0"): lambda y: a * x - s * y,
    }[source, target](prediction)


def one_sample_at_a_time(prediction, x, alpha_bar_t, source, target):
    rows = []
    for said, seen, kept in zip(prediction, x, alpha_bar_t.to(x.dtype), strict=True):
        a, s = kept**0.5, (1 - kept) ** 0.5
        eps, x0 = _solved(said, seen, a, s, source)
        rows.append(eps if target == "eps" else x0 if target == "x0" else a * eps - s * x0)
    return torch.stack(rows)


def cases(draw: Draw):
    steps = draw.integer(12, 30)
    found = data_shapes(draw)
    shapes = [shape for shape, _, part in found if part == "values"]
    kinds = ("eps", "x0", "v")

    def case(shape, source, target, part, label=""):
        levels = draw.alpha_bar(steps)[draw.times(shape[0], steps)]
        arguments = draw.normal(*shape), draw.normal(*shape), levels, source, target
        return Case(f"from {source} to {target}{label}", arguments, part)

    for shape in shapes:
        yield case(shape, "eps", "x0", "eps and x0")
        yield case(shape, "x0", "eps", "eps and x0")
        yield case(shape, draw.choice(("eps", "x0")), "v", "to v")
        yield case(shape, "v", draw.choice(("eps", "x0")), "from v")
    yield case(shapes[0], "eps", "v", "to v")
    yield case(shapes[0], "x0", "v", "to v")
    yield case(shapes[0], "v", "eps", "from v")
    yield case(shapes[0], "v", "x0", "from v")
    for kind in kinds:
        yield case(shapes[2], kind, kind, "from v" if kind == "v" else "eps and x0")
    for source, target, part in (
        ("eps", "x0", "eps and x0"),
        ("x0", "eps", "eps and x0"),
        ("eps", "v", "to v"),
        ("x0", "v", "to v"),
        ("v", "eps", "from v"),
        ("v", "x0", "from v"),
    ):
        arguments = draw.normal(4, 2), draw.normal(4, 2), near_ends(draw, 4), source, target
        yield Case(f"from {source} to {target}, nearly noise and nearly clean data", arguments, part)
    for shape, label, part in found:
        if part == "any shape":
            yield case(shape, "eps", "x0", part, f", {label}")
            yield case(shape, "v", "eps", part, f", {label}")


def one_truth(kinds: tuple[tuple[str, str], ...]):
    """Clean data and noise, and what each of the three says about them."""

    def holds(piece, draw: Draw):
        shape, kept = (4, draw.integer(2, 6)), draw.uniform(4, 1, low=0.1, high=0.9)
        x0, eps = draw.normal(*shape), draw.normal(*shape)
        x = kept.sqrt() * x0 + (1 - kept).sqrt() * eps
        said = {"x0": x0, "eps": eps, "v": kept.sqrt() * eps - (1 - kept).sqrt() * x0}
        for source, target in kinds:
            worst = float((piece(said[source], x, kept.flatten(), source, target) - said[target]).abs().max())
            if not worst < 1e-5:
                return f"of known data and noise, {source} does not become {target}: it is off by up to {worst:.3g}"
        return None

    return holds


def round_trip(piece, draw: Draw):
    """To v and back, and from v and back."""
    shape, kept = (4, draw.integer(2, 6)), draw.uniform(4, low=0.1, high=0.9)
    said, x = draw.normal(*shape), draw.normal(*shape)
    for first, second in (("eps", "v"), ("x0", "v"), ("v", "eps"), ("v", "x0")):
        back = piece(piece(said, x, kept, first, second), x, kept, second, first)
        worst = float((back - said).abs().max())
        if not worst < 1e-5:
            return f"from {first} to {second} and back, the result is off by up to {worst:.3g}"
    return None


EXERCISE = Exercise(
    chapter="normal_2d",
    kind="loss",
    title="Noise, data and velocity",
    statement=r"""
A network can guess the noise, the data, or the mixture

$$v = \sqrt{\bar\alpha_t}\; \varepsilon - \sqrt{1 - \bar\alpha_t}\; x_0.$$

Because $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon$ is known, each of the three tells the
other two: two equations for two unknowns. `convert` turns a prediction of the kind `source` into the kind `target`, so
that any network works with any sampler; where both are the same kind, the prediction comes back as it is. From $v$ no
division is needed, and that is why it is stable at both ends of the path, where $\varepsilon$ or $x_0$ is not.
""",
    reference=convert,
    parts={"eps and x0": 2, "to v": 2, "from v": 2, "any shape": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("known data and noise", one_truth((("eps", "x0"), ("x0", "eps"))), "eps and x0"),
        Property("known data and noise, to v", one_truth((("eps", "v"), ("x0", "v"))), "to v"),
        Property("known data and noise, from v", one_truth((("v", "eps"), ("v", "x0"))), "from v"),
        Property("there and back", round_trip, "from v"),
    ),
    wrong_answers=(
        wrong(v_with_the_other_sign),
        wrong(v_sign_lost_on_the_way_back),
        wrong(v_coefficients_swapped),
        wrong(v_of_the_noisy_data),
        wrong(missing_roots),
        wrong(not_divided),
        wrong(source_and_target_swapped),
        wrong(alpha_and_sigma_exchanged),
        wrong(v_with_x_for_eps),
        wrong(parts_of_v_added),
        wrong(eps_and_x0_exchanged_from_v),
        wrong(v_not_solved),
        wrong(levels_cut_off),
        wrong(factors_along_the_last_axis),
    ),
    right_answers=(
        right(two_by_two_system),
        right(always_through_the_data),
        right(always_through_the_noise),
        right(direct_formulas),
        right(one_sample_at_a_time),
    ),
    hints=(
        "Find eps and x0 first, whatever the source is; then make the target of them.",
        "alpha^2 + sigma^2 = 1: x and v are eps and x0 turned by an angle, and a turn is undone by turning back.",
    ),
    source="Salimans & Ho 2022, section 4 and appendix D",
    tables=("alpha_bar_t",),
    like="x",
)
