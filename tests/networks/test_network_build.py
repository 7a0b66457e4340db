from __future__ import annotations

import pytest
import torch
from torch import nn

from diffusion_lab.errors import PieceError
from diffusion_lab.networks import (
    MLP,
    DiT,
    Mixer,
    Transformer,
    UNet1d,
    UNet2d,
    UViT,
    build_network,
    count_parameters,
    describe,
)


@pytest.mark.parametrize(
    ("shape", "arguments", "kind"),
    [
        ((2,), {}, MLP),
        ((1, 28, 28), {}, UNet2d),
        ((3, 32, 32), {}, UNet2d),
        ((1, 4096), {}, UNet1d),
        ((9,), {"vocabulary": 3}, Transformer),
        ((8, 25), {"kind": "transformer"}, Transformer),
        ((1, 4096), {"kind": "unet"}, UNet1d),
        ((1, 28, 28), {"kind": "unet"}, UNet2d),
        ((1, 28, 28), {"kind": "mlp"}, MLP),
        ((1, 28, 28), {"kind": "dit"}, DiT),
        ((2, 512), {"kind": "uvit"}, UViT),
        ((3, 32, 32), {"kind": "mixer"}, Mixer),
    ],
)
def test_the_shape_of_the_data_chooses_the_network(shape, arguments, kind):
    net = build_network(shape, **arguments)
    assert type(net) is kind
    assert net.shape == shape


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((), {}, "positive integers"),
        ((2, -1), {}, "positive integers"),
        ((2.0,), {}, "positive integers"),
        ((1, 2, 3, 4), {}, r"no network takes data of shape \(1, 2, 3, 4\)"),
        ((2,), {"kind": "resnet"}, "unknown kind of network 'resnet'; choose one of mlp"),
        ((1, 2, 3, 4), {"kind": "mlp"}, r"'mlp' takes data of shape \(D,\) or \(C, L\) or \(C, H, W\), not \(1, 2"),
        ((2,), {"kind": "unet"}, r"'unet' takes data of shape \(C, L\) or \(C, H, W\), not \(2,\)"),
        ((2,), {"kind": "dit"}, r"'dit' takes data of shape \(C, L\) or \(C, H, W\), not \(2,\)"),
        ((9, 9), {"vocabulary": 3, "kind": "dit"}, r"\(cells,\)"),
        ((1, 29, 29), {"kind": "dit"}, r"no patch cuts \(1, 29, 29\) into 2 to 64 tokens for a DiT"),
        ((1, 28, 30), {"kind": "uvit", "patch": 4}, r"\(1, 28, 30\) cannot be cut into patches of 4 for a UViT"),
        ((1, 28, 28), {"kind": "uvit", "depth": 4}, "depth of a UViT must be odd.*not 4"),
        ((1, 28, 28), {"kind": "uvit", "width": 48}, "multiple of 32, not 48"),
        ((1, 28, 28), {"kind": "dit", "width": 48}, "multiple of 32, not 48"),
        ((1, 28, 28), {"kind": "mixer", "levels": 2}, "'mixer' takes no 'levels'; it takes shape, width"),
        ((2,), {"kind": "unet2d"}, r"\(C, H, W\)"),
        ((3, 3), {"vocabulary": 3}, r"\(cells,\)"),
        ((9,), {"vocabulary": 3, "kind": "mlp"}, "takes no 'vocabulary'"),
        ((9,), {"vocabulary": 3, "self_condition": True}, "self_condition is for vectors"),
        ((8, 25), {"kind": "transformer", "mask_token": True}, "mask_token needs a vocabulary"),
        ((8, 25), {"kind": "transformer", "width": 30}, "multiple of 32, not 30"),
        ((1, 28, 28), {"levels": 3}, "the image height 28 cannot be cut"),
        ((1, 28, 30), {}, "the image width 30 cannot be cut.*divisible by 4"),
        ((1, 4000), {}, "the sound length .*4000 cannot be cut.*divisible by 128"),
        ((1, 28, 28), {"width": 50}, "multiple of 16"),
        ((2,), {"patch": 2}, "'mlp' takes no 'patch'; it takes shape, width"),
        ((2,), {"depth": 0}, "depth of a network must be an integer of at least 1, not 0"),
        ((2,), {"classes": -1}, "classes"),
        ((2,), {"frequencies": -1}, "frequencies"),
        ((2,), {"rows": True}, r"rows=True reads a set of shape \(N, D\) .*not \(2,\) with 'auto'"),
        (
            (100, 2),
            {"kind": "unet", "rows": True, "patch": 4},
            r"a set of shape \(100, 2\), read as a signal of shape \(2, 100\): .*100 cannot be cut",
        ),
        ((128, 3), {"kind": "set", "rows": True}, r"mlp, unet, unet1d, dit, uvit, mixer; not \(128, 3\) with 'set'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(shape, arguments, message):
    with pytest.raises(PieceError, match=message):
        build_network(shape, **arguments)


def test_a_row_of_vectors_without_a_kind_is_pointed_to_the_transformer():
    with pytest.raises(PieceError, match="kind='transformer'"):
        build_network((8, 25))


@pytest.mark.parametrize(
    ("shape", "tokens"),
    [((1, 28, 28), 49), ((3, 32, 32), 64), ((1, 8, 8), 64), ((3, 16, 8), 32), ((2, 512), 64), ((1, 4001 * 3), 3)],
)
def test_the_smallest_patch_that_leaves_at_most_64_tokens_is_taken(shape, tokens):
    assert build_network(shape, kind="mixer", width=32, depth=1).tokens == tokens


def test_parameters_are_counted():
    layer = nn.Linear(3, 2)
    assert count_parameters(layer) == 8
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 6
    assert describe(nn.Linear(1000, 1000)) == "Linear, 1.00 M parameters"
    assert describe(layer) == "Linear, 6 parameters"


def test_weights_are_made_on_the_cpu_whatever_the_default_device():
    with torch.device("meta"):
        net = build_network((2,))
    assert all(parameter.device.type == "cpu" for parameter in net.parameters())
