"""Calls on a channel, for threads and for asyncio: metadata and time limit out, trailers and exceptions in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc import aio

from awsidecar.exceptions import SidecarError
from awsidecar.failures import beginning, failure_of, waiting
from awsidecar.operations import Method, Operation
from awsidecar.repeats import TOKEN_SECONDS, Repeats
from awsidecar.settings import Settings, checked_timeout


class Calls:
    """Makes calls for threads."""

    def __init__(self, channel: grpc.Channel, settings: Settings) -> None:
        self.channel = channel
        self.settings = settings
        self._callables: dict[str, grpc.UnaryUnaryMultiCallable[Any, Any]] = {}

    def invoke(self, method: Method, request: Message, timeout: float | None) -> tuple[Any, dict[str, Any]]:
        """Returns the response, and the facts in its trailers."""
        callable_ = self._callables.get(method.path)
        if callable_ is None:
            callable_ = self._callables[method.path] = self.channel.unary_unary(
                method.path,
                request_serializer=method.request_class.SerializeToString,
                response_deserializer=method.response_class.FromString,
            )
        limit = _limit(timeout, self.settings)
        try:
            with beginning(method.name):
                response, call = callable_.with_call(request, timeout=limit, metadata=self.settings.metadata)
        except grpc.RpcError as error:
            raise failure_of(error, method.name) from error
        return response, facts_of(call.trailing_metadata())

    def stream(self, method: Method, request: Message, timeout: float | None) -> Generator[Any, None, None]:
        """Yields the responses of a stream; closing it ends the call."""
        callable_ = self.channel.unary_stream(
            method.path,
            request_serializer=method.request_class.SerializeToString,
            response_deserializer=method.response_class.FromString,
        )
        limit = _limit(timeout, self.settings)
        with beginning(method.name):
            call = callable_(request, timeout=limit, metadata=self.settings.metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise failure_of(error, method.name) from error
        finally:
            call.cancel()

    def perform(self, operation: Operation, parameters: Mapping[str, object], timeout: float | None) -> Any:
        """Performs an AWS operation."""
        request = operation.encode(parameters)
        if operation.token_member is None:
            return operation.decode(*self.invoke(operation.method, request, timeout))
        # The token makes it the same call, however often it is sent: also by way of the sidecar's successor.
        repeats = Repeats(_limit(timeout, self.settings), within_seconds=TOKEN_SECONDS)
        while True:
            try:
                return operation.decode(*self.invoke(operation.method, request, repeats.seconds_left()))
            except SidecarError as error:
                pause = repeats.pause_after_write(error)
                if pause is None:
                    raise
            time.sleep(pause)

    def pages(self, operation: Operation, parameters: Mapping[str, object], timeout: float | None) -> Iterator[Any]:
        """Yields page after page; each is one call with its own time limit."""
        assert operation.paging is not None
        following: Mapping[str, object] | None = parameters
        while following is not None:
            page = self.perform(operation, following, timeout)
            yield page
            following = operation.paging.following(following, page)

    def items(
        self, operation: Operation, parameters: Mapping[str, object], limit: int | None, timeout: float | None
    ) -> Iterator[Any]:
        """Yields the items of all pages, up to `limit` of them."""
        assert operation.paging is not None
        remaining = _checked_limit(limit)
        if remaining == 0:
            return
        for page in self.pages(operation, parameters, timeout):
            for item in operation.paging.items_of(page):
                yield item
                remaining -= 1
                if remaining == 0:
                    return


class AioCalls:
    """Makes calls for asyncio. A cancelled caller cancels its call, and with it the work in the sidecar."""

    def __init__(self, channel: aio.Channel, settings: Settings) -> None:
        self.channel = channel
        self.settings = settings
        self._callables: dict[str, aio.UnaryUnaryMultiCallable[Any, Any]] = {}

    async def invoke(self, method: Method, request: Message, timeout: float | None) -> tuple[Any, dict[str, Any]]:
        """Returns the response, and the facts in its trailers."""
        callable_ = self._callables.get(method.path)
        if callable_ is None:
            callable_ = self._callables[method.path] = self.channel.unary_unary(
                method.path,
                request_serializer=method.request_class.SerializeToString,
                response_deserializer=method.response_class.FromString,
            )
        limit = _limit(timeout, self.settings)
        with beginning(method.name):
            call = callable_(request, timeout=limit, metadata=self.settings.metadata)
        with waiting(method.name):
            response = await call
        return response, facts_of(await call.trailing_metadata())

    async def stream(self, method: Method, request: Message, timeout: float | None) -> AsyncGenerator[Any, None]:
        """Yields the responses of a stream; closing it ends the call."""
        callable_ = self.channel.unary_stream(
            method.path,
            request_serializer=method.request_class.SerializeToString,
            response_deserializer=method.response_class.FromString,
        )
        limit = _limit(timeout, self.settings)
        with beginning(method.name):
            call = callable_(request, timeout=limit, metadata=self.settings.metadata)
        try:
            with waiting(method.name):
                async for response in call:
                    yield response
        finally:
            call.cancel()

    async def perform(self, operation: Operation, parameters: Mapping[str, object], timeout: float | None) -> Any:
        """Performs an AWS operation."""
        request = operation.encode(parameters)
        if operation.token_member is None:
            return operation.decode(*await self.invoke(operation.method, request, timeout))
        # The token makes it the same call, however often it is sent: also by way of the sidecar's successor.
        repeats = Repeats(_limit(timeout, self.settings), within_seconds=TOKEN_SECONDS)
        while True:
            try:
                return operation.decode(*await self.invoke(operation.method, request, repeats.seconds_left()))
            except SidecarError as error:
                pause = repeats.pause_after_write(error)
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def pages(
        self, operation: Operation, parameters: Mapping[str, object], timeout: float | None
    ) -> AsyncGenerator[Any, None]:
        """Yields page after page; each is one call with its own time limit."""
        assert operation.paging is not None
        following: Mapping[str, object] | None = parameters
        while following is not None:
            page = await self.perform(operation, following, timeout)
            yield page
            following = operation.paging.following(following, page)

    async def items(
        self, operation: Operation, parameters: Mapping[str, object], limit: int | None, timeout: float | None
    ) -> AsyncGenerator[Any, None]:
        """Yields the items of all pages, up to `limit` of them."""
        assert operation.paging is not None
        remaining = _checked_limit(limit)
        if remaining == 0:
            return
        async with aclosing(self.pages(operation, parameters, timeout)) as pages:
            async for page in pages:
                for item in operation.paging.items_of(page):
                    yield item
                    remaining -= 1
                    if remaining == 0:
                        return


def facts_of(trailers: Iterable[tuple[str, Any]] | None) -> dict[str, Any]:
    """Returns what the sidecar says of a call as `ResponseMetadata`; what it does not say is absent."""
    said = dict(trailers or ())
    facts: dict[str, Any] = {}
    if "x-amzn-requestid" in said:
        facts["RequestId"] = said["x-amzn-requestid"]
    if "x-awsidecar-tier" in said:
        facts["Tier"] = said["x-awsidecar-tier"]
    if "x-awsidecar-attempts" in said:
        facts["Attempts"] = int(said["x-awsidecar-attempts"])
    return facts


def _limit(timeout: float | None, settings: Settings) -> float:
    return settings.timeout if timeout is None else checked_timeout(timeout)


def _checked_limit(limit: int | None) -> int:
    if limit is None:
        return -1  # never counts down to 0
    if limit < 0:
        raise ValueError(f"limit_items must not be negative, and is {limit}")
    return limit
