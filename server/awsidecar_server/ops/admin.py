"""The operations HTTP server: `/metrics`, `/livez`, `/readyz`."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from awsidecar_server.config import AdminConfig, BadConfig
from awsidecar_server.ops.telemetry import Telemetry


class AdminServer:
    """Serves the operator. Liveness says that the event loop turns, and never asks AWS."""

    def __init__(self, config: AdminConfig, telemetry: Telemetry, is_ready: Callable[[], bool]) -> None:
        self._config = config
        self._telemetry = telemetry
        self._is_ready = is_ready
        self._runner: web.AppRunner | None = None
        self.address = ""

    async def start(self) -> None:
        """Binds and serves; raises `BadConfig` when the address cannot be served on."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        try:
            await web.TCPSite(self._runner, self._config.host, self._config.port).start()
        except OSError as refused:
            await self._runner.cleanup()
            raise BadConfig(
                f"AWSIDECAR_ADMIN_PORT: {host}:{self._config.port} cannot be served on (is it taken?); "
                "for example AWSIDECAR_ADMIN_PORT=9465"
            ) from refused
        self.address = f"{host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        body, content_type = self._telemetry.page()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _livez(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._is_ready():
            return web.Response(text="ready\n")
        return web.Response(text="not ready\n", status=503)
