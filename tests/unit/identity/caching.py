"""A cache of credentials with a source that does what a test says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from tests.unit.identity.fakes import HOUR, FakeClock, HeldSource, ScriptedSource, make_credentials

from awsidecar_server.config import IdentityConfig
from awsidecar_server.errors import SidecarError
from awsidecar_server.identity.cache import CachedCaller, CredentialCache
from awsidecar_server.identity.credentials import Credentials, ServiceAccountCaller, SessionCaller
from awsidecar_server.identity.sources import CredentialSource, Sources

SERVICE_ACCOUNT = ServiceAccountCaller()
OUTAGE = RuntimeError("a defect of a source")


class Bench:
    """A cache with a clock and a source of its own."""

    def __init__(self, source: CredentialSource[CachedCaller], clock: FakeClock, *, size: int = 100) -> None:
        self.clock = clock
        self.events: Counter[tuple[str, str]] = Counter()
        self.cache = CredentialCache(
            Sources(cognito=source, service_account=source),
            IdentityConfig(cache_size=size),
            clock,
            lambda tier, event: self.events.update([(tier, event)]),
            random=Random(7),
        )

    async def failure(self, caller: CachedCaller | SessionCaller) -> SidecarError:
        with pytest.raises(SidecarError) as caught:
            await self.cache.credentials(caller)
        return caught.value


def hourly(clock: FakeClock) -> Callable[[CachedCaller], Credentials]:
    """Credentials for an hour, new ones each time."""
    made = iter(range(1_000_000))
    return lambda caller: make_credentials(clock() + HOUR, name=str(next(made)))


def scripted(*, size: int = 100) -> tuple[Bench, ScriptedSource]:
    clock = FakeClock()
    source = ScriptedSource(hourly(clock))
    return Bench(source, clock, size=size), source


def held() -> tuple[Bench, HeldSource]:
    source = HeldSource()
    return Bench(source, FakeClock()), source


def failing(failure: Exception) -> Callable[[CachedCaller], Credentials]:
    def fail(caller: CachedCaller) -> Credentials:
        raise failure

    return fail
