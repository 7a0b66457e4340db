"""Muon against the singular value decomposition, against torch's own, and in a training that is interrupted."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from diffusion_lab.errors import TrainingError
from diffusion_lab.muon import Muon, orthogonalise
from diffusion_lab.networks import build_network
from diffusion_lab.train import Settings


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 16, 40), (2, 40, 16), (1, 64, 576)])
def test_a_matrix_keeps_its_directions_and_loses_their_sizes(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(matrices.double(), full_matrices=False)
    sizes = torch.einsum("bmi,bmn,bin->bi", u, orthogonalise(matrices).double(), v)
    assert torch.allclose(u * sizes[:, None] @ v, orthogonalise(matrices).double(), atol=1e-4)
    large = s > 0.01 * s.norm(dim=1, keepdim=True)
    assert sizes[large].min() > 0.65 and sizes[large].max() < 1.25
    # The scale is of no account, and what is zero stays so.
    assert torch.allclose(orthogonalise(1e6 * matrices), orthogonalise(matrices), atol=1e-4)
    assert not orthogonalise(torch.zeros(shape)).any()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has a Muon since 2.9")
def test_matrices_move_as_with_the_muon_of_torch_and_kernels_as_matrices():
    """torch's works in bfloat16, so it agrees to about a hundredth."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(32, 64, bias=False), nn.Conv2d(16, 32, 3, bias=False)).to(
        memory_format=torch.channels_last
    )
    flat = [
        nn.Parameter(p.detach().flatten(1).clone(memory_format=torch.contiguous_format)) for p in network.parameters()
    ]
    start = [p.detach().clone() for p in flat]
    options = {"lr": 0.01, "weight_decay": 0.1}
    ours = Muon(network, **options)
    theirs = torch.optim.Muon(flat, **options, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for p, q in zip(network.parameters(), flat, strict=True):
            q.grad = torch.randn(q.shape, generator=generator)
            p.grad = q.grad.reshape(p.shape).clone()
        ours.step()
        theirs.step()
    for p, q, s in zip(network.parameters(), flat, start, strict=True):
        assert (p.detach().flatten(1) - q).norm() < 0.03 * (q - s).norm()


def test_vectors_and_embeddings_move_as_with_adamw():
    network = nn.ModuleDict({"table": nn.Embedding(20, 32), "norm": nn.LayerNorm(32), "narrow": nn.Linear(32, 2)})
    other = copy.deepcopy(network)
    options = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}
    optimizers = Muon(network, **options), torch.optim.AdamW(other.parameters(), **options)
    for seed in range(3):
        for p, q in zip(network.parameters(), other.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed))
            q.grad = p.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["dit", "uvit", "mixer", "transformer"])
@pytest.mark.parametrize("rows", [8, 64])
def test_learned_positions_move_as_with_adamw_however_many_there_are(kind, rows):
    shape, patch = ((rows, 20), {}) if kind == "transformer" else ((20, rows), {"patch": 1})
    network = copy.deepcopy(build_network(shape, kind=kind, width=64, depth=3, **patch))
    positions = getattr(network, "inner", network).positions  # a DiT has a Transformer inside
    matrices, rest = (set(map(id, group["params"])) for group in Muon(network, lr=1e-3).param_groups)
    assert len(positions) >= rows and id(positions) in rest
    layers = {id(m.weight) for m in network.modules() if isinstance(m, nn.Linear) and min(m.weight.shape) >= 16}
    assert matrices == layers


def test_what_matrices_would_ignore_is_refused():
    with pytest.raises(TypeError, match="maximize"):
        Muon(nn.Linear(32, 32), lr=1e-3, maximize=True)


def test_most_weights_of_the_image_network_are_moved_as_matrices():
    network = build_network((1, 28, 28), classes=10, width=32)
    matrices, rest = Muon(network, lr=1e-3).param_groups
    count = [sum(p.numel() for p in group["params"]) for group in (matrices, rest)]
    assert sum(count) == sum(p.numel() for p in network.parameters())
    assert count[0] > 0.95 * sum(count)


def test_an_interrupted_run_with_muon_continues_the_same_trajectory(make_trainer, tmp_path):
    expected = make_trainer(optimizer="muon").fit()

    def stop(done: int, loss: float) -> None:
        if done == 27:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer(optimizer="muon").fit(tmp_path / "state.safetensors", on_step=stop)
    network = make_trainer(optimizer="muon").fit(tmp_path / "state.safetensors", resume=True)
    for name, value in expected.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


def test_an_unknown_optimizer_is_refused_with_those_there_are():
    with pytest.raises(TrainingError, match="optimizer must be one of adamw, muon, got 'sgd'"):
        Settings(steps=10, batch=4, optimizer="sgd")
