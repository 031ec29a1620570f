from __future__ import annotations

import asyncio

import pytest
from tests.unit import virtual_time
from tests.unit.dynamodb.fake_batches import CONNECTIONS, SCOPE, FakeDynamoDb, session

from awsidecar_server.dynamodb import table_keys
from awsidecar_server.dynamodb.table_keys import Room, TableKeys
from awsidecar_server.errors import Draining, Unauthenticated
from awsidecar_server.operations import Scope


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


async def test_a_key_is_asked_for_once_and_again_after_ten_seconds() -> None:
    aws, clock = FakeDynamoDb({"T": ("pk", "sk")}), Clock()
    keys = TableKeys(aws, CONNECTIONS, clock)
    assert await keys.of("T", SCOPE) == await keys.of("T", SCOPE) == ("pk", "sk")
    assert aws.counts["DescribeTable"] == 1
    clock.time = 9.9
    await keys.of("T", SCOPE)
    assert aws.counts["DescribeTable"] == 1
    clock.time = 10
    await keys.of("T", SCOPE)
    assert aws.counts["DescribeTable"] == 2


async def test_who_comes_meanwhile_waits_for_the_same_answer() -> None:
    aws = FakeDynamoDb()
    keys = TableKeys(aws, CONNECTIONS)
    assert await asyncio.gather(*(keys.of("T", SCOPE) for _ in range(10))) == [("pk",)] * 10
    assert aws.counts["DescribeTable"] == 1


async def test_what_one_caller_may_know_is_not_told_to_another() -> None:
    aws = FakeDynamoDb()
    keys = TableKeys(aws, CONNECTIONS)
    assert await keys.of("T", session("AKIAONE")) == ("pk",)
    aws.is_described = False
    assert await keys.of("T", session("AKIATWO")) is None
    assert await keys.of("T", session("AKIAONE")) == ("pk",)


async def test_a_refusal_is_kept_for_a_moment_only() -> None:
    aws, clock = FakeDynamoDb(), Clock()
    keys = TableKeys(aws, CONNECTIONS, clock)
    aws.is_described = False
    assert await keys.of("T", SCOPE) is await keys.of("T", SCOPE) is None
    assert aws.counts["DescribeTable"] == 1
    aws.is_described, clock.time = True, 5.0
    assert await keys.of("T", SCOPE) == ("pk",)


async def test_denial_is_known_as_such_until_the_key_is_told() -> None:
    aws, clock = FakeDynamoDb(), Clock()
    keys = TableKeys(aws, CONNECTIONS, clock)
    assert not keys.is_denied("T", SCOPE)
    aws.is_described = False
    assert await keys.of("T", SCOPE) is None
    assert keys.is_denied("T", SCOPE)
    assert not keys.is_denied("T", session("AKIATWO"))
    assert not keys.is_denied("T", Scope(SCOPE.caller, "us-east-1"))
    keys.forget("T", SCOPE)
    aws.is_described, clock.time = True, 5.0
    del aws.keys["T"]
    assert await keys.of("T", SCOPE) is None
    assert keys.is_denied("T", SCOPE)
    aws.keys["T"], clock.time = ("pk",), 10.0
    assert await keys.of("T", SCOPE) == ("pk",)
    assert not keys.is_denied("T", SCOPE)


async def test_failure_that_passes_is_no_denial() -> None:
    aws = FakeDynamoDb()
    keys = TableKeys(aws, CONNECTIONS)
    assert await keys.of("none", SCOPE) is None
    assert not keys.is_denied("none", SCOPE)


async def test_a_forgotten_key_is_asked_for_again() -> None:
    aws = FakeDynamoDb()
    keys = TableKeys(aws, CONNECTIONS)
    await keys.of("T", SCOPE)
    keys.forget("T", SCOPE)
    aws.keys["T"] = ("other",)
    assert await keys.of("T", SCOPE) == ("other",)


async def test_that_a_key_is_not_known_is_not_forgotten() -> None:
    """Else a stream of writes to a table that is not there would ask for its key after each batch that fails."""
    aws, clock = FakeDynamoDb(), Clock()
    keys = TableKeys(aws, CONNECTIONS, clock)
    assert await keys.of("none", SCOPE) is None
    keys.forget("none", SCOPE)
    assert await keys.of("none", SCOPE) is None
    assert aws.counts["DescribeTable"] == 1


async def test_the_tables_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    aws = FakeDynamoDb({f"T{number}": ("pk",) for number in range(10)})
    keys = TableKeys(aws, CONNECTIONS, Clock())
    monkeypatch.setattr(table_keys, "_MOST_TABLES", 5)
    for name in aws.keys:
        await keys.of(name, SCOPE)
    assert repr(keys) == "<TableKeys of 5 tables>"


