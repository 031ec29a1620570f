"""Where the calls of each service and region go, by AWS's own rules and the configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from awsidecar_server.aws.endpoint_rules import Partitions, RuleError, RuleSet
from awsidecar_server.config import AwsConfig, BadConfig
from awsidecar_server.errors import InvalidRequest

# Regions times accounts in use; one more costs an evaluation of the rules (some 50 us) at its next call.
_MAX_ENDPOINTS = 1024
# An ARN up to and with its account; AWS's own are shorter.
_LONGEST_OWNER = 256
_ACCOUNT = re.compile(r"[0-9]{12}")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class _Service(NamedTuple):
    """What is known of a service before its rules are read."""

    rules: str
    signing_name: str
    # The parameter that takes the ARN of what a call is about; empty: its endpoints are not per account.
    resource_parameter: str = ""


_SERVICES: Mapping[str, _Service] = {
    "dynamodb": _Service("dynamodb/2012-08-10", "dynamodb", "ResourceArn"),
    "dynamodbstreams": _Service("dynamodbstreams/2012-08-10", "dynamodb", "StreamArn"),
    "sts": _Service("sts/2011-06-15", "sts"),
    "cognito-identity": _Service("cognito-identity/2014-06-30", "cognito-identity"),
}
SERVICES: frozenset[str] = frozenset(_SERVICES)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a call goes, and the scope that it is signed for."""

    url: str
    # As the `Host` header has it: with the port unless it is the scheme's own.
    host: str
    # Normalised and percent-encoded, as it is signed.
    path: str
    signing_region: str
    signing_name: str

    @property
    def is_secure(self) -> bool:
        """True when the way there is encrypted."""
        return self.url.startswith("https:")


class EndpointResolver:
    """Answers from a bounded cache, and reads the rules of a service when they are first needed."""

    def __init__(self, config: AwsConfig) -> None:
        """Raises `BadConfig` for settings of which no call could come to an endpoint."""
        self._config = config
        self._custom: Mapping[str, str | None] = {
            "dynamodb": config.endpoint_url_dynamodb or config.endpoint_url,
            "dynamodbstreams": config.endpoint_url_dynamodb_streams or config.endpoint_url,
            "sts": config.endpoint_url_sts or config.endpoint_url,
            "cognito-identity": config.endpoint_url_cognito_identity or config.endpoint_url,
        }
        for service, url in self._custom.items():
            _check_custom(service, url, config)
        self._per_account = frozenset(
            service
            for service, known in _SERVICES.items()
            if known.resource_parameter
            and not self._custom[service]
            and config.account_id_endpoint_mode != "disabled"
        )
        # What a lookup is by holds all that the rules look at and nothing else: no name of a table.
        self._endpoint = lru_cache(_MAX_ENDPOINTS)(self._resolve)

    def __repr__(self) -> str:
        return f"<EndpointResolver {self._endpoint.cache_info().currsize} endpoints>"

    def resolve(
        self,
        service: str,
        region: str,
        *,
        is_search: bool = False,
        account_id: str | None = None,
        resource_arns: Sequence[str] = (),
    ) -> Endpoint:
        """The endpoint of a service (by its SDK name) for one call; raises `InvalidRequest` when there is none.

        `account_id` is that of the credentials. `resource_arns` are the tables, stream or shard iterator that the
        call names, as it names them: where the first is an ARN of the same region, its account's endpoint answers.
        """
        if service not in self._per_account:
            return self._endpoint(service, region, is_search, None, None)
        owner = _owner(resource_arns[0]) if resource_arns else None
        return self._endpoint(service, region, is_search, account_id, owner)

    def _resolve(
        self, service: str, region: str, is_search: bool, account_id: str | None, owner: str | None
    ) -> Endpoint:
        config, known = self._config, _SERVICES[service]
        parameters: dict[str, Any] = {
            "Region": region,
            "UseFIPS": config.use_fips,
            "UseDualStack": config.use_dualstack,
            "Endpoint": self._custom[service],
            "AccountId": account_id,
            "AccountIdEndpointMode": config.account_id_endpoint_mode,
            "IsSearchOperation": is_search,
            known.resource_parameter: owner,
        }
        try:
            url, signing_name, signing_region = _rules(service).resolve(parameters)
        except RuleError as refusal:
            raise InvalidRequest(f"there is no endpoint of {service} in {region}: {refusal}") from refusal
        parts = urlsplit(url)
        host = parts.netloc.lower()
        if parts.port is not None and parts.port == _DEFAULT_PORTS[parts.scheme]:
            host = host.rpartition(":")[0]
        return Endpoint(
            url=url if parts.path else f"{url}/",
            host=host,
            path=_canonical(parts.path),
            signing_region=signing_region or region,
            signing_name=signing_name or known.signing_name,
        )


def _owner(resource: str) -> str | None:
    """An ARN without the rest of what it names, which no rule looks at; None for anything but an ARN."""
    if not resource.startswith("arn:"):
        return None
    *owner, rest = resource.split(":", 5)
    text = ":".join(owner)
    # An account is a part of a host name, so nothing but an account may stand in its place.
    is_owned = len(owner) == 5 and bool(rest) and _ACCOUNT.fullmatch(owner[4]) is not None
    return f"{text}:-" if is_owned and len(text) <= _LONGEST_OWNER else None


def _canonical(path: str) -> str:
    """The path as Signature Version 4 signs it: without dot segments and doubled slashes, encoded once more."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    last = "/" if kept and path.endswith("/") else ""
    return quote("/" + "/".join(kept) + last, safe="/~")


def _check_custom(service: str, url: str | None, config: AwsConfig) -> None:
    if url is None:
        return
    for variable, is_on in (
        ("AWS_USE_FIPS_ENDPOINT", config.use_fips),
        ("AWS_USE_DUALSTACK_ENDPOINT", config.use_dualstack),
    ):
        if is_on:
            raise BadConfig(
                f"{variable}: has no say over the configured endpoint of {service}, {url!r}; for example {variable}=false"
            )
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise BadConfig(
            f"AWS_ENDPOINT_URL: {url!r}, the endpoint of {service}, has a query or a fragment;"
            f" for example AWS_ENDPOINT_URL={parts.scheme}://{parts.netloc}"
        )


@cache
def _rules(service: str) -> RuleSet:
    return RuleSet(_document(f"{_SERVICES[service].rules}/endpoint-rule-set-1.json"), _partitions())


@cache
def _partitions() -> Partitions:
    return Partitions(_document("partitions.json"))


def _document(path: str) -> Mapping[str, Any]:
    text = (files("awsidecar_server.aws") / "models" / path).read_text(encoding="utf-8")
    document: Mapping[str, Any] = json.loads(text)
    return document
