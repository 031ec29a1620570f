"""Structured logs on standard error: JSON or console. Other libraries are kept below the level that shows secrets."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from awsidecar_server.config import LogConfig
from awsidecar_server.ops.sink import LogSink

# botocore and aiohttp write whole requests, signatures and STS answers at DEBUG.
_LEAST_OF_LIBRARIES = logging.WARNING


def configure(config: LogConfig, stream: TextIO | None = None, *, worker: int | None = None) -> None:
    """Sets logging up for the process; on standard error, through a `LogSink`, where no stream is named.

    Lines name the worker where there is one.
    """
    sink: Any = stream or LogSink(sys.stderr)
    level = logging.getLevelNamesMapping()[config.level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if worker is not None:
        shared.append(lambda logger, method, event: {**event, "worker": worker})
    # A traceback is written without the values of its locals, which may hold secrets.
    render: list[Any] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if config.format == "console"
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sink),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sink)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, _LEAST_OF_LIBRARIES), force=True)
