"""A sidecar in this process on the stubbed AWS, and how its refusals are read."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from awsidecar.credentials.v1 import credentials_pb2
from awsidecar.credentials.v1.credentials_pb2_grpc import CredentialsServiceStub
from awsidecar.dynamodb.v1.dynamodb_service_pb2_grpc import DynamoDbServiceStub
from awsidecar_server.app import App
from awsidecar_server.config import Config
from awsidecar_server.identity.clock import Clock, utc_now

if TYPE_CHECKING:  # stubs of an asyncio channel are a type of their own, for type checkers only
    from awsidecar.credentials.v1.credentials_pb2_grpc import CredentialsServiceAsyncStub
    from awsidecar.dynamodb.v1.dynamodb_service_pb2_grpc import DynamoDbServiceAsyncStub

MessageT = TypeVar("MessageT", bound=Message)

REGION = "eu-central-1"
# The service account.
POD_KEY = "AKIAPODPODPODPODPOD1"
POD_SECRET = "pod-secret-access-key"
# For a call that its deadline is to cut: by then, a busy machine has its request with AWS, too.
CUT_AFTER_SECONDS = 2.0
# The way to DynamoDB that the tests take: `make suite LANE=sdk` has them take the other one.
LANE = os.environ.get("AWSIDECAR_AWS_LANE") or "json"
_MIB = 1024 * 1024
# From 8 KiB on, gRPC drops what comes to a client at random, and all of it from twice as much on. What a proxy on the
# way adds needs room, too.
METADATA_LIMIT = 8 * 1024 - 512
# What a client must say that sends and takes messages as large as the sidecar does.
LARGE = [("grpc.max_send_message_length", 64 * _MIB), ("grpc.max_receive_message_length", 64 * _MIB)]


def settings_for(aws_url: str, **changes: str) -> dict[str, str]:
    """The environment of a sidecar on the given AWS; a change is named by its variable."""
    return {
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_ACCESS_KEY_ID": POD_KEY,
        "AWS_SECRET_ACCESS_KEY": POD_SECRET,
        "AWSIDECAR_LISTEN_PORT": "0",
        "AWSIDECAR_ADMIN_PORT": "0",
        "AWSIDECAR_AWS_LANE": LANE,
        "AWSIDECAR_AWS_MAX_ATTEMPTS": "1",
        "AWSIDECAR_SHUTDOWN_GRACE_SECONDS": "5",
        **changes,
    }


@dataclass(frozen=True)
class Client:
    """The generated stubs on one connection."""

    channel: grpc.aio.Channel = field(repr=False)

    @property
    def dynamodb(self) -> DynamoDbServiceAsyncStub:
        return DynamoDbServiceStub(self.channel)

    @property
    def credentials(self) -> CredentialsServiceAsyncStub:
        return CredentialsServiceStub(self.channel)

    def method(self, path: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
        """A method that takes and gives bytes, whatever they are."""
        return self.channel.unary_unary(path)

    async def open_session(self, key_id: str, secret: str = "a-secret", token: str = "") -> str:
        """Opens a session with AWS credentials; gives its handle."""
        given = credentials_pb2.AwsCredentials(access_key_id=key_id, secret_access_key=secret, session_token=token)
        request = credentials_pb2.OpenSessionRequest(aws_credentials=given)
        return (await self.credentials.OpenSession(request)).session


@dataclass(frozen=True)
class Sidecar(Client):
    """A running sidecar, with a client of it."""

    app: App = field(repr=False)

    @property
    def target(self) -> str:
        return self.app.server.addresses[0]


@asynccontextmanager
async def connected(target: str, options: list[tuple[str, Any]] | None = None) -> AsyncIterator[Client]:
    """A client with a connection of its own."""
    alone = ("grpc.use_local_subchannel_pool", 1)
    async with grpc.aio.insecure_channel(
        target, options=[*(LARGE if options is None else options), alone]
    ) as channel:
        yield Client(channel)


@asynccontextmanager
async def running(environment: Mapping[str, str], *, clock: Clock = utc_now) -> AsyncIterator[Sidecar]:
    """Serves while it is entered."""
    async with (
        App(Config.load(environment), environment, clock=clock) as app,
        connected(app.server.addresses[0]) as client,
    ):
        yield Sidecar(client.channel, app)


@dataclass(frozen=True)
class Refusal:
    """A failed call, as its caller sees it."""

    code: grpc.StatusCode
    message: str
    status: status_pb2.Status = field(repr=False)
    trailers: Mapping[str, Any] = field(repr=False)

    @property
    def info(self) -> error_details_pb2.ErrorInfo:
        """The one ErrorInfo."""
        found = self.details(error_details_pb2.ErrorInfo)
        assert len(found) == 1, found
        return found[0]

    @property
    def metadata_bytes(self) -> int:
        """What gRPC counts against a client's limit: each entry on the wire, and 32 bytes more (RFC 9113, 10.5.1)."""
        message = quote(self.message, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}")
        entries = {**self.trailers, "grpc-message": message, "grpc-status": "0", "content-type": "application/grpc"}
        lengths = (len(value) * 4 / 3 if isinstance(value, bytes) else len(value) for value in entries.values())
        return round(sum(lengths)) + sum(len(name) + 32 for name in entries)

    @property
    def reason(self) -> str:
        return str(self.info.reason)

    @property
    def metadata(self) -> dict[str, str]:
        return dict(self.info.metadata)

    def detail(self, kind: type[MessageT]) -> MessageT:
        """The one detail of this kind."""
        (found,) = self.details(kind)
        return found

    def details(self, kind: type[MessageT]) -> list[MessageT]:
        found: list[MessageT] = []
        for packed in self.status.details:
            if packed.Is(kind.DESCRIPTOR):
                message = kind()
                packed.Unpack(message)
                found.append(message)
        return found


def read_refusal(failure: grpc.aio.AioRpcError) -> Refusal:
    """Reads a failure; the status in its details must say what the call's own status says."""
    trailers = dict(failure.trailing_metadata())
    status = status_pb2.Status()
    raw = trailers.get("grpc-status-details-bin")
    if raw is not None:
        status.ParseFromString(raw)
        assert status.code == failure.code().value[0]
        assert status.message == failure.details()
    return Refusal(failure.code(), failure.details() or "", status, trailers)


async def refusal_of(call: Awaitable[Any]) -> Refusal:
    """The refusal of a call that must fail."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as failure:
        return read_refusal(failure)
    raise AssertionError(f"was not refused: {str(answer)[:200]}")


async def refusal_at_deadline(ask: Callable[[], Awaitable[Any]]) -> Refusal:
    """What the sidecar says of a call that its deadline cuts: asked again while the client ends the call first."""
    refusal = await refusal_of(ask())
    while not refusal.status.details:
        refusal = await refusal_of(ask())
    return refusal
