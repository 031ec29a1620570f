"""The client for asyncio: the same names as in `awsidecar`, to be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from weakref import WeakKeyDictionary

from grpc import aio

from awsidecar.calls import AioCalls
from awsidecar.credentials.v1 import credentials_pb2, credentials_pb2_grpc
from awsidecar.dynamodb.v1 import dynamodb_service_pb2_grpc, streams_service_pb2_grpc
from awsidecar.exceptions import SidecarError
from awsidecar.exchanges import seen
from awsidecar.identity import (
    AwsCredentials,
    Caller,
    Validity,
    caller_of,
    credentials_of,
    open_request,
    validity_of,
)
from awsidecar.operations import CREDENTIALS
from awsidecar.services import AioDynamoDb, AioDynamoDbStreams
from awsidecar.settings import CLOSING_SECONDS, DEFAULT_TIMEOUT_SECONDS, Metadata, Settings, settings_of
from awsidecar.transport import open_aio_channel, target_of

if TYPE_CHECKING:
    # These classes exist for type checkers only; at run time a stub is the same class for threads and asyncio.
    from awsidecar.credentials.v1.credentials_pb2_grpc import CredentialsServiceAsyncStub
    from awsidecar.dynamodb.v1.dynamodb_service_pb2_grpc import DynamoDbServiceAsyncStub
    from awsidecar.dynamodb.v1.streams_service_pb2_grpc import DynamoDbStreamsServiceAsyncStub

# By channel, sessions that are being closed. The event loop itself holds its tasks by weak references only.
_CLOSING: WeakKeyDictionary[aio.Channel, set[asyncio.Task[None]]] = WeakKeyDictionary()


def connect(
    target: str | None = None,
    *,
    session: str | None = None,
    token: str | None = None,
    region: str | None = None,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> Client:
    """Returns a client as `awsidecar.connect` does, for the running event loop."""
    settings = settings_of(session=session, token=token, region=region, timeout=timeout)
    address = target_of(target)
    return Client(address, open_aio_channel(address), settings)


@dataclass(frozen=True, slots=True)
class Stubs:
    """The generated stubs on the client's channel, for what the client does not offer."""

    dynamodb: DynamoDbServiceAsyncStub
    streams: DynamoDbStreamsServiceAsyncStub
    credentials: CredentialsServiceAsyncStub


class Credentials:
    """What the sidecar knows of the caller's credentials."""

    def __init__(self, calls: AioCalls) -> None:
        self._calls = calls

    async def who_am_i(self, *, timeout: float | None = None) -> Caller:
        """Tells how the sidecar sees the caller. AWS is not asked."""
        request = credentials_pb2.WhoAmIRequest()
        return caller_of((await self._calls.invoke(CREDENTIALS["WhoAmI"], request, timeout))[0])

    async def validate_credentials(self, *, timeout: float | None = None) -> Validity:
        """Asks AWS whether the credentials are good. Bad ones are an answer, not an exception."""
        request = credentials_pb2.ValidateCredentialsRequest()
        return validity_of((await self._calls.invoke(CREDENTIALS["ValidateCredentials"], request, timeout))[0])

    async def get_credentials(self, *, timeout: float | None = None) -> AwsCredentials:
        """Returns the AWS credentials that sign the calls, where the sidecar's configuration allows it."""
        request = credentials_pb2.GetCredentialsRequest()
        return credentials_of((await self._calls.invoke(CREDENTIALS["GetCredentials"], request, timeout))[0])


