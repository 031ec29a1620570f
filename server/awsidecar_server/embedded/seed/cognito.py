"""Puts the demo's Cognito user pool, app client, people and identity pool into an emulator, or finds them there."""

from __future__ import annotations

import contextlib
from typing import Any

from awsidecar_server.embedded.seed.people import PEOPLE

_NAME = "awsidecar-demo"
_PAGE = 60  # pools, the most that one listing gives


async def seed_user_pool(client: Any) -> tuple[str, str]:
    """The pool with its people in it; returns its id and its app client's."""
    pool_id = await _find(client, "list_user_pools", "UserPools", name="Name", key="Id")
    if pool_id is None:
        created = await client.create_user_pool(
            PoolName=_NAME,
            UsernameAttributes=["email"],
            AutoVerifiedAttributes=["email"],
            Schema=[{"Name": "orgId", "AttributeDataType": "String", "Mutable": True}],
            AdminCreateUserConfig={"AllowAdminCreateUserOnly": True},
        )
        pool_id = created["UserPool"]["Id"]
    await _seed_people(client, pool_id)
    return pool_id, await _seed_app_client(client, pool_id)


async def seed_identity_pool(client: Any, provider: str, client_id: str) -> str:
    """The pool that gives credentials for the user pool's tokens; returns its id."""
    pool_id = await _find(
        client, "list_identity_pools", "IdentityPools", name="IdentityPoolName", key="IdentityPoolId"
    )
    if pool_id is None:
        created = await client.create_identity_pool(
            IdentityPoolName=_NAME,
            AllowUnauthenticatedIdentities=False,
            CognitoIdentityProviders=[
                {"ProviderName": provider, "ClientId": client_id, "ServerSideTokenCheck": False}
            ],
        )
        pool_id = str(created["IdentityPoolId"])
    return pool_id


async def grant_role(client: Any, identity_pool_id: str, role_arn: str) -> None:
    await client.set_identity_pool_roles(IdentityPoolId=identity_pool_id, Roles={"authenticated": role_arn})


async def _seed_people(client: Any, pool_id: str) -> None:
    for person in PEOPLE:
        with contextlib.suppress(client.exceptions.UsernameExistsException):
            await client.admin_create_user(
                UserPoolId=pool_id,
                Username=person.username,
                MessageAction="SUPPRESS",
                UserAttributes=[
                    {"Name": "email", "Value": person.username},
                    {"Name": "email_verified", "Value": "true"},
                    {"Name": "custom:orgId", "Value": person.organisation},
                ],
            )
        # Confirms the user, too; and again the known password, should somebody have changed it.
        await client.admin_set_user_password(
            UserPoolId=pool_id, Username=person.username, Password=person.password, Permanent=True
        )


async def _seed_app_client(client: Any, pool_id: str) -> str:
    listed = await client.list_user_pool_clients(UserPoolId=pool_id, MaxResults=_PAGE)
    for known in listed["UserPoolClients"]:
        if known["ClientName"] == _NAME:
            return str(known["ClientId"])
    created = await client.create_user_pool_client(
        UserPoolId=pool_id,
        ClientName=_NAME,
        GenerateSecret=False,
        ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH", "ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
    )
    return str(created["UserPoolClient"]["ClientId"])


async def _find(client: Any, operation: str, members: str, *, name: str, key: str) -> str | None:
    async for page in client.get_paginator(operation).paginate(MaxResults=_PAGE):
        for pool in page[members]:
            if pool[name] == _NAME:
                return str(pool[key])
    return None
