"""matched_beats: how many beats were found, and how many of those found are beats."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def matched_beats(true: Tensor, found: Tensor, tolerance: float) -> Tensor:
    """Sensitivity and positive predictivity of a detector of beats.

    Args:
        true: (K,), the times of the beats in seconds, rising; K is at least 1.
        found: (M,), the times that a detector gives, rising; M may be 0.
        tolerance: how far apart the two times of one beat may be, in seconds.

    Returns:
        (2,): the largest possible number of pairs, divided by K and by M; the second is 0 where M is 0. Each time is in
        one pair at most.
    """
    pairs, i, j = 0, 0, 0
    while i < len(true) and j < len(found):
        if abs(true[i] - found[j]) <= tolerance:
            pairs, i, j = pairs + 1, i + 1, j + 1
        elif true[i] < found[j]:
            i += 1
        else:
            j += 1
    return torch.tensor([pairs / len(true), pairs / max(1, len(found))], dtype=true.dtype)


def _near(true, found, tolerance):
    return (true.unsqueeze(1) - found).abs() <= tolerance  # (K, M)


def _shares(pairs, true, found):
    return torch.tensor([pairs / len(true), pairs / max(1, len(found))], dtype=true.dtype)


def _pairs(true, found, fits):
    pairs, i, j = 0, 0, 0
    while i < len(true) and j < len(found):
        if fits(float(found[j] - true[i])):
            pairs, i, j = pairs + 1, i + 1, j + 1
        elif true[i] < found[j]:
            i += 1
        else:
            j += 1
    return pairs


def one_time_for_two_beats(true, found, tolerance):
    """Every beat with some time nearby counted, even where that time had been given to its neighbour. A detection
    belongs to one beat, and a beat to one detection."""
    near = _near(true, found, tolerance)
    first = near.any(dim=1).double().mean() if len(found) else torch.zeros(())
    second = near.any(dim=0).double().mean() if len(found) else torch.zeros(())
    return torch.stack([first, second]).to(true.dtype)


def nearest_first(true, found, tolerance):
    """The nearest two were paired first, and their neighbours were left over. The largest number of pairs is asked for:
    go through both lists in order of time."""
    away = (true.unsqueeze(1) - found).abs()
    pairs = 0
    while away.numel() and float(away.min()) <= tolerance:
        row, column = divmod(int(away.argmin()), away.shape[1])
        away[row], away[:, column] = torch.inf, torch.inf
        pairs += 1
    return _shares(pairs, true, found)


def each_takes_its_nearest(true, found, tolerance):
    """Each beat in turn took the nearest time that was left, which may be the only one for the next beat. Take the
    earliest time that is near enough: then the most remains for those to come."""
    left, pairs = found.tolist(), 0
    for beat in true.tolist():
        nearest = min(left, key=lambda time: abs(time - beat), default=None)
        if nearest is not None and abs(nearest - beat) <= tolerance:
            left.remove(nearest)
            pairs += 1
    return _shares(pairs, true, found)


def by_number(true, found, tolerance):
    """The first was compared with the first, the second with the second, and so on. One missed beat then spoils all
    that come after it: go on in the list whose time is earlier."""
    count = min(len(true), len(found))
    pairs = int(((true[:count] - found[:count]).abs() <= tolerance).sum())
    return _shares(pairs, true, found)


def shares_swapped(true, found, tolerance):
    """The two shares are swapped. Sensitivity is the share of the true beats, and comes first; predictivity is the
    share of those found."""
    pairs = _pairs(true, found, lambda away: abs(away) <= tolerance)
    return torch.tensor([pairs / max(1, len(found)), pairs / len(true)], dtype=true.dtype)


def half_the_tolerance(true, found, tolerance):
    """The tolerance was taken for the width of the whole window. It counts to either side of a beat."""
    return _shares(_pairs(true, found, lambda away: abs(away) <= tolerance / 2), true, found)


def late_ones_only(true, found, tolerance):
    """Times before the beat were not accepted. The tolerance counts to either side."""
    return _shares(_pairs(true, found, lambda away: 0 <= away <= tolerance), true, found)


def early_ones_always(true, found, tolerance):
    """The difference lost its absolute value, so that any earlier time counts as found. Within the tolerance means on
    either side."""
    return _shares(_pairs(true, found, lambda away: away <= tolerance), true, found)


def twice_the_tolerance(true, found, tolerance):
    """Times up to twice the tolerance apart were paired: it counts to either side of the beat, and only once."""
    return _shares(_pairs(true, found, lambda away: abs(away) <= 2 * tolerance), true, found)


def both_shares_of_the_true(true, found, tolerance):
    """Both numbers are shares of the true beats. The second is the share of the times that were found, and false alarms
    lower it."""
    pairs = _pairs(true, found, lambda away: abs(away) <= tolerance)
    return torch.tensor([pairs / len(true), pairs / len(true)], dtype=true.dtype)


def both_shares_of_those_found(true, found, tolerance):
    """Both numbers are shares of the times that were found. The first is the share of the true beats, and missed ones
    lower it."""
    pairs = _pairs(true, found, lambda away: abs(away) <= tolerance)
    return torch.tensor([pairs / max(1, len(found)), pairs / max(1, len(found))], dtype=true.dtype)


def numbers_for_shares(true, found, tolerance):
    """These are numbers of beats: the pairs, and the times without one. Shares are asked for, each between 0 and 1."""
    pairs = _pairs(true, found, lambda away: abs(away) <= tolerance)
    return torch.tensor([pairs, len(found) - pairs], dtype=true.dtype)


def missed_and_false(true, found, tolerance):
    """These are the shares of what went wrong, missed beats and false alarms. Asked for are the shares of what was
    right."""
    return 1 - _shares(_pairs(true, found, lambda away: abs(away) <= tolerance), true, found)


def counts_compared(true, found, tolerance):
    """The numbers of beats were compared, whatever their times. A missed beat and a false alarm would make up for each
    other."""
    pairs = min(len(true), len(found))
    return _shares(pairs, true, found)


def all_right_where_none_is_found(true, found, tolerance):
    """Where nothing was found, the second share is 1 here. It is 0 by the definition given: a detector that never
    speaks is of no use."""
    pairs = _pairs(true, found, lambda away: abs(away) <= tolerance)
    return torch.tensor([pairs / len(true), pairs / len(found) if len(found) else 1.0], dtype=true.dtype)


def nothing_by_nothing(true, found, tolerance):
    """Where nothing was found, the second share is 0 divided by 0. It is 0 by the definition given."""
    pairs = _pairs(true, found, lambda away: abs(away) <= tolerance)
    return torch.tensor([pairs / len(true), pairs / len(found) if len(found) else torch.nan], dtype=true.dtype)


def from_the_end(true, found, tolerance):
    i, j, pairs = len(true) - 1, len(found) - 1, 0
    while min(i, j) >= 0:
        away = float(true[i] - found[j])
        pairs += abs(away) <= tolerance
        i, j = i - (away >= -tolerance), j - (away <= tolerance)
    return _shares(pairs, true, found)


def earliest_that_is_free(true, found, tolerance):
    free, pairs = found.tolist(), 0
    for beat in true.tolist():
        near = [time for time in free if abs(time - beat) <= tolerance]
        if near:
            free.remove(near[0])
            pairs += 1
    return _shares(pairs, true, found)


def by_augmenting_paths(true, found, tolerance):
    near, owner = _near(true, found, tolerance).tolist(), {}

    def placed(beat, tried):
        for time, fits in enumerate(near[beat]):
            if fits and time not in tried:
                tried.add(time)
                if time not in owner or placed(owner[time], tried):
                    owner[time] = beat
                    return True
        return False

    return _shares(sum(placed(beat, set()) for beat in range(len(true))), true, found)


def _hundredths(times):
    """Even hundredths of a second: no difference of two is exactly the tolerance, an odd number of them."""
    return torch.tensor(sorted(times), dtype=torch.float64) / 50


def _beats(draw, count):
    """Times of beats, 0.4 to 1.2 s apart, in fiftieths of a second."""
    return (draw.integers(20, 60, count).cumsum(0)).tolist()


def _tolerance(draw, low=5, high=8):
    """An odd number of hundredths of a second."""
    return (2 * draw.integer(low, high) + 1) / 100


def cases(draw: Draw):
    for label, missed, false in (("some missed, some false", 3, 2), ("more false than true", 2, 12)):
        true, tolerance = _beats(draw, draw.integer(9, 13)), _tolerance(draw)
        found = [beat + draw.integer(-9, 9) for beat in true]
        del found[1 : 1 + missed]
        found += draw.integers(0, true[-1], false).tolist()
        yield Case(label, (_hundredths(true), _hundredths(found), tolerance))
    true = _beats(draw, draw.integer(6, 9))
    far = [beat + (1 if i % 2 else -1) * draw.integer(13, 16) for i, beat in enumerate(true)]
    yield Case("all a little too far", (_hundredths(true), _hundredths(far), _tolerance(draw)))
    true = _beats(draw, draw.integer(6, 9))
    late = [beat + draw.integer(1, 3) for beat in true]
    yield Case("all a little late, the first one missed", (_hundredths(true), _hundredths(late[1:]), _tolerance(draw)))
    # A quick run of beats: each time lies between two beats, and nearer to the one that comes after.
    start, count = draw.integer(20, 60), draw.integer(4, 6)
    true = [start + 10 * i for i in range(count)]
    chain = [beat + 6 for beat in true]
    yield Case("a quick run of beats", (_hundredths(true), _hundredths(chain), 0.13), "close together")
    between = [true[0] + 5, *[beat + 5 for beat in true[2::2]]]
    yield Case("one time between two beats", (_hundredths(true), _hundredths(between), 0.13), "close together")
    taken = [start - 4, start + 3]
    pair = (_hundredths([start, start + 5]), _hundredths(taken), 0.13)
    yield Case("the nearest needed by the next", pair, "close together")
    yield Case("nothing found", (_hundredths(true), _hundredths([]), _tolerance(draw)), "close together")
    yield Case("one beat, found twice", (_hundredths([start]), _hundredths([start - 3, start + 3]), 0.13))


def moved(piece, draw: Draw):
    """All beats moved by less than the tolerance are all found; by more than it, and less than half an interval,
    none."""
    beats = torch.cumsum(draw.uniform(8, low=0.7, high=1.0), dim=0)
    near, far = piece(beats, beats + 0.1, 0.15), piece(beats, beats + 0.25, 0.15)
    if bool((near == 1).all()) and bool((far == 0).all()):
        return None
    shown = [", ".join(f"{float(share):.3g}" for share in shares) for shares in (near, far)]
    return (
        f"beats moved by 0.1 s with a tolerance of 0.15 s give {shown[0]}, and 1, 1 is right; moved by 0.25 s they "
        f"give {shown[1]}, and 0, 0 is right"
    )


EXERCISE = Exercise(
    chapter="heartbeats",
    kind="data",
    title="Found, missed and imagined beats",
    statement=r"""
