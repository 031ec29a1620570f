"""Projections that return the key with whatever else was asked for, so that an item is known by it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from awsidecar.dynamodb.v1.attribute_value_pb2 import Item
from awsidecar.dynamodb.v1.batch_pb2 import KeysAndAttributes

# No attribute of an application is behind such a placeholder.
_PLACEHOLDER = "#awsidecar_key_{}"
_ROOT = re.compile(r"\s*([^\s.\[,]+)")


@dataclass(frozen=True, slots=True)
class KeyedProjection:
    """Which attributes were added to what the caller asked for."""

    added: Collection[str] = ()

    def remove_added(self, item: Item) -> None:
        for name in self.added:
            item.attributes.pop(name, None)


def keyed_projection(asked: KeysAndAttributes, key_names: Collection[str]) -> KeyedProjection:
    """Adds those key attributes to the projection that it leaves out; without one, all attributes come anyway."""
    if asked.projection_expression:
        return _in_expression(asked, key_names)
    if asked.attributes_to_get:
        added = [name for name in key_names if name not in asked.attributes_to_get]
        asked.attributes_to_get.extend(added)
        return KeyedProjection(added)
    return KeyedProjection()


def _in_expression(asked: KeysAndAttributes, key_names: Collection[str]) -> KeyedProjection:
    paths = asked.projection_expression.split(",")
    roots = {found[1] for found in map(_ROOT.match, paths) if found}
    named = {asked.expression_attribute_names.get(root, root) for root in roots}
    added = [name for name in key_names if name not in named]
    for number, name in enumerate(added):
        placeholder = _PLACEHOLDER.format(number)
        asked.expression_attribute_names[placeholder] = name
        asked.projection_expression += f", {placeholder}"
    return KeyedProjection(added)
