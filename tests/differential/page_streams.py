"""Streams of pages beside what botocore reads page by page, of the same request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.differential.comparison import NO_SELECT, OWN_MEMBER, Comparison, comparable, unordered_sets
from tests.differential.other_orders import OtherOrders
from tests.differential.outcomes import Compared
from tests.differential.paths import RPCS, STREAMS, Pages, Ways
from tests.differential.requests import Request

from awsidecar_server.bridge import codec_of

# AWS's operation behind a stream, and the member of the stream's request that holds what it is asked.
OPERATIONS = {
    "QueryStream": ("Query", "query"),
    "ScanStream": ("Scan", "scan"),
    "ExecuteStatementStream": ("ExecuteStatement", "statement"),
}
_MOST_SEGMENTS = 1_000_000


class _Part(NamedTuple):
    """A segment, or all: what botocore reads of it, and where the stream begins."""

    asked: Request
    pages: list[Any]
    start: Any = None
    is_finished: bool = False


class PageStreams:
    """Compares streams of pages: `asked` of AWS, and `item_limit`, `segments`, `resumed_after` of the stream.

    `resumed_after` has for each segment how many of its pages the stream leaves out, since it goes on after them.
    """

    def __init__(self, ways: Ways, comparison: Comparison, orders: OtherOrders) -> None:
        self._ways = ways
        self._comparison = comparison
        self._orders = orders

    def compare(self, request: Request) -> Compared:
        fault = own_fault(request)
        if fault is not None:
            streamed = self._ways.sidecar.stream(STREAMS[request.operation], [_message(request, [])])
            is_same = self._comparison.is_own_refusal(*fault, streamed.refusal) and not streamed.responses
            return Compared(is_same, fault, streamed, streamed.refusal)
        operation, _ = OPERATIONS[request.operation]
        read = [self._ways.direct.pages(part) for part in _parts(request, operation)]
        parts = _begun(request, operation, read)
        rpc = STREAMS[request.operation]
        streamed = self._ways.sidecar.stream(rpc, [_message(request, parts)])
        told: dict[int, list[Any]] = defaultdict(list)
        codec = codec_of(RPCS[operation].response)
        for response in streamed.responses:
            told[getattr(response, "segment", 0)].append(codec.decode(response.page))
        refusals = [one.refusal for one in read if one.refusal is not None]
        direct, sidecar = (
            Pages([part.pages for part in parts], refusals[0] if refusals else None),
            Pages([told[segment] for segment in range(len(parts))], streamed.refusal),
        )
        is_same = len(told) == len(parts) and self._is_same(request, parts, refusals, sidecar)
        return Compared(is_same, direct, sidecar, direct.refusal, sum(map(len, sidecar.pages)))

    def _is_same(self, request: Request, parts: Sequence[_Part], refusals: list[Any], sidecar: Pages) -> bool:
        reply = RPCS[parts[0].asked.operation].response
        if (sidecar.refusal is not None) != bool(refusals):
            return False
        limit = request.parameters.get("item_limit")
        if refusals:
            return self._is_refused_alike(parts, refusals, sidecar)
        if limit is None:
            return all(
                [comparable(reply, page) for page in part.pages] == [comparable(reply, page) for page in told]
                for part, told in zip(parts, sidecar.pages, strict=True)
            )
        return self._is_within(limit, parts, sidecar.pages)

    def _is_refused_alike(self, parts: Sequence[_Part], refusals: list[Any], sidecar: Pages) -> bool:
        """In the same words, and after pages that were read: all of them, where there is one sequence only."""
        reply = RPCS[parts[0].asked.operation].response
        for part, told in zip(parts, sidecar.pages, strict=True):
            known = [comparable(reply, page) for page in part.pages]
            if len(parts) == 1 and len(told) != len(known):
                return False
            if [comparable(reply, page) for page in told] != known[: len(told)]:
                return False
        assert sidecar.refusal is not None
        return any(self._comparison.refusals_agree(one, sidecar.refusal) for one in refusals) or any(
            self._orders.agree(part.asked, one, sidecar.refusal) for part, one in zip(parts, refusals, strict=False)
        )

    def _is_within(self, limit: int, parts: Sequence[_Part], told: list[list[Any]]) -> bool:
        """As many items as are wanted and there; where each sequence ended, the rest follows."""
        wanted = min(limit, sum(_count(part.pages) for part in parts))
        if sum(map(_count, told)) != wanted:
            return False
        return all(self._rest_follows(part, pages) for part, pages in zip(parts, told, strict=True))

    def _rest_follows(self, part: _Part, told: list[Any]) -> bool:
        items, known = _items(told), _items(part.pages)
        if items != known[: len(items)]:
            return False
        if not told:
            return True  # the limit was reached before this segment began, or it is a finished one
        end = told[-1].get("LastEvaluatedKey") or told[-1].get("NextToken")
        left = Pages([])
        if end:
            left = self._ways.behind_sidecar.pages(_from(part.asked, end))
        return (
            left.refusal is None
            and _items(left.pages) == known[len(items) :]
            and _count(told) + _count(left.pages) == _count(part.pages)
        )


def own_fault(request: Request) -> tuple[str, str] | None:
    """The rule by which the sidecar refuses a stream itself, and what it names; in the order in which it looks."""
    parameters, asked = request.parameters, request.parameters["asked"]
    if parameters.get("item_limit", 1) < 1:
        return OWN_MEMBER, "item_limit"
    if request.operation == "ExecuteStatementStream":
        words = asked["Statement"].split(maxsplit=1)
        if words and (len(words) == 1 or words[0].upper() != "SELECT"):
            return NO_SELECT, "statement.Statement"
    segments = parameters.get("segments")
    if segments is None:
        return None
    if not 1 <= segments <= _MOST_SEGMENTS:
        return OWN_MEMBER, "segments"
    for name in ("Segment", "TotalSegments", "ExclusiveStartKey"):
        if name in asked:
            return OWN_MEMBER, f"scan.{name}"
    return None


def _parts(request: Request, operation: str) -> list[Request]:
    asked, segments = request.parameters["asked"], request.parameters.get("segments")
    if segments is None:
        return [Request(operation, asked)]
    return [
        Request(operation, {**asked, "TotalSegments": segments, "Segment": segment}) for segment in range(segments)
    ]


def _begun(request: Request, operation: str, read: Sequence[Pages]) -> list[_Part]:
    """The parts without the pages that the stream leaves out."""
    parts = []
    skipped = request.parameters.get("resumed_after", [0] * len(read))
    for asked, found, many in zip(_parts(request, operation), read, skipped, strict=True):
        if not many or found.refusal is not None:
            parts.append(_Part(asked, found.pages))
        elif many >= len(found.pages):
            parts.append(_Part(asked, [], is_finished=True))
        else:
            parts.append(_Part(asked, found.pages[many:], found.pages[many - 1]["LastEvaluatedKey"]))
    return parts


def _message(request: Request, parts: Sequence[_Part]) -> Any:
    operation, field = OPERATIONS[request.operation]
    message: Any = codec_of(STREAMS[request.operation].request).message_class()
    getattr(message, field).CopyFrom(codec_of(RPCS[operation].request).encode(request.parameters["asked"]))
    for name in ("item_limit", "segments"):
        if name in request.parameters:
            setattr(message, name, request.parameters[name])
    for segment, part in enumerate(parts):
        if part.start is not None or part.is_finished:
            position = message.positions.add(segment=segment, finished=part.is_finished)
            key: Any = codec_of(RPCS[operation].request).encode({"ExclusiveStartKey": part.start or {}})
            for name, value in key.exclusive_start_key.items():
                position.exclusive_start_key[name].CopyFrom(value)
    return message


def _from(asked: Request, end: Any) -> Request:
    member = "NextToken" if isinstance(end, str) else "ExclusiveStartKey"
    return asked._replace(parameters={**asked.parameters, member: end})


def _items(pages: Sequence[Any]) -> list[Any]:
    return [unordered_sets(item) for page in pages for item in page.get("Items", ())]


def _count(pages: Sequence[Any]) -> int:
    return sum(page["Count"] if "Count" in page else len(page.get("Items", ())) for page in pages)
