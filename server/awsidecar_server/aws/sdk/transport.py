"""The HTTP of the pooled clients: the SDK's, but where AWS says that something is elsewhere, nothing follows.

No operation of ours answers with a redirect. One that came would take a signed request, its session token and its item
to another host, or turn a write into a GET.
"""

from __future__ import annotations

from typing import Any

from aiobotocore.httpsession import AIOHTTPSession


class DirectSession(AIOHTTPSession):  # type: ignore[misc]
    """Takes the place of the SDK's HTTP session."""

    async def _get_session(self, proxy_url: str | None) -> _DirectRequests:
        return _DirectRequests(await super()._get_session(proxy_url))


class _DirectRequests:
    def __init__(self, session: Any) -> None:
        self._session = session

    def request(self, method: str, **arguments: Any) -> Any:
        return self._session.request(method, allow_redirects=False, **arguments)
