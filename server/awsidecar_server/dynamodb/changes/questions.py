"""What AWS is asked about shards; before a watch is in place not for ever, nor for a session that has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from awsidecar_server.dynamodb.changes.shard_reading import Kept
from awsidecar_server.dynamodb.changes.stream_reading import StreamReading
from awsidecar_server.errors import AwsUnreachable

# One question that fails is given up after a minute. With many, AWS may answer some of each few, and take longer.
_PATIENCE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What AWS has of shards that are not listed, or late."""

    kept: Mapping[str, Kept]


async def answers_in_time(
    reading: StreamReading,
    questions: Mapping[str, int],
    verify: Callable[[], Awaitable[object]],
    interval_seconds: float,
) -> Mapping[str, Kept]:
    """What AWS has of these shards, as so many pages tell. `verify` raises when the session has ended: at each interval."""
    asking = asyncio.create_task(reading.kept(questions))
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not asking.done():
                await asyncio.wait({asking}, timeout=interval_seconds)
                if not asking.done():
                    await verify()
    except TimeoutError as late:
        raise AwsUnreachable("AWS does not tell which shards it keeps", cause="timeout") from late
    finally:
        asking.cancel()
        await asyncio.wait({asking})
    return asking.result()
