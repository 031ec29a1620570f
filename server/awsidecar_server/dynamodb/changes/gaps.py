"""What is missing from the lists of a stream's shards, for how long it may be, and what AWS is asked about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from heapq import nsmallest
from operator import itemgetter

from awsidecar_server.dynamodb.changes.lineage import Lineage
from awsidecar_server.dynamodb.changes.positions import End, Oldest, OldestOfLine, Position
from awsidecar_server.dynamodb.changes.shard_reading import Kept
from awsidecar_server.errors import AwsUnreachable, HistoryLost

# How long AWS may take to list what belongs to the lineage.
PATIENCE_SECONDS = 30.0
# And one that it has, with nothing in it: where AWS has trimmed it, and lists it no more, it never comes.
_EMPTY_PATIENCE_SECONDS = 120.0
# Shards that had to come and did not, of which AWS is asked after one list: the first answers mostly end the watch.
_MOST_OVERDUE = 64
# Without records, and without an end: of a shard, before it is taken for one that is open and has nothing; and of one
# that has children, and must have an end.
_MOST_EMPTY_PAGES = 5
_MOST_EMPTY_PAGES_OF_CLOSED = 30


class Gaps:
    """The shards that must come to be listed for one watch, each with the time since which it is missing.

    None is passed over because it does not come. AWS is asked whether it has it, and only what is gone is done without,
    where the watch begins with the oldest that is kept; and there, what is closed and has nothing to be read. Does no I/O.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._overdue: set[str] = set()
        self._long_overdue: set[str] = set()
        # The parents of the oldest shards that are listed, of which AWS has said that it has them not.
        self._denied: set[str] = set()
        # Those that AWS has had since this watch began, or has listed to the one before, and does not list. They may go: it
        # wants what is kept.
        self._dispensable: set[str] = set()
        # Those that were done without. They may come no more, nor those before them, but for what was read.
        self._passed: set[str] = set()
        # Those of which nothing was passed over, as they are read, or AWS has nothing of them. When what follows was done
        # without, they may be listed all the same, and AWS is not asked about them at each list.
        self._cleared: set[str] = set()
        # Of the checkpoint, those that may be empty, and are not listed.
        self._doubtful: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._since)

    def note_begun(self, shard_id: str) -> None:
        """A shard is read: nothing of it is passed over."""
        self._cleared.add(shard_id)

    def look(self, lineage: Lineage, beginnings: Collection[str], now: float) -> dict[str, int]:
        """Looks for gaps after a list that was asked for at `now`: a slow client looks at its lists late.

        Of the `beginnings`, there may be nothing any more: where one of a checkpoint is gone, its children begin.

        Returns the shards that AWS is to be asked about, and how many pages without records will do. Raises `HistoryLost`
        where that is no use: nobody knows the names of the children that should have come after an end.
        """
        oldest = lineage.oldest().keys()
        self._since = {one: self._since.get(one, now) for one in lineage.gaps() | oldest}
        self._overdue = {one for one, since in self._since.items() if now - since > PATIENCE_SECONDS}
        self._long_overdue = {one for one in self._overdue if now - self._since[one] > _EMPTY_PATIENCE_SECONDS}
        childless = {one for one in self._overdue if isinstance(lineage.frontier.get(one), End)}
        if childless:
            raise HistoryLost(min(childless))
        self._denied &= oldest
        self._dispensable &= self._since.keys()
        self._cleared = lineage.listed_of(self._cleared)
        came = lineage.listed_of(self._passed | lineage.parents(self._passed)) | lineage.overtaken
        came -= self._cleared
        self._passed |= came
        self._doubtful = set(lineage.unlisted.intersection(beginnings))
        doubtful = {one for one in self._doubtful - self._dispensable if lineage.children(one)}
        asked = dict.fromkeys((oldest - self._denied) | doubtful, 1)
        for one in (*nsmallest(_MOST_OVERDUE, self._overdue), *nsmallest(_MOST_OVERDUE, came)):
            asked[one] = _MOST_EMPTY_PAGES_OF_CLOSED if lineage.children(one) else _MOST_EMPTY_PAGES
        return asked

    def settle(self, lineage: Lineage, answers: Mapping[str, Kept]) -> dict[str, Position]:
        """Takes AWS's answers: what it has of the shards.

        Returns the positions of those that begin. Raises `HistoryLost` for one that had to come and is gone, or has come
        when what follows it was read; and `AwsUnreachable` for one that AWS has and does not list: the caller goes on from
        its checkpoint, which names it.
        """
        oldest = lineage.oldest()
        given_up: list[str] = []
        positions: dict[str, Position] = {}
        # What is gone comes first: of two errors, it is the one that does not pass.
        for shard_id, kept in sorted(answers.items(), key=itemgetter(1)):
            children = oldest.get(shard_id, ())
            doubtful = shard_id in self._doubtful
            if doubtful:
                self._dispensable.add(shard_id)
            if shard_id in self._passed:
                # A list may be an old one, which has what is gone. Of one that seems open, nobody knows what will come.
                if kept > Kept.EMPTY:
                    raise HistoryLost(shard_id)
                self._cleared.add(shard_id)
                continue
            if children and kept:
                positions[shard_id] = OldestOfLine()
                self._dispensable.add(shard_id)
            elif children and (shard_id in self._overdue or not all(one.is_open for one in children)):
                positions.update((one.shard_id, Oldest()) for one in children)
                self._passed.add(shard_id)
            elif children:
                # An open shard is young, and so may be its parent: AWS is asked again when its time is over.
                self._denied.add(shard_id)
                continue
            elif kept is Kept.EMPTY and (doubtful or isinstance(lineage.frontier.get(shard_id), OldestOfLine)):
                # Before one of the checkpoint, nothing is sought: who has made that knew where the line begins.
                if shard_id not in (self._overdue if doubtful else self._long_overdue):
                    continue
                positions.update(dict.fromkeys(self._children(lineage, shard_id), Oldest()))
                given_up.append(shard_id)
            elif shard_id in self._overdue or (doubtful and not kept and lineage.children(shard_id)):
                positions.update(dict.fromkeys(self._without(lineage, shard_id, kept), Oldest()))
                given_up.append(shard_id)
            given_up += [one.shard_id for one in children]
        lineage.replace(given_up, positions)
        return {one: position for one, position in positions.items() if isinstance(position, Oldest)}

    def _without(self, lineage: Lineage, shard_id: str, kept: Kept) -> list[str]:
        """The shards that begin in the place of one that does not come."""
        if kept:
            raise AwsUnreachable(f"AWS has the shard {shard_id}, and does not list it", cause="bad_response")
        if shard_id not in self._dispensable:
            raise HistoryLost(shard_id)
        return self._children(lineage, shard_id)

    def _children(self, lineage: Lineage, shard_id: str) -> list[str]:
        if not lineage.children(shard_id):
            raise HistoryLost(shard_id)
        self._passed.add(shard_id)
        # A checkpoint that nobody was sent may name some of them, too.
        return lineage.unread_children(shard_id)
