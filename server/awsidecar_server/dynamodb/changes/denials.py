"""Reads on where AWS denies that it has a shard, or what comes next of it: it may be wrong for a moment."""

from __future__ import annotations

from awsidecar_server.dynamodb.changes.beginnings import Beginnings
from awsidecar_server.dynamodb.changes.pages import Page
from awsidecar_server.dynamodb.changes.positions import End, Position
from awsidecar_server.dynamodb.changes.shard_reading import ShardReading
from awsidecar_server.errors import HistoryLost

# How often AWS is asked again, a second later each time, before it is believed.
_MOST_DENIALS = 3


class Denials:
    """How often in a row AWS has denied what a watch was to read of each shard."""

    def __init__(self, beginnings: Beginnings) -> None:
        self._beginnings = beginnings
        self._in_a_row: dict[str, int] = {}

    async def page(self, shard: ShardReading, shard_id: str, position: Position) -> Page:
        """What follows the position; often nothing, and the end of a beginning that is gone.

        Raises `HistoryLost` when something else is gone.
        """
        try:
            page = await shard.page(position)
        except HistoryLost:
            denials = self._in_a_row[shard_id] = self._in_a_row.get(shard_id, 0) + 1
            if denials <= _MOST_DENIALS:
                shard.put_off(position)
                return Page((), position)
            if not self._beginnings.may_be_empty(shard_id, position):
                raise
            return Page((), End())
        if not shard.is_failing(position):
            self._in_a_row.pop(shard_id, None)
        return page
