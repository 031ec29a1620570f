"""What is known of calls before they are sent is what AWS's service models say."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any, NamedTuple

import botocore.loaders
import jmespath
import pytest

from awsidecar_server.aws.json_calls import JSON_SERVICES, TOKENS, JsonCall, JsonReply, resource_of
from awsidecar_server.contract import aws_rpcs


class Operation(NamedTuple):
    """An operation, and its service model."""

    service: str
    name: str
    model: dict[str, Any]

    @property
    def members(self) -> dict[str, Any]:
        shape = self.model["operations"][self.name].get("input", {}).get("shape")
        members: dict[str, Any] = self.model["shapes"][shape]["members"] if shape else {}
        return members

    @property
    def routed_by(self) -> str:
        """The JMESPath of what AWS routes by; empty when it is nothing."""
        marked = [name for name, member in self.members.items() if "contextParam" in member]
        paths = [
            one["path"] for one in self.model["operations"][self.name].get("operationContextParams", {}).values()
        ]
        assert len(marked + paths) <= 1
        return "".join(marked + paths)

    def example(self) -> dict[str, Any]:
        """A request with every member of the operation, each text named for where it stands."""
        return {name: self._value(member["shape"], name, ()) for name, member in self.members.items()}

    def _value(self, name: str, text: str, above: tuple[str, ...]) -> Any:
        shape = self.model["shapes"][name]
        if name in above:
            return None
        inner = (*above, name)
        match shape["type"]:
            case "structure":
                return {
                    one: self._value(of["shape"], f"{text}.{one}", inner) for one, of in shape["members"].items()
                }
            case "list":
                return [self._value(shape["member"]["shape"], f"{text}[{index}]", inner) for index in range(2)]
            case "map":
                return {f"{text}:{key}": self._value(shape["value"]["shape"], text, inner) for key in range(2)}
            case _:
                return text


def operations() -> Iterator[Operation]:
    loader = botocore.loaders.create_loader()
    loader.search_paths.insert(0, str(resources.files("awsidecar_server.aws") / "models"))
    for service in JSON_SERVICES:
        model = loader.load_service_model(service, "service-2")
        for name in model["operations"]:
            yield Operation(service, name, model)


def operations_of_the_contract() -> list[Operation]:
    called = {(rpc.aws_service, rpc.aws_operation) for rpc in aws_rpcs()}
    found = [one for one in operations() if (one.service, one.name) in called]
    assert len(found) == len(called) > 60
    return found


def name_of(operation: object) -> str:
    assert isinstance(operation, Operation)
    return operation.name


def routed(path: str, request: dict[str, Any]) -> str:
    """The first of what AWS routes by."""
    found = jmespath.search(path, request) if path else None
    return str(found[0] if isinstance(found, list) else found or "")


@pytest.mark.parametrize("operation", operations_of_the_contract(), ids=name_of)
def test_resource_of_a_call_is_what_aws_routes_it_by(operation: Operation) -> None:
    request = operation.example()
    assert resource_of(operation.name, request) == routed(operation.routed_by, request)


@pytest.mark.parametrize("operation", operations_of_the_contract(), ids=name_of)
def test_call_that_names_no_resource_has_none(operation: Operation) -> None:
    assert resource_of(operation.name, {}) == ""


@pytest.mark.parametrize(
    "members",
    [
        {"TransactItems": []},
        {"TransactItems": [{}]},
        {"TransactItems": [{"Get": {}}]},
        {"RequestItems": {}},
        {"TableCreationParameters": {}},
        {"TableName": ""},
        {"TableName": None},
    ],
)
@pytest.mark.parametrize("operation", ["TransactGetItems", "BatchGetItem", "ImportTable", "GetItem"])
def test_empty_members_name_no_resource(operation: str, members: dict[str, Any]) -> None:
    assert resource_of(operation, members) == ""


@pytest.mark.parametrize("kind", ["ConditionCheck", "Put", "Delete", "Update"])
def test_transaction_is_about_the_table_of_its_first_action(kind: str) -> None:
    actions = [{kind: {"TableName": "first"}}, {"Put": {"TableName": "second"}}]
    assert resource_of("TransactWriteItems", {"TransactItems": actions}) == "first"


def test_tokens_are_those_that_the_models_mark() -> None:
    marked = {
        operation.name: name
        for operation in operations_of_the_contract()
        for name, member in operation.members.items()
        if member.get("idempotencyToken")
    }
    assert marked == TOKENS


def test_services_are_spoken_to_as_their_models_say() -> None:
    for operation in operations():
        metadata = operation.model["metadata"]
        spoken = JSON_SERVICES[operation.service]
        assert spoken.target_prefix == metadata["targetPrefix"]
        assert spoken.content_type == f"application/x-amz-json-{metadata['jsonVersion']}"
        assert "json" in metadata.get("protocols", [metadata["protocol"]])
        assert operation.model["operations"][operation.name]["http"] == {"method": "POST", "requestUri": "/"}


def test_what_a_call_holds_shows_in_no_repr() -> None:
    call = JsonCall("dynamodb", "PutItem", b'{"secret": 1}', {"secret": 1}, "eu-central-1")
    assert "secret" not in repr(call)
    assert "secret" not in repr(JsonReply(b'{"secret": 1}', "REQ", 1))
