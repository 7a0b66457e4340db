from __future__ import annotations

import pytest
import torch


@pytest.fixture
def wake():
    """A function that adds noise to all weights: those that start at zero would hide what the others do."""

    def add_noise(net: torch.nn.Module) -> torch.nn.Module:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        return net.eval()

    return add_noise
