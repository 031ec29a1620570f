"""Waiting for a state: the sidecar tells of it as a stream, which goes on where the sidecar went away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from awsidecar.exceptions import Unavailable
from awsidecar.messages import converter
from awsidecar.operations import OWN
from awsidecar.repeats import PATIENT_IN_A_ROW, Repeats
from awsidecar.settings import checked_timeout

if TYPE_CHECKING:
    from awsidecar import shapes
    from awsidecar.calls import AioCalls, Calls

# As long as AWS's own waiters wait, for tables and for what takes longer.
_TABLE_SECONDS = 500.0
_LONG_SECONDS = 1200.0


class Wait:
    """One wait: what is called, and what is known so far."""

    def __init__(self, rpc: str, description: str, fields: dict[str, Any], seconds: float) -> None:
        """`description` is the field of a message that holds AWS's; it stays when what it describes is gone."""
        self.method = OWN[rpc]
        self.request = self.method.request_class(**fields)
        self.last: Any = {}
        self.repeats = Repeats(checked_timeout(seconds), most_in_a_row=PATIENT_IN_A_ROW)
        self._description = description

    def note(self, state: Any) -> None:
        """Remembers a message of the stream."""
        self.repeats.came_through()
        if state.HasField(self._description):
            description = getattr(state, self._description)
            self.last = converter(description.DESCRIPTOR).plain(description)


def waited(calls: Calls, wait: Wait, pause: Callable[[float], None] = time.sleep) -> Any:
    """Returns AWS's last description, when the state is reached."""
    while True:
        try:
            for state in calls.stream(wait.method, wait.request, wait.repeats.seconds_left()):
                wait.note(state)
            return wait.last
        except Unavailable as gone:
            seconds = wait.repeats.pause_after(gone)
            if seconds is None:
                raise
        pause(seconds)


