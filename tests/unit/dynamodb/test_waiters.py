from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from tests.unit.dynamodb.fake_dynamodb import FakeDynamoDb, rejection, seen

from awsidecar.dynamodb.v1 import (
    backups_pb2,
    contributor_insights_pb2,
    exports_pb2,
    imports_pb2,
    kinesis_destinations_pb2,
    table_description_pb2,
    tables_pb2,
    time_to_live_pb2,
)
from awsidecar.dynamodb.v1 import waiters_pb2 as pb
from awsidecar_server.contract import DYNAMODB_SERVICE, rpcs
from awsidecar_server.dynamodb.waiters import WAITERS
from awsidecar_server.errors import InvalidRequest, StateUnreachable

STREAM = "arn:aws:kinesis:eu-central-1:123456789012:stream/changes"
WITH_INDEXES = pb.WaitForTableRequest(table_name="users", indexes=True)
INSIGHTS = pb.WaitForContributorInsightsRequest(table_name="users")
TIME_TO_LIVE = pb.WaitForTimeToLiveRequest(table_name="users")


def table(status: str, **members: Any) -> Message:
    described = table_description_pb2.TableDescription(table_status=status, **members)
    return tables_pb2.DescribeTableResponse(table=described)


def index(status: str, backfilling: bool | None = None) -> Any:
    return table_description_pb2.GlobalSecondaryIndexDescription(
        index_name="by-mail", index_status=status, backfilling=backfilling
    )


def vector_index(status: str) -> Any:
    return table_description_pb2.VectorIndexDescription(index_name="by-meaning", index_status=status)


def backup(status: str) -> Message:
    details = backups_pb2.BackupDetails(backup_status=status)
    return backups_pb2.DescribeBackupResponse(
        backup_description=backups_pb2.BackupDescription(backup_details=details)
    )


def export(status: str, **members: Any) -> Message:
    described = exports_pb2.ExportDescription(export_status=status, **members)
    return exports_pb2.DescribeExportResponse(export_description=described)


def imported(status: str, **members: Any) -> Message:
    described = imports_pb2.ImportTableDescription(import_status=status, **members)
    return imports_pb2.DescribeImportResponse(import_table_description=described)


def destinations(*statuses: tuple[str, str]) -> Message:
    found = [
        kinesis_destinations_pb2.KinesisDataStreamDestination(
            stream_arn=arn, destination_status=status, destination_status_description="because"
        )
        for arn, status in statuses
    ]
    return kinesis_destinations_pb2.DescribeKinesisStreamingDestinationResponse(
        kinesis_data_stream_destinations=found
    )


def insights(status: str, **failure: str) -> Message:
    return contributor_insights_pb2.DescribeContributorInsightsResponse(
        contributor_insights_status=status,
        failure_exception=contributor_insights_pb2.FailureException(**failure) if failure else None,
    )


def time_to_live(status: str) -> Message:
    described = time_to_live_pb2.TimeToLiveDescription(time_to_live_status=status)
    return time_to_live_pb2.DescribeTimeToLiveResponse(time_to_live_description=described)


EXPORT = pb.WaitForExportRequest(export_arn="arn:export")
IMPORT = pb.WaitForImportRequest(import_arn="arn:import")
BACKUP = pb.WaitForBackupRequest(backup_arn="arn:backup")
BACKUP_GONE = pb.WaitForBackupRequest(backup_arn="arn:backup", until="GONE")
KINESIS = pb.WaitForKinesisStreamingDestinationRequest(table_name="users", stream_arn=STREAM)
KINESIS_OFF = pb.WaitForKinesisStreamingDestinationRequest(table_name="users", stream_arn=STREAM, until="DISABLED")


def told(messages: list[Any]) -> list[tuple[str, bool]]:
    return [(one.status, one.reached) for one in messages]


def test_every_rpc_that_waits_has_a_waiter() -> None:
    waiting = {rpc.method for rpc in rpcs(DYNAMODB_SERVICE) if rpc.method.startswith("WaitFor")}
    assert set(WAITERS) == waiting


@pytest.mark.parametrize(
    ("request_", "answers", "expected"),
    [
        (EXPORT, [export("IN_PROGRESS"), export("COMPLETED")], [("IN_PROGRESS", False), ("COMPLETED", True)]),
        (IMPORT, [imported("IN_PROGRESS"), imported("COMPLETED")], [("IN_PROGRESS", False), ("COMPLETED", True)]),
        (BACKUP, [backup("CREATING"), backup("AVAILABLE")], [("CREATING", False), ("AVAILABLE", True)]),
        (BACKUP_GONE, [backup("AVAILABLE"), backup("DELETED")], [("AVAILABLE", False), ("DELETED", True)]),
        (
            BACKUP_GONE,
            [backup("AVAILABLE"), rejection("BackupNotFoundException")],
            [("AVAILABLE", False), ("GONE", True)],
        ),
        (
            KINESIS,
            [destinations(), destinations((STREAM, "ENABLING")), destinations((STREAM, "ACTIVE"))],
            [("GONE", False), ("ENABLING", False), ("ACTIVE", True)],
        ),
        (
            KINESIS_OFF,
            [destinations((STREAM, "DISABLING")), destinations((STREAM, "DISABLED"))],
            [("DISABLING", False), ("DISABLED", True)],
        ),
        (KINESIS_OFF, [destinations(("arn:other", "ACTIVE"))], [("GONE", True)]),
        (INSIGHTS, [insights("ENABLING"), insights("ENABLED")], [("ENABLING", False), ("ENABLED", True)]),
        (
            TIME_TO_LIVE,
            [time_to_live("DISABLED"), time_to_live("ENABLED")],
            [("DISABLED", False), ("ENABLED", True)],
        ),
    ],
)
async def test_wait_ends_when_the_state_is_reached(
    request_: Message, answers: list[Message | Exception], expected: list[tuple[str, bool]]
) -> None:
    found = await seen(FakeDynamoDb(*answers), request_)
    assert told(found) == expected


