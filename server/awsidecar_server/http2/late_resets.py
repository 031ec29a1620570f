"""Resets that cross the response on their way: the peer has given up a request that was answered meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from awsidecar_server.http2.calm import Clock
from awsidecar_server.http2.stream import Stream

# A reset that crosses a response comes as soon as the peer has heard of nothing, over a slow network too.
_AWAITED_SECONDS = 30.0


class LateResets:
    """A peer that has read a response to its end gives nothing up any more, so a reset says that it has not.

    The state is the latest streams with a response that is out, and for whom it matters whether it was taken.
    """

    def __init__(self, now: Clock, most: int) -> None:
        self._now = now
        self._most = most
        # With the time when the response went out; the oldest is the first.
        self._untaken: dict[int, tuple[Callable[[], None], float]] = {}

    def await_one(self, stream: Stream) -> None:
        """The response of the stream is out."""
        if stream.untaken is not None:
            now = self._now()
            self._untaken[stream.id] = stream.untaken, now
            self._forget(now - _AWAITED_SECONDS)

    def came(self, stream_id: int) -> None:
        """The peer has given up a stream that has ended."""
        if stream_id in self._untaken:
            untaken, _ = self._untaken.pop(stream_id)
            untaken()

    def _forget(self, since: float) -> None:
        while self._untaken:
            oldest, (_, went_out) = next(iter(self._untaken.items()))
            if went_out >= since and len(self._untaken) <= self._most:
                return
            del self._untaken[oldest]