async def test_no_secret_shows() -> None:
    keys = TableKeys(FakeDynamoDb(), CONNECTIONS)
    await keys.of("T", session("AKIAONE"))
    assert "AKIA" not in repr(keys)
    await keys.aclose()


async def test_key_that_became_known_while_there_was_no_room_is_not_asked_for_again() -> None:
    aws, room = FakeDynamoDb(), Room()
    keys = TableKeys(aws, CONNECTIONS)
    assert await asyncio.gather(*(keys.of("T", SCOPE, room) for _ in range(5))) == [("pk",)] * 5
    assert aws.counts["DescribeTable"] == 1


async def test_name_that_no_table_can_have_is_neither_asked_for_nor_kept() -> None:
    aws = FakeDynamoDb()
    keys = TableKeys(aws, CONNECTIONS)
    assert await keys.of("x" * 1025, SCOPE) is None
    assert not aws.counts["DescribeTable"]
    assert repr(keys) == "<TableKeys of 0 tables>"


class Hanging(FakeDynamoDb):
    """Tables named `h...` are not described in time, and it takes 1.5 seconds for those named `slow...`."""

    def __init__(self, hanging: int) -> None:
        self.hanging = [f"h{number}" for number in range(hanging)]
        super().__init__(dict.fromkeys(("T", *self.hanging), ("pk",)))
        self.under_way = self.most_under_way = 0
        self.pause_describing = self._hang

    async def _hang(self, table: str) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(100 if table in self.hanging else 1.5 if table.startswith("slow") else 0)
        finally:
            self.under_way -= 1


def test_questions_that_hang_hold_up_another_one_for_a_second() -> None:
    async def play() -> None:
        aws, room = Hanging(8), Room()
        keys = TableKeys(aws, CONNECTIONS)
        hanging = [asyncio.ensure_future(keys.of(name, SCOPE, room)) for name in aws.hanging]
        await asyncio.sleep(0)
        assert await keys.of("T", SCOPE, room) == ("pk",)
        assert asyncio.get_running_loop().time() == 1
        assert await asyncio.gather(*hanging) == [None] * 8
        assert asyncio.get_running_loop().time() == 10

    virtual_time.run(play())


def test_who_is_cancelled_makes_no_room_while_its_question_goes_on() -> None:
    async def play() -> None:
        aws, room = Hanging(24), Room()
        keys = TableKeys(aws, CONNECTIONS)
        asking = [asyncio.ensure_future(keys.of(name, SCOPE, room)) for name in aws.hanging[:16]]
        await asyncio.sleep(1.5)
        for one in asking:
            one.cancel()
        await asyncio.wait(asking)
        asking = [asyncio.ensure_future(keys.of(name, SCOPE, room)) for name in aws.hanging[16:]]
        later = asyncio.ensure_future(keys.of("T", SCOPE, room))
        await asyncio.sleep(0.9)
        assert (aws.under_way, later.done()) == (24, False)
        assert await later == ("pk",)
        assert asyncio.get_running_loop().time() == 3
        await asyncio.wait(asking)

    virtual_time.run(play())


def test_room_that_a_slow_question_has_made_is_not_made_again_when_it_is_answered() -> None:
    async def play() -> None:
        aws, room = Hanging(24), Room()
        keys = TableKeys(aws, CONNECTIONS)
        await asyncio.gather(*(keys.of(f"slow{number}", SCOPE, room) for number in range(8)))
        asking = [asyncio.ensure_future(keys.of(name, SCOPE, room)) for name in aws.hanging]
        await asyncio.sleep(0.5)
        assert aws.under_way == 8
        await asyncio.wait(asking)

    virtual_time.run(play())


def test_questions_of_a_stream_that_are_under_way_are_bounded_and_who_gets_no_turn_goes_on_without() -> None:
    async def play() -> None:
        aws, room = Hanging(1000), Room()
        keys = TableKeys(aws, CONNECTIONS)
        assert await asyncio.gather(*(keys.of(name, SCOPE, room) for name in aws.hanging)) == [None] * 1000
        assert asyncio.get_running_loop().time() == 10
        assert aws.most_under_way == 80

    virtual_time.run(play())


