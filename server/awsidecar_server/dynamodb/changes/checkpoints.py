"""Checkpoints: how far each shard of a stream was delivered, as text that a caller keeps and brings again.

They are no secret and are not signed: they say nothing that the caller could not read from the stream itself, and
whoever brings one is authorized by AWS as for any other call. A checksum tells what was cut or mistyped.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from awsidecar_server.dynamodb.changes.positions import After, At, End, Oldest, Position, Since

_VERSION = 1
_CHECKSUM_BYTES = 4
# Of a stream with tens of thousands of open shards. What is longer is none of ours, nor what unpacks to more.
_LONGEST_TEXT = 2 * 1024 * 1024
_MOST_BYTES = 8 * 1024 * 1024


class BadCheckpoint(ValueError):
    """The text is no checkpoint."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a stream was delivered. Whatever comes before the shards named here is delivered, too."""

    stream_arn: str
    positions: Mapping[str, Position]

    def text(self) -> str:
        """Printable, without padding or line breaks."""
        written = [self.stream_arn, {shard_id: _written(one) for shard_id, one in self.positions.items()}]
        packed = bytes([_VERSION]) + zlib.compress(json.dumps(written, separators=(",", ":")).encode())
        checksum = zlib.crc32(packed).to_bytes(_CHECKSUM_BYTES, "big")
        return base64.urlsafe_b64encode(packed + checksum).rstrip(b"=").decode()

    @classmethod
    def read(cls, text: str) -> Checkpoint:
        """Raises `BadCheckpoint`, which says what is wrong without repeating the text."""
        if len(text) > _LONGEST_TEXT:
            raise BadCheckpoint("is longer than any checkpoint")
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as malformed:
            raise BadCheckpoint("is no checkpoint") from malformed
        packed, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
        if not packed or zlib.crc32(packed).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
            raise BadCheckpoint("is damaged, or no checkpoint")
        if packed[0] != _VERSION:
            raise BadCheckpoint("was made by another version of the sidecar")
        try:
            stream_arn, positions = json.loads(_unpacked(packed[1:]))
            found = {str(shard_id): _read(written) for shard_id, written in positions.items()}
        except (AttributeError, IndexError, RecursionError, TypeError, ValueError, zlib.error) as malformed:
            raise BadCheckpoint("is no checkpoint") from malformed
        if not isinstance(stream_arn, str):
            raise BadCheckpoint("is no checkpoint")
        return cls(stream_arn, found)


def _unpacked(deflated: bytes) -> bytes:
    inflating = zlib.decompressobj()
    written = inflating.decompress(deflated, _MOST_BYTES)
    if not inflating.eof:
        raise ValueError("more than a checkpoint has")
    return written


def _written(position: Position) -> str:
    match position:
        case At(number):
            return f"={number}"
        case After(number):
            return f">{number}"
        case Oldest():
            return "^"
        case Since(moment):
            return f"@{moment}"
        case End():
            return "$"


def _read(written: str) -> Position:
    kind, rest = written[0], written[1:]
    if kind in "=>" and rest.isascii() and rest.isdecimal():
        return At(rest) if kind == "=" else After(rest)
    if kind == "@" and rest.isascii() and rest.isdecimal():
        return Since(int(rest))
    if written == "^":
        return Oldest()
    if written == "$":
        return End()
    raise ValueError("no position")
