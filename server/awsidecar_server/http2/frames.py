"""The frames of HTTP/2 (RFC 9113, sections 4 and 6): their numbers, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES: Final = 9

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

# Settings (section 6.5.2).
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

# Error codes (section 7).
NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB

DEFAULT_WINDOW: Final = 65_535
LARGEST_WINDOW: Final = (1 << 31) - 1
DEFAULT_FRAME_SIZE: Final = 1 << 14
LARGEST_FRAME_SIZE: Final = (1 << 24) - 1

# Length in 24 bits, type, flags, stream.
_HEADER = Struct(">BHBBI")
_SETTING = Struct(">HI")
_NUMBER = Struct(">I")
_GOAWAY = Struct(">II")


class ConnectionFailed(Exception):
    """The peer broke the protocol so that the connection must end."""

    def __init__(self, code: int, problem: str) -> None:
        super().__init__(problem)
        self.code = code


class StreamFailed(Exception):
    """The peer broke the protocol so that one stream must end."""

    def __init__(self, stream_id: int, code: int, problem: str) -> None:
        super().__init__(problem)
        self.stream_id = stream_id
        self.code = code


def head(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """The header of a frame whose payload has so many bytes."""
    return _HEADER.pack(length >> 16, length & 0xFFFF, kind, flags, stream_id)


def settings(values: Mapping[int, int]) -> bytes:
    payload = b"".join(_SETTING.pack(name, value) for name, value in values.items())
    return head(len(payload), SETTINGS, 0, 0) + payload


SETTINGS_ACK: Final = head(0, SETTINGS, ACK, 0)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Names and values; the payload's length is a multiple of 6."""
    return list(_SETTING.iter_unpack(payload))


def ping(opaque: bytes, flags: int = 0) -> bytes:
    return head(8, PING, flags, 0) + opaque


def window_update(stream_id: int, increment: int) -> bytes:
    return head(4, WINDOW_UPDATE, 0, stream_id) + _NUMBER.pack(increment)


def rst_stream(stream_id: int, code: int) -> bytes:
    return head(4, RST_STREAM, 0, stream_id) + _NUMBER.pack(code)


def goaway(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    return head(8 + len(debug), GOAWAY, 0, 0) + _GOAWAY.pack(last_stream_id, code) + debug


def headers(stream_id: int, block: bytes, *, end_stream: bool, frame_size: int) -> bytes:
    """A header block, in as many frames as the peer's frame size asks for."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= frame_size:
        return head(len(block), HEADERS, flags | END_HEADERS, stream_id) + block
    frames = [head(frame_size, HEADERS, flags, stream_id), block[:frame_size]]
    for start in range(frame_size, len(block), frame_size):
        piece = block[start : start + frame_size]
        last = END_HEADERS if start + frame_size >= len(block) else 0
        frames += (head(len(piece), CONTINUATION, last, stream_id), piece)
    return b"".join(frames)


def unpadded(payload: bytes) -> bytes:
    """The payload of a padded frame without the padding (section 6.1)."""
    if not payload:
        raise ConnectionFailed(FRAME_SIZE_ERROR, "a padded frame without a length of padding")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFailed(PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - padding]
