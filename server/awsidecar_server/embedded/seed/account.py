"""The demo account of an emulator: seeded, or found complete from an earlier run."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from awsidecar_server.embedded.process import EmulatorFailed
from awsidecar_server.embedded.seed.cognito import grant_role, seed_identity_pool, seed_user_pool
from awsidecar_server.embedded.seed.dynamodb import seed_tables
from awsidecar_server.embedded.seed.iam import seed_member_role, seed_service_account
from awsidecar_server.identity.credentials import Credentials

REGION = "us-east-1"
# MiniStack's own root key; everyone has it who can reach the port, and the port is on loopback.
_ROOT = "test"


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """What a sidecar must know of the account."""

    service_account: Credentials
    user_pool_id: str
    client_id: str
    identity_pool_id: str


async def seed(endpoint_url: str) -> DemoAccount:
    """Brings the account into being; finds what an earlier run left, and completes it."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        async with AsyncExitStack() as closing, asyncio.TaskGroup() as tasks:
            clients = await _clients(closing, endpoint_url)
            tasks.create_task(seed_tables(clients["dynamodb"]))
            service_account = tasks.create_task(seed_service_account(clients["iam"]))
            pools = tasks.create_task(_seed_pools(clients))
    except ExceptionGroup as failures:
        if failures.split((BotoCoreError, ClientError, RuntimeError))[1] is not None:  # a defect of ours
            raise
        raise EmulatorFailed(f"the embedded AWS cannot be filled: {_first(failures)}") from failures
    user_pool_id, client_id, identity_pool_id = pools.result()
    return DemoAccount(service_account.result(), user_pool_id, client_id, identity_pool_id)


async def _seed_pools(clients: dict[str, Any]) -> tuple[str, str, str]:
    user_pool_id, client_id = await seed_user_pool(clients["cognito-idp"])
    provider = f"cognito-idp.{REGION}.amazonaws.com/{user_pool_id}"
    identity_pool_id = await seed_identity_pool(clients["cognito-identity"], provider, client_id)
    role_arn = await seed_member_role(clients["iam"], identity_pool_id)
    await grant_role(clients["cognito-identity"], identity_pool_id, role_arn)
    return user_pool_id, client_id, identity_pool_id


async def _clients(closing: AsyncExitStack, endpoint_url: str) -> dict[str, Any]:
    """Clients that heed nothing of the surroundings: no profile, no proxy, no FIPS, only what is said here."""
    from aiobotocore.config import AioConfig
    from aiobotocore.session import AioSession

    nowhere = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    session = AioSession(session_vars={"profile": (None, None, None, None), **nowhere})
    config = AioConfig(
        proxies={},
        use_fips_endpoint=False,
        use_dualstack_endpoint=False,
        ignore_configured_endpoint_urls=True,
        parameter_validation=False,
        retries={"mode": "standard", "total_max_attempts": 2},
        connect_timeout=5,
        read_timeout=20,
    )
    return {
        service: await closing.enter_async_context(
            session.create_client(
                service,
                region_name=REGION,
                endpoint_url=endpoint_url,
                aws_access_key_id=_ROOT,
                aws_secret_access_key=_ROOT,
                config=config,
            )
        )
        for service in ("dynamodb", "iam", "cognito-idp", "cognito-identity")
    }


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    failure: Exception = failures
    while isinstance(failure, ExceptionGroup):
        failure = failure.exceptions[0]
    return failure
