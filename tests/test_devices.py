"""Which precision a processor gets."""

from __future__ import annotations

import pytest
import torch

from diffusion_lab.devices import fast_bfloat16, make_accelerator


@pytest.mark.parametrize(
    ("instructions", "allowed", "fast"),
    [(True, "AVX512", True), (True, "AVX2", False), (False, "AVX512", False), (False, "AVX2", False)],
)
def test_bfloat16_is_taken_where_its_instructions_are_there_and_allowed(monkeypatch, instructions, allowed, fast):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: allowed)
    assert fast_bfloat16(torch.device("cpu")) is fast
    assert make_accelerator("cpu", "bfloat16").mixed_precision == ("bf16" if fast else "no")
    assert make_accelerator("cpu", "float32").mixed_precision == "no"
