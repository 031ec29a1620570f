"""The SDK is brought in by the first call that needs it, and by nothing before."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.aws.fakes import call, credentials
from tests.unit.aws.stub import Answer, StubAws

from awsidecar_server.aws.deferred import DeferredSdk
from awsidecar_server.config import AwsConfig
from awsidecar_server.ops.telemetry import Telemetry

ROOT = Path(__file__).parents[3]
LOADED = """
def sdk_modules():
    return sorted({name.partition(".")[0] for name in sys.modules} & {"aioboto3", "aiobotocore", "boto3", "botocore"})
"""
PROGRAM = f"""
import asyncio, sys
from awsidecar_server.app import App
from awsidecar_server.config import Config
{LOADED}
async def main(lane):
    environment = {{
        "AWS_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWSIDECAR_AWS_LANE": lane,
        "AWSIDECAR_AWS_MAX_ATTEMPTS": "1",
        "AWSIDECAR_LISTEN_PORT": "0",
        "AWSIDECAR_ADMIN_PORT": "0",
    }}
    app = App(Config.load(environment), environment)
    print("built", *sdk_modules())
    async with app:
        print("serving", *sdk_modules())

print("imported", *sdk_modules())
asyncio.run(main(sys.argv[1]))
"""


def said_by_a_sidecar_on(lane: str) -> list[str]:
    search_path = {"PYTHONPATH": f"{ROOT / 'server'}:{ROOT / 'clients' / 'python'}"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, lane], env=search_path, capture_output=True, text=True, check=True
    )
    return [line for line in done.stdout.splitlines() if line.startswith(("imported", "built", "serving"))]


def test_sidecar_on_its_own_lane_serves_without_the_sdk() -> None:
    """The SDK costs a fifth of a second at the start, and some 30 MiB for as long as the sidecar lives."""
    assert said_by_a_sidecar_on("json") == ["imported", "built", "serving"]


def test_sidecar_on_the_lane_of_the_sdk_has_it_ready_when_it_serves() -> None:
    assert said_by_a_sidecar_on("sdk") == ["imported", "built", "serving aioboto3 aiobotocore boto3 botocore"]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


async def test_calls_go_by_way_of_the_sdk(telemetry: Telemetry) -> None:
    async with StubAws(lambda _: Answer({"TableNames": ["films"]})) as stub:
        sdk = DeferredSdk(stub.config(), telemetry)
        reply = await sdk.send(call("ListTables"), credentials("ANN"))
        await sdk.aclose()
    assert reply.members == {"TableNames": ["films"]}
    assert [one.key_id for one in stub.requests] == ["AKIAANN"]


async def test_first_calls_at_once_share_one_pool_of_clients(telemetry: Telemetry) -> None:
    async with StubAws() as stub:
        sdk = DeferredSdk(stub.config(), telemetry)
        await asyncio.gather(*(sdk.send(call("ListTables"), credentials("ANN")) for _ in range(5)))
        assert sdk._sdk is not None
        assert repr(sdk._sdk[0]) == "<ClientPool 1 clients>"
        await sdk.aclose()
    assert len(stub.requests) == 5


async def test_one_who_leaves_while_the_sdk_comes_does_not_keep_it_from_the_others(telemetry: Telemetry) -> None:
    async with StubAws() as stub:
        sdk = DeferredSdk(stub.config(), telemetry)
        leaving = asyncio.create_task(sdk.send(call("ListTables"), credentials("ANN")))
        staying = asyncio.create_task(sdk.send(call("ListTables"), credentials("BOB")))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await staying
        await sdk.aclose()
    assert [one.key_id for one in stub.requests] == ["AKIABOB"]


async def test_clients_are_made_ahead_when_asked_for(telemetry: Telemetry) -> None:
    sdk = DeferredSdk(AwsConfig(region="eu-central-1"), telemetry)
    await sdk.warm(["dynamodb", "dynamodbstreams"], "eu-central-1")
    assert sdk._sdk is not None
    assert repr(sdk._sdk[0]) == "<ClientPool 2 clients>"
    await sdk.aclose()


async def test_what_was_never_needed_is_closed_at_once(telemetry: Telemetry) -> None:
    await DeferredSdk(AwsConfig(region="eu-central-1"), telemetry).aclose()
