"""Messages between the grader and a process that it does not trust: JSON and raw bytes of tensors, never pickles.

A message is two numbers of 4 bytes (the length of the header, and how many tensors there are), 8 bytes for the size of
each tensor, a JSON header, and the bytes of the tensors. Whatever is not plain data travels as a description of itself,
which compares equal to nothing.
"""

from __future__ import annotations

import itertools
import json
import math
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.boxes import BlackBox
from diffusion_lab.grading.judge.calling import Foreign

LARGEST_HEADER = 1 << 20
LARGEST_BODY = 8 << 20
"""Of all tensors in a message: a cell of a million characters, and hundreds of times what any piece answers."""
DEEPEST = 8
LONGEST_TEXT = 10_000
MOST_PARTS = 1000
"""Of a tuple, list or dictionary."""
MOST_VALUES = 10_000
"""Of a message, all parts of its parts counted."""
MOST_AXES = 16
"""Of a tensor. PyTorch itself fails in odd places beyond some sixty."""
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
        torch.uint8, torch.bool, torch.complex64, torch.complex128,
    )
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class WireError(Exception):
    """A message that is too large, or is not made as messages are."""


def send(to: socket.socket, message: dict[str, Any]) -> None:
    """Send one message of None, bool, numbers, text, tensors, tuples, lists, dictionaries, probes, or black boxes.

    Of a box goes out that it is one; which one, its place in the message says.
    """
    blobs: list[bytes] = []
    header = json.dumps({key: _encode(value, blobs, 0) for key, value in message.items()}).encode()
    sizes = struct.pack(f"<{len(blobs)}Q", *map(len, blobs))
    if len(header) > LARGEST_HEADER or sum(map(len, blobs)) > LARGEST_BODY:
        raise WireError("the value is too large")
    to.sendall(struct.pack("<II", len(header), len(blobs)) + sizes + header + b"".join(blobs))


def receive(
    source: socket.socket,
    probe: Callable[[str, str, tuple, dict], Any] | None = None,
    box: Callable[[int], Any] | None = None,
    ends: float | Callable[[], float] | None = None,
) -> dict[str, Any]:
    """The next message. Raises WireError for a malformed one and EOFError where the other side has gone.

    Args:
        probe: makes a network from module, class, arguments and state; None on the side that accepts none.
        box: makes a handle of a black box from its number, 0 for the first in the message; None as for `probe`.
        ends: when to give up, by the monotonic clock, however much has come by then; what is called is asked again
            when that time has come. Raises TimeoutError.
    """
    length, count = struct.unpack("<II", _read(source, 8, ends))
    if length > LARGEST_HEADER or count > MOST_PARTS:
        raise WireError("the header is too large")
    sizes = struct.unpack(f"<{count}Q", _read(source, 8 * count, ends)) if count else ()
    if sum(sizes) > LARGEST_BODY:
        raise WireError("the body is too large")
    # In one go: to wait for each part by itself takes most of the time of a short message.
    rest = _read(source, length + sum(sizes), ends)
    places = itertools.pairwise(itertools.accumulate((length, *sizes)))
    header, blobs = rest[:length], [rest[start:end] for start, end in places]
    try:
        message = json.loads(header)
        if not isinstance(message, dict):
            raise WireError("not a message")
        decoder = _Decoder(blobs, probe, box)
        return {key: decoder.value(value) for key, value in message.items()}
    except WireError:
        raise
    except Exception as error:  # whatever is wrong with it was made by whoever sent it
        raise WireError(f"a malformed message: {type(error).__name__}") from error


def _read(source: socket.socket, size: int, ends: float | Callable[[], float] | None) -> bytearray:
    buffer = bytearray(size)
    view = memoryview(buffer)
    done = 0
    while done < size:
        if ends is not None:
            left = (ends() if callable(ends) else ends) - time.monotonic()
            if left <= 0:
                raise TimeoutError("it takes too long")
            source.settimeout(left)
        try:
            got = source.recv_into(view[done:])
        except TimeoutError:
            if callable(ends):
                continue
            raise
        if not got:
            raise EOFError("the other side has gone")
        done += got
    return buffer


def _encode(value: Any, blobs: list[bytes], depth: int) -> Any:
    if depth > DEEPEST:
        return {"foreign": "values nested too deeply"}
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return value[:LONGEST_TEXT]
    if kind is int:
        return value if abs(value) < 2**53 else {"foreign": "an integer of more than 53 bits"}
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind in (Tensor, nn.Parameter):
        return _encode_tensor(value, blobs)
    if kind in (tuple, list):
        return {kind.__name__: [_encode(part, blobs, depth + 1) for part in value[:MOST_PARTS]]}
    if kind is dict and all(type(key) is str for key in value):
        return {"dict": {key: _encode(part, blobs, depth + 1) for key, part in list(value.items())[:MOST_PARTS]}}
    if isinstance(value, nn.Module) and hasattr(value, "recipe"):
        made_of = _encode(tuple(value.recipe), blobs, depth + 1), _encode(dict(value.state_dict()), blobs, depth + 1)
        return {"probe": [kind.__module__, kind.__name__, *made_of]}
    if kind is BlackBox:
        return {"box": None}
    if kind is Foreign:
        return {"foreign": value.kind}
    return {"foreign": f"a value of type {kind.__name__[:100]}"}


