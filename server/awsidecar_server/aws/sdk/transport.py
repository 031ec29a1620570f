"""The HTTP of the pooled clients: the SDK's, but where AWS says that something is elsewhere, nothing follows.

No operation of ours answers with a redirect. One that came would take a signed request, its session token and its item
to another host, or turn a write into a GET.
"""

from __future__ import annotations

from typing import Any

from aiobotocore.httpsession import AIOHTTPSession
from aiohttp import ClientTimeout


class DirectSession(AIOHTTPSession):  # type: ignore[misc]
    """Takes the place of the SDK's HTTP session. One request and its whole answer take so many seconds at most."""

    _timeout: ClientTimeout

    def __init__(self, *arguments: Any, total_seconds: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        given = self._timeout
        self._timeout = ClientTimeout(
            total=total_seconds, sock_connect=given.sock_connect, sock_read=given.sock_read
        )

    async def _get_session(self, proxy_url: str | None) -> _DirectRequests:
        return _DirectRequests(await super()._get_session(proxy_url))


class _DirectRequests:
    def __init__(self, session: Any) -> None:
        self._session = session

    def request(self, method: str, **arguments: Any) -> Any:
        return self._session.request(method, allow_redirects=False, **arguments)
