from __future__ import annotations

import asyncio

import pytest
from tests.unit.aws.fakes import call, credentials
from tests.unit.aws.http.peers import Session, serving
from tests.unit.aws.stub import Answer, StubAws

from awsidecar_server.aws.sdk.clients import ClientPool
from awsidecar_server.aws.sdk.sender import Sender
from awsidecar_server.config import AwsConfig
from awsidecar_server.errors import AwsRejected, AwsUnreachable
from awsidecar_server.ops.telemetry import Telemetry


def counted(telemetry: Telemetry, name: str) -> float | None:
    labels = {"aws_service": "dynamodb", "operation": "ListTables"}
    return telemetry.registry.get_sample_value(f"awsidecar_aws_{name}_total", labels)


@pytest.mark.parametrize(
    ("code", "throttles"),
    [("ThrottlingException", 2), ("InternalServerError", 0), ("ValidationException", 0)],
)
async def test_every_request_and_every_throttling_is_counted(code: str, throttles: float) -> None:
    telemetry = Telemetry()
    async with StubAws(lambda _: Answer({"__type": code}, 400 if code[0] in "TV" else 500)) as stub:
        pool = ClientPool(stub.config(max_attempts=2), telemetry)
        with pytest.raises(AwsRejected) as rejected:
            await Sender(pool, telemetry).send(call("ListTables"), credentials("ANN"))
        await pool.aclose()
    assert counted(telemetry, "attempts") == len(stub.requests) == rejected.value.attempts
    assert counted(telemetry, "throttles") == throttles


@pytest.mark.parametrize("operation", ["PutItem", "GetItem"])
@pytest.mark.parametrize(
    ("code", "is_without_effect"), [("ThrottlingException", True), ("InternalServerError", False)]
)
async def test_call_knows_what_was_sent_and_whether_it_may_have_had_an_effect(
    operation: str, code: str, is_without_effect: bool
) -> None:
    asked = call(operation, TableName="films")
    async with StubAws(lambda _: Answer({"__type": code}, 400 if is_without_effect else 500)) as stub:
        pool = ClientPool(stub.config(max_attempts=2), Telemetry())
        with pytest.raises(AwsRejected):
            await Sender(pool, Telemetry()).send(asked, credentials("ANN"))
        await pool.aclose()
    assert asked.progress.attempts == len(stub.requests) == 2
    assert asked.progress.is_ambiguous is (operation == "PutItem" and not is_without_effect)


async def test_write_that_never_left_has_not_happened() -> None:
    asked = call("PutItem", TableName="films")
    pool = ClientPool(AwsConfig(endpoint_url="http://127.0.0.1:1", max_attempts=2), Telemetry())
    with pytest.raises(AwsUnreachable):
        await Sender(pool, Telemetry()).send(asked, credentials("ANN"))
    await pool.aclose()
    assert (asked.progress.attempts, asked.progress.is_ambiguous) == (2, False)


async def test_write_whose_connection_was_lost_may_have_happened() -> None:
    async def script(session: Session) -> None:
        await session.request()
        session.reset()

    asked = call("PutItem", TableName="films")
    async with serving(script) as peer:
        pool = ClientPool(AwsConfig(endpoint_url=peer.url, max_attempts=1), Telemetry())
        with pytest.raises(AwsUnreachable):
            await Sender(pool, Telemetry()).send(asked, credentials("ANN"))
        await pool.aclose()
    assert (asked.progress.attempts, asked.progress.is_ambiguous) == (1, True)


async def test_answer_that_comes_byte_by_byte_without_end_times_out() -> None:
    async with serving(Session.answer_without_end) as peer:
        config = AwsConfig(endpoint_url=peer.url, max_attempts=1, attempt_timeout_seconds=0.2)
        pool = ClientPool(config, Telemetry())
        async with asyncio.timeout(10):
            with pytest.raises(AwsUnreachable) as unreachable:
                await Sender(pool, Telemetry()).send(call("ListTables"), credentials("ANN"))
        await pool.aclose()
    assert unreachable.value.metadata["cause"] == "timeout"
