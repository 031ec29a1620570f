from __future__ import annotations

from awsidecar_server.contract import CREDENTIALS_SERVICE, Rpc, aws_rpcs, rpcs


def find(method: str) -> Rpc:
    return next(rpc for rpc in aws_rpcs() if rpc.method == method)


def test_an_rpc_of_an_aws_operation_has_its_name() -> None:
    found = list(aws_rpcs())
    assert len(found) == len({(rpc.aws_service, rpc.aws_operation) for rpc in found}) > 50
    assert all(rpc.method == rpc.aws_operation for rpc in found)
    assert {rpc.aws_service for rpc in found} == {"dynamodb", "dynamodbstreams"}


def test_rpc_says_all_that_its_handler_needs() -> None:
    rpc = find("GetItem")
    assert (rpc.service, rpc.aws_service) == ("awsidecar.dynamodb.v1.DynamoDbService", "dynamodb")
    assert (rpc.request.name, rpc.response.name) == ("GetItemRequest", "GetItemResponse")
    assert find("GetRecords").aws_service == "dynamodbstreams"


def test_rpcs_of_our_own_name_no_operation() -> None:
    found = list(rpcs(CREDENTIALS_SERVICE))
    assert [rpc.method for rpc in found] == [
        "OpenSession",
        "CloseSession",
        "GetCredentials",
        "ValidateCredentials",
        "WhoAmI",
    ]
    assert {(rpc.aws_service, rpc.aws_operation) for rpc in found} == {("", "")}
