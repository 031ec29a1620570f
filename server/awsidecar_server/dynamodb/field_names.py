"""How callers of the sidecar's own RPCs name what AWS, and the bridge, know by the names of the operation behind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor

from awsidecar_server.errors import Naming

_STEP = re.compile(r"\w+")
# What comes before the attributes of the only element of a batch, once its table is named: `[0].PutRequest.Item` and
# `.Keys[0]` as the bridge has it, `.1.putRequest.item` and `.keys.1` as AWS does.
_BEFORE_ATTRIBUTES = re.compile(
    r"(?:\.Keys)?(?:\[0\]|\.1)(?:\.(?:Put|Delete)Request(?:\.(?:Item|Key)\b)?)?", re.IGNORECASE
)
_ELEMENTS = frozenset({"Item", "Key"})
_TABLES = "RequestItems"


class Names(NamedTuple):
    """What the caller calls the parts of one element of a stream."""

    # Such as `writes[3].table_name`, and `writes[3].put.Item`: all of the item, or of the key.
    table: str = ""
    attributes: str = ""


def within(field: str, request: Descriptor, others: Mapping[str, str] | None = None) -> Naming:
    """For a request that stands whole in a field of the caller's: `TableName` is `query.TableName`.

    `others` has the members that the caller gives elsewhere, by their AWS names. What is no member of the request, such
    as the name of a key attribute, stays as it is.
    """
    known = {one.json_name: f"{field}.{one.json_name}" for one in request.fields}
    return _by_first_step({**known, **(others or {})})


def in_snake_case(*requests: Descriptor) -> Naming:
    """For callers whose fields have the members' names as protobuf has them: `TableName` is `table_name`."""
    return _by_first_step({one.json_name: one.name for request in requests for one in request.fields})


def of_element(names: Names, table: str, options: str, how: Descriptor | None = None) -> Naming:
    """For a batch of one element of a stream.

    `how` has the members that say how a table is read, which the caller gives in the field `options`, by table.
    """
    members = {one.json_name for one in how.fields} if how is not None else set()
    before = f"{_TABLES}.{table}"

    def naming(path: str) -> str:
        if path == _TABLES:  # the only thing in it that an element does not account for: a name of a table
            return names.table
        if path in _ELEMENTS:
            return names.attributes
        inner = path.removeprefix(before) if path.startswith(before) else ""
        found = _BEFORE_ATTRIBUTES.match(inner)
        if found is not None:
            return names.attributes + inner[found.end() :]
        member = inner[1:] or path
        if member in members:
            return f"{options}.{table}.{member}"
        # AWS names attributes of the key, without what they are in.
        return path if inner or path.startswith(_TABLES) else f"{names.attributes}.{path}"

    return naming


def _by_first_step(names: Mapping[str, str]) -> Naming:
    def naming(path: str) -> str:
        step = _STEP.match(path)
        first = step.group() if step else ""
        return names[first] + path[len(first) :] if first in names else path

    return naming
