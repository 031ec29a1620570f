from __future__ import annotations

import asyncio
from typing import Any

import pytest
from botocore.exceptions import UnknownServiceError
from tests.unit.aws.fakes import call, credentials
from tests.unit.aws.stub import StubAws

from awsidecar_server.aws.sdk.clients import ClientPool
from awsidecar_server.aws.sdk.sender import Sender
from awsidecar_server.config import AwsConfig
from awsidecar_server.errors import Draining
from awsidecar_server.ops.telemetry import Telemetry

REGION = "eu-central-1"


def make_pool(**changes: Any) -> ClientPool:
    return ClientPool(AwsConfig(region=REGION, **changes), Telemetry())


async def test_concurrent_first_asks_make_one_client() -> None:
    pool = make_pool()
    clients = await asyncio.gather(*(pool.client("dynamodb", REGION) for _ in range(100)))
    assert len({id(client) for client in clients}) == 1
    assert repr(pool) == "<ClientPool 1 clients>"
    assert await pool.client("dynamodb", REGION) is clients[0]
    await pool.aclose()


async def test_client_is_per_service_and_region() -> None:
    pool = make_pool()
    asked = [("dynamodb", REGION), ("dynamodb", "us-east-1"), ("dynamodbstreams", REGION)]
    clients = await asyncio.gather(*(pool.client(*key) for key in asked))
    assert len({id(client) for client in clients}) == 3
    assert [client.meta.region_name for client in clients] == [REGION, "us-east-1", REGION]
    assert clients[0].meta.endpoint_url == "https://dynamodb.eu-central-1.amazonaws.com"
    await pool.aclose()


async def test_first_asker_that_is_cancelled_hurts_nobody() -> None:
    pool = make_pool()
    first = asyncio.create_task(pool.client("dynamodb", REGION))
    others = [asyncio.create_task(pool.client("dynamodb", REGION)) for _ in range(10)]
    await asyncio.sleep(0)
    first.cancel()
    clients = await asyncio.gather(*others)
    assert len({id(client) for client in clients}) == 1
    assert first.cancelled()
    await pool.aclose()


class BrokenOnce:
    """A gauge that fails at its first use, which is when a client has just been made."""

    def __init__(self, gauge: Any) -> None:
        self._gauge = gauge
        self.uses = 0

    def labels(self, *labels: str) -> Any:
        self.uses += 1
        if self.uses == 1:
            raise OSError("no more files")
        return self._gauge.labels(*labels)


async def test_failure_reaches_everybody_and_is_not_remembered() -> None:
    telemetry: Any = Telemetry()
    telemetry.aws_pool_size = BrokenOnce(telemetry.aws_pool_size)
    pool = ClientPool(AwsConfig(region=REGION), telemetry)
    failures = await asyncio.gather(*(pool.client("dynamodb", REGION) for _ in range(5)), return_exceptions=True)
    assert {type(failure) for failure in failures} == {OSError}
    assert repr(pool) == "<ClientPool 0 clients>"
    assert (await pool.client("dynamodb", REGION)).meta.region_name == REGION
    await pool.aclose()


async def test_service_that_does_not_exist_is_an_error() -> None:
    pool = make_pool()
    with pytest.raises(UnknownServiceError):
        await pool.client("nonesuch", REGION)
    await pool.aclose()


async def test_warming_makes_the_clients_that_are_needed_first() -> None:
    pool = make_pool()
    await pool.warm(["dynamodb", "sts"], REGION)
    assert repr(pool) == "<ClientPool 2 clients>"
    await pool.aclose()


async def test_closing_ends_the_clients_and_those_in_the_making() -> None:
    async with StubAws() as stub:
        pool = ClientPool(stub.config(), Telemetry())
        await Sender(pool, Telemetry()).send(call("ListTables"), credentials("ANN"))
        making = asyncio.create_task(pool.client("sts", REGION))
        await asyncio.sleep(0)
        await pool.aclose()
        with pytest.raises(asyncio.CancelledError):
            await making
        assert repr(pool) == "<ClientPool 0 clients>"
        with pytest.raises(Draining):
            await pool.client("dynamodb", REGION)
        await pool.aclose()


@pytest.mark.parametrize(
    ("service", "own"),
    [
        ("dynamodb", "endpoint_url_dynamodb"),
        ("dynamodbstreams", "endpoint_url_dynamodb_streams"),
        ("sts", "endpoint_url_sts"),
        ("cognito-identity", "endpoint_url_cognito_identity"),
    ],
)
async def test_endpoint_of_a_service_wins_over_that_of_all(service: str, own: str) -> None:
    pool = make_pool(endpoint_url="http://127.0.0.1:1", **{own: "http://127.0.0.1:2"})
    assert (await pool.client(service, REGION)).meta.endpoint_url == "http://127.0.0.1:2"
    other = "sts" if service == "dynamodb" else "dynamodb"
    assert (await pool.client(other, REGION)).meta.endpoint_url == "http://127.0.0.1:1"
    await pool.aclose()


async def test_environment_and_profile_of_the_sdk_have_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nonesuch")
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "9")
    pool = make_pool(max_attempts=3, pool_size=17)
    client = await pool.client("dynamodb", REGION)
    assert client.meta.endpoint_url == "https://dynamodb.eu-central-1.amazonaws.com"
    assert client.meta.config.retries["total_max_attempts"] == 3
    assert client.meta.config.max_pool_connections == 17
    await pool.aclose()
