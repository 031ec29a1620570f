from __future__ import annotations

from random import Random

from tests.differential.large_items import large_items
from tests.differential.requests import Request, Requests

MANY = 3000


def made(seed: str) -> list[Request]:
    requests = Requests(Random(seed))
    return [*requests.tables(), *(requests.next() for _ in range(MANY))]


def test_a_seed_makes_the_same_requests_every_time() -> None:
    first = made("1/0")
    assert made("1/0") == first
    assert made("1/1") != first
    assert list(large_items(Random("1"))) == list(large_items(Random("1")))


def test_every_kind_of_request_is_made() -> None:
    operations = {request.operation for request in made("1/0")}
    assert {"CreateTable", "UpdateTable", "DeleteTable", "UpdateTimeToLive", "ListTables"} <= operations
    assert {"QueryStream", "ScanStream", "ExecuteStatementStream"} <= operations
    assert {"BatchGetStream", "BatchWriteStream", "DocumentService/Put", "DocumentService/Query"} <= operations
