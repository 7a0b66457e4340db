"""Datasets, each with a source that works offline and, where there is one, the real data."""

from diffusion_lab.data.catalogue import SourceInfo, available, load
from diffusion_lab.data.dataset import Dataset
from diffusion_lab.data.fetching import fetch
from diffusion_lab.data.own_data import OwnData
from diffusion_lab.data.storage import data_root

__all__ = ["Dataset", "OwnData", "SourceInfo", "available", "data_root", "fetch", "load"]
