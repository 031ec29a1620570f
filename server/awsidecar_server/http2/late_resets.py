"""Resets that cross the response on their way: the peer has given up a request that was answered meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from awsidecar_server.http2.stream import Stream

# A reset that crosses a response comes in the next moment, and these are of one connection.
_MOST = 256


class LateResets:
    """A peer that has read a response to its end gives nothing up any more, so a reset says that it has not.

    The state is the latest streams with a response that is out, and for whom it matters whether it was taken.
    """

    def __init__(self) -> None:
        self._untaken: dict[int, Callable[[], None]] = {}

    def await_one(self, stream: Stream) -> None:
        """The response of the stream is out."""
        if stream.untaken is not None:
            self._untaken[stream.id] = stream.untaken
            if len(self._untaken) > _MOST:
                del self._untaken[next(iter(self._untaken))]

    def came(self, stream_id: int) -> None:
        """The peer has given up a stream that has ended."""
        untaken = self._untaken.pop(stream_id, None)
        if untaken is not None:
            untaken()
