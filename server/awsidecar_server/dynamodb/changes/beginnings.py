"""The shards with which lines begin, while it is not known whether AWS keeps anything of them."""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping

from awsidecar_server.dynamodb.changes.positions import Oldest, OldestIfAny, Position

# How often AWS is asked again about a shard of which it says that it has it not.
_MOST_DENIALS = 3


class Beginnings:
    """Those that were closed when they began, and have brought nothing yet.

    AWS goes on listing some that it keeps no longer. What it has, a line begins with. Does no I/O.
    """

    def __init__(self) -> None:
        # How often in a row AWS has denied that it has them.
        self._denials: dict[str, int] = {}

    @property
    def shards(self) -> KeysView[str]:
        return self._denials.keys()

    def add(self, shard_ids: Iterable[str]) -> None:
        for one in shard_ids:
            self._denials.setdefault(one, 0)

    def note_records(self, shard_id: str) -> None:
        """The shard has brought some: nothing that follows may be missing."""
        self._denials.pop(shard_id, None)

    def may_be_empty(self, shard_id: str, position: Position) -> bool:
        """Whether there may be nothing at the position that AWS denies."""
        return isinstance(position, Oldest) and shard_id in self._denials

    def note_answer(self, shard_id: str) -> None:
        """AWS has the shard."""
        if shard_id in self._denials:
            self._denials[shard_id] = 0

    def is_gone(self, shard_id: str) -> bool:
        """Whether AWS has denied the shard again and again, this time included: it may be wrong for a moment."""
        self._denials[shard_id] += 1
        return self._denials[shard_id] > _MOST_DENIALS

    def resumable(self, frontier: Mapping[str, Position]) -> dict[str, Position]:
        """The frontier as a checkpoint has it: a watch that goes on from there can do without what may be empty, too."""
        return {
            shard_id: OldestIfAny() if self.may_be_empty(shard_id, position) else position
            for shard_id, position in frontier.items()
        }

    def resumed(self, positions: Mapping[str, Position]) -> dict[str, Position]:
        """The frontier of a checkpoint. Takes those of which it says that they may be empty."""
        self.add(shard_id for shard_id, position in positions.items() if isinstance(position, OldestIfAny))
        return {
            shard_id: Oldest() if isinstance(position, OldestIfAny) else position
            for shard_id, position in positions.items()
        }
