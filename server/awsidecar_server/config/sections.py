"""The sections of the configuration tree: each leaf is declared once, and is frozen."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from awsidecar_server.config import readers as read
from awsidecar_server.config.setting import setting

_MIB = 1024 * 1024
# Of the partitions that have their own, by the prefix of their regions (botocore, partitions.json).
_DNS_SUFFIXES = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
    "eu-isoe-": "cloud.adc-e.uk",
}


@dataclass(frozen=True, kw_only=True)
class ListenConfig:
    """Where gRPC is served, and its bounds."""

    host: str = setting(
        "AWSIDECAR_LISTEN_HOST", read.host, "127.0.0.1", "address to serve gRPC on", example="127.0.0.1"
    )
    port: int = setting(
        "AWSIDECAR_LISTEN_PORT", read.port, 50051, "port to serve gRPC on; 0 picks a free one", example="50051"
    )
    unix_socket: str | None = setting(
        "AWSIDECAR_LISTEN_UNIX_SOCKET",
        read.socket_path,
        None,
        "path of a Unix socket to serve gRPC on, besides",
        example="/run/awsidecar.sock",
    )
    max_message_bytes: int = setting(
        "AWSIDECAR_LISTEN_MAX_MESSAGE_BYTES",
        read.whole(64 * 1024, 256 * _MIB),
        32 * _MIB,
        "largest request and reply, in bytes",
        example="33554432",
    )
    max_in_flight: int = setting(
        "AWSIDECAR_LISTEN_MAX_IN_FLIGHT",
        read.whole(1, 100_000),
        2000,
        "calls served at once; one more is refused with RESOURCE_EXHAUSTED",
        example="2000",
    )
    max_in_flight_bytes: int = setting(
        "AWSIDECAR_LISTEN_MAX_IN_FLIGHT_BYTES",
        read.whole(_MIB, 64 * 1024 * _MIB),
        512 * _MIB,
        "bytes of the requests served at once; more are refused with RESOURCE_EXHAUSTED",
        example="536870912",
    )
    allow_network: bool = setting(
        "AWSIDECAR_LISTEN_ALLOW_NETWORK",
        read.flag,
        False,
        "let the address be one that others on the network reach, in plaintext",
        example="true",
    )

    workers: int = setting(
        "AWSIDECAR_LISTEN_WORKERS",
        read.whole(1, 64),
        1,
        "processes that share the port (--workers); the other limits of this section hold for each",
        example="4",
    )

    @property
    def is_loopback(self) -> bool:
        """True when only this host (or this pod) can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, kw_only=True)
class AdminConfig:
    """The operations HTTP server: `/metrics`, `/livez`, `/readyz`."""

    host: str = setting(
        "AWSIDECAR_ADMIN_HOST", read.host, "127.0.0.1", "address of /metrics, /livez, /readyz", example="0.0.0.0"
    )
    port: int = setting(
        "AWSIDECAR_ADMIN_PORT",
        read.port,
        9464,
        "port of /metrics, /livez, /readyz; 0 picks a free one",
        example="9464",
    )


@dataclass(frozen=True, kw_only=True)
class AwsConfig:
    """Where AWS is and how it is called."""

    region: str | None = setting(
        "AWS_REGION",
        read.region,
        None,
        "AWS region (AWS_DEFAULT_REGION is read, too)",
        example="eu-central-1",
        alias="AWS_DEFAULT_REGION",
    )
    allowed_regions: tuple[str, ...] = setting(
        "AWSIDECAR_AWS_ALLOWED_REGIONS",
        read.regions,
        (),
        "regions that a call may choose with x-awsidecar-region, comma separated",
        example="eu-central-1,us-east-1",
    )
    endpoint_url: str | None = setting(
        "AWS_ENDPOINT_URL", read.url, None, "endpoint of all AWS services", example="http://127.0.0.1:4566"
    )
    endpoint_url_dynamodb: str | None = setting(
        "AWS_ENDPOINT_URL_DYNAMODB", read.url, None, "endpoint of DynamoDB", example="http://127.0.0.1:8000"
    )
    endpoint_url_dynamodb_streams: str | None = setting(
        "AWS_ENDPOINT_URL_DYNAMODB_STREAMS",
        read.url,
        None,
        "endpoint of DynamoDB Streams",
        example="http://127.0.0.1:8000",
    )
    endpoint_url_sts: str | None = setting(
        "AWS_ENDPOINT_URL_STS", read.url, None, "endpoint of STS", example="http://127.0.0.1:4566"
    )
    endpoint_url_cognito_identity: str | None = setting(
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY",
        read.url,
        None,
        "endpoint of Cognito identity pools",
        example="http://127.0.0.1:4566",
    )
    use_fips: bool = setting("AWS_USE_FIPS_ENDPOINT", read.flag, False, "use FIPS endpoints", example="true")
    use_dualstack: bool = setting(
        "AWS_USE_DUALSTACK_ENDPOINT", read.flag, False, "use dual-stack endpoints", example="true"
    )
    ca_bundle: str | None = setting(
        "AWS_CA_BUNDLE",
        read.ca_bundle,
        None,
        "CA certificates (PEM) to trust instead of the default",
        example="/etc/ssl/ca.pem",
    )
    pool_size: int = setting(
        "AWSIDECAR_AWS_POOL_SIZE",
        read.whole(1, 10_000),
        100,
        "connections per AWS service, region and endpoint",
        example="100",
    )
    max_connections: int = setting(
        "AWSIDECAR_AWS_MAX_CONNECTIONS",
        read.whole(1, 100_000),
        500,
        "connections to AWS in all, which its endpoints share when there are no more",
        example="500",
    )
    connect_timeout_seconds: float = setting(
        "AWSIDECAR_AWS_CONNECT_TIMEOUT_SECONDS",
        read.seconds(0.05, 60),
        3.0,
        "longest wait for a connection",
        example="3",
    )
    read_timeout_seconds: float = setting(
        "AWSIDECAR_AWS_READ_TIMEOUT_SECONDS",
        read.seconds(0.05, 900),
        60.0,
        "longest wait between bytes of an answer",
        example="60",
    )
    attempt_timeout_seconds: float = setting(
        "AWSIDECAR_AWS_ATTEMPT_TIMEOUT_SECONDS",
        read.seconds(0.05, 3600),
        120.0,
        "longest time of one request and its whole answer, whatever the caller's deadline",
        example="120",
    )
    account_id_endpoint_mode: str = setting(
        "AWS_ACCOUNT_ID_ENDPOINT_MODE",
        read.one_of("preferred", "disabled", "required"),
        "preferred",
        "use the endpoints of an account: preferred (where it is known), disabled or required",
        example="disabled",
    )
    disable_clock_skew_correction: bool = setting(
        "AWS_DISABLE_CLOCK_SKEW_CORRECTION",
        read.flag,
        False,
        "sign with this host's time even when AWS's clock differs",
        example="true",
    )
    lane: str = setting(
        "AWSIDECAR_AWS_LANE",
        read.one_of("json", "sdk"),
        "json",
        "how DynamoDB is called: json (the sidecar's own, lean) or sdk (aioboto3, the reference)",
        example="sdk",
    )
    max_attempts: int = setting(
        "AWSIDECAR_AWS_MAX_ATTEMPTS", read.whole(1, 10), 4, "tries of one call, the first included", example="4"
    )


