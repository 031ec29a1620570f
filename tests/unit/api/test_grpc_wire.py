from __future__ import annotations

import gzip
import random
import zlib
from typing import Any
from urllib.parse import unquote

import hpack
import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.api import grpc_wire as wire

LIMIT = 1000


def fields(block: bytes) -> dict[str, str]:
    decoded: Any = hpack.Decoder().decode(block)
    return dict(decoded)


def test_response_begins_with_status_200_and_grpcs_content_type() -> None:
    assert fields(wire.RESPONSE) == {":status": "200", "content-type": "application/grpc"}


@given(st.text())
def test_status_message_is_percent_encoded_printable_ascii(message: str) -> None:
    encodable = message.encode("utf-8", "replace").decode()
    found = fields(wire.status(StatusCode.NOT_FOUND, encodable))
    sent = found.get("grpc-message", "")
    assert found["grpc-status"] == "5"
    assert sent.isascii()
    assert sent.isprintable()
    assert unquote(sent) == encodable


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_binary_metadata_come_back_as_they_were_sent(values: list[bytes]) -> None:
    sent = tuple(("x-some-bin", value) for value in values)
    block = wire.status(StatusCode.OK, "", sent)
    decoded: list[tuple[Any, Any]] = list(hpack.Decoder().decode(block))
    received = [(name, value) for name, value in decoded if name == "x-some-bin"]
    assert wire.metadata_of(received) == sent
    joined = [("x-some-bin", ",".join(value for _, value in received))]
    if values:
        assert wire.metadata_of(joined) == sent


def test_metadata_are_what_the_caller_said_and_not_what_http_and_grpc_need() -> None:
    said = [
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("user-agent", "u"),
    ]
    assert wire.metadata_of(said) == (("x-a", "1"), ("x-a", "2"), ("user-agent", "u"))


def test_binary_metadata_that_are_no_base64_are_refused() -> None:
    with pytest.raises(wire.Refused) as refused:
        wire.metadata_of([("x-some-bin", "!")])
    assert refused.value.code is StatusCode.INVALID_ARGUMENT
    assert "field" in refused.value.failure.metadata


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1H", 3600), ("2M", 120), ("30S", 30), ("250m", 0.25), ("99999999n", 0.099999999), ("0S", 0)],
)
def test_timeout_is_read_in_its_unit(text: str, seconds: float) -> None:
    assert wire.timeout_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "S", "5", "5s", "-5S", "1.5S", "999999999S", "٣S", " 5S"])
def test_timeout_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(wire.Refused):
        wire.timeout_seconds(text)


@given(st.binary(max_size=LIMIT))
def test_compressed_messages_are_read(message: bytes) -> None:
    assert b"".join(wire.decompressed(gzip.compress(message), "gzip", LIMIT)) == message
    assert b"".join(wire.decompressed(zlib.compress(message), "deflate", LIMIT)) == message


@pytest.mark.parametrize("message", [bytes(10_000_000), random.Random(1).randbytes(300_000) + bytes(65_536 * 3)])
@pytest.mark.parametrize("level", [0, 6])
def test_large_compressed_message_is_made_piece_by_piece(message: bytes, level: int) -> None:
    pieces = list(wire.decompressed(gzip.compress(message, level), "gzip", len(message)))
    assert b"".join(pieces) == message
    assert max(map(len, pieces)) <= 64 * 1024


def test_compressed_message_may_be_as_large_as_the_limit_and_no_larger() -> None:
    for size in (65_535, 65_536, 65_537):
        raw = gzip.compress(bytes(size))
        assert b"".join(wire.decompressed(raw, "gzip", size)) == bytes(size)
        with pytest.raises(wire.Refused):
            list(wire.decompressed(raw, "gzip", size - 1))


def test_small_message_that_is_large_when_decompressed_is_refused_without_being_made() -> None:
    with pytest.raises(wire.Refused) as refused:
        list(wire.decompressed(gzip.compress(bytes(10_000_000)), "gzip", LIMIT))
    assert refused.value.code is StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("message", "encoding", "code"),
    [
        (b"no gzip", "gzip", StatusCode.INVALID_ARGUMENT),
        (gzip.compress(b"whole", mtime=0)[:-4], "gzip", StatusCode.INVALID_ARGUMENT),
        (gzip.compress(b"one", mtime=0) + gzip.compress(b"two", mtime=0), "gzip", StatusCode.INVALID_ARGUMENT),
        (gzip.compress(bytes(900), 0, mtime=0).ljust(65_536 * 2), "gzip", StatusCode.INVALID_ARGUMENT),
        (zlib.compress(b"one") + b"\0", "deflate", StatusCode.INVALID_ARGUMENT),
        (b"", "snappy", StatusCode.UNIMPLEMENTED),
        (b"", "", StatusCode.INTERNAL),
    ],
)
def test_what_cannot_be_decompressed_is_refused(message: bytes, encoding: str, code: StatusCode) -> None:
    with pytest.raises(wire.Refused) as refused:
        list(wire.decompressed(message, encoding, LIMIT))
    assert refused.value.code is code
    assert refused.value.failure.reason in {"MALFORMED_MESSAGE", "INVALID_REQUEST"}