class Client:
    """A client of one sidecar, for one event loop. Closing it closes its connection."""

    def __init__(self, target: str, channel: aio.Channel, settings: Settings, *, owns_channel: bool = True) -> None:
        self.target = target
        self._channel = channel
        self._calls = AioCalls(channel, settings)
        self._owns_channel = owns_channel
        self.dynamodb = AioDynamoDb(self._calls)
        self.streams = AioDynamoDbStreams(self._calls)
        self.credentials = Credentials(self._calls)

    @cached_property
    def stubs(self) -> Stubs:
        """The generated stubs. Their calls need `metadata=client.metadata` and a timeout of their own."""
        channel = cast(Any, self._channel)
        return Stubs(
            dynamodb=cast(Any, dynamodb_service_pb2_grpc.DynamoDbServiceStub(channel)),
            streams=cast(Any, streams_service_pb2_grpc.DynamoDbStreamsServiceStub(channel)),
            credentials=cast(Any, credentials_pb2_grpc.CredentialsServiceStub(channel)),
        )

    @property
    def metadata(self) -> Metadata:
        """What each call of this client carries. It holds the session's secret."""
        return self._calls.settings.metadata

    def with_token(self, id_token: str) -> Client:
        """Returns a client for the holder of an ID token, on the same connection."""
        settings = self._calls.settings.with_token(id_token)
        return Client(self.target, self._channel, settings, owns_channel=False)

    def with_conflict_attempts(self, attempts: int = 10) -> Client:
        """Returns a client, on the same connection, that has conflicts with other transactions tried again.

        The sidecar tries `attempts` times in all (1 to 100), pausing longer each time, up to a second; never when a
        condition failed. The time limit bounds it all.
        """
        settings = self._calls.settings.with_conflict_attempts(attempts)
        return Client(self.target, self._channel, settings, owns_channel=False)

    def open_session(
        self,
        *,
        id_token: str | None = None,
        aws_credentials: AwsCredentials | None = None,
        timeout: float | None = None,
    ) -> SessionOpening:
        """Opens a session: `async with client.open_session(...) as session_client`, or `await` it and close it."""
        request = open_request(id_token=id_token, aws_credentials=aws_credentials)
        return SessionOpening(self.target, self._channel, self._calls.settings, request, timeout)

    async def close(self) -> None:
        """Closes the connection, if it is this client's own, and ends its calls.

        Sessions that are being closed get 5 seconds for it; the sidecar keeps those that take longer until they end.
        """
        if not self._owns_channel:
            return
        try:
            if closing := _CLOSING.get(self._channel):
                await asyncio.wait(closing, timeout=CLOSING_SECONDS)
        finally:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.target}, as {self._calls.settings.identity}>"


class SessionClient(Client):
    """A client of an open session."""

    async def close(self) -> None:
        """Ends the session; the connection stays with the client that opened it."""
        await self._end(None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Shielded, so that a cancellation does not leave the session open.
        if error is None:
            await asyncio.shield(_kept(self._channel, self.close()))
            return
        # The error on its way out says more than a session that could not be closed, and that ends by itself.
        with suppress(SidecarError):
            await asyncio.shield(_kept(self._channel, self._end(CLOSING_SECONDS)))

    async def _end(self, timeout: float | None) -> None:
        await self._calls.invoke(CREDENTIALS["CloseSession"], credentials_pb2.CloseSessionRequest(), timeout)


class SessionOpening:
    """A session about to be opened; see `Client.open_session`."""

    def __init__(
        self,
        target: str,
        channel: aio.Channel,
        settings: Settings,
        request: credentials_pb2.OpenSessionRequest,
        timeout: float | None,
    ) -> None:
        self._target = target
        self._channel = channel
        self._anonymous = settings.without_identity()
        self._request = request
        self._timeout = timeout
        self._client: SessionClient | None = None

    def __await__(self) -> Generator[Any, Any, SessionClient]:
        return self._open().__await__()

    async def __aenter__(self) -> SessionClient:
        self._client = await self._open()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._client is not None
        await self._client.__aexit__(kind, error, traceback)

    async def _open(self) -> SessionClient:
        # Shielded: an answer that is here already would be lost, and nobody could close the session.
        opening = asyncio.ensure_future(self._opened())
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if not opening.cancelled():
                _kept(self._channel, _close_when_open(opening))
            raise

    async def _opened(self) -> SessionClient:
        calls = AioCalls(self._channel, self._anonymous)
        opened, _ = await calls.invoke(CREDENTIALS["OpenSession"], self._request, self._timeout)
        settings = self._anonymous.with_session(opened.session)
        return SessionClient(self._target, self._channel, settings, owns_channel=False)


def _kept(channel: aio.Channel, closing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begins to close a session, for which the client that owns the channel waits."""
    task = asyncio.ensure_future(closing)
    others = _CLOSING.setdefault(channel, set())
    others.add(task)
    task.add_done_callback(others.discard)
    task.add_done_callback(seen)
    return task


async def _close_when_open(opening: asyncio.Future[SessionClient]) -> None:
    """Closes a session that nobody waits for any more; gives it up when its opening takes long."""
    with suppress(SidecarError, TimeoutError):
        client = await asyncio.wait_for(opening, CLOSING_SECONDS)
        await client._end(CLOSING_SECONDS)