@pytest.mark.parametrize(("connections", "most"), [(1, 2), (11, 2), (12, 3), (100, 25)])
def test_questions_of_all_streams_leave_most_connections_to_other_calls(connections: int, most: int) -> None:
    async def play() -> None:
        aws, loop = Hanging(most), asyncio.get_running_loop()
        keys = TableKeys(aws, connections)
        asking = [asyncio.ensure_future(keys.of(name, session(name))) for name in aws.hanging]
        await asyncio.sleep(1)
        assert await keys.of("T", SCOPE) is None
        assert (aws.counts["DescribeTable"], aws.under_way, loop.time()) == (most, most, 3)
        # Nor does anybody else wait, for a while.
        await asyncio.sleep(4)
        assert await keys.of("T", SCOPE) is None
        assert loop.time() == 7
        await asyncio.sleep(1.5)
        assert await keys.of("T", SCOPE) == ("pk",)
        assert loop.time() == 10
        await asyncio.gather(*asking)

    virtual_time.run(play())


async def test_many_who_ask_at_once_are_all_told() -> None:
    aws = Hanging(0)
    keys = TableKeys(aws, 8)
    scopes = [session(f"AKIA{number}") for number in range(100)]
    assert await asyncio.gather(*(keys.of("T", scope) for scope in scopes)) == [("pk",)] * 100
    assert aws.most_under_way == 2


def test_caller_that_asks_very_much_leaves_others_room_to_wait() -> None:
    async def play() -> None:
        aws = Hanging(1100)
        aws.keys["slow"] = ("pk",)
        keys = TableKeys(aws, 8)
        asking = [asyncio.ensure_future(keys.of("slow", SCOPE))]
        asking += [asyncio.ensure_future(keys.of(name, session("AKIABAD"))) for name in aws.hanging]
        await asyncio.sleep(1)
        assert await keys.of("T", SCOPE) == ("pk",)
        assert asyncio.get_running_loop().time() == 1.5
        await asyncio.gather(*asking)

    virtual_time.run(play())


@pytest.mark.parametrize("callers", [1, 2, 9])
def test_callers_that_ask_very_much_leave_a_place_for_another_one(callers: int) -> None:
    async def play() -> None:
        aws = Hanging(600)
        keys = TableKeys(aws, 100)
        asking = [
            asyncio.ensure_future(keys.of(name, session(f"AKIABAD{number}"), is_urgent=False))
            for number in range(callers)
            for name in aws.hanging
        ]
        await asyncio.sleep(1)
        # Half of what others leave.
        assert len(keys._flights) == 1024 - 1024 // 2**callers
        waiting = asyncio.ensure_future(keys.of("T", SCOPE, is_urgent=False))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(keys._flights) == 1024 - 1024 // 2**callers + 1
        await asyncio.gather(*asking, waiting)
        assert not keys._asking

    virtual_time.run(play())


def test_who_finds_all_places_taken_goes_on_at_once_without_the_key() -> None:
    async def play() -> None:
        aws, loop = Hanging(600), asyncio.get_running_loop()
        keys = TableKeys(aws, 100)
        scopes = [session(f"AKIA{number}") for number in range(20)]
        asking = [
            asyncio.ensure_future(keys.of(name, scope, is_urgent=False)) for scope in scopes for name in aws.hanging
        ]
        await asyncio.sleep(1)
        assert len(keys._flights) == 1024
        assert await keys.of("T", SCOPE, is_urgent=False) is None
        assert loop.time() == 1
        await asyncio.gather(*asking)
        assert not keys._asking
        assert await keys.of("T", SCOPE) == ("pk",)

    virtual_time.run(play())


@pytest.mark.parametrize(("connections", "most"), [(1, 1), (12, 1), (100, 12)])
def test_caller_whose_questions_hang_keeps_no_other_one_from_asking(connections: int, most: int) -> None:
    async def play() -> None:
        aws, loop = Hanging(100), asyncio.get_running_loop()
        keys = TableKeys(aws, connections)
        asking = [asyncio.ensure_future(keys.of(name, session("AKIABAD"))) for name in aws.hanging]
        await asyncio.sleep(1)
        assert await keys.of("T", SCOPE) == ("pk",)
        await asyncio.sleep(2)
        # It alone gives up at once, for a while.
        assert await keys.of("T", session("AKIABAD")) is None
        assert await keys.of("T", session("AKIAGOOD")) == ("pk",)
        assert (aws.most_under_way, loop.time()) == (most + 1, 3)
        await asyncio.gather(*asking)

    virtual_time.run(play())


