"""The client for threads."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Self

import grpc

from awsidecar.calls import Calls
from awsidecar.credentials.v1 import credentials_pb2, credentials_pb2_grpc
from awsidecar.dynamodb.v1 import dynamodb_service_pb2_grpc, streams_service_pb2_grpc
from awsidecar.exceptions import SidecarError
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
from awsidecar.services import DynamoDb, DynamoDbStreams
from awsidecar.settings import CLOSING_SECONDS, DEFAULT_TIMEOUT_SECONDS, Metadata, Settings, settings_of
from awsidecar.transport import open_channel, target_of


def connect(
    target: str | None = None,
    *,
    session: str | None = None,
    token: str | None = None,
    region: str | None = None,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> Client:
    """Returns a client of the sidecar at `target`, else at `AWSIDECAR_TARGET`, else at 127.0.0.1:50051.

    `session` (a handle) or `token` (a Cognito ID token) states whose calls they are; without either they are signed
    as the sidecar's service account. `timeout` is the time limit of a call, in seconds.
    """
    settings = settings_of(session=session, token=token, region=region, timeout=timeout)
    address = target_of(target)
    return Client(address, open_channel(address), settings)


@dataclass(frozen=True, slots=True)
class Stubs:
    """The generated stubs on the client's channel, for what the client does not offer."""

    dynamodb: dynamodb_service_pb2_grpc.DynamoDbServiceStub
    streams: streams_service_pb2_grpc.DynamoDbStreamsServiceStub
    credentials: credentials_pb2_grpc.CredentialsServiceStub


class Credentials:
    """What the sidecar knows of the caller's credentials."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def who_am_i(self, *, timeout: float | None = None) -> Caller:
        """Tells how the sidecar sees the caller. AWS is not asked."""
        request = credentials_pb2.WhoAmIRequest()
        return caller_of(self._calls.invoke(CREDENTIALS["WhoAmI"], request, timeout)[0])

    def validate_credentials(self, *, timeout: float | None = None) -> Validity:
        """Asks AWS whether the credentials are good. Bad ones are an answer, not an exception."""
        request = credentials_pb2.ValidateCredentialsRequest()
        return validity_of(self._calls.invoke(CREDENTIALS["ValidateCredentials"], request, timeout)[0])

    def get_credentials(self, *, timeout: float | None = None) -> AwsCredentials:
        """Returns the AWS credentials that sign the calls, where the sidecar's configuration allows it."""
        request = credentials_pb2.GetCredentialsRequest()
        return credentials_of(self._calls.invoke(CREDENTIALS["GetCredentials"], request, timeout)[0])


class Client:
    """A client of one sidecar, for any number of threads. Closing it closes its connection."""

    def __init__(
        self, target: str, channel: grpc.Channel, settings: Settings, *, owns_channel: bool = True
    ) -> None:
        self.target = target
        self._channel = channel
        self._calls = Calls(channel, settings)
        self._owns_channel = owns_channel
        self.dynamodb = DynamoDb(self._calls)
        self.streams = DynamoDbStreams(self._calls)
        self.credentials = Credentials(self._calls)

    @cached_property
    def stubs(self) -> Stubs:
        """The generated stubs. Their calls need `metadata=client.metadata` and a timeout of their own."""
        return Stubs(
            dynamodb=dynamodb_service_pb2_grpc.DynamoDbServiceStub(self._channel),
            streams=streams_service_pb2_grpc.DynamoDbStreamsServiceStub(self._channel),
            credentials=credentials_pb2_grpc.CredentialsServiceStub(self._channel),
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
    ) -> SessionClient:
        """Opens a session and returns a client of it, on the same connection. Closing that one ends the session."""
        request = open_request(id_token=id_token, aws_credentials=aws_credentials)
        anonymous = self._calls.settings.without_identity()
        opened, _ = Calls(self._channel, anonymous).invoke(CREDENTIALS["OpenSession"], request, timeout)
        return SessionClient(self.target, self._channel, anonymous.with_session(opened.session), owns_channel=False)

    def close(self) -> None:
        """Closes the connection, if it is this client's own, and ends its calls."""
        if self._owns_channel:
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.target}, as {self._calls.settings.identity}>"


class SessionClient(Client):
    """A client of an open session."""

    def close(self) -> None:
        """Ends the session; the connection stays with the client that opened it."""
        self._end(None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        # The error on its way out says more than a session that could not be closed, and that ends by itself.
        with suppress(SidecarError):
            self._end(CLOSING_SECONDS)

    def _end(self, timeout: float | None) -> None:
        self._calls.invoke(CREDENTIALS["CloseSession"], credentials_pb2.CloseSessionRequest(), timeout)