@dataclass(frozen=True, kw_only=True)
class CognitoConfig:
    """The user pool whose ID tokens are taken, and the identity pool that gives credentials for them."""

    user_pool_id: str | None = setting(
        "COGNITO_USER_POOL_ID", read.user_pool_id, None, "Cognito user pool", example="us-east-1_AbCdEfGhI"
    )
    identity_pool_id: str | None = setting(
        "COGNITO_IDENTITY_POOL_ID",
        read.identity_pool_id,
        None,
        "Cognito identity pool",
        example="us-east-1:12345678-1234-1234-1234-123456789012",
    )
    client_ids: tuple[str, ...] = setting(
        "COGNITO_CLIENT_ID",
        read.words,
        (),
        "app client ids that a token may be for, comma separated",
        example="1h57kf5cpq17m0eml12EXAMPLE",
    )
    jwks_url: str | None = setting(
        "AWSIDECAR_COGNITO_JWKS_URL",
        read.url,
        None,
        "where the pool's keys are, for an emulator only: refused unless Cognito's endpoint is an emulator's, too",
        example="http://127.0.0.1:4566/us-east-1_x/.well-known/jwks.json",
    )

    @property
    def enabled(self) -> bool:
        return self.user_pool_id is not None

    @property
    def issuer(self) -> str:
        """The `iss` of the pool's tokens (developer guide, "Verifying a JSON web token")."""
        assert self.user_pool_id is not None
        region = self.user_pool_id.split("_", 1)[0]
        suffix = next((dns for prefix, dns in _DNS_SUFFIXES.items() if region.startswith(prefix)), "amazonaws.com")
        return f"https://cognito-idp.{region}.{suffix}/{self.user_pool_id}"

    @property
    def login_key(self) -> str:
        """The key of the pool's tokens in a `Logins` map."""
        return self.issuer.removeprefix("https://")

    @property
    def identity_region(self) -> str:
        assert self.identity_pool_id is not None
        return self.identity_pool_id.split(":", 1)[0]


@dataclass(frozen=True, kw_only=True)
class IdentityConfig:
    """Sessions, and what each tier may do."""

    service_account: bool = setting(
        "AWSIDECAR_IDENTITY_SERVICE_ACCOUNT",
        read.flag,
        True,
        "let calls without a session be signed as the sidecar itself",
        example="false",
    )
    vending: str = setting(
        "AWSIDECAR_IDENTITY_VENDING",
        read.one_of("off", "sessions", "all"),
        "sessions",
        "who may read credentials by GetCredentials: off, sessions, or all (the service account, too)",
        example="off",
    )
    max_sessions: int = setting(
        "AWSIDECAR_IDENTITY_MAX_SESSIONS",
        read.whole(1, 1_000_000),
        20_000,
        "sessions open at once",
        example="20000",
    )
    session_max_age_seconds: float = setting(
        "AWSIDECAR_IDENTITY_SESSION_MAX_AGE_SECONDS",
        read.seconds(60, 7 * 86_400),
        43_200.0,
        "longest life of a session",
        example="43200",
    )
    cache_size: int = setting(
        "AWSIDECAR_IDENTITY_CACHE_SIZE",
        read.whole(1, 1_000_000),
        20_000,
        "identities whose credentials are cached",
        example="20000",
    )