@pytest.mark.parametrize(
    ("request_", "answer", "metadata"),
    [
        (
            EXPORT,
            export("FAILED", failure_code="S3NoSuchBucket", failure_message="no such bucket"),
            {"status": "FAILED", "failure_code": "S3NoSuchBucket", "failure_message": "no such bucket"},
        ),
        (IMPORT, imported("CANCELLED"), {"status": "CANCELLED"}),
        (IMPORT, imported("FAILED", failure_code="ItemError"), {"status": "FAILED", "failure_code": "ItemError"}),
        (BACKUP, backup("DELETED"), {"status": "DELETED"}),
        (
            KINESIS,
            destinations((STREAM, "ENABLE_FAILED")),
            {"status": "ENABLE_FAILED", "failure_message": "because"},
        ),
        (KINESIS, destinations((STREAM, "DISABLED")), {"status": "DISABLED", "failure_message": "because"}),
        (
            INSIGHTS,
            insights("FAILED", exception_name="LimitExceededException", exception_description="too many"),
            {"status": "FAILED", "failure_code": "LimitExceededException", "failure_message": "too many"},
        ),
        (pb.WaitForTableRequest(table_name="users"), table("ARCHIVED"), {"status": "ARCHIVED"}),
    ],
)
async def test_state_without_a_way_out_is_told_and_ends_the_wait_with_the_reasons_of_aws(
    request_: Message, answer: Message, metadata: dict[str, str]
) -> None:
    *told_before, failure = await seen(FakeDynamoDb(answer), request_)
    assert told(told_before) == [(metadata["status"], False)]
    assert isinstance(failure, StateUnreachable)
    assert failure.metadata == metadata


async def test_archived_table_can_be_deleted() -> None:
    gone = rejection("ResourceNotFoundException")
    found = await seen(FakeDynamoDb(table("ARCHIVED"), gone), pb.WaitForTableRequest(table_name="u", until="GONE"))
    assert told(found) == [("ARCHIVED", False), ("GONE", True)]


async def test_stream_that_was_a_destination_before_counts_by_what_it_is_now() -> None:
    both = destinations((STREAM, "DISABLED"), (STREAM, "ACTIVE"), ("arn:other", "DISABLED"))
    assert told(await seen(FakeDynamoDb(both), KINESIS)) == [("ACTIVE", True)]


async def test_indexes_are_waited_for_when_asked() -> None:
    answers = [
        table("ACTIVE", global_secondary_indexes=[index("CREATING", backfilling=True)]),
        table("ACTIVE", global_secondary_indexes=[index("ACTIVE", backfilling=True)]),
        table("ACTIVE", global_secondary_indexes=[index("ACTIVE")], vector_indexes=[vector_index("CREATING")]),
        table("ACTIVE", global_secondary_indexes=[index("ACTIVE")], vector_indexes=[vector_index("ACTIVE")]),
    ]
    found = await seen(FakeDynamoDb(*answers), WITH_INDEXES)
    assert told(found) == [("ACTIVE", False)] * 3 + [("ACTIVE", True)]


async def test_indexes_are_left_alone_when_not_asked() -> None:
    building = table("ACTIVE", global_secondary_indexes=[index("CREATING")])
    found = await seen(FakeDynamoDb(building), pb.WaitForTableRequest(table_name="users"))
    assert told(found) == [("ACTIVE", True)]


@pytest.mark.parametrize("name", ["", "by-mail"])
async def test_insights_of_an_index_are_asked_for_by_its_name(name: str) -> None:
    dynamodb = FakeDynamoDb(insights("ENABLED"))
    await seen(dynamodb, pb.WaitForContributorInsightsRequest(table_name="users", index_name=name))
    assert dynamodb.asked[0][1] == contributor_insights_pb2.DescribeContributorInsightsRequest(
        table_name="users", index_name=name or None
    )


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.WaitForTableRequest(), "table_name"),
        (pb.WaitForTableRequest(table_name="users", until="active"), "until"),
        (pb.WaitForBackupRequest(until="GONE"), "backup_arn"),
        (pb.WaitForKinesisStreamingDestinationRequest(table_name="users"), "stream_arn"),
    ],
)
def test_field_at_fault_is_named(request_: Message, field: str) -> None:
    waiter = WAITERS[request_.DESCRIPTOR.name.removesuffix("Request")]
    with pytest.raises(InvalidRequest) as refused:
        waiter.wait(request_)
    assert [violation.field for violation in refused.value.violations] == [field]
