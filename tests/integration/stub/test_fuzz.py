"""Whatever arrives and whatever is asked for: the answer is a status of the contract, never UNKNOWN or INTERNAL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.stub.conftest import Start
from tests.integration.stub.sidecar import Refusal, Sidecar, read_refusal
from tests.integration.stub_aws import Answer, StubAws

from awsidecar.dynamodb.v1 import attribute_value_pb2, items_pb2, query_pb2, tables_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar_server.contract import SERVICES, Rpc, rpcs

pytestmark = pytest.mark.asyncio(loop_scope="session")

RPCS = [rpc for service in SERVICES for rpc in rpcs(service) if not (rpc.takes_stream or rpc.gives_stream)]
# What our own code may answer to a request when AWS takes whatever it gets.
EXPECTED = {"INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED"}
PROFILE = settings(max_examples=15, deadline=None, derandomize=True, database=None)
TEXTS = [
    "",
    "users",
    "ü🦊\0\n",
    "x" * 2000,
    "arn:aws:dynamodb:eu-central-1:123456789012:table/users",
    "..",
    "1e400",
]

KEY = {"id": AttributeValue(s="ann")}
TABLE = items_pb2.PutItemRequest(table_name="users").SerializeToString()
READS = {
    "GetItem": items_pb2.GetItemRequest(table_name="users", key=KEY).SerializeToString(),
    "Query": query_pb2.QueryRequest(table_name="users").SerializeToString(),
    "DescribeTable": tables_pb2.DescribeTableRequest(table_name="users").SerializeToString(),
    "ListTables": tables_pb2.ListTablesRequest().SerializeToString(),
}
MEMBERS = st.sampled_from(
    ["Item", "Items", "Count", "Table", "TableNames", "L", "M", "S", "N", "B", "BOOL", "NULL"]
)
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=4),
    max_leaves=12,
)


async def ask(sidecar: Sidecar, rpc: Rpc, raw: bytes) -> Refusal | None:
    """Calls with these bytes; gives the refusal, if it is one."""
    call = sidecar.method(f"/{rpc.service}/{rpc.method}")
    try:
        await call(raw)
    except grpc.aio.AioRpcError as failure:
        return read_refusal(failure)
    return None


async def ask_all(sidecar: Sidecar, requests: Iterator[tuple[Rpc, bytes]]) -> set[str]:
    """Calls with each at once; gives the codes. Each refusal must be whole."""
    answers = await asyncio.gather(*(ask(sidecar, rpc, raw) for rpc, raw in requests))
    refusals = [answer for answer in answers if answer is not None]
    assert all(refusal.info.domain == "awsidecar" and refusal.reason for refusal in refusals)
    return {refusal.code.name for refusal in refusals}


@PROFILE
@given(raw=st.binary(max_size=200))
async def test_random_bytes_to_every_method_are_answered_or_refused_as_malformed(
    sidecar: Sidecar, raw: bytes
) -> None:
    assert await ask_all(sidecar, ((rpc, raw) for rpc in RPCS)) <= EXPECTED


@PROFILE
@given(seed=st.integers(0, 2**32))
async def test_random_messages_to_every_method_are_answered_or_refused_by_field(
    sidecar: Sidecar, seed: int
) -> None:
    chance = random.Random(seed)
    requests = ((rpc, random_message(rpc.request, chance).SerializeToString()) for rpc in RPCS)
    assert await ask_all(sidecar, requests) <= EXPECTED


@PROFILE
@given(seed=st.integers(0, 2**32))
async def test_damaged_messages_to_every_method_are_answered_or_refused(sidecar: Sidecar, seed: int) -> None:
    chance = random.Random(seed)
    requests = ((rpc, damaged(random_message(rpc.request, chance).SerializeToString(), chance)) for rpc in RPCS)
    assert await ask_all(sidecar, requests) <= EXPECTED


@PROFILE
@given(body=ANSWERS)
async def test_whatever_json_aws_answers_no_call_ends_unknown(
    sidecar: Sidecar, stub_aws: StubAws, body: Any
) -> None:
    for operation in READS:
        stub_aws.on(operation, Answer(body))
    try:
        requests = ((rpc, READS[rpc.aws_operation]) for rpc in RPCS if rpc.aws_operation in READS)
        assert await ask_all(sidecar, requests) <= {"UNAVAILABLE"}
    finally:
        stub_aws.reset()


async def test_values_pass_as_deep_as_dynamodb_takes_them_and_are_refused_far_beyond(
    sidecar: Sidecar, aws: StubAws
) -> None:
    (put,) = (rpc for rpc in RPCS if rpc.aws_operation == "PutItem")
    assert await ask(sidecar, put, put_nested(32)) is None
    sent = aws.requests[-1].parameters["Item"]["v"]
    for _ in range(32):
        (sent,) = sent["L"]
    assert sent == {"S": "deep"}
    refusal = await ask(sidecar, put, put_nested(5_000))
    assert refusal is not None
    assert (refusal.code.name, refusal.reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")


async def test_method_that_does_not_exist_is_unimplemented(start: Start) -> None:
    async with start() as sidecar:
        for path in ("/awsidecar.dynamodb.v1.DynamoDbService/Nothing", "/nothing.Service/GetItem", "/x"):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await sidecar.method(path)(b"")
            assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


def random_message(descriptor: Descriptor, chance: random.Random, depth: int = 0) -> Message:
    """A message of the type with fields at random, fewer the deeper it is."""
    message: Any = GetMessageClass(descriptor)()
    for part in descriptor.fields:
        if chance.random() > (0.8 if depth < 2 else 0.35) or depth > 6:
            continue
        fill(message, part, chance, depth)
    return message  # type: ignore[no-any-return]


def fill(message: Any, part: FieldDescriptor, chance: random.Random, depth: int) -> None:
    inner = part.message_type
    if inner is not None and inner.GetOptions().map_entry:
        key, value = text(chance), inner.fields_by_name["value"]
        if value.message_type is None:
            getattr(message, part.name)[key] = scalar(value, chance)
        else:
            getattr(message, part.name)[key].CopyFrom(random_message(value.message_type, chance, depth + 1))
    elif part.is_repeated:
        for _ in range(chance.randrange(3)):
            made = scalar(part, chance) if inner is None else random_message(inner, chance, depth + 1)
            getattr(message, part.name).append(made)
    elif inner is not None:
        getattr(message, part.name).CopyFrom(random_message(inner, chance, depth + 1))
    else:
        setattr(message, part.name, scalar(part, chance))


def scalar(part: FieldDescriptor, chance: random.Random) -> Any:
    if part.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        is_text = part.type == FieldDescriptor.TYPE_STRING
        return text(chance) if is_text else chance.randbytes(chance.randrange(50))
    if part.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if part.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return chance.choice([0.0, -1.5, 1e300, float("inf"), float("nan")])
    if part.cpp_type == FieldDescriptor.CPPTYPE_INT64:
        return chance.choice([0, 1, -1, 2**63 - 1, -(2**63)])
    return chance.choice([0, 1, 2**31 - 1])


def text(chance: random.Random) -> str:
    return chance.choice(TEXTS)


def put_nested(levels: int) -> bytes:
    """A PutItemRequest with lists in lists, which protobuf itself would not make as deep."""
    value = AttributeValue(s="deep").SerializeToString()
    for _ in range(levels):
        value = member("AttributeValue", "l", member("AttributeValueList", "values", value))
    attribute = b"\x0a\x01v" + length_delimited(2, value)  # an entry of a map: its key is 1, its value 2
    return member("PutItemRequest", "item", attribute) + TABLE


def member(message: str, name: str, raw: bytes) -> bytes:
    file = items_pb2 if message == "PutItemRequest" else attribute_value_pb2
    return length_delimited(file.DESCRIPTOR.message_types_by_name[message].fields_by_name[name].number, raw)


def length_delimited(number: int, raw: bytes) -> bytes:
    """A field on the wire, in a number of bytes and those ("Encoding", protobuf.dev)."""
    size, varint = len(raw), bytearray()
    while size > 0x7F:
        varint.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes(varint) + bytes([size]) + raw


def damaged(raw: bytes, chance: random.Random) -> bytes:
    """The bytes with some of them changed, or cut off."""
    changed = bytearray(raw)
    for _ in range(min(3, len(changed))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed[: chance.randrange(len(changed) + 1)])
