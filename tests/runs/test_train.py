"""The training loop: randomness, interruption, averages, and faults that stop it."""

from __future__ import annotations

import math
import re

import pytest
import torch

from diffusion_lab import losses, targets
from diffusion_lab.errors import CheckpointError, TrainingError
from diffusion_lab.train import Settings, Source, drop_labels, ema_update, learning_rate_at


class Interrupted(Exception):
    pass


def weights(network) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in network.state_dict().values()])


def test_the_same_seed_gives_the_same_losses_and_weights(make_trainer):
    first, second, other = make_trainer(seed=5), make_trainer(seed=5), make_trainer(seed=6)
    networks = [trainer.fit() for trainer in (first, second, other)]
    assert first.losses == second.losses
    assert torch.equal(weights(networks[0]), weights(networks[1]))
    assert first.losses != other.losses


def test_training_does_not_touch_the_global_random_state(make_trainer):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    make_trainer(steps=5).fit()
    assert torch.equal(before, torch.get_rng_state())


def test_an_interrupted_run_continues_the_same_trajectory(make_trainer, tmp_path):
    whole = make_trainer()
    expected = whole.fit()

    def stop(done: int, loss: float) -> None:
        if done == 27:  # between two saves
            raise Interrupted

    with pytest.raises(Interrupted):
        make_trainer().fit(tmp_path / "state.safetensors", on_step=stop)
    resumed = make_trainer()
    steps = []
    network = resumed.fit(tmp_path / "state.safetensors", resume=True, on_step=lambda done, loss: steps.append(done))
    assert steps[0] == 25, "goes on after the last state that was saved"
    assert resumed.losses == whole.losses
    assert torch.equal(weights(network), weights(expected))


def test_a_finished_run_resumes_to_itself(make_trainer, tmp_path):
    expected = make_trainer().fit(tmp_path / "state.safetensors")
    again = make_trainer().fit(tmp_path / "state.safetensors", resume=True)
    assert torch.equal(weights(again), weights(expected))


def test_a_state_of_other_settings_is_refused_and_named(make_trainer, tmp_path):
    make_trainer(identity={"steps": 40, "seed": 0}).fit(tmp_path / "state.safetensors")
    with pytest.raises(CheckpointError, match=r"seed was 0 and is 1"):
        make_trainer(identity={"steps": 40, "seed": 1}).fit(tmp_path / "state.safetensors", resume=True)


def test_a_loss_that_is_not_finite_stops_with_the_step_and_a_cause(make_trainer):
    calls = []
    plain = losses.prediction_loss(targets.v)

    def breaks(*arguments):
        calls.append(1)
        return plain(*arguments) * (math.nan if len(calls) == 7 else 1)

    with pytest.raises(TrainingError, match=r"step 7 of 40.*the loss or the network made it"):
        make_trainer(loss=breaks).fit()


def test_a_learning_rate_that_is_too_high_is_named_as_the_cause(make_trainer):
    with pytest.raises(TrainingError, match=r"learning rate"):
        make_trainer(learning_rate=1e38, warmup=1, clip=1e38).fit()


@pytest.mark.parametrize("rate", [30.0, 1e3, 1e10])
def test_a_diverged_training_is_put_down_to_the_learning_rate(rate, make_trainer):
    with pytest.raises(TrainingError, match=re.escape(f"lower the learning rate ({rate:g})")) as caught:
        make_trainer(steps=300, learning_rate=rate, warmup=1, clip=1e38).fit()
    assert "schedule" not in str(caught.value) and "sigma" not in str(caught.value)


