"""Reading what is handed over: a file, a module, an object, or plain keyword arguments."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from diffusion_lab.doctor.calling import first_line, place_of
from diffusion_lab.doctor.subject import FUNCTIONS, Diffusion
from diffusion_lab.errors import PieceError, SourceError

ALIASES: dict[str, tuple[str, ...]] = {
    "alpha_bar": ("alphas_cumprod", "alpha_bars", "alphas_bar"),
    "sampling_alpha_bar": ("sampling_alphas_cumprod",),
    "q_sample": ("add_noise", "forward_process", "diffuse", "noisy"),
    "loss": ("p_losses", "eps_loss", "v_loss", "simple_loss", "loss_fn", "training_loss", "diffusion_loss"),
    "network": ("model", "net", "unet"),
    "ddpm_step": ("p_sample", "reverse_step", "ancestral_step"),
    "sample": ("sampling_loop", "p_sample_loop", "ddim_sample", "sampler"),
    "solver_step": ("heun_step", "euler_step", "ode_step"),
    "flow_step": ("euler_ode_step",),
    "multistep": ("dpmpp_2m_step",),
    "ema_update": ("update_ema", "ema"),
    "guided_eps": ("guidance", "guide", "cfg", "classifier_free_guidance"),
    "drop_labels": ("label_dropout",),
}
"""Other names that a file may have for the fields of `Diffusion`."""
WHOLE = ("betas", "alpha_bar", "q_sample", "loss")
"""Of these an object with a diffusion in it has a table and a function."""
ORDERS = {"euler": 1, "heun": 2, "dpmpp_2m": 2, "ddim": 1}


def read(file: str | os.PathLike) -> Diffusion:
    """Run a Python file and take what it has by the names of `Diffusion` or by `ALIASES`.

    Raises:
        SourceError: where the file is missing, is no Python, raises, or has none of the names.
    """
    path = Path(file)
    if path.suffix != ".py":
        raise SourceError(f"{path}: the doctor reads a .py file, got {path.suffix or 'a name without an ending'}")
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location("_examined", path)
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    sys.modules["_examined"] = module  # dataclasses and pickles look for their module there
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise SourceError(f"{path}, line {error.lineno}: {error.msg}") from error
    except Exception as error:
        place = place_of(error)
        raise SourceError(f"{path}: running it raised {type(error).__name__}: {first_line(error)}{place}") from error
    except SystemExit as error:
        raise SourceError(f"{path}: it ends Python; put that under `if __name__ == '__main__':`") from error
    finally:
        sys.path.remove(folder)
    return from_names(vars(module), str(path))


def from_names(names: Mapping[str, Any], where: str = "what was given") -> Diffusion:
    """The `Diffusion` in a file's names. The name `diffusion` may hold it all: a `Diffusion`, or an object.

    An object with a diffusion in it, and a scheduler, are known under any name where the file has one of them alone.

    Raises:
        SourceError: where none of the names is known.
    """
    whole = names.get("diffusion")
    if isinstance(whole, Diffusion):
        return whole
    found: dict[str, Any] = {}
    for field in fields(Diffusion):
        for name in (field.name, *ALIASES.get(field.name, ())):
            value = names.get(name)
            # A name that only might mean this, and holds something else: the rate of a scheduler, a noisy picture.
            other = name != field.name and field.name in FUNCTIONS and not callable(value)
            other = other or (field.name == "scheduler" and not _is_scheduler(value))
            if value is not None and not isinstance(value, ModuleType) and not other:
                found[field.name] = names[name]
                if field.name == "solver_step" and names.get("order") is None:
                    found.setdefault("order", next((o for key, o in ORDERS.items() if key in name), None))
                break
    if whole is None:
        whole = _only([value for value in _made(names) if _is_diffusion(value)])
    if whole is not None:
        found = {**from_object(whole), **found}
    if "scheduler" not in found and (scheduler := _only([v for v in _made(names) if _is_scheduler(v)])) is not None:
        found["scheduler"] = scheduler
    if not found:
        known = ", ".join(field.name for field in fields(Diffusion))
        raise SourceError(f"{where} has none of the names that the doctor knows: {known}")
    return Diffusion(**found)


def _made(names: Mapping[str, Any]) -> list[Any]:
    """What a file has made under any name: objects, but no classes and modules, each once."""
    values = {id(v): v for k, v in names.items() if not k.startswith("_") and not isinstance(v, (type, ModuleType))}
    return [*values.values()]


def _only(values: list[Any]) -> Any:
    """The value where there is one alone, so that nothing is guessed."""
    return values[0] if len(values) == 1 else None


def _is_scheduler(value: Any) -> bool:
    return hasattr(value, "set_timesteps") and hasattr(value, "step")


def _is_diffusion(value: Any) -> bool:
    """Whether an object has a table and a function of a diffusion, such as a GaussianDiffusion."""
    if _is_scheduler(value):
        return False
    has = {field: any(hasattr(value, name) for name in (field, *ALIASES.get(field, ()))) for field in WHOLE}
    return (has["betas"] or has["alpha_bar"]) and (has["q_sample"] or has["loss"])


def from_object(thing: Any) -> dict[str, Any]:
    """The fields that an object with methods fills, such as a GaussianDiffusion: its `model` is exchanged in calls."""
    found: dict[str, Any] = {}
    for field in fields(Diffusion):
        for name in (field.name, *ALIASES.get(field.name, ())):
            value = getattr(thing, name, None)
            if value is not None and field.name not in ("network", "holder", "shape", "sample", "data"):
                found[field.name] = value
                break
    if hasattr(thing, "model"):
        found["holder"] = thing
        for name in (
            ("ddim_sample", "p_sample_loop") if getattr(thing, "is_ddim_sampling", False) else ("p_sample_loop",)
        ):
            if hasattr(thing, name):
                found["sample"] = getattr(thing, name)
                break
    kind = str(getattr(thing, "objective", ""))
    if kind in ("pred_noise", "pred_x0", "pred_v"):
        found["prediction"] = {"pred_noise": "eps"}.get(kind, kind.removeprefix("pred_"))
    size = getattr(thing, "image_size", None)
    if size is not None and hasattr(thing, "channels"):
        found["shape"] = (thing.channels, *((size, size) if isinstance(size, int) else size))
    return found


def subject_of(thing: Any, pieces: Mapping[str, Any]) -> Diffusion:
    """The `Diffusion` of whatever was given to `examine`.

    Raises:
        SourceError, PieceError: where nothing was given, or what it is cannot be told.
    """
    unknown = pieces.keys() - {field.name for field in fields(Diffusion)}
    if unknown:
        known = ", ".join(field.name for field in fields(Diffusion))
        raise PieceError(f"examine does not know {', '.join(sorted(unknown))}; it knows {known}")
    if thing is None:
        if not pieces:
            raise PieceError("give examine a file, a Diffusion, a scheduler, or pieces such as betas=... and loss=...")
        return Diffusion(**pieces)
    if isinstance(thing, Diffusion):
        return replace(thing, **pieces)
    if isinstance(thing, (str, os.PathLike)):
        return replace(read(thing), **pieces)
    if isinstance(thing, Mapping):
        return replace(from_names(thing), **pieces)
    if isinstance(thing, ModuleType):
        return replace(from_names(vars(thing), thing.__name__), **pieces)
    if _is_scheduler(thing):
        return Diffusion(scheduler=thing, **pieces)
    return Diffusion(**{**from_object(thing), **pieces})
