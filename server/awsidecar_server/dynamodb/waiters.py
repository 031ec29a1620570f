"""What can be waited for: which operation tells of it, and which of its answers are the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from awsidecar.dynamodb.v1 import (
    backups_pb2,
    contributor_insights_pb2,
    exports_pb2,
    imports_pb2,
    kinesis_destinations_pb2,
    tables_pb2,
    time_to_live_pb2,
    waiters_pb2,
)
from awsidecar_server.dynamodb.waiting import GONE, Standing, View, Wait
from awsidecar_server.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Waiter:
    """One thing to wait for."""

    operation: str
    answer_class: type[Message]
    # The RPC's message, and its field that holds AWS's description.
    message_class: type[Message]
    field: str
    # The RPC's fields that must be set, and the states that may be waited for, the usual one first.
    required: tuple[str, ...]
    goals: tuple[str, ...]
    # AWS's request, from the RPC's.
    request: Callable[[Any], Message]
    # What AWS's answer means for the RPC's request and the state that is waited for.
    view: Callable[[Any, Any, str], View]

    def wait(self, request: Any) -> Wait:
        """The wait that an RPC asks for; raises `InvalidRequest` naming the field at fault."""
        for name in self.required:
            if not getattr(request, name):
                raise InvalidRequest.of(name, "is required")
        goal = getattr(request, "until", "") or self.goals[0]
        if goal not in self.goals:
            raise InvalidRequest.of("until", f"must be one of {', '.join(self.goals)}")

        def view(answer: Any) -> View:
            if answer is None:
                return View(GONE, Standing.REACHED if goal == GONE else Standing.UNKNOWN)
            return self.view(request, answer, goal)

        return Wait(self.operation, self.request(request), self.answer_class, view, self._message)

    def _message(self, view: View) -> Message:
        message: Any = self.message_class(status=view.status, reached=view.standing is Standing.REACHED)
        if view.description is not None:
            getattr(message, self.field).CopyFrom(view.description)
        return message  # type: ignore[no-any-return]


def _standing(status: str, goal: str, *, stuck: frozenset[str] = frozenset()) -> Standing:
    if status == goal:
        return Standing.REACHED
    return Standing.STUCK if status in stuck else Standing.PENDING


def _table(request: waiters_pb2.WaitForTableRequest, answer: tables_pb2.DescribeTableResponse, goal: str) -> View:
    table = answer.table
    indexes: list[Any] = [*table.global_secondary_indexes, *table.vector_indexes]
    parts = tuple((one.index_name, one.index_status, one.backfilling) for one in indexes)
    standing = _standing(table.table_status, goal, stuck=frozenset({"ARCHIVED"} if goal != GONE else ()))
    if standing is Standing.REACHED and request.indexes:
        is_built = all(one.index_status == "ACTIVE" and not one.backfilling for one in indexes)
        standing = Standing.REACHED if is_built else Standing.PENDING
    elif table.table_status == "DELETING" and goal != GONE:
        standing = Standing.LEAVING
    why = table.archival_summary.archival_reason
    return View(table.table_status, standing, table, parts, failure_code=why)


def _export(_: Message, answer: exports_pb2.DescribeExportResponse, goal: str) -> View:
    export = answer.export_description
    standing = _standing(export.export_status, goal, stuck=frozenset({"FAILED"}))
    return View(
        export.export_status,
        standing,
        export,
        failure_code=export.failure_code,
        failure_message=export.failure_message,
    )


def _import(_: Message, answer: imports_pb2.DescribeImportResponse, goal: str) -> View:
    done = answer.import_table_description
    standing = _standing(done.import_status, goal, stuck=frozenset({"FAILED", "CANCELLED"}))
    return View(
        done.import_status, standing, done, failure_code=done.failure_code, failure_message=done.failure_message
    )


def _backup(_: Message, answer: backups_pb2.DescribeBackupResponse, goal: str) -> View:
    status = answer.backup_description.backup_details.backup_status
    if status == "DELETED":
        standing = Standing.REACHED if goal == GONE else Standing.STUCK
    else:
        standing = _standing(status, goal)
    return View(status, standing, answer.backup_description)


def _destination(
    request: waiters_pb2.WaitForKinesisStreamingDestinationRequest,
    answer: kinesis_destinations_pb2.DescribeKinesisStreamingDestinationResponse,
    goal: str,
) -> View:
    # A stream may have been a destination before; the one that works now counts.
    found = [one for one in answer.kinesis_data_stream_destinations if one.stream_arn == request.stream_arn]
    found.sort(key=lambda one: one.destination_status in {"DISABLED", "ENABLE_FAILED"})
    if not found:
        return View(GONE, Standing.REACHED if goal == "DISABLED" else Standing.UNKNOWN)
    status = found[0].destination_status
    standing = _standing(status, goal, stuck=frozenset({"DISABLED", "ENABLE_FAILED"}))
    return View(status, standing, found[0], failure_message=found[0].destination_status_description)


def _insights(_: Message, answer: contributor_insights_pb2.DescribeContributorInsightsResponse, goal: str) -> View:
    status, failure = answer.contributor_insights_status, answer.failure_exception
    return View(
        status,
        _standing(status, goal, stuck=frozenset({"FAILED"})),
        answer,
        failure_code=failure.exception_name,
        failure_message=failure.exception_description,
    )


def _time_to_live(_: Message, answer: time_to_live_pb2.DescribeTimeToLiveResponse, goal: str) -> View:
    description = answer.time_to_live_description
    return View(description.time_to_live_status, _standing(description.time_to_live_status, goal), description)


# By the name of the RPC.
WAITERS: Mapping[str, Waiter] = {
    "WaitForTable": Waiter(
        operation="DescribeTable",
        answer_class=tables_pb2.DescribeTableResponse,
        message_class=waiters_pb2.WaitForTableResponse,
        field="table",
        required=("table_name",),
        goals=("ACTIVE", GONE),
        request=lambda one: tables_pb2.DescribeTableRequest(table_name=one.table_name),
        view=_table,
    ),
    "WaitForBackup": Waiter(
        operation="DescribeBackup",
        answer_class=backups_pb2.DescribeBackupResponse,
        message_class=waiters_pb2.WaitForBackupResponse,
        field="backup_description",
        required=("backup_arn",),
        goals=("AVAILABLE", GONE),
        request=lambda one: backups_pb2.DescribeBackupRequest(backup_arn=one.backup_arn),
        view=_backup,
    ),
    "WaitForExport": Waiter(
        operation="DescribeExport",
        answer_class=exports_pb2.DescribeExportResponse,
        message_class=waiters_pb2.WaitForExportResponse,
        field="export_description",
        required=("export_arn",),
        goals=("COMPLETED",),
        request=lambda one: exports_pb2.DescribeExportRequest(export_arn=one.export_arn),
        view=_export,
    ),
    "WaitForImport": Waiter(
        operation="DescribeImport",
        answer_class=imports_pb2.DescribeImportResponse,
        message_class=waiters_pb2.WaitForImportResponse,
        field="import_table_description",
        required=("import_arn",),
        goals=("COMPLETED",),
        request=lambda one: imports_pb2.DescribeImportRequest(import_arn=one.import_arn),
        view=_import,
    ),
    "WaitForKinesisStreamingDestination": Waiter(
        operation="DescribeKinesisStreamingDestination",
        answer_class=kinesis_destinations_pb2.DescribeKinesisStreamingDestinationResponse,
        message_class=waiters_pb2.WaitForKinesisStreamingDestinationResponse,
        field="destination",
        required=("table_name", "stream_arn"),
        goals=("ACTIVE", "DISABLED"),
        request=lambda one: kinesis_destinations_pb2.DescribeKinesisStreamingDestinationRequest(
            table_name=one.table_name
        ),
        view=_destination,
    ),
    "WaitForContributorInsights": Waiter(
        operation="DescribeContributorInsights",
        answer_class=contributor_insights_pb2.DescribeContributorInsightsResponse,
        message_class=waiters_pb2.WaitForContributorInsightsResponse,
        field="description",
        required=("table_name",),
        goals=("ENABLED", "DISABLED"),
        request=lambda one: contributor_insights_pb2.DescribeContributorInsightsRequest(
            table_name=one.table_name, index_name=one.index_name or None
        ),
        view=_insights,
    ),
    "WaitForTimeToLive": Waiter(
        operation="DescribeTimeToLive",
        answer_class=time_to_live_pb2.DescribeTimeToLiveResponse,
        message_class=waiters_pb2.WaitForTimeToLiveResponse,
        field="time_to_live_description",
        required=("table_name",),
        goals=("ENABLED", "DISABLED"),
        request=lambda one: time_to_live_pb2.DescribeTimeToLiveRequest(table_name=one.table_name),
        view=_time_to_live,
    ),
}
