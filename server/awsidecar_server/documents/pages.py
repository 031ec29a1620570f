"""Queries and scans that are asked and answered in plain JSON, as streams of their pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.protobuf.message import Message

from awsidecar.dynamodb.v1 import page_streams_pb2
from awsidecar_server.bridge.depth import parse
from awsidecar_server.contract import Rpc
from awsidecar_server.documents.messages import Replies, Requests, allows_large_as_text
from awsidecar_server.dynamodb.page_reader import Scoping
from awsidecar_server.dynamodb.page_streams import PageStreams, Responses
from awsidecar_server.errors import InvalidRequest
from awsidecar_server.operations import converted


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of pages in DynamoDB's types."""

    request_class: type[Message]
    response_class: type[Message]
    # The field of the request that holds what AWS's operation is asked.
    asked: str
    open: Callable[[PageStreams, Any, Scoping], Responses]


QUERY = Stream(
    page_streams_pb2.QueryStreamRequest, page_streams_pb2.QueryStreamResponse, "query", PageStreams.query
)
SCAN = Stream(page_streams_pb2.ScanStreamRequest, page_streams_pb2.ScanStreamResponse, "scan", PageStreams.scan)


class DocumentPages:
    """An RPC of DocumentService that gives the pages of an AWS operation."""

    def __init__(self, rpc: Rpc, aws: Rpc, streams: PageStreams, stream: Stream) -> None:
        self._streams = streams
        self._stream = stream
        self._requests = Requests(rpc.request, aws.request)
        self._replies = Replies(rpc.response, aws.response)

    async def pages(self, message: Any, scoping: Scoping, size: int) -> AsyncGenerator[Message, None]:
        """Gives each page until the last. `size` is that of the message, in bytes."""
        large_as_text = allows_large_as_text(message)
        request = await converted(partial(self._request, message), size)
        async with aclosing(self._stream.open(self._streams, request, scoping)) as responses:
            async for response in responses:
                assert isinstance(response, bytes)
                yield await converted(partial(self._reply, response, large_as_text), len(response))

    def _request(self, message: Any) -> Any:
        request: Any = self._stream.request_class()
        self._requests.write(message, getattr(request, self._stream.asked))
        if message.HasField("item_limit"):
            if message.item_limit < 1:
                raise InvalidRequest.of("ItemLimit", f"must be at least 1, and is {message.item_limit}")
            request.item_limit = message.item_limit
        return request

    def _reply(self, response: bytes, large_as_text: bool) -> Message:
        streamed: Any = parse(self._stream.response_class, response)
        return self._replies.of(streamed.page, large_as_text=large_as_text)
