"""What travels between the edge and the handlers of RPCs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from google.protobuf.message import Message

from awsidecar_server.api.metadata import Metadata
from awsidecar_server.aws.progress import Progress


@dataclass(frozen=True, slots=True)
class Request:
    """One call, as handlers see it."""

    message: Message = field(repr=False)
    metadata: Metadata = field(repr=False)
    region: str
    # When the work must be over, on the event loop's clock. None: the caller set no deadline.
    deadline: float | None
    # Of the message as it came, in bytes.
    size: int = 0
    # What was sent by then is told to the caller, however the call ends.
    progress: Progress = field(default_factory=Progress, compare=False)


@dataclass(frozen=True, slots=True)
class Upload:
    """One call whose caller sends a stream of messages. They are read as they are asked for, one at a time."""

    messages: AsyncIterator[Message] = field(repr=False)
    metadata: Metadata = field(repr=False)
    region: str
    # When the work must be over, on the event loop's clock. None: the caller set no deadline.
    deadline: float | None
    # What was sent by then is told to the caller, however the call ends.
    progress: Progress = field(default_factory=Progress, compare=False)
    # Set when the sidecar begins to shut down: to end then what has no end of its own, as soon as that is orderly.
    drain: asyncio.Event = field(default_factory=asyncio.Event, compare=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers, and what the trailers say of it."""

    # A message, or one that is written already.
    message: Message | bytes = field(repr=False)
    tier: str = ""
    request_id: str = ""
    attempts: int = 0
    # Undoes what is of no use to a caller who has not taken the answer.
    untaken: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a handler answers with many messages. The next one is asked for when the caller has taken the last."""

    messages: AsyncGenerator[Message | bytes, None] = field(repr=False)
    tier: str = ""


Handler = Callable[[Request], Awaitable[Reply]]
StreamHandler = Callable[[Request], Awaitable[Streamed]]
ExchangeHandler = Callable[[Upload], Awaitable[Streamed]]


@dataclass(frozen=True, slots=True)
class Streaming:
    """The handler of an RPC of the sidecar's own that answers with a stream.

    An `endless` one has no end of its own: a drain ends it at once, and its caller goes on with another sidecar.
    """

    handler: StreamHandler | ExchangeHandler
    endless: bool = False
