"""Whatever is asked of it, the sidecar answers as DynamoDB does: the same requests on both ways, compared.

`make differential` asks more of them.
"""

from __future__ import annotations

import pytest
from tests.differential.backends import on_dynamodb_local
from tests.differential.report import lines_of
from tests.differential.run import Run
from tests.dynamodb_local import Unavailable
from tests.integration.conftest import leave_out
from tests.integration.stub.sidecar import LANE

_SEED, _CASES = "1", 2000


@pytest.mark.dynamodb_local
@pytest.mark.timeout(600)
def test_requests_have_the_same_outcome_through_the_sidecar_as_without_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        with on_dynamodb_local(LANE) as ways:
            figures = Run(ways, _SEED, _CASES)()
    except Unavailable as reason:
        leave_out(str(reason))
    with capsys.disabled():
        print("", *lines_of(figures), sep="\n")
    assert figures.total == _CASES
    assert not figures.differences, "the differences are printed above"
