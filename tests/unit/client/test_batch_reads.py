"""Reads of any number of keys."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from google.protobuf.message import Message

import awsidecar
from awsidecar import aio, errors
from awsidecar.dynamodb.v1 import batch_streams_pb2 as pb

from .batch_streams import items_of, read
from .fake_sidecar import FakeSidecar, Refused


def test_reads_that_a_drain_has_left_are_unavailable(sidecar: FakeSidecar, way: str) -> None:
    def drains(requests: Iterator[Any]) -> Iterator[Message | Refused]:
        response = pb.BatchGetStreamResponse()
        response.outcomes.add(index=0).not_attempted.SetInParent()
        next(requests)
        yield response

    sidecar.exchanges["BatchGetStream"] = drains
    with pytest.raises(errors.Unavailable) as caught:
        read(sidecar, way, TableName="users", Keys=[{"id": 1}])
    assert caught.value.reason == "DRAINING"


def test_items_come_in_the_order_of_the_keys(sidecar: FakeSidecar, way: str) -> None:
    sidecar.exchanges["BatchGetStream"] = items_of
    keys = [{"id": number if number % 7 else -1} for number in range(4321)]
    found = read(sidecar, way, TableName="users", Keys=keys, ConsistentRead=True, ProjectionExpression="id")
    assert found == [{"id": number} if number % 7 else None for number in range(4321)]
    options = sidecar.received[0].message.options
    assert options.in_order
    assert (options.tables["users"].consistent_read, options.tables["users"].projection_expression) == (True, "id")
    assert not sidecar.received[1].message.HasField("options")


def test_a_failed_read_is_raised_when_it_is_its_turn(sidecar: FakeSidecar) -> None:
    sidecar.exchanges["BatchGetStream"] = items_of
    with awsidecar.connect(sidecar.target) as client:
        items = client.dynamodb.batch_get(TableName="users", Keys=[{"id": 1}, {"id": -2}, {"id": 3}])
        assert next(items) == {"id": 1}
        with pytest.raises(errors.ProvisionedThroughputExceededException):
            next(items)


def test_reads_that_were_not_answered_are_a_deadline_that_passed(sidecar: FakeSidecar, way: str) -> None:
    def none(requests: Iterator[Any]) -> Iterator[Message | Refused]:
        for _ in requests:
            yield pb.BatchGetStreamResponse(deadline_spent=True)

    sidecar.exchanges["BatchGetStream"] = none
    with pytest.raises(errors.DeadlineExceeded):
        read(sidecar, way, TableName="users", Keys=[{"id": 1}])


def test_no_keys_are_no_items(sidecar: FakeSidecar, way: str) -> None:
    sidecar.exchanges["BatchGetStream"] = items_of
    assert read(sidecar, way, TableName="users", Keys=[]) == []


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"TableName": "t"}, "Keys: is missing"),
        ({"TableName": "t", "Keys": [], "Consistent": True}, "Consistent"),
        ({"TableName": "t", "Keys": [{"id": 1}, {"id": object()}]}, "Keys[1].id"),
        ({"TableName": "t", "Keys": [1]}, "Keys[0]: must be a mapping"),
    ],
)
def test_mistakes_in_reads_are_told(
    sidecar: FakeSidecar, way: str, parameters: dict[str, Any], complaint: str
) -> None:
    sidecar.exchanges["BatchGetStream"] = items_of
    with pytest.raises(TypeError, match=re.escape(complaint)):
        read(sidecar, way, **parameters)


async def test_keys_may_come_one_by_one(sidecar: FakeSidecar) -> None:
    sidecar.exchanges["BatchGetStream"] = items_of

    async def keys() -> AsyncIterator[dict[str, int]]:
        for number in range(3):
            yield {"id": number}

    async with aio.connect(sidecar.target) as client:
        found = [item async for item in client.dynamodb.batch_get(TableName="t", Keys=keys())]
    assert found == [{"id": 0}, {"id": 1}, {"id": 2}]