A network that removes noise should leave the beats where they were. Find them before and after, and compare the two
lists of times. The standard for such detectors (ANSI/AAMI EC57) pairs a true beat with a detection no more than 150 ms
away, each with one partner at most, and asks for two shares:

$$
\text{sensitivity} = \frac{\text{pairs}}{K}, \qquad
\text{positive predictivity} = \frac{\text{pairs}}{M},
$$

for $K$ true beats and $M$ detections. Take as many pairs as are possible. Both lists rise, so one walk along them does
it; mind two beats that share a detection.
""",
    reference=matched_beats,
    parts={"values": 3, "close together": 2, CARE: 1},
    cases=cases,
    properties=(Property("all beats moved by one amount", moved),),
    wrong_answers=(
        wrong(one_time_for_two_beats),
        wrong(nearest_first),
        wrong(each_takes_its_nearest),
        wrong(by_number),
        wrong(shares_swapped),
        wrong(half_the_tolerance),
        wrong(late_ones_only),
        wrong(early_ones_always),
        wrong(twice_the_tolerance),
        wrong(both_shares_of_the_true),
        wrong(both_shares_of_those_found),
        wrong(numbers_for_shares),
        wrong(missed_and_false),
        wrong(counts_compared),
        wrong(all_right_where_none_is_found),
        wrong(nothing_by_nothing),
    ),
    right_answers=(right(from_the_end), right(earliest_that_is_free), right(by_augmenting_paths)),
    hints=(
        "Stand before the first time of each list. Which of the two can you be sure to be done with?",
        "If the two fit, they are a pair and both lists go on; otherwise the list with the earlier time goes on.",
    ),
    source="ANSI/AAMI EC57:2012, section 4",
)
