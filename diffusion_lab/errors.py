"""The errors that a user can cause, each with a message that names what was given and what is accepted."""

from __future__ import annotations


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
