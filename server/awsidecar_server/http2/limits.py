"""What a connection takes of its peer, and tells it at the beginning."""

from __future__ import annotations

from dataclasses import dataclass

from awsidecar_server.http2 import frames

STREAM_WINDOW = 1024 * 1024
CONNECTION_WINDOW = 16 * 1024 * 1024
_FEWEST_REMEMBERED = 4096
# Nobody counts the memory of them, which is some megabytes for each connection.
_MOST_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What differs from one server to another."""

    streams: int
    # Of all fields of a request, counted as section 6.5.2 counts them.
    header_list_bytes: int

    @property
    def remembered(self) -> int:
        """Ended streams of which something may come yet, each kind: of those that may be open at a time, and as many again.

        20,000 at most.
        """
        return min(max(_FEWEST_REMEMBERED, 2 * self.streams), _MOST_REMEMBERED)

    def told(self) -> bytes:
        """What the peer is told first."""
        return frames.settings(
            {
                frames.MAX_CONCURRENT_STREAMS: self.streams,
                frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                frames.MAX_HEADER_LIST_SIZE: self.header_list_bytes,
            }
        ) + frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
