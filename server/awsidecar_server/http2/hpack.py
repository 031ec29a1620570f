"""Header fields as HTTP/2 compresses them: HPACK, RFC 7541."""

from __future__ import annotations

from collections import deque
from functools import lru_cache

from awsidecar_server.http2.huffman import NotHuffman, decoded

Field = tuple[str, str]

# Appendix A; its index counts from 1.
_STATIC: tuple[Field, ...] = (
    ("", ""),
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    *(
        (name, "")
        for name in [
            "accept-language",
            "accept-ranges",
            "accept",
            "access-control-allow-origin",
            "age",
            "allow",
            "authorization",
            "cache-control",
            "content-disposition",
            "content-encoding",
            "content-language",
            "content-length",
            "content-location",
            "content-range",
            "content-type",
            "cookie",
            "date",
            "etag",
            "expect",
            "expires",
            "from",
            "host",
            "if-match",
            "if-modified-since",
            "if-none-match",
            "if-range",
            "if-unmodified-since",
            "last-modified",
            "link",
            "location",
            "max-forwards",
            "proxy-authenticate",
            "proxy-authorization",
            "range",
            "referer",
            "refresh",
            "retry-after",
            "server",
            "set-cookie",
            "strict-transport-security",
            "transfer-encoding",
            "user-agent",
            "vary",
            "via",
            "www-authenticate",
        ]
    ),
)
_FIRST_DYNAMIC = len(_STATIC)
# What a field takes of a table beside its text (section 4.1).
_FIELD_BYTES = 32
# As a receiver that says nothing of it has; we say nothing.
TABLE_BYTES = 4096
_LONGEST_INTEGER = 1 << 28
# A block that is too large is read to its end, so that it can be answered, while it has no more than so many times what
# is allowed: a MiB can have a million fields.
_READ_ON = 16
# Changes of the table at the beginning of a block: two say all that there is to say (section 4.2), and they have no size
# that would count.
_MOST_RESIZES = 16
# Longer values are hardly ever sent twice.
_SHORT = 32


class BadHeaders(Exception):
    """Bytes that are no header block. The connection cannot go on: its table is lost."""


class Decoder:
    """Reads the header blocks of one connection, in their order."""

    def __init__(self) -> None:
        self._table: deque[Field] = deque()
        self._size = 0
        self._limit = TABLE_BYTES

    def decode(self, block: bytes, limit: int) -> list[Field] | None:
        """The fields of a block; None when they are larger than `limit`, counted as in a table.

        Raises `BadHeaders` for what cannot be read, or is larger by far.
        """
        fields: list[Field] = []
        table, at, end, size, resizes = self._table, 0, len(block), 0, 0
        try:
            while at < end:
                byte = block[at]
                if byte & 0x80:
                    index = byte & 0x7F
                    at += 1
                    if index == 0x7F:
                        index, at = _integer(block, at, index)
                    elif not index:
                        raise BadHeaders("field 0")
                    field = _STATIC[index] if index < _FIRST_DYNAMIC else table[index - _FIRST_DYNAMIC]
                elif byte & 0x40:
                    field, at = self._literal(block, at, 0x3F)
                    self._insert(field)
                elif byte & 0x20:
                    resizes += 1
                    if size or resizes > _MOST_RESIZES:
                        raise BadHeaders("a change of the table behind a field, or one of too many")
                    at = self._resize(block, at)
                    continue
                else:
                    field, at = self._literal(block, at, 0x0F)
                size += len(field[0]) + len(field[1]) + _FIELD_BYTES
                if size <= limit:
                    fields.append(field)
                elif size > _READ_ON * limit:
                    raise BadHeaders("far more fields than are allowed")
        except (IndexError, NotHuffman, UnicodeDecodeError) as bad:
            raise BadHeaders("a header block that cannot be read") from bad
        return fields if size <= limit else None

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[Field, int]:
        index = block[at] & mask
        at += 1
        if index == mask:
            index, at = _integer(block, at, mask)
        if index:
            name = (_STATIC[index] if index < _FIRST_DYNAMIC else self._table[index - _FIRST_DYNAMIC])[0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return (name, value), at

    def _insert(self, field: Field) -> None:
        self._size += len(field[0]) + len(field[1]) + _FIELD_BYTES
        self._table.appendleft(field)
        self._evict()

    def _resize(self, block: bytes, at: int) -> int:
        limit, at = block[at] & 0x1F, at + 1
        if limit == 0x1F:
            limit, at = _integer(block, at, limit)
        if limit > TABLE_BYTES:
            raise BadHeaders("a table larger than was allowed")
        self._limit = limit
        self._evict()
        return at

    def _evict(self) -> None:
        while self._size > self._limit:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + _FIELD_BYTES


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """An integer that does not fit its prefix (section 5.1), and where it ends."""
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if value > _LONGEST_INTEGER:
            raise BadHeaders("an integer that is too large")
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 28:
            raise BadHeaders("an integer that is too long")


def _string(block: bytes, at: int) -> tuple[str, int]:
    byte = block[at]
    at += 1
    length = byte & 0x7F
    if length == 0x7F:
        length, at = _integer(block, at, length)
    end = at + length
    if end > len(block):
        raise BadHeaders("a string that is longer than its block")
    raw = block[at:end]
    # Bytes beyond ASCII are let through here, and are refused or passed on by whoever knows the field.
    return (decoded(raw) if byte & 0x80 else raw).decode("latin-1"), end


def encoded(name: str, value: str) -> bytes:
    """A field as a literal that no table keeps, so that blocks do not depend on each other."""
    return _remembered(name, value) if len(value) <= _SHORT else _literal(name, value)


def _literal(name: str, value: str) -> bytes:
    raw_name, raw_value = name.encode("latin-1"), value.encode("latin-1")
    return b"\0" + _length(len(raw_name)) + raw_name + _length(len(raw_value)) + raw_value


_remembered = lru_cache(1024)(_literal)


def _length(length: int) -> bytes:
    if length < 0x7F:
        return bytes((length,))
    length -= 0x7F
    found = bytearray((0x7F,))
    while length >= 0x80:
        found.append(length & 0x7F | 0x80)
        length >>= 7
    found.append(length)
    return bytes(found)
