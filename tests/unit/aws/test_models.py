"""The service models that the server brings serve the older SDK: new operations, and their endpoints."""

from __future__ import annotations

from importlib import resources
from typing import Any

import botocore.config
import botocore.session
import pytest


class Sent(Exception):
    """Stops a request when it is ready, before it leaves."""


@pytest.fixture
def session() -> Any:
    session = botocore.session.Session()
    session.get_component("data_loader").search_paths.insert(
        0, str(resources.files("awsidecar_server.aws") / "models")
    )
    return session


def url_of(session: Any, service: str, operation: str, config: dict[str, Any], parameters: dict[str, Any]) -> str:
    client = session.create_client(
        service,
        region_name="eu-central-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="example",
        config=botocore.config.Config(**config),
    )

    def stop(request: Any, **_: Any) -> None:
        raise Sent(request.url)

    client.meta.events.register("before-send", stop)
    with pytest.raises(Sent) as sent:
        getattr(client, operation)(**parameters)
    return str(sent.value)


SEARCH = {"TableName": "films", "IndexName": "plots", "SearchVector": [{"N": "1"}], "TopK": 3}
GET = {"TableName": "films", "Key": {"id": {"S": "1"}}}


@pytest.mark.parametrize(
    ("service", "operation", "config", "parameters", "url"),
    [
        ("dynamodb", "get_item", {}, GET, "https://dynamodb.eu-central-1.amazonaws.com/"),
        ("dynamodb", "list_bulk_operations", {}, {}, "https://dynamodb.eu-central-1.amazonaws.com/"),
        ("dynamodb", "search_vectors", {}, SEARCH, "https://search-dynamodb.eu-central-1.amazonaws.com/"),
        (
            "dynamodb",
            "search_vectors",
            {"use_fips_endpoint": True},
            SEARCH,
            "https://search-dynamodb-fips.eu-central-1.amazonaws.com/",
        ),
        (
            "dynamodb",
            "search_vectors",
            {"use_dualstack_endpoint": True},
            SEARCH,
            "https://search-dynamodb.eu-central-1.api.aws/",
        ),
        ("dynamodbstreams", "list_streams", {}, {}, "https://streams.dynamodb.eu-central-1.amazonaws.com/"),
    ],
)
def test_operation_goes_to_the_endpoint_of_its_kind(
    session: Any, service: str, operation: str, config: dict[str, Any], parameters: dict[str, Any], url: str
) -> None:
    assert url_of(session, service, operation, config, parameters) == url


@pytest.mark.parametrize("service", ["dynamodb", "dynamodbstreams"])
def test_models_are_those_of_the_server_and_hold_no_documentation(session: Any, service: str) -> None:
    model = session.get_component("data_loader").load_service_model(service, "service-2")
    assert "documentation" not in model
    assert not [name for name, operation in model["operations"].items() if "documentation" in operation]
