from __future__ import annotations

import base64
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.dynamodb.changes.checkpoints import BadCheckpoint, Checkpoint
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

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/users/stream/2026-03-01T12:00:00.000"
NUMBERS = st.text("0123456789", min_size=21, max_size=40)
POSITIONS: st.SearchStrategy[Position] = st.one_of(
    st.builds(At, NUMBERS),
    st.builds(After, NUMBERS),
    st.builds(Since, st.integers(0, 10**13)),
    st.just(Oldest()),
    st.just(OldestIfAny()),
    st.just(OldestOfLine()),
    st.just(End()),
)
CHECKPOINTS = st.builds(
    Checkpoint, st.just(ARN), st.dictionaries(st.from_regex(r"\AshardId-[0-9a-f-]{20,57}\Z"), POSITIONS)
)


def packed(payload: bytes, version: int = 1) -> str:
    raw = bytes([version]) + zlib.compress(payload)
    return base64.urlsafe_b64encode(raw + zlib.crc32(raw).to_bytes(4, "big")).rstrip(b"=").decode()


@given(CHECKPOINTS)
def test_checkpoint_is_read_as_it_was_written(checkpoint: Checkpoint) -> None:
    text = checkpoint.text()
    assert Checkpoint.read(text) == checkpoint
    assert text.isascii()
    assert text.replace("-", "").replace("_", "").isalnum()


@given(CHECKPOINTS, st.data())
def test_what_was_cut_or_mistyped_is_told(checkpoint: Checkpoint, data: st.DataObject) -> None:
    text = checkpoint.text()
    place = data.draw(st.integers(0, len(text) - 2))
    other = data.draw(st.sampled_from("ABCxyz019-_ é").filter(lambda letter: letter != text[place]))
    for damaged in (text[:place], text[:place] + other + text[place + 1 :]):
        with pytest.raises(BadCheckpoint):
            Checkpoint.read(damaged)


@given(st.text(max_size=60))
def test_any_other_text_is_no_checkpoint(text: str) -> None:
    with pytest.raises(BadCheckpoint):
        Checkpoint.read(text)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"null",
        b'["arn"]',
        b'["arn",[]]',
        b'[1,{"s":"^"}]',
        b'["arn",{"s":""}]',
        b'["arn",{"s":"=x"}]',
        b'["arn",{"s":">"}]',
        b'["arn",{"s":"@-1"}]',
        b'["arn",{"s":"^^"}]',
        b'["arn",{"s":"<1"}]',
        b'["arn",{"s":"?1"}]',
        b'["arn",{"s":"?<"}]',
        b'["arn",{"s":5}]',
        b'["arn",{"s":{}}]',
        b'["arn",{"s":["=","1"]}]',
        b'["arn",{"s":"@100000000000000000000"}]',
        b'["arn",{"s":"@4000000000000000"}]',
        b'["arn",{"s":"@253402300800000"}]',
        b'["arn",{"s":">%s"}]' % (b"9" * 3000),
        b'["arn",{"":"^"}]',
        b'["arn",{"s\\n":"^"}]',
        b'["arn",{"\\ud800":"^"}]',
        b'["arn",{"\xed\xa0\x80":"^"}]',
        b'["arn",{"%s":"^"}]' % (b"s" * 66),
        b'["arn\\u0000",{"s":"^"}]',
        b'["%s",{"s":"^"}]' % (b"a" * 1025),
        b'["arn",{"s":"^",}]',
        b'["arn",{"s":"^"}] ',
        b"[" * 100_000,
    ],
)
def test_sound_text_with_something_else_in_it_is_no_checkpoint(payload: bytes) -> None:
    with pytest.raises(BadCheckpoint):
        Checkpoint.read(packed(payload))


@given(CHECKPOINTS, st.data())
def test_content_that_was_changed_is_a_checkpoint_still_or_none(
    checkpoint: Checkpoint, data: st.DataObject
) -> None:
    raw = base64.urlsafe_b64decode(checkpoint.text() + "==")
    content = zlib.decompress(raw[1:-4])
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(start + 3, len(content))))
    other = data.draw(
        st.one_of(st.sampled_from([b'"', b",", b"{}", b"[]", b"^", b"@", b"9" * 20]), st.binary(max_size=4))
    )
    try:
        found = Checkpoint.read(packed(content[:start] + other + content[end:]))
    except BadCheckpoint:
        return
    assert Checkpoint.read(found.text()) == found


def test_last_time_that_aws_takes_is_read() -> None:
    assert Checkpoint.read(packed(b'["arn",{"s":"@253402300799999"}]')).positions == {"s": Since(253402300799999)}


def test_checkpoint_of_as_many_shards_as_are_listed_is_read_and_of_more_is_not() -> None:
    def checkpoint(shards: int) -> Checkpoint:
        draw = random.Random(1)
        names = (f"shardId-{draw.randrange(10**57):057d}" for _ in range(shards))
        return Checkpoint(ARN, {name: After(f"{draw.randrange(10**40):040d}") for name in names})

    largest = checkpoint(20_000)
    assert Checkpoint.read(largest.text()) == largest
    with pytest.raises(BadCheckpoint, match="more shards than a stream has"):
        Checkpoint.read(packed(b'["arn",{%s}]' % b",".join(b'"%d":"^"' % one for one in range(20_001))))


def test_version_that_is_not_known_is_told() -> None:
    with pytest.raises(BadCheckpoint, match="another version"):
        Checkpoint.read(packed(b'["arn",{}]', version=2))


def test_text_that_would_unpack_to_more_than_any_checkpoint_is_refused() -> None:
    with pytest.raises(BadCheckpoint):
        Checkpoint.read(packed(b'["arn",{}]' + b" " * 20_000_000))
    with pytest.raises(BadCheckpoint, match="longer than any"):
        Checkpoint.read("A" * 3_000_000)


def test_checkpoint_grows_by_some_fifty_characters_for_each_shard() -> None:
    def size(shards: int) -> int:
        positions: dict[str, Position] = {
            f"shardId-0000000179537766{shard * 7919 % 9973:04d}-{shard * 2654435761 % 2**32:08x}": After(
                f"{shard * 48271 % 2**31:010d}{shard * 69621 % 2**31:011d}"
            )
            for shard in range(1, shards + 1)
        }
        return len(Checkpoint(ARN, positions).text())

    assert size(1) < 220
    assert (size(64) - size(1)) / 63 < 60
