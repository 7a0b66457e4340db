"""The loop around the steps: what it leaves behind, what it counts and what it keeps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffusion_lab import samplers, schedules, targets
from diffusion_lab.denoisers import from_network
from diffusion_lab.exact import Gaussian
from diffusion_lab.levels import Level, Prediction

TRUTH = Gaussian(torch.tensor([0.5, -1.0]), torch.tensor([[1.0, 0.8], [0.8, 1.2]]))
EVALUATIONS = {"ddpm": 6, "ddim": 6, "euler": 6, "heun": 11, "dpmpp_2m": 6, "annealed_langevin": 31}
each_step = pytest.mark.parametrize("name", list(samplers.STEPS))
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@each_step
@both_dtypes
def test_dtype_is_kept_and_inputs_are_not_touched(name: str, dtype: torch.dtype):
    schedule = schedules.cosine()
    x = torch.randn(4, 2, generator=seeded(), dtype=dtype)
    times = schedule.times(6)
    kept, kept_times = x.clone(), times.clone()
    levels = []

    def denoise(x: Tensor, level: Level) -> Prediction:
        levels.append((x, x.clone(), level))
        return TRUTH.denoise(x, level)

    out, trail = samplers.sample(denoise, schedule, samplers.STEPS[name](), x, times=times, generator=seeded(1), keep=4)
    assert out.dtype == dtype and all(state.dtype == dtype for state in trail.states)
    assert torch.equal(x, kept) and torch.equal(times, kept_times)
    assert trail.evaluations == len(levels) == EVALUATIONS[name]
    for seen, before, level in levels:
        assert torch.equal(seen, before)  # no step writes into the x that a denoiser has seen
        assert all(field.dtype == dtype and field.shape == () for field in level)
    assert torch.equal(out.cpu(), trail.states[-1])


@each_step
def test_same_seed_same_samples(name: str):
    schedule = schedules.cosine()
    x = torch.randn(4, 2, generator=seeded())
    torch.manual_seed(1)
    first = samplers.sample(TRUTH.denoise, schedule, samplers.STEPS[name](), x, steps=5, generator=seeded(7))[0]
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second = samplers.sample(TRUTH.denoise, schedule, samplers.STEPS[name](), x, steps=5, generator=seeded(7))[0]
    assert torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)  # the global generator was not used


@each_step
def test_no_graph_and_the_mode_restored(name: str):
    network = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    denoise = from_network(lambda x, t: network(x), targets.v)
    with_module = from_network(_Timed(network).train(), targets.v)
    x = torch.randn(4, 2, generator=seeded(), requires_grad=True)
    for denoiser in (denoise, with_module):
        out, trail = samplers.sample(
            denoiser, schedules.cosine(), samplers.STEPS[name](), x, steps=4, generator=seeded(1), keep=2
        )
        assert not out.requires_grad and not any(state.requires_grad for state in trail.states)
    assert all(part.training for part in network.modules())
    assert torch.is_grad_enabled()


class _Timed(nn.Module):
    """A network that does not look at the time."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        assert not self.training
        return self.network(x)


@each_step
def test_inference_mode_changes_nothing(name: str):
    x = torch.randn(4, 2, generator=seeded())
    arguments = (TRUTH.denoise, schedules.cosine(), samplers.STEPS[name](), x)
    expected = samplers.sample(*arguments, steps=5, generator=seeded(1))[0]
    with torch.inference_mode():
        actual = samplers.sample(*arguments, steps=5, generator=seeded(1))[0]
    assert torch.equal(actual, expected)


def test_the_trajectory_is_a_small_copy():
    """The first samples alone, without the rest of the batch behind them, and apart from the caller's own x."""
    x = torch.randn(1000, 2, generator=seeded())
    trail = samplers.sample(TRUTH.denoise, schedules.cosine(), samplers.ddim(), x, steps=3, keep=5)[1]
    assert [tuple(state.shape) for state in trail.states] == [(5, 2)] * 4
    assert all(state.untyped_storage().nbytes() == 5 * 2 * 4 for state in trail.states)
    start = trail.states[0].clone()
    x.zero_()
    assert torch.equal(trail.states[0], start)
    assert len(trail.times) == 4 and trail.times[-1] == 0


def test_progress_is_told_after_each_step():
    told = []
    samplers.sample(
        TRUTH.denoise,
        schedules.cosine(),
        samplers.heun(),
        torch.zeros(1, 2),
        steps=3,
        on_step=lambda done, all_of_them: told.append((done, all_of_them)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_history_holds_the_last_step_alone():
    """What a multistep solver may look back at: the level and the prediction of the step before."""
    seen = []

    def step(x: Tensor, now: Level, after: Level, prediction: Prediction, context) -> Tensor:
        seen.append((float(now.t), [float(level.t) for level, _ in context.history]))
        return x

    samplers.sample(TRUTH.denoise, schedules.flow(), step, torch.zeros(1, 2), times=torch.tensor([1.0, 0.5, 0.25, 0.0]))
    assert seen == [(1.0, []), (0.5, [1.0]), (0.25, [0.5])]


def test_a_sampler_can_stop_before_the_end():
    """Times that end above 0 leave noise of that level, for those who start or stop in the middle."""
    schedule = schedules.flow()
    truth = Gaussian(torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64))
    x = torch.randn(4000, 1, generator=seeded(), dtype=torch.float64)
    out = samplers.sample(
        truth.denoise, schedule, samplers.heun(), x, times=torch.linspace(1, 0.5, 30, dtype=torch.float64)
    )[0]
    assert float(out.std() / x.std()) == pytest.approx(0.5**0.5, rel=1e-3)  # alpha^2 + sigma^2 = 1 / 2


@pytest.mark.parametrize(("schedule", "std"), [("cosine", 1.0), ("karras", 80.0), ("geometric", 10.0), ("flow", 1.0)])
def test_initial_noise(schedule: str, std: float):
    noise = torch.randn(3, 1, 4, generator=seeded())
    start = samplers.initial_noise(schedules.SCHEDULES[schedule](), noise)
    assert start.dtype == noise.dtype
    torch.testing.assert_close(start, std * noise, rtol=1e-4, atol=0)


def test_noise_of_the_context_has_the_dtype_and_the_seed():
    """A generator on the CPU gives the same numbers whatever is sampled, so that a seed means one thing."""
    context = samplers.Context(TRUTH.denoise, seeded(3))
    like = torch.zeros(2, 3, dtype=torch.float64)
    assert torch.equal(context.noise(like), torch.randn(2, 3, generator=seeded(3), dtype=torch.float64))
    uniforms = context.uniform(torch.zeros(1000, dtype=torch.int64))
    assert uniforms.dtype == torch.float32 and 0 <= float(uniforms.min()) and float(uniforms.max()) < 1
