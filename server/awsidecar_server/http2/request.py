"""The head of a request: what RFC 9113, section 8, demands of it, and what gRPC reads from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from awsidecar_server.http2.hpack import Field

# Of HTTP/1.1 connections; a request that has one of them is malformed (section 8.2.2).
_OF_CONNECTIONS = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
_PSEUDO = frozenset({":method", ":scheme", ":path", ":authority"})
_REQUIRED = (":method", ":scheme", ":path")
_NO_NAME = frozenset(map(chr, (*range(0x21), *range(0x41, 0x5B), 0x3A, *range(0x7F, 0x100))))
_NO_VALUE = frozenset("\0\r\n")
# What a field takes in memory beside its text: two strings and their pair.
_FIELD_BYTES = 192
# Digits of a content-length.
_LONGEST_LENGTH = 18


class Malformed(Exception):
    """A request that its stream cannot go on with."""


@dataclass(slots=True)
class Head:
    """A request before its body."""

    path: str
    method: str
    # Every field that is no pseudo field, in order.
    fields: Sequence[Field] = field(repr=False)
    content_length: int | None = None
    # What the fields take in memory.
    size_bytes: int = 0


def head_of(fields: list[Field]) -> Head:
    """The head of a request; raises `Malformed`."""
    pseudo: dict[str, str] = {}
    at = 0
    for name, value in fields:
        if name[:1] != ":":
            break
        if name not in _PSEUDO or name in pseudo:
            raise Malformed(f"the field {name!r} is unknown or comes twice")
        pseudo[name] = value
        at += 1
    if not all(pseudo.get(name) for name in _REQUIRED):
        raise Malformed("a pseudo field is missing")
    rest = fields[at:]
    content_length, size = None, _FIELD_BYTES * len(rest)
    for name, value in rest:
        size += len(name) + len(value)
        if not _is_name(name):
            raise Malformed("a field that a request may not have")
        if name == "te" and value != "trailers":
            raise Malformed("te is something else than trailers")
        if name == "content-length":
            if not (value.isascii() and value.isdecimal() and len(value) <= _LONGEST_LENGTH):
                raise Malformed("content-length is no number")
            content_length = int(value)
        if not value.isprintable() and not _NO_VALUE.isdisjoint(value):
            raise Malformed("a value with a control character")
    return Head(pseudo[":path"], pseudo[":method"], rest, content_length, size)


def check_trailers(fields: list[Field]) -> None:
    """Raises `Malformed` for what may not stand behind a body."""
    for name, value in fields:
        if not _is_name(name) or not _NO_VALUE.isdisjoint(value):
            raise Malformed("a field that trailers may not have")


@lru_cache(1024)
def _is_name(name: str) -> bool:
    return bool(name) and name not in _OF_CONNECTIONS and _NO_NAME.isdisjoint(name)
