"""gRPC's forms on HTTP/2: messages, metadata, timeouts and statuses.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from urllib.parse import quote

from grpc import StatusCode

from awsidecar_server.api.metadata import Metadata
from awsidecar_server.api.status import verdict
from awsidecar_server.errors import InvalidRequest, LimitReached, SidecarError
from awsidecar_server.http2.hpack import Field, encoded

# `:status: 200` and `content-type: application/grpc`, by their places in HPACK's static table.
RESPONSE = b"\x88\x0f\x10\x10application/grpc"
PREFIX_BYTES = 5
# Compressions of requests that are read; responses are not compressed.
ACCEPTED_ENCODINGS = "identity,deflate,gzip"

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_LONGEST_TIMEOUT = 9
# Fields of HTTP and of gRPC itself, which no handler is told.
_RESERVED = frozenset({
    "accept-encoding", "content-encoding", "content-length", "content-type", "grpc-accept-encoding", "grpc-encoding",
    "grpc-timeout", "te",
})  # fmt: skip
# What stays as it is in a status message: printable ASCII but the percent sign.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
# Of a compressed message, what is read and what is made of it at a time.
_STEP_BYTES = 64 * 1024
# zlib's window with the header of its own, and with gzip's.
_WINDOW_BITS = {"deflate": zlib.MAX_WBITS, "gzip": zlib.MAX_WBITS | 16}


class Refused(Exception):
    """A request that gRPC cannot take, and why. `code` is given where gRPC has one of its own for that."""

    def __init__(self, failure: SidecarError, code: StatusCode | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.code = code or verdict(failure).code


def framed(message: bytes) -> bytes:
    """A message behind its prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def metadata_of(fields: Iterable[Field]) -> Metadata:
    """The metadata of a request, binary values decoded; raises `Refused`."""
    found: list[tuple[str, str | bytes]] = []
    for field in fields:
        name, value = field
        if name in _RESERVED:
            continue
        if name.endswith("-bin"):
            # Values of one name may come joined.
            found.extend((name, _decoded(name, piece)) for piece in value.split(","))
        else:
            found.append(field)
    return tuple(found)


def _decoded(name: str, value: str) -> bytes:
    value = value.strip().rstrip("=")
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError) as bad:
        raise Refused(InvalidRequest.of(name, "is not in base64")) from bad


def header(fields: Sequence[Field], name: str) -> str:
    """The first value of a field; empty when there is none."""
    for known, value in fields:
        if known == name:
            return value
    return ""


def timeout_seconds(value: str) -> float:
    """What `grpc-timeout` says; raises `Refused`."""
    digits, unit = value[:-1], _UNITS.get(value[-1:])
    if unit is None or not (digits.isascii() and digits.isdecimal()) or len(value) > _LONGEST_TIMEOUT:
        raise Refused(InvalidRequest.of("grpc-timeout", "is not up to eight digits and one of H, M, S, m, u and n"))
    return int(digits) * unit


def status(code: StatusCode, message: str, metadata: Metadata = ()) -> bytes:
    """The block of trailers that ends a response."""
    block = encoded("grpc-status", str(code.value[0]))
    if message:
        block += encoded("grpc-message", quote(message, safe=_PLAIN))
    return block + _metadata(metadata) if metadata else block


_OK = status(StatusCode.OK, "")


def ok(metadata: Metadata) -> bytes:
    """The trailers of a call that succeeded."""
    return _OK + _metadata(metadata) if metadata else _OK


def _metadata(metadata: Metadata) -> bytes:
    return b"".join(
        [
            encoded(name, value if isinstance(value, str) else base64.b64encode(value).decode().rstrip("="))
            for name, value in metadata
        ]
    )


@lru_cache(8)
def http_refusal(http_status: int) -> bytes:
    """The header block that answers what is no gRPC request."""
    return encoded(":status", str(http_status))


def decompressed(message: bytes, encoding: str, limit: int) -> Iterator[bytes]:
    """A compressed message piece by piece; raises `Refused` when it cannot be read or has more than `limit` bytes.

    A few bytes can stand for many: whoever asks for the pieces sees to it that others have their turn in between.
    """
    bits = _WINDOW_BITS.get(encoding)
    if bits is None:
        # The codes are gRPC's: https://github.com/grpc/grpc/blob/master/doc/compression.md
        raise Refused(
            InvalidRequest.of("grpc-encoding", f"says how a message is compressed: {ACCEPTED_ENCODINGS}"),
            StatusCode.UNIMPLEMENTED if encoding not in {"", "identity"} else StatusCode.INTERNAL,
        )
    reader = zlib.decompressobj(bits)
    size = 0
    for at in range(0, len(message), _STEP_BYTES):
        rest = message[at : at + _STEP_BYTES]
        while rest and not reader.eof:
            try:
                piece = reader.decompress(rest, _STEP_BYTES)
            except zlib.error as bad:
                raise _malformed("a message cannot be decompressed") from bad
            size += len(piece)
            if size > limit:
                raise too_large(limit)
            yield piece
            rest = reader.unconsumed_tail or reader.unused_data
        if rest:
            # A second member of gzip's, say. What is read without it may be a message, and not the one that was meant.
            raise _malformed("a compressed message goes on behind its end")
    if not reader.eof:
        raise _malformed("a compressed message is not whole")


def _malformed(problem: str) -> Refused:
    return Refused(InvalidRequest(problem, reason="MALFORMED_MESSAGE"))


def too_large(limit: int) -> Refused:
    problem = f"a message is larger than {limit} bytes"
    return Refused(LimitReached(problem, reason="MESSAGE_TOO_LARGE", direction="request", limit_bytes=str(limit)))
