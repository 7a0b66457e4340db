"""The errors that a user can cause, each with a message that names what was given and what is accepted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class LabError(Exception):
    """Base of every error that tells the user about their own input."""


class PieceError(LabError, ValueError):
    """A piece (schedule, target, loss, step, network, ...) that does not fit its slot."""


class DataError(LabError, ValueError):
    """Data that is missing, corrupt or not in the expected format. The message names the file and the fault."""


class CheckpointError(LabError, ValueError):
    """A checkpoint that is missing, corrupt or made by a run with other settings."""


class TrainingError(LabError, RuntimeError):
    """Training that cannot go on: a loss that is not finite. The message names the step and the likely cause."""


class SourceError(LabError, ValueError):
    """A file of a student's pieces that cannot be read. The message names the file and the fault."""


class DeviceError(LabError, RuntimeError):
    """A device that was asked for and is not on this machine."""


class InstallationError(LabError, ImportError):
    """A library that is missing, or whose release does not go with torch's. The message says how to mend it."""


@contextmanager
def importing(library: str) -> Iterator[None]:
    """Tell in one line what is wrong where torchvision or torchaudio does not fit torch and fails to import.

    Raises:
        InstallationError: whatever the import raises, with the releases that are here and what goes with this torch.
    """
    try:
        yield
    except (ImportError, RuntimeError, OSError, AttributeError) as fault:
        here, there = _release(library), _release("torch")
        reason = str(fault).strip().partition("\n")[0] or type(fault).__name__
        what = f"{library} {here} does not go with torch {there}" if here else f"{library} is not installed"
        fitting = companion(library, there)
        raise InstallationError(
            f'{what} ({reason}); `pip install --force-reinstall --no-deps "{fitting}"`, from the same '
            "place as torch, brings one that does (a torch for the CPU takes no torchvision or torchaudio for CUDA)"
        ) from fault


def _release(library: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def companion(library: str, torch: str) -> str:
    """The releases of torchvision or torchaudio that go with a release of torch, as pip reads them.

    torchvision 0.26 goes with torch 2.11, 0.27 with 2.12 and so on; 0.29 takes torch 2.14 and newer. torchaudio has the
    numbers of torch up to 2.11; from 2.11.1 on it goes with newer torches too.
    """
    minor = int(torch.split(".")[1])
    if library == "torchvision":
        return f"torchvision==0.{minor + 15}.*" if minor <= 13 else "torchvision>=0.29"
    return f"torchaudio==2.{minor}.*" if minor <= 11 else "torchaudio>=2.11.1"
