from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from itertools import pairwise

import pytest
from google.protobuf.message import Message
from tests.unit.dynamodb.fake_dynamodb import SCOPE, FakeDynamoDb, rejection, scoping, seen

from awsidecar.dynamodb.v1.table_description_pb2 import TableDescription
from awsidecar.dynamodb.v1.tables_pb2 import DescribeTableRequest, DescribeTableResponse
from awsidecar.dynamodb.v1.waiters_pb2 import WaitForTableRequest, WaitForTableResponse
from awsidecar_server.aws.progress import Awaited, Progress
from awsidecar_server.dynamodb.waiters import WAITERS
from awsidecar_server.errors import AwsRejected, AwsUnreachable, DeadlineSpent, StateUnreachable
from awsidecar_server.operations import Scope

ACTIVE_WANTED = WaitForTableRequest(table_name="users")
GONE_WANTED = WaitForTableRequest(table_name="users", until="GONE")
NOT_FOUND = rejection("ResourceNotFoundException")


def table(status: str) -> DescribeTableResponse:
    return DescribeTableResponse(table=TableDescription(table_name="users", table_status=status))


def statuses(messages: list[WaitForTableResponse]) -> list[tuple[str, bool]]:
    return [(message.status, message.reached) for message in messages]


async def test_state_that_is_there_already_is_the_only_message() -> None:
    dynamodb = FakeDynamoDb(table("ACTIVE"))
    (only,) = await seen(dynamodb, ACTIVE_WANTED)
    assert (only.status, only.reached, only.table.table_name) == ("ACTIVE", True, "users")
    assert dynamodb.asked == [("DescribeTable", DescribeTableRequest(table_name="users"), SCOPE)]
    assert dynamodb.pauses == []


async def test_state_is_told_at_once_and_at_each_change_only() -> None:
    dynamodb = FakeDynamoDb(table("CREATING"), table("CREATING"), table("UPDATING"), table("ACTIVE"))
    found = await seen(dynamodb, ACTIVE_WANTED)
    assert statuses(found) == [("CREATING", False), ("UPDATING", False), ("ACTIVE", True)]


async def test_pauses_grow_from_one_second_to_twenty() -> None:
    dynamodb = FakeDynamoDb(*[table("CREATING")] * 12, table("ACTIVE"))
    await seen(dynamodb, ACTIVE_WANTED)
    assert dynamodb.pauses[:3] == [1.0, 1.5, 2.25]
    assert all(later > earlier for earlier, later in pairwise(dynamodb.pauses[:8]))
    assert dynamodb.pauses[-1] == max(dynamodb.pauses) == 20.0


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 0.75), (1.0, 1.0)])
async def test_pause_is_shortened_by_up_to_a_quarter(jitter: float, seconds: float) -> None:
    dynamodb = FakeDynamoDb(table("CREATING"), table("ACTIVE"))
    states = dynamodb.waiting(jitter).states(WAITERS["WaitForTable"].wait(ACTIVE_WANTED), scoping)
    assert len([state async for state in states]) == 2
    assert dynamodb.pauses == [seconds]


async def test_long_wait_is_heard_of_every_minute() -> None:
    dynamodb = FakeDynamoDb(*[table("CREATING")] * 20, table("ACTIVE"))
    found = await seen(dynamodb, ACTIVE_WANTED)
    heartbeats = found[1:-1]
    assert {message.status for message in heartbeats} == {"CREATING"}
    assert sum(dynamodb.pauses) / 80 <= len(heartbeats) <= sum(dynamodb.pauses) / 60


async def test_table_that_is_not_known_yet_is_waited_for() -> None:
    dynamodb = FakeDynamoDb(NOT_FOUND, NOT_FOUND, table("CREATING"), table("ACTIVE"))
    found = await seen(dynamodb, ACTIVE_WANTED)
    assert statuses(found) == [("GONE", False), ("CREATING", False), ("ACTIVE", True)]
    assert not found[0].HasField("table")


async def test_table_that_never_comes_is_not_found_after_half_a_minute() -> None:
    dynamodb = FakeDynamoDb(NOT_FOUND)
    *found, failure = await seen(dynamodb, ACTIVE_WANTED)
    assert statuses(found) == [("GONE", False)]
    assert isinstance(failure, AwsRejected)
    assert failure.code == "ResourceNotFoundException"
    assert 30 <= sum(dynamodb.pauses) <= 30 + 20


async def test_table_that_is_deleted_meanwhile_will_not_become_active() -> None:
    dynamodb = FakeDynamoDb(table("DELETING"), NOT_FOUND)
    *found, failure = await seen(dynamodb, ACTIVE_WANTED)
    assert statuses(found) == [("DELETING", False), ("GONE", False)]
    assert isinstance(failure, StateUnreachable)
    assert failure.metadata == {"status": "GONE"}
    assert len(dynamodb.pauses) == 1