async def aio_waited(calls: AioCalls, wait: Wait, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> Any:
    """Returns AWS's last description, when the state is reached."""
    while True:
        try:
            stream = calls.stream(wait.method, wait.request, wait.repeats.seconds_left())
            async with aclosing(stream) as states:
                async for state in states:
                    wait.note(state)
            return wait.last
        except Unavailable as gone:
            seconds = wait.repeats.pause_after(gone)
            if seconds is None:
                raise
        await pause(seconds)


class Waiters:
    """The methods of DynamoDB that wait for a state, for threads. Each returns AWS's last description."""

    _calls: Calls

    def wait_for_table(
        self, table_name: str, *, until: str = "ACTIVE", indexes: bool = False, timeout: float = _TABLE_SECONDS
    ) -> shapes.TableDescription:
        """Waits until a table is `ACTIVE` (with `indexes`, these too), or `GONE`."""
        wait = Wait(
            "WaitForTable", "table", {"table_name": table_name, "until": until, "indexes": indexes}, timeout
        )
        found: shapes.TableDescription = waited(self._calls, wait)
        return found

    def wait_for_backup(
        self, backup_arn: str, *, until: str = "AVAILABLE", timeout: float = _LONG_SECONDS
    ) -> shapes.BackupDescription:
        """Waits until a backup is `AVAILABLE`, or `GONE`."""
        wait = Wait("WaitForBackup", "backup_description", {"backup_arn": backup_arn, "until": until}, timeout)
        found: shapes.BackupDescription = waited(self._calls, wait)
        return found

    def wait_for_export(self, export_arn: str, *, timeout: float = _LONG_SECONDS) -> shapes.ExportDescription:
        """Waits until an export is complete."""
        wait = Wait("WaitForExport", "export_description", {"export_arn": export_arn}, timeout)
        found: shapes.ExportDescription = waited(self._calls, wait)
        return found

    def wait_for_import(self, import_arn: str, *, timeout: float = _LONG_SECONDS) -> shapes.ImportTableDescription:
        """Waits until an import is complete."""
        wait = Wait("WaitForImport", "import_table_description", {"import_arn": import_arn}, timeout)
        found: shapes.ImportTableDescription = waited(self._calls, wait)
        return found

    def wait_for_kinesis_streaming_destination(
        self, table_name: str, stream_arn: str, *, until: str = "ACTIVE", timeout: float = _TABLE_SECONDS
    ) -> shapes.KinesisDataStreamDestination:
        """Waits until a Kinesis stream is an `ACTIVE` destination of a table, or a `DISABLED` one."""
        wait = Wait(
            "WaitForKinesisStreamingDestination",
            "destination",
            {"table_name": table_name, "stream_arn": stream_arn, "until": until},
            timeout,
        )
        found: shapes.KinesisDataStreamDestination = waited(self._calls, wait)
        return found

    def wait_for_contributor_insights(
        self, table_name: str, *, index_name: str = "", until: str = "ENABLED", timeout: float = _TABLE_SECONDS
    ) -> dict[str, Any]:
        """Waits until Contributor Insights of a table or an index are `ENABLED`, or `DISABLED`."""
        wait = Wait(
            "WaitForContributorInsights",
            "description",
            {"table_name": table_name, "index_name": index_name, "until": until},
            timeout,
        )
        found: dict[str, Any] = waited(self._calls, wait)
        return found

    def wait_for_time_to_live(
        self, table_name: str, *, until: str = "ENABLED", timeout: float = _LONG_SECONDS
    ) -> shapes.TimeToLiveDescription:
        """Waits until Time to Live of a table is `ENABLED`, or `DISABLED`."""
        wait = Wait(
            "WaitForTimeToLive", "time_to_live_description", {"table_name": table_name, "until": until}, timeout
        )
        found: shapes.TimeToLiveDescription = waited(self._calls, wait)
        return found


class AioWaiters:
    """The methods of DynamoDB that wait for a state, for asyncio. Each returns AWS's last description."""

    _calls: AioCalls

    async def wait_for_table(
        self, table_name: str, *, until: str = "ACTIVE", indexes: bool = False, timeout: float = _TABLE_SECONDS
    ) -> shapes.TableDescription:
        """Waits until a table is `ACTIVE` (with `indexes`, these too), or `GONE`."""
        wait = Wait(
            "WaitForTable", "table", {"table_name": table_name, "until": until, "indexes": indexes}, timeout
        )
        found: shapes.TableDescription = await aio_waited(self._calls, wait)
        return found

    async def wait_for_backup(
        self, backup_arn: str, *, until: str = "AVAILABLE", timeout: float = _LONG_SECONDS
    ) -> shapes.BackupDescription:
        """Waits until a backup is `AVAILABLE`, or `GONE`."""
        wait = Wait("WaitForBackup", "backup_description", {"backup_arn": backup_arn, "until": until}, timeout)
        found: shapes.BackupDescription = await aio_waited(self._calls, wait)
        return found

    async def wait_for_export(self, export_arn: str, *, timeout: float = _LONG_SECONDS) -> shapes.ExportDescription:
        """Waits until an export is complete."""
        wait = Wait("WaitForExport", "export_description", {"export_arn": export_arn}, timeout)
        found: shapes.ExportDescription = await aio_waited(self._calls, wait)
        return found

    async def wait_for_import(
        self, import_arn: str, *, timeout: float = _LONG_SECONDS
    ) -> shapes.ImportTableDescription:
        """Waits until an import is complete."""
        wait = Wait("WaitForImport", "import_table_description", {"import_arn": import_arn}, timeout)
        found: shapes.ImportTableDescription = await aio_waited(self._calls, wait)
        return found

    async def wait_for_kinesis_streaming_destination(
        self, table_name: str, stream_arn: str, *, until: str = "ACTIVE", timeout: float = _TABLE_SECONDS
    ) -> shapes.KinesisDataStreamDestination:
        """Waits until a Kinesis stream is an `ACTIVE` destination of a table, or a `DISABLED` one."""
        wait = Wait(
            "WaitForKinesisStreamingDestination",
            "destination",
            {"table_name": table_name, "stream_arn": stream_arn, "until": until},
            timeout,
        )
        found: shapes.KinesisDataStreamDestination = await aio_waited(self._calls, wait)
        return found

    async def wait_for_contributor_insights(
        self, table_name: str, *, index_name: str = "", until: str = "ENABLED", timeout: float = _TABLE_SECONDS
    ) -> dict[str, Any]:
        """Waits until Contributor Insights of a table or an index are `ENABLED`, or `DISABLED`."""
        wait = Wait(
            "WaitForContributorInsights",
            "description",
            {"table_name": table_name, "index_name": index_name, "until": until},
            timeout,
        )
        found: dict[str, Any] = await aio_waited(self._calls, wait)
        return found

    async def wait_for_time_to_live(
        self, table_name: str, *, until: str = "ENABLED", timeout: float = _LONG_SECONDS
    ) -> shapes.TimeToLiveDescription:
        """Waits until Time to Live of a table is `ENABLED`, or `DISABLED`."""
        wait = Wait(
            "WaitForTimeToLive", "time_to_live_description", {"table_name": table_name, "until": until}, timeout
        )
        found: shapes.TimeToLiveDescription = await aio_waited(self._calls, wait)
        return found
