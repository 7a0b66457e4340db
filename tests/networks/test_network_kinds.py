"""What each kind of network must do beyond what all do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_lab.errors import PieceError
from diffusion_lab.networks import UNet1d, UNet2d, build_network
from diffusion_lab.networks.blocks import attend, from_patches, to_patches


def test_an_mlp_learns_a_known_function():
    # E[x0 | x] for x0 ~ N(0, 1) and x = (1 - t) x0 + t eps is (1 - t) x / ((1 - t)^2 + t^2).
    net = build_network((1,), width=64, depth=2, seed=0)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, fused=True)
    generator = torch.Generator().manual_seed(0)

    def draw(size: int):
        t = torch.rand(size, generator=generator)
        x = torch.randn(size, 1, generator=generator)
        return x, t, ((1 - t) / ((1 - t) ** 2 + t**2))[:, None] * x

    for _ in range(300):
        x, t, y = draw(512)
        optimiser.zero_grad()
        (net(x, t) - y).square().mean().backward()
        optimiser.step()
    x, t, y = draw(2048)
    with torch.no_grad():
        assert (net(x, t) - y).square().mean() < 0.01 * y.square().mean()


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
@settings(deadline=None)
def test_patches_agree_with_pixel_unshuffle_and_go_back(batch, channels, height, width, ph, pw):
    x = torch.randn(batch, channels, height * ph, width * pw, generator=torch.Generator().manual_seed(0))
    patches = to_patches(x, (ph, pw))
    assert patches.shape == (batch, channels * ph * pw, height, width)
    assert torch.equal(from_patches(patches, (ph, pw)), x)
    if ph == pw:
        assert torch.equal(patches, torch.nn.functional.pixel_unshuffle(x, ph))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_agrees_with_torch(dtype, masked):
    generator = torch.Generator().manual_seed(0)
    torch_attention = torch.nn.MultiheadAttention(64, 2, bias=False, batch_first=True)
    x = torch.randn(3, 5, 64, generator=generator)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool) if masked else None
    with torch.no_grad():
        torch_attention.out_proj.weight.copy_(torch.eye(64))
        qkv = x @ torch_attention.in_proj_weight.T
        expected, _ = torch_attention(x, x, x, key_padding_mask=None if mask is None else ~mask)
    found = attend(qkv.to(dtype), mask)
    assert found.dtype == dtype
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.03, "rtol": 0.03}
    torch.testing.assert_close(found.float(), expected, **tolerance)


@pytest.mark.parametrize(("shape", "kind"), [((3, 16, 16), "unet2d"), ((2, 256), "unet1d")])
def test_unet_works_inside_in_channels_last_order(shape, kind):
    net = build_network(shape, kind=kind, width=16, levels=2)
    orders = []
    for block in (*net.trunk.down[0], net.trunk.middle, *net.trunk.up[0]):
        block.register_forward_hook(
            lambda module, args, out: orders.append(out.is_contiguous(memory_format=torch.channels_last))
        )
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    net(x, torch.tensor([0.1, 0.9]))
    assert orders == [True, True, True]
    weight = net.trunk.middle.conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_the_order_of_the_images_in_memory_is_kept(wake):
    net = wake(build_network((3, 16, 16), width=16))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.1, 0.9])
    plain, last = net(x, t), net(x.contiguous(memory_format=torch.channels_last), t)
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(plain, last)


def test_a_sound_is_an_image_one_pixel_high(wake):
    # The same weights as a plain 1-D convolution give the same result.
    net = wake(build_network((1, 256), width=16, levels=2))
    conv = net.trunk.middle.conv1
    h = torch.randn(2, 32, 1, 8, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.conv1d(h[:, :, 0], conv.weight[:, :, 0], conv.bias, padding=1)
    torch.testing.assert_close(conv(h)[:, :, 0], plain)


@pytest.mark.parametrize(("places", "alike"), [(0, True), (3, False)])
def test_a_unet_knows_where_it_is_only_if_it_is_told(places, alike, wake):
    """On silence, far from both ends, every place gives the same unless places are told."""
    net = wake(build_network((2, 2048), width=16, levels=2, patch=4, places=places))
    with torch.no_grad():
        out = net(torch.zeros(1, 2, 2048), torch.tensor([0.5]))[0]
    assert torch.allclose(out[:, 800:804], out[:, 1200:1204], atol=1e-5) == alike


@pytest.mark.parametrize("net", [UNet2d((1, 28, 28), classes=10), UNet1d((1, 4096))], ids=["image", "sound"])
def test_every_output_of_a_unet_sees_the_whole_input(net, wake):
    wake(net)
    x = torch.randn(1, *net.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    net(x, torch.tensor([0.5])).flatten()[0].backward()
    assert (x.grad.abs() > 0).float().mean() > 0.99


def phrases(wake, self_condition: bool = False):
    net = wake(build_network((6, 4), kind="transformer", width=32, depth=2, self_condition=self_condition))
    generator = torch.Generator().manual_seed(0)
    x, other = torch.randn(3, 6, 4, generator=generator), torch.randn(3, 6, 4, generator=generator)
    mask = torch.arange(6) < torch.tensor([2, 6, 4])[:, None]
    return net, x, torch.where(mask[..., None], x, other), torch.tensor([0.1, 0.5, 0.9]), mask


def test_the_mask_hides_padding(wake):
    net, x, changed, t, mask = phrases(wake)
    torch.testing.assert_close(net(x, t, mask=mask)[mask], net(changed, t, mask=mask)[mask], atol=0, rtol=0)
    assert not torch.allclose(net(x, t)[mask], net(changed, t)[mask], atol=1e-3)
    everything = torch.ones_like(mask)
    torch.testing.assert_close(net(x, t, mask=everything), net(x, t), atol=1e-5, rtol=1e-4)


def test_the_mask_hides_padding_of_the_last_estimate_too(wake):
    net, x, changed, t, mask = phrases(wake, self_condition=True)
    torch.testing.assert_close(
        net(x, t, mask=mask, last=x)[mask], net(x, t, mask=mask, last=changed)[mask], atol=0, rtol=0
    )


def test_an_empty_phrase_gives_finite_outputs_and_gradients(wake):
    net, x, _, t, _ = phrases(wake)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
            y = net(x, t, mask=torch.zeros(3, 6, dtype=torch.bool))
        y.float().square().mean().backward()
        assert y.isfinite().all()
        assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(("shape", "dtype"), [((3, 6), torch.float32), ((3, 5), torch.bool), ((3, 6, 4), torch.bool)])
def test_a_mask_of_another_shape_or_dtype_is_refused(shape, dtype, wake):
    net, x, _, t, _ = phrases(wake)
    with pytest.raises(PieceError, match=r"mask must be bool of shape \(3, 6\)"):
        net(x, t, mask=torch.ones(shape, dtype=dtype))


def test_a_transformer_knows_positions(wake):
    net, x, _, t, _ = phrases(wake)
    assert not torch.allclose(net(x.flip(1), t).flip(1), net(x, t), atol=1e-3)


def test_a_board_may_hold_the_mask_token_only_where_it_was_built_for_it():
    board, t = torch.tensor([[0, 1, 2, 3]]), torch.tensor([0.5])
    assert build_network((4,), vocabulary=3, mask_token=True)(board, t).shape == (1, 4, 3)
    with pytest.raises(PieceError, match=r"tokens must lie in 0\.\.2; got 0\.\.3"):
        build_network((4,), vocabulary=3)(board, t)
    with pytest.raises(PieceError, match=r"int64 tokens, not torch\.float32"):
        build_network((4,), vocabulary=3)(board.float(), t)


def a_set(wake, **more):
    net = wake(build_network((12, 3), kind="set", width=32, depth=2, classes=3, **more))
    generator = torch.Generator().manual_seed(0)
    return net, torch.randn(4, 12, 3, generator=generator), torch.rand(4, generator=generator), torch.arange(4)


def test_a_set_has_no_order(wake):
    net, x, t, labels = a_set(wake)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(net(x[:, order], t, labels), net(x, t, labels)[:, order], atol=2e-5, rtol=1e-4)
    # It is not that every row is alone: one that moves, moves the answers at the others.
    moved = x.clone()
    moved[:, 0] += 1
    assert (net(moved, t, labels) - net(x, t, labels))[:, 1:].abs().amax(dim=(1, 2)).min() > 1e-3


@pytest.mark.parametrize("count", [1, 5, 30])
def test_a_set_may_have_another_size_and_what_is_masked_is_not_there(wake, count):
    net, _, t, labels = a_set(wake)
    x = torch.randn(4, count, 3, generator=torch.Generator().manual_seed(2))
    alone = net(x, t, labels)
    assert alone.shape == x.shape
    padded = torch.cat([x, 9 * torch.ones(4, 7, 3)], dim=1)
    mask = torch.arange(count + 7).expand(4, -1) < count
    torch.testing.assert_close(net(padded, t, labels, mask)[:, :count], alone, atol=2e-5, rtol=1e-4)


def test_a_set_says_what_it_takes(wake):
    net, x, t, _ = a_set(wake)
    for wrong in (x[:, :, :2], x[:, 0], x[:, :0]):
        with pytest.raises(PieceError, match=r"\(B, N, 3\) with any N from 1 on"):
            net(wrong, t)
    with pytest.raises(PieceError, match=r"mask must be bool of shape \(4, 12\)"):
        net(x, t, mask=torch.ones(4, 11, dtype=torch.bool))
    with pytest.raises(PieceError, match="multiple of 32, not 48"):
        build_network((12, 3), kind="set", width=48)
