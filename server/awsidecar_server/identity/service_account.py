"""The sidecar's own credentials: of its environment, or of the AWS SDK's default chain."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from awsidecar_server.errors import CredentialsUnavailable
from awsidecar_server.identity.credentials import Credentials, ServiceAccountCaller, Tier
from awsidecar_server.identity.refusals import no_service_account, unavailable

# Asks the default chain; None when no provider of it is present, and raises when one is present and fails.
AskChain = Callable[[], Awaitable[Credentials | None]]

# STS may be slow, and retried; past this the chain is taken to hang.
_CHAIN_TIMEOUT_SECONDS = 25.0


class _Crossing:
    """Lets the cancellation of the waiting task reach the work on the thread's loop."""

    def __init__(self) -> None:
        self._is_cancelled = threading.Event()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    async def run(self, work: Callable[[], Awaitable[Credentials | None]]) -> Credentials | None:
        """Runs on the thread. Publishes first and looks then, as `cancel` does it the other way round."""
        task = asyncio.current_task()
        assert task is not None
        self._running = asyncio.get_running_loop(), task
        if self._is_cancelled.is_set():
            return None
        async with asyncio.timeout(_CHAIN_TIMEOUT_SECONDS):
            return await work()

    def cancel(self) -> None:
        self._is_cancelled.set()
        if self._running is not None:
            loop, task = self._running
            # The loop is closed when the work has ended by itself.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)


async def _load_from_chain(region: str | None = None) -> Credentials | None:
    # Heavy and untyped, and not needed where the environment has credentials. A session of its own for each fetch:
    # botocore would refresh an older one inline, in the midst of a call, at times of its own choosing.
    session = importlib.import_module("aiobotocore.session").AioSession()
    if region is not None:
        # The STS of our region, of its partition: not the global one, and not that of a profile.
        session.set_config_variable("region", region)
        session.set_config_variable("sts_regional_endpoints", "regional")
    loaded = await session.get_credentials()
    if loaded is None:
        return None
    frozen = await loaded.get_frozen_credentials()
    # After freezing: credentials that are fetched lazily have no end before. botocore has no public name for it.
    expires_at = getattr(loaded, "_expiry_time", None)
    return Credentials(
        frozen.access_key,
        frozen.secret_key,
        frozen.token or None,
        _utc(expires_at) if expires_at else None,
        getattr(frozen, "account_id", None),
    )


async def ask_sdk_chain(load: AskChain = _load_from_chain) -> Credentials | None:
    """Asks the chain on an event loop in a thread of its own.

    The SDK reads files and service models and may run a `credential_process`, all of which would hold up the calls
    that are being served.
    """
    crossing = _Crossing()
    try:
        return await asyncio.to_thread(lambda: asyncio.run(crossing.run(load)))
    except asyncio.CancelledError:
        crossing.cancel()
        raise


class ServiceAccountSource:
    """The credential source of the service account.

    The given environment comes first. The chain behind it is botocore's (web identity, profiles, containers,
    instance metadata) and reads the process's own environment. It goes on to its next provider only where one is
    absent: one that is present and fails is an error, and so is one that was there before and is found no more.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        allowed: bool,
        *,
        region: str | None = None,
        ask_chain: AskChain | None = None,
    ) -> None:
        self._environment = environment
        self._allowed = allowed
        self._ask_chain = ask_chain or partial(ask_sdk_chain, partial(_load_from_chain, region))
        self._was_found = False

    async def fetch(self, _caller: ServiceAccountCaller) -> Credentials:
        if not self._allowed:
            raise no_service_account("this sidecar may not sign as itself")
        credentials = self._from_environment() or await self._from_chain()
        if credentials is None and self._was_found:
            # Instance metadata that does not answer looks the same as none at all.
            raise unavailable(Tier.SERVICE_ACCOUNT, "the service account is not found any more")
        if credentials is None:
            raise no_service_account("this sidecar has no service account")
        self._was_found = True
        return credentials

    def _from_environment(self) -> Credentials | None:
        """An empty variable counts as unset, as AWS's tools have it."""
        key_id = self._environment.get("AWS_ACCESS_KEY_ID")
        secret = self._environment.get("AWS_SECRET_ACCESS_KEY")
        if not key_id and not secret:
            return None
        if not key_id or not secret:
            missing = "AWS_SECRET_ACCESS_KEY" if key_id else "AWS_ACCESS_KEY_ID"
            raise unavailable(Tier.SERVICE_ACCOUNT, f"the environment lacks {missing}")
        token = self._environment.get("AWS_SESSION_TOKEN") or None
        account_id = self._environment.get("AWS_ACCOUNT_ID") or None
        return Credentials(key_id, secret, token, self._environment_expiry(), account_id)

    def _environment_expiry(self) -> datetime | None:
        text = self._environment.get("AWS_CREDENTIAL_EXPIRATION")
        if not text:
            return None
        try:
            return _utc(datetime.fromisoformat(text))
        except ValueError as exc:
            raise unavailable(Tier.SERVICE_ACCOUNT, "AWS_CREDENTIAL_EXPIRATION is not an ISO 8601 time") from exc

    async def _from_chain(self) -> Credentials | None:
        try:
            return await self._ask_chain()
        except CredentialsUnavailable:
            raise
        except Exception as exc:
            # The name alone: what the SDK says may quote the output of a program, a URL or an ARN.
            raise unavailable(
                Tier.SERVICE_ACCOUNT, f"the AWS SDK's credential chain failed with {type(exc).__name__}"
            ) from exc


def _utc(time: datetime) -> datetime:
    """A time without a zone is UTC: AWS writes no other."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
