"""The people who can sign in to the demo, of two organisations."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Person:
    """One who signs in. The password is a demo's, and known to everybody."""

    username: str
    password: str = field(repr=False)
    organisation: str


PEOPLE = (
    Person("alice@example.com", "Wonderland-123", "org-123"),
    Person("bob@example.com", "Workshop-456", "org-456"),
)
