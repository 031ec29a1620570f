from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from tests.unit.workers.fakes import channels, refuse

from awsidecar_server.workers import channel as module
from awsidecar_server.workers.channel import Channel, ChannelLost, QuestionFailed


async def echo(what: str, about: Any) -> Any:
    return [what, about]


async def never(what: str, about: Any) -> Any:
    await asyncio.Event().wait()


async def test_both_ends_ask_and_answer() -> None:
    async with channels(echo, echo) as (one, other):
        assert await one.ask("open", {"digest": "ab"}) == ["open", {"digest": "ab"}]
        assert await other.ask("scrape") == ["scrape", None]


async def test_answers_come_to_their_questions_in_any_order() -> None:
    first_may_end = asyncio.Event()

    async def answer(what: str, about: Any) -> Any:
        if what == "first":
            await first_may_end.wait()
        return what

    async with channels(answer) as (one, _):
        first, second = one.ask("first"), one.ask("second")
        assert await second == "second"
        assert not first.done()
        first_may_end.set()
        assert await first == "first"


async def test_questions_are_begun_in_the_order_in_which_they_were_asked() -> None:
    begun: list[int] = []

    async def answer(what: str, about: Any) -> Any:
        begun.append(about)

    async with channels(answer) as (one, _):
        await asyncio.gather(*(one.ask("count", number) for number in range(1000)))
    assert begun == list(range(1000))


async def test_long_message_arrives_whole() -> None:
    async with channels(echo) as (one, _):
        text = "x" * 3_000_000
        assert await one.ask("scrape", text) == ["scrape", text]


async def test_question_that_fails_by_a_defect_is_told_so_without_its_words() -> None:
    async def answer(what: str, about: Any) -> Any:
        raise ZeroDivisionError("a-secret")

    async with channels(answer) as (one, _):
        with pytest.raises(QuestionFailed) as failed:
            await one.ask("open")
        assert "a-secret" not in str(failed.value)


async def test_question_that_nobody_waits_for_any_longer_hurts_no_other() -> None:
    may_answer = asyncio.Event()

    async def answer(what: str, about: Any) -> Any:
        await may_answer.wait()
        return what

    async with channels(answer) as (one, _):
        given_up, waited_for = one.ask("given up"), one.ask("waited for")
        given_up.cancel()
        may_answer.set()
        assert await waited_for == "waited for"
        assert repr(one) == "<Channel [Questions: 0 asked, 0 being answered]>"


async def test_end_that_is_gone_ends_the_questions_that_are_open_and_those_to_come() -> None:
    async with channels(never) as (one, other):
        waiting = one.ask("open")
        await other.aclose()
        await asyncio.wait_for(one.lost(), 10)
        for question in (waiting, one.ask("close")):
            with pytest.raises(ChannelLost):
                await question
        await asyncio.sleep(0)  # a question is taken off the list in the loop's next turn
        assert repr(one) == "<Channel [Questions: 0 asked, 0 being answered]>"


async def test_end_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING_BYTES", 1_000_000)
    ours, silent = socket.socketpair()
    channel = await Channel.over(ours, refuse)
    with silent:
        waiting = [channel.ask("open", "x" * 100_000) for _ in range(30)]
        with pytest.raises(ChannelLost):
            await waiting[0]
        await channel.aclose()


async def test_message_that_is_too_long_ends_the_channel() -> None:
    ours, theirs = socket.socketpair()
    channel = await Channel.over(ours, refuse)
    with theirs:
        theirs.sendall(b"\xff\xff\xff\xff")
        await asyncio.wait_for(channel.lost(), 10)
    await channel.aclose()
