"""Attribute values from JSON onto the wire: messages that are one oneof, and the lists and maps of them.

A page of items is hardly anything else, so these are written by hand where other messages are composed of closures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from awsidecar_server.bridge.wire import DELIMITED, tag, varint

Write = Callable[[Any], bytes]
_Openings = dict[str, dict[int, bytes]]

# Openings (below) are kept for names and values up to this size: the others take longer themselves.
_LONGEST_BYTES = 255
# About 2 MiB.
_MOST_OPENINGS = 16_384

_KEY = tag(1, DELIMITED)
_VALUE = tag(2, DELIMITED)


class Choices:
    """Writes a message that is one oneof, from a JSON object with one known member.

    `texts` are the tags of the members that hold text; `others` write whole members. Filled by the compiler, because
    values contain values.
    """

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}
        self.others: dict[str, Write] = {}

    def write(self, value: Mapping[str, Any]) -> bytes:
        """Returns nothing for a value of a kind that the contract does not know."""
        found = b""
        for kind, held in value.items():
            if held is None:
                continue
            if kind in self.texts:
                text = held.encode()
                member = self.texts[kind] + varint(len(text)) + text
            elif kind in self.others:
                member = self.others[kind](held)
            else:
                continue
            if found:
                raise ValueError("a value of two kinds")
            found = member
        return found

    def list_writer(self, field_number: int) -> Write:
        """Writes all elements of a list."""
        head, write = tag(field_number, DELIMITED), self.write

        def write_list(values: Any) -> bytes:
            if type(values) is not list:
                raise TypeError("no list")
            parts: list[bytes] = []
            for value in values:
                content = write(value)
                parts += (head, varint(len(content)), content)
            return b"".join(parts)

        return write_list


class ChoiceMap:
    """Writes all entries of a map of choices.

    Everything in an entry that stands before a value's own bytes (tags, sizes, the name) follows from the kind of the
    value, the name and the number of bytes. The items of a table have the same names again and again, so these openings
    are kept. They hold names and sizes, never values; when there are too many, all are forgotten.
    """

    def __init__(self, field_number: int, choices: Choices, most_openings: int = _MOST_OPENINGS) -> None:
        self._most_openings = most_openings
        self._head = tag(field_number, DELIMITED)
        self._choices = choices
        # By kind of text, by name, by size; and for what is no text, by name and size.
        self._text_openings: dict[str, _Openings] = {kind: {} for kind in choices.texts}
        self._other_openings: _Openings = {}
        self._kept = 0

    def write(self, entries: Mapping[str, Any]) -> bytes:
        openings_of, others, choose = self._text_openings.get, self._other_openings, self._choices.write
        parts: list[bytes] = []
        for name, value in entries.items():
            try:
                (kind,) = value
            except ValueError:
                kind = ""  # none, or several, of which one may be known
            openings = openings_of(kind)
            try:
                if openings is None:
                    openings, kind, content = others, "", choose(value)
                else:
                    content = value[kind].encode()
            except AttributeError:
                openings, kind, content = others, "", choose(value)  # null; or it raises again
            try:
                parts += (openings[name][len(content)], content)
            except KeyError:
                parts += (self._opening(openings, kind, name, len(content)), content)
        return b"".join(parts)

    def _opening(self, openings: _Openings, kind: str, name: str, size: int) -> bytes:
        key = name.encode()
        inner = self._choices.texts[kind] + varint(size) if kind else b""
        entry = _KEY + varint(len(key)) + key + _VALUE + varint(len(inner) + size) + inner
        opening = self._head + varint(len(entry) + size) + entry
        if size <= _LONGEST_BYTES and len(key) <= _LONGEST_BYTES:
            self._make_room()
            openings.setdefault(name, {})[size] = opening
        return opening

    def _make_room(self) -> None:
        if self._kept == self._most_openings:
            for openings in (*self._text_openings.values(), self._other_openings):
                openings.clear()
            self._kept = 0
        self._kept += 1
