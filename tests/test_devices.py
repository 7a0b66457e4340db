"""Which precision a processor gets."""

from __future__ import annotations

import time

import pytest
import torch

from diffusion_lab import devices

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("instructions", "allowed", "gain", "fast"),
    [
        (True, "AVX512", 2.0, True),
        (True, "AVX512", 0.5, False),
        (True, "AVX2", 2.0, False),
        (False, "AVX512", 2.0, False),
    ],
)
def test_bfloat16_is_taken_where_it_is_there_allowed_and_faster(monkeypatch, instructions, allowed, gain, fast):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: allowed)
    monkeypatch.setattr(devices, "bfloat16_gain", lambda: gain)
    assert devices.fast_bfloat16(CPU) is fast
    assert devices.make_accelerator("cpu", "bfloat16").mixed_precision == ("bf16" if fast else "no")
    assert devices.make_accelerator("cpu", "float32").mixed_precision == "no"


@pytest.mark.parametrize("slower", [torch.float32, torch.bfloat16], ids=str)
def test_the_gain_is_measured(monkeypatch, slower):
    """With a clock on which products of one kind take three times as long as those of the other."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    class Matrix:
        def __init__(self, dtype):
            self.seconds = 3.0 if dtype == slower else 1.0

        def __matmul__(self, other):
            assert torch.get_num_threads() == 1
            now[0] += self.seconds

    monkeypatch.setattr(torch, "full", lambda shape, value, dtype: Matrix(dtype))
    before = torch.get_num_threads()
    gain = devices.bfloat16_gain.__wrapped__()
    assert gain == (3.0 if slower == torch.float32 else pytest.approx(1 / 3))
    assert torch.get_num_threads() == before


def test_the_gain_of_this_processor_is_a_number():
    assert 0 < devices.bfloat16_gain.__wrapped__(side=32, turns=2) < float("inf")
