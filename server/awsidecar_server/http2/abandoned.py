"""Requests whose rest nobody wants."""

from __future__ import annotations

from awsidecar_server.http2.stream import Stream


class Abandoned:
    """Streams that we have ended before the peer did: what it had sent meanwhile still comes, and is no fault of its.

    The state is the latest of them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._ids: dict[int, None] = {}

    def add(self, stream: Stream) -> None:
        """We have ended a stream; nothing more comes of it if the peer has, too."""
        if not stream.remote_ended:
            self._ids[stream.id] = None
            if len(self._ids) > self._most:
                del self._ids[next(iter(self._ids))]

    def has(self, stream_id: int, *, ends: bool) -> bool:
        """Whether what has come is of one of them; after what `ends` it, nothing is."""
        if stream_id not in self._ids:
            return False
        if ends:
            del self._ids[stream_id]
        return True
