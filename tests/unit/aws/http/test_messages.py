"""Requests as bytes, and answers from bytes: read strictly, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.aws.http.messages import AnswerReader, HttpAnswer, HttpFailure, request_head
from awsidecar_server.aws.retries import Stage

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-amzn-RequestId: ABC\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\nx-amzn-RequestId: ABC\r\n\r\n"
    b"2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN


def read(data: bytes, cuts: list[int] | None = None) -> tuple[HttpAnswer | None, AnswerReader]:
    reader, answer, start = AnswerReader(), None, 0
    for cut in [*sorted(cuts or []), len(data)]:
        if data[start:cut]:
            answer = reader.feed(data[start:cut])
        start = cut
    return answer, reader


@pytest.mark.parametrize("data", [PLAIN, CHUNKED, INTERIM], ids=["length", "chunks", "interim"])
@given(cuts=st.lists(st.integers(0, 120), max_size=12))
def test_an_answer_is_the_same_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    answer, reader = read(data, [min(cut, len(data)) for cut in cuts])
    assert answer is not None
    assert (answer.status, answer.body) == (400 if data is CHUNKED else 200, b"hello")
    assert answer.headers.get("X-AMZN-REQUESTID") == "ABC"
    assert not reader.is_last


@given(body=st.binary(max_size=3000), size=st.integers(1, 700))
def test_chunks_of_any_size_make_the_body(body: bytes, size: int) -> None:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    answer, _ = read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n" + chunks + b"0\r\n\r\n", [100, 500])
    assert answer is not None
    assert answer.body == body


@given(data=st.binary(max_size=400), prefix=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", CHUNKED[:90]]))
def test_whatever_comes_is_read_or_refused(data: bytes, prefix: bytes) -> None:
    failure = None
    try:
        read(prefix + data, [7, 30, 100])
    except HttpFailure as caught:
        failure = caught
    assert failure is None or (failure.stage, failure.cause) == (Stage.UNREADABLE, "bad_response")


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"<html>",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 9,
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        HEAD + b"Content-Length: +2\r\n\r\n{}",
        HEAD + "Content-Length: ²\r\n\r\n{}".encode("latin-1"),
        HEAD + b"Content-Length: 67108865\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Content-Length : 2\r\n\r\n{}",
        HEAD + b"X: 1\r\n folded\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"X: a\rb\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"X: a\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"X: " + b"a" * 65536 + b"\r\n\r\n",
        HEAD + b"X: " + b"a" * 65536,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n4000001\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 4096,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: 1\r\n" * 20000,
    ],
)
def test_what_is_no_answer_or_has_two_readings_is_refused(data: bytes) -> None:
    with pytest.raises(HttpFailure) as caught:
        read(data)
    assert (caught.value.stage, caught.value.cause) == (Stage.UNREADABLE, "bad_response")


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Connection: Close\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nHTTP",
    ],
    ids=["HTTP/1.0", "close", "surplus", "surplus after chunks"],
)
def test_nothing_follows_an_answer_that_does_not_leave_the_connection_clean(data: bytes) -> None:
    answer, reader = read(data)
    assert answer is not None
    assert answer.body == b"{}"
    assert reader.is_last


def test_a_body_without_length_goes_to_the_end_of_the_connection() -> None:
    answer, reader = read(HEAD + b"\r\n{")
    assert answer is None
    assert reader.feed(b"}") is None
    ended = reader.end()
    assert ended is not None
    assert (ended.body, reader.is_last) == (b"{}", True)


@pytest.mark.parametrize("data", [PLAIN[:-1], CHUNKED[:-2], HEAD])
def test_the_end_does_not_complete_an_answer_that_was_cut_short(data: bytes) -> None:
    assert read(data)[1].end() is None


def test_an_answer_without_body_needs_no_length() -> None:
    answer, reader = read(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert answer is not None
    assert (answer.body, reader.is_last) == (b"", False)


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("announced", ["Content-Length: 2", "Transfer-Encoding: chunked", "Content-Length: x"])
def test_nothing_follows_an_answer_without_body_that_announces_one(status: int, announced: str) -> None:
    """The body comes late, and would be taken for the beginning of what somebody else asked for."""
    answer, reader = read(f"HTTP/1.1 {status} Nothing\r\n{announced}\r\n\r\n".encode())
    assert answer is not None
    assert (answer.body, reader.is_last) == (b"", True)


def test_values_of_the_same_name_are_joined() -> None:
    answer, _ = read(HEAD + b"a: 1\r\nA:\t2 \r\nContent-Length: 0\r\n\r\n")
    assert answer is not None
    assert (answer.headers.get("a"), answer.headers.get("b")) == ("1, 2", None)


def test_neither_body_nor_values_are_in_the_repr() -> None:
    answer, _ = read(PLAIN)
    assert repr(answer) == "HttpAnswer(status=200, headers=<HttpHeaders content-length, x-amzn-requestid>)"


def test_the_head_of_a_request_asks_for_nothing_compressed_and_states_the_length() -> None:
    head = request_head("POST", "/", {"Host": "h", "X-Amz-Target": "T"}, 3)
    assert head == (
        b"POST / HTTP/1.1\r\nHost: h\r\nX-Amz-Target: T\r\nAccept-Encoding: identity\r\nContent-Length: 3\r\n\r\n"
    )


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "é"])
def test_a_header_that_would_be_two_is_refused_and_not_quoted(value: str) -> None:
    with pytest.raises(ValueError, match="a header has") as caught:
        request_head("POST", "/", {"X-Amz-Security-Token": value}, 0)
    assert value not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "head", [b"HTTP/1.0 200 Connection established", b"HTTP/1.1 200 OK\r\nConnection: close", b"HTTP/1.1 200 OK"]
)
def test_answer_to_connect_leaves_the_tunnel_open_whatever_the_proxy_says_of_its_connection(head: bytes) -> None:
    reader = AnswerReader(to_connect=True)
    answer = reader.feed(head + b"\r\n\r\n")
    assert answer is not None
    assert not reader.is_last
