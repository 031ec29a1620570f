"""Which shards of a stream are to be read, and in which order: a parent to its end before its children.

Shards split and are closed all the time, and AWS lists them with a delay. What was read is known by the frontier:
the shards being read, and those read to their end whose children nobody has seen yet. All ancestors of the frontier
have been read, or were not wanted; every other shard that is listed is still to be read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from awsidecar_server.dynamodb.changes.positions import At, End, Oldest, Position


@dataclass(frozen=True, slots=True)
class ListedShard:
    """A shard as AWS lists it."""

    shard_id: str
    # None: it is the first of its line. The parent may be too old to be listed, or not be listed yet.
    parent_id: str | None = None
    # None: AWS, or an emulator of it, does not say.
    first_sequence_number: str | None = None
    is_open: bool = True

    @property
    def beginning(self) -> Position:
        # By its number and not by TRIM_HORIZON, so that AWS says when the beginning is gone.
        return At(self.first_sequence_number) if self.first_sequence_number else Oldest()


class Lineage:
    """The order of the shards of one stream, for one watch. Does no I/O."""

    def __init__(self, frontier: Mapping[str, Position] | None = None) -> None:
        # As a checkpoint has it.
        self._frontier: dict[str, Position] = dict(frontier or {})
        self._listed: dict[str, ListedShard] = {}

    @property
    def frontier(self) -> Mapping[str, Position]:
        return self._frontier

    @property
    def seeks_children(self) -> bool:
        """Whether a shard is read to its end, and no child of it is known."""
        return any(isinstance(position, End) for position in self._frontier.values())

    @property
    def is_read(self) -> bool:
        """Whether every shard that is known is read to its end."""
        return all(isinstance(position, End) for position in self._frontier.values()) and not self._unread()

    def learn(self, listed: Collection[ListedShard]) -> None:
        """Takes a new list of the stream's shards in place of the last."""
        # An older list may come after a newer one. What was known of the line of a shard must stay known: a parent
        # whose child is forgotten would look unread.
        line = {*self._frontier, *self._settled()}
        kept = {name: shard for name, shard in self._listed.items() if name in line}
        self._listed = {**kept, **{shard.shard_id: shard for shard in listed}}

    def leaves(self) -> list[str]:
        """The listed shards that have no child: where new records go."""
        parents = {shard.parent_id for shard in self._listed.values()}
        return [shard_id for shard_id in self._listed if shard_id not in parents]

    def roots(self) -> list[str]:
        """The listed shards whose parent is not listed: the oldest that the stream keeps."""
        return [name for name, shard in self._listed.items() if shard.parent_id not in self._listed]

    def orphans(self) -> list[ListedShard]:
        """The unread shards that have a parent which is neither listed nor known to be read."""
        settled = self._settled()
        return [
            shard
            for shard in self._unread(settled)
            if shard.parent_id is not None
            and shard.parent_id not in settled
            and shard.parent_id not in self._listed
            and shard.parent_id not in self._frontier
        ]

    def gaps(self) -> set[str]:
        """The shards that must be listed for the lineage to have no hole, and are not.

        AWS lists them with a delay. When they do not come, their records are gone.
        """
        return self._unlisted() | {shard.parent_id for shard in self.orphans() if shard.parent_id}

    def put(self, positions: Mapping[str, Position]) -> None:
        """Begins these shards at these positions, whatever is with their parents."""
        self._frontier.update(positions)

    def begin(self) -> dict[str, Position]:
        """Begins the shards whose turn has come, and gives their positions."""
        if self._unlisted():
            # Their line is not known, so shards that were read long ago may look unread.
            return {}
        settled = self._settled()
        begun = {
            shard.shard_id: shard.beginning
            for shard in self._unread(settled)
            if shard.parent_id is None
            or shard.parent_id in settled
            or isinstance(self._frontier.get(shard.parent_id), End)
        }
        self._frontier.update(begun)
        # A parent is an ancestor of the frontier now.
        for shard_id in begun:
            parent_id = self._listed[shard_id].parent_id
            if parent_id is not None:
                self._frontier.pop(parent_id, None)
        return begun

    def advance(self, shard_id: str, position: Position) -> None:
        """Notes how far a shard of the frontier was delivered."""
        self._frontier[shard_id] = position

    def _unlisted(self) -> set[str]:
        """The shards of the frontier of which neither they nor a child is listed."""
        parents = {shard.parent_id for shard in self._listed.values()}
        return {
            name
            for name, position in self._frontier.items()
            if name not in self._listed and not (isinstance(position, End) and name in parents)
        }

    def _unread(self, settled: Collection[str] | None = None) -> list[ListedShard]:
        done = self._settled() if settled is None else settled
        return [one for name, one in self._listed.items() if name not in done and name not in self._frontier]

    def _settled(self) -> set[str]:
        """All ancestors of the frontier."""
        found: set[str] = set()
        for shard_id in self._frontier:
            shard = self._listed.get(shard_id)
            while shard is not None and shard.parent_id is not None and shard.parent_id not in found:
                found.add(shard.parent_id)
                shard = self._listed.get(shard.parent_id)
        return found
