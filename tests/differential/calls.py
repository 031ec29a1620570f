"""Calls of AWS's operations, each with all the pages that follow it."""

from __future__ import annotations

from typing import Any

from tests.differential.comparison import Comparison
from tests.differential.other_orders import OtherOrders
from tests.differential.outcomes import Compared
from tests.differential.paths import Outcome, Refusal, Ways
from tests.differential.requests import Request

# More than any read here has.
_MOST_PAGES = 200


class Calls:
    """Compares the replies of both ways, page by page; each way goes on from its own."""

    def __init__(self, ways: Ways, comparison: Comparison, orders: OtherOrders) -> None:
        self._ways = ways
        self._comparison = comparison
        self._orders = orders

    def compare(self, request: Request) -> Compared:
        token: tuple[str, Any, Any] | None = None
        refusal: Refusal | None = None
        for page in range(_MOST_PAGES):
            asked = _continued(request, token, 1)
            direct = self._ways.direct.send(asked)
            sidecar = self._ways.sidecar.send(_continued(request, token, 2))
            if page == 0 and isinstance(direct, Refusal):
                refusal = direct
            is_same = self._comparison.agrees(request.operation, direct, sidecar)
            if not is_same and not self._orders.agree(asked, direct, sidecar):
                return Compared(False, direct, sidecar, refusal, page)
            token = _next_page(direct, sidecar)
            if token is None:
                return Compared(True, direct, sidecar, refusal, page)
        raise AssertionError(f"more than {_MOST_PAGES} pages: {request}")


def _continued(request: Request, token: tuple[str, Any, Any] | None, way: int) -> Request:
    return request._replace(parameters={**request.parameters, token[0]: token[way]}) if token else request


def _next_page(direct: Outcome, sidecar: Outcome) -> tuple[str, Any, Any] | None:
    """The member that asks for the next page, with its value on each way; None after the last page."""
    if isinstance(direct, Refusal) or isinstance(sidecar, Refusal):
        return None
    for told, asked in (
        ("LastEvaluatedKey", "ExclusiveStartKey"),
        ("NextToken", "NextToken"),
        ("LastEvaluatedTableName", "ExclusiveStartTableName"),
    ):
        if direct.get(told):
            return asked, direct[told], sidecar[told]
    return None
