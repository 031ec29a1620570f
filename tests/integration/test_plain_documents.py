"""Plain documents on the emulators: what they store of them, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import ListValue, Struct
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.integration.backends import Backend
from tests.unit.documents.documents import DOUBLES, base64, documents, struct

import awsidecar
from awsidecar.documents.v1.batches_pb2 import (
    BatchedGet,
    BatchedWrite,
    BatchGetOptions,
    BatchGetRequest,
    BatchWriteRequest,
)
from awsidecar.documents.v1.document_service_pb2_grpc import DocumentServiceStub
from awsidecar.documents.v1.documents_pb2 import GetRequest, PutRequest, UpdateRequest
from awsidecar.documents.v1.pages_pb2 import ScanRequest

TABLE = "Documents"
# Its key is a number.
ACCOUNTS = "Accounts"
FIRST_ACCOUNT = 12345678901234567890
ITEMS = 300
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
SMALLEST = 1e-130

NAMES = st.text("$Nab.", min_size=1, max_size=4).map(lambda name: f"${name}" if name.startswith("$") else name)
NUMBERS = DOUBLES.filter(lambda number: number == 0 or abs(number) >= SMALLEST)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
# AWS takes no set that is empty or has an element twice.
FORMS = st.one_of(
    st.lists(TEXTS, min_size=1, max_size=3, unique=True).map(lambda texts: {"$SS": sorted(texts)}),
    st.lists(st.binary(max_size=4), min_size=1, max_size=3, unique=True).map(
        lambda raws: {"$BS": sorted(base64(raw) for raw in raws)}
    ),
    st.lists(st.integers(-(10**38) + 1, 10**38 - 1), min_size=1, max_size=3, unique=True).map(
        lambda numbers: {"$NS": sorted(map(str, numbers))}
    ),
    st.integers(10**20, 10**21).map(lambda number: {"$N": str(number)}),
    st.binary(max_size=4).map(lambda raw: {"$B": base64(raw)}),
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS | FORMS


@pytest.fixture(scope="module")
def stub(backend: Backend) -> Iterator[Any]:
    with awsidecar.connect(backend.sidecar.target) as client:
        for table, kind in ((TABLE, "S"), (ACCOUNTS, "N")):
            client.dynamodb.create_table(
                TableName=table,
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": kind}],
                BillingMode="PAY_PER_REQUEST",
            )
    with grpc.insecure_channel(backend.sidecar.target) as channel:
        yield DocumentServiceStub(channel)


def with_sorted_sets(value: Any) -> Any:
    """Plain values, with an order in sets: AWS keeps none."""
    if isinstance(value, ListValue):
        return [with_sorted_sets(one) for one in value]
    if not isinstance(value, Struct):
        return value
    members = {name: with_sorted_sets(held) for name, held in value.items()}
    return {name: sorted(held) if name in {"$SS", "$NS", "$BS"} else held for name, held in members.items()}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents(NAMES, LEAVES))
@example(
    struct({"a": [0.1 + 0.2, 1e-130, -(2.0**53) + 1, {"$$ref": {"$$SS": ["x"]}}, {"$NS": ["1", "-0.5"]}, {}, []]})
)
def test_every_document_is_stored_and_read_as_it_is(stub: Any, document: Struct) -> None:
    document.update({"id": "any"})
    stub.Put(PutRequest(table_name=TABLE, item=document))
    request = GetRequest(table_name=TABLE, key=struct({"id": "any"}), large_numbers="STRING")
    assert with_sorted_sets(stub.Get(request).item) == with_sorted_sets(document)


def test_item_that_is_read_and_written_back_keeps_its_types(stub: Any, backend: Backend) -> None:
    """An ADD to what has become a list would be refused."""
    key = struct({"id": "set"})
    stub.Put(PutRequest(table_name=TABLE, item=struct({"id": "set", "tags": {"$SS": ["a"]}, "n": {"$N": "1E+30"}})))
    read = stub.Get(GetRequest(table_name=TABLE, key=key, large_numbers="STRING")).item
    stub.Put(PutRequest(table_name=TABLE, item=read))
    changed = stub.Update(
        UpdateRequest(
            table_name=TABLE,
            key=key,
            update_expression="ADD tags :tags, n :one",
            expression_attribute_values=struct({":tags": {"$SS": ["b"]}, ":one": 1}),
            return_values="ALL_NEW",
        )
    )
    added = 0 if backend.differs_in("arithmetic") else 1
    assert with_sorted_sets(changed.attributes) == {
        "id": "set",
        "tags": {"$SS": ["a", "b"]},
        "n": {"$N": str(10**30 + added)},
    }


def test_batches_and_pages_bring_each_item_once_also_when_its_key_is_a_large_number(stub: Any) -> None:
    ids = [f"{FIRST_ACCOUNT + number}" for number in range(ITEMS)]
    writes = [
        BatchedWrite(table_name=ACCOUNTS, put=struct({"id": {"$N": one}, "n": place}))
        for place, one in enumerate(ids)
    ]
    told = [one for part in stub.BatchWrite(iter([BatchWriteRequest(writes=writes)])) for one in part.outcomes]
    assert sorted(one.index for one in told if one.HasField("done")) == list(range(ITEMS))

    gets = [BatchedGet(table_name=ACCOUNTS, key=struct({"id": {"$N": one}})) for one in ids]
    options = BatchGetOptions(in_order=True, large_numbers="STRING")
    found = [
        one for part in stub.BatchGet(iter([BatchGetRequest(options=options, gets=gets)])) for one in part.outcomes
    ]
    assert [one.item["id"]["$N"] for one in found] == ids
    assert [one.item["n"] for one in found] == list(range(ITEMS))

    scan = ScanRequest(table_name=ACCOUNTS, limit=40, item_limit=100, large_numbers="STRING")
    seen: list[str] = []
    while True:
        pages = list(stub.Scan(scan))
        seen += [item["id"]["$N"] for page in pages for item in page.items]
        if not pages[-1].HasField("last_evaluated_key"):
            break
        assert sum(len(page.items) for page in pages) == 100
        scan.exclusive_start_key.CopyFrom(pages[-1].last_evaluated_key)
    assert sorted(seen) == sorted(ids)
