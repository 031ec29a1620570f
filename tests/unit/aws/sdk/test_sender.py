from __future__ import annotations

import asyncio
from typing import Any

import pytest
from botocore import exceptions as sdk
from tests.unit.aws.fakes import FakeClient, FakePool, call, credentials

from awsidecar_server.aws.call import AwsReply
from awsidecar_server.aws.sdk.sender import Sender
from awsidecar_server.errors import AwsRejected, AwsUnreachable
from awsidecar_server.ops.telemetry import Telemetry

ANN = credentials("ANN")


def answering(members: dict[str, Any]) -> FakeClient:
    return FakeClient(lambda operation, parameters: members)


def failing(failure: Exception) -> FakeClient:
    def answer(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        raise failure

    return FakeClient(answer)


def outcomes(telemetry: Telemetry) -> dict[str, float]:
    return {
        sample.labels["outcome"]: sample.value
        for metric in telemetry.aws_seconds.collect()
        for sample in metric.samples
        if sample.name.endswith("_count")
    }


def in_use(telemetry: Telemetry) -> float | None:
    labels = {"aws_service": "dynamodb", "region": "eu-central-1"}
    return telemetry.registry.get_sample_value("awsidecar_aws_pool_in_use", labels)


async def test_answer_comes_apart_into_members_and_facts() -> None:
    telemetry = Telemetry()
    client = answering({"Item": {}, "ResponseMetadata": {"RequestId": "REQ", "RetryAttempts": 2}})
    reply = await Sender(FakePool(client), telemetry).send(call(), ANN)
    assert reply == AwsReply({"Item": {}}, "REQ", 3)
    assert outcomes(telemetry) == {"ok": 1}
    assert in_use(telemetry) == 0


async def test_refusal_is_translated_and_counted() -> None:
    telemetry = Telemetry()
    refused = sdk.ClientError(
        {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"RetryAttempts": 3}}, "PutItem"
    )
    with pytest.raises(AwsRejected) as rejected:
        await Sender(FakePool(failing(refused)), telemetry).send(call(), ANN)
    assert rejected.value.__cause__ is refused
    assert outcomes(telemetry) == {"rejected": 1}
    assert rejected.value.attempts == 4


async def test_aws_that_does_not_answer_is_unreachable() -> None:
    telemetry = Telemetry()
    lost = sdk.ReadTimeoutError(endpoint_url="http://x")
    with pytest.raises(AwsUnreachable) as unreachable:
        await Sender(FakePool(failing(lost)), telemetry).send(call(), ANN)
    assert unreachable.value.__cause__ is lost
    assert outcomes(telemetry) == {"unreachable": 1}


async def test_defect_is_passed_on_as_it_is() -> None:
    with pytest.raises(KeyError):
        await Sender(FakePool(failing(KeyError("ours"))), Telemetry()).send(call(), ANN)


async def test_cancelled_call_stops_its_work() -> None:
    telemetry, client = Telemetry(), FakeClient(None)
    sending = asyncio.create_task(Sender(FakePool(client), telemetry).send(call(), ANN))
    await client.asked.wait()
    assert in_use(telemetry) == 1
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert client.cancelled == 1
    assert outcomes(telemetry) == {"cancelled": 1}
    assert in_use(telemetry) == 0
