"""hidden_bands: what is not seen of a spectrum, from what is, for normal data."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def hidden_bands(mean: Tensor, cov: Tensor, seen: Tensor, places: Tensor) -> Tensor:
    """The mean of all bands given some of them, for normally distributed spectra.

    Args:
        mean: (D,), of all bands.
        cov: (D, D), their covariance, positive definite.
        seen: (B, K), the bands that were measured, without noise.
        places: (K,) int64, which ones they are, each once, in any order; K is at least 1 and at most D.

    Returns:
        (B, D): the mean of every band given what was seen. Bands that were seen are what they were.
    """
    gain = torch.linalg.solve(cov[places][:, places], cov[places])  # (K, D)
    return mean + (seen - mean[places]) @ gain


def bands_independent(mean, cov, seen, places):
    """The hidden bands have their means, as if bands told nothing of each other. Their covariance says what each one
    tells."""
    full = mean.repeat(len(seen), 1)
    full[:, places] = seen
    return full


def covariance_not_inverted(mean, cov, seen, places):
    """The deviations were multiplied by the covariance alone. Divide by that of the seen bands: solve with it."""
    return mean + (seen - mean[places]) @ cov[places]


def seen_bands_taken_one_by_one(mean, cov, seen, places):
    """Each seen band was used by itself and the answers added up, so that what two bands both say counts twice. Solve
    with the whole covariance of the seen bands."""
    own = cov.diagonal()[places]
    return mean + ((seen - mean[places]) / own) @ cov[places]


def mean_not_taken_off(mean, cov, seen, places):
    """The seen values went in without their means taken off. It is their deviation from the mean that says
    something."""
    return mean + seen @ torch.linalg.solve(cov[places][:, places], cov[places])


def mean_not_put_back(mean, cov, seen, places):
    """These are deviations from the mean. Add the mean of all bands."""
    return (seen - mean[places]) @ torch.linalg.solve(cov[places][:, places], cov[places])


def places_in_order(mean, cov, seen, places):
    """The seen bands were taken in the order of their numbers. `places` says which column is which band, and they can
    come in any order."""
    return hidden_bands(mean, cov, seen, places.sort().values)


def first_bands_taken(mean, cov, seen, places):
    """The first K bands were taken for those that were seen. `places` says which they are."""
    return hidden_bands(mean, cov, seen, torch.arange(len(places)))


def inverse_cut_out(mean, cov, seen, places):
    """The whole covariance was inverted and the block of the seen bands cut out of that. The inverse of a block is not
    the block of the inverse: cut first."""
    inverse = torch.linalg.inv(cov)[places][:, places]
    return mean + (seen - mean[places]) @ inverse @ cov[places]


def correlations_for_covariances(mean, cov, seen, places):
    """The covariance was turned into correlations first. Then a band's own scale is lost: a bright band counts like a
    dark one."""
    scale = cov.diagonal().sqrt()
    table = cov / scale / scale[:, None]
    return mean + (seen - mean[places]) @ torch.linalg.solve(table[places][:, places], table[places])


def seen_bands_smoothed(mean, cov, seen, places):
    """Something was added to the diagonal of the covariance, as for a noisy measurement. Without noise the bands that
    were seen must come out as they were."""
    table = cov[places][:, places]
    return mean + (seen - mean[places]) @ torch.linalg.solve(
        table + 0.1 * torch.eye(len(places)).to(table), cov[places]
    )


def one_answer_for_the_batch(mean, cov, seen, places):
    """All pixels got the same answer, that of their mean. Each has its own."""
    return hidden_bands(mean, cov, seen.mean(dim=0, keepdim=True), places).repeat(len(seen), 1)


def inverse_of_the_whole_covariance(mean, cov, seen, places):
    """The deviations were multiplied by rows of the inverse of the whole covariance. Two blocks are needed: the inverse
    of that of the seen bands alone, and the covariance of seen and all."""
    return mean + (seen - mean[places]) @ torch.linalg.inv(cov)[places]


def by_the_inverse(mean, cov, seen, places):
    block = cov[places.unsqueeze(1), places]
    return mean + torch.einsum("bk,kl,ld->bd", seen - mean[places], torch.linalg.inv(block), cov[places])


def through_cholesky(mean, cov, seen, places):
    root = torch.linalg.cholesky(cov[places][:, places])
    weights = torch.cholesky_solve((seen - mean[places]).T, root)  # (K, B)
    return mean + weights.T @ cov[places]


def by_the_precision(mean, cov, seen, places):
    """The hidden bands from the blocks of the inverse covariance (Bishop 2006, equation 2.75)."""
    hidden = torch.tensor([d for d in range(len(mean)) if d not in places.tolist()], dtype=torch.int64)
    precision = torch.linalg.inv(cov)
    full = torch.empty(len(seen), len(mean), dtype=seen.dtype)
    full[:, places] = seen
    if len(hidden):
        pull = precision[hidden][:, places] @ (seen - mean[places]).T
        full[:, hidden] = mean[hidden] - torch.linalg.solve(precision[hidden][:, hidden], pull).T
    return full


def _spectra(draw, bands, batch, count):
    places = draw.permutation(bands)[:count]
    return draw.normal(bands), draw.covariance(bands), draw.normal(batch, count), places


def cases(draw: Draw):
    bands = draw.integer(7, 9)
    yield Case("some of the bands", _spectra(draw, bands, draw.integer(3, 6), draw.integer(3, 4)))
    yield Case("one band", _spectra(draw, bands, draw.integer(3, 6), 1))
    yield Case("one pixel", _spectra(draw, bands, 1, 3))
    yield Case("all but one band", _spectra(draw, bands, draw.integer(3, 6), bands - 1))
    mean, cov, seen, places = _spectra(draw, bands, 4, 3)
    yield Case("bands in falling order", (mean, cov, seen, places.sort(descending=True).values), "any order")
    size = draw.integer(4, 5)
    yield Case("as many pixels as bands, all seen", _spectra(draw, size, size, size), "any order")


def least_squares_agrees(piece, draw: Draw):
    """On many draws of such data the answer is the best linear one: what it leaves is uncorrelated with what was
    seen."""
    mean, cov, _, places = _spectra(draw, 6, 1, 3)
    data = mean + draw.normal(4000, 6) @ torch.linalg.cholesky(cov).T
    # Moments of the drawn data, so that nothing is left to chance.
    mean, cov = data.mean(dim=0), torch.cov(data.T, correction=0)
    rest = data - piece(mean, cov, data[:, places], places)
    left = float((rest.T @ (data[:, places] - mean[places]) / len(data)).abs().max())
    if left < 1e-6:
        return None
    return f"the error covaries with a band that was seen, by {left:.3g}: something that was seen was not used"


EXERCISE = Exercise(
    chapter="satellite",
    kind="data",
    title="Bands that were not seen",
    statement=r"""
