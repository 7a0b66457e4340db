"""Networks for points, sets, images, sounds, sequences and boards, built for a data shape by `build_network`."""

from __future__ import annotations

from diffusion_lab.networks.autoencoder import Autoencoder
from diffusion_lab.networks.build import KINDS, build_network, count_parameters, describe
from diffusion_lab.networks.embeddings import TimeEmbedding, timestep_embedding
from diffusion_lab.networks.mlp import MLP
from diffusion_lab.networks.sets import SetTransformer
from diffusion_lab.networks.transformer import Transformer, TransformerBlock
from diffusion_lab.networks.unet import UNet1d, UNet2d

__all__ = [
    "KINDS",
    "MLP",
    "Autoencoder",
    "SetTransformer",
    "TimeEmbedding",
    "Transformer",
    "TransformerBlock",
    "UNet1d",
    "UNet2d",
    "build_network",
    "count_parameters",
    "describe",
    "timestep_embedding",
]
