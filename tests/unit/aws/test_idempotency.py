"""Which calls do no harm, and tell no lie, when AWS carries them out twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import MethodOptions

from awsidecar.options.v1 import options_pb2
from awsidecar_server.aws.idempotency import READS, Nature, nature_of
from awsidecar_server.contract import AWS_SERVICES

ITEM = {"TableName": "films", "Item": {"id": {"S": "1"}}}
SELECT, INSERT = {"Statement": " select * from films"}, {"Statement": "INSERT INTO films VALUE {'id': '1'}"}
FULL = {"ClientRequestToken": "token", "ClientToken": "token"}
# Writes of which a second execution does something else, or is answered with an error, whatever the call says.
ONCE = [
    "CancelBulkOperation",
    "CreateBackup",
    "CreateGlobalTable",
    "CreateTable",
    "DeleteBackup",
    "DeleteTable",
    "DisableKinesisStreamingDestination",
    "EnableKinesisStreamingDestination",
    "RestoreTableFromBackup",
    "RestoreTableToPointInTime",
    "UpdateContributorInsights",
    "UpdateGlobalTable",
    "UpdateGlobalTableSettings",
    "UpdateKinesisStreamingDestination",
    "UpdateTable",
    "UpdateTableReplicaAutoScaling",
    "UpdateTimeToLive",
]


def nature(operation: str, parameters: Mapping[str, Any]) -> Nature:
    return nature_of(operation, lambda: parameters)


def operations() -> set[str]:
    models = resources.files("awsidecar_server.aws") / "models"
    return {
        name
        for service in ("dynamodb", "dynamodbstreams")
        for name in json.loads((models / service / "2012-08-10" / "service-2.json").read_text())["operations"]
    }


def test_operations_that_happen_once_are_these_and_no_others() -> None:
    """A new operation of AWS is a write that happens once, until somebody has thought about it."""
    statements = {"ExecuteStatement", "BatchExecuteStatement"}
    plain = {**FULL, "Statement": "INSERT", "Statements": [INSERT]}
    assert {name for name in operations() if nature(name, plain) is Nature.ONCE} == {*ONCE, *statements}


def test_reads_are_those_that_the_contract_marks() -> None:
    marked = {
        method.GetOptions().Extensions[options_pb2.aws].operation
        for service in AWS_SERVICES
        for method in service.methods
        if method.GetOptions().HasExtension(options_pb2.aws)
        and method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    }
    assert marked == READS & operations()


@pytest.mark.parametrize("operation", sorted(READS))
def test_parameters_of_reads_are_not_looked_at(operation: str) -> None:
    def never() -> Mapping[str, Any]:
        raise AssertionError

    assert nature_of(operation, never) is Nature.READ


def test_unknown_operation_happens_once() -> None:
    assert nature("GetEverything", {}) is Nature.ONCE


@pytest.mark.parametrize("operation", ["PutItem", "DeleteItem", "UpdateItem"])
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, Nature.REPEATABLE),
        ({"ReturnValues": "NONE", "ReturnConsumedCapacity": "TOTAL"}, Nature.REPEATABLE),
        ({"ReturnValues": "ALL_OLD"}, Nature.ONCE),
        ({"ConditionExpression": "attribute_not_exists(id)"}, Nature.ONCE),
        ({"Expected": {"id": {"Exists": False}}}, Nature.ONCE),
    ],
)
def test_write_of_an_item_is_repeatable_without_condition_and_old_values(
    operation: str, parameters: Mapping[str, Any], expected: Nature
) -> None:
    assert nature(operation, {**ITEM, **parameters}) is expected


@pytest.mark.parametrize(
    "expression",
    [
        "SET a = :v",
        "set a=:v,b = :w , c.d=:x",
        "SET #a = :v REMOVE b, #c.d DELETE e :set",
        "\n REMOVE a\tSET b = :v ",
        "DELETE a :one, b :two",
    ],
)
@pytest.mark.parametrize("values", ["NONE", "ALL_NEW", "UPDATED_NEW"])
def test_update_to_given_values_is_repeatable(expression: str, values: str) -> None:
    parameters = {"UpdateExpression": expression, "ReturnValues": values}
    assert nature("UpdateItem", parameters) is Nature.REPEATABLE


@pytest.mark.parametrize(
    "expression",
    [
        "ADD a :one",
        "SET a = a + :one",
        "SET a = :one - a",
        "SET a = :v, b = b+:one",
        "SET a = list_append(a, :list)",
        "SET a = if_not_exists(a, :v)",
        "SET a = b, b = a",
        "SET a[9] = :v",
        "REMOVE a[0]",
        "SET a.b[1].c = :v",
        "SET a = :v ADD b :one",
        "SET a = :v SET",
        "SETa = :v",
        "SET a = :v,",
        "DELETE a",
        "drop everything",
        "SET a = :v\N{NO-BREAK SPACE}",
        "SET " + ", ".join(f"attribute{number} = :v" for number in range(500)),
        "SET" + " " * 4000 + "!",
    ],
)
def test_update_that_computes_or_cannot_be_read_happens_once(expression: str) -> None:
    assert nature("UpdateItem", {"UpdateExpression": expression}) is Nature.ONCE


@pytest.mark.parametrize("values", ["ALL_OLD", "UPDATED_OLD", "SOMETHING_NEW"])
def test_update_that_returns_what_was_happens_once(values: str) -> None:
    assert nature("UpdateItem", {"UpdateExpression": "SET a = :v", "ReturnValues": values}) is Nature.ONCE


@pytest.mark.parametrize(
    ("action", "expected"),
    [({"Action": "PUT"}, Nature.REPEATABLE), ({}, Nature.REPEATABLE), ({"Action": "ADD"}, Nature.ONCE)],
)
def test_legacy_update_is_repeatable_unless_it_adds(action: Mapping[str, Any], expected: Nature) -> None:
    assert nature("UpdateItem", {"AttributeUpdates": {"a": {"Action": "DELETE"}, "b": action}}) is expected


@pytest.mark.parametrize(
    ("operation", "token"),
    [
        ("TransactWriteItems", "ClientRequestToken"),
        ("ExecuteTransaction", "ClientRequestToken"),
        ("ExportTableToPointInTime", "ClientToken"),
        ("ImportTable", "ClientToken"),
        ("StartBulkPutItems", "ClientToken"),
    ],
)
def test_token_makes_a_call_repeatable(operation: str, token: str) -> None:
    parameters = {"TransactStatements": [INSERT]}
    assert nature(operation, {**parameters, token: "token"}) is Nature.REPEATABLE
    assert nature(operation, {**parameters, token: ""}) is Nature.ONCE
    assert nature(operation, parameters) is Nature.ONCE


@pytest.mark.parametrize("operation", ["PutResourcePolicy", "DeleteResourcePolicy"])
def test_policy_of_an_expected_revision_happens_once(operation: str) -> None:
    assert nature(operation, {}) is Nature.REPEATABLE
    assert nature(operation, {"ExpectedRevisionId": "1"}) is Nature.ONCE


def test_only_statements_that_select_are_reads() -> None:
    assert nature("ExecuteStatement", SELECT) is Nature.READ
    assert nature("ExecuteStatement", INSERT) is Nature.ONCE
    assert nature("ExecuteStatement", {"Statement": "selection"}) is Nature.ONCE
    assert nature("BatchExecuteStatement", {"Statements": [SELECT, SELECT]}) is Nature.READ
    assert nature("BatchExecuteStatement", {"Statements": [SELECT, INSERT]}) is Nature.ONCE
    assert nature("ExecuteTransaction", {"TransactStatements": [SELECT]}) is Nature.READ


@pytest.mark.parametrize("operation", ["BatchWriteItem", "TagResource", "UntagResource", "UpdateContinuousBackups"])
def test_puts_and_deletes_in_batches_and_settings_that_are_set_to_what_they_are_are_repeatable(
    operation: str,
) -> None:
    assert nature(operation, {}) is Nature.REPEATABLE
