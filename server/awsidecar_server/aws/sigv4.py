"""AWS Signature Version 4 in the `Authorization` header of a POST, with signing keys that are derived once a day.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from hmac import digest

from awsidecar_server.aws.endpoints import Endpoint
from awsidecar_server.identity.credentials import Credentials

# Identities times regions and services that are in use at a time; one more costs four HMACs (some 5 us) at its next
# call. The keys of credentials that are no longer used, and of days that have passed, are the first to go.
_MAX_KEYS = 4096
# Hosts may each have a clock of their own (`clock_skew`).
_MAX_STAMPS = 64

JSON_1_0 = "application/x-amz-json-1.0"


class Signer:
    """Signs what the lane sends. Neither it nor an error of it shows a secret.

    It takes the values of headers as they are: in ASCII, and without spaces around or doubled.
    """

    def __init__(self, clock: Callable[[], float] = time.time, max_keys: int = _MAX_KEYS) -> None:
        self._clock = clock
        # The secret is a part of what a key is looked up by, so that nobody who knows only the access key id of
        # somebody else can come to a signature.
        self._key = lru_cache(max_keys)(_signing_key)
        self._stamp = lru_cache(_MAX_STAMPS)(_stamp)

    def __repr__(self) -> str:
        return f"<Signer {self._key.cache_info().currsize} keys>"

    def headers(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        body: bytes,
        *,
        target: str | None,
        content_type: str = JSON_1_0,
        offset_seconds: float = 0.0,
    ) -> dict[str, str]:
        """The headers of one attempt, the signature among them.

        `target` is the `X-Amz-Target`, which protocols other than AWS's JSON do without. `offset_seconds` is what
        AWS's clock is ahead of ours.
        """
        instant, date = self._stamp(int(self._clock() + offset_seconds))
        token = credentials.session_token
        headers = {"Host": endpoint.host, "Content-Type": content_type, "X-Amz-Date": instant}
        canonical = (
            f"POST\n{endpoint.path}\n\ncontent-type:{content_type}\nhost:{endpoint.host}\nx-amz-date:{instant}\n"
        )
        signed = "content-type;host;x-amz-date"
        if token:
            headers["X-Amz-Security-Token"] = token
            canonical += f"x-amz-security-token:{token}\n"
            signed += ";x-amz-security-token"
        if target:
            headers["X-Amz-Target"] = target
            canonical += f"x-amz-target:{target}\n"
            signed += ";x-amz-target"
        canonical += f"\n{signed}\n{sha256(body).hexdigest()}"
        region, service, access_key_id = endpoint.signing_region, endpoint.signing_name, credentials.access_key_id
        scope = f"{date}/{region}/{service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{instant}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        key = self._key(access_key_id, credentials.secret_access_key, date, region, service)
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={access_key_id}/{scope}, SignedHeaders={signed}, "
            f"Signature={digest(key, text.encode(), 'sha256').hex()}"
        )
        return headers


def _signing_key(access_key_id: str, secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = digest(key, part.encode(), "sha256")
    return key


def _stamp(second: int) -> tuple[str, str]:
    """`x-amz-date`, and the date of the signing scope."""
    instant = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
    return instant, instant[:8]
