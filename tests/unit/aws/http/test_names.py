"""Names of hosts: what is looked up, how often, and who waits for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from tests.unit.aws.http.posting import until

from awsidecar_server.aws.http import HttpFailure
from awsidecar_server.aws.http.dialer import Dialer, Origin
from awsidecar_server.aws.http.names import Addresses, Names, Place
from awsidecar_server.aws.http.proxies import Proxies
from awsidecar_server.aws.retries import Stage
from awsidecar_server.config import AwsConfig
from awsidecar_server.errors import Draining

# As many as are looked up at a time.
MOST = 4


class NameServer:
    """Says nothing about a name until the test has it do so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._said: dict[str, asyncio.Future[Addresses]] = {}

    async def look_up(self, place: Place) -> Addresses:
        self.asked.append(place.host)
        self._said[place.host] = asyncio.get_running_loop().create_future()
        return await self._said[place.host]

    def say(self, host: str) -> None:
        address = ("192.0.2.1", 443)
        self._said[host].set_result([(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)])

    def fail(self, host: str) -> None:
        self._said[host].set_exception(socket.gaierror(socket.EAI_NONAME, "no such name"))


@asynccontextmanager
async def naming() -> AsyncIterator[tuple[Names, NameServer]]:
    server = NameServer()
    names = Names(server.look_up)
    try:
        yield names, server
    finally:
        await names.aclose()


def asking(names: Names, host: str) -> asyncio.Task[Addresses]:
    return asyncio.create_task(names.addresses(host, 443))


async def given_up(task: asyncio.Task[Addresses]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_an_address_is_not_looked_up(host: str, family: int) -> None:
    async with naming() as (names, server):
        found = await names.addresses(host, 443)
        assert [(one[0], one[4][:2]) for one in found] == [(family, (host, 443))]
        assert server.asked == []


async def test_a_name_is_looked_up_once_for_all_who_wait_and_anew_for_who_comes_later() -> None:
    async with naming() as (names, server):
        waiting = [asking(names, "aws") for _ in range(3)]
        await until(lambda: server.asked == ["aws"])
        server.say("aws")
        assert [(await one)[0][4] for one in waiting] == [("192.0.2.1", 443)] * 3
        later = asking(names, "aws")
        await until(lambda: server.asked == ["aws", "aws"])
        server.fail("aws")
        with pytest.raises(socket.gaierror):
            await later


async def test_a_name_without_answer_is_not_asked_for_again_by_those_who_come_after_those_who_gave_up() -> None:
    async with naming() as (names, server):
        for _ in range(3 * MOST):
            waiting = asking(names, "dead")
            await until(lambda: server.asked == ["dead"])
            await given_up(waiting)
        other = asking(names, "aws")
        await until(lambda: server.asked == ["dead", "aws"])
        server.say("aws")
        assert await other


async def test_no_more_names_are_looked_up_at_a_time_than_there_are_threads() -> None:
    async with naming() as (names, server):
        dead = [f"dead-{number}" for number in range(MOST)]
        first = [asking(names, host) for host in dead]
        await until(lambda: server.asked == dead)
        queued = [asking(names, host) for host in ("gone", "aws", "aws", "other")]
        joining = asking(names, dead[2])
        await asyncio.sleep(0)
        await given_up(queued[0])
        assert server.asked == dead
        server.fail(dead[0])
        await until(lambda: server.asked == [*dead, "aws"])
        server.fail(dead[1])  # room for another name, and not for the same one once more
        await until(lambda: server.asked == [*dead, "aws", "other"])
        for host in (*dead[2:], "aws", "other"):
            server.say(host)
        assert await joining
        assert all(await asyncio.gather(*first[2:], *queued[1:]))
        assert server.asked == [*dead, "aws", "other"]
        more = [asking(names, f"more-{number}") for number in range(MOST)]
        await until(lambda: len(server.asked) == 2 * MOST + 2)
        for one in more:
            await given_up(one)


async def test_a_name_that_many_wait_for_behind_names_without_answer_is_looked_up_once() -> None:
    async with naming() as (names, server):
        dead = [asking(names, f"dead-{number}") for number in range(MOST - 1)]
        busy = asking(names, "busy")
        await until(lambda: len(server.asked) == MOST)
        waiting = [asking(names, "aws") for _ in range(40)]
        await asyncio.sleep(0)
        await given_up(waiting[0])  # its turn in the queue is that of the others
        server.say("busy")
        await until(lambda: server.asked[MOST:] == ["aws"])
        server.say("aws")
        async with asyncio.timeout(5):
            assert all(await asyncio.gather(busy, *waiting[1:]))
        assert server.asked[MOST:] == ["aws"]
        for one in dead:
            await given_up(one)


async def test_nothing_is_looked_up_once_it_is_closed() -> None:
    async with naming() as (names, server):
        waiting = [asking(names, f"aws-{number}") for number in range(3 * MOST)]
        await until(lambda: len(server.asked) == MOST)
        await names.aclose()
        async with asyncio.timeout(5):
            for one in waiting:
                with pytest.raises(Draining):
                    await one
        with pytest.raises(Draining):
            await names.addresses("other", 443)
        assert len(server.asked) == MOST


async def test_who_waits_for_an_address_when_it_is_closed_has_sent_nothing() -> None:
    async with naming() as (names, server):
        dialer = Dialer(AwsConfig(), Proxies({}), names)
        dialing = asyncio.create_task(dialer.dial(Origin("http", "aws", 80), lambda _: None))
        await until(lambda: server.asked == ["aws"])
        await dialer.aclose()
        with pytest.raises(HttpFailure) as failed:
            await dialing
        assert (failed.value.stage, failed.value.cause) == (Stage.UNSENT, "connect")
