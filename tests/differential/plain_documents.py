"""Items as plain JSON beside the SDK's, as boto3 reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from tests.differential.comparison import Comparison
from tests.differential.other_orders import OtherOrders
from tests.differential.outcomes import Compared
from tests.differential.paths import DOCUMENTS, Pages, Refusal, Ways
from tests.differential.plain import NoForm, has_large_number, python_of_struct, python_of_values, struct_of
from tests.differential.requests import Parameters, Request

from awsidecar_server.bridge import codec_of
from awsidecar_server.bridge.descriptors import is_map, is_required
from awsidecar_server.contract import Rpc

# The RPC, and AWS's operation.
OPERATIONS = {
    "DocumentService/Get": "GetItem",
    "DocumentService/Put": "PutItem",
    "DocumentService/Update": "UpdateItem",
    "DocumentService/Delete": "DeleteItem",
    "DocumentService/Query": "Query",
    "DocumentService/Scan": "Scan",
}
_ITEMS = ("Item", "Attributes", "LastEvaluatedKey")


class PlainDocuments:
    """Compares the operations on items that DocumentService has."""

    def __init__(self, ways: Ways, comparison: Comparison, orders: OtherOrders) -> None:
        self._ways = ways
        self._comparison = comparison
        self._orders = orders

    def compare(self, request: Request) -> Compared:
        rpc = rpc_of(request)
        message = message_of(rpc, request.parameters)
        assert message is not None
        asked = Request(OPERATIONS[request.operation], request.parameters["asked"])
        direct = self._direct(rpc, asked)
        expected, is_exact = _until_large(direct.pages, request.parameters.get("LargeNumbers") == "STRING")
        sidecar = self._through_sidecar(rpc, message)
        if not is_exact:
            is_same = expected == sidecar.pages and self._comparison.is_inexact(sidecar.refusal)
        else:
            is_same = expected == sidecar.pages and self._refusals_agree(asked, direct.refusal, sidecar.refusal)
        return Compared(is_same, direct, sidecar, direct.refusal, len(sidecar.pages) if rpc.gives_stream else 0)

    def _direct(self, rpc: Rpc, asked: Request) -> Pages:
        if rpc.gives_stream:
            found = self._ways.direct.pages(asked)
        else:
            reply = self._ways.direct.send(asked)
            found = Pages([], reply) if isinstance(reply, Refusal) else Pages([reply])
        return Pages([_python_of_reply(page) for page in found.pages], found.refusal)

    def _through_sidecar(self, rpc: Rpc, message: Message) -> Pages:
        if rpc.gives_stream:
            streamed = self._ways.sidecar.stream(rpc, [message])
            return Pages([_python_of_message(page) for page in streamed.responses], streamed.refusal)
        reply = self._ways.sidecar.call(rpc, message)
        return Pages([], reply) if isinstance(reply, Refusal) else Pages([_python_of_message(reply)])

    def _refusals_agree(self, asked: Request, direct: Refusal | None, sidecar: Refusal | None) -> bool:
        if direct is None or sidecar is None:
            return direct is sidecar
        return self._comparison.refusals_agree(direct, sidecar) or self._orders.agree(asked, direct, sidecar)


def rpc_of(request: Request) -> Rpc:
    return DOCUMENTS[request.operation.partition("/")[2]]


def message_of(rpc: Rpc, parameters: Parameters) -> Any:
    """The request in plain JSON; None for what it cannot say."""
    message: Any = codec_of(rpc.request).message_class()
    fields = {field.json_name: field for field in rpc.request.fields}
    large_numbers = {name: value for name, value in parameters.items() if name == "LargeNumbers"}
    for name, value in {**parameters["asked"], **large_numbers}.items():
        field = fields.get(name)
        if field is None or (value == {} and not is_required(field)):
            return None
        if is_map(field):
            getattr(message, field.name).update(value)
        elif field.message_type is None:
            setattr(message, field.name, value)
        else:
            try:
                getattr(message, field.name).CopyFrom(struct_of(value))
            except NoForm:
                return None
    return message


def _until_large(pages: list[Any], is_text: bool) -> tuple[list[Any], bool]:
    """The pages before one with a number that only text can tell; whether these are all."""
    for place, page in enumerate(pages):
        read = [page.get("Item"), page.get("Items")]
        if not is_text and has_large_number(read):
            return pages[:place], False
    return pages, True


def _python_of_reply(reply: Mapping[str, Any]) -> Parameters:
    found: Parameters = {}
    for name, value in reply.items():
        if name in _ITEMS:
            found[name] = python_of_values(value)
        elif name == "Items":
            if value:
                found[name] = [python_of_values(item) for item in value]
        else:
            found[name] = value
    return found


def _python_of_message(message: Any) -> Parameters:
    found: Parameters = {}
    for field, value in message.ListFields():
        if field.json_name == "Items":
            found[field.json_name] = [python_of_struct(item) for item in value]
        elif isinstance(value, Struct):
            found[field.json_name] = python_of_struct(value)
        elif isinstance(value, Message):
            found[field.json_name] = codec_of(field.message_type).decode(value)
        else:
            found[field.json_name] = value
    return found
