"""Networks for points, sets, images, sounds, sequences and boards, built for a data shape by `build_network`."""

from __future__ import annotations

from diffusion_lab.networks.autoencoder import Autoencoder
from diffusion_lab.networks.build import KINDS, build_network, count_parameters, describe, kind_of
from diffusion_lab.networks.dit import DiT
from diffusion_lab.networks.embeddings import TimeEmbedding, timestep_embedding
from diffusion_lab.networks.mixer import Mixer, MixerBlock
from diffusion_lab.networks.mlp import MLP
from diffusion_lab.networks.sets import Rows, SetTransformer
from diffusion_lab.networks.transformer import Transformer, TransformerBlock
from diffusion_lab.networks.unet import UNet1d, UNet2d
from diffusion_lab.networks.uvit import UViT

__all__ = [
    "KINDS",
    "MLP",
    "Autoencoder",
    "DiT",
    "Mixer",
    "MixerBlock",
    "Rows",
    "SetTransformer",
    "TimeEmbedding",
    "Transformer",
    "TransformerBlock",
    "UNet1d",
    "UNet2d",
    "UViT",
    "build_network",
    "count_parameters",
    "describe",
    "kind_of",
    "timestep_embedding",
]
