"""A sidecar for tests: a real gRPC server on a loopback socket that records requests and gives canned replies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message

from awsidecar.details import BadRequest, ErrorInfo, RetryInfo, Status
from awsidecar.operations import METHODS, Method


@dataclass(frozen=True)
class Received:
    """One request, as the server saw it."""

    method: str
    message: Any
    metadata: dict[str, str]
    seconds_left: float | None


@dataclass(frozen=True)
class Refused:
    """A canned error."""

    code: grpc.StatusCode
    message: str
    details: bytes | None = None
    request_id: str = ""


Answer = Message | Refused | Callable[[Any], Message] | Sequence[Message | Refused]


@dataclass
class FakeSidecar:
    """Answers each method with what was put into `answers`, in order, the last of them for ever.

    A method that streams gives the messages of a list, up to the refusal in it if there is one.
    """

    answers: dict[str, deque[Answer]] = field(default_factory=dict)
    # What a method answers that takes a stream, from the requests as they come.
    exchanges: dict[str, Callable[[Iterator[Any]], Iterator[Message | Refused]]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    address: str = "127.0.0.1:0"
    target: str = ""

    def answer(self, method: str, *answers: Answer) -> None:
        self.answers[method] = deque(answers)

    def start(self) -> None:
        self._server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=4),
            options=[
                ("grpc.max_receive_message_length", 64 * 1024 * 1024),
                ("grpc.max_send_message_length", 64 * 1024 * 1024),
                ("grpc.so_reuseport", 0),
            ],
        )
        services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
        for method in METHODS:
            _, service, name = method.path.split("/")
            services.setdefault(service, {})[name] = self._handler(method)
        for service, handlers in services.items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        port = self._server.add_insecure_port(self.address)
        self.target = self.address if self.address.startswith("unix:") else f"127.0.0.1:{port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _handler(self, method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        if method.takes_stream:
            return self._exchange_handler(method)
        if method.gives_stream:
            return self._stream_handler(method)

        def serve(message: Any, context: grpc.ServicerContext) -> Message:
            answer = self._answer(method, message, context)
            if answer is None:
                return method.response_class()
            if isinstance(answer, Refused):
                _refuse(context, answer)
            context.set_trailing_metadata(
                (
                    ("x-amzn-requestid", "REQUEST"),
                    ("x-awsidecar-tier", "service_account"),
                    ("x-awsidecar-attempts", "2"),
                )
            )
            return answer if isinstance(answer, Message) else answer(message)  # type: ignore[operator]

        return grpc.unary_unary_rpc_method_handler(
            serve,
            request_deserializer=method.request_class.FromString,
            response_serializer=method.response_class.SerializeToString,
        )

    def _stream_handler(self, method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        def serve(message: Any, context: grpc.ServicerContext) -> Iterator[Message]:
            answer = self._answer(method, message, context)
            for one in answer if isinstance(answer, Sequence) else ():
                if isinstance(one, Refused):
                    _refuse(context, one)
                else:
                    yield one

        return grpc.unary_stream_rpc_method_handler(
            serve,
            request_deserializer=method.request_class.FromString,
            response_serializer=method.response_class.SerializeToString,
        )

    def _exchange_handler(self, method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        def serve(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Message]:
            exchange = self.exchanges[method.name]
            for one in exchange(self._noted(method, requests, context)):
                if isinstance(one, Refused):
                    _refuse(context, one)
                else:
                    yield one

        return grpc.stream_stream_rpc_method_handler(
            serve,
            request_deserializer=method.request_class.FromString,
            response_serializer=method.response_class.SerializeToString,
        )

    def _noted(self, method: Method, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        for message in requests:
            self.received.append(Received(method.name, message, metadata, context.time_remaining()))
            yield message

    def _answer(self, method: Method, message: Any, context: grpc.ServicerContext) -> Answer | None:
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        self.received.append(Received(method.name, message, metadata, context.time_remaining()))
        answers = self.answers.get(method.name)
        if not answers:
            return None
        return answers.popleft() if len(answers) > 1 else answers[0]


def _refuse(context: grpc.ServicerContext, refused: Refused) -> None:
    trailers: list[tuple[str, str | bytes]] = []
    if refused.details is not None:
        trailers.append(("grpc-status-details-bin", refused.details))
    if refused.request_id:
        trailers.append(("x-amzn-requestid", refused.request_id))
    context.set_trailing_metadata(tuple(trailers))
    context.abort(refused.code, refused.message)


def details_of(reason: str, domain: str, *details: Message, **metadata: str) -> bytes:
    """Returns status details with an ErrorInfo, as a sidecar sends them."""
    status = Status(code=0, message="")
    for detail in (ErrorInfo(reason=reason, domain=domain, metadata=metadata), *details):
        name = detail.DESCRIPTOR.full_name.replace("awsidecar.details.", "google.rpc.")
        status.details.add(type_url=f"type.googleapis.com/{name}", value=detail.SerializeToString())
    encoded: bytes = status.SerializeToString()
    return encoded


def retry_info(seconds: int, nanos: int = 0) -> Message:
    """Returns a RetryInfo."""
    info: Message = RetryInfo()
    info.retry_delay.seconds = seconds  # type: ignore[attr-defined]
    info.retry_delay.nanos = nanos  # type: ignore[attr-defined]
    return info


def bad_request(**violations: str) -> Message:
    """Returns a BadRequest that names fields."""
    detail = BadRequest()
    for name, description in violations.items():
        detail.field_violations.add(field=name, description=description)
    message: Message = detail
    return message
