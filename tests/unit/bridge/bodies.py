"""Bodies of AWS's JSON replies made from the descriptors of the contract, and what an AWS SDK reads in them."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from botocore.model import ServiceModel
from botocore.parsers import JSONParser
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st
from tests.unit.bridge.messages import choices, is_map, is_transparent

import awsidecar_server
from awsidecar_server.contract import Rpc, aws_rpcs

_MODELS = Path(awsidecar_server.__file__).parent / "aws" / "models"
_MOST_MEMBERS = 5

RPCS = {f"{rpc.aws_service}.{rpc.aws_operation}": rpc for rpc in aws_rpcs()}

# More digits than the openings that are kept, and than one byte of a size can say.
_TEXTS = st.text(max_size=8) | st.integers(100, 300).map(lambda size: "é" * size)
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: _TEXTS,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=40).map(lambda raw: b64encode(raw).decode()),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -0.0, 5e-324, 2**53 + 1, -(2**63), 2**64 - 1, 10**30]),
}
_MOMENTS = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1))  # noqa: DTZ001
_TIMES = (
    st.integers(0, 2**33)
    | st.floats(0, 2**33)
    | _MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC).timestamp())
    | _MOMENTS.map(lambda moment: f"{moment.isoformat()}Z")
    | _MOMENTS.map(lambda moment: f"{moment.isoformat()}+02:00")
)


@st.composite
def replies(draw: st.DrawFn, descriptor: Descriptor) -> bytes:
    """The body of a reply."""
    members = draw(_values(descriptor, 5))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    return json.dumps(members, ensure_ascii=draw(st.booleans()), separators=separators).encode()


def as_an_sdk_reads_it(rpc: Rpc, body: bytes) -> dict[str, Any]:
    response = {"body": body, "headers": {}, "status_code": 200}
    parsed: dict[str, Any] = JSONParser().parse(
        response, _model(rpc.aws_service).operation_model(rpc.aws_operation).output_shape
    )
    return parsed


@cache
def _model(service: str) -> ServiceModel:
    (path,) = (_MODELS / service).glob("*/service-2.json")
    return ServiceModel(json.loads(path.read_text(encoding="utf-8")), service)


@st.composite
def _values(draw: st.DrawFn, descriptor: Descriptor, depth: int) -> Any:
    if descriptor.full_name == "google.protobuf.Timestamp":
        return draw(_TIMES)
    if is_transparent(descriptor):
        return draw(_whole(descriptor.fields[0], depth))
    # What takes no further level, so that values end.
    fields = [f for f in descriptor.fields if depth > 0 or f.message_type is None]
    alternatives = [f for f in choices(descriptor) if f in fields]
    chosen = (
        [draw(st.sampled_from(alternatives))]
        if alternatives
        else draw(st.lists(st.sampled_from(fields), max_size=_MOST_MEMBERS, unique_by=lambda f: f.number))
        if fields
        else []
    )
    members = {f.json_name: draw(_whole(f, depth - 1)) for f in chosen}
    absent = [f.json_name for f in descriptor.fields if f not in chosen]
    if absent and draw(st.integers(0, 5)) == 0:
        members[draw(st.sampled_from(absent))] = None
    if draw(st.integers(0, 9)) == 0:
        members["OfTomorrow"] = draw(st.sampled_from([1, "x", [], {"S": "x"}, None]))
    return members


def _whole(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    """A whole field: a map, a list or one value."""
    if is_map(field):
        assert field.message_type is not None
        value_field = field.message_type.fields_by_name["value"]
        return st.dictionaries(st.text(max_size=4) | _TEXTS, _one(value_field, depth), max_size=2)
    return st.lists(_one(field, depth), max_size=2) if field.is_repeated else _one(field, depth)


def _one(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    return _SCALARS[field.type] if field.message_type is None else _values(field.message_type, depth)
