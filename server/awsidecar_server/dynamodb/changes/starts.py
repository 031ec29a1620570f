"""What a request of WatchTable asks for, checked."""

from __future__ import annotations

from dataclasses import dataclass

from awsidecar.dynamodb.v1 import watch_pb2 as pb
from awsidecar_server.dynamodb.changes.checkpoints import BadCheckpoint, Checkpoint
from awsidecar_server.dynamodb.changes.positions import CLOCK_MARGIN_MS, Since
from awsidecar_server.errors import InvalidRequest, NothingToWatch

LATEST = "LATEST"
TRIM_HORIZON = "TRIM_HORIZON"

_DEFAULT_HEARTBEAT_SECONDS = 10.0
_SHORTEST_HEARTBEAT_SECONDS = 1.0
_LONGEST_HEARTBEAT_SECONDS = 300.0
# As many as AWS returns at once.
_MOST_RECORDS = 1000
# Members of AWS's requests that a checkpoint gives.
_OF_CHECKPOINT = frozenset({"StreamArn", "ShardId", "SequenceNumber", "ShardIteratorType"})


@dataclass(frozen=True, slots=True)
class Order:
    """What is watched, from where on, and how it is sent."""

    # One of the two is empty.
    table_name: str
    stream_arn: str
    # `LATEST` or `TRIM_HORIZON`, or what a checkpoint says.
    start: str | Checkpoint
    heartbeat_seconds: float
    max_records: int

    @classmethod
    def of(cls, request: pb.WatchTableRequest) -> Order:
        """Raises `InvalidRequest` naming the field at fault."""
        if not (request.table_name or request.stream_arn):
            raise InvalidRequest.of("source", "is required: table_name or stream_arn")
        max_records = request.max_records if request.HasField("max_records") else _MOST_RECORDS
        if not 1 <= max_records <= _MOST_RECORDS:
            raise InvalidRequest.of("max_records", f"must be from 1 to {_MOST_RECORDS}, and is {max_records}")
        return cls(request.table_name, request.stream_arn, _start(request), _heartbeat(request), max_records)

    def naming(self, member: str) -> str:
        """What the caller gave for a member of AWS's requests: the rest of a watch follows from these."""
        if member == "TableName":
            return "table_name"
        if member == "StreamArn" and self.stream_arn:
            return "stream_arn"
        return "checkpoint" if member in _OF_CHECKPOINT and isinstance(self.start, Checkpoint) else member

    def check_times(self, now: int) -> None:
        """Refuses a checkpoint of a time that is still to come: until then, changes would be taken for old ones.

        `now` is in milliseconds since 1970.
        """
        if isinstance(self.start, Checkpoint) and any(
            isinstance(position, Since) and position.moment > now + CLOCK_MARGIN_MS
            for position in self.start.positions.values()
        ):
            raise InvalidRequest.of("checkpoint", "is of a time that is still to come")

    def check_stream(self, newest_arn: str) -> None:
        """Refuses a checkpoint of something else than a stream of the same table, or the stream that is named."""
        if not isinstance(self.start, Checkpoint):
            return
        theirs = self.start.stream_arn
        if theirs != newest_arn and (self.stream_arn or _table_of(theirs) != _table_of(newest_arn)):
            raise self._foreign()

    def stream_of_the_past(self) -> str:
        """The stream of the checkpoint, when the table is gone or has no stream now: it must be of such a table.

        Empty without a checkpoint.
        """
        if not isinstance(self.start, Checkpoint):
            return ""
        table_arn = _table_of(self.start.stream_arn)
        if self.table_name not in (table_arn, table_arn.rpartition(":table/")[2]):
            raise self._foreign()
        return self.start.stream_arn

    def _foreign(self) -> InvalidRequest:
        return InvalidRequest.of("checkpoint", f"is of another {'stream' if self.stream_arn else 'table'}")


def _start(request: pb.WatchTableRequest) -> str | Checkpoint:
    kind = request.WhichOneof("start")
    if kind == "checkpoint":
        try:
            return Checkpoint.read(request.checkpoint)
        except BadCheckpoint as bad:
            raise InvalidRequest.of("checkpoint", str(bad)) from bad
    position = request.position if kind == "position" else LATEST
    if position not in (LATEST, TRIM_HORIZON):
        raise InvalidRequest.of("position", f"must be {LATEST} or {TRIM_HORIZON}")
    return position


def _heartbeat(request: pb.WatchTableRequest) -> float:
    if not request.HasField("heartbeat_interval"):
        return _DEFAULT_HEARTBEAT_SECONDS
    given = request.heartbeat_interval
    seconds = given.seconds + given.nanos / 1e9
    if not _SHORTEST_HEARTBEAT_SECONDS <= seconds <= _LONGEST_HEARTBEAT_SECONDS:
        raise InvalidRequest.of("heartbeat_interval", "must be from 1 second to 5 minutes")
    return seconds


def _table_of(stream_arn: str) -> str:
    """`arn:aws:dynamodb:us-east-1:123456789012:table/users/stream/2026-...` without the stream."""
    return stream_arn.partition("/stream/")[0]


def not_enabled() -> NothingToWatch:
    return NothingToWatch("the table has no stream of its changes", reason="STREAM_NOT_ENABLED")
