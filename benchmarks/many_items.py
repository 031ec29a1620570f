"""A table of many small items, put into DynamoDB Local without a client: what is measured comes after."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from benchmarks.paths import ACCESS_KEY_ID, REGION
from benchmarks.processes import Failed

TABLE = "ManyItems"
# With the number, an item has about 100 bytes as DynamoDB counts: 10,000 of them are a page.
_TEXT_BYTES = 86
_BATCH = 25
_THREADS = 8
_HEADERS = {
    # DynamoDB Local reads the scope and checks no signature.
    "Authorization": (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/20260101/{REGION}/dynamodb/aws4_request,"
        " SignedHeaders=host, Signature=0"
    ),
    "Content-Type": "application/x-amz-json-1.0",
}


def fill(endpoint: str, count: int, *, text_bytes: int = _TEXT_BYTES) -> None:
    """Makes the table, and puts items with the ids 0 to `count` - 1 into it."""
    table = {
        "TableName": TABLE,
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "N"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    with closing(_Connection(endpoint)) as connection:
        connection.call("CreateTable", table)
    text = "." * text_bytes
    starts = iter(range(0, count, _BATCH))

    def put_some(_: int) -> None:
        with closing(_Connection(endpoint)) as connection:
            for start in starts:
                connection.put(range(start, min(start + _BATCH, count)), text)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(put_some, range(_THREADS)))


class _Connection:
    def __init__(self, endpoint: str) -> None:
        address = urlsplit(endpoint)
        assert address.hostname is not None
        self._connection = http.client.HTTPConnection(address.hostname, address.port)

    def call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        headers = {**_HEADERS, "X-Amz-Target": f"DynamoDB_20120810.{operation}"}
        self._connection.request("POST", "/", json.dumps(parameters), headers)
        response = self._connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        if response.status != http.client.OK:
            raise Failed(f"{operation}: {answer}")
        return answer

    def close(self) -> None:
        self._connection.close()

    def put(self, ids: range, text: str) -> None:
        waiting: Any = [{"PutRequest": {"Item": {"id": {"N": str(id_)}, "text": {"S": text}}}} for id_ in ids]
        while waiting:
            answer = self.call("BatchWriteItem", {"RequestItems": {TABLE: waiting}})
            waiting = answer["UnprocessedItems"].get(TABLE)


class Seen:
    """Which ids of the table have been read, and how often too often."""

    def __init__(self, count: int) -> None:
        self._flags = bytearray(count)
        self.items = 0
        self.repeated = 0

    def note(self, ids: Iterator[int]) -> None:
        for id_ in ids:
            self.repeated += self._flags[id_]
            self._flags[id_] = 1
            self.items += 1

    @property
    def missing(self) -> int:
        return len(self._flags) - sum(self._flags)
