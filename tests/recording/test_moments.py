"""Hand-in times and due dates: read as they were meant, or refused by name."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from recorded_course import NAME, Course

from diffusion_lab.grading.classroom.gradebook.moments import MomentError, moment

MORNING = datetime(2027, 3, 5, 9, tzinfo=timezone.utc)
"""Nine o'clock in Greenwich."""


@pytest.mark.parametrize(
    "text",
    [
        "2027-03-05 09:00:00 UTC",
        "2027-03-05T09:00:00Z",
        "2027-03-05 18:00:00 +0900",
        "2027-03-05 18:00:00 +09:00",
        "2027-03-05T18:00+09:00",
        "2027-03-05 04:00:00 -0500",
        "2027-03-05 14:30:00 +0530",
        "2027-03-05 18:00:00 Asia/Tokyo",
        "2027-03-05 10:00 Europe/Berlin",
        "Fri, 05 Mar 2027 18:00:00 +0900",
        "Fri Mar 5 18:00:00 2027 +0900",
        "5 March 2027 9:00 GMT",
        "2027/03/05 09:00:00.000000 UTC",
    ],
)
def test_one_moment_in_many_words(text: str):
    assert moment(text) == MORNING


def test_short_names_of_the_courses_own_zone_are_understood():
    assert moment("2027-03-05 10:00:00.5 CET", "Europe/Berlin") == MORNING.replace(microsecond=500_000)
    assert moment("2027-07-05 11:00 CEST", "Europe/Berlin") == datetime(2027, 7, 5, 9, tzinfo=timezone.utc)
    assert moment("2027-03-05 09:00 UTC", "Europe/Berlin") == MORNING
    first, second = (moment(f"2027-10-31 02:30 {name}", "Europe/Berlin") for name in ("CEST", "CET"))
    assert (second - first).total_seconds() == 3600, "the hour that is there twice"
    for strange in ("2027-07-05 11:00 CET", "2027-07-05 11:00 EDT"):
        with pytest.raises(MomentError, match="a short name"):
            moment(strange, "Europe/Berlin")


def test_a_zone_by_name_knows_summer_and_a_day_that_can_only_be_one():
    assert moment("2027-07-05 11:00 Europe/Berlin") == datetime(2027, 7, 5, 9, tzinfo=timezone.utc)
    assert moment("25.03.2027 09:00 UTC") == moment("2027-03-25 09:00 UTC") == moment("03/25/2027 09:00 UTC")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *(
            (f"2027-07-05 09:00:00 {zone}", f"the zone '{zone}'")
            for zone in ("JST", "CEST", "EDT", "EST", "CST", "BST")
        ),
        ("05.03.2027 09:00 UTC", "which number is the day"),
        ("05/03/27 09:00 +0100", "which number is the day"),
        ("2027-03-05 09:00:00", "no time zone"),
        ("2027-03-05", "no time of day"),
        ("Friday", "no date"),
        ("09:00 UTC", "no date"),
        ("March 2027 09:00 UTC", "no date"),
        ("2027-03-05 09:00 UTC+3", "a name and an offset"),
        ("Sat, 05 Mar 2027 09:00:00 UTC", "another weekday"),
        ("2027-03-05 09:00 Mars/Olympus", "Mars/Olympus"),
        ("2027-02-30 09:00 UTC", "no time"),
        ("1804237200", "no time"),
        ("", "no time"),
    ],
)
def test_what_names_no_single_moment_is_refused_with_the_text(text: str, why: str):
    with pytest.raises(MomentError) as caught:
        moment(text)
    assert why in str(caught.value) and str(caught.value).startswith(repr(text)) and "+0900" in str(caught.value)


def test_due_dates_in_the_gradebook_are_read_with_their_zone(course: Course):
    with course.api.gradebook as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate="2027-03-05 18:00:00 +0900")
        assert gradebook.find_assignment(NAME).duedate == MORNING.replace(tzinfo=None)
        with pytest.raises(MomentError, match="'CEST'"):
            gradebook.update_or_create_assignment(NAME, duedate="2027-07-05 18:00:00 CEST")


def test_a_release_without_a_source_is_refused_by_name(tmp_path):
    from diffusion_lab.errors import LabError
    from diffusion_lab.grading.classroom.gradebook import release

    with pytest.raises(LabError, match=rf"there is no {tmp_path}/\S*01_normal_1d.ipynb.*--course"):
        release(tmp_path, "normal_1d")
    assert not list(tmp_path.iterdir())
