"""Requests and answers of HTTP/1.1 as bytes, and how an exchange of them fails. No I/O.

https://www.rfc-editor.org/rfc/rfc9112. Answers are read strictly: what has two readings is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from awsidecar_server.aws.retries import Stage

# AWS's largest answers are pages of 1 MB and batches of 16 MB.
MAX_BODY_BYTES = 64 * 1024 * 1024
# Status line and headers, or the trailers of a chunked body; AWS's have some 300 bytes.
_MAX_HEAD_BYTES = 64 * 1024
# A line with the size of a chunk, with its extensions.
_MAX_CHUNK_LINE_BYTES = 4096
# Answers like "100 Continue" that may come before the one that counts; AWS sends none unasked.
_MAX_INTERIM = 8

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: .*)?", re.ASCII)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
# Names of headers that are kept in lower case, those that were seen last.
_MAX_NAMES = 256
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?")
_LENGTH = re.compile(r"[0-9]{1,12}", re.ASCII)
_START = b"HTTP/1."

# "deadline" is the caller's; "timeout" is ours.
Cause = Literal["connect", "timeout", "deadline", "connection_lost", "bad_response"]


class HttpFailure(Exception):
    """No answer that could be read. `stage` tells whether the request can have come to AWS."""

    def __init__(self, stage: Stage, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.cause = cause


class HttpHeaders:
    """The headers of an answer. Names are looked up in any case; values of the same name are joined by commas."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        """`values` by their names in lower case."""
        self._values = values

    def __repr__(self) -> str:
        return f"<HttpHeaders {', '.join(self._values)}>"

    def get(self, name: str) -> str | None:
        return self._values.get(name.lower())


@dataclass(slots=True)
class HttpAnswer:
    """What came back, whatever its status."""

    status: int
    headers: HttpHeaders
    body: bytes = field(repr=False)


def request_head(method: str, target: str, headers: Mapping[str, str], body_bytes: int | None) -> bytes:
    """The head of a request. Raises `ValueError`, which quotes no header, for what would not be one head."""
    content = "".join([*headers, *headers.values()])
    if "\r" in content or "\n" in content or "\0" in content or not content.isascii():
        raise ValueError("a header has a line break, a zero byte or a character that is not ASCII")
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    length = "" if body_bytes is None else f"Content-Length: {body_bytes}\r\n"
    return f"{method} {target} HTTP/1.1\r\n{lines}Accept-Encoding: identity\r\n{length}\r\n".encode()


@lru_cache(_MAX_NAMES)
def _lower_name(name: str) -> str | None:
    """The name of a header as it is looked up; None when it is no name."""
    return name.lower() if _NAME.fullmatch(name) else None


def _bad(message: str) -> HttpFailure:
    return HttpFailure(Stage.UNREADABLE, "bad_response", f"the answer is not HTTP that can be read: {message}")


class AnswerReader:
    """Puts one answer together from bytes as they come. Raises `HttpFailure` for what is no answer."""

    __slots__ = (
        "_body",
        "_buffer",
        "_headers",
        "_interim",
        "_left",
        "_parts",
        "_state",
        "_status",
        "_to_connect",
        "is_last",
    )

    def __init__(self, *, to_connect: bool = False) -> None:
        """`to_connect`: what is read is the answer to a CONNECT, which has no body when it is favourable."""
        self._state: Literal["head", "length", "chunk_line", "chunk", "trailers", "until_close"] = "head"
        self._buffer = bytearray()
        self._body = bytearray()
        # Of a body whose length is known: joining what comes costs half of appending it.
        self._parts: list[bytes] = []
        # Bytes that are still to come: of the body, or of the chunk with the line break after it.
        self._left = 0
        self._status = 0
        self._interim = 0
        self._headers = HttpHeaders({})
        self._to_connect = to_connect
        # Nothing can follow on this connection.
        self.is_last = False

    def feed(self, data: bytes) -> HttpAnswer | None:
        """The answer, as soon as it is complete."""
        if self._state == "length":
            return self._feed_length(data)
        if self._state == "until_close":
            self._take(data)
            return None
        if self._state != "head":
            self._buffer += data
            return self._feed_chunks()
        return self._feed_head(data)

    def end(self) -> HttpAnswer | None:
        """The answer that the end of the connection completes; None when it comes too early."""
        return self._answer() if self._state == "until_close" else None

    def _answer(self) -> HttpAnswer:
        return HttpAnswer(self._status, self._headers, bytes(self._body))

    def _take(self, data: bytes | bytearray) -> None:
        if len(self._body) + len(data) > MAX_BODY_BYTES:
            raise _bad(f"its body has more than {MAX_BODY_BYTES} bytes")
        self._body += data

    def _feed_head(self, data: bytes) -> HttpAnswer | None:
        if self._buffer:
            seen = max(0, len(self._buffer) - 3)
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n", seen)
            data = b"" if end < 0 else bytes(self._buffer)
        else:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer += data
        if end < 0:
            if not self._buffer.startswith(_START[: len(self._buffer)]):
                raise _bad("it does not begin as one")
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise _bad(f"its head has more than {_MAX_HEAD_BYTES} bytes")
            return None
        return self._headed(data, end)

    def _headed(self, data: bytes, end: int) -> HttpAnswer | None:
        """Goes on behind the head, which ends at `end`."""
        if end > _MAX_HEAD_BYTES:
            raise _bad(f"its head has more than {_MAX_HEAD_BYTES} bytes")
        headers = self._read_head(data[:end])
        rest = data[end + 4 :]
        if 100 <= self._status < 200:  # an interim answer; the final one follows
            self._interim += 1
            if self._status == 101 or self._interim > _MAX_INTERIM:
                raise _bad("it is an interim one, without end")
            self._buffer.clear()
            return self._feed_head(rest) if rest else None
        if headers.get("content-encoding", "identity") != "identity":
            raise _bad("it is compressed, which it was not asked to be")
        return self._framed(rest, headers.get("content-length"), headers.get("transfer-encoding"))

    def _framed(self, rest: bytes, length: str | None, coding: str | None) -> HttpAnswer | None:
        """Goes on behind the head as RFC 9112, 6.3 has it."""
        # 1. No body, whatever the headers say.
        if self._to_connect and self._status < 300:
            # Behind it comes the tunnel, whatever the proxy says of its own connection.
            self.is_last = bool(rest)
            return self._answer()
        if self._status in (204, 304):
            # What the headers announce may come all the same, and would be the beginning of the next answer.
            self.is_last = self.is_last or bool(rest) or coding is not None or length not in (None, "0")
            return self._answer()
        # 2. Chunks; with a length besides, one of the two would be a lie.
        if coding is not None:
            if coding.lower() != "chunked" or length is not None:
                raise _bad("its body has no length, or two")
            self._state = "chunk_line"
            self._buffer = bytearray(rest)
            return self._feed_chunks()
        # 3. A length.
        if length is not None:
            if not _LENGTH.fullmatch(length):
                raise _bad("the length of its body is no number")
            self._left = int(length)
            if self._left > MAX_BODY_BYTES:
                raise _bad(f"its body has more than {MAX_BODY_BYTES} bytes")
            if len(rest) == self._left:  # the usual case
                return HttpAnswer(self._status, self._headers, rest)
            self._state = "length"
            return self._feed_length(rest)
        # 4. All that comes.
        self._state, self.is_last = "until_close", True
        self._take(rest)
        return None

    def _read_head(self, head: bytes) -> dict[str, str]:
        """Reads the status line; the headers by their names in lower case."""
        status_line, *lines = head.decode("latin-1").split("\r\n")
        content = "".join(lines)
        match = _STATUS_LINE.fullmatch(status_line)
        if match is None or "\r" in content or "\n" in content or "\0" in content:
            raise _bad("its head is none")
        values: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            key = _lower_name(name)
            if key is None or not colon:
                raise _bad("one of its headers is none")
            value = value.strip(" \t")
            values[key] = f"{values[key]}, {value}" if key in values else value
        self._status, self._headers = int(match[2]), HttpHeaders(values)
        self.is_last = match[1] == "0" or "close" in values.get("connection", "").lower()
        return values

    def _feed_length(self, data: bytes) -> HttpAnswer | None:
        if len(data) > self._left:  # more than was announced is no part of any answer
            self.is_last = True
            data = data[: self._left]
        self._parts.append(data)
        self._left -= len(data)
        return None if self._left else HttpAnswer(self._status, self._headers, b"".join(self._parts))

    def _feed_chunks(self) -> HttpAnswer | None:
        while True:
            if self._state == "chunk":
                if len(self._buffer) < self._left:
                    return None
                self._take_chunk()
            line = self._line()
            if line is None:
                return None
            if self._state == "chunk_line":
                self._begin_chunk(line)
            elif not line:  # the end of the trailers, which say nothing that we need
                self.is_last = self.is_last or bool(self._buffer)
                return self._answer()

    def _take_chunk(self) -> None:
        size = self._left - 2
        if not self._buffer.startswith(b"\r\n", size):
            raise _bad("a chunk of its body is longer than it says")
        self._take(self._buffer[:size])
        del self._buffer[: self._left]
        self._state = "chunk_line"

    def _begin_chunk(self, line: bytes) -> None:
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise _bad("a chunk of its body has no size")
        size = int(match[1], 16)
        if len(self._body) + size > MAX_BODY_BYTES:
            raise _bad(f"its body has more than {MAX_BODY_BYTES} bytes")
        self._state, self._left = ("chunk", size + 2) if size else ("trailers", _MAX_HEAD_BYTES)

    def _line(self) -> bytes | None:
        """The next line of the framing, without its end; None when it is not there yet."""
        limit = _MAX_CHUNK_LINE_BYTES if self._state == "chunk_line" else self._left
        end = self._buffer.find(b"\r\n", 0, limit)
        if end < 0:
            if len(self._buffer) >= limit:
                raise _bad("a line of its body's framing is too long")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if self._state == "trailers":
            self._left -= end + 2
        return line
