"""Chapter 2's derivation: from a correlated normal to the score of its noisy points, and to a velocity."""

import math

import torch

from diffusion_lab.exercises.derivations import Derivation, Step
from diffusion_lab.exercises.record import right, wrong


def walk_along_the_ode(
    first_std: float, second_std: float, correlation: float, kept: float, rate: float, first: float, second: float
):
    """The score of a noisy point, and its velocity along the probability-flow ODE.

    Args:
        first_std: standard deviation of the first coordinate of the clean data.
        second_std: of the second one.
        correlation: of the two coordinates; both have mean 0.
        kept: alpha_bar at time t, the share of the data's variance that is left.
        rate: beta(t), how fast the share falls: d alpha_bar / dt = -beta alpha_bar.
        first: the point's first coordinate.
        second: its second one.

    Returns:
        A value for each step; a step that you have not done yet stays None.
    """
    c = correlation * first_std * second_std
    noise = 1 - kept
    covariance = torch.tensor(
        [[kept * first_std**2 + noise, kept * c], [kept * c, kept * second_std**2 + noise]], dtype=torch.float64
    )
    precision = torch.linalg.inv(covariance)
    x = torch.tensor([first, second], dtype=torch.float64)
    score = -precision @ x
    velocity = -rate / 2 * (x + score)
    return covariance, precision, score, velocity


def _matrix(a, b, c, d=None):
    """[[a, b], [b, c]], or [[a, b], [c, d]]."""
    return torch.tensor([[a, b], [b, c] if d is None else [c, d]], dtype=torch.float64)


def noise_left_out(first_std, second_std, correlation, kept):
    """This is the covariance of the scaled clean data. The noise has a variance too."""
    c = correlation * first_std * second_std
    return kept * _matrix(first_std**2, c, second_std**2)


def noise_everywhere(first_std, second_std, correlation, kept):
    """The noise of one coordinate has nothing to do with the noise of the other: it adds to the diagonal alone."""
    c = correlation * first_std * second_std
    return kept * _matrix(first_std**2, c, second_std**2) + 1 - kept


def root_of_the_share(first_std, second_std, correlation, kept):
    """Points are multiplied by the root of alpha_bar. Covariances are then multiplied by its square."""
    c = correlation * first_std * second_std
    return math.sqrt(kept) * _matrix(first_std**2, c, second_std**2) + (1 - kept) * torch.eye(2, dtype=torch.float64)


def correlation_for_covariance(first_std, second_std, correlation, kept):
    """A correlation has no units. The covariance is the correlation times both standard deviations."""
    noise = 1 - kept
    return _matrix(kept * first_std**2 + noise, kept * correlation, kept * second_std**2 + noise)


def deviations_on_the_diagonal(first_std, second_std, correlation, kept):
    """On the diagonal of a covariance matrix stand variances."""
    c, noise = correlation * first_std * second_std, 1 - kept
    return _matrix(kept * first_std + noise, kept * c, kept * second_std + noise)


def entry_by_entry(covariance):
    """This takes one over each entry. The inverse of a matrix is the one whose product with it is the identity."""
    return 1 / covariance


def without_the_determinant(covariance):
    """The entries have changed places and signs as they should. Now divide by the determinant."""
    (a, b), (_, c) = covariance.tolist()
    return _matrix(c, -b, a)


def signs_of_the_corners(covariance):
    """In the inverse of a 2 x 2 matrix, the entries off the diagonal change their sign."""
    return torch.linalg.inv(covariance).abs() * covariance.sign()


def places_kept(covariance):
    """In the inverse of a 2 x 2 matrix, the two entries of the diagonal change places."""
    (a, b), (_, c) = covariance.tolist()
    return _matrix(a, -b, c) / (a * c - b * b)


def uphill_forgotten(precision, first, second):
    """This points away from the data. The log-density falls with the distance, and the score climbs it."""
    return precision @ torch.tensor([first, second], dtype=torch.float64)


def each_coordinate_alone(covariance, first, second):
    """This is the score as if the coordinates had nothing to do with each other."""
    return -torch.tensor([first, second], dtype=torch.float64) / covariance.diagonal()


def multiplied_by_the_covariance(covariance, first, second):
    """In the exponent stands the inverse of the covariance."""
    return -covariance @ torch.tensor([first, second], dtype=torch.float64)


def half_kept(precision, first, second):
    """The derivative of a square brings a 2, which cancels the half in the exponent."""
    return -precision @ torch.tensor([first, second], dtype=torch.float64) / 2


def the_score_of_the_sde(rate, first, second, score):
    """This is the drift of the reverse SDE, which has fresh noise to make up for. The ODE has half of its score."""
    return -rate / 2 * torch.tensor([first, second], dtype=torch.float64) - rate * score


