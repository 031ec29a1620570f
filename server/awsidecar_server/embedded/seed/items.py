"""The items of the demo's tables: organisations, their users and applications, made by counting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

Item = dict[str, Any]

_FIRST_NAMES = ("Ada", "Ben", "Chiara", "Dev", "Elif", "Femi", "Grace", "Hugo", "Ines", "Jun", "Kofi", "Lena")
_LAST_NAMES = ("Abara", "Berg", "Costa", "Dubois", "Evans", "Fischer", "Garcia", "Haddad", "Ito", "Jensen", "Khan")
_TEAMS = ("engineering", "finance", "operations", "research", "support")
_APPLICATIONS = ("billing", "catalog", "chat", "inventory", "mail", "payroll", "reports", "search")
_PLANS = ("enterprise", "team", "free")
_USERS_PER_ORGANISATION = 24
_FIRST_DAY = datetime(2024, 1, 8, 9, 0, tzinfo=UTC)


class Organisation(NamedTuple):
    """A customer. Each user, application and piece of user data belongs to one."""

    id: str
    name: str
    domain: str


ORGANISATIONS = (
    Organisation("org-123", "Example Works", "example.com"),
    Organisation("org-456", "Sample Industries", "sample.example"),
    Organisation("org-789", "Northwind Research", "northwind.example"),
    Organisation("org-321", "Harbour Logistics", "harbour.example"),
    Organisation("org-654", "Lumen Energy", "lumen.example"),
)

# Users that documentation and people of the demo know by id; the others are counted.
_KNOWN_USERS = (
    ("user-123", "user@example.com", "Uma Sample", "org-123", "active"),
    ("123", "one.two.three@example.com", "Otto Drei", "org-123", "invited"),
    ("user1", "user1@example.com", "Una First", "org-123", "active"),
    ("user2", "user2@example.com", "Duarte Second", "org-123", "active"),
    ("user3", "user3@example.com", "Tess Third", "org-123", "suspended"),
    ("user-alice", "alice@example.com", "Alice Liddell", "org-123", "active"),
    ("user-bob", "bob@example.com", "Bob Taylor", "org-456", "active"),
)


def all_items() -> Mapping[str, list[Item]]:
    """The items of each table."""
    people = list(_users())
    return {"users": people, "user-data": list(_user_data(people)), "applications": list(_applications())}


def _users() -> Iterator[Item]:
    for number, (user_id, email, name, organisation, status) in enumerate(_KNOWN_USERS):
        yield _user(number, user_id, email=email, name=name, organisation=organisation, status=status)
    for place, organisation_ in enumerate(ORGANISATIONS):
        for number in range(_USERS_PER_ORGANISATION):
            count = place * _USERS_PER_ORGANISATION + number
            first, last = _FIRST_NAMES[count % len(_FIRST_NAMES)], _LAST_NAMES[count % len(_LAST_NAMES)]
            yield _user(
                count,
                f"user-{1001 + count}",
                email=f"{first}.{last}@{organisation_.domain}".lower(),
                name=f"{first} {last}",
                organisation=organisation_.id,
                status=("suspended" if count % 11 == 5 else "invited" if count % 7 == 3 else "active"),
            )


def _user(count: int, user_id: str, *, email: str, name: str, organisation: str, status: str) -> Item:
    return {
        "id": user_id,
        "email": email,
        "name": name,
        "orgId": organisation,
        "status": status,
        "role": "admin" if count % 12 == 0 else "member",
        "teams": {_TEAMS[count % len(_TEAMS)], _TEAMS[(count + 2) % len(_TEAMS)]},
        "loginCount": count * 7 % 113,
        "createdAt": _day(count),
        "lastLoginAt": None if status == "invited" else _day(count + 200),
    }


def _user_data(people: list[Item]) -> Iterator[Item]:
    for count, user in enumerate(people):
        owner = {"userId": user["id"], "email": user["email"], "orgId": user["orgId"]}
        yield owner | {
            "kind": "profile",
            "displayName": user["name"],
            "languages": ["en", ("de", "fr", "pt", "ja")[count % 4]],
            "address": {"city": ("Lisbon", "Lagos", "Osaka", "Lyon")[count % 4], "floor": count % 9},
        }
        yield owner | {
            "kind": "preferences",
            "theme": ("dark", "light")[count % 2],
            "newsletter": count % 3 == 0,
            "notifications": {"email": count % 2 == 0, "quietHours": [22, 6]},
        }


def _applications() -> Iterator[Item]:
    for place, organisation in enumerate(ORGANISATIONS):
        for number, name in enumerate(_APPLICATIONS):
            count = place * len(_APPLICATIONS) + number
            yield {
                "id": f"app-{101 + count}",
                "name": name,
                "title": f"{organisation.name} {name}",
                "orgId": organisation.id,
                "status": "retired" if count % 9 == 8 else "active",
                "plan": _PLANS[count % len(_PLANS)],
                "seats": 10 * (1 + count % 6),
                "settings": {"region": "us-east-1", "beta": count % 4 == 0},
                "createdAt": _day(count * 3),
            }


def _day(count: int) -> str:
    return (_FIRST_DAY + timedelta(days=count, minutes=count * 13 % 480)).strftime("%Y-%m-%dT%H:%M:%SZ")
