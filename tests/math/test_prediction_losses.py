"""Mean-square losses: the weights of the papers, the special losses they contain, and padding that does not count."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffusion_lab import losses, schedules, targets
from diffusion_lab.errors import PieceError
from diffusion_lab.losses import edm_weight, masked_mean, min_snr_weight, prediction_loss
from diffusion_lab.schedules import SCHEDULES
from diffusion_lab.targets import TARGETS

COSINE = schedules.cosine()
SHAPES = [(4, 2), (4, 1, 6), (2, 3, 4, 4), (4, 4, 4, 4), (1, 5)]


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
    return torch.tanh(x) * (1 + t.reshape(-1, *[1] * (x.ndim - 1)).to(x))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["eps", "x0", "v"])
def test_the_plain_loss_sample_by_sample(name: str, shape: tuple[int, ...]):
    """A loop in plain numbers: noise one sample, ask the network, average the squared error."""
    x0, eps = draws(*shape), draws(*shape, seed=1)
    t = torch.linspace(0.1, 0.9, shape[0], dtype=torch.float64)
    actual = prediction_loss(TARGETS[name])(network, x0, eps, COSINE.at(t, like=x0), {})
    assert actual.shape == (shape[0],)
    for i in range(shape[0]):
        angle = t[i] * torch.pi / 2
        a, s = torch.cos(angle), torch.sin(angle)
        wanted = {"eps": eps[i], "x0": x0[i], "v": a * eps[i] - s * x0[i]}[name]
        output = torch.tanh(a * x0[i] + s * eps[i]) * (1 + t[i].float().double())
        assert float(actual[i]) == pytest.approx(float(((output - wanted) ** 2).mean()), rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(log_snr=st.floats(-9, 11), gamma=st.floats(0.5, 20))
def test_min_snr_weights(log_snr: float, gamma: float):
    """Hang et al. 2023: with m = min(SNR, gamma), m for x0, m / SNR for eps and m / (SNR + 1) for v."""
    level = COSINE.at(COSINE.time_at(torch.tensor(log_snr, dtype=torch.float64)))
    snr = torch.exp(torch.tensor(log_snr, dtype=torch.float64))
    m = torch.minimum(snr, torch.tensor(gamma, dtype=torch.float64))
    for name, expected in {"x0": m, "eps": m / snr, "score": m / snr, "v": m / (snr + 1), "edm": m / (snr + 1)}.items():
        assert float(min_snr_weight(gamma)(level, TARGETS[name])) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("name", list(SCHEDULES))
@pytest.mark.parametrize("sigma_data", [0.5, 1.0, 3.0])
def test_the_edm_weight_cancels_the_scaling(name: str, sigma_data: float):
    """1 for its own network at every level of every path, pure noise included; lambda c_out^2 = 1 where alpha = 1."""
    schedule = SCHEDULES[name]()
    level = schedule.at(torch.linspace(schedule.t_min, schedule.t_max, 40, dtype=torch.float64))
    weight = edm_weight(sigma_data)
    torch.testing.assert_close(weight(level, targets.edm(sigma_data)), torch.ones(40, dtype=torch.float64))
    if name in ("karras", "geometric"):
        c_out = targets.edm_preconditioning(level.sigma, sigma_data)[1]
        torch.testing.assert_close(weight(level, targets.x0) * c_out**2, torch.ones(40, dtype=torch.float64))
        sigma = level.sigma
        textbook = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
        torch.testing.assert_close(weight(level, targets.x0), textbook)


@pytest.mark.parametrize("weight", [min_snr_weight(), edm_weight()], ids=["min-SNR", "EDM"])
@pytest.mark.parametrize("name", list(TARGETS))
def test_weights_on_x0_mean_the_same_for_every_target(name: str, weight):
    """A network that has the same estimate of x0 has the same loss, whatever it is asked to say."""
    x0, eps, estimate = draws(4, 3), draws(4, 3, seed=1), draws(4, 3, seed=2)
    level = schedules.flow().at(torch.linspace(0.1, 0.9, 4), like=x0)
    x = level.noisy(x0, eps)
    values = [
        prediction_loss(target, weight)(
            lambda *_, target=target: target.of(estimate, (x - level.alpha * estimate) / level.sigma, level),
            x0, eps, level, {},
        )
        for target in (targets.x0, TARGETS[name])
    ]  # fmt: skip
    torch.testing.assert_close(values[0], values[1])


@pytest.mark.parametrize("shape", SHAPES)
def test_denoising_score_matching_is_the_score_target(shape: tuple[int, ...]):
    """With the network sigma times the score, on the variance-exploding path."""
    schedule = schedules.geometric(0.01, 10.0)
    x0, noise = draws(*shape), draws(*shape, seed=1)
    sigma = torch.logspace(-2, 1, shape[0], dtype=torch.float64)

    def scaled_score(inputs: Tensor, feature: Tensor) -> Tensor:
        std = torch.exp(4 * feature).reshape(-1, *[1] * (inputs.ndim - 1))
        return torch.sin(inputs * torch.sqrt(1 + std**2)) * std

    def score(x: Tensor, std: Tensor) -> Tensor:
        return torch.sin(x)

    level = schedule.at(sigma / 10, like=x0)
    expected = losses.denoising_score_matching_loss(score, x0, noise, sigma)
    actual = prediction_loss(targets.score)(scaled_score, x0, noise, level, {})
    torch.testing.assert_close(actual, expected)


def test_denoising_score_matching_is_least_at_the_true_score():
    """The score of the noisy law beats any scaled version of it; the floor is v / (v + sigma^2) for normal data."""
    n, v, sigma = 20_000, 0.5, 0.8
    x0, noise = v**0.5 * draws(n, 1), draws(n, 1, seed=1)
    values = {
        scale: float(
            losses.denoising_score_matching_loss(
                lambda x, std, scale=scale: -scale * x / (v + std[:, None] ** 2), x0, noise, torch.full((n,), sigma)
            ).mean()
        )
        for scale in (0.8, 1.0, 1.2)
    }
    assert values[1.0] < min(values[0.8], values[1.2])
    assert values[1.0] == pytest.approx(v / (v + sigma**2), rel=0.03)


@pytest.mark.parametrize("shape", SHAPES)
def test_flow_matching_is_the_flow_target(shape: tuple[int, ...]):
    x0, noise = draws(*shape), draws(*shape, seed=1)
    t = torch.linspace(0.05, 1, shape[0], dtype=torch.float64)
    expected = losses.flow_matching_loss(network, x0, noise, t.float().double())
    level = schedules.flow().at(t.float(), like=x0)
    actual = prediction_loss(targets.flow)(network, x0, noise, level, {})
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_flow_matching_is_zero_for_the_true_velocity(shape: tuple[int, ...]):
    x0, noise = draws(*shape), draws(*shape, seed=1)
    t = torch.linspace(0.0, 1, shape[0], dtype=torch.float64)
    assert float(losses.flow_matching_loss(lambda x, t: noise - x0, x0, noise, t).abs().max()) == 0
    # The path of the given noise and data: at t = 1 the network sees noise, at t = 0 data.
    seen = []
    losses.flow_matching_loss(lambda x, t: seen.append(x) or x, x0, noise, t)
    torch.testing.assert_close(seen[0][0], x0[0])
    if shape[0] > 1:
        torch.testing.assert_close(seen[0][-1], noise[-1])


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    tail=st.lists(st.integers(1, 4), max_size=2),
    junk=st.floats(-1e6, 1e6),
)
def test_padding_changes_nothing(lengths: list[int], tail: list[int], junk: float):
    """Neither the value nor the gradient; and the mean is that of the real tokens alone."""
    batch, length = len(lengths), 6
    mask = torch.arange(length) < torch.tensor(lengths)[:, None]
    values = draws(batch, length, *tail)
    wide = mask.reshape(batch, length, *[1] * len(tail)).expand_as(values)
    spoiled = torch.where(wide, values, torch.tensor(junk, dtype=torch.float64)).requires_grad_()
    mean = masked_mean(spoiled, mask)
    for i, n in enumerate(lengths):
        assert float(mean[i].detach()) == pytest.approx(float(values[i, :n].mean()), rel=1e-9, abs=1e-12)
    mean.sum().backward()
    assert (spoiled.grad[~wide] == 0).all()


def test_a_masked_loss_ignores_padding():
    x0, eps = draws(3, 5, 2), draws(3, 5, 2, seed=1)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
    level = COSINE.at(torch.tensor([0.2, 0.5, 0.8]), like=x0)
    loss = prediction_loss(targets.x0, min_snr_weight())
    first = loss(network, x0, eps, level, {"mask": mask})
    changed = torch.where(mask[..., None], x0, 100 * draws(3, 5, 2, seed=2))
    torch.testing.assert_close(loss(network, changed, eps, level, {"mask": mask}), first)
    short = prediction_loss(targets.x0, min_snr_weight())(network, x0[1:2, :2], eps[1:2, :2], _row(level, 1), {})
    torch.testing.assert_close(first[1:2], short)
    torch.testing.assert_close(
        loss(network, x0, eps, level, {"mask": torch.ones(3, 5).bool()}), loss(network, x0, eps, level, {})
    )


def _row(level, i: int):
    return type(level)(*(field[i : i + 1] for field in level))


def test_a_row_without_tokens_is_zero_and_finite():
    assert masked_mean(torch.ones(2, 3), torch.tensor([[1, 1, 0], [0, 0, 0]]).bool()).tolist() == [1.0, 0.0]


def test_masked_mean_refuses_another_shape():
    with pytest.raises(PieceError, match=r"\(2, 4\).*\(2, 3, 5\)"):
        masked_mean(torch.zeros(2, 3, 5), torch.ones(2, 4).bool())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(TARGETS))
def test_losses_keep_their_inputs_and_dtype(name: str, dtype: torch.dtype):
    x0, eps = draws(4, 4, 4).to(dtype), draws(4, 4, 4, seed=1).to(dtype)
    level = COSINE.at(torch.linspace(0.1, 0.9, 4), like=x0)
    kept = [tensor.clone() for tensor in (x0, eps, *level)]
    value = prediction_loss(TARGETS[name], min_snr_weight())(network, x0, eps, level, {})
    assert value.dtype == dtype and value.isfinite().all()
    assert all(torch.equal(before, now) for before, now in zip(kept, (x0, eps, *level), strict=True))


def test_a_level_shared_by_the_batch():
    """A () level and the same level given to each sample are one loss."""
    x0, eps = draws(3, 2), draws(3, 2, seed=1)
    loss = prediction_loss(targets.v, min_snr_weight())
    shared = loss(network, x0, eps, COSINE.at(torch.tensor(0.3), like=x0), {})
    torch.testing.assert_close(shared, loss(network, x0, eps, COSINE.at(torch.full((3,), 0.3), like=x0), {}))
