"""Requests as an application writes them that uses the generated stubs."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from awsidecar.dynamodb.v1 import batch_pb2, items_pb2, query_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, AttributeValueList, AttributeValueMap


def attribute_value(value: Any) -> AttributeValue:
    """A plain value as a message."""
    if isinstance(value, bool):
        return AttributeValue(bool=value)
    if isinstance(value, int | Decimal):
        return AttributeValue(n=str(value))
    if isinstance(value, str):
        return AttributeValue(s=value)
    if isinstance(value, list):
        return AttributeValue(l=AttributeValueList(values=map(attribute_value, value)))
    entries = {name: attribute_value(element) for name, element in value.items()}
    return AttributeValue(m=AttributeValueMap(entries=entries))


def _get_item(request: dict[str, Any]) -> items_pb2.GetItemRequest:
    return items_pb2.GetItemRequest(table_name=request["TableName"], key=request["Key"])


def _put_item(request: dict[str, Any]) -> items_pb2.PutItemRequest:
    return items_pb2.PutItemRequest(table_name=request["TableName"], item=request["Item"])


def _query(request: dict[str, Any]) -> query_pb2.QueryRequest:
    return query_pb2.QueryRequest(
        table_name=request["TableName"],
        key_condition_expression=request["KeyConditionExpression"],
        expression_attribute_values=request["ExpressionAttributeValues"],
    )


def _batch_get_item(request: dict[str, Any]) -> batch_pb2.BatchGetItemRequest:
    message = batch_pb2.BatchGetItemRequest()
    for table, wanted in request["RequestItems"].items():
        for attributes in wanted["Keys"]:
            message.request_items[table].keys.add(attributes=attributes)
    return message


def _batch_write_item(request: dict[str, Any]) -> batch_pb2.BatchWriteItemRequest:
    message = batch_pb2.BatchWriteItemRequest()
    for table, writes in request["RequestItems"].items():
        for write in writes:
            put = batch_pb2.PutRequest(item=write["PutRequest"]["Item"])
            message.request_items[table].requests.add(put_request=put)
    return message


# By the operation's name: what turns its parameters (under AWS's names, values already messages) into its request.
REQUESTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "GetItem": _get_item,
    "PutItem": _put_item,
    "Query": _query,
    "BatchGetItem": _batch_get_item,
    "BatchWriteItem": _batch_write_item,
}
