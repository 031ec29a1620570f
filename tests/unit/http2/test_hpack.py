"""Header compression, with the hpack library as the oracle."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.http2.hpack import TABLE_BYTES, BadHeaders, Decoder, encoded
from awsidecar_server.http2.huffman import NotHuffman, decoded

ROOM = 1 << 20
names = st.sampled_from([":path", ":method", "te", "user-agent", "grpc-timeout", "x-a", "x-b"])
texts = st.text(st.characters(max_codepoint=255), max_size=60)
blocks = st.lists(st.lists(st.tuples(names, texts), max_size=8), max_size=12)


def raw(fields: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]


@given(blocks, st.booleans(), st.sampled_from([0, 60, 200, TABLE_BYTES]))
def test_blocks_of_a_connection_are_read_as_they_were_written(
    blocks: list[list[tuple[str, str]]], huffman: bool, table_bytes: int
) -> None:
    encoder, decoder = hpack.Encoder(), Decoder()
    encoder.header_table_size = table_bytes
    for fields in blocks:
        assert decoder.decode(encoder.encode(raw(fields), huffman=huffman), ROOM) == fields


@given(st.lists(st.tuples(names, st.text(st.characters(max_codepoint=255), max_size=400)), max_size=8))
def test_fields_are_written_as_others_read_them(fields: list[tuple[str, str]]) -> None:
    block = b"".join(encoded(name, value) for name, value in fields)
    decoder = hpack.Decoder()
    decoder.max_header_list_size = ROOM
    assert decoder.decode(block, raw=True) == raw(fields)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(block: bytes) -> None:
    try:
        found = Decoder().decode(block, ROOM)
    except BadHeaders:
        return
    assert found is not None


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # field 0
        b"\xfe",  # beyond the table
        b"\xff\xff\xff\xff\xff\xff\x7f",  # an integer without end
        b"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00",  # zeros without end
        b"\x82\x20",  # a change of the table behind a field
        b"\x3f\xe2\x1f",  # a table of 4097 bytes
        b"\x00\x7f\xff\xff\x03a",  # a string longer than the block
        b"\x00\x81\xff\x81\xff",  # padding for a whole byte
        b"\x00\x84\xff\xff\xff\xff\x00",  # the end of a string within it
        b"\x00",  # a field without a name
        b"\x00\x01",
    ],
)
def test_what_is_no_block_is_refused(block: bytes) -> None:
    with pytest.raises(BadHeaders):
        Decoder().decode(block, ROOM)


def test_changes_of_the_table_are_few() -> None:
    """They have no size that would count: a MiB of them holds the loop for most of a second."""
    assert Decoder().decode(b"\x20" * 15 + b"\x3f\xe1\x1f" + b"\x82", ROOM) == [(":method", "GET")]
    with pytest.raises(BadHeaders):
        Decoder().decode(b"\x20" * 17, ROOM)


def test_fields_beyond_the_limit_are_read_and_not_kept() -> None:
    """A small block may refer to a large field many times; the table must be right for the next block all the same."""
    encoder, decoder = hpack.Encoder(), Decoder()
    large = ("x-large", "v" * 3000)
    assert decoder.decode(encoder.encode(raw([large])), 10_000) == [large]
    assert decoder.decode(encoder.encode(raw([large] * 40 + [("x-b", "new")])), 10_000) is None
    assert decoder.decode(encoder.encode(raw([("x-b", "new")])), 10_000) == [("x-b", "new")]
    with pytest.raises(BadHeaders):
        decoder.decode(encoder.encode(raw([large] * 100)), 10_000)


def test_huffman_codes_are_read_byte_by_byte_whatever_they_are_cut_like() -> None:
    everything = bytes(range(256)) * 2
    block = hpack.Encoder().encode([(b"x", everything)], huffman=True)
    assert Decoder().decode(block, ROOM) == [("x", everything.decode("latin-1"))]


@pytest.mark.parametrize("code", [b"\xff\xff\xff\xfc", b"\xff", b"\x00\xff\xff", b"\xfe"])
def test_what_is_no_code_is_refused(code: bytes) -> None:
    with pytest.raises(NotHuffman):
        decoded(code)
