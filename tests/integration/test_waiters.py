"""Waiting for the states of real backends: tables, Time to Live and backups that come and go."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import grpc
import pytest
from tests.integration.backends import Backend

import awsidecar
from awsidecar import errors


@pytest.fixture
def client(backend: Backend) -> Iterator[awsidecar.Client]:
    with awsidecar.connect(backend.sidecar.target) as connected:
        yield connected


@pytest.fixture
def table(client: awsidecar.Client) -> str:
    name = f"waiters-{uuid.uuid4()}"
    client.dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "mail", "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-mail",
                "KeySchema": [{"AttributeName": "mail", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    return name


def test_table_and_its_indexes_become_active_and_are_gone_after_their_deletion(
    client: awsidecar.Client, table: str
) -> None:
    found = client.dynamodb.wait_for_table(table, indexes=True, timeout=30)
    assert found["TableStatus"] == "ACTIVE"
    assert [index["IndexStatus"] for index in found["GlobalSecondaryIndexes"]] == ["ACTIVE"]
    client.dynamodb.delete_table(TableName=table)
    client.dynamodb.wait_for_table(table, until="GONE", timeout=30)
    with pytest.raises(errors.ResourceNotFoundException):
        client.dynamodb.describe_table(TableName=table)


def test_time_to_live_becomes_enabled(client: awsidecar.Client, table: str) -> None:
    client.dynamodb.update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ends"}
    )
    found = client.dynamodb.wait_for_time_to_live(table, timeout=30)
    assert (found["TimeToLiveStatus"], found["AttributeName"]) == ("ENABLED", "ends")


def test_backup_becomes_available_and_is_gone_after_its_deletion(
    client: awsidecar.Client, backend: Backend
) -> None:
    if backend.differs_in("backups"):
        with pytest.raises(awsidecar.SidecarError) as refused:
            client.dynamodb.create_backup(TableName="users", BackupName="before-the-move")
        assert refused.value.code is grpc.StatusCode.UNIMPLEMENTED
        return
    made = client.dynamodb.create_backup(TableName="users", BackupName="before-the-move")
    arn = made["BackupDetails"]["BackupArn"]
    found = client.dynamodb.wait_for_backup(arn, timeout=30)
    assert found["BackupDetails"]["BackupName"] == "before-the-move"
    client.dynamodb.delete_backup(BackupArn=arn)
    client.dynamodb.wait_for_backup(arn, until="GONE", timeout=30)
