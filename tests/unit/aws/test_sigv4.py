"""Signatures are those of botocore, whatever is signed; and secrets stay in."""

from __future__ import annotations

import calendar
import time
from typing import Any

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SdkCredentials
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.aws.endpoints import Endpoint, EndpointResolver
from awsidecar_server.aws.sigv4 import JSON_1_0, Signer
from awsidecar_server.config import AwsConfig
from awsidecar_server.identity.credentials import Credentials

NOW = 1_893_499_200.75
TARGET = "DynamoDB_20120810.GetItem"
ENDPOINT = EndpointResolver(AwsConfig()).resolve("dynamodb", "eu-central-1")
WORD = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


def signer(now: float = NOW, **bounds: int) -> Signer:
    return Signer(lambda: now, **bounds)


def reference(
    endpoint: Endpoint, credentials: Credentials, body: bytes, target: str | None, second: int
) -> dict[str, str]:
    """The headers that botocore adds and signs."""
    headers = {"Content-Type": JSON_1_0} | ({"X-Amz-Target": target} if target else {})
    request = AWSRequest(method="POST", url=endpoint.url, data=body, headers=headers)
    keys = SdkCredentials(credentials.access_key_id, credentials.secret_access_key, credentials.session_token)
    auth = SigV4Auth(keys, endpoint.signing_name, endpoint.signing_region)
    request.context["timestamp"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
    auth._modify_request_before_signing(request)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    auth._inject_signature_to_request(request, auth.signature(text, request))
    return dict(request.headers.items())


@given(
    body=st.binary(max_size=400),
    key=WORD,
    secret=WORD,
    token=st.none() | st.just("") | WORD,
    target=st.none() | st.just(TARGET),
    host=st.from_regex(
        r"https?://[A-Za-z0-9-]{1,30}(\.[a-z]{2,5})?(:(80|443|8000))?(/[a-z./ ~%]{0,12})?", fullmatch=True
    ),
    region=st.from_regex(r"[a-z]{2}-[a-z]{4,9}-[1-9]", fullmatch=True),
    now=st.floats(0, 4_000_000_000),
    offset=st.floats(-86_400, 86_400),
)
def test_headers_are_those_of_botocore(
    body: bytes,
    key: str,
    secret: str,
    token: str | None,
    target: str | None,
    host: str,
    region: str,
    now: float,
    offset: float,
) -> None:
    endpoint = EndpointResolver(AwsConfig(endpoint_url=host)).resolve("dynamodb", region)
    credentials = Credentials(key, secret, token)
    headers = signer(now).headers(endpoint, credentials, body, target=target, offset_seconds=offset)
    assert headers.pop("Host") == endpoint.host
    assert headers == reference(endpoint, credentials, body, target, int(now + offset))


def test_request_of_a_botocore_client_is_signed_the_same() -> None:
    """Nothing else that the SDK sends is signed."""
    session = botocore.session.Session()
    client = session.create_client(
        "dynamodb",
        region_name="eu-central-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        aws_session_token="token",
    )
    sent: list[Any] = []

    def stop(request: Any, **_: Any) -> None:
        sent.append(request)
        raise InterruptedError

    client.meta.events.register("before-send", stop)
    with pytest.raises(InterruptedError):
        client.get_item(TableName="films", Key={"id": {"S": "1"}})
    theirs = {name: value if isinstance(value, str) else value.decode() for name, value in sent[0].headers.items()}
    then = calendar.timegm(time.strptime(theirs["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
    credentials = Credentials("AKIDEXAMPLE", "secret", "token")
    ours = signer(then).headers(ENDPOINT, credentials, sent[0].body, target=TARGET)
    del ours["Host"]  # the SDK leaves it to its HTTP client
    assert ours.items() <= theirs.items()


def test_only_the_secret_makes_the_signature() -> None:
    """A cached key is of no use to who knows the access key id and not the secret."""
    signs = signer()
    ours, theirs = (
        signs.headers(ENDPOINT, Credentials("AKIDEXAMPLE", secret), b"{}", target=TARGET)["Authorization"]
        for secret in ("secret", "guess")
    )
    assert ours.rpartition("=")[0] == theirs.rpartition("=")[0]
    assert ours != theirs


def test_key_of_yesterday_does_not_sign_today() -> None:
    now = [NOW]
    signs = Signer(lambda: now[0])
    credentials = Credentials("AKIDEXAMPLE", "secret")
    signs.headers(ENDPOINT, credentials, b"{}", target=TARGET)
    now[0] += 86_400
    headers = signs.headers(ENDPOINT, credentials, b"{}", target=TARGET)
    assert (
        headers["Authorization"]
        == signer(now[0]).headers(ENDPOINT, credentials, b"{}", target=TARGET)["Authorization"]
    )
    assert repr(signs) == "<Signer 2 keys>"


def test_keys_are_bounded() -> None:
    signs = signer(max_keys=2)
    for number in range(5):
        signs.headers(ENDPOINT, Credentials(f"AKID{number}", "secret"), b"{}", target=TARGET)
    assert repr(signs) == "<Signer 2 keys>"


def test_no_secret_shows() -> None:
    signs = signer()
    headers = signs.headers(ENDPOINT, Credentials("AKIDEXAMPLE", "canary-secret", "token"), b"{}", target=TARGET)
    assert "canary" not in f"{signs!r} {vars(signs)!r} {headers!r}"