async def test_table_that_is_made_anew_is_a_new_one() -> None:
    found = await seen(
        FakeDynamoDb(table("DELETING"), table("CREATING"), NOT_FOUND, table("ACTIVE")), ACTIVE_WANTED
    )
    assert found[-1].reached


async def test_table_that_was_there_and_is_unknown_for_long_will_not_become_active() -> None:
    dynamodb = FakeDynamoDb(table("CREATING"), NOT_FOUND)
    *_, failure = await seen(dynamodb, ACTIVE_WANTED)
    assert isinstance(failure, StateUnreachable)
    assert sum(dynamodb.pauses) >= 30


async def test_time_that_a_table_is_unknown_counts_from_when_it_was_seen_last() -> None:
    answers: list[Message | Exception] = [NOT_FOUND, *[table("CREATING")] * 10, NOT_FOUND, table("ACTIVE")]
    found = await seen(FakeDynamoDb(*answers), ACTIVE_WANTED)
    assert found[-1].reached


async def test_table_is_gone_when_aws_knows_it_no_more() -> None:
    found = await seen(FakeDynamoDb(table("ACTIVE"), table("DELETING"), NOT_FOUND), GONE_WANTED)
    assert statuses(found) == [("ACTIVE", False), ("DELETING", False), ("GONE", True)]


@pytest.mark.parametrize(
    "passing",
    [
        rejection("ThrottlingException"),
        rejection("InternalServerError", 500),
        AwsUnreachable("lost", cause="connection_lost"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_wait_outlives_an_outage_of_moments(passing: Exception) -> None:
    found = await seen(FakeDynamoDb(table("CREATING"), *[passing] * 4, table("ACTIVE")), ACTIVE_WANTED)
    assert statuses(found) == [("CREATING", False), ("ACTIVE", True)]


async def test_outage_that_lasts_ends_the_wait_with_its_error() -> None:
    dynamodb = FakeDynamoDb(table("CREATING"), rejection("InternalServerError", 500))
    *_, failure = await seen(dynamodb, ACTIVE_WANTED)
    assert isinstance(failure, AwsRejected)
    assert failure.code == "InternalServerError"
    assert len(dynamodb.asked) == 1 + 5


async def test_answer_between_failures_begins_their_count_anew() -> None:
    failed = rejection("InternalServerError", 500)
    answers: list[Message | Exception] = [*[failed] * 4, table("CREATING"), *[failed] * 4, table("ACTIVE")]
    found = await seen(FakeDynamoDb(*answers), ACTIVE_WANTED)
    assert found[-1].reached


async def test_refusal_that_stays_one_ends_the_wait_at_once() -> None:
    dynamodb = FakeDynamoDb(rejection("AccessDeniedException"))
    (failure,) = await seen(dynamodb, ACTIVE_WANTED)
    assert isinstance(failure, AwsRejected)
    assert len(dynamodb.asked) == 1


async def test_caller_who_goes_ends_the_wait() -> None:
    dynamodb = FakeDynamoDb(table("CREATING"))
    dynamodb.pause = lambda _: asyncio.Event().wait()  # type: ignore[assignment, return-value, method-assign]
    states = dynamodb.waiting().states(WAITERS["WaitForTable"].wait(ACTIVE_WANTED), scoping)
    assert (await anext(states)).DESCRIPTOR.name == "WaitForTableResponse"
    waiting = asyncio.ensure_future(anext(states))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(dynamodb.asked) == 1


async def test_what_is_waited_for_is_known_while_it_is() -> None:
    """For whoever ends the call meanwhile."""
    dynamodb = FakeDynamoDb(table("CREATING"), table("UPDATING"))
    scope = replace(SCOPE, progress=Progress())
    known: list[Awaited | None] = []

    async def scoping() -> Scope:
        return scope

    async def pause(_: float) -> None:
        known.append(scope.progress.awaited)
        await asyncio.sleep(0)

    dynamodb.pause = pause  # type: ignore[assignment, method-assign]
    wait = WAITERS["WaitForTable"].wait(WaitForTableRequest(table_name="users", indexes=True))
    async with aclosing(dynamodb.waiting().states(wait, scoping)) as states:
        async for state in states:
            if state.status == "UPDATING":  # type: ignore[attr-defined]
                known.append(scope.progress.awaited)
                break
    words = "ACTIVE, with all indexes"
    assert known == [Awaited(words, "CREATING"), Awaited(words, "UPDATING")]


async def test_deadline_that_aws_is_too_slow_for_says_what_was_waited_for() -> None:
    *_, failure = await seen(FakeDynamoDb(table("CREATING"), DeadlineSpent()), ACTIVE_WANTED)
    assert isinstance(failure, DeadlineSpent)
    assert (
        failure.message
        == "the deadline passed while the call waited for the state ACTIVE; the last one was CREATING"
    )
    assert failure.metadata == {"status": "CREATING"}
