"""Long lists of items in JSON, read piece by piece.

A page of 1 MB is about 13 MB of Python objects when it is parsed at once: memory that is asked of the system and given
back for every page, and outgrows the processor's caches, so that an item of a long page costs a third more than one
of a short page. A piece has some tens of items, which are written and forgotten before the next is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

# Replies from here on are read in pieces of about this size; smaller ones gain nothing by it.
PIECE_BYTES = 32 * 1024


# Lists that may come behind the one of items, as in a key to go on from.
_MOST_LISTS_BEHIND = 16
_WHITE_SPACE_AT_END = 64
_END_OF_ITEM = re.compile(rb"\}\s*+\}\s*+\Z")


class LongList:
    """Takes one list of items out of a body.

    Nothing about the text between items is trusted: each piece must be JSON on its own, and so must the body with a 0
    in place of the list. Where both hold, the pieces are the list, since a JSON array may be cut at any comma between
    its elements. A cut at another place, as in a string that looks like the end of an item, leaves no JSON.
    """

    def __init__(self, name: str, kinds: Iterable[str], piece_bytes: int = PIECE_BYTES) -> None:
        self._name = name
        self._piece_bytes = piece_bytes
        # AWS writes no white space; whoever stands between us may have written it anew.
        self._opening = re.compile(rf'"{name}"\s*+:\s*+\['.encode())
        # Between two items; but not between two maps of a list, where a kind of value follows instead of a name.
        self._cut = re.compile(rf'\}}\s*+\}}\s*+,(?=\s*+\{{\s*+"(?!(?:{"|".join(kinds)})"\s*+:))'.encode())

    def is_long(self, body: bytes) -> bool:
        return len(body) > self._piece_bytes

    def taken_out(self, body: bytes) -> tuple[dict[str, Any], Iterator[list[Any]]]:
        """Returns what else is in the body, and the list in pieces.

        Either raises ValueError when the body is not plainly of that form; it may be good JSON all the same.
        """
        opening = self._opening.search(body)
        if opening is None:
            raise ValueError("there is no list")
        start = opening.end()
        end = _end(body, start)
        rest = orjson.loads(b"%b0%b" % (body[: start - 1], body[end + 1 :]))
        if type(rest) is not dict or rest.pop(self._name, None) != 0:
            raise ValueError("the list is in another place")
        return rest, self._pieces(body, start, end)

    def _pieces(self, body: bytes, start: int, end: int) -> Iterator[list[Any]]:
        while start <= end:
            cut = self._cut.search(body, start + self._piece_bytes, end)
            stop = cut.end() - 1 if cut else end
            yield orjson.loads(b"[%b]" % body[start:stop])
            start = stop + 1


def _end(body: bytes, start: int) -> int:
    """Where the last list ends that ends with an item."""
    end = len(body)
    for _ in range(_MOST_LISTS_BEHIND):
        end = body.rindex(b"]", start, end)
        if _END_OF_ITEM.search(body[max(start, end - _WHITE_SPACE_AT_END) : end]):
            return end
    raise ValueError("the list has no end that is found soon")