def test_a_derivative_that_is_not_finite_is_not_put_down_to_the_learning_rate(make_trainer):
    """The root of 0 is 0 and its slope is infinite; times 0 the slope is NaN, while the loss stays as it was."""
    plain, calls = losses.prediction_loss(targets.v), []

    def rooted(network, x0, eps, level, cond):
        calls.append(1)
        values = plain(network, x0, eps, level, cond)
        return values + (0 * (0 * values).sqrt() if len(calls) == 12 else 0)

    with pytest.raises(TrainingError, match=r"its gradient nan at step 12 of 40; .*the root or the logarithm"):
        make_trainer(loss=rooted).fit()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch", 2.5),
        ("learning_rate", math.nan),
        ("learning_rate", 0.0),
        ("ema_decay", 1.0),
        ("clip", -1.0),
    ],
)
def test_settings_that_cannot_train_are_refused(name, value):
    with pytest.raises(TrainingError, match=f"^{name} must be .*got {value!r}"):
        Settings(**{"steps": 10, "batch": 4, name: value})


def test_data_that_are_not_finite_are_named_as_the_cause(make_trainer):
    data = torch.zeros(256, 2)
    data[:, 1] = math.inf
    with pytest.raises(TrainingError, match=r"step 1 .*the data hold values that are not finite"):
        make_trainer(data=data).fit()


def test_the_averaged_network_lags_behind_the_trained_one(make_trainer):
    trainer = make_trainer(ema_decay=0.9)
    average = trainer.fit()
    assert not average.training
    assert not any(p.requires_grad for p in average.parameters())
    assert not torch.equal(weights(average), weights(trainer.network))


def test_ema_is_a_geometric_average_of_weights_and_buffers():
    online, average = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        average.weight.fill_(0.0)
        average.running_mean.fill_(0.0)
        online.weight.fill_(1.0)
        online.running_mean.fill_(2.0)
        online.num_batches_tracked.fill_(9)
    for _ in range(3):
        ema_update(average, online, 0.5)
    assert torch.allclose(average.weight, torch.full((2,), 1 - 0.5**3))
    assert torch.allclose(average.running_mean, torch.full((2,), 2 * (1 - 0.5**3)))
    assert int(average.num_batches_tracked) == 9
    assert average.weight.grad_fn is None


def test_a_weight_that_two_layers_share_is_averaged_once():
    def tied() -> torch.nn.Sequential:
        network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
        network[1].weight = network[0].weight
        return network

    online, average = tied(), tied()
    with torch.no_grad():
        online[0].weight.fill_(1.0)
        average[0].weight.fill_(0.0)
    ema_update(average, online, 0.75)
    assert torch.allclose(average[1].weight, torch.full((3, 3), 0.25))


def test_the_learning_rate_rises_then_falls_to_zero():
    settings = Settings(steps=1000, batch=1, learning_rate=2.0, warmup=100)
    rates = [learning_rate_at(step, settings) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[99] == pytest.approx(2.0)
    assert rates[550] == pytest.approx(1.0, abs=1e-9)  # half way down the cosine
    assert rates[-1] < 1e-4
    assert learning_rate_at(0, Settings(steps=5, batch=1)) > 0  # a warm-up longer than the run is cut


def test_labels_are_dropped_at_the_asked_rate_and_not_in_place():
    labels = torch.arange(10).repeat(1000)
    kept = labels.clone()
    uniform = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    dropped = drop_labels(labels, 0.2, null=10, uniform=uniform)
    assert torch.equal(labels, kept)
    assert float((dropped == 10).double().mean()) == pytest.approx(0.2, abs=0.02)
    assert torch.equal(dropped[dropped != 10], labels[dropped != 10])


def test_the_times_of_a_batch_cover_the_path_evenly():
    _, _, uniforms, _ = Source(torch.randn(8, 2)).draw(64, torch.Generator().manual_seed(0))
    assert torch.equal((uniforms.sort().values * 64).floor().long(), torch.arange(64))
    assert not torch.equal(uniforms, uniforms.sort().values), "in random order, or times would follow the data"


def test_tokens_get_uniform_noise_and_numbers_normal_noise():
    generator = torch.Generator().manual_seed(0)
    _, noise, _, _ = Source(torch.randint(3, (50, 9))).draw(500, generator)
    assert 0 <= noise.min() and noise.max() < 1
    _, noise, _, _ = Source(torch.randn(50, 9)).draw(500, generator)
    assert float(noise.std()) == pytest.approx(1, abs=0.05)
