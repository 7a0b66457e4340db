from __future__ import annotations

import pytest
import torch
from torch import nn

from diffusion_lab.errors import PieceError
from diffusion_lab.networks import MLP, Transformer, UNet1d, UNet2d, build_network, count_parameters, describe


@pytest.mark.parametrize(
    ("shape", "arguments", "kind"),
    [
        ((2,), {}, MLP),
        ((1, 28, 28), {}, UNet2d),
        ((3, 32, 32), {}, UNet2d),
        ((1, 4096), {}, UNet1d),
        ((9,), {"vocabulary": 3}, Transformer),
        ((8, 25), {"kind": "transformer"}, Transformer),
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
        ((1, 28, 28), {"kind": "mlp"}, r"'mlp' takes data of shape \(D,\)"),
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
    ],
)
def test_what_does_not_fit_is_refused_by_name(shape, arguments, message):
    with pytest.raises(PieceError, match=message):
        build_network(shape, **arguments)


def test_a_row_of_vectors_without_a_kind_is_pointed_to_the_transformer():
    with pytest.raises(PieceError, match="kind='transformer'"):
        build_network((8, 25))


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
