"""Values in values, as deep as asked for."""

from __future__ import annotations

from typing import Any


def maps(levels: int, leaf: dict[str, Any]) -> dict[str, Any]:
    for _ in range(levels):
        leaf = {"M": {"a": leaf}}
    return leaf


def lists(levels: int, leaf: dict[str, Any]) -> dict[str, Any]:
    for _ in range(levels):
        leaf = {"L": [leaf]}
    return leaf


def mixed(levels: int, leaf: dict[str, Any]) -> dict[str, Any]:
    for level in range(levels):
        leaf = {"M": {"a": leaf}} if level % 2 else {"L": [leaf, {"NULL": True}]}
    return leaf
