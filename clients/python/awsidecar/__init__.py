"""Python client of AWSidecar.

The names are loaded on first use, so that the generated stubs in this package can be imported without the client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from awsidecar import aio, errors, shapes
    from awsidecar.batch_progress import FailedWrite
    from awsidecar.client import Client, SessionClient, connect
    from awsidecar.errors import SidecarError
    from awsidecar.identity import AwsCredentials, Caller, Tier, Validity
    from awsidecar.page_progress import SegmentPosition
    from awsidecar.values import Value

__all__ = [
    "AwsCredentials",
    "Caller",
    "Client",
    "FailedWrite",
    "SegmentPosition",
    "SessionClient",
    "SidecarError",
    "Tier",
    "Validity",
    "Value",
    "aio",
    "connect",
    "errors",
    "shapes",
]

_MODULES = {
    "AwsCredentials": "awsidecar.identity",
    "Caller": "awsidecar.identity",
    "Client": "awsidecar.client",
    "FailedWrite": "awsidecar.batch_progress",
    "SegmentPosition": "awsidecar.page_progress",
    "SessionClient": "awsidecar.client",
    "SidecarError": "awsidecar.exceptions",
    "Tier": "awsidecar.identity",
    "Validity": "awsidecar.identity",
    "Value": "awsidecar.values",
    "connect": "awsidecar.client",
}
_SUBMODULES = {"aio", "errors", "shapes"}


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"awsidecar.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
