"""How the text of a setting becomes its value. Each reader raises `ValueError` with what is wrong, for a person."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}")
_USER_POOL_ID = re.compile(r"[a-z0-9-]+_[0-9a-zA-Z]+")
_IDENTITY_POOL_ID = re.compile(r"[a-z0-9-]+:[0-9a-f-]+")


def text(value: str) -> str:
    return value


def host(value: str) -> str:
    """An IP address, or a name that this machine knows as one of its own to be."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if value != "localhost":
            raise ValueError(f"{value!r} is neither an IP address nor localhost") from None
    return value


def socket_path(value: str) -> str:
    # `sun_path` holds 108 bytes on Linux, the last of them zero.
    if len(os.fsencode(value)) > 107:
        raise ValueError(f"{value!r} is longer than the 107 bytes that a socket's path may have")
    if not os.path.isdir(os.path.dirname(os.path.abspath(value))):
        raise ValueError(f"{value!r} lies in no directory that exists")
    return value


def flag(value: str) -> bool:
    known = {
        "true": True,
        "1": True,
        "yes": True,
        "on": True,
        "false": False,
        "0": False,
        "no": False,
        "off": False,
    }
    try:
        return known[value.strip().lower()]
    except KeyError:
        raise ValueError(f"{value!r} is neither true nor false") from None


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number from `least` to `most`."""

    def reader(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a whole number") from None
        if not least <= number <= most:
            raise ValueError(f"{number} is not between {least} and {most}")
        return number

    return reader


port = whole(0, 65_535)


def seconds(least: float, most: float) -> Callable[[str], float]:
    """A number of seconds from `least` to `most`."""

    def reader(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a number of seconds") from None
        if not least <= number <= most:  # also refuses nan
            raise ValueError(f"{value} is not between {least:g} and {most:g} seconds")
        return number

    return reader


def one_of(*choices: str) -> Callable[[str], str]:
    def reader(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}")
        return value.lower()

    return reader


def words(value: str) -> tuple[str, ...]:
    found = tuple(word.strip() for word in value.split(",") if word.strip())
    if not found:
        raise ValueError("is an empty list")
    return found


def region(value: str) -> str:
    if not (_REGION.fullmatch(value) or value == "local"):
        raise ValueError(f"{value!r} does not look like an AWS region")
    return value


def regions(value: str) -> tuple[str, ...]:
    return tuple(region(word) for word in words(value))


def url(value: str) -> str:
    if "@" in value:  # seen first, so that no password is repeated
        raise ValueError("holds a user or a password, which do not belong there")
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError(f"{value!r} is not an http or https URL")
    if parts.port == 0:  # reading the port also refuses what is none
        raise ValueError(f"{value!r} names port 0")
    return value.rstrip("/")


def ca_bundle(value: str) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
    except ssl.SSLError:
        raise ValueError(f"{value!r} holds no certificates (PEM)") from None
    except OSError as problem:
        raise ValueError(f"{value!r} cannot be read ({problem.strerror})") from None
    return value


def user_pool_id(value: str) -> str:
    if not _USER_POOL_ID.fullmatch(value):
        raise ValueError(f"{value!r} is not a user pool id")
    return value


def identity_pool_id(value: str) -> str:
    if not _IDENTITY_POOL_ID.fullmatch(value):
        raise ValueError(f"{value!r} is not an identity pool id")
    return value
