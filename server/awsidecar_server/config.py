"""The configuration: one frozen tree, read from the environment and an optional file. Reading it binds nothing.

Each leaf is declared once, by `setting(...)`: its environment variable, how its text is read, its default, and the
help that `awsidecar serve --help` prints. AWS's own variables keep AWS's names; ours are `AWSIDECAR_<SECTION>_<FIELD>`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from awsidecar_server import readers as read

EX_USAGE = 64  # sysexits.h: the command was used incorrectly
_MIB = 1024 * 1024
# What the endpoints of AWS end with ("dnsSuffix" and "dualStackDnsSuffix" of the partitions of the AWS SDKs).
_AWS_DOMAINS = (
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "api.amazonwebservices.com.cn",
    "api.amazonwebservices.eu",
    "api.aws",
)
# A message this much over the limit still arrives, and is answered with a typed error instead of gRPC's own.
MESSAGE_HEADROOM_BYTES = 4 * _MIB


class BadConfig(Exception):
    """One line that names the variable, what is wrong with its value, and an example."""


class Setting(NamedTuple):
    """How one leaf of the tree is read."""

    env: str
    parse: Callable[[str], Any]
    help: str
    example: str
    section: str = ""
    name: str = ""
    default: Any = None

    @property
    def file_key(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that may name it, the first that does wins."""
        return (self.env, "AWS_DEFAULT_REGION") if self.env == "AWS_REGION" else (self.env,)


def setting(env: str, parse: Callable[[str], Any], default: Any, help: str, *, example: str) -> Any:
    """Declares a leaf. `default` is its value when neither the environment nor the file names it."""
    return dataclasses.field(default=default, metadata={"setting": Setting(env, parse, help, example)})


