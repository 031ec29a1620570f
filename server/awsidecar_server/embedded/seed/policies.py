"""The demo's IAM policies: what the sidecar itself may do, and what a signed-in member may."""

from __future__ import annotations

from typing import Any

ACCOUNT = "000000000000"
SERVICE_ACCOUNT = "awsidecar-service-account"
MEMBER = "awsidecar-member"

Policy = dict[str, Any]


def _document(*statements: dict[str, Any]) -> Policy:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(sid: str, actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}


def _tables(*names: str) -> list[str]:
    arns = [f"arn:aws:dynamodb:*:{ACCOUNT}:table/{name}" for name in names]
    return arns + [f"{arn}/index/*" for arn in arns]


SERVICE_ACCOUNT_POLICY = _document(
    _allow("AllOfDynamoDb", ["dynamodb:*"], ["*"]),
    _allow("ItsOwnRole", ["sts:AssumeRole", "sts:TagSession"], [f"arn:aws:iam::{ACCOUNT}:role/{SERVICE_ACCOUNT}"]),
)

# No Scan of people, no change of anybody but in user-data, nothing that changes a table.
MEMBER_POLICY = _document(
    _allow(
        "Read",
        ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:DescribeTable"],
        _tables("users", "user-data", "applications"),
    ),
    _allow("ScanApplications", ["dynamodb:Scan"], _tables("applications")),
    _allow(
        "WriteUserData",
        [
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            "dynamodb:DeleteItem",
            "dynamodb:BatchWriteItem",
            "dynamodb:ConditionCheckItem",
        ],
        _tables("user-data"),
    ),
)

# The user of the same name may take on the role.
SERVICE_ACCOUNT_TRUST = _document(
    {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/{SERVICE_ACCOUNT}"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }
)


def member_trust(identity_pool_id: str) -> Policy:
    """Only authenticated identities of the pool become members."""
    return _document(
        {
            "Effect": "Allow",
            "Principal": {"Federated": "cognito-identity.amazonaws.com"},
            "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"],
            "Condition": {
                "StringEquals": {"cognito-identity.amazonaws.com:aud": identity_pool_id},
                "ForAnyValue:StringLike": {"cognito-identity.amazonaws.com:amr": "authenticated"},
            },
        }
    )
