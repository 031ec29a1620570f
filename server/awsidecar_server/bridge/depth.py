"""Reads requests from the wire, as deep as DynamoDB's values nest."""

from __future__ import annotations

import threading
from typing import Any

from google.protobuf.message import DecodeError, Message

# DynamoDB's 32 levels of maps take 102 messages in a BatchWriteItem, and protobuf refuses more than 100. Its only
# other limit is 65,535, which this bounds, because what decodes the message calls itself for each level. Counted
# without the entries of maps, so that some 40 levels pass and AWS is the one to refuse the 33rd.
_DEEPEST = 90
# 65,535 messages in each other take about 10 MiB of C stack, which is more than a thread has unasked.
_STACK_BYTES = 64 * 1024 * 1024


def parse(message_class: type[Message], raw: bytes) -> Message:
    """The message; raises `DecodeError` for bytes that are none, and for one that nests too deep."""
    try:
        return message_class.FromString(raw)
    except DecodeError as malformed:
        if "MaxDepth" not in str(malformed):  # anything else is no better when it is read deeper
            raise
        deep = _parse_deep(message_class, raw)
        if deep is None or _is_deeper(deep, _DEEPEST):
            raise
        return deep


def _parse_deep(message_class: type[Message], raw: bytes) -> Message | None:
    """Parses up to protobuf's outer limit; None when that fails, too.

    The limit is a switch of the whole process. Nobody else parses meanwhile, because the event loop waits.
    """
    found: list[Message] = []

    def attempt() -> None:
        try:
            found.append(message_class.FromString(raw))
        except DecodeError:
            return

    before = threading.stack_size(_STACK_BYTES)
    try:
        thread = threading.Thread(target=attempt, name="deep-parse")
        _allow_deep(True)
        thread.start()
        thread.join()
    finally:
        _allow_deep(False)
        threading.stack_size(before)
    return found[0] if found else None


def _allow_deep(allowed: bool) -> None:
    from google._upb import _message

    _message.SetAllowOversizeProtos(allowed)


def _is_deeper(message: Message, most: int) -> bool:
    """Whether messages, entries of maps not counted, are in each other more than so many times."""
    level: list[Any] = [message]
    for _ in range(most):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return False
    return True


def _inner(message: Message) -> list[Any]:
    found: list[Any] = []
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                found.extend(value.values())
        elif field.is_repeated:
            found.extend(value)
        else:
            found.append(value)
    return found