def test_turn_that_is_free_is_taken_also_while_who_would_have_to_wait_gives_up() -> None:
    async def play() -> None:
        aws, loop = Hanging(1), asyncio.get_running_loop()
        aws.keys["slow"] = aws.keys["later"] = ("pk",)
        keys = TableKeys(aws, 8)
        aws.pause_describing = lambda table: asyncio.sleep({"slow": 2.5, "h0": 100}.get(table, 0))
        asking = [asyncio.ensure_future(keys.of(name, session(name))) for name in ("slow", "h0")]
        await asyncio.sleep(0)
        assert await keys.of("T", SCOPE) is None
        assert await keys.of("later", SCOPE) is None
        assert loop.time() == 2
        await asyncio.sleep(1)
        assert await keys.of("T", SCOPE) == ("pk",)
        await asyncio.gather(*asking)

    virtual_time.run(play())


def test_question_that_is_not_urgent_waits_for_its_turn_also_while_others_give_up() -> None:
    async def play() -> None:
        aws, loop = Hanging(2), asyncio.get_running_loop()
        keys = TableKeys(aws, 8)
        asking = [asyncio.ensure_future(keys.of(name, session(name))) for name in aws.hanging]
        await asyncio.sleep(6)
        assert await keys.of("T", SCOPE) is None
        assert await keys.of("T", SCOPE) is None
        assert loop.time() == 8
        await asyncio.sleep(0.5)
        assert await keys.of("T", SCOPE, is_urgent=False) == ("pk",)
        assert loop.time() == 10
        await asyncio.gather(*asking)

    virtual_time.run(play())


def test_answer_that_is_awaited_already_is_waited_for_also_while_others_give_up() -> None:
    async def play() -> None:
        aws = Hanging(1)
        keys = TableKeys(aws, 8)
        aws.pause_describing = lambda table: asyncio.sleep(4 if table == "T" else 100)
        asking = [asyncio.ensure_future(keys.of(*one)) for one in (("h0", session("A")), ("T", SCOPE))]
        await asyncio.sleep(0)
        assert await keys.of("other", session("B")) is None
        assert await keys.of("T", SCOPE) == ("pk",)
        assert asyncio.get_running_loop().time() == 4
        await asyncio.gather(*asking)

    virtual_time.run(play())


def test_table_that_hangs_is_not_asked_about_again_for_five_seconds() -> None:
    async def play() -> None:
        aws, loop = Hanging(1), asyncio.get_running_loop()
        keys = TableKeys(aws, CONNECTIONS)
        assert await keys.of("h0", SCOPE) is None
        await asyncio.sleep(4.9)
        assert await keys.of("h0", SCOPE) is None
        assert (aws.counts["DescribeTable"], loop.time()) == (1, 14.9)
        await asyncio.sleep(0.2)
        assert await keys.of("h0", SCOPE) is None
        assert aws.counts["DescribeTable"] == 2

    virtual_time.run(play())


async def test_tables_of_one_name_in_two_regions_have_each_its_key() -> None:
    aws = FakeDynamoDb()
    keys = TableKeys(aws, CONNECTIONS)
    assert await keys.of("T", SCOPE) == ("pk",)
    aws.keys["T"] = ("id",)
    assert await keys.of("T", Scope(SCOPE.caller, "us-east-1")) == ("id",)
    assert await keys.of("T", SCOPE) == ("pk",)


async def test_question_ends_when_the_keys_are_closed() -> None:
    aws = Hanging(1)
    keys = TableKeys(aws, CONNECTIONS)
    asking = asyncio.ensure_future(keys.of("h0", SCOPE))
    for _ in range(10):
        await asyncio.sleep(0)
    assert aws.under_way
    await keys.aclose()
    assert not aws.under_way
    with pytest.raises(Draining):
        await asking


def test_turn_that_does_not_come_is_not_remembered_as_a_key_that_aws_does_not_tell() -> None:
    async def play() -> None:
        aws = Hanging(2)
        keys = TableKeys(aws, 8)
        asking = [asyncio.ensure_future(keys.of(name, SCOPE)) for name in aws.hanging]
        await asyncio.sleep(0)
        assert await keys.of("T", SCOPE) is None
        assert repr(keys) == "<TableKeys of 0 tables>"
        await asyncio.gather(*asking)
        assert await keys.of("T", SCOPE) == ("pk",)

    virtual_time.run(play())


def test_who_gives_up_soon_after_its_turn_has_come_makes_no_room_for_more() -> None:
    """Each of those who come one after the other gets its turn, if at all, when it has waited for long."""

    async def play() -> None:
        aws, room = Hanging(3000), Room()
        keys, asking = TableKeys(aws, CONNECTIONS), []
        for name in aws.hanging:
            asking.append(asyncio.ensure_future(keys.of(name, SCOPE, room)))
            await asyncio.sleep(0.01)
        await asyncio.wait(asking)
        assert 72 < aws.most_under_way <= 80

    virtual_time.run(play())


