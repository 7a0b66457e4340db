from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_lab.errors import PieceError
from diffusion_lab.networks import TimeEmbedding, timestep_embedding
from diffusion_lab.networks.embeddings import fourier_features


@given(dim=st.integers(2, 64).map(lambda n: 2 * n), size=st.integers(1, 8))
@settings(deadline=None)  # the first example pays for the import of diffusers
def test_timestep_embedding_agrees_with_diffusers(dim, size):
    from diffusers.models.embeddings import get_timestep_embedding

    # diffusers' defaults, sines first and a frequency shift of 1, are the convention of DDPM that we follow.
    t = torch.linspace(0, 999, size)
    torch.testing.assert_close(timestep_embedding(t, dim), get_timestep_embedding(t, dim), atol=2e-4, rtol=0)


def test_timestep_embedding_of_integers_and_of_half_precision_is_computed_in_float32():
    steps = torch.tensor([0, 1, 500, 999])
    assert timestep_embedding(steps, 8).dtype == torch.float32
    torch.testing.assert_close(timestep_embedding(steps, 8), timestep_embedding(steps.float(), 8))
    assert timestep_embedding(steps.bfloat16(), 8).dtype == torch.float32
    assert timestep_embedding(steps.double(), 8).dtype == torch.float64


def test_timestep_embedding_tells_apart_every_step_of_a_thousand():
    embedding = timestep_embedding(torch.arange(1000), 64)
    distances = torch.cdist(embedding, embedding) + 10 * torch.eye(1000)
    assert distances.min() > 0.1


@pytest.mark.parametrize(
    ("shape", "dim", "message"), [((), 8, "shape"), ((2, 1), 8, "shape"), ((2,), 7, "even"), ((2,), 2, "even")]
)
def test_timestep_embedding_refuses(shape, dim, message):
    with pytest.raises(PieceError, match=message):
        timestep_embedding(torch.zeros(shape), dim)


def test_fourier_features_are_octaves_of_every_coordinate():
    x = torch.tensor([[0.3, -1.2]], dtype=torch.float64)
    features = fourier_features(x, 2)
    expected = [0.3, -1.2]
    expected += [torch.sin(torch.tensor(v, dtype=torch.float64)).item() for v in (0.3, 0.6, -1.2, -2.4)]
    expected += [torch.cos(torch.tensor(v, dtype=torch.float64)).item() for v in (0.3, 0.6, -1.2, -2.4)]
    torch.testing.assert_close(features[0], torch.tensor(expected, dtype=torch.float64))
    assert fourier_features(x, 0) is x


def test_no_labels_means_the_extra_class():
    embed = TimeEmbedding(16, classes=3)
    t = torch.tensor([0.1, 0.9])
    torch.testing.assert_close(embed(t), embed(t, torch.tensor([3, 3])), atol=0, rtol=0)
    assert not torch.allclose(embed(t), embed(t, torch.tensor([2, 2])))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 4]), r"0\.\.2, or be 3 for no label; got 0\.\.4"),
        (torch.tensor([-1, 0]), r"got -1\.\.0"),
        (torch.tensor([0]), r"shape \(2,\)"),
        (torch.tensor([0.0, 1.0]), "int64"),
    ],
)
def test_labels_out_of_range_or_of_another_type_are_refused(labels, message):
    with pytest.raises(PieceError, match=message):
        TimeEmbedding(16, classes=3)(torch.tensor([0.1, 0.9]), labels)


def test_labels_to_an_embedding_without_classes_are_refused():
    with pytest.raises(PieceError, match="without classes"):
        TimeEmbedding(16)(torch.tensor([0.1]), torch.tensor([0]))