Four of a satellite's thirteen bands have pixels of 10 m, the others of 20 m or 60 m. What the fine bands $y$ say of the
others is known exactly where spectra are normally distributed, with mean $\mu$ and covariance $C$: the mean of all
bands given those at the places $K$ is

$$
\mu + C_{\cdot K}\, C_{KK}^{-1}\, (y - \mu_K).
$$

It is also the best linear guess for data of any kind, and so the mark that a network has to beat.
""",
    reference=hidden_bands,
    parts={"values": 3, "any order": 1, CARE: 1},
    cases=cases,
    properties=(Property("the error is uncorrelated with what was seen", least_squares_agrees),),
    wrong_answers=(
        wrong(bands_independent),
        wrong(covariance_not_inverted),
        wrong(seen_bands_taken_one_by_one),
        wrong(mean_not_taken_off),
        wrong(mean_not_put_back),
        wrong(places_in_order),
        wrong(first_bands_taken),
        wrong(inverse_cut_out),
        wrong(correlations_for_covariances),
        wrong(seen_bands_smoothed),
        wrong(one_answer_for_the_batch),
        wrong(inverse_of_the_whole_covariance),
    ),
    right_answers=(right(by_the_inverse), right(through_cholesky), right(by_the_precision)),
    hints=(
        "Which block of the covariance belongs to the seen bands alone, and which to seen and all?",
        "Take the means off, solve with the block of the seen bands, and add the mean of all bands.",
    ),
    source="Bishop 2006, equation 2.81",
)
