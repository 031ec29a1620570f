"""The demo's data: fixed, whole, and of the shape its tables want."""

import json
from collections import Counter
from typing import Any

import pytest

from awsidecar_server.embedded.seed.items import ORGANISATIONS, all_items
from awsidecar_server.embedded.seed.people import PEOPLE
from awsidecar_server.embedded.seed.policies import MEMBER_POLICY, SERVICE_ACCOUNT_POLICY, member_trust
from awsidecar_server.embedded.seed.tables import TABLES


def test_the_items_are_the_same_at_each_start() -> None:
    assert all_items() == all_items()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table["TableName"]))
def test_every_item_has_the_keys_of_its_table_and_no_other_item_has_them(table: dict[str, Any]) -> None:
    names = [element["AttributeName"] for element in table["KeySchema"]]
    keys = Counter(tuple(item[name] for name in names) for item in all_items()[table["TableName"]])
    assert max(keys.values()) == 1


def test_there_are_some_hundred_items_of_several_organisations() -> None:
    items = all_items()
    assert 300 <= sum(map(len, items.values())) <= 900
    for table in ("users", "user-data", "applications"):
        assert {item["orgId"] for item in items[table]} == {organisation.id for organisation in ORGANISATIONS}


def test_the_user_of_the_documentation_is_there() -> None:
    [user] = [user for user in all_items()["users"] if user["id"] == "user-123"]
    assert (user["email"], user["orgId"], user["status"]) == ("user@example.com", "org-123", "active")


def test_each_person_who_signs_in_is_a_user_of_the_organisation() -> None:
    organisations = {user["email"]: user["orgId"] for user in all_items()["users"]}
    assert {person.username: person.organisation for person in PEOPLE}.items() <= organisations.items()
    assert len({person.organisation for person in PEOPLE}) == len(PEOPLE)


def test_no_password_shows_in_a_repr() -> None:
    for person in PEOPLE:
        assert person.password not in repr(person)


def test_the_policies_are_json_and_the_member_may_less() -> None:
    for policy in (SERVICE_ACCOUNT_POLICY, MEMBER_POLICY, member_trust("us-east-1:pool")):
        assert json.loads(json.dumps(policy)) == policy
    allowed = {action for statement in MEMBER_POLICY["Statement"] for action in statement["Action"]}
    assert not allowed & {"dynamodb:*", "dynamodb:DeleteTable", "dynamodb:CreateTable", "dynamodb:UpdateTable"}
