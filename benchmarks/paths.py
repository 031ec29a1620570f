"""The ways from an application to DynamoDB that are compared: each opens a client and makes one operation a call."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from benchmarks.operations import Operation, converted, items_of

REGION = "eu-central-1"
ACCESS_KEY_ID, SECRET_ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
# Nobody is to wait for a connection, on any path.
CONNECTIONS = 256


@dataclass(frozen=True)
class Target:
    """Where a path leads: a gRPC address, or an HTTP endpoint and the certificate to trust there."""

    grpc: str = ""
    endpoint: str = ""
    ca_file: str = ""


class Path(Protocol):
    """One way to call DynamoDB."""

    async def open(self, target: Target, closing: AsyncExitStack) -> None:
        """Makes the client, for the life of the process."""

    def call(self, operation: Operation) -> Callable[[], Awaitable[Any]]:
        """A function that performs the operation once, replies read as an application reads them."""


class EmptyRpc:
    """An RPC with nothing in it, to a server that does nothing."""

    async def open(self, target: Target, closing: AsyncExitStack) -> None:
        from awsidecar.transport import open_aio_channel
        from benchmarks.empty_rpc import METHOD, SERVICE

        channel = await closing.enter_async_context(open_aio_channel(target.grpc))
        self._echo: Any = channel.unary_unary(f"/{SERVICE}/{METHOD}")

    def call(self, operation: Operation) -> Callable[[], Awaitable[Any]]:
        return lambda: self._echo(b"")


class SidecarClient:
    """The sidecar through our Python client: plain values in, plain values out."""

    async def open(self, target: Target, closing: AsyncExitStack) -> None:
        from awsidecar import aio

        self._client = await closing.enter_async_context(aio.connect(target.grpc))

    def call(self, operation: Operation) -> Callable[[], Awaitable[Any]]:
        from awsidecar.operations import DYNAMODB

        method = getattr(self._client.dynamodb, DYNAMODB[operation.action].attribute)
        parameters = operation.build(lambda value: value)
        return lambda: method(**parameters)


class SidecarStubs:
    """The sidecar through the generated stubs: messages in, messages out."""

    async def open(self, target: Target, closing: AsyncExitStack) -> None:
        from awsidecar.dynamodb.v1.dynamodb_service_pb2_grpc import DynamoDbServiceStub
        from awsidecar.transport import open_aio_channel

        self._stub: Any = DynamoDbServiceStub(await closing.enter_async_context(open_aio_channel(target.grpc)))

    def call(self, operation: Operation) -> Callable[[], Awaitable[Any]]:
        from benchmarks.messages import REQUESTS, attribute_value

        method, request_of = getattr(self._stub, operation.action), REQUESTS[operation.action]

        def perform() -> Awaitable[Any]:
            answer: Awaitable[Any] = method(request_of(operation.build(attribute_value)), timeout=30.0)
            return answer

        return perform


class Aioboto3:
    """aioboto3 in the application itself; with values converted, or in DynamoDB's wire form."""

    def __init__(self, *, plain_values: bool) -> None:
        self._plain_values = plain_values

    async def open(self, target: Target, closing: AsyncExitStack) -> None:
        import aioboto3
        from aiobotocore.config import AioConfig

        session = aioboto3.Session(
            aws_access_key_id=ACCESS_KEY_ID, aws_secret_access_key=SECRET_ACCESS_KEY, region_name=REGION
        )
        client = session.client(
            "dynamodb",
            endpoint_url=target.endpoint,
            verify=target.ca_file or None,
            config=AioConfig(max_pool_connections=CONNECTIONS, retries={"mode": "standard"}),
        )
        self._client: Any = await closing.enter_async_context(client)

    def call(self, operation: Operation) -> Callable[[], Awaitable[Any]]:
        from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

        method = getattr(self._client, _snake_case(operation.action))
        serialize, deserialize = TypeSerializer().serialize, TypeDeserializer().deserialize
        prepared = operation.build(serialize)

        async def in_wire_form() -> Any:
            return await method(**prepared)

        async def in_plain_values() -> Any:
            reply = await method(**operation.build(serialize))
            return [converted(item, deserialize) for item in items_of(operation.action, reply)]

        return in_plain_values if self._plain_values else in_wire_form


