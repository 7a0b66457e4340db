"""What every network must keep, whatever its kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from diffusion_lab.errors import PieceError
from diffusion_lab.networks import build_network


@dataclass(frozen=True)
class Case:
    """One network to test: the shape of its data and the arguments it is built with."""

    name: str
    shape: tuple[int, ...]
    arguments: dict[str, Any] = field(default_factory=dict)

    def build(self, seed: int = 0, **more):
        return build_network(self.shape, seed=seed, **{**self.arguments, **more})

    def data(self, batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        vocabulary = self.arguments.get("vocabulary", 0)
        if vocabulary:
            x = torch.randint(vocabulary, (batch, *self.shape), generator=generator)
        else:
            x = torch.randn((batch, *self.shape), generator=generator)
        return x, torch.rand(batch, generator=generator)


POINTS = Case("points", (3,), {"width": 32, "depth": 2})
FOURIER = Case("fourier", (2,), {"width": 32, "depth": 2, "frequencies": 3})
IMAGE = Case("image", (1, 12, 12), {"width": 16})
COLOUR = Case("colour", (3, 16, 8), {"width": 16, "levels": 3})
SOUND = Case("sound", (1, 256), {"width": 16, "levels": 3})
PHRASE = Case("phrase", (5, 7), {"kind": "transformer", "width": 32, "depth": 2})
PICTURE = Case("a picture as a row", (1, 6, 6), {"kind": "mlp", "width": 32, "depth": 2})
DIT = Case("dit", (1, 12, 12), {"kind": "dit", "width": 32, "depth": 2})
DIT_SIGNAL = Case("dit of a signal", (2, 96), {"kind": "dit", "width": 32, "depth": 2})
UVIT = Case("uvit", (1, 12, 12), {"kind": "uvit", "width": 32, "depth": 3})
UVIT_SIGNAL = Case("uvit of a signal", (2, 96), {"kind": "uvit", "width": 32, "depth": 3})
MIXER = Case("mixer", (3, 16, 8), {"kind": "mixer", "width": 32, "depth": 2, "patch": 4})
MIXER_SIGNAL = Case("mixer of a signal", (2, 96), {"kind": "mixer", "width": 32, "depth": 2})
BOARD = Case("board", (9,), {"vocabulary": 3, "width": 32, "depth": 2})
SET = Case("set", (6, 3), {"kind": "set", "width": 32, "depth": 2})
ROWS = Case(
    "uvit of rows",
    (6, 3),
    {"kind": "uvit", "rows": True, "patch": 1, "positions": False, "width": 32, "depth": 3},
)
PATCHED = [DIT, DIT_SIGNAL, UVIT, UVIT_SIGNAL, MIXER, MIXER_SIGNAL]
CASES = [POINTS, FOURIER, IMAGE, COLOUR, SOUND, PHRASE, BOARD, SET, ROWS, PICTURE, *PATCHED]
CONTINUOUS = [case for case in CASES if case is not BOARD]


def of(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@of(CASES)
@pytest.mark.parametrize("batch", [1, 3])
def test_output_has_the_shape_and_dtype_of_the_data(case, batch):
    x, t = case.data(batch)
    y = case.build()(x, t)
    assert y.shape == ((*x.shape, 3) if case is BOARD else x.shape)
    assert y.dtype == torch.float32


@pytest.mark.parametrize("shape", [(8,), (8, 8), (8, 8, 8)])
def test_batch_equal_to_every_side(shape, wake):
    # When B == H == W, a factor of shape (B,) broadcasts over the wrong axis without an error.
    net = wake(build_network(shape, width=16, **({"patch": 2, "levels": 2} if len(shape) > 1 else {})))
    generator = torch.Generator().manual_seed(1)
    x, t = torch.randn((8, *shape), generator=generator), torch.rand(8, generator=generator)
    alone = torch.cat([net(x[i : i + 1], t[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(net(x, t), alone, atol=2e-5, rtol=1e-4)


@of(CASES)
def test_an_untrained_network_predicts_zero(case):
    assert case.build()(*case.data(2)).abs().max() == 0


@of(CASES)
def test_weights_come_from_the_seed_alone(case):
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first = case.build(seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(12)
    again, other = case.build(seed=5).state_dict(), case.build(seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@of(CASES)
def test_every_parameter_learns(case):
    # Layers that start at zero hide those before them, so it takes a few steps until the gradient is everywhere.
    net = case.build(classes=2, **({} if case is BOARD else {"self_condition": True}))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    x, t = case.data(4)
    target = torch.randn(net(x, t).shape, generator=torch.Generator().manual_seed(3))
    condition = {} if case is BOARD else {"last": torch.randn(x.shape, generator=torch.Generator().manual_seed(4))}
    for _ in range(4):
        optimiser.zero_grad()
        (net(x, t, labels=torch.tensor([0, 1, 2, 0]), **condition) - target).square().mean().backward()
        optimiser.step()
    dead = [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert dead == []


@of(CASES)
def test_a_sample_does_not_depend_on_the_rest_of_the_batch(case, wake):
    net = wake(case.build())
    x, t = case.data(4)
    order = torch.tensor([2, 0, 3, 1])
    y = net(x, t)
    torch.testing.assert_close(net(x[order], t[order]), y[order], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(net(x[:1], t[:1]), y[:1], atol=2e-5, rtol=1e-4)


@of(CASES)
def test_time_matters_and_x_is_not_changed(case, wake):
    net = wake(case.build())
    x, t = case.data(2)
    before = x.clone()
    assert not torch.allclose(net(x, t), net(x, 1 - t), atol=1e-3)
    assert torch.equal(x, before)


@of(CASES)
def test_labels_matter_and_are_refused_by_a_network_without_classes(case, wake):
    x, t = case.data(2)
    net = wake(case.build(classes=4))
    assert not torch.allclose(net(x, t, labels=torch.tensor([0, 1])), net(x, t, labels=torch.tensor([0, 2])), atol=1e-3)
    torch.testing.assert_close(net(x, t), net(x, t, labels=torch.tensor([4, 4])))
    with pytest.raises(PieceError, match="without classes"):
        case.build()(x, t, labels=torch.tensor([0, 1]))


@of(CONTINUOUS)
def test_the_last_estimate_matters_and_none_means_zeros(case, wake):
    x, t = case.data(2)
    net = wake(case.build(self_condition=True))
    assert not torch.allclose(net(x, t, last=x), net(x, t, last=-x), atol=1e-3)
    torch.testing.assert_close(net(x, t), net(x, t, last=torch.zeros_like(x)))
    with pytest.raises(PieceError, match="self_condition=True"):
        case.build()(x, t, last=x)
    with pytest.raises(PieceError, match="last must have the shape of x"):
        net(x, t, last=x[:1])


@of([case for case in CASES if case not in (PHRASE, BOARD, SET)])
def test_only_a_transformer_and_a_set_transformer_take_a_mask(case):
    x, t = case.data(2)
    title = "a UViT of rows " if case is ROWS else "an? "
    with pytest.raises(PieceError, match=title + ".*takes no mask; only a Transformer and a SetTransformer do"):
        case.build()(x, t, mask=torch.ones(x.shape[:2], dtype=torch.bool))


@of(CASES)
def test_wrong_shapes_of_x_and_t_are_refused(case):
    net = case.build()
    x, t = case.data(2)
    with pytest.raises(PieceError, match="was built for x of shape"):
        net(x[..., :-1] if case is SET else x[:, :-1], t)  # a set may have any number of rows
    with pytest.raises(PieceError, match="was built for x of shape"):
        net(x[0], t[:1])
    for wrong in (t[:1], t[0], t[:, None]):
        with pytest.raises(PieceError, match="one time for each sample"):
            net(x, wrong)


@of(CASES)
def test_bfloat16_autocast_stays_close_to_float32(case, wake):
    net = wake(case.build(classes=2))
    x, t = case.data(3)
    exact = net(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(x, t).float()
    # bfloat16 keeps 8 bits, about 1 part in 256, of every number on the way.
    assert (rough - exact).square().mean().sqrt() < 0.05 * exact.square().mean().sqrt()


@of(CASES)
def test_state_dict_carries_the_whole_network(case, wake):
    net, other = wake(case.build(seed=1)), case.build(seed=2)
    other.load_state_dict(net.state_dict())
    x, t = case.data(2)
    torch.testing.assert_close(other.eval()(x, t), net(x, t))
