"""The channel to the sidecar: where it is, and how gRPC is set up for it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import grpc
from grpc import aio

from awsidecar.operations import METHODS

DEFAULT_TARGET = "127.0.0.1:50051"
TARGET_VARIABLE = "AWSIDECAR_TARGET"

# A page of BatchGetItem has up to 16 MB as AWS counts.
MAX_MESSAGE_BYTES = 32 * 1024 * 1024

# How much status detail the client takes: the old item of a failed condition, or all those of a transaction.
MAX_DETAILS_BYTES = 1024 * 1024

# The details travel as base64 beside the other trailers.
_MAX_METADATA_BYTES = MAX_DETAILS_BYTES * 3 // 2

# Only reads, and only when the sidecar is not there, for example while it is replaced. Everything else is decided
# by the sidecar, which retries against AWS, or by the application.
_RETRY_POLICY = {
    "maxAttempts": 3,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}

# Stops retrying while more than about one call in ten fails.
_RETRY_THROTTLING = {"maxTokens": 10, "tokenRatio": 0.1}

# The sidecar is on this machine: asking again whether it is back costs nothing, and while gRPC pauses, every call fails.
# Its own pauses grow from 1 to 120 seconds.
_FIRST_RECONNECT_PAUSE_MILLISECONDS = 100
_LONGEST_RECONNECT_PAUSE_MILLISECONDS = 1_000

# For a connection to be made, which takes a millisecond where somebody is there to take it; gRPC has 20 seconds.
_CONNECT_MILLISECONDS = 5_000


def target_of(target: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """Returns the sidecar's address: the one given, else that of the environment, else the usual one."""
    return target or environment.get(TARGET_VARIABLE) or DEFAULT_TARGET


def open_channel(target: str) -> grpc.Channel:
    """Returns a channel for threads. It connects when first used."""
    return grpc.insecure_channel(target, options=_options())


def open_aio_channel(target: str) -> aio.Channel:
    """Returns a channel for asyncio. It connects when first used."""
    return aio.insecure_channel(target, options=_options())


def service_config() -> dict[str, Any]:
    """Returns the gRPC service configuration: https://github.com/grpc/grpc/blob/master/doc/service_config.md."""
    reads = (method.path.split("/") for method in METHODS if method.is_read)
    names = [{"service": service, "method": method} for _, service, method in reads]
    return {
        "methodConfig": [{"name": names, "retryPolicy": _RETRY_POLICY}],
        "retryThrottling": _RETRY_THROTTLING,
    }


def _options() -> list[tuple[str, Any]]:
    return [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _MAX_METADATA_BYTES * 5 // 4),
        ("grpc.service_config", json.dumps(service_config())),
        ("grpc.service_config_disable_resolution", 1),
        # The sidecar is on this machine, whatever proxy the environment names for the outside.
        ("grpc.enable_http_proxy", 0),
        ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_PAUSE_MILLISECONDS),
        ("grpc.max_reconnect_backoff_ms", _LONGEST_RECONNECT_PAUSE_MILLISECONDS),
        ("grpc.min_reconnect_backoff_ms", _CONNECT_MILLISECONDS),
    ]
