"""`awsidecar serve` from start to end: the embedded AWS if asked for, the sidecar, the wait, the drain."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from awsidecar_server.config import Config
from awsidecar_server.lifecycle import Shutdown

if TYPE_CHECKING:
    from awsidecar_server.embedded.aws import EmbeddedAws

_log = structlog.get_logger()


async def serve(config: Config, environment: Mapping[str, str]) -> int:
    """Serves until it is asked to stop; returns the exit code."""
    shutdown = Shutdown()
    shutdown.listen()
    async with AsyncExitStack() as closing:
        stopping = asyncio.create_task(shutdown.asked())
        closing.callback(stopping.cancel)
        started = asyncio.create_task(_start(config, environment, shutdown, closing))
        await asyncio.wait({started, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            started.cancel()
            await asyncio.wait({started})
        elif started.exception() is None:
            await stopping
        if not started.cancelled():
            started.result()
    if shutdown.failure is not None:
        _log.error("ended", reason=shutdown.failure)
        return 1
    return 0


async def _start(
    config: Config, environment: Mapping[str, str], shutdown: Shutdown, closing: AsyncExitStack
) -> None:
    embedded = None
    if config.embedded.enabled:
        embedded = await _start_embedded(config, shutdown, closing)
        # What the environment and the file say of AWS is about another account.
        elsewhere = ("AWS_", "COGNITO_", "AWSIDECAR_CONFIG_FILE")
        others = {name: text for name, text in environment.items() if not name.startswith(elsewhere)}
        environment = {**others, **embedded.environment}
        local = Config.load(environment)
        config = replace(config, aws=local.aws, cognito=local.cognito)
    start = _start_workers if config.listen.workers > 1 else _start_alone
    grpc, admin = await start(config, environment, shutdown, closing)
    if embedded is not None:
        from awsidecar_server.embedded.banner import banner

        print(banner(embedded, grpc, admin), file=sys.stderr, flush=True)


async def _start_alone(
    config: Config, environment: Mapping[str, str], shutdown: Shutdown, closing: AsyncExitStack
) -> tuple[str, str]:
    """Serves in this process; returns the addresses of gRPC and of the operations HTTP server."""
    from awsidecar_server.app import App

    app = await closing.enter_async_context(App(config, environment))
    return app.server.addresses[0], app.admin.address


async def _start_workers(
    config: Config, environment: Mapping[str, str], shutdown: Shutdown, closing: AsyncExitStack
) -> tuple[str, str]:
    """Serves in processes of their own; this one does not even load gRPC."""
    from awsidecar_server.workers.supervisor import Supervisor

    supervisor = await closing.enter_async_context(Supervisor(config, environment, shutdown.fail))
    return supervisor.addresses[0], supervisor.admin.address


async def _start_embedded(config: Config, shutdown: Shutdown, closing: AsyncExitStack) -> EmbeddedAws:
    from awsidecar_server.embedded.aws import EmbeddedAws

    embedded = await EmbeddedAws.start(config.embedded)
    closing.push_async_callback(embedded.stop)
    _log.info("embedded aws", endpoint=embedded.endpoint_url, client_id=embedded.client_id)

    async def watch() -> None:
        failed = await embedded.wait_failed()
        if failed is not None:
            shutdown.fail(str(failed))

    watching = asyncio.create_task(watch())
    closing.callback(watching.cancel)
    return embedded
