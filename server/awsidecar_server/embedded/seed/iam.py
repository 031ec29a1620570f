"""Puts the demo's IAM user and roles into an emulator. Policies are written anew at each start."""

from __future__ import annotations

import json
from typing import Any

from awsidecar_server.embedded.seed.policies import (
    MEMBER,
    MEMBER_POLICY,
    SERVICE_ACCOUNT,
    SERVICE_ACCOUNT_POLICY,
    SERVICE_ACCOUNT_TRUST,
    Policy,
    member_trust,
)
from awsidecar_server.identity.credentials import Credentials


async def seed_service_account(client: Any) -> Credentials:
    """The user the sidecar signs as, and a role of the same name that it may assume. Its key is a new one."""
    try:
        await client.create_user(UserName=SERVICE_ACCOUNT)
    except client.exceptions.EntityAlreadyExistsException:
        # A secret is told once, when its key is made: the key of an earlier run is of no use to anyone.
        known = await client.list_access_keys(UserName=SERVICE_ACCOUNT)
        for key in known["AccessKeyMetadata"]:
            await client.delete_access_key(UserName=SERVICE_ACCOUNT, AccessKeyId=key["AccessKeyId"])
    await client.put_user_policy(
        UserName=SERVICE_ACCOUNT, PolicyName=SERVICE_ACCOUNT, PolicyDocument=json.dumps(SERVICE_ACCOUNT_POLICY)
    )
    await _put_role(client, SERVICE_ACCOUNT, trust=SERVICE_ACCOUNT_TRUST, policy=SERVICE_ACCOUNT_POLICY)
    key = (await client.create_access_key(UserName=SERVICE_ACCOUNT))["AccessKey"]
    return Credentials(access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])


async def seed_member_role(client: Any, identity_pool_id: str) -> str:
    """The role of people who signed in; returns its ARN."""
    return await _put_role(client, MEMBER, trust=member_trust(identity_pool_id), policy=MEMBER_POLICY)


async def _put_role(client: Any, name: str, *, trust: Policy, policy: Policy) -> str:
    document = json.dumps(trust)
    try:
        await client.create_role(RoleName=name, AssumeRolePolicyDocument=document)
    except client.exceptions.EntityAlreadyExistsException:
        await client.update_assume_role_policy(RoleName=name, PolicyDocument=document)
    await client.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    role = await client.get_role(RoleName=name)
    arn: str = role["Role"]["Arn"]
    return arn
