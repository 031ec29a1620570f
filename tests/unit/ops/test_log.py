from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from awsidecar_server.config import LogConfig
from awsidecar_server.ops import log

FORMATS = ["json", "console"]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def configure(stream: io.StringIO, *, level: str = "debug", format: str = "json") -> Any:
    log.configure(LogConfig(level=level, format=format), stream)
    return structlog.get_logger()


def fail_with_a_secret() -> None:
    secret = "canary" + "-of-the-locals"
    raise ValueError(f"what went wrong, in {len(secret)} characters")


def test_json_is_one_object_a_line(stream: io.StringIO) -> None:
    configure(stream).info("serving", grpc="127.0.0.1:1")
    entry = json.loads(stream.getvalue())
    assert (entry["event"], entry["level"], entry["grpc"]) == ("serving", "info", "127.0.0.1:1")
    assert entry["timestamp"].endswith("Z")


def test_console_is_for_people(stream: io.StringIO) -> None:
    configure(stream, format="console").info("serving", grpc="127.0.0.1:1")
    written = stream.getvalue()
    assert "serving" in written
    assert "grpc=127.0.0.1:1" in written


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["ours", "asyncio"])
def test_exception_shows_its_traceback_without_locals(stream: io.StringIO, format: str, name: str) -> None:
    ours = configure(stream, format=format)
    try:
        fail_with_a_secret()
    except ValueError as failure:
        if name == "ours":
            ours.error("internal error", exc_info=failure)
        else:
            logging.getLogger(name).error("internal error", exc_info=failure)
    written = stream.getvalue()
    assert "Traceback (most recent call last)" in written
    assert "fail_with_a_secret" in written
    assert "ValueError: what went wrong" in written
    assert "canary-of-the-locals" not in written


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "library", ["botocore", "botocore.auth", "aiobotocore.endpoint", "aiohttp.client", "urllib3", "asyncio", "grpc"]
)
def test_library_is_never_heard_below_warning(stream: io.StringIO, format: str, library: str) -> None:
    """At DEBUG they write whole requests, signatures and answers of STS."""
    configure(stream, format=format)
    for level in (logging.DEBUG, logging.INFO):
        logging.getLogger(library).log(level, "canary")
    assert stream.getvalue() == ""
    logging.getLogger(library).warning("heard %s", "well")
    written = stream.getvalue()
    assert "heard well" in written
    assert library in written


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_level_is_kept(stream: io.StringIO, level: str, heard: list[str]) -> None:
    ours = configure(stream, level=level)
    for name in ("debug", "info", "warning", "error"):
        getattr(ours, name)("said")
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == heard


def test_libraries_keep_to_a_higher_level_too(stream: io.StringIO) -> None:
    configure(stream, level="error")
    logging.getLogger("botocore").warning("canary")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("logger", [structlog.get_logger, lambda: logging.getLogger("botocore")])
def test_lines_name_the_worker_where_there_is_one(stream: io.StringIO, logger: Any) -> None:
    log.configure(LogConfig(format="json"), stream, worker=3)
    logger().warning("who is it")
    assert json.loads(stream.getvalue())["worker"] == 3


def test_lines_name_no_worker_where_there_is_none(stream: io.StringIO) -> None:
    configure(stream).info("it is me")
    assert "worker" not in json.loads(stream.getvalue())
