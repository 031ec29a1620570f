"""Many sessions at once on the pooled clients: each call is signed by its own session, and by no other."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.integration.stub.sidecar import Sidecar
from tests.integration.stub_aws import Answer, Recorded, StubAws

from awsidecar.dynamodb.v1 import items_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue

pytestmark = pytest.mark.asyncio(loop_scope="session")

SESSIONS = 50
CALLS_EACH = 10


def key_of(number: int) -> str:
    return f"ASIASESSION{number:09d}"


def echo(request: Recorded) -> Answer:
    """Returns the item, and who signed."""
    return Answer({"Attributes": {**request.parameters["Item"], "signer": {"S": request.key_id}}})


async def test_each_of_many_concurrent_calls_is_signed_by_its_own_session(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("PutItem", echo)
    keys = [key_of(number) for number in range(SESSIONS)]
    handles = await asyncio.gather(*(sidecar.open_session(key, f"secret-{key}", f"token-{key}") for key in keys))

    async def put(key: str, handle: str) -> items_pb2.PutItemResponse:
        request = items_pb2.PutItemRequest(table_name="users", item={"id": AttributeValue(s=key)})
        return await sidecar.dynamodb.PutItem(request, metadata=(("x-awsidecar-session", handle),))

    pairs = list(zip(keys, handles, strict=True)) * CALLS_EACH
    answers = await asyncio.gather(*(put(key, handle) for key, handle in pairs))
    for (key, _), answer in zip(pairs, answers, strict=True):
        found = answer.attributes.attributes
        assert (found["id"].s, found["signer"].s) == (key, key)
    for request in aws.requests:
        assert request.key_id == request.parameters["Item"]["id"]["S"]
        assert request.security_token == f"token-{request.key_id}"
    assert Counter(aws.key_ids("PutItem")) == dict.fromkeys(keys, CALLS_EACH)
