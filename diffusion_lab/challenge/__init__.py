"""An open challenge: fixed data, caps on parameters, training and evaluations, and a table of the entries."""

from diffusion_lab.challenge.entering import enter
from diffusion_lab.challenge.entries import Entry, read_entry
from diffusion_lab.challenge.rules import NAMES, ChallengeError, Rules, rules_of
from diffusion_lab.challenge.table import Row, as_markdown, read_table, reference_table, with_row, write_table

__all__ = [
    "NAMES",
    "ChallengeError",
    "Entry",
    "Row",
    "Rules",
    "as_markdown",
    "enter",
    "read_entry",
    "read_table",
    "reference_table",
    "rules_of",
    "with_row",
    "write_table",
]
