"""Writes `awsidecar/shapes.py` and `awsidecar/services.py`: every operation with its types, from the descriptors.

Run it after the contract changed: `python clients/python/tools/shapes.py` from the root of the repository, with
`clients/python` on PYTHONPATH. With `--check` it writes nothing and fails when the files are not up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor

import awsidecar
from awsidecar.messages import is_transparent, map_value_field
from awsidecar.operations import DYNAMODB, STREAMS, Operation, always_there
from awsidecar.options.v1 import options_pb2

_PACKAGE = Path(awsidecar.__file__).parent
_SCALARS = {
    FieldDescriptor.TYPE_STRING: "str",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_DOUBLE: "float",
    FieldDescriptor.TYPE_INT32: "int",
    FieldDescriptor.TYPE_INT64: "int",
    FieldDescriptor.TYPE_BYTES: "bytes",
}
_OPERATIONS = (*DYNAMODB.values(), *STREAMS.values())
_SERVICES = (
    ("DynamoDb", "DynamoDB", "DYNAMODB", DYNAMODB),
    ("DynamoDbStreams", "DynamoDB Streams", "STREAMS", STREAMS),
)
# The classes with the methods of the sidecar's own RPCs, by service; those for asyncio have the same names after `Aio`.
_OWN = {"DynamoDb": ("BatchStreams", "PageStreams", "Waiters", "Watches"), "DynamoDbStreams": ()}
_LINE_LENGTH = 116


class Shapes:
    """The TypedDicts: as wide as requests take them, or, for what only replies hold, list, dict and Any."""

    def __init__(self) -> None:
        self._in_requests: dict[str, Descriptor] = {}
        self._in_replies: dict[str, Descriptor] = {}
        for operation in _OPERATIONS:
            _collect(operation.request, self._in_requests)
            _collect(operation.response, self._in_replies)

    def text(self) -> str:
        return "\n".join(self._lines())

    def type_of(self, field: FieldDescriptor, *, wide: bool) -> str:
        """Returns the Python type of a field; a `wide` one for what the application hands in."""
        value_field = map_value_field(field)
        if value_field is not None:
            return f"{'Mapping' if wide else 'dict'}[str, {self._element(value_field, wide=wide)}]"
        element = self._element(field, wide=wide)
        return f"{'Sequence' if wide else 'list'}[{element}]" if field.is_repeated else element

    def _element(self, field: FieldDescriptor, *, wide: bool) -> str:
        message = field.message_type
        if message is None:
            return _SCALARS[field.type]
        if message.name == "AttributeValue":
            return "Value" if wide else "Any"
        if message.full_name == "google.protobuf.Timestamp":
            return "datetime"
        if is_transparent(message):
            return self.type_of(message.fields[0], wide=wide)
        return str(message.name)

    def _lines(self) -> Iterator[str]:
        yield from _SHAPES_HEAD.splitlines()
        responses = {operation.response.name: operation for operation in _OPERATIONS}
        aliases: set[str] = set()
        for name, message in sorted({**self._in_requests, **self._in_replies}.items()):
            yield from ("", "")
            yield f"class {name}(TypedDict, total=False):"
            operation = responses.get(name)
            sure = {field.name for field in always_there(message)} if operation is not None else set()
            wide = name in self._in_requests
            for field in message.fields:
                required = field.name in sure or bool(field.GetOptions().Extensions[options_pb2.required])
                kind = _unshadowed(self.type_of(field, wide=wide), message, aliases)
                yield f"    {field.json_name}: {f'Required[{kind}]' if required else kind}"
            if operation is not None:
                yield "    ResponseMetadata: Required[ResponseMetadata]"
            elif not message.fields:
                yield "    pass"
        yield from ("", "")
        yield "# For members that have the name of their type, which would stand for the member inside the class."
        for name in sorted(aliases):
            yield f"_{name}: TypeAlias = {name}"
        yield ""


def _unshadowed(kind: str, message: Descriptor, aliases: set[str]) -> str:
    """Returns the type with an alias for each name that a member of the message has too."""
    members = {field.json_name for field in message.fields}
    names = {name for name in re.findall(r"\w+", kind) if name in members}
    aliases |= names
    return re.sub(r"\w+", lambda found: f"_{found[0]}" if found[0] in names else found[0], kind)


def _collect(message: Descriptor, found: dict[str, Descriptor]) -> None:
    skipped = message.name == "AttributeValue" or message.full_name == "google.protobuf.Timestamp"
    if skipped or message.name in found:
        return
    if not (is_transparent(message) or message.GetOptions().map_entry):
        found[message.name] = message
    for field in message.fields:
        if field.message_type is not None:
            _collect(field.message_type, found)


@dataclass(frozen=True)
class Style:
    """What threads and asyncio do differently."""

    prefix: str
    audience: str
    define: str
    wait: str
    iterator: str


_STYLES = (
    Style("", "threads", "def", "", "Iterator"),
    Style("Aio", "asyncio", "async def", "await ", "AsyncIterator"),
)


def services_text(shapes: Shapes) -> str:
    """Returns the classes of the services."""
    lines = _SERVICES_HEAD.splitlines()
    for name, title, table, operations in _SERVICES:
        for style in _STYLES:
            bases = ", ".join(f"{style.prefix}{base}" for base in _OWN[name])
            lines += ["", "", f"class {style.prefix}{name}{f'({bases})' if bases else ''}:"]
            lines += [f'    """{title}, for {style.audience}."""', ""]
            lines += [f"    def __init__(self, calls: {style.prefix}Calls) -> None:", "        self._calls = calls"]
            for operation in operations.values():
                lines += _methods(shapes, operation, style, table)
    return "\n".join([*lines, ""])


def _methods(shapes: Shapes, operation: Operation, style: Style, table: str) -> Iterator[str]:
    name, reply = operation.attribute, f"shapes.{operation.response.name}"
    entry = f'{table}["{operation.method.name}"]'
    timeout, parameters = "timeout: float | None = None", f"**parameters: Unpack[shapes.{operation.request.name}]"
    yield from _signature(f"{style.define} {name}", (timeout, parameters), reply)
    yield f'        """Performs {operation.method.name}.'
    yield from ("", f"        {_reference(operation)}", '        """')
    opening, arguments = (
        f"        reply: {reply} = {style.wait}self._calls.perform(",
        f"{entry}, parameters, timeout",
    )
    if len(f"{opening}{arguments})") <= _LINE_LENGTH:
        yield f"{opening}{arguments})"
    else:
        yield from (opening, f"            {arguments}", "        )")
    yield "        return reply"
    if operation.paging is None:
        return
    yield from _signature(f"def {name}_pages", (timeout, parameters), f"{style.iterator}[{reply}]")
    yield f'        """Yields the replies of {operation.method.name}, page after page."""'
    yield f"        return self._calls.pages({entry}, parameters, timeout)"
    limit, items = "limit_items: int | None = None", f"{style.iterator}[{_item_type(shapes, operation)}]"
    yield from _signature(f"def {name}_items", (limit, timeout, parameters), items)
    yield f'        """Yields the `{operation.paging.items}` of all pages, up to `limit_items` of them."""'
    yield f"        return self._calls.items({entry}, parameters, limit_items, timeout)"


