"""The sections of the configuration tree that are about the process, and not about calls."""

from __future__ import annotations

from dataclasses import dataclass

from awsidecar_server.config import readers as read
from awsidecar_server.config.setting import setting


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """Logs go to standard error."""

    level: str = setting(
        "AWSIDECAR_LOG_LEVEL",
        read.one_of("debug", "info", "warning", "error"),
        "info",
        "debug, info, warning or error",
        example="info",
    )
    format: str = setting(
        "AWSIDECAR_LOG_FORMAT", read.one_of("json", "console"), "json", "json or console", example="console"
    )


@dataclass(frozen=True, kw_only=True)
class ShutdownConfig:
    """What happens on SIGTERM."""

    grace_seconds: float = setting(
        "AWSIDECAR_SHUTDOWN_GRACE_SECONDS",
        read.seconds(0, 3600),
        25.0,
        "time that accepted calls have to finish",
        example="25",
    )


@dataclass(frozen=True, kw_only=True)
class EmbeddedConfig:
    """The embedded local AWS, for development and tests."""

    enabled: bool = setting(
        "AWSIDECAR_EMBEDDED_ENABLED", read.flag, False, "start a local AWS and use it (--embedded)", example="true"
    )
    data_dir: str | None = setting(
        "AWSIDECAR_EMBEDDED_DATA_DIR",
        read.text,
        None,
        "keep its data here between runs (--data-dir)",
        example="./data",
    )
    python: str | None = setting(
        "AWSIDECAR_EMBEDDED_PYTHON",
        read.text,
        None,
        "the Python that has ministack installed",
        example=".venv-embedded/bin/python",
    )
