"""How far a stream of writes or reads has come: what was sent, what became of it, and what failed."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from awsidecar.dynamodb.v1.batch_pb2 import DeleteRequest, KeysAndAttributes, PutRequest
from awsidecar.dynamodb.v1.batch_streams_pb2 import BatchGetStreamRequest, BatchWriteStreamRequest, StreamedWrite
from awsidecar.exceptions import BatchFailed, SidecarError
from awsidecar.failures import failure_of_part, out_of_time, shutting_down
from awsidecar.messages import converter
from awsidecar.operations import OWN
from awsidecar.unsent_writes import UnsentWrites
from awsidecar.values import Fault, Value, fill_attributes, plain_attributes

WRITE_STREAM, GET_STREAM = OWN["BatchWriteStream"], OWN["BatchGetStream"]

# Reads of one request: enough to be cheap, and few enough to be under way soon.
_REQUEST_READS = 100
# Elements without an outcome, and what they take. Fewer than the sidecar reads ahead, so that it never waits for us
# while we wait for it.
_MOST_OPEN = 2000
_MOST_OPEN_BYTES = 8 * 1024 * 1024
# Failed writes that are kept for the end: all that can be open when a stream breaks, and as many before.
_MOST_KEPT = 2 * _MOST_OPEN
_MOST_KEPT_BYTES = 2 * _MOST_OPEN_BYTES


@dataclass(frozen=True, slots=True)
class FailedWrite:
    """A write of a batch that was not done, or of which that is not known."""

    # Its number among the writes of the batch, from 0.
    index: int
    table_name: str
    # What was to be put; None for a deletion.
    item: Mapping[str, Value] | None = field(repr=False)
    # What was to be deleted; None for a put.
    key: Mapping[str, Value] | None = field(repr=False)
    # None: it was never sent to AWS, because time was up. `DRAINING`: because the sidecar was shutting down.
    error: SidecarError | None
    # Whether AWS may have done it all the same.
    ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class _Open:
    """A write without an outcome."""

    table_name: str
    item: Mapping[str, Value] | None
    key: Mapping[str, Value] | None
    size: int


class WriteProgress:
    """What a batch writer has sent, and what it was told of it."""

    def __init__(self, table_name: str | None, on_failure: Callable[[FailedWrite], object] | None = None) -> None:
        """`on_failure` is told of each write that fails; the first of them are kept in any case."""
        self._table_name = table_name
        self._on_failure = on_failure
        # Of all writes.
        self.count = 0
        self._open: dict[int, _Open] = {}
        self._open_bytes = 0
        # The first of them that failed, by their index.
        self._kept: list[FailedWrite] = []
        self._kept_bytes = 0
        # What the errors have that tell of them.
        self._shared: tuple[SidecarError | None, tuple[FailedWrite, ...]] = None, ()
        # What `on_failure` is still to be told of: what failed in one response, or with the stream.
        self._untold: deque[FailedWrite] = deque()
        self._is_telling = False
        # The last refusal of a write of `on_failure`.
        self._refusal: RuntimeError | None = None
        # Of all that failed.
        self._failed = 0
        self._is_ambiguous = False
        self._unsent = UnsentWrites()
        # Writes that AWS has done.
        self.done = 0
        # Whether time is up, so that nothing more is done.
        self.is_over = False
        # Whether the batch has ended, so that nothing more is sent.
        self.is_closed = False
        # Whether the stream has, and with which error.
        self._has_stream_ended = False
        self._broken: SidecarError | None = None

    @property
    def is_full(self) -> bool:
        """Whether outcomes are to be taken before more is sent; never while `on_failure` is told of the last ones."""
        if self._is_telling:
            return False
        return len(self._open) >= _MOST_OPEN or self._open_bytes >= _MOST_OPEN_BYTES

    @property
    def is_due(self) -> bool:
        """Whether there is a request that is worth sending, and room for it."""
        return self._unsent.is_due and self._has_room

    @property
    def _has_room(self) -> bool:
        """Whether not too much is under way for one more request."""
        under_way, its_bytes = len(self._open) - self._unsent.count, self._open_bytes - self._unsent.size
        return under_way < _MOST_OPEN and its_bytes < _MOST_OPEN_BYTES

    def may_send_of(self, count: int) -> bool:
        """Whether one of the first so many writes is still to be sent, and there is room."""
        return self.count - self._unsent.count < count and self._has_room

    def has_open_of(self, count: int) -> bool:
        """Whether one of the first so many writes has no outcome."""
        return next(iter(self._open), count) < count

    def put(self, item: Mapping[str, Value], table_name: str | None) -> None:
        """Adds a put to the request; raises TypeError or ValueError naming what is wrong with it.

        When the stream has ended, it fails at once, with `BatchFailed`.
        """
        write = StreamedWrite(put=PutRequest())
        _fill(PutRequest, write.put, "Item", item)
        write.table_name = self._named(table_name)
        self._note(write, _Open(write.table_name, item, None, write.put.ByteSize()))

    def delete(self, key: Mapping[str, Value], table_name: str | None) -> None:
        """Adds a deletion to the request, likewise."""
        write = StreamedWrite(delete=DeleteRequest())
        _fill(DeleteRequest, write.delete, "Key", key)
        write.table_name = self._named(table_name)
        self._note(write, _Open(write.table_name, None, key, write.delete.ByteSize()))

    def request(self) -> BatchWriteStreamRequest:
        """What is to be sent next; there must be something."""
        return self._unsent.pop()

    def note(self, response: Any) -> None:
        """Takes note of the outcomes in a response, of all of them before anybody is told of one."""
        self.is_over = self.is_over or response.deadline_spent
        for outcome in response.outcomes:
            write = self._open.pop(outcome.index)
            self._open_bytes -= write.size
            kind = outcome.WhichOneof("result")
            if kind == "done":
                self.done += 1
                continue
            error = None
            if kind == "failure":
                error = failure_of_part(outcome.failure, WRITE_STREAM.name)
            elif not response.deadline_spent:
                error = shutting_down(WRITE_STREAM.name)
            self._fail(outcome.index, write, error, ambiguous=outcome.failure.ambiguous)
        self._tell()

    def check(self, broken: SidecarError | None = None) -> None:
        """Raises `BatchFailed` unless all was done; to be called when the stream has ended, or is `broken`."""
        self._has_stream_ended, self._broken = True, broken or self._broken
        self._unsent.clear()
        # Nothing is added by whoever is told: it would fail, be told of, and so on.
        was_closed, self.is_closed = self.is_closed, True
        self._fail_open(broken)
        self._tell()
        self.is_closed = was_closed
        if self._failed:
            first, kept = self._all_kept()
            raise BatchFailed(
                first, kept, self.done, failed=self._failed, ambiguous=self._is_ambiguous
            ) from self._broken

    def _fail_open(self, broken: SidecarError | None) -> None:
        """Nothing that is open will be told of. It is in no frame of what is raised: that would keep all of it."""
        # What a stream has not told of when the sidecar ends it was not done, unless the error says otherwise.
        is_ambiguous = broken is not None and broken.ambiguous
        lost, self._open, self._open_bytes = self._open, {}, 0
        for index, write in lost.items():
            self._fail(index, write, broken, ambiguous=is_ambiguous)

    def _all_kept(self) -> tuple[SidecarError | None, tuple[FailedWrite, ...]]:
        """The first error, and the first writes that failed. Errors share them as long as no more are kept."""
        if len(self._shared[1]) < len(self._kept):
            kept = tuple(self._kept)
            self._shared = next((one.error for one in kept if one.error is not None), None), kept
        return self._shared

    def _fail(self, index: int, write: _Open, error: SidecarError | None, *, ambiguous: bool) -> None:
        failed = FailedWrite(index, write.table_name, write.item, write.key, error, ambiguous)
        self._failed += 1
        self._is_ambiguous = self._is_ambiguous or ambiguous
        if len(self._kept) < _MOST_KEPT and self._kept_bytes + write.size <= _MOST_KEPT_BYTES:
            insort(self._kept, failed, key=lambda one: one.index)
            self._kept_bytes += write.size
        if self._on_failure is not None:
            self._untold.append(failed)

    def _tell(self) -> None:
        """Tells `on_failure` of what failed, of one write after the other, also when it writes again."""
        self._is_telling = True
        try:
            while self._untold:
                self._tell_of(self._untold.popleft())
        except BaseException:
            self.is_closed = True
            self._untold.clear()
            raise
        finally:
            self._is_telling, self._refusal = False, None

    def _tell_of(self, failed: FailedWrite) -> None:
        assert self._on_failure is not None
        try:
            self._on_failure(failed)
        except RuntimeError as error:
            # It wrote again although the stream has ended: the failure is counted, and `BatchFailed` says more.
            if error is not self._refusal:
                raise

    def check_flush(self) -> None:
        """Raises RuntimeError when nothing can be waited for: in `on_failure`, or because the batch has ended."""
        if self._is_telling:
            raise RuntimeError("flush() in on_failure: outcomes are taken when it has returned")
        self.check_open()

    def check_stream(self) -> None:
        """Raises `BatchFailed` when the stream has ended, unless all was done."""
        if self._has_stream_ended:
            self.check()

    def check_open(self) -> None:
        """Raises RuntimeError when the batch has ended."""
        if self.is_closed:
            raise self._refused()

    def _refused(self) -> RuntimeError:
        """What a write is refused with. It is not in a variable of a frame of its traceback: that would be a cycle."""
        refusal = RuntimeError("the batch has ended: nothing is sent any more")
        if self._is_telling:
            self._refusal = refusal
        return refusal

    def _named(self, table_name: str | None) -> str:
        self.check_open()
        found = table_name or self._table_name
        if not found:
            raise TypeError("TableName: the batch has none, so each write must have one")
        return found

    def _note(self, write: StreamedWrite, open_one: _Open) -> None:
        index, self.count = self.count, self.count + 1
        if self._has_stream_ended:
            # It is never sent: whatever became of those before, it was not done.
            self._fail(index, open_one, self._broken, ambiguous=False)
            self.check()
            return
        self._open[index] = open_one
        self._open_bytes += open_one.size
        self._unsent.add(write, open_one.size)


class ReadProgress:
    """What `batch_get` has asked for, and what it is still to be told of."""

    def __init__(self, table_name: str, how: Mapping[str, object]) -> None:
        self._table_name = table_name
        self._request = BatchGetStreamRequest()
        self._request.options.in_order = True
        if how:
            _fill_how(self._request.options.tables[table_name], how)
        self._open = 0
        self._count = 0

    @property
    def is_full(self) -> bool:
        return self._open >= _MOST_OPEN

    @property
    def is_due(self) -> bool:
        return len(self._request.gets) >= _REQUEST_READS

    @property
    def has_open(self) -> bool:
        return self._open > 0

    def get(self, key: Mapping[str, Value]) -> None:
        """Adds a key to the request; raises TypeError or ValueError naming what is wrong with it."""
        get = self._request.gets.add(table_name=self._table_name)
        try:
            fill_attributes(get.key, _mapping(key))
        except Fault as fault:
            raise fault.at(self._count).at("Keys").error() from fault
        self._open += 1
        self._count += 1

    def request(self) -> BatchGetStreamRequest | None:
        """What is to be sent; None when there is nothing."""
        request, self._request = self._request, BatchGetStreamRequest()
        return request if request.gets else None

    def items(self, response: Any) -> Iterator[dict[str, Any] | None]:
        """The items of a response, None for those that are not there; raises what failed.

        A response that is None ends the stream: what is still open was not attempted.
        """
        if response is None:
            raise out_of_time(GET_STREAM.name)
        for outcome in response.outcomes:
            kind = outcome.WhichOneof("result")
            if kind == "failure":
                raise failure_of_part(outcome.failure, GET_STREAM.name)
            if kind == "not_attempted":
                raise (out_of_time if response.deadline_spent else shutting_down)(GET_STREAM.name)
            self._open -= 1
            yield plain_attributes(outcome.item.attributes) if kind == "item" else None


def _mapping(value: object) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        raise Fault(TypeError, f"must be a mapping, not {type(value).__name__}")
    return value


def _fill(message_class: Any, message: Any, member: str, attributes: Mapping[str, Value]) -> None:
    try:
        converter(message_class.DESCRIPTOR).fill(message, {member: attributes})
    except Fault as fault:
        raise fault.error() from fault


def _fill_how(target: Any, how: Mapping[str, object]) -> None:
    try:
        converter(KeysAndAttributes.DESCRIPTOR).fill(target, how)
    except Fault as fault:
        raise fault.error() from fault
