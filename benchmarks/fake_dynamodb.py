"""A DynamoDB that answers from memory: three doors (at once, after 3 ms, at once over TLS), one raw protocol.

It shares the machine with what is measured, so it does next to nothing: finds the action and the table, and writes
bytes that were made at start.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
import zlib
from email.utils import formatdate
from typing import cast

import uvloop

from benchmarks.operations import replies

DELAY_SECONDS = 0.003
# The clocks of caller and server are compared by the Date of a reply, to minutes; this is fresh enough.
_DATE_SECONDS = 20.0
_LENGTH = re.compile(rb"content-length: *(\d+)")
_ACTION = re.compile(rb"x-amz-target: *dynamodb_20120810\.(\w+)")
_TABLE = re.compile(rb'"TableName": ?"([^"]+)"')


class Replies:
    """The canned replies, whole, with their heads."""

    def __init__(self) -> None:
        self._bodies = {
            (action.lower().encode(), table.encode()): json.dumps(reply, separators=(",", ":")).encode()
            for (action, table), reply in replies().items()
        }
        self._by_table = {action for action, table in self._bodies if table}
        self.made: dict[tuple[bytes, bytes], bytes] = {}
        self.refresh()

    def refresh(self) -> None:
        """Makes the replies anew, for their Date."""
        self.made = {name: _reply(200, body) for name, body in self._bodies.items()}
        asyncio.get_running_loop().call_later(_DATE_SECONDS, self.refresh)

    def find(self, head: bytes, body: bytes) -> bytes:
        action = _ACTION.search(head)
        table = b""
        if action and action[1] in self._by_table:
            named = _TABLE.search(body)
            table = named[1] if named else b""
        made = self.made.get((action[1], table)) if action else None
        return made or _reply(400, b'{"__type":"com.amazon.coral.service#UnknownOperationException"}')


def _reply(status: int, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status} {'OK' if status == 200 else 'Bad Request'}\r\n"
        "Server: Server\r\n"
        f"Date: {formatdate(usegmt=True)}\r\n"
        "Content-Type: application/x-amz-json-1.0\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: keep-alive\r\n"
        "x-amzn-RequestId: VJP1MB1V0QV5J2DPMGHP0ES4ABVV4KQNSO5AEMVJF66Q9ASUAAJG\r\n"
        f"x-amz-crc32: {zlib.crc32(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One connection, kept alive for as long as the caller wants it."""

    def __init__(self, canned: Replies, delay: float) -> None:
        self._canned = canned
        self._delay = delay
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:end].lower()
            length = _LENGTH.search(head)
            stop = end + 4 + (int(length[1]) if length else 0)
            if len(buffer) < stop:
                break
            self._answer(self._canned.find(head, buffer[end + 4 : stop]))
            buffer = buffer[stop:]
        self._buffer = buffer

    def _answer(self, reply: bytes) -> None:
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, reply)
        else:
            self._transport.write(reply)


async def serve(certificate: str, private_key: str) -> None:
    """Serves until standard input ends; tells its addresses in one line on standard output."""
    loop, canned = asyncio.get_running_loop(), Replies()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private_key)
    doors = {
        "instant": await loop.create_server(lambda: Connection(canned, 0), "127.0.0.1", 0, backlog=1024),
        "delayed": await loop.create_server(
            lambda: Connection(canned, DELAY_SECONDS), "127.0.0.1", 0, backlog=1024
        ),
        "tls": await loop.create_server(lambda: Connection(canned, 0), "127.0.0.1", 0, ssl=context, backlog=1024),
    }
    ports = {name: server.sockets[0].getsockname()[1] for name, server in doors.items()}
    scheme = {"tls": "https://localhost"}
    print(json.dumps({name: f"{scheme.get(name, 'http://127.0.0.1')}:{port}" for name, port in ports.items()}))
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2]))
