"""The writes and reads of a stream until their outcome is known, and the outcomes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal

from google.protobuf.message import Message

from awsidecar.dynamodb.v1.attribute_value_pb2 import Item
from awsidecar.dynamodb.v1.capacity_pb2 import ConsumedCapacity
from awsidecar_server.dynamodb.field_names import Names
from awsidecar_server.errors import AwsRejected, InvalidRequest, SidecarError

Failure = AwsRejected | SidecarError

# A byte of protobuf takes six of JSON at most: a control character, as `\u0001`. The types and names around a value
# take less than that for what they take in protobuf.
JSON_BYTES_PER_BYTE = 6


@dataclass(frozen=True, slots=True)
class Asked:
    """One element of a request, before it is known what it takes to carry it out."""

    table: str
    message: Message
    # What is wrong with it already.
    refusal: InvalidRequest | None = None
    names: Names = Names()


@dataclass(eq=False, slots=True)
class Entry:
    """One write or read of a stream that AWS is to be asked for."""

    # Its number in the stream, from 0.
    index: int
    # As the caller names it.
    table: str
    # A PutRequest, a DeleteRequest or a Key.
    message: Message = field(repr=False)
    # Not less than it takes in AWS's JSON, in bytes.
    size: int
    # What it is known by in AWS's answers.
    identity: Hashable = field(repr=False)
    # Two writes that have one in common may be of the same item, if their tables may be the same.
    tokens: tuple[Hashable, ...] = field(repr=False)
    names: Names = field(default=Names(), repr=False)
    # How often it was sent.
    attempts: int = 0
    # Whether AWS may have done it in an attempt whose answer was none.
    is_ambiguous: bool = False
    # How many calls with it have failed, other than by throttling; and how the last one ended, if it has.
    failures: int = 0
    failure: Failure | None = field(default=None, repr=False)
    # Reads that are answered with this one.
    also: list[int] = field(default_factory=list, repr=False)


Kind = Literal["done", "item", "not_found", "failure", "not_attempted"]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a write or a read."""

    kind: Kind
    item: Item | None = field(default=None, repr=False)
    failure: Failure | None = None
    is_ambiguous: bool = False
    # Of the item.
    size: int = 0

    @property
    def has_effect(self) -> bool:
        """Whether AWS has done a write, or may have."""
        return self.kind == "done" or self.is_ambiguous


DONE = Result("done")
NOT_FOUND = Result("not_found")
NOT_ATTEMPTED = Result("not_attempted")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the write or read with this number."""

    index: int
    result: Result


@dataclass(slots=True)
class Answer:
    """What AWS answered to one batch."""

    results: list[tuple[Entry, Result]]
    # What AWS left unprocessed.
    left: list[Entry]
    capacity: list[ConsumedCapacity]
    # Whether an attempt before the one that was answered may have had an effect.
    is_ambiguous: bool = False


@dataclass(slots=True)
class Report:
    """What the caller is told at once."""

    outcomes: list[Outcome] = field(default_factory=list)
    capacity: list[ConsumedCapacity] = field(default_factory=list)
    is_deadline_spent: bool = False