def _encode_tensor(tensor: Tensor, blobs: list[bytes]) -> Any:
    name = NAMES.get(tensor.dtype)
    if tensor.layout is not torch.strided or name is None or tensor.is_meta:
        return {"foreign": f"a tensor of layout {tensor.layout} and dtype {tensor.dtype} on {tensor.device.type}"}
    try:
        if tensor.ndim > MOST_AXES:
            return {"foreign": f"a tensor of {tensor.ndim} axes"}
        shape, stride = list(tensor.shape), list(tensor.stride())
        if _extent(shape) * tensor.element_size() > LARGEST_BODY:
            return {"foreign": f"a tensor of shape {tuple(shape)}, which is too large"}
        plain = tensor.detach().cpu().resolve_conj().resolve_neg()
        if name == "bfloat16":  # which NumPy does not have
            plain = plain.view(torch.int16)
        data = plain.numpy().tobytes()  # the entries in their order, wherever they lie
    except (RuntimeError, TypeError) as error:  # such as one that lives inside of torch.vmap
        return {"foreign": f"a tensor that cannot be read: {type(error).__name__}"}
    blobs.append(data)
    # Strides travel too: an unusual memory layout is part of the question.
    return {"tensor": [name, shape, None if 0 in stride else stride, len(blobs) - 1]}


def _extent(shape: list[int]) -> int:
    """Entries of a tensor. One without any may have a long axis, and a sum over the other one would be as long."""
    return math.prod(shape) or math.prod(size or 1 for size in shape)


class _Decoder:
    """Values from what JSON made of a header. All tensors together take no more memory than a message may have."""

    def __init__(self, blobs: list[bytearray], probe: Callable | None, box: Callable | None):
        self.blobs, self.probe, self.box = dict(enumerate(blobs)), probe, box
        self.boxes = 0
        self.left, self.bytes_left = MOST_VALUES, LARGEST_BODY

    def value(self, value: Any, depth: int = 0) -> Any:
        self.left -= 1
        if depth > DEEPEST + 1 or self.left < 0:
            raise WireError("nested too deeply, or of too many parts")
        if isinstance(value, str):
            return value[:LONGEST_TEXT]
        if isinstance(value, int) and abs(value) >= 2**53:
            return Foreign("an integer of more than 53 bits")
        if value is None or isinstance(value, (bool, int, float)):
            return value
        (kind, content), *rest = value.items()
        if rest:
            raise WireError("not a value")
        if kind == "tensor":
            return self._tensor(*content)
        if kind in ("tuple", "list") and isinstance(content, list):
            parts = [self.value(part, depth + 1) for part in content]
            return tuple(parts) if kind == "tuple" else parts
        if kind == "dict":
            return {printable(key, 100): self.value(part, depth + 1) for key, part in content.items()}
        if kind == "float" and isinstance(content, str):
            return float(content)
        if kind == "foreign" and isinstance(content, str):
            return Foreign(printable(content, 200))
        if kind == "probe" and self.probe is not None:
            module, name, *made_of = content
            return self.probe(module, name, *(self.value(part, depth + 1) for part in made_of))
        if kind == "box" and self.box is not None:
            self.boxes += 1
            return self.box(self.boxes - 1)
        raise WireError("not a value")

    def _tensor(self, name: str, shape: list[int], stride: list[int] | None, index: int) -> Tensor:
        dtype = DTYPES[name]
        if len(shape) > MOST_AXES or not all(type(size) is int and size >= 0 for size in shape):
            raise WireError("not a shape")
        blob = self.blobs.pop(index)  # a second tensor of the same bytes would cost the sender nothing
        if math.prod(shape) * dtype.itemsize != len(blob):
            raise WireError("a tensor of another size than its shape")
        self._take(_extent(shape) * dtype.itemsize)
        tensor = (torch.frombuffer(blob, dtype=dtype) if blob else torch.empty(0, dtype=dtype)).reshape(shape)
        if stride is None or list(tensor.stride()) == stride or not blob:
            return tensor
        if len(stride) != len(shape) or not all(type(step) is int and 0 < step < 2**24 for step in stride):
            raise WireError("not strides")
        spread = sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) + 1
        self._take((spread - tensor.numel()) * dtype.itemsize)
        return torch.empty_strided(shape, stride, dtype=dtype).copy_(tensor)

    def _take(self, count: int) -> None:
        """Of the bytes that all tensors may have."""
        self.bytes_left -= max(count, 0)
        if self.bytes_left < 0:
            raise WireError("tensors that need too much memory")


def printable(text: str, longest: int = LONGEST_TEXT) -> str:
    """Text without control characters, which could rewrite a terminal."""
    text = text[:longest]
    return "".join(c if c in "\n\t" or (c.isprintable() and ord(c) not in range(0x80, 0xA0)) else "�" for c in text)
