"""Checkpoints: how far each shard of a stream was delivered, as text that a caller keeps and brings again.

They are no secret and are not signed: they say nothing that the caller could not read from the stream itself, and
whoever brings one is authorized by AWS as for any other call. A checksum tells what was cut or mistyped.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from awsidecar_server.dynamodb.changes.lineage import MOST_SHARDS
from awsidecar_server.dynamodb.changes.positions import (
    After,
    At,
    End,
    Oldest,
    OldestIfAny,
    OldestOfLine,
    Position,
    Since,
)

_VERSION = 1
_CHECKSUM_BYTES = 4
# More than `MOST_SHARDS` take. What is longer is none of ours, nor what unpacks to more.
_LONGEST_TEXT = 2 * 1024 * 1024
_MOST_BYTES = 4 * 1024 * 1024
# What `text` packs, and nothing else: how long it takes to read, and what positions come of it, follows from this. AWS
# has up to 1024 characters of an ARN, 65 of a shard's id and 40 digits of a sequence number; emulators have more digits.
_FORM = re.compile(
    rb'\["[!#-\[\]-~]{1,1024}+",'
    rb'\{(?:"[!#-\[\]-~]{1,65}+":"(?:[=>][0-9]{1,80}+|@[0-9]{1,15}+|[\^?<$])"(?:,(?=")|(?=\})))*+\}\]'
)
# The end of the year 9999, the last that a timestamp has. In milliseconds since 1970.
_LAST_MOMENT = 253_402_300_799_999
# The bytes are mostly digits without pattern: more work makes them smaller by some hundredths.
_COMPRESSION = 1


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
        packed = bytes([_VERSION]) + zlib.compress(
            json.dumps(written, separators=(",", ":")).encode(), _COMPRESSION
        )
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
            return cls(stream_arn, {shard_id: _read(written) for shard_id, written in positions.items()})
        except BadCheckpoint:
            raise
        except (ValueError, zlib.error) as malformed:
            raise BadCheckpoint("is no checkpoint") from malformed


def _unpacked(deflated: bytes) -> bytes:
    inflating = zlib.decompressobj()
    written = inflating.decompress(deflated, _MOST_BYTES)
    if not inflating.eof or not _FORM.fullmatch(written):
        raise ValueError("not as a checkpoint is written")
    if written.count(b'":"') > MOST_SHARDS:
        raise BadCheckpoint("names more shards than a stream has")
    return written


def _written(position: Position) -> str:
    match position:
        case At(number):
            return f"={number}"
        case After(number):
            return f">{number}"
        case Oldest():
            return "^"
        case OldestIfAny():
            return "?"
        case OldestOfLine():
            return "<"
        case Since(moment):
            return f"@{moment}"
        case End():
            return "$"


def _read(written: str) -> Position:
    """Of a text that has the form."""
    kind, rest = written[0], written[1:]
    match kind:
        case "=":
            return At(rest)
        case ">":
            return After(rest)
        case "^":
            return Oldest()
        case "?":
            return OldestIfAny()
        case "<":
            return OldestOfLine()
        case "$":
            return End()
    if int(rest) > _LAST_MOMENT:
        raise ValueError("no time that AWS takes")
    return Since(int(rest))
