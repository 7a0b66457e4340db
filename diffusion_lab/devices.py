"""Which device and which precision a run uses."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from diffusion_lab.errors import DeviceError

DEVICES = ("auto", "cpu", "cuda", "mps")
GAIN = 1.2
"""How many times as fast bfloat16 must be to be worth its rounding."""


def fast_bfloat16(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    # Without these instructions bfloat16 is emulated, at a hundredth of the speed. ATEN_CPU_CAPABILITY can forbid them.
    allowed = torch.backends.cpu.get_cpu_capability() == "AVX512"
    present = device.type == "cpu" and allowed and torch.cpu._is_avx512_bf16_supported()
    return present and bfloat16_gain() > GAIN


@functools.cache
def bfloat16_gain(side: int = 256, turns: int = 9) -> float:
    """How many times as fast a product of bfloat16 matrices is as one of float32 ones, on one thread of this processor.

    Processors with the same instructions differ: some are faster with them, and others take twice as long. Measuring
    takes a few hundredths of a second.
    """
    threads = torch.get_num_threads()
    best = {torch.float32: math.inf, torch.bfloat16: math.inf}
    matrices = {dtype: torch.full((side, side), 1 / side, dtype=dtype) for dtype in best}
    torch.set_num_threads(1)
    try:
        # In turns, and the fastest counts: another program may have the processor during some.
        for _ in range(turns):
            for dtype, matrix in matrices.items():
                began = time.perf_counter()
                matrix @ matrix
                best[dtype] = min(best[dtype], time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return best[torch.float32] / best[torch.bfloat16]


def make_accelerator(device: str = "auto", precision: str = "float32"):
    """An `accelerate.Accelerator` for one run; `accelerate launch` gives it its processes.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        precision: "float32", or "bfloat16", which is taken only where the device is fast at it.

    Raises:
        DeviceError: for an unknown device, or one that this machine lacks.
    """
    if device not in DEVICES:
        raise DeviceError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    present = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present[device]:
        found = ", ".join(name for name in DEVICES[1:] if present[name])
        raise DeviceError(f"device '{device}' was asked for and is not on this machine; here: {found}")

    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    def fresh(mixed_precision: str) -> Accelerator:
        # Accelerate keeps one state per process, and refuses a second run with another precision or device.
        # The group of processes that `accelerate launch` started must stay.
        AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
        return Accelerator(cpu=device == "cpu", mixed_precision=mixed_precision)

    accelerator = fresh("no")
    if precision == "bfloat16" and fast_bfloat16(accelerator.device):
        accelerator = fresh("bf16")
    return accelerator


@contextmanager
def own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Give what draws from torch's global generators a seed of its own, and leave the generators as they were.

    Our own code hands its generators around. A network of the caller's may have dropout, which cannot be handed one,
    and a loss or step may call `torch.randn_like`.
    """
    graphics = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=graphics):
        # torch.manual_seed would seed every device, those that nobody restores among them.
        torch.default_generator.manual_seed(seed)
        for each in graphics:
            index = torch.cuda.current_device() if each.index is None else each.index
            torch.cuda.default_generators[index].manual_seed(seed)
        before = torch.mps.get_rng_state() if device.type == "mps" else None
        try:
            if before is not None:
                torch.mps.manual_seed(seed)
            yield
        finally:
            if before is not None:
                torch.mps.set_rng_state(before)
