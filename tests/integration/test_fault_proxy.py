"""The proxy does what it says: what it calls unprocessed it has not forwarded, and what it loses was done."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from tests.integration.fault_proxy import FaultProxy, Faults, proxied
from tests.integration.stub_aws import Answer, Recorded, StubAws

WRITES = [{"PutRequest": {"Item": {"pk": {"S": str(number)}}}} for number in range(25)]
KEYS = [{"pk": {"S": str(number)}} for number in range(100)]


@pytest.fixture
async def stub() -> AsyncIterator[StubAws]:
    stub = StubAws()
    await stub.start()
    yield stub
    await stub.stop()


async def ask(proxy: FaultProxy, operation: str, parameters: Any, call: str = "") -> tuple[int, Any]:
    headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}"}
    if call:
        headers["amz-sdk-invocation-id"] = call
    async with (
        aiohttp.ClientSession() as session,
        session.post(proxy.url, data=json.dumps(parameters), headers=headers) as answer,
    ):
        return answer.status, json.loads(await answer.read())


async def test_unprocessed_writes_are_not_forwarded_and_all_others_are(stub: StubAws) -> None:
    async with proxied(stub.url, Faults(unprocessed=1.0), seed=1) as proxy:
        for _ in range(20):
            status, reply = await ask(proxy, "BatchWriteItem", {"RequestItems": {"T": WRITES}})
            forwarded = stub.requests[-1].parameters["RequestItems"]["T"]
            left = reply.get("UnprocessedItems", {}).get("T", [])
            assert status == 200
            assert forwarded
            assert sorted(map(json.dumps, [*forwarded, *left])) == sorted(map(json.dumps, WRITES))
        assert proxy.counts == {"unprocessed": 20}


async def test_unprocessed_keys_keep_what_is_said_of_the_table(stub: StubAws) -> None:
    def found(asked: Recorded) -> Answer:
        return Answer({"Responses": asked.parameters["RequestItems"]})

    stub.on("BatchGetItem", found)
    wanted = {"Keys": KEYS, "ConsistentRead": True}
    async with proxied(stub.url, Faults(unprocessed=1.0), seed=2) as proxy:
        _, reply = await ask(proxy, "BatchGetItem", {"RequestItems": {"T": wanted}})
    forwarded, left = stub.requests[-1].parameters["RequestItems"]["T"], reply["UnprocessedKeys"]["T"]
    assert forwarded["ConsistentRead"] is left["ConsistentRead"] is True
    assert sorted(map(json.dumps, [*forwarded["Keys"], *left["Keys"]])) == sorted(map(json.dumps, KEYS))


@pytest.mark.parametrize(
    ("faults", "status", "forwarded"),
    [(Faults(throttled=1.0), 400, 0), (Faults(failed_before=1.0), 500, 0), (Faults(failed_after=1.0), 500, 1)],
)
async def test_refusals_tell_nothing_of_whether_it_was_done(
    stub: StubAws, faults: Faults, status: int, forwarded: int
) -> None:
    async with proxied(stub.url, faults) as proxy:
        answered, _ = await ask(proxy, "BatchWriteItem", {"RequestItems": {"T": WRITES}})
    assert (answered, stub.count("BatchWriteItem")) == (status, forwarded)


async def test_cut_connections_lose_the_answer_and_not_the_write(stub: StubAws) -> None:
    async with proxied(stub.url, Faults(cut_after=1.0)) as proxy:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await ask(proxy, "BatchWriteItem", {"RequestItems": {"T": WRITES}})
    assert stub.count("BatchWriteItem") == 1


async def test_other_operations_pass(stub: StubAws) -> None:
    stub.on("DescribeTable", Answer({"Table": {}}))
    async with proxied(stub.url, Faults(throttled=1.0)) as proxy:
        assert await ask(proxy, "DescribeTable", {"TableName": "T"}) == (200, {"Table": {}})
        assert proxy.counts == {"passed": 1}


async def statuses(url: str, order: list[int], seed: int) -> dict[int, list[int]]:
    """What the attempts of each call were answered, when they came in this order."""
    answered: dict[int, list[int]] = {call: [] for call in order}
    async with proxied(url, Faults(throttled=0.3, failed_before=0.3), seed=seed) as proxy:
        for call in order:
            status, _ = await ask(
                proxy, "BatchWriteItem", {"RequestItems": {"T": WRITES}}, f"of-{id(proxy)}-{call}"
            )
            answered[call].append(status)
    return answered


async def test_what_a_call_meets_depends_on_no_other_call_and_on_no_name(stub: StubAws) -> None:
    calls = list(range(12))
    in_turn = await statuses(stub.url, calls * 5, seed=4)
    mixed = random.Random(1).sample(calls * 4, 4 * len(calls))
    assert await statuses(stub.url, [*calls, *mixed], seed=4) == in_turn
    assert await statuses(stub.url, calls * 5, seed=5) != in_turn


async def test_a_call_is_struck_three_times_at_most(stub: StubAws) -> None:
    async with proxied(stub.url, Faults(throttled=1.0)) as proxy:
        parameters = {"RequestItems": {"T": WRITES}}
        answered = [(await ask(proxy, "BatchWriteItem", parameters, call))[0] for call in "ababababa"]
    assert answered == [*[400] * 6, *[200] * 3]
