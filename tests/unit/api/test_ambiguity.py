"""A caller is told when a write that failed may have been carried out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.rpc import error_details_pb2

from awsidecar_server.api.details import LARGEST_BUDGET_BYTES, status_of
from awsidecar_server.api.status import verdict
from awsidecar_server.errors import AwsRejected, AwsUnreachable


def metadata(failure: AwsRejected | AwsUnreachable) -> dict[str, str]:
    status = status_of(failure, verdict(failure), "PutItem", LARGEST_BUDGET_BYTES)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return dict(info.metadata)


def rejected(*, ambiguous: bool) -> AwsRejected:
    return AwsRejected("dynamodb", "PutItem", "InternalServerError", "", http_status=500, ambiguous=ambiguous)


def unreachable(*, ambiguous: bool) -> AwsUnreachable:
    return AwsUnreachable("AWS did not answer in time", cause="timeout", ambiguous=ambiguous)


@pytest.mark.parametrize("failed", [rejected, unreachable])
def test_ambiguous_failure_says_so_and_another_does_not_mention_it(
    failed: Callable[..., AwsRejected | AwsUnreachable],
) -> None:
    assert metadata(failed(ambiguous=True))["ambiguous"] == "true"
    assert "ambiguous" not in metadata(failed(ambiguous=False))
