"""Whether the SDK is refused in the sidecar's words, too, when it says the same with its maps in another order."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.differential.comparison import Comparison
from tests.differential.paths import Direct, Refusal
from tests.differential.requests import Request

_TRIED = 100


class OtherOrders:
    """Tries the orders. What is refused changes nothing, so that asking again does no harm."""

    def __init__(self, direct: Direct, comparison: Comparison) -> None:
        self._direct = direct
        self._comparison = comparison

    def agree(self, request: Request, direct: Any, sidecar: Any) -> bool:
        if not isinstance(direct, Refusal) or not isinstance(sidecar, Refusal):
            return False
        rng = Random(repr(request.parameters))
        for _ in range(_TRIED):
            again = self._direct.send(request._replace(parameters=_in_another_order(request.parameters, rng)))
            if not isinstance(again, Refusal):
                return False
            if self._comparison.agrees_in_another_order(again, sidecar):
                return True
        return False


def _in_another_order(value: Any, rng: Random) -> Any:
    if isinstance(value, list):
        return [_in_another_order(one, rng) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: _in_another_order(value[name], rng) for name in rng.sample(list(value), len(value))}
