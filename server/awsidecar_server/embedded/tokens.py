"""ID tokens of the embedded Cognito, as its demo users get them."""

from __future__ import annotations

import json
import shlex

_TARGET = "AWSCognitoIdentityProviderService.InitiateAuth"
_CONTENT_TYPE = "application/x-amz-json-1.1"
_TIMEOUT_SECONDS = 10.0


class TokenRefused(Exception):
    """Cognito gave no ID token; one line, in its words."""


async def id_token(endpoint_url: str, client_id: str, username: str, password: str) -> str:
    """Signs a user in, and returns the ID token."""
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)) as http,
            http.post(
                endpoint_url,
                data=_sign_in(client_id, username, password),
                headers={"Content-Type": _CONTENT_TYPE, "X-Amz-Target": _TARGET},
            ) as response,
        ):
            answer = json.loads(await response.read())
    except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
        raise TokenRefused(f"no Cognito answers at {endpoint_url}") from exc
    try:
        token: str = answer["AuthenticationResult"]["IdToken"]
    except (KeyError, TypeError) as exc:
        raise TokenRefused(_refusal(answer)) from exc
    return token


def curl_command(endpoint_url: str, client_id: str, username: str, password: str) -> str:
    """The same as a line for a shell, which prints the token."""
    words = [
        "curl",
        "-s",
        "--noproxy",
        "*",
        endpoint_url,
        "-H",
        f"Content-Type: {_CONTENT_TYPE}",
        "-H",
        f"X-Amz-Target: {_TARGET}",
    ]
    words += ["-d", _sign_in(client_id, username, password)]
    return shlex.join(words) + r""" | sed -E 's/.*"IdToken": *"([^"]*)".*/\1/'"""


def _sign_in(client_id: str, username: str, password: str) -> str:
    parameters = {"USERNAME": username, "PASSWORD": password}
    return json.dumps({"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": client_id, "AuthParameters": parameters})


def _refusal(answer: object) -> str:
    if isinstance(answer, dict) and "__type" in answer:
        return f"{answer['__type']}: {answer.get('message', 'no reason given')}"
    if isinstance(answer, dict) and "ChallengeName" in answer:
        return f"Cognito wants {answer['ChallengeName']} first"
    return "Cognito's answer holds no ID token"
