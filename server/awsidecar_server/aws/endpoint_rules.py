"""The interpreter of AWS's endpoint rule sets: from the parameters of a call to the URL that answers it.

https://smithy.io/2.0/additional-specs/rules-engine/specification.html
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

_PLACEHOLDER = re.compile(r"\{([A-Za-z]+)(?:#([A-Za-z]+))?\}")
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")

Scope = dict[str, Any]
Function = Callable[..., Any]


class RuleError(Exception):
    """A rule set refuses the parameters; the message is AWS's own."""


class ResolvedRule(NamedTuple):
    """What a rule set answers. The signing scope is None where the rule leaves it to the service."""

    url: str
    signing_name: str | None
    signing_region: str | None


class Partitions:
    """AWS's partitions: which one a region is of, and what its endpoints end with."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._partitions = [
            (frozenset(one["regions"]), re.compile(one["regionRegex"]), {**one["outputs"], "name": one["id"]})
            for one in document["partitions"]
        ]

    def of(self, region: str | None) -> Mapping[str, Any]:
        """The outputs of the region's partition; of the first one for a region that nobody knows."""
        if region is not None:
            for regions, pattern, outputs in self._partitions:
                if region in regions or pattern.match(region):
                    return outputs
        return self._partitions[0][2]


class RuleSet:
    """The rules of one service."""

    def __init__(self, document: Mapping[str, Any], partitions: Partitions) -> None:
        self._parameters: Mapping[str, Mapping[str, Any]] = document["parameters"]
        self._rules: list[Mapping[str, Any]] = document["rules"]
        self._functions: Mapping[str, Function] = {**FUNCTIONS, "aws.partition": partitions.of}
        unknown = _functions_in(self._rules) - self._functions.keys()
        if unknown:
            raise ValueError(f"the endpoint rules need functions that are not there: {', '.join(sorted(unknown))}")

    def resolve(self, parameters: Mapping[str, Any]) -> ResolvedRule:
        """The endpoint for the parameters, of which the rule set takes those that it knows and that are not None."""
        scope: Scope = {}
        for name, declared in self._parameters.items():
            value = parameters.get(name)
            if value is None:
                value = declared.get("default")
            if value is not None:
                scope[name] = value
        resolved = self._first(self._rules, scope)
        if resolved is None:
            raise RuleError("no rule matches")
        return resolved

    def _first(self, rules: Iterable[Mapping[str, Any]], outer: Scope) -> ResolvedRule | None:
        for rule in rules:
            scope = outer.copy()  # what a rule assigns is seen by the rules inside it only
            if not all(self._holds(condition, scope) for condition in rule["conditions"]):
                continue
            if rule["type"] == "error":
                raise RuleError(self._value(rule["error"], scope))
            if rule["type"] == "endpoint":
                return self._endpoint(rule["endpoint"], scope)
            resolved = self._first(rule["rules"], scope)
            if resolved is not None:
                return resolved
        return None

    def _endpoint(self, endpoint: Mapping[str, Any], scope: Scope) -> ResolvedRule:
        schemes = endpoint.get("properties", {}).get("authSchemes", ())
        scheme: Mapping[str, Any] = next((one for one in schemes if one["name"] == "sigv4"), {})
        return ResolvedRule(
            self._value(endpoint["url"], scope),
            self._value(scheme.get("signingName"), scope),
            self._value(scheme.get("signingRegion"), scope),
        )

    def _holds(self, condition: Mapping[str, Any], scope: Scope) -> bool:
        value = self._value(condition, scope)
        if "assign" in condition:
            scope[condition["assign"]] = value
        return value is not None and value is not False

    def _value(self, expression: Any, scope: Scope) -> Any:
        if isinstance(expression, str):
            return (
                _PLACEHOLDER.sub(lambda found: _filled(found, scope), expression)
                if "{" in expression
                else expression
            )
        if not isinstance(expression, dict):
            return expression
        if "ref" in expression:
            return scope.get(expression["ref"])
        return self._functions[expression["fn"]](*[self._value(one, scope) for one in expression["argv"]])


def _filled(placeholder: re.Match[str], scope: Scope) -> str:
    name, attribute = placeholder.groups()
    return str(scope[name] if attribute is None else scope[name][attribute])


def _functions_in(node: Any) -> set[str]:
    if isinstance(node, dict):
        return {node["fn"]} | _functions_in(node["argv"]) if "fn" in node else _functions_in(list(node.values()))
    if isinstance(node, list):
        return set().union(*map(_functions_in, node))
    return set()


def _attribute(value: Any, path: str) -> Any:
    """`name`, `outer.name`, `[0]` or `names[0]` of a value; None where there is none."""
    for part in path.split("."):
        name, bracket, index = part.partition("[")
        if name:
            value = value.get(name)
        if bracket and value is not None:
            position = int(index.rstrip("]"))
            value = value[position] if position < len(value) else None
        if value is None:
            return None
    return value


def _parsed_arn(text: str | None) -> Mapping[str, Any] | None:
    parts = (text or "").split(":", 5)
    if len(parts) < 6 or parts[0] != "arn":
        return None
    _, partition, service, region, account, resource = parts
    if not (partition and service and resource):
        return None
    return {
        "partition": partition,
        "service": service,
        "region": region,
        "accountId": account,
        "resourceId": resource.replace(":", "/").split("/"),
    }


def _parsed_url(text: str | None) -> Mapping[str, Any] | None:
    try:
        parts = urlsplit(text or "")
        _ = parts.port  # reading it refuses what is none
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or parts.query:
        return None
    segments = [segment for segment in parts.path.split("/") if segment]
    return {
        "scheme": parts.scheme,
        "authority": parts.netloc,
        "path": parts.path,
        "normalizedPath": quote("".join(f"/{segment}" for segment in segments) + "/"),
        "isIp": _is_ip(parts.hostname or ""),
    }


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_host_label(text: str | None, allow_subdomains: bool) -> bool:
    if text is None:
        return False
    labels = text.split(".") if allow_subdomains else [text]
    return all(_HOST_LABEL.fullmatch(label) for label in labels)


def _substring(text: str, start: int, stop: int, reverse: bool) -> str | None:
    if start >= stop or len(text) < stop or not text.isascii():
        return None
    return text[len(text) - stop : len(text) - start] if reverse else text[start:stop]


# The functions that the rule sets of any service may call, but for S3's own and `aws.partition`, which needs data.
FUNCTIONS: Mapping[str, Function] = {
    "isSet": lambda value: value is not None,
    "not": lambda value: not value,
    "booleanEquals": lambda one, other: one is other,
    "stringEquals": lambda one, other: one == other,
    "getAttr": _attribute,
    "parseURL": _parsed_url,
    "isValidHostLabel": _is_host_label,
    "substring": _substring,
    "uriEncode": lambda text: None if text is None else quote(text, safe="-._~"),
    "aws.parseArn": _parsed_arn,
}
