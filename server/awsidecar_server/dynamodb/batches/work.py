"""What streams of writes and streams of reads have in common, as the stream sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from google.protobuf.descriptor import Descriptor

from awsidecar_server.dynamodb.batches.entries import Answer, Asked, Entry, Failure
from awsidecar_server.dynamodb.batches.ordering import Ordering
from awsidecar_server.dynamodb.field_names import of_element
from awsidecar_server.dynamodb.table_keys import Check, KeyNames, TableKeys
from awsidecar_server.errors import InvalidRequest, naming_fields
from awsidecar_server.operations import Operations, Scope

# Of the table with this name or ARN; and whether something is held up by it.
Learn: TypeAlias = Callable[[str, Check | None, bool], Awaitable[KeyNames | None]]

_CAPACITY_WORDS = frozenset({"", "NONE", "TOTAL", "INDEXES"})


@dataclass(frozen=True, slots=True)
class Means:
    """What batches are carried out with."""

    operations: Operations
    table_keys: TableKeys


class Work(Protocol):
    """Writes, or reads: what one batch is, and how AWS is asked for it."""

    # As many as AWS takes in a batch, and as many batches as are in flight at once.
    most_entries: int
    most_in_flight: int
    # Whether the outcomes are told in order; known after the first request.
    in_order: bool

    def ordering(self) -> Ordering:
        """The rule by which entries may be sent beside others."""

    def elements(self, request: Any, *, is_first: bool) -> Sequence[Any]:
        """The elements of a request; raises `InvalidRequest` for options that are wrong or come late."""

    def asked(self, number: int, element: Any) -> Asked:
        """What an element asks for; `number` is its place in its request."""

    @property
    def key_names(self) -> Learn | None:
        """Asks for the names of a table's key attributes; None where nothing hangs on them.

        They are None where AWS does not tell them, and where `check` raises, before AWS is asked.
        """

    def is_denied(self, table: str) -> bool:
        """Whether AWS has not allowed the caller to know the key, and has not told it since."""

    def entry(self, index: int, asked: Asked, key_names: KeyNames | None) -> Entry: ...

    async def send(self, table: str, key_names: KeyNames | None, entries: Sequence[Entry], scope: Scope) -> Answer:
        """Asks AWS for a batch of entries of one table; raises what the operation raises."""

    def refused(self, table: str, failure: Failure) -> None:
        """To be told of each batch that AWS refuses."""


def checked_capacity(word: str, field: str = "options.return_consumed_capacity") -> str:
    """The word; raises `InvalidRequest` for one that would have each batch refused."""
    if word not in _CAPACITY_WORDS:
        raise InvalidRequest.of(field, "is none of NONE, TOTAL, INDEXES")
    return word


def naming_of(
    entries: Sequence[Entry], table: str, options: str = "", how: Descriptor | None = None
) -> AbstractContextManager[None]:
    """Has a refusal name fields as the caller does, once it is about one element; before, nobody is told of it."""
    if len(entries) > 1:
        return nullcontext()
    return naming_fields(of_element(entries[0].names, table, options, how))