def _signature(opening: str, arguments: tuple[str, ...], reply: str) -> Iterator[str]:
    """Yields the head of a method, laid out as the formatter would."""
    yield ""
    joined = ", ".join(("self", "*", *arguments))
    if len(f"    {opening}({joined}) -> {reply}:") <= _LINE_LENGTH:
        yield f"    {opening}({joined}) -> {reply}:"
    elif len(f"        {joined}") <= _LINE_LENGTH:
        yield from (f"    {opening}(", f"        {joined}", f"    ) -> {reply}:")
    else:
        lines = (f"        {argument}," for argument in ("self", "*", *arguments))
        yield from (f"    {opening}(", *lines, f"    ) -> {reply}:")


def _item_type(shapes: Shapes, operation: Operation) -> str:
    assert operation.paging is not None
    within = operation.paging.within
    holder = _member(operation.response, within).message_type if within else operation.response
    assert holder is not None
    listed = shapes.type_of(_member(holder, operation.paging.items), wide=False)
    item = listed.removeprefix("list[").removesuffix("]")
    return f"shapes.{item}" if item[0].isupper() else item


def _member(message: Descriptor, json_name: str) -> FieldDescriptor:
    return next(field for field in message.fields if field.json_name == json_name)


def _reference(operation: Operation) -> str:
    service = "streams_" if operation.method.name in STREAMS else ""
    return (
        f"https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_{service}{operation.method.name}.html"
    )


_SHAPES_HEAD = '''"""The parameters and replies of every operation. Generated by tools/shapes.py: do not edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Required, TypeAlias, TypedDict

from awsidecar.values import Value


class ResponseMetadata(TypedDict, total=False):
    """What the sidecar says of a call beside the reply; what it does not say is absent."""

    RequestId: str
    Tier: str
    Attempts: int'''

_SERVICES_HEAD = '''"""The services, with a method for each operation. Generated by tools/shapes.py: do not edit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Unpack

from awsidecar.batches import AioBatchStreams, BatchStreams
from awsidecar.operations import DYNAMODB, STREAMS
from awsidecar.page_streams import AioPageStreams, PageStreams
from awsidecar.waiters import AioWaiters, Waiters
from awsidecar.watches import AioWatches, Watches

if TYPE_CHECKING:
    from awsidecar import shapes
    from awsidecar.calls import AioCalls, Calls'''


def main() -> int:
    shapes = Shapes()
    outdated = []
    for path, text in (
        (_PACKAGE / "shapes.py", shapes.text()),
        (_PACKAGE / "services.py", services_text(shapes)),
    ):
        if path.exists() and path.read_text() == text:
            continue
        outdated.append(path.name)
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
    if outdated:
        print(f"{'not up to date' if '--check' in sys.argv[1:] else 'written'}: {', '.join(outdated)}")
    return 1 if outdated and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
