"""The surface of the package: every operation is there, typed as the contract says, and loaded when used."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import awsidecar
from awsidecar import errors, exceptions, services, shapes, transport
from awsidecar.operations import CREDENTIALS, DYNAMODB, METHODS, STREAMS, Operation, snake_case
from awsidecar.pages import PAGINGS

TOOL = Path(awsidecar.__file__).parents[1] / "tools" / "shapes.py"
OPERATIONS = {**DYNAMODB, **STREAMS}
# What this process can import, a child can import too.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def loaded_by(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*(name for name in sys.modules if name.startswith('awsidecar')))"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "stub", ["dynamodb.v1.items_pb2", "errors.v1.errors_pb2", "credentials.v1.credentials_pb2"]
)
def test_a_generated_stub_is_imported_without_the_client(stub: str) -> None:
    loaded = loaded_by(f"import awsidecar.{stub}")
    assert f"awsidecar.{stub}" in loaded
    hand_written = {"client", "aio", "exceptions", "failures", "operations", "values", "messages", "transport"}
    assert not loaded & {f"awsidecar.{name}" for name in hand_written}


def test_the_names_of_the_package_are_all_there() -> None:
    for module in (awsidecar, errors):
        assert [name for name in module.__all__ if not hasattr(module, name)] == []
        assert dir(module) == module.__all__
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            module.nothing  # noqa: B018 - reading it is the test


def test_every_exception_is_public() -> None:
    defined = {
        name for name, value in vars(exceptions).items() if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert defined <= set(errors.__all__)


def test_the_generated_modules_are_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, str(TOOL), "--check"], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("service", "operations"),
    [
        (services.DynamoDb, DYNAMODB),
        (services.AioDynamoDb, DYNAMODB),
        (services.DynamoDbStreams, STREAMS),
        (services.AioDynamoDbStreams, STREAMS),
    ],
)
def test_every_operation_is_a_method(service: type, operations: dict[str, Operation]) -> None:
    expected = {operation.attribute for operation in operations.values()}
    for operation in operations.values():
        if operation.paging is not None:
            expected |= {f"{operation.attribute}_pages", f"{operation.attribute}_items"}
    assert {name for name in vars(service) if not name.startswith("_")} == expected


def test_every_shape_can_be_resolved() -> None:
    for operation in OPERATIONS.values():
        request = get_type_hints(getattr(shapes, operation.request.name))
        assert set(request) == {field.json_name for field in operation.request.fields}
        reply = get_type_hints(getattr(shapes, operation.response.name))
        assert set(reply) == {field.json_name for field in operation.response.fields} | {"ResponseMetadata"}


def test_every_operation_that_goes_on_has_its_paging() -> None:
    starts = ("ExclusiveStart", "NextToken")
    paged = {
        name
        for name, operation in OPERATIONS.items()
        if any(field.json_name.startswith(starts) for field in operation.request.fields)
    }
    assert paged == set(PAGINGS)
    for name, paging in PAGINGS.items():
        operation = OPERATIONS[name]
        assert paging.start in {field.json_name for field in operation.request.fields}
        members = {field.json_name: field for field in operation.response.fields}
        if paging.within:
            holder = members[paging.within].message_type
            assert holder is not None
            members = {field.json_name: field for field in holder.fields}
        assert paging.next in members
        assert members[paging.items].is_repeated


def test_the_idempotency_tokens_are_known() -> None:
    tokens = {name: operation.token_member for name, operation in OPERATIONS.items() if operation.token_member}
    assert tokens == {
        "TransactWriteItems": "ClientRequestToken",
        "ExecuteTransaction": "ClientRequestToken",
        "ExportTableToPointInTime": "ClientToken",
        "ImportTable": "ClientToken",
        "StartBulkPutItems": "ClientToken",
    }


def test_only_reads_are_retried() -> None:
    (config,) = transport.service_config()["methodConfig"]
    retried = {name["method"] for name in config["name"]}
    assert retried == {method.name for method in METHODS if method.is_read}
    assert {"GetItem", "Query", "WhoAmI", "GetRecords"} <= retried
    assert not retried & {"PutItem", "UpdateItem", "TransactWriteItems", "ExecuteStatement", "OpenSession"}


def test_names_are_turned_into_pythons_own() -> None:
    assert snake_case("DescribeTimeToLive") == "describe_time_to_live"
    assert set(CREDENTIALS) >= {"OpenSession", "CloseSession"}


def test_the_target_is_the_one_given_else_that_of_the_environment() -> None:
    environment = {"AWSIDECAR_TARGET": "unix:/run/awsidecar.sock"}
    assert transport.target_of("10.0.0.1:1", environment) == "10.0.0.1:1"
    assert transport.target_of(None, environment) == "unix:/run/awsidecar.sock"
    assert transport.target_of(None, {}) == "127.0.0.1:50051"