def test_nothing_is_asked_for_a_session_that_has_ended_while_there_was_no_room() -> None:
    async def play() -> None:
        aws, room = Hanging(8), Room()
        keys, is_open = TableKeys(aws, CONNECTIONS), True

        async def check() -> None:
            if not is_open:
                raise Unauthenticated("closed", reason="SESSION_NOT_FOUND")

        asking = [asyncio.ensure_future(keys.of(name, SCOPE, room, check)) for name in aws.hanging]
        waiting = [asyncio.ensure_future(keys.of(name, SCOPE, room, check)) for name in ("T", "U", "V") * 20]
        await asyncio.sleep(0.5)
        is_open = False
        refused = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in refused] == [Unauthenticated] * 60
        assert asyncio.get_running_loop().time() == 1  # nor does any of them take room
        assert aws.counts["DescribeTable"] == 8
        await asyncio.wait(asking)

    virtual_time.run(play())


ENDED = Unauthenticated("closed", reason="SESSION_NOT_FOUND")


class Session:
    """Whether it is open is asked before AWS is."""

    def __init__(self, seconds: float = 0.0, *, is_open: bool = True) -> None:
        self.seconds = seconds
        self.is_open = is_open
        self.asked = 0

    async def check(self) -> None:
        self.asked += 1
        await asyncio.sleep(self.seconds)
        if not self.is_open:
            raise ENDED


async def test_question_of_a_session_that_has_ended_takes_no_turn_from_others() -> None:
    aws = FakeDynamoDb()
    keys, ended = TableKeys(aws, 8), Session(is_open=False)
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await keys.of("T", SCOPE, check=ended.check)
    assert await keys.of("T", SCOPE, check=Session().check) == ("pk",)
    assert aws.counts["DescribeTable"] == 1


def test_session_is_asked_for_when_the_turn_has_come() -> None:
    async def play() -> None:
        aws, one = Hanging(0), Session()
        keys = TableKeys(aws, 8)
        asking = [asyncio.ensure_future(keys.of("slow", session(name))) for name in "AB"]
        waiting = asyncio.ensure_future(keys.of("T", SCOPE, check=one.check))
        await asyncio.sleep(1)
        assert not one.asked
        one.is_open = False
        with pytest.raises(Unauthenticated):
            await waiting
        await asyncio.gather(*asking)
        assert aws.counts["DescribeTable"] == 2

    virtual_time.run(play())


@pytest.mark.parametrize("seconds", [0.0, 3.0, 100.0])
def test_session_that_has_ended_or_is_not_heard_of_keeps_no_other_one_of_its_caller_from_asking(
    seconds: float,
) -> None:
    """The first one asks for all; the second one has ended, too."""

    async def play() -> None:
        aws = FakeDynamoDb()
        sessions = [Session(seconds, is_open=False), Session(is_open=False), Session(), Session()]
        keys, loop = TableKeys(aws, 8), asyncio.get_running_loop()
        asking = [asyncio.ensure_future(keys.of("T", SCOPE, check=one.check)) for one in sessions[:1]]
        await asyncio.sleep(0.5 if seconds else 0)
        asking += [asyncio.ensure_future(keys.of("T", SCOPE, check=one.check)) for one in sessions[1:]]
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert answers == [None if seconds > 10 else ENDED, ENDED, ("pk",), ("pk",)]
        assert aws.counts["DescribeTable"] == 1
        assert loop.time() == min(seconds, 10)

    virtual_time.run(play())


def test_turn_is_free_again_when_a_session_is_not_heard_of_in_time() -> None:
    async def play() -> None:
        aws, silent = FakeDynamoDb(), Session(1000)
        keys = TableKeys(aws, 8)
        for table in "AB":
            assert await keys.of(table, SCOPE, check=silent.check) is None
        assert asyncio.get_running_loop().time() == 20
        assert await keys.of("T", SCOPE) == ("pk",)

    virtual_time.run(play())


def test_sessions_that_have_ended_take_no_turns_one_after_the_other() -> None:
    async def play() -> None:
        aws, ended = FakeDynamoDb(), Session(1, is_open=False)
        keys = TableKeys(aws, 8)
        asking = [keys.of("T", SCOPE, check=ended.check) for _ in range(20)]
        assert await asyncio.gather(*asking, return_exceptions=True) == [ENDED] * 20
        assert asyncio.get_running_loop().time() == 2

    virtual_time.run(play())


async def test_caller_may_ask_any_number_of_questions_one_after_the_other() -> None:
    aws = FakeDynamoDb()
    keys = TableKeys(aws, 8)
    for number in range(600):
        await keys.of(f"none{number}", SCOPE)
    assert await keys.of("T", SCOPE) == ("pk",)
