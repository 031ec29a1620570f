"""The contract is AWS's: every operation, member and type of the newest service models, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    MethodDescriptorProto,
    MethodOptions,
)

import aws_models
from awsidecar.options.v1 import options_pb2
from comparison import differences, snake_case
from contract import Contract

SERVICES = ("dynamodb", "dynamodbstreams")
Damage = Callable[[Contract], object]


@pytest.fixture(scope="session")
def models() -> dict[str, Any]:
    session = botocore.session.Session()
    return {service: session.get_service_model(service) for service in SERVICES}


@pytest.fixture
def contract() -> Contract:
    return Contract.from_stubs()


def message(contract: Contract, name: str) -> DescriptorProto:
    return contract.messages()[f".awsidecar.dynamodb.v1.{name}"]


def field(contract: Contract, owner: str, name: str) -> FieldDescriptorProto:
    return next(field for field in message(contract, owner).field if field.name == name)


def method(contract: Contract, name: str) -> MethodDescriptorProto:
    return next(rpc.method for rpc in contract.rpcs() if rpc.method.name == name)


def remove_field(contract: Contract, owner: str, name: str) -> None:
    message(contract, owner).field.remove(field(contract, owner, name))


def remove_rpc(contract: Contract, name: str) -> None:
    for file in contract.files:
        for service in file.service:
            kept = [rpc for rpc in service.method if rpc.name != name]
            del service.method[:]
            service.method.extend(kept)


def test_contract_has_every_operation_and_member_of_aws_and_no_other(
    contract: Contract, models: dict[str, Any]
) -> None:
    found = differences(contract, models)
    assert not found, f"{len(found)} differences from AWS:\n" + "\n".join(found)


def test_service_models_in_the_server_are_those_of_the_locked_botocore() -> None:
    assert aws_models.outdated() == [], "run `make models`"


def test_every_enumeration_of_aws_is_a_string(contract: Contract) -> None:
    """AWS adds values, and a value unknown here has to pass."""
    assert not [file.name for file in contract.files if file.package == "awsidecar.dynamodb.v1" and file.enum_type]


@pytest.mark.parametrize(
    ("member", "name"),
    [
        ("TableName", "table_name"),
        ("eventID", "event_id"),
        ("NULL", "null"),
        ("KMSMasterKeyId", "kms_master_key_id"),
        ("SSESpecification", "sse_specification"),
        ("S3BucketSource", "s3_bucket_source"),
        ("StreamARNs", "stream_arns"),
        ("ARNsSeen", "arns_seen"),
    ],
)
def test_member_names_become_snake_case(member: str, name: str) -> None:
    assert snake_case(member) == name


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            lambda c: remove_field(c, "GetItemRequest", "consistent_read"),
            "GetItemRequest: no field for the member ConsistentRead (boolean)",
        ),
        (
            lambda c: setattr(field(c, "GetItemRequest", "table_name"), "name", "table"),
            "GetItemRequest.table: should be called table_name, after the member TableName",
        ),
        (
            lambda c: setattr(field(c, "GetItemRequest", "table_name"), "json_name", "tableName"),
            "GetItemRequest.table_name: AWS has no member tableName",
        ),
        (
            lambda c: message(c, "GetItemRequest").field.add(name="colour", json_name="Colour", number=99),
            "GetItemRequest.colour: AWS has no member Colour",
        ),
        (
            lambda c: setattr(field(c, "QueryRequest", "limit"), "type", FieldDescriptorProto.TYPE_INT64),
            "QueryRequest.limit: should be int32, not int64",
        ),
        (
            lambda c: setattr(field(c, "QueryRequest", "limit"), "proto3_optional", False),
            "QueryRequest.limit: should be optional, so that its absence shows",
        ),
        (
            lambda c: field(c, "QueryRequest", "table_name").options.ClearExtension(options_pb2.required),
            "QueryRequest.table_name: TableName is required by AWS",
        ),
        (
            lambda c: field(c, "QueryRequest", "limit").options.Extensions.__setitem__(options_pb2.required, True),
            "QueryRequest.limit: Limit is not required by AWS",
        ),
        (
            lambda c: setattr(
                field(c, "ListTablesResponse", "table_names"), "label", FieldDescriptorProto.LABEL_OPTIONAL
            ),
            "ListTablesResponse.table_names: should be repeated",
        ),
        (
            lambda c: setattr(field(c, "GetItemResponse", "item"), "type_name", ".awsidecar.dynamodb.v1.Key"),
            "GetItemResponse.item: should be awsidecar.dynamodb.v1.Item, not awsidecar.dynamodb.v1.Key",
        ),
        (
            lambda c: message(c, "ItemList").options.ClearExtension(options_pb2.transparent),
            "ItemList: should be transparent",
        ),
        (
            lambda c: field(c, "AttributeValue", "ss").ClearField("oneof_index"),
            "AttributeValue.ss: should stand in the oneof",
        ),
        (
            lambda c: setattr(field(c, "Record", "dynamodb"), "type_name", ".awsidecar.dynamodb.v1.Shard"),
            "Record.dynamodb: should be awsidecar.dynamodb.v1.StreamRecord, not awsidecar.dynamodb.v1.Shard",
        ),
        (lambda c: remove_rpc(c, "SearchVectors"), "dynamodb: no RPC for the operation SearchVectors"),
        (
            lambda c: setattr(method(c, "GetItem").options.Extensions[options_pb2.aws], "operation", "FetchItem"),
            "dynamodb: AWS has no operation FetchItem",
        ),
        (
            lambda c: setattr(method(c, "PutItem").options, "idempotency_level", MethodOptions.NO_SIDE_EFFECTS),
            "PutItem: idempotency_level should not be NO_SIDE_EFFECTS",
        ),
        (
            lambda c: method(c, "Query").options.ClearField("idempotency_level"),
            "Query: idempotency_level should be NO_SIDE_EFFECTS",
        ),
        (
            lambda c: setattr(method(c, "Scan"), "server_streaming", True),
            "Scan: streams, but an operation of AWS is one request and one response",
        ),
    ],
)
def test_each_kind_of_difference_is_found_and_named(
    contract: Contract, models: dict[str, Any], damage: Damage, complaint: str
) -> None:
    """A comparison that finds nothing must also be one that would have found something."""
    before = set(differences(contract, models))
    damage(contract)
    assert complaint in set(differences(contract, models)) - before
