"""Discrete diffusion against Bayes by enumeration: every probability is a sum over a few states, written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from diffusion_lab import samplers, schedules
from diffusion_lab.discrete import (
    DiscreteProcess,
    ancestral,
    cross_entropy_loss,
    draw,
    keeping,
    token_denoiser,
    variational_bound,
)
from diffusion_lab.errors import PieceError
from diffusion_lab.exact import FiniteTokens
from diffusion_lab.levels import CLEAN, Level

KINDS = ("uniform", "absorbing")
K = 3
MASK = K
SCHEDULE = schedules.masking()
STATES = torch.tensor([[0, 1, 2, 0], [0, 1, 1, 1], [2, 2, 2, 2], [1, 0, 2, 0], [0, 2, 2, 0]])
kinds = pytest.mark.parametrize("kind", KINDS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def at(alpha_bar: float) -> Level:
    """The level of `masking` with that alpha_bar."""
    return SCHEDULE.at(torch.tensor(1 - alpha_bar, dtype=torch.float64))


def step_probability(kind: str, ratio: float, before: int, after: int) -> float:
    """q(after | before) for one cell, in words: it stays with probability `ratio`, else it is drawn from the noise."""
    noise = 1 / K if kind == "uniform" else float(after == MASK)
    return ratio * (before == after) + (1 - ratio) * noise


@kinds
@settings(max_examples=40, deadline=None)
@given(a=st.floats(0, 1), b=st.floats(0, 1))
def test_transition_matrices(kind: str, a: float, b: float):
    """Rows sum to 1, entries are the probabilities, and one step after another is one step: Q(a) Q(b) = Q(a b)."""
    process = DiscreteProcess(kind, K)
    first, second = (process.transition_matrix(torch.tensor(v, dtype=torch.float64)) for v in (a, b))
    assert first.shape == (process.states, process.states) == ((3, 3) if kind == "uniform" else (4, 4))
    torch.testing.assert_close(first.sum(dim=-1), torch.ones(process.states, dtype=torch.float64), atol=1e-12, rtol=0)
    for i, j in itertools.product(range(process.states), repeat=2):
        assert float(first[i, j]) == pytest.approx(step_probability(kind, a, i, j), abs=1e-12)
    product = process.transition_matrix(torch.tensor(a * b, dtype=torch.float64))
    torch.testing.assert_close(first @ second, product, atol=1e-12, rtol=0)


@kinds
def test_transition_matrices_of_a_batch(kind: str):
    process = DiscreteProcess(kind, K)
    values = torch.tensor([[0.1, 0.5], [0.9, 1.0]])
    matrices = process.transition_matrix(values)
    assert matrices.shape == (2, 2, process.states, process.states) and matrices.dtype == torch.float32
    torch.testing.assert_close(matrices[1, 0], process.transition_matrix(values[1, 0]))


@kinds
def test_the_prior_is_where_the_forward_process_ends(kind: str):
    process = DiscreteProcess(kind, K)
    expected = [1 / 3] * 3 if kind == "uniform" else [0, 0, 0, 1]
    assert process.prior.tolist() == pytest.approx(expected)
    end = process.transition_matrix(torch.tensor(0.0, dtype=torch.float64))
    torch.testing.assert_close(end, process.prior.double().expand_as(end))


@kinds
@pytest.mark.parametrize("alpha_bar", [0.0, 0.3, 1.0])
def test_noisy_frequencies(kind: str, alpha_bar: float):
    """Stratified uniforms give each token as often as the transition matrix says."""
    process = DiscreteProcess(kind, K)
    n = 3000
    uniforms = ((torch.arange(n) + 0.5) / n)[:, None].expand(n, 3)
    level = Level(*(torch.tensor(v) for v in (0.5, alpha_bar**0.5, (1 - alpha_bar) ** 0.5, 0.0, 0.0)))
    x = process.noisy(torch.arange(3).expand(n, 3), level, uniforms)
    assert x.dtype == torch.int64
    for token in range(3):
        counts = torch.bincount(x[:, token], minlength=process.states) / n
        expected = [step_probability(kind, alpha_bar, token, j) for j in range(process.states)]
        assert counts.tolist() == pytest.approx(expected, abs=2 / n)


@kinds
def test_levels_of_their_own_for_each_sample(kind: str):
    """A batch as long as the board is wide: sample i has level i, not cell i."""
    process = DiscreteProcess(kind, K)
    x0 = STATES[:4]
    alpha_bar = torch.tensor([1.0, 0.7, 0.2, 0.01])
    level = SCHEDULE.at(1 - alpha_bar, like=x0.float())
    uniforms = torch.rand(4, 4, generator=seeded())
    together = process.noisy(x0, level, uniforms)
    for i in range(4):
        one = SCHEDULE.at(1 - alpha_bar[i : i + 1], like=x0[:1].float())
        assert torch.equal(together[i : i + 1], process.noisy(x0[i : i + 1], one, uniforms[i : i + 1]))
    assert torch.equal(together[0], x0[0])


@settings(max_examples=50, deadline=None)
@given(weights=st.lists(st.floats(0, 1), min_size=2, max_size=6).filter(lambda w: sum(w) > 0.1))
def test_draw(weights: list[float]):
    """Frequencies follow the weights, whether or not they sum to 1; what has no weight never comes."""
    n = 5000
    probabilities = torch.tensor(weights, dtype=torch.float64)
    tokens = draw(probabilities.expand(n, -1), (torch.arange(n, dtype=torch.float64) + 0.5) / n)
    counts = torch.bincount(tokens, minlength=len(weights)) / n
    expected = np.array(weights) / sum(weights)
    np.testing.assert_allclose(counts.numpy(), expected, atol=2 / n)
    assert (counts[probabilities == 0] == 0).all()


def test_draw_at_the_edges():
    """0 never takes a token of no weight, and the largest uniform below 1 stays inside, in float32 too."""
    probabilities = torch.tensor([0.0, 0.5, 0.5, 0.0]).expand(2, 4)
    assert draw(probabilities, torch.tensor([0.0, 1 - 2**-24])).tolist() == [1, 2]
    tenths = torch.full((10,), 0.1).expand(1, 10)  # sums to a little more or less than 1
    assert draw(tenths, torch.tensor([1 - 2**-24])).tolist() == [9]


@kinds
@pytest.mark.parametrize(("now", "after"), [(0.2, 0.6), (0.2, 1.0), (0.5, 0.51), (1e-6, 0.9)])
def test_posterior_against_bayes(kind: str, now: float, after: float):
    """p(x_after | x_now) = sum over x0 of p(x0) q(x_after | x_now, x0), the last factor by enumeration."""
    process = DiscreteProcess(kind, K)
    generator = seeded(3)
    x = torch.arange(process.states)[None]  # every value that a cell can have
    belief = torch.rand(1, process.states, K, generator=generator, dtype=torch.float64)
    belief /= belief.sum(dim=-1, keepdim=True)
    actual = process.posterior(x, belief, at(now), CLEAN if after == 1 else at(after))
    torch.testing.assert_close(actual.sum(dim=-1), torch.ones(1, process.states, dtype=torch.float64))
    for cell in range(process.states):
        total = np.zeros(process.states)
        for x0 in range(K):
            joint = np.array(
                [
                    step_probability(kind, now / after, s, cell) * step_probability(kind, after, x0, s)
                    for s in range(process.states)
                ]
            )
            if joint.sum() > 0:  # an x0 that cannot have led here takes no part
                total += float(belief[0, cell, x0]) * joint / joint.sum()
        np.testing.assert_allclose(actual[0, cell].numpy(), total / total.sum(), rtol=1e-6, atol=1e-9)


def test_absorbing_never_masks_again():
    """Whatever the belief, a revealed cell keeps its token with probability 1."""
    process = DiscreteProcess("absorbing", K)
    x = torch.tensor([[0, 1, 2, MASK]])
    belief = torch.rand(1, 4, K, generator=seeded(1))
    belief /= belief.sum(dim=-1, keepdim=True)
    posterior = process.posterior(x, belief, at(0.3), at(0.7))
    for cell in range(3):
        assert posterior[0, cell, cell] == 1
    assert 0 < posterior[0, 3, MASK] < 1
    # A hidden cell stays hidden with probability (1 - .7) / (1 - .3), and the rest follows the belief.
    assert float(posterior[0, 3, MASK]) == pytest.approx(0.3 / 0.7)
    torch.testing.assert_close(posterior[0, 3, :MASK], (0.4 / 0.7 * belief[0, 3]).to(posterior))


def test_revealed_cells_stay_along_a_whole_walk():
    process = DiscreteProcess("absorbing", K)
    truth = FiniteTokens(STATES, process)
    x = process.start((50, 4), torch.rand(50, 4, generator=seeded()))
    assert (x == MASK).all()
    out, trail = samplers.sample(truth.denoise, SCHEDULE, ancestral(process), x, steps=12, generator=seeded(1), keep=50)
    for before, after in itertools.pairwise(trail.states):
        revealed = before != MASK
        assert torch.equal(before[revealed], after[revealed])
    assert (out != MASK).all() and torch.equal(out, trail.states[-1])


def test_boards_are_evaluated_only_where_a_cell_opens():
    """At most once for each of the four cells, not once a step, and the samples are those of every evaluation."""
    process = DiscreteProcess("absorbing", K)
    truth, step, n, steps = FiniteTokens(STATES, process), ancestral(process), 200, 50
    asked = torch.zeros(steps, dtype=torch.int64)

    def denoise(x: Tensor, level: Level) -> Tensor:
        asked[round(float(1 - level.t) * steps)] += len(x)
        assert len(x) > 0
        return truth.denoise(x, level)

    def every_time(x: Tensor, now: Level, after: Level, p_x0: Tensor, context: samplers.Context) -> Tensor:
        assert p_x0.shape == (n, 4, K)
        return step(x, now, after, p_x0, context)

    start = process.start((n, 4), torch.rand(n, 4, generator=seeded()))
    expected = samplers.sample(truth.denoise, SCHEDULE, every_time, start, steps=steps, generator=seeded(1), keep=n)
    out = samplers.sample(denoise, SCHEDULE, step, start, steps=steps, generator=seeded(1), keep=n)
    assert torch.equal(out[0], expected[0])
    changed = [int((a != b).any(dim=1).sum()) for a, b in itertools.pairwise(expected[1].states)]
    assert asked.tolist() == changed and sum(changed) <= 4 * n
    asked.zero_()
    known, mask = STATES[torch.arange(n) % 5], torch.arange(4) < 3
    start = torch.where(mask, known, MASK)
    samplers.sample(denoise, SCHEDULE, keeping(step, known, mask), start, steps=steps, generator=seeded(1))
    assert int(asked.sum()) == n, "three cells are trusted, and one is drawn"


def enumerated(kind: str, alpha_bar: float, x: Tensor) -> np.ndarray:
    """p(state | x) by Bayes: the product over cells of q(x_cell | state_cell), normalised."""
    table = np.array(
        [
            [
                math.prod(step_probability(kind, alpha_bar, int(s), int(v)) for s, v in zip(state, row, strict=True))
                for state in STATES
            ]
            for row in x
        ]
    )
    return table / table.sum(axis=1, keepdims=True)


@kinds
@pytest.mark.parametrize("alpha_bar", [1e-6, 0.2, 0.6, 0.95])
def test_the_exact_denoiser_against_enumeration(kind: str, alpha_bar: float):
    """Every x that the forward process can reach from some state."""
    process = DiscreteProcess(kind, K)
    truth = FiniteTokens(STATES, process)
    everything = torch.tensor(list(itertools.product(range(process.states), repeat=4)))
    level = at(alpha_bar)
    possible = [
        any(
            all(kind == "uniform" or v in (s, MASK) for s, v in zip(state, row, strict=True))
            for state in STATES.tolist()
        )
        for row in everything.tolist()
    ]
    x = everything[torch.tensor(possible)]
    expected = enumerated(kind, alpha_bar, x)
    np.testing.assert_allclose(truth.posterior(x, level).numpy(), expected, atol=1e-9)
    one_hot = np.eye(K)[STATES.numpy()]  # (N, cells, K)
    np.testing.assert_allclose(truth.denoise(x, level).numpy(), np.einsum("bn,nck->bck", expected, one_hot), atol=1e-9)


@kinds
def test_the_exact_denoiser_with_a_level_for_each_sample(kind: str):
    process = DiscreteProcess(kind, K)
    truth = FiniteTokens(STATES, process)
    x = STATES[[0, 1, 2, 3]].clone()
    x[:, 1] = 0 if kind == "uniform" else MASK
    alpha_bar = torch.tensor([0.9, 0.6, 0.3, 0.1])
    together = truth.denoise(x, SCHEDULE.at(1 - alpha_bar, like=x.float()))
    for i in range(4):
        torch.testing.assert_close(together[i : i + 1], truth.denoise(x[i : i + 1], at(float(alpha_bar[i]))).float())


@kinds
def test_exact_ancestral_sampling_draws_every_state_equally(kind: str):
    """With the exact denoiser and many small steps the samples are the states, each as often as the next."""
    process = DiscreteProcess(kind, K)
    truth = FiniteTokens(STATES, process)
    n = 1500
    x = process.start((n, 4), torch.rand(n, 4, generator=seeded(2)))
    out = samplers.sample(truth.denoise, SCHEDULE, ancestral(process), x, steps=200, generator=seeded(3))[0]
    matches = (out[:, None] == STATES).all(dim=-1)  # (n, N)
    assert float(matches.any(dim=1).double().mean()) > 0.97  # two cells decided in one step may disagree
    assert chisquare(matches.sum(dim=0).numpy()).pvalue > 0.001


def test_keeping_is_conditioning_for_the_absorbing_process():
    """Given the last cell, the states that agree with it come equally often, and no other."""
    process = DiscreteProcess("absorbing", K)
    truth = FiniteTokens(STATES, process)
    n = 1500
    known = torch.zeros(n, 4, dtype=torch.int64)
    mask = torch.tensor([[False, False, False, True]]).expand(n, 4)
    start = torch.where(mask, known, process.start((n, 4), torch.rand(n, 4, generator=seeded())))
    out = samplers.sample(
        truth.denoise, SCHEDULE, keeping(ancestral(process), known, mask), start, steps=200, generator=seeded(1)
    )[0]
    matches = (out[:, None] == STATES).all(dim=-1).sum(dim=0)
    assert matches[[1, 2]].sum() == 0 and (out[:, 3] == 0).all()
    assert matches.sum() > 0.98 * n
    assert chisquare(matches[[0, 3, 4]].numpy()).pvalue > 0.001


def network_of(truth: FiniteTokens, schedule=SCHEDULE, blur: float = 0.0):
    """The exact denoiser as a network of logits; `blur` mixes in the uniform answer."""

    def network(x: Tensor, t: Tensor) -> Tensor:
        assert t.dtype == torch.float32 and t.shape == (len(x),)
        exact = truth.denoise(x, schedule.at(t, like=x.float()))
        return ((1 - blur) * exact + blur / K).clamp(min=1e-9).log()

    return network


@kinds
def test_the_bound_of_the_exact_denoiser_is_the_entropy(kind: str):
    """log(N) / cells within the error of the mean; for a worse denoiser more."""
    process = DiscreteProcess(kind, K)
    truth = FiniteTokens(STATES, process)
    n = 6000
    generator = seeded(5)
    x0 = STATES[torch.arange(n) % 5]
    t = ((torch.randperm(n, generator=generator) + torch.rand(n, generator=generator)) / n).clamp(1e-5, SCHEDULE.t_max)
    uniforms = torch.rand(n, 4, generator=generator)
    level = SCHEDULE.at(t, like=uniforms)
    bound = variational_bound(process, SCHEDULE, T=200)
    values = bound(network_of(truth), x0, uniforms, level, {})
    assert values.shape == (n,) and (values > -1e-3).all()
    entropy = math.log(5) / 4
    error = float(values.std()) / math.sqrt(n)
    assert error < 0.05
    # The finite number of steps of "uniform" costs a little; nothing goes below the entropy.
    assert -4 * error < float(values.mean()) - entropy < 4 * error + (0.03 if kind == "uniform" else 0.0)
    worse = bound(network_of(truth, blur=0.3), x0, uniforms, level, {})
    assert float(worse.mean()) > entropy + 4 * error


@kinds
def test_cross_entropy(kind: str):
    """-log of the probability of each true token, averaged over the cells, with x noised by the given uniforms."""
    process = DiscreteProcess(kind, K)
    truth = FiniteTokens(STATES, process)
    x0 = STATES[:4]
    uniforms = torch.rand(4, 4, generator=seeded(7))
    level = SCHEDULE.at(torch.tensor([0.2, 0.4, 0.6, 0.9]), like=uniforms)
    actual = cross_entropy_loss(process)(network_of(truth, blur=0.1), x0, uniforms, level, {})
    x = process.noisy(x0, level, uniforms)
    probabilities = 0.9 * truth.denoise(x, level) + 0.1 / K
    for i in range(4):
        expected = np.mean([-math.log(float(probabilities[i, cell, x0[i, cell]])) for cell in range(4)])
        assert float(actual[i]) == pytest.approx(expected, rel=1e-4)


def test_token_denoiser_is_a_softmax_and_restores_the_mode():
    embedding = torch.nn.Embedding(4, 3)
    network = torch.nn.ModuleList([embedding, torch.nn.Dropout(0.5)])
    network.forward = lambda x, t, **cond: network[1](network[0](x)) + cond["labels"][:, None, None]
    network.train()
    x = torch.tensor([[0, 1, 2, 3]])
    denoise = token_denoiser(network, DiscreteProcess("uniform", 3), {"labels": torch.tensor([5.0])})
    p = denoise(x, at(0.5))
    torch.testing.assert_close(p.sum(dim=-1), torch.ones(1, 4))
    exponentials = embedding.weight.detach().exp()
    torch.testing.assert_close(p[0], exponentials / exponentials.sum(dim=1, keepdim=True))
    assert network.training and network[1].training and not p.requires_grad


def test_conditions_for_another_number_of_samples_are_refused():
    process, n = DiscreteProcess("absorbing", K), 20
    denoise = token_denoiser(lambda x, t, labels: torch.zeros(*x.shape, K), process, {"labels": torch.zeros(n)})
    start = process.start((n, 4), torch.rand(n, 4, generator=seeded()))
    assert denoise(start, at(0.5)).shape == (n, 4, K)
    with pytest.raises(PieceError, match=r"'labels' is for 20 samples, and \d+ are asked about"):
        samplers.sample(denoise, SCHEDULE, ancestral(process), start, steps=50, generator=seeded(1))


def test_a_revealed_cell_is_known_for_certain():
    def network(x, t):
        return torch.zeros(*x.shape, 3)

    p = token_denoiser(network, DiscreteProcess("absorbing", 3))(torch.tensor([[2, 3]]), at(0.5))
    torch.testing.assert_close(p, torch.tensor([[[0.0, 0.0, 1.0], [1 / 3, 1 / 3, 1 / 3]]]))


@kinds
def test_nothing_is_changed_in_place(kind: str):
    process = DiscreteProcess(kind, K)
    truth = FiniteTokens(STATES, process)
    x0, uniforms = STATES.clone(), torch.rand(5, 4, generator=seeded())
    kept = uniforms.clone()
    level = SCHEDULE.at(torch.full((5,), 0.5), like=uniforms)
    x = process.noisy(x0, level, uniforms)
    seen = x.clone()
    belief = truth.denoise(x, level)
    belief_kept = belief.clone()
    process.posterior(x, belief, level, SCHEDULE.at(torch.full((5,), 0.3), like=uniforms))
    variational_bound(process, SCHEDULE)(network_of(truth), x0, uniforms, level, {})
    assert torch.equal(x0, STATES) and torch.equal(uniforms, kept)
    assert torch.equal(x, seen) and torch.equal(belief, belief_kept)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DiscreteProcess("masked", 3), "'uniform' or 'absorbing', got 'masked'"),
        (lambda: DiscreteProcess("uniform", 1), "at least 2"),
        (lambda: FiniteTokens(torch.tensor([0, 1]), DiscreteProcess("uniform", 2)), "states"),
        (lambda: FiniteTokens(torch.tensor([[0, 2]]), DiscreteProcess("uniform", 2)), r"0\.\.1"),
        (lambda: FiniteTokens(torch.tensor([[0, -1]]), DiscreteProcess("uniform", 2)), r"0\.\.1"),
    ],
)
def test_what_is_refused(make, words: str):
    with pytest.raises(PieceError, match=words):
        make()
