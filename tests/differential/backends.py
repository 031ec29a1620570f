"""The AWS of a run, with a sidecar on it, and the two databases that it has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from tests import dynamodb_local
from tests.differential.paths import REGION, Direct, ThroughSidecar, Ways
from tests.integration.conftest import start_sidecar, stop_sidecar

# DynamoDB Local has a database for each access key; MiniStack has an account for each that is a number.
_DIRECT, _BEHIND_SIDECAR = "111111111111", "222222222222"


@contextmanager
def on_dynamodb_local(lane: str) -> Iterator[Ways]:
    with dynamodb_local.running(is_shared=False) as endpoint, ways_to(endpoint, lane) as ways:
        yield ways


@contextmanager
def on_ministack(lane: str) -> Iterator[Ways]:
    """On the embedded AWS of another sidecar, whose Python has MiniStack."""
    python = os.environ.get("AWSIDECAR_EMBEDDED_PYTHON")
    host = start_sidecar(["--embedded"], {"AWSIDECAR_EMBEDDED_PYTHON": python} if python else {})
    try:
        with ways_to(host.endpoint, lane) as ways:
            yield ways
    finally:
        stop_sidecar(host)


@contextmanager
def ways_to(endpoint: str, lane: str) -> Iterator[Ways]:
    """A sidecar of its own, that tries everything once, beside the SDK."""
    settings = {
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": _BEHIND_SIDECAR,
        "AWS_SECRET_ACCESS_KEY": "any-secret-will-do",
        "AWSIDECAR_AWS_LANE": lane,
        "AWSIDECAR_AWS_MAX_ATTEMPTS": "1",
    }
    with ExitStack() as entered:
        sidecar = start_sidecar([], settings)
        entered.callback(stop_sidecar, sidecar)
        yield Ways(
            entered.enter_context(closing(Direct(endpoint, _DIRECT))),
            entered.enter_context(ThroughSidecar(sidecar.target)),
            entered.enter_context(closing(Direct(endpoint, _BEHIND_SIDECAR))),
        )


BACKENDS = {"dynamodb-local": on_dynamodb_local, "ministack": on_ministack}
