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
    """Tell in one line what is wrong where torchvision or torchaudio, each built for one torch alone, fails to import.

    Raises:
        InstallationError: whatever the import raises, with the releases that are here and those that go together.
    """
    try:
        yield
    except (ImportError, RuntimeError, OSError, AttributeError) as fault:
        here, there = _release(library), _release("torch")
        reason = str(fault).strip().partition("\n")[0] or type(fault).__name__
        what = f"{library} {here} does not go with torch {there}" if here else f"{library} is not installed"
        raise InstallationError(
            f"{what} ({reason}); `pip install {_matched()}` brings a set that goes together"
        ) from fault


def _release(library: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def _matched() -> str:
    """What this package asks of torch and its companions, as pip reads it."""
    from importlib import metadata

    try:
        wanted = metadata.requires("diffusion-lab") or []
    except metadata.PackageNotFoundError:
        wanted = []
    return " ".join(f'"{each}"' for each in wanted if each.startswith("torch")) or "--force-reinstall diffusion-lab"
