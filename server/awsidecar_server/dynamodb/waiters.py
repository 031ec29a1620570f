"""What can be waited for: which operation tells of it, and which of its answers are the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

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
from awsidecar_server.bridge.descriptors import is_required
from awsidecar_server.contract import DYNAMODB_SERVICE, Rpc, aws_rpcs, rpcs
from awsidecar_server.dynamodb.field_names import in_snake_case
from awsidecar_server.dynamodb.waiting import GONE, Standing, View, Wait
from awsidecar_server.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class State:
    """What is waited for, as far as the contract does not tell it."""

    operation: str
    # The states that may be waited for, the usual one first.
    goals: tuple[str, ...]
    # What AWS's answer means for the RPC's request and the state that is waited for.
    view: Callable[[Any, Any, str], View]
    # Fields that must be set, besides those that AWS requires.
    also_required: tuple[str, ...] = ()


class Waiter:
    """An RPC that waits. Its fields that AWS's operation knows, too, have the same names there, and go to it."""

    def __init__(self, rpc: Rpc, aws: Rpc, state: State) -> None:
        self._state = state
        self._request_class: Any = GetMessageClass(aws.request)
        self._answer_class = GetMessageClass(aws.response)
        self._message_class: Any = GetMessageClass(rpc.response)
        # Holds AWS's description.
        (self._description,) = (one.name for one in rpc.response.fields if one.message_type is not None)
        self._passed_on = tuple(one.name for one in aws.request.fields if one.name in rpc.request.fields_by_name)
        self._required = (*(one.name for one in aws.request.fields if is_required(one)), *state.also_required)
        self._naming = in_snake_case(aws.request)

    def wait(self, request: Any) -> Wait:
        """The wait that an RPC asks for; raises `InvalidRequest` naming the field at fault."""
        state = self._state
        for name in self._required:
            if not getattr(request, name):
                raise InvalidRequest.of(name, "is required")
        goal = getattr(request, "until", "") or state.goals[0]
        if goal not in state.goals:
            raise InvalidRequest.of("until", f"must be one of {', '.join(state.goals)}")

        def view(answer: Any) -> View:
            if answer is None:
                return View(GONE, Standing.REACHED if goal == GONE else Standing.UNKNOWN)
            return state.view(request, answer, goal)

        asked = self._request_class(**{name: getattr(request, name) or None for name in self._passed_on})
        words = f"{goal}, with all indexes" if getattr(request, "indexes", False) and goal != GONE else goal
        return Wait(state.operation, asked, self._answer_class, view, self._message, words, self._naming)

    def _message(self, view: View) -> Message:
        message: Any = self._message_class(status=view.status, reached=view.standing is Standing.REACHED)
        if view.description is not None:
            getattr(message, self._description).CopyFrom(view.description)
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
_STATES: Mapping[str, State] = {
    "WaitForTable": State("DescribeTable", ("ACTIVE", GONE), _table),
    "WaitForBackup": State("DescribeBackup", ("AVAILABLE", GONE), _backup),
    "WaitForExport": State("DescribeExport", ("COMPLETED",), _export),
    "WaitForImport": State("DescribeImport", ("COMPLETED",), _import),
    "WaitForKinesisStreamingDestination": State(
        "DescribeKinesisStreamingDestination", ("ACTIVE", "DISABLED"), _destination, also_required=("stream_arn",)
    ),
    "WaitForContributorInsights": State("DescribeContributorInsights", ("ENABLED", "DISABLED"), _insights),
    "WaitForTimeToLive": State("DescribeTimeToLive", ("ENABLED", "DISABLED"), _time_to_live),
}


def _waiters() -> Mapping[str, Waiter]:
    own = {rpc.method: rpc for rpc in rpcs(DYNAMODB_SERVICE)}
    aws = {rpc.aws_operation: rpc for rpc in aws_rpcs()}
    return {name: Waiter(own[name], aws[state.operation], state) for name, state in _STATES.items()}


# By the name of the RPC.
WAITERS = _waiters()
