"""A server that echoes bytes, on grpc.aio and on the sidecar's gRPC server: what gRPC costs before a sidecar does anything."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import uvloop

from awsidecar_server.api.grpc_server import GrpcServer
from awsidecar_server.api.listeners import address_of, bind_tcp

SERVICE, METHOD = "awsidecar.benchmarks.Empty", "Echo"


async def _echo(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return request


async def serve() -> None:
    """Serves until standard input ends; tells its address in one line on standard output."""
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_echo)
    serving = _ours(handler) if sys.argv[1:] == ["ours"] else _grpc_aio(handler)
    async with serving as target:
        print(json.dumps({"target": target}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@asynccontextmanager
async def _grpc_aio(handler: grpc.RpcMethodHandler[bytes, bytes]) -> AsyncIterator[str]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@asynccontextmanager
async def _ours(handler: grpc.RpcMethodHandler[bytes, bytes]) -> AsyncIterator[str]:
    server = GrpcServer(
        max_message_bytes=1 << 22, max_metadata_bytes=1 << 14, max_streams=1000, max_waiting_bytes=1 << 24
    )
    server.add_registered_method_handlers(SERVICE, {METHOD: handler})
    bound = bind_tcp("127.0.0.1", 0)
    target = address_of(bound)
    await server.listen(bound)
    yield target
    await server.stop()


if __name__ == "__main__":
    uvloop.run(serve())
