from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from tests.unit.dynamodb.fake_batches import SCOPE, FakeDynamoDb

from awsidecar_server.dynamodb import table_keys
from awsidecar_server.dynamodb.table_keys import TableKeys
from awsidecar_server.identity.credentials import Credentials, SessionCaller
from awsidecar_server.operations import Scope


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def session(key: str) -> Scope:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    return Scope(SessionCaller(Credentials(key, "secret", expires_at=moment), moment), SCOPE.region)


async def test_a_key_is_asked_for_once_and_again_after_ten_seconds() -> None:
    aws, clock = FakeDynamoDb({"T": ("pk", "sk")}), Clock()
    keys = TableKeys(aws, clock)
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
    keys = TableKeys(aws)
    assert await asyncio.gather(*(keys.of("T", SCOPE) for _ in range(10))) == [("pk",)] * 10
    assert aws.counts["DescribeTable"] == 1


async def test_what_one_caller_may_know_is_not_told_to_another() -> None:
    aws = FakeDynamoDb()
    keys = TableKeys(aws)
    assert await keys.of("T", session("AKIAONE")) == ("pk",)
    aws.is_described = False
    assert await keys.of("T", session("AKIATWO")) is None
    assert await keys.of("T", session("AKIAONE")) == ("pk",)


async def test_a_refusal_is_kept_for_a_moment_only() -> None:
    aws, clock = FakeDynamoDb(), Clock()
    keys = TableKeys(aws, clock)
    aws.is_described = False
    assert await keys.of("T", SCOPE) is await keys.of("T", SCOPE) is None
    assert aws.counts["DescribeTable"] == 1
    aws.is_described, clock.time = True, 5.0
    assert await keys.of("T", SCOPE) == ("pk",)


async def test_a_forgotten_key_is_asked_for_again() -> None:
    aws = FakeDynamoDb()
    keys = TableKeys(aws)
    await keys.of("T", SCOPE)
    keys.forget("T", SCOPE)
    aws.keys["T"] = ("other",)
    assert await keys.of("T", SCOPE) == ("other",)


async def test_that_a_key_is_not_known_is_not_forgotten() -> None:
    """Else a stream of writes to a table that is not there would ask for its key after each batch that fails."""
    aws, clock = FakeDynamoDb(), Clock()
    keys = TableKeys(aws, clock)
    assert await keys.of("none", SCOPE) is None
    keys.forget("none", SCOPE)
    assert await keys.of("none", SCOPE) is None
    assert aws.counts["DescribeTable"] == 1


async def test_the_tables_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    aws = FakeDynamoDb({f"T{number}": ("pk",) for number in range(10)})
    keys = TableKeys(aws, Clock())
    monkeypatch.setattr(table_keys, "_MOST_TABLES", 5)
    for name in aws.keys:
        await keys.of(name, SCOPE)
    assert repr(keys) == "<TableKeys of 5 tables>"


async def test_no_secret_shows() -> None:
    keys = TableKeys(FakeDynamoDb())
    await keys.of("T", session("AKIAONE"))
    assert "AKIA" not in repr(keys)
    await keys.aclose()


async def test_key_that_became_known_while_there_was_no_room_is_not_asked_for_again() -> None:
    aws, room = FakeDynamoDb(), asyncio.Semaphore(1)
    keys = TableKeys(aws)
    assert await asyncio.gather(*(keys.of("T", SCOPE, room) for _ in range(5))) == [("pk",)] * 5
    assert aws.counts["DescribeTable"] == 1


async def test_name_that_no_table_can_have_is_neither_asked_for_nor_kept() -> None:
    aws = FakeDynamoDb()
    keys = TableKeys(aws)
    assert await keys.of("x" * 1025, SCOPE) is None
    assert not aws.counts["DescribeTable"]
    assert repr(keys) == "<TableKeys of 0 tables>"
