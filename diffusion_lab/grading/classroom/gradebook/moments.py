"""Points in time that people write down: when something was handed in, and when it is due."""

from __future__ import annotations

import itertools
import re
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from diffusion_lab.errors import LabError

ACCEPTED = (
    "write a date, a time of day and a zone, such as 2027-03-05 09:00:00 +0900, with UTC, an offset, or a name such as "
    "Asia/Tokyo"
)
ISO = re.compile(r"(?<!\d)\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?!\d)")
"""A date with the year in front: day and month are then never exchanged."""
NAME = re.compile(r"\s([A-Z][A-Za-z_]+(?:/[A-Za-z0-9_+-]+)+)$")
"""A zone by its name in the time zone database."""
SHORT = re.compile(r"\s([A-Z]{2,5})$")
"""The short name of a zone."""
NAME_AND_OFFSET = re.compile(r"[A-Za-z]\s*[+-]\d{1,2}(:?\d{2})?$")
DEFAULTS = (datetime(2001, 1, 1, 1, 1), datetime(2002, 2, 2, 2, 2))
"""What a text leaves out is taken from here: where the two give different times, it left something out."""


class MomentError(LabError, ValueError):
    """A text that names no single moment. The message gives the text, what is wrong, and what is accepted."""

    def __init__(self, text: str, why: str):
        super().__init__(f"{text[:40]!r} {why}; {ACCEPTED}")


def moment(text: str, home: str = "") -> datetime:
    """The moment that a text names, in UTC.

    Args:
        home: the zone of the place where the text was written, by its name in the time zone database. That place's own
            short names are understood: nbgrader's exchange writes CET or CEST where its zone is Europe/Berlin.

    Raises:
        MomentError: there is no date, no time of day or no zone in it; day and month could be exchanged (05.03.2027);
            the zone is a short name such as CST or BST, which several countries use, or a name with an offset.
    """
    text = text.strip()
    if home and (short := SHORT.search(text)):
        plain = text[: short.start()]
        for fold in (0, 1):  # the hour that is there twice has two names
            local = moment(f"{plain} UTC").replace(tzinfo=_zone(home, text), fold=fold)
            if local.tzname() == short[1]:
                return (local - local.utcoffset()).replace(tzinfo=ZoneInfo("UTC"))
    named = NAME.search(text)
    plain = text[: named.start()] if named else text
    if NAME_AND_OFFSET.search(plain):
        raise MomentError(text, "has a zone made of a name and an offset, which some read one way and some the other")
    orders = [(False, False)] if ISO.search(plain) else list(itertools.product((False, True), repeat=2))
    found = {(default, order): _parsed(text, plain, default, *order) for default in DEFAULTS for order in orders}
    for order in orders:
        first, second = (found[default, order] for default in DEFAULTS)
        if first.date() != second.date():
            raise MomentError(text, "names no date with day, month and year")
        if first != second:
            raise MomentError(text, "names no time of day")
    if len(set(found.values())) > 1:
        raise MomentError(text, "does not say which number is the day and which the month")
    time = found[DEFAULTS[0], orders[0]]
    if time.tzinfo is None and named:
        time = time.replace(tzinfo=_zone(named[1], text))
    if time.tzinfo is None:
        raise MomentError(text, "names no time zone")
    _require_weekday(text, plain, time)
    return (time - time.utcoffset()).replace(tzinfo=ZoneInfo("UTC"))


def _parsed(text: str, plain: str, default: datetime, day_first: bool, year_first: bool) -> datetime:
    from dateutil import parser, tz

    def zone(name: str | None, offset: int | None) -> tzinfo | None:
        if offset is not None:
            return tz.tzoffset(name, offset)
        if name is not None:
            raise MomentError(text, f"has the zone {name!r}, a short name that is not everywhere the same")
        return None

    try:
        return parser.parse(plain, default=default, dayfirst=day_first, yearfirst=year_first, tzinfos=zone)
    except MomentError:
        raise
    except (ValueError, ArithmeticError, TypeError) as fault:
        raise MomentError(text, "is no time") from fault


def _zone(name: str, text: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as fault:
        raise MomentError(text, f"has the zone {name!r}, which the time zone database does not know") from fault


def _require_weekday(text: str, plain: str, time: datetime) -> None:
    from dateutil.parser import parserinfo

    names = [parserinfo().weekday(word) for word in re.findall(r"[A-Za-z]+", plain)]
    if any(name not in (None, time.weekday()) for name in names):
        raise MomentError(text, "names another weekday than its date has")


def as_nbgrader(when: datetime | str | None) -> datetime | None:
    """In the place of nbgrader's `parse_utc`: a moment as its gradebook keeps it, in UTC without saying so.

    Raises:
        MomentError: a text that names no single moment.
    """
    if when is None:
        return None
    if isinstance(when, str):
        when = moment(when)
    return when if when.tzinfo is None else (when - when.utcoffset()).replace(tzinfo=None)
