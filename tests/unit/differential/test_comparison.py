from __future__ import annotations

from typing import Any

import pytest
from tests.differential.comparison import NO_SELECT, OWN_MEMBER, Comparison
from tests.differential.contract import can_carry
from tests.differential.paths import OF_SIDECAR, RPCS, Refusal

ITEM: dict[str, Any] = {"Item": {"n": {"N": "1E3"}, "l": {"L": []}, "set": {"SS": ["a", "b"]}}}
REFUSED = Refusal("ValidationException", "The parameter is wrong", 400)


def refused(**changes: Any) -> Refusal:
    return Refusal(**{"code": REFUSED.code, "message": REFUSED.message, "http_status": 400, **changes})


@pytest.mark.parametrize(
    "sidecar",
    [
        {"Item": {**ITEM["Item"], "n": {"N": "1000"}}},
        {"Item": {"n": {"N": "1E3"}, "set": {"SS": ["a", "b"]}}},
        {"Item": {**ITEM["Item"], "set": {"SS": ["a", "b", "b"]}}},
        {"Item": {**ITEM["Item"], "set": {"L": [{"S": "a"}, {"S": "b"}]}}},
        {**ITEM, "ConsumedCapacity": {"TableName": "t"}},
        {},
        REFUSED,
    ],
)
def test_another_reply_is_a_difference(sidecar: Any) -> None:
    assert not Comparison().agrees("GetItem", ITEM, sidecar)
    assert not Comparison().agrees("GetItem", sidecar, ITEM)


def test_sets_have_no_order_and_lists_have_one() -> None:
    other_order = {"Item": {**ITEM["Item"], "set": {"SS": ["b", "a"]}}}
    assert Comparison().agrees("GetItem", ITEM, other_order)
    first, second = ({"Item": {"l": {"L": [{"S": one}, {"S": two}]}}} for one, two in ("ab", "ba"))
    assert not Comparison().agrees("GetItem", first, second)


def test_an_item_without_attributes_is_not_the_absence_of_an_item() -> None:
    assert not Comparison().agrees("GetItem", {"Item": {}}, {})
    assert Comparison().agrees("Scan", {"Items": [], "Count": 0}, {"Count": 0})


@pytest.mark.parametrize(
    "sidecar",
    [
        refused(code="InternalServerError"),
        refused(message="The parameter is right"),
        refused(http_status=500),
        refused(item={"id": {"S": "1"}}),
        refused(reasons=({"Code": "None", "Message": "", "Item": None},)),
        refused(message="The param…"),
        refused(message="The parameter is ************"),
        refused(code="INVALID_REQUEST", message="Key: is too large", http_status=0, refused_by=OF_SIDECAR),
        refused(code="AWS_UNREACHABLE", message="Key: is required", http_status=0, refused_by=OF_SIDECAR),
        ITEM,
    ],
)
def test_another_refusal_is_a_difference(sidecar: Any) -> None:
    assert not Comparison().agrees("GetItem", REFUSED, sidecar)


def test_rules_that_were_taken_are_counted() -> None:
    comparison = Comparison()
    before = refused(code="INVALID_REQUEST", message="Key: is required", http_status=0, refused_by=OF_SIDECAR)
    assert comparison.agrees("GetItem", REFUSED, before)
    assert comparison.agrees("GetItem", refused(message="x" * 1000), refused(message="x" * 893 + "…"))
    assert comparison.agrees("GetItem", refused(message=""), refused(message="VALIDATION_EXCEPTION"))
    assert comparison.agrees_in_another_order(REFUSED, REFUSED)
    arn = "no arn:aws:dynamodb:us-east-1:{}:table/t"
    masked = refused(message=arn.format("*" * 12))
    assert comparison.agrees("GetItem", refused(message=arn.format("1" * 12)), masked)
    own = refused(code="INVALID_REQUEST", message="item_limit: must be 1", http_status=0, refused_by=OF_SIDECAR)
    assert comparison.is_own_refusal(OWN_MEMBER, "item_limit", own)
    assert comparison.is_own_refusal(NO_SELECT, "item_limit", own)
    inexact = refused(code="NUMBER_NOT_EXACT", message="Item.n: ...", http_status=0, refused_by=OF_SIDECAR)
    assert comparison.is_inexact(inexact)
    assert set(comparison.rules_used.values()) == {1}


def test_a_refusal_that_a_rule_does_not_describe_is_not_counted() -> None:
    comparison = Comparison()
    own = refused(code="INVALID_REQUEST", message="segments: must be 1", http_status=0, refused_by=OF_SIDECAR)
    assert not comparison.is_own_refusal(OWN_MEMBER, "item_limit", own)
    assert not comparison.is_own_refusal(OWN_MEMBER, "segments", None)
    assert not comparison.is_own_refusal(OWN_MEMBER, "segments", refused(message="segments: must be 1"))
    assert not comparison.is_inexact(own)
    assert not comparison.is_inexact(None)
    assert set(comparison.rules_used.values()) == {0}


def test_what_aws_takes_and_the_sidecar_refuses_is_a_difference() -> None:
    before = refused(code="INVALID_REQUEST", message="Key: is required", http_status=0, refused_by=OF_SIDECAR)
    assert not Comparison().agrees("GetItem", ITEM, before)


@pytest.mark.parametrize(
    ("members", "carried"),
    [
        ({"TableName": "t", "Key": {"id": {"S": "1"}}}, True),
        ({"TableName": "t", "Key": {}}, True),  # required: its absence is refused
        ({"TableName": "t", "Key": {"id": {}}}, True),  # so is a value of no kind
        ({"TableName": "t", "Key": {"id": {"L": []}}}, True),
        ({"TableName": "t", "Key": {"id": {"S": "1", "N": "1"}}}, False),
        ({"TableName": "t", "AttributesToGet": []}, False),
        ({"TableName": "t", "ExpressionAttributeNames": {}}, False),
        ({"TableName": "t", "NoMember": 1}, False),
    ],
)
def test_says_what_the_contract_can_carry(members: dict[str, Any], carried: bool) -> None:
    assert can_carry(RPCS["GetItem"].request, members) is carried
