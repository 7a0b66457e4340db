"""Calling functions of somebody else: arguments by the names that people give them, errors with their own line."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lab.errors import SourceError

NAMES: dict[str, tuple[str, ...]] = {
    "x0": ("x0", "x_0", "x_start", "clean", "data", "images", "image", "img", "original_samples", "batch", "x"),
    "x": ("x", "x_t", "xt", "x_now", "sample", "img", "noisy", "z", "state"),
    "t": ("t", "time", "times", "timestep", "timesteps", "step", "steps", "i", "index"),
    "s": ("s", "t_next", "t_prev", "t_after", "s_next", "next_t", "prev_t"),
    "noise": ("noise", "eps", "epsilon", "z", "fresh", "e"),
    "eps": ("eps", "epsilon", "guess", "eps_hat", "noise_pred", "pred_noise", "predicted_noise", "model_output", "e"),
    "network": ("network", "model", "net", "unet", "eps_model", "denoise", "denoiser", "denoise_fn", "model_fn", "fn"),
    "alpha_bar": ("alpha_bar", "alphas_cumprod", "alpha_bars", "alphas_bar", "abar", "alpha_cumprod"),
    "betas": ("betas", "beta"),
    "shape": ("shape", "size"),
    "count": ("n", "batch_size", "batchsize", "num_samples", "n_samples", "count", "num"),
    "steps": ("steps", "num_steps", "n_steps", "num_inference_steps", "sampling_steps", "sampling_timesteps"),
    "labels": ("labels", "label", "y", "classes", "class_labels", "cond", "c"),
}
"""What each thing may be called. A function's own argument names decide what it is given."""


class Raised(Exception):
    """A function under examination has raised. Says what and where, in the words of a finding."""


class Reader:
    """Hands a function what its arguments are called.

    Args:
        holder: an object whose attribute `model` the examined methods use as their network, such as a
            GaussianDiffusion; None where functions take their network as an argument.
    """

    def __init__(self, holder: Any = None):
        self.holder = holder

    def call(self, piece: str, function: Callable, given: Mapping[str, Any], seed: int = 0) -> Any:
        """function(...) with the given things by name, under a seed of its own.

        Args:
            piece: what the function is called in messages.
            given: canonical name -> value. The earlier entry wins where an argument name fits two.
            seed: torch's global generator starts from it and is put back afterwards.

        Raises:
            SourceError: where an argument without a default has a name that nothing given is known by.
            Raised: where the function raises.
        """
        positional, named = bound(piece, function, given)
        with torch.random.fork_rng(devices=[]), _quiet(), self._lent(given.get("network")):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed writes down the stack for CUDA each time
            try:
                return function(*positional, **named)
            except (SourceError, KeyboardInterrupt):
                raise
            except Exception as error:
                raise Raised(f"it raised {type(error).__name__}: {first_line(error)}{place_of(error)}") from error

    def takes(self, function: Callable, name: str) -> bool:
        """Whether the function has an argument that `name` stands for."""
        return any(argument in NAMES.get(name, (name,)) for argument in parameters(function))

    @contextlib.contextmanager
    def _lent(self, network: Any) -> Iterator[None]:
        if self.holder is None or network is None:
            yield
            return
        before = self.holder.model
        for name in ("channels", "out_dim", "self_condition", "input_dims"):
            if hasattr(before, name):
                setattr(network, name, getattr(before, name))
        self.holder.model = network
        try:
            yield
        finally:
            self.holder.model = before


def parameters(function: Callable) -> dict[str, inspect.Parameter]:
    """The arguments that can be given by name or by place; a module's are those of its `forward`."""
    target = function.forward if isinstance(function, nn.Module) else function
    try:
        found = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: parameter for name, parameter in found.items() if parameter.kind in kinds}


def bound(piece: str, function: Callable, given: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments for the function, by place as far as possible, then by name."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    by_place = True
    for name, parameter in parameters(function).items():
        key = next((key for key in given if name.lower() in NAMES.get(key, (key,))), None)
        if key is None:
            if parameter.default is inspect.Parameter.empty:
                raise SourceError(
                    f"{piece} asks for '{name}'{_where(function)}, and the doctor does not know what that is; it can "
                    f"give {', '.join(given)}. Rename the argument, give it a default, or wrap the function"
                )
            by_place = False
        elif by_place and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            positional.append(given[key])
        else:
            named[name] = given[key]
    return positional, named


def first_tensor(piece: str, answer: Any) -> Tensor:
    """The tensor in an answer: itself, the first of a tuple, or the last that a generator gives. Else Raised."""
    if inspect.isgenerator(answer):
        answer = deque(answer, maxlen=1).pop()
    if isinstance(answer, (tuple, list)) and answer:
        answer = answer[0]
    for name in ("prev_sample", "sample"):
        answer = getattr(answer, name, answer)
    if not isinstance(answer, Tensor):
        raise Raised(f"{piece} must return a tensor, and it returned {type(answer).__name__}")
    return answer


def place_of(error: BaseException) -> str:
    """ " (file, line N)" of the last line outside of libraries that led to the error."""
    here = os.path.dirname(__file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if os.path.dirname(f.filename) != here]
    own = [f for f in frames if "site-packages" not in f.filename and f"{os.sep}lib{os.sep}python" not in f.filename]
    frame = (own or frames or [None])[-1]
    return f" ({os.path.basename(frame.filename)}, line {frame.lineno})" if frame else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return str(error).strip().partition("\n")[0]


def _where(function: Callable) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f" ({os.path.basename(code.co_filename)}, line {code.co_firstlineno})" if code else ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Progress bars and prints of the examined code are no part of the report."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
