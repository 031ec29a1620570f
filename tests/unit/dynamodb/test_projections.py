from __future__ import annotations

import pytest
from tests.unit.dynamodb.fake_batches import attributes

from awsidecar.dynamodb.v1.attribute_value_pb2 import Item
from awsidecar.dynamodb.v1.batch_pb2 import KeysAndAttributes
from awsidecar_server.dynamodb.projections import keyed_projection


@pytest.mark.parametrize(
    ("expression", "names", "added"),
    [
        ("a", {}, ["pk", "sk"]),
        ("a, pk", {}, ["sk"]),
        ("pk,sk", {}, []),
        ("#k , a.b[0]", {"#k": "sk"}, ["pk"]),
        ("pkx, a.pk", {}, ["pk", "sk"]),
        (" sk.b", {}, ["pk"]),
    ],
)
def test_the_key_attributes_that_are_left_out_are_added(
    expression: str, names: dict[str, str], added: list[str]
) -> None:
    asked = KeysAndAttributes(projection_expression=expression, expression_attribute_names=names)
    projection = keyed_projection(asked, ("pk", "sk"))
    assert list(projection.added) == added
    new = sorted(set(asked.expression_attribute_names) - set(names))
    assert [asked.expression_attribute_names[name] for name in new] == added
    assert asked.projection_expression == ", ".join([expression, *new])


def test_what_was_added_is_taken_out_again() -> None:
    projection = keyed_projection(KeysAndAttributes(projection_expression="a, pk"), ("pk", "sk"))
    item = Item(attributes=attributes(pk="1", sk="2", a="3"))
    projection.remove_added(item)
    assert sorted(item.attributes) == ["a", "pk"]


def test_legacy_attributes_to_get_are_filled_up_too() -> None:
    asked = KeysAndAttributes(attributes_to_get=["a", "sk"])
    assert list(keyed_projection(asked, ("pk", "sk")).added) == ["pk"]
    assert list(asked.attributes_to_get) == ["a", "sk", "pk"]


def test_without_a_projection_nothing_is_added() -> None:
    asked = KeysAndAttributes(consistent_read=True)
    assert not keyed_projection(asked, ("pk",)).added
    assert not asked.projection_expression
