"""Places in a shard, as they outlive the iterators of AWS: those end after 15 minutes."""

from __future__ import annotations

from dataclasses import dataclass

# Of times at which watches began: the clock here may be wrong by as much as AWS takes signatures from it.
CLOCK_MARGIN_MS = 5 * 60 * 1000


@dataclass(frozen=True, slots=True)
class At:
    """The record with this sequence number is next: the first of a shard."""

    sequence_number: str


@dataclass(frozen=True, slots=True)
class After:
    """The record with this sequence number was the last."""

    sequence_number: str


@dataclass(frozen=True, slots=True)
class Oldest:
    """The oldest record that the shard keeps is next, whichever that is when it is read."""


@dataclass(frozen=True, slots=True)
class OldestIfAny:
    """As `Oldest`, of a shard of which AWS may keep nothing any more. A place in checkpoints only."""


@dataclass(frozen=True, slots=True)
class OldestOfLine:
    """The oldest record is next that is kept of the shard or of any before it: AWS has not told yet which those are."""


@dataclass(frozen=True, slots=True)
class Since:
    """The first record made after this time is next: the place of who wants only what is new and has seen nothing."""

    # Milliseconds since 1970, by the sidecar's clock.
    moment: int


@dataclass(frozen=True, slots=True)
class End:
    """The shard is closed and read to its end."""


Position = At | After | Oldest | OldestIfAny | OldestOfLine | Since | End
