"""The shards with which lines begin, while it is not known whether AWS keeps anything of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from awsidecar_server.dynamodb.changes.positions import Oldest, OldestIfAny, Position


class Beginnings:
    """Those that were closed when they began, and have brought nothing yet.

    AWS goes on listing some that it keeps no longer. What it has, a line begins with. Does no I/O.
    """

    def __init__(self) -> None:
        self._shards: set[str] = set()

    @property
    def shards(self) -> AbstractSet[str]:
        return self._shards

    def add(self, shard_ids: Iterable[str]) -> None:
        self._shards.update(shard_ids)

    def note_records(self, shard_id: str) -> None:
        """The shard has brought some: nothing that follows may be missing."""
        self._shards.discard(shard_id)

    def may_be_empty(self, shard_id: str, position: Position) -> bool:
        """Whether there may be nothing at the position that AWS denies."""
        return isinstance(position, Oldest) and shard_id in self._shards

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