def against_the_score(rate, first, second, score):
    """Noise spreads points out, so going forward they move against the score."""
    return -rate / 2 * (torch.tensor([first, second], dtype=torch.float64) - score)


def shrinking_alone(rate, first, second):
    """This only pulls points to 0. The noise widens the cloud, and the ODE has to do that too."""
    return -rate / 2 * torch.tensor([first, second], dtype=torch.float64)


def both_halves_forgotten(rate, first, second, score):
    """The numbers shrink half as fast as the share, which is about variances; and the score has a half too."""
    return -rate * (torch.tensor([first, second], dtype=torch.float64) + score)


def along_the_axes_of_the_cloud(first_std, second_std, correlation, kept, rate, first, second):
    """In the eigenvectors' coordinates each coordinate goes its own way."""
    c = correlation * first_std * second_std
    values, axes = torch.linalg.eigh(_matrix(first_std**2, c, second_std**2))
    spread = kept * values + 1 - kept
    x = axes.T @ torch.tensor([first, second], dtype=torch.float64)
    velocity = rate / 2 * kept * (1 - values) / spread * x  # the rate at which the spread's logarithm grows, halved
    return (
        axes @ torch.diag(spread) @ axes.T,
        (axes @ torch.diag(1 / spread) @ axes.T).tolist(),
        axes @ (-x / spread),
        axes @ velocity,
    )


def numbers(draw):
    """A correlation that can be seen, and a point that is not near an axis."""
    first, second = (draw.choice((-1, 1)) * round(draw.number(0.4, 2.0), 1) for _ in range(2))
    if abs(first + second + 1) < 0.05:  # a matrix of equal numbers would have a score of the same number
        second = -second
    return {
        "first_std": round(draw.number(0.6, 2.2), 1),
        "second_std": round(draw.number(0.6, 2.2), 1),
        "correlation": draw.choice((-1, 1)) * round(draw.number(0.3, 0.9), 1),
        "kept": round(draw.number(0.3, 0.85), 2),
        "rate": round(draw.number(0.4, 4.0), 1),
        "first": first,
        "second": second,
    }


TASK = Derivation(
    chapter="normal_2d",
    title="From a covariance to a velocity",
    question="""
Your clean points have mean 0, standard deviations {first_std} and {second_std}, and a correlation of {correlation}. At
time t a share alpha_bar = {kept} of their variance is left, and beta(t) = {rate}. Your noisy point is ({first},
{second}).
""",
    about=r"""
Two functions of the chapter belong together: the score says where the density grows, and the probability-flow ODE turns
it into a velocity, so that a whole cloud moves without dice. Here you go all the way for one noisy point $x = (x_1,
x_2)$ of correlated data.
""",
    reference=walk_along_the_ode,
    numbers_from=numbers,
    minutes=15,
    steps=(
        Step(
            "covariance",
            r"""Your point is $x = \sqrt{\bar\alpha}\, x_0 + \sqrt{1 - \bar\alpha}\, \varepsilon$. The clean data and
the noise have nothing to do with each other, so their covariances add up. What is the covariance $\Sigma$ of $x$? Give
its two rows.""",
            (
                wrong(noise_left_out),
                wrong(noise_everywhere),
                wrong(root_of_the_share),
                wrong(correlation_for_covariance),
                wrong(deviations_on_the_diagonal),
            ),
        ),
        Step(
            "precision",
            r"In the exponent of the density stands the inverse of $\Sigma$. What is $\Sigma^{-1}$? Give its two rows.",
            (
                wrong(entry_by_entry),
                wrong(without_the_determinant),
                wrong(signs_of_the_corners),
                wrong(places_kept),
            ),
        ),
        Step(
            "score",
            r"""The logarithm of the density is $-\tfrac12 x^\top \Sigma^{-1} x$ plus a constant. Its gradient at your
point is the score. What is it?""",
            (
                wrong(uphill_forgotten),
                wrong(each_coordinate_alone),
                wrong(multiplied_by_the_covariance),
                wrong(half_kept),
            ),
        ),
        Step(
            "velocity",
            r"""The forward process is $dx = f(x)\, dt + g\, dw$ with $f(x) = -\tfrac12 \beta\, x$ and $g^2 = \beta$.
The ODE that moves the cloud in the same way without dice is $dx / dt = f(x) - \tfrac12 g^2\, \nabla \log p_t(x)$. What
is $dx / dt$ at your point?""",
            (
                wrong(the_score_of_the_sde),
                wrong(against_the_score),
                wrong(shrinking_alone),
                wrong(both_halves_forgotten),
            ),
        ),
    ),
    right_answers=(right(along_the_axes_of_the_cloud),),
    hints=("The inverse of [[a, b], [b, c]] has the determinant a c - b^2 below it.",),
    source="Song et al. 2021, equation 13",
)
