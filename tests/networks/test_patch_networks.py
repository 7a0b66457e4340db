"""What DiT, U-ViT and mixer do with their patches, where that is known exactly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffusion_lab.networks import build_network

SHAPES = [(1, 8, 12), (2, 24)]
T = torch.tensor([0.2, 0.7])


def network(kind: str, shape: tuple[int, ...], wake, **more):
    depth = {"uvit": 5}.get(kind, 2)
    return wake(build_network(shape, kind=kind, width=32, depth=depth, patch=4, **more))


def draw(shape: tuple[int, ...], batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["dit", "uvit", "mixer"])
@pytest.mark.parametrize("shape", SHAPES)
def test_patches_are_cut_and_joined_as_torch_unfolds_them(kind, shape, wake):
    net, x = network(kind, shape, wake), draw(shape)
    image = x if x.ndim == 4 else x.unsqueeze(2)
    expected = nn.functional.unfold(image, net.patch, stride=net.patch).mT
    assert torch.equal(net.cut(x), expected)
    assert torch.equal(net.join(expected), x)


@pytest.mark.parametrize(("kind", "any_order"), [("dit", True), ("uvit", True), ("mixer", False)])
def test_attention_takes_patches_in_any_order_once_positions_are_gone(kind, any_order, wake):
    net, x = network(kind, (1, 8, 12), wake), draw((1, 8, 12))
    positions = net.inner.positions if kind == "dit" else net.positions
    with torch.no_grad():
        positions.copy_(positions[:1].expand_as(positions))  # every place the same
        order = torch.randperm(net.tokens, generator=torch.Generator().manual_seed(1))
        mixed = net.join(net.cut(x)[:, order])
        alike = torch.allclose(net(mixed, T), net.join(net.cut(net(x, T))[:, order]), atol=1e-4)
    assert alike == any_order


@pytest.mark.parametrize("kind", ["dit", "mixer"])
def test_a_patch_hears_of_the_others_through_gates_that_start_shut(kind, wake):
    """New blocks are the identity, so that a patch of the output depends on the same patch of the input alone."""

    def seen_by_first_patch(net) -> torch.Tensor:
        x = draw((1, 8, 12), batch=1).requires_grad_()
        net.cut(net(x, T[:1]))[0, 0].sum().backward()
        return net.cut(x.grad)[0].abs().sum(dim=1) > 0

    net = build_network((1, 8, 12), kind=kind, width=32, depth=2, patch=4)
    nn.init.normal_((net.inner if kind == "dit" else net).head.weight)
    assert seen_by_first_patch(net).tolist() == [True] + [False] * 5
    assert seen_by_first_patch(wake(net)).all()


def test_long_skips_of_a_uvit_join_the_first_block_to_the_last(wake):
    net = network("uvit", (1, 8, 12), wake)
    left, joined = [], []
    for block in net.down:
        block.register_forward_hook(lambda module, given, out: left.append(out))
    for block in net.up:
        block.register_forward_hook(lambda module, given, out: joined.append(given[1]))
    net(draw((1, 8, 12)), T)
    assert len(left) == 2
    assert all(torch.equal(a, b) for a, b in zip(left, reversed(joined), strict=True))


def test_a_uvit_whose_blocks_add_nothing_gives_every_patch_back(wake):
    """Where blocks add nothing and skips take the mean, every token passes as it came."""
    net, x = network("uvit", (2, 24), wake, classes=3), draw((2, 24))
    with torch.no_grad():
        for block in (*net.down, net.middle, *net.up):
            for layer in (block.out, block.contract):
                layer.weight.zero_(), layer.bias.zero_()
            if block.skip is not None:
                block.skip.weight.copy_(torch.eye(32).repeat(1, 2) / 2), block.skip.bias.zero_()
        rows = net.stem(net.cut(x)) + net.positions[2:]
        torch.testing.assert_close(net(x, T, torch.tensor([0, 2])), net.join(net.head(net.norm(rows))))


@pytest.mark.parametrize("kind", ["dit", "uvit", "mixer", "mlp"])
def test_a_batch_is_learned_by_heart(kind):
    """Noise as the answer cannot be guessed: only weights that all take part in learning get it right."""
    net = (
        build_network((1, 8, 8), kind=kind, patch=4, width=64) if kind != "mlp" else build_network((1, 8, 8), kind=kind)
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, fused=True)
    x, answer = draw((1, 8, 8), 4), torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(9))
    for _ in range(50):
        optimiser.zero_grad()
        loss = (net(x, torch.linspace(0, 1, 4)) - answer).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.2 * answer.square().mean()