@dataclass(frozen=True, kw_only=True)
class ListenConfig:
    """Where gRPC is served, and its bounds."""

    host: str = setting("AWSIDECAR_LISTEN_HOST", read.text, "127.0.0.1", "address to serve gRPC on", example="127.0.0.1")
    port: int = setting("AWSIDECAR_LISTEN_PORT", read.port, 50051, "port to serve gRPC on; 0 picks a free one", example="50051")
    unix_socket: str | None = setting(
        "AWSIDECAR_LISTEN_UNIX_SOCKET", read.text, None, "path of a Unix socket to serve gRPC on, besides", example="/run/awsidecar.sock"
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

    host: str = setting("AWSIDECAR_ADMIN_HOST", read.text, "127.0.0.1", "address of /metrics, /livez, /readyz", example="0.0.0.0")
    port: int = setting("AWSIDECAR_ADMIN_PORT", read.port, 9464, "port of /metrics, /livez, /readyz; 0 picks a free one", example="9464")


@dataclass(frozen=True, kw_only=True)
class AwsConfig:
    """Where AWS is and how it is called."""

    region: str | None = setting("AWS_REGION", read.region, None, "AWS region (AWS_DEFAULT_REGION is read, too)", example="eu-central-1")
    allowed_regions: tuple[str, ...] = setting(
        "AWSIDECAR_AWS_ALLOWED_REGIONS",
        read.regions,
        (),
        "regions that a call may choose with x-awsidecar-region, comma separated",
        example="eu-central-1,us-east-1",
    )
    endpoint_url: str | None = setting("AWS_ENDPOINT_URL", read.url, None, "endpoint of all AWS services", example="http://127.0.0.1:4566")
    endpoint_url_dynamodb: str | None = setting(
        "AWS_ENDPOINT_URL_DYNAMODB", read.url, None, "endpoint of DynamoDB", example="http://127.0.0.1:8000"
    )
    endpoint_url_dynamodb_streams: str | None = setting(
        "AWS_ENDPOINT_URL_DYNAMODB_STREAMS", read.url, None, "endpoint of DynamoDB Streams", example="http://127.0.0.1:8000"
    )
    endpoint_url_sts: str | None = setting("AWS_ENDPOINT_URL_STS", read.url, None, "endpoint of STS", example="http://127.0.0.1:4566")
    endpoint_url_cognito_identity: str | None = setting(
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY", read.url, None, "endpoint of Cognito identity pools", example="http://127.0.0.1:4566"
    )
    use_fips: bool = setting("AWS_USE_FIPS_ENDPOINT", read.flag, False, "use FIPS endpoints", example="true")
    use_dualstack: bool = setting("AWS_USE_DUALSTACK_ENDPOINT", read.flag, False, "use dual-stack endpoints", example="true")
    account_id_endpoint_mode: str = setting("AWS_ACCOUNT_ID_ENDPOINT_MODE", read.one_of("preferred", "disabled", "required"), "preferred", "use the endpoints of an account: preferred (where it is known), disabled or required", example="disabled")
    disable_clock_skew_correction: bool = setting("AWS_DISABLE_CLOCK_SKEW_CORRECTION", read.flag, False, "sign with this host's time even when AWS's clock differs", example="true")
    ca_bundle: str | None = setting("AWS_CA_BUNDLE", read.file, None, "CA certificates (PEM) to trust instead of the default", example="/etc/ssl/ca.pem")
    pool_size: int = setting(
        "AWSIDECAR_AWS_POOL_SIZE", read.whole(1, 10_000), 100, "connections per AWS service, region and endpoint", example="100"
    )
    connect_timeout_seconds: float = setting(
        "AWSIDECAR_AWS_CONNECT_TIMEOUT_SECONDS", read.seconds(0.05, 60), 3.0, "longest wait for a connection", example="3"
    )
    read_timeout_seconds: float = setting(
        "AWSIDECAR_AWS_READ_TIMEOUT_SECONDS", read.seconds(0.05, 900), 60.0, "longest wait between bytes of an answer", example="60"
    )
    max_attempts: int = setting("AWSIDECAR_AWS_MAX_ATTEMPTS", read.whole(1, 10), 4, "tries of one call, the first included", example="4")


@dataclass(frozen=True, kw_only=True)
class CognitoConfig:
    """The user pool whose ID tokens are taken, and the identity pool that gives credentials for them."""

    user_pool_id: str | None = setting("COGNITO_USER_POOL_ID", read.user_pool_id, None, "Cognito user pool", example="us-east-1_AbCdEfGhI")
    identity_pool_id: str | None = setting(
        "COGNITO_IDENTITY_POOL_ID",
        read.identity_pool_id,
        None,
        "Cognito identity pool",
        example="us-east-1:12345678-1234-1234-1234-123456789012",
    )
    client_ids: tuple[str, ...] = setting(
        "COGNITO_CLIENT_ID", read.words, (), "app client ids that a token may be for, comma separated", example="1h57kf5cpq17m0eml12EXAMPLE"
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
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
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
        "AWSIDECAR_IDENTITY_SERVICE_ACCOUNT", read.flag, True, "let calls without a session be signed as the sidecar itself", example="false"
    )
    vending: str = setting(
        "AWSIDECAR_IDENTITY_VENDING",
        read.one_of("off", "sessions", "all"),
        "sessions",
        "who may read credentials by GetCredentials: off, sessions, or all (the service account, too)",
        example="off",
    )
    max_sessions: int = setting("AWSIDECAR_IDENTITY_MAX_SESSIONS", read.whole(1, 1_000_000), 20_000, "sessions open at once", example="20000")
    session_max_age_seconds: float = setting(
        "AWSIDECAR_IDENTITY_SESSION_MAX_AGE_SECONDS", read.seconds(60, 7 * 86_400), 43_200.0, "longest life of a session", example="43200"
    )
    cache_size: int = setting("AWSIDECAR_IDENTITY_CACHE_SIZE", read.whole(1, 1_000_000), 20_000, "identities whose credentials are cached", example="20000")


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """Logs go to standard error."""

    level: str = setting("AWSIDECAR_LOG_LEVEL", read.one_of("debug", "info", "warning", "error"), "info", "debug, info, warning or error", example="info")
    format: str = setting("AWSIDECAR_LOG_FORMAT", read.one_of("json", "console"), "json", "json or console", example="console")


@dataclass(frozen=True, kw_only=True)
class ShutdownConfig:
    """What happens on SIGTERM."""

    grace_seconds: float = setting(
        "AWSIDECAR_SHUTDOWN_GRACE_SECONDS", read.seconds(0, 3600), 25.0, "time that accepted calls have to finish", example="25"
    )


@dataclass(frozen=True, kw_only=True)
class EmbeddedConfig:
    """The embedded local AWS, for development and tests."""

    enabled: bool = setting("AWSIDECAR_EMBEDDED_ENABLED", read.flag, False, "start a local AWS and use it (--embedded)", example="true")
    data_dir: str | None = setting("AWSIDECAR_EMBEDDED_DATA_DIR", read.text, None, "keep its data here between runs (--data-dir)", example="./data")
    python: str | None = setting(
        "AWSIDECAR_EMBEDDED_PYTHON", read.text, None, "the Python that has ministack installed", example=".venv-embedded/bin/python"
    )


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole configuration; its fields are the architecture."""

    listen: ListenConfig = ListenConfig()
    admin: AdminConfig = AdminConfig()
    aws: AwsConfig = AwsConfig()
    cognito: CognitoConfig = CognitoConfig()
    identity: IdentityConfig = IdentityConfig()
    log: LogConfig = LogConfig()
    shutdown: ShutdownConfig = ShutdownConfig()
    embedded: EmbeddedConfig = EmbeddedConfig()

    @classmethod
    def load(cls, environment: Mapping[str, str], file: str | None = None) -> Self:
        """Reads and checks everything; raises `BadConfig` for the first value that cannot be used.

        The environment wins over the file (TOML, a table per section). An empty variable counts as unset, as AWS's
        tools have it.
        """
        path = file or environment.get("AWSIDECAR_CONFIG_FILE") or None
        from_file = _read_file(path) if path else {}
        sections: dict[str, dict[str, Any]] = {}
        for leaf in settings():
            in_file = from_file.pop(leaf.file_key, None)
            named = next((name for name in leaf.variables if environment.get(name)), None)
            text = environment[named] if named else in_file
            if text:
                source = named or f"{path}: {leaf.file_key} ({leaf.env})"
                sections.setdefault(leaf.section, {})[leaf.name] = _parse(leaf, text, source)
        if from_file:
            raise BadConfig(f"{path}: unknown setting {min(from_file)!r}; `awsidecar serve --help` lists all")
        config = cls(**{name: _section_type(name)(**values) for name, values in sections.items()})
        _check_together(config, environment)
        return config


def settings() -> Iterator[Setting]:
    """Every leaf of the tree, in order."""
    for section in dataclasses.fields(Config):
        for leaf in dataclasses.fields(_section_type(section.name)):
            declared: Setting = leaf.metadata["setting"]
            yield declared._replace(section=section.name, name=leaf.name, default=leaf.default)


def _section_type(name: str) -> type[Any]:
    default = Config.__dataclass_fields__[name].default
    return type(default)


def _parse(leaf: Setting, text: str, source: str) -> Any:
    try:
        return leaf.parse(text)
    except ValueError as problem:
        raise BadConfig(f"{source}: {problem}; for example {leaf.env}={leaf.example}") from None


def _read_file(path: str) -> dict[str, str]:
    try:
        tree = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise BadConfig(f"AWSIDECAR_CONFIG_FILE: cannot read {path!r} ({problem.strerror})") from None
    except ValueError as problem:
        raise BadConfig(f"AWSIDECAR_CONFIG_FILE: {path!r} is not TOML ({problem})") from None
    leaves: dict[str, str] = {}
    for section, table in tree.items():
        if not isinstance(table, dict):
            raise BadConfig(f"{path}: {section!r} stands outside a table; for example [listen] and below it port = 50051")
        for name, value in table.items():
            leaves[f"{section}.{name}"] = _as_text(value)
    return leaves


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def _check_together(config: Config, environment: Mapping[str, str]) -> None:
    """What no single value can be blamed for."""
    aws, cognito = config.aws, config.cognito
    if aws.region is None and not config.embedded.enabled:
        raise BadConfig("AWS_REGION: is not set; for example AWS_REGION=eu-central-1 (or try it out with --embedded)")
    for one, other in (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")):
        if environment.get(one) and not environment.get(other):
            raise BadConfig(f"{other}: is not set although {one} is; for example set both, or neither")
    given = {
        "COGNITO_USER_POOL_ID": bool(cognito.user_pool_id),
        "COGNITO_IDENTITY_POOL_ID": bool(cognito.identity_pool_id),
        "COGNITO_CLIENT_ID": bool(cognito.client_ids),
    }
    if any(given.values()) and not all(given.values()):
        missing = next(name for name, is_set in given.items() if not is_set)
        example = next(leaf.example for leaf in settings() if leaf.env == missing)
        raise BadConfig(f"{missing}: is not set although others of Cognito's are; for example {missing}={example}")
    if cognito.jwks_url and not _is_emulator(aws.endpoint_url_cognito_identity or aws.endpoint_url):
        raise BadConfig(
            "AWSIDECAR_COGNITO_JWKS_URL: is refused while tokens are exchanged at AWS itself, whose keys are AWS's; "
            "for example unset it, or set AWS_ENDPOINT_URL=http://127.0.0.1:4566"
        )


def _is_emulator(endpoint: str | None) -> bool:
    host = (urlsplit(endpoint or "").hostname or "amazonaws.com").rstrip(".")
    return not host.endswith(_AWS_DOMAINS)
