"""Whose turn it is: keeps what may be about one item in the order in which it has come."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

OneT = TypeVar("OneT", bound=Hashable)


def simple_name(table: str) -> str:
    """The name of a table that may be given by its ARN. Tables of several accounts and regions may have the same."""
    return table.rpartition(":table/")[2]


def is_arn(table: str) -> bool:
    """Whether it says of which account and region the table is: two that differ are two tables.

    A bare name may be that of any table whose ARN ends in it, since the sidecar does not know the caller's account.
    """
    return simple_name(table) != table


@dataclass(slots=True)
class _Line(Generic[OneT]):
    """The last ones that have one token and have not left."""

    bare: OneT | None = None
    # By ARN, of those that came after `bare`.
    of_arns: dict[str, OneT] = field(default_factory=dict)


class Turns(Generic[OneT]):
    """Who has a token in common with an earlier one of the same table, or of what may be the same, waits for it.

    Each knows the nearest ones before it only, and those wait for the ones before them. All that anybody waits for has
    come before, so the earliest of those that have not left waits for nobody: there is no deadlock.
    """

    def __init__(self) -> None:
        self._lines: dict[Hashable, _Line[OneT]] = {}
        # How many one waits for, if for any; and who waits for one.
        self._ahead: dict[OneT, int] = {}
        self._behind: dict[OneT, list[OneT]] = {}

    def enter(self, one: OneT, table: str, tokens: Iterable[Hashable]) -> bool:
        """Whether it is its turn. No token may be there twice."""
        arn = table if is_arn(table) else None
        before = [earlier for token in tokens for earlier in self._line_up(one, arn, token)]
        for earlier in before:
            self._behind.setdefault(earlier, []).append(one)
        if before:
            self._ahead[one] = len(before)
        return not before

    def has_turn(self, one: OneT) -> bool:
        return one not in self._ahead

    def would_wait(self, table: str, token: Hashable) -> bool:
        """Whether one that came now would have to wait."""
        line = self._lines.get(token)
        if line is None:
            return False
        return line.bare is not None or (table in line.of_arns if is_arn(table) else bool(line.of_arns))

    def leave(self, one: OneT, table: str, tokens: Iterable[Hashable]) -> list[OneT]:
        """Forgets one whose turn it is; returns those whose turn it is then. Table and tokens are what it came with."""
        for token in tokens:
            line = self._lines[token]
            if line.bare is one:
                line.bare = None
            elif line.of_arns.get(table) is one:
                del line.of_arns[table]
            if line.bare is None and not line.of_arns:
                del self._lines[token]
        free: list[OneT] = []
        for later in self._behind.pop(one, ()):
            self._ahead[later] -= 1
            if not self._ahead[later]:
                del self._ahead[later]
                free.append(later)
        return free

    def _line_up(self, one: OneT, arn: str | None, token: Hashable) -> list[OneT]:
        """Those that it has to wait for. What is under an ARN is so for one under a bare name at most: few in all."""
        line = self._lines.get(token)
        if line is None:
            line = self._lines[token] = _Line()
        if arn is not None:
            nearest = line.of_arns.get(arn, line.bare)
            line.of_arns[arn] = one
            return [] if nearest is None else [nearest]
        before = list(line.of_arns.values())
        if not before and line.bare is not None:
            before = [line.bare]
        line.of_arns.clear()
        line.bare = one
        return before
