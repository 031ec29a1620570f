"""The configuration tree: read from the environment and an optional file, and checked as a whole. It binds nothing.

AWS's own variables keep AWS's names; ours are `AWSIDECAR_<SECTION>_<FIELD>`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from awsidecar_server.config.process import EmbeddedConfig, LogConfig, ShutdownConfig
from awsidecar_server.config.sections import AdminConfig, AwsConfig, CognitoConfig, IdentityConfig, ListenConfig
from awsidecar_server.config.setting import BadConfig, Setting


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

    @classmethod
    def restored(cls, tree: Mapping[str, Mapping[str, Any]]) -> Self:
        """A configuration as it was before it became JSON, whose only change is that tuples are lists."""
        return cls(
            **{
                section: _section_type(section)(
                    **{name: tuple(value) if isinstance(value, list) else value for name, value in leaves.items()}
                )
                for section, leaves in tree.items()
            }
        )


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
            raise BadConfig(
                f"{path}: {section!r} stands outside a table; for example [listen] and below it port = 50051"
            )
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
        raise BadConfig(
            "AWS_REGION: is not set; for example AWS_REGION=eu-central-1 (or try it out with --embedded)"
        )
    for one, other in (
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
    ):
        if environment.get(one) and not environment.get(other):
            raise BadConfig(f"{other}: is not set although {one} is; for example set both, or neither")
    listen = config.listen
    if not listen.is_loopback and not listen.allow_network:
        raise BadConfig(
            f"AWSIDECAR_LISTEN_HOST: {listen.host!r} would serve whoever reaches it, in plaintext; for example "
            "AWSIDECAR_LISTEN_HOST=127.0.0.1 (or AWSIDECAR_LISTEN_ALLOW_NETWORK=true if that is meant)"
        )
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
    """True for an endpoint that no AWS service has: on this host, in a private network, or a name without a domain."""
    host = urlsplit(endpoint or "").hostname or "amazonaws.com"
    try:
        return ipaddress.ip_address(host).is_private  # loopback included
    except ValueError:
        return "." not in host or host.endswith(".localhost")
