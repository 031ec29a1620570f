"""How much of a peer's frames that cost us and move nothing a connection bears: resets, empty frames, odd ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from awsidecar_server.http2 import frames
from awsidecar_server.http2.frames import ConnectionFailed

# Gives the time in seconds.
Clock: TypeAlias = Callable[[], float]

# Of each kind in one period. Who gives calls up as they are opened, before anybody could begin with them, is after our
# work, not after answers (CVE-2023-44487). Calls that were begun are another matter: a gateway that asks twice and takes
# what comes first gives up half of them, and all of them when AWS is slower than its deadlines. One that is given up costs
# less than one that is answered, so the bound is at more than a process can answer. Servers for browsers are stricter
# (nghttp2: 33 a second; Envoy: half of 500, within a second of their beginning), grpc-go has no such bound.
_PERIOD_SECONDS = 10.0
_MOST_RAPID_RESETS = 5_000
_MOST_RESETS = 150_000
_MOST_ODD_FRAMES = 2_000


class Calm:
    """Counts what a peer does that is allowed, and no way to go on for long."""

    def __init__(self, now: Clock) -> None:
        self._now = now
        self._since = now()
        self._resets = 0
        self._rapid_resets = 0
        self._odd_frames = 0

    def reset(self, *, is_rapid: bool) -> None:
        """A stream was given up by the peer, perhaps as it was opened; raises `ConnectionFailed` when too many were."""
        self._resets += 1
        self._rapid_resets += is_rapid
        if self._rapid_resets > _MOST_RAPID_RESETS or self._resets > _MOST_RESETS:
            self._check("more streams are given up than anybody would")

    def odd_frame(self) -> None:
        """A frame came that moves nothing; raises `ConnectionFailed` when too many did."""
        self._odd_frames += 1
        if self._odd_frames > _MOST_ODD_FRAMES:
            self._check("more frames without an effect than anybody would send")

    def _check(self, problem: str) -> None:
        now = self._now()
        if now - self._since < _PERIOD_SECONDS:
            raise ConnectionFailed(frames.ENHANCE_YOUR_CALM, problem)
        self._since, self._resets, self._rapid_resets, self._odd_frames = now, 0, 0, 0
