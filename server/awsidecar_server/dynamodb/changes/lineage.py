"""Which shards of a stream are to be read, and in which order: a parent to its end before its children.

Shards split and are closed all the time, and AWS lists them with a delay. What was read is known by the frontier:
the shards being read, and those read to their end whose children nobody has seen yet. All ancestors of the frontier
have been read, or were not wanted; every other shard that is listed is still to be read. Only where a shard of the
frontier stands for its whole line (`OldestOfLine`), its ancestors are to be read, too: it gives way to them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from awsidecar_server.dynamodb.changes.positions import At, End, Oldest, OldestOfLine, Position

# A stream with more is not watched. No table comes near, and neither a list nor a checkpoint may grow without end.
MOST_SHARDS = 20_000
# Of ancestors that AWS lists no longer. A shard lives for hours.
_GENERATIONS_KEPT = 24


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


_NONE = ListedShard("")


class Lineage:
    """The order of the shards of one stream, for one watch. Does no I/O."""

    def __init__(self, frontier: Mapping[str, Position] | None = None) -> None:
        # As a checkpoint has it.
        self._frontier: dict[str, Position] = dict(frontier or {})
        self._listed: dict[str, ListedShard] = {}
        # What follows from the two is kept: thousands of shards may come to their ends one after the other.
        self._children: dict[str | None, list[ListedShard]] = {}
        self._settled: set[str] = set()
        self._unlisted: frozenset[str] = frozenset()
        # Those of the frontier that are read to their end.
        self._ends: set[str] = set()
        # Those that have come to their end since `begin`; None: anything may have happened.
        self._ended: list[str] | None = None
        # Those that stood for their line when what follows them was read already: AWS must have nothing of them.
        self.overtaken: set[str] = set()
        # Another number says that the frontier is another one.
        self.version = 0
        self._look()

    def __len__(self) -> int:
        """How many shards are known."""
        return len(self._listed)

    @property
    def frontier(self) -> Mapping[str, Position]:
        return self._frontier

    @property
    def seeks_children(self) -> bool:
        """Whether a shard is read to its end, and no child of it is known."""
        return bool(self._ends)

    @property
    def unlisted(self) -> frozenset[str]:
        """The shards of the frontier of which neither they nor a child is listed; not those that stand for their line."""
        return self._unlisted

    @property
    def is_read(self) -> bool:
        """Whether every shard that is known is read to its end."""
        return len(self._ends) == len(self._frontier) and not self._unread(self._listed.values())

    def learn(self, listed: Collection[ListedShard]) -> None:
        """Takes a new list of the stream's shards in place of the last."""
        # An older list may come after a newer one. What was known of the line of a shard must stay known: a parent
        # whose child is forgotten would look unread. What is further back than some generations was trimmed long before.
        known, newest = self._listed, {shard.shard_id: shard for shard in listed}
        kept: dict[str, ListedShard] = {}
        generation = {*self._frontier, *newest}
        for _ in range(_GENERATIONS_KEPT):
            old = {name: known[name] for name in generation if name in known and name not in newest}
            kept.update(
                (name, shard) for name, shard in old.items() if name in self._frontier or name in self._settled
            )
            parents = {(newest.get(name) or known.get(name, _NONE)).parent_id for name in generation}
            generation = {one for one in parents if one is not None and one not in kept and one not in newest}
        self._listed = {**kept, **newest}
        self._look()

    def leaves(self) -> list[str]:
        """The listed shards that have no child: where new records go."""
        return [shard_id for shard_id in self._listed if shard_id not in self._children]

    def roots(self) -> list[str]:
        """The listed shards whose parent is not listed: the oldest that the stream keeps."""
        return [name for name, shard in self._listed.items() if shard.parent_id not in self._listed]

    def orphans(self) -> list[ListedShard]:
        """The unread shards that have a parent which is neither listed nor known to be read."""
        return [
            shard
            for shard in self._unread(self._listed.values())
            if shard.parent_id is not None
            and shard.parent_id not in self._settled
            and shard.parent_id not in self._listed
            and shard.parent_id not in self._frontier
        ]

    def gaps(self) -> set[str]:
        """The shards that must be listed for the lineage to have no hole, and are not.

        AWS lists them with a delay. When they do not come, their records are gone.
        """
        lines = {one for one in self._lines() if one not in self._listed}
        if self._unlisted:
            # Their line is not known: what looks like an orphan may be before them.
            return lines | self._unlisted
        return {shard.parent_id for shard in self.orphans() if shard.parent_id} | lines

    def oldest(self) -> dict[str, list[ListedShard]]:
        """The listed shards that stand for their line, by their parents: AWS must tell whether it has those."""
        found: dict[str, list[ListedShard]] = {}
        for name in self._lines():
            shard = self._listed.get(name)
            if shard is not None and shard.parent_id is not None:
                found.setdefault(shard.parent_id, []).append(shard)
        return found

    def climb(self) -> dict[str, Position]:
        """Lets the listed shards that stand for their line give way to the oldest listed ones before them.

        Gives the positions of those that have no parent: they begin.
        """
        begun: dict[str, Position] = {}
        passed: set[str] = set()
        overtaken = self._settled.intersection(self._lines())
        self.overtaken |= overtaken
        for name in overtaken:
            del self._frontier[name]
        lines = [name for name in self._lines() if name in self._listed]
        for name in lines:
            del self._frontier[name]
            shard = self._listed[name]
            while shard.parent_id in self._listed and not self._is_ahead(shard.parent_id, passed):
                passed.add(shard.shard_id)
                shard = self._listed[shard.parent_id]
            passed.add(shard.shard_id)
            if shard.parent_id is None:
                begun[shard.shard_id] = self._frontier[shard.shard_id] = Oldest()
            elif not self._is_ahead(shard.parent_id, passed):
                self._frontier[shard.shard_id] = OldestOfLine()
            # Otherwise its turn comes after its parent's.
        if lines or overtaken:
            self._look()
        return begun

    def replace(self, shard_ids: Iterable[str], positions: Mapping[str, Position]) -> None:
        """Puts these shards at these positions in the place of some that stood for their lines."""
        for shard_id in shard_ids:
            del self._frontier[shard_id]
        self.put(positions)

    def closed(self, shard_ids: Iterable[str]) -> set[str]:
        """Those of the shards that are listed, and to which nothing more is written."""
        return {one for one in shard_ids if one in self._listed and not self._listed[one].is_open}

    def listed_of(self, shard_ids: Iterable[str]) -> set[str]:
        """Those of the shards that are listed."""
        return self._listed.keys() & set(shard_ids)

    def parents(self, shard_ids: Iterable[str]) -> set[str]:
        """The parents of those that are listed and have one."""
        found = {self._listed.get(shard_id, _NONE).parent_id for shard_id in shard_ids}
        return {one for one in found if one is not None}

    def children(self, shard_id: str) -> list[str]:
        """Those that are listed."""
        return [shard.shard_id for shard in self._children.get(shard_id, ())]

    def unread_children(self, shard_id: str) -> list[str]:
        """Those that are listed, and neither read nor being read."""
        return [shard.shard_id for shard in self._unread(self._children.get(shard_id, ()))]

    def put(self, positions: Mapping[str, Position]) -> None:
        """Begins these shards at these positions, whatever is with their parents."""
        if positions:
            self._frontier.update(positions)
            self._look()

    def begin(self, empty: Collection[str] = ()) -> dict[str, Position]:
        """Begins the shards whose turn has come, and gives their positions.

        Those behind the `empty` ones, of which nothing is kept, begin with the oldest record that is.
        """
        if not self._unlisted.issubset(empty):
            # Their line is not known, so shards that were read long ago may look unread.
            return {}
        candidates: Iterable[ListedShard] = self._listed.values()
        if self._unlisted or self._ended is not None:
            # What follows an end has not begun, or the end would have given way to it; of others that is not known.
            ends = self._ends if self._ended is None else self._ended
            candidates = chain.from_iterable(self._children.get(one, ()) for one in ends)
        begun = {
            shard.shard_id: shard
            for shard in self._unread(candidates)
            if shard.parent_id is None or shard.parent_id in self._settled or shard.parent_id in self._ends
        }
        # An end that others descend from has children already: where it began, AWS listed them without what is between.
        known = [one for one in (self._ends if self._ended is None else self._ended) if one in self._settled]
        self._ended = []
        self.version += bool(begun or known)
        positions = {
            name: Oldest() if shard.parent_id in empty else shard.beginning for name, shard in begun.items()
        }
        self._frontier.update(positions)
        # A parent is an ancestor of the frontier now.
        for parent_id in {shard.parent_id for shard in begun.values() if shard.parent_id is not None}.union(known):
            self._settled.add(parent_id)
            self._ends.discard(parent_id)
            self._frontier.pop(parent_id, None)
        return positions

    def advance(self, shard_id: str, position: Position) -> None:
        """Notes how far a shard of the frontier was delivered."""
        self._frontier[shard_id] = position
        self.version += 1
        if not isinstance(position, End):
            return
        self._ends.add(shard_id)
        if shard_id in self._unlisted:
            self._look()
        elif self._ended is not None:
            self._ended.append(shard_id)

    def _look(self) -> None:
        """Finds out anew what follows from the frontier and the list."""
        self._children = {}
        for shard in self._listed.values():
            self._children.setdefault(shard.parent_id, []).append(shard)
        self._ends = {name for name, position in self._frontier.items() if isinstance(position, End)}
        self._unlisted = frozenset(
            name
            for name in self._frontier
            if name not in self._listed
            and not (name in self._ends and name in self._children)
            and not isinstance(self._frontier[name], OldestOfLine)
        )
        self._settled = self._ancestors()
        self._ended = None
        self.version += 1

    def _lines(self) -> list[str]:
        """The shards of the frontier that stand for their line."""
        return [name for name, position in self._frontier.items() if isinstance(position, OldestOfLine)]

    def _is_ahead(self, shard_id: str, passed: Collection[str]) -> bool:
        """Whether it is known how the line comes to the shard."""
        return shard_id in self._frontier or shard_id in self._settled or shard_id in passed

    def _unread(self, shards: Iterable[ListedShard]) -> list[ListedShard]:
        return [one for one in shards if one.shard_id not in self._settled and one.shard_id not in self._frontier]

    def _ancestors(self) -> set[str]:
        """All of the frontier's, but for shards that stand for their line."""
        found: set[str] = set()
        for shard_id in self._frontier.keys() - self._lines():
            shard = self._listed.get(shard_id)
            while shard is not None and shard.parent_id is not None and shard.parent_id not in found:
                found.add(shard.parent_id)
                shard = self._listed.get(shard.parent_id)
        return found