class Boto3:
    """boto3 in the application itself, a thread for every call in flight, with values converted."""

    async def open(self, target: Target, closing: AsyncExitStack) -> None:
        import boto3
        from botocore.config import Config

        self._client: Any = boto3.client(
            "dynamodb",
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
            region_name=REGION,
            endpoint_url=target.endpoint,
            verify=target.ca_file or None,
            config=Config(max_pool_connections=CONNECTIONS, retries={"mode": "standard"}),
        )
        self._threads = closing.enter_context(ThreadPoolExecutor(CONNECTIONS))

    def call(self, operation: Operation) -> Callable[[], Awaitable[Any]]:
        perform, loop = self.perform(operation), asyncio.get_running_loop()
        return lambda: loop.run_in_executor(self._threads, perform)

    def perform(self, operation: Operation) -> Callable[[], Any]:
        """The operation for a thread."""
        from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

        method = getattr(self._client, _snake_case(operation.action))
        serialize, deserialize = TypeSerializer().serialize, TypeDeserializer().deserialize

        def in_plain_values() -> Any:
            reply = method(**operation.build(serialize))
            return [converted(item, deserialize) for item in items_of(operation.action, reply)]

        return in_plain_values


class Aiodynamo:
    """aiodynamo on aiohttp, which converts values by itself."""

    async def open(self, target: Target, closing: AsyncExitStack) -> None:
        import aiohttp
        from aiodynamo.client import Client
        from aiodynamo.credentials import Key, StaticCredentials
        from aiodynamo.http.aiohttp import AIOHTTP
        from yarl import URL

        trust = ssl.create_default_context(cafile=target.ca_file) if target.ca_file else True
        connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=trust)
        session = await closing.enter_async_context(aiohttp.ClientSession(connector=connector))
        self._client: Any = Client(
            AIOHTTP(session),
            StaticCredentials(Key(ACCESS_KEY_ID, SECRET_ACCESS_KEY)),
            REGION,
            URL(target.endpoint),
            # Exact numbers, as on every other path.
            numeric_type=Decimal,
        )

    def call(self, operation: Operation) -> Callable[[], Awaitable[Any]]:
        from aiodynamo.expressions import HashKey
        from aiodynamo.models import BatchGetRequest, BatchWriteRequest

        client, request = self._client, operation.build(lambda value: value)
        table = request.get("TableName") or next(iter(request["RequestItems"]))
        if operation.action == "GetItem":
            return lambda: client.get_item(table, request["Key"])
        if operation.action == "PutItem":
            return lambda: client.put_item(table, request["Item"])
        if operation.action == "Query":
            value = request["ExpressionAttributeValues"][":pk"]
            return lambda: client.query_single_page(table, HashKey("pk", value))
        if operation.action == "BatchGetItem":
            keys = request["RequestItems"][table]["Keys"]
            return lambda: client.batch_get({table: BatchGetRequest(keys)})
        items = [put["PutRequest"]["Item"] for put in request["RequestItems"][table]]
        return lambda: client.batch_write({table: BatchWriteRequest(items_to_put=items)})


def _snake_case(action: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in action).lstrip("_")


# By the names of the report.
PATHS: dict[str, Callable[[], Path]] = {
    "empty RPC": EmptyRpc,
    "empty RPC, ours": EmptyRpc,
    "sidecar": SidecarClient,
    "sidecar, stubs": SidecarStubs,
    "sidecar on aioboto3": SidecarClient,
    "sidecar on aioboto3, stubs": SidecarStubs,
    "aioboto3": lambda: Aioboto3(plain_values=True),
    "aioboto3, wire form": lambda: Aioboto3(plain_values=False),
    "boto3": Boto3,
    "aiodynamo": Aiodynamo,
}
