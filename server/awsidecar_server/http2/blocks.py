"""A header block that comes in several frames (RFC 9113, section 4.3)."""

from __future__ import annotations

from awsidecar_server.http2 import frames
from awsidecar_server.http2.budget import Share
from awsidecar_server.http2.frames import ConnectionFailed

# A block this long is still read, to be answered; what is longer ends the connection.
_LONGEST_BLOCK = 1024 * 1024
_MOST_PIECES = 256


class Block:
    """The pieces of a block until it is whole. They count among what waits: their sender may leave it at that."""

    __slots__ = ("_pieces", "_share", "_size", "ends", "stream_id")

    def __init__(self, share: Share, stream_id: int, *, ends: bool) -> None:
        """`ends`: the request ends with the block."""
        self._share = share
        self._pieces: list[bytes] = []
        self._size = 0
        self.stream_id = stream_id
        self.ends = ends

    def add(self, piece: bytes) -> None:
        """Takes one more; raises `ConnectionFailed` when they are too many, or no more may wait."""
        if self._size + len(piece) > _LONGEST_BLOCK or len(self._pieces) >= _MOST_PIECES:
            raise ConnectionFailed(frames.ENHANCE_YOUR_CALM, "a header block that does not end")
        if not self._share.take(len(piece)):
            raise ConnectionFailed(frames.ENHANCE_YOUR_CALM, "too many bytes of requests are on their way")
        self._pieces.append(piece)
        self._size += len(piece)

    def take(self) -> bytes:
        """The whole block, which waits no longer."""
        whole = b"".join(self._pieces)
        self.drop()
        return whole

    def drop(self) -> None:
        """Forgets the pieces."""
        self._pieces.clear()
        self._share.give_back(self._size)
        self._size = 0
