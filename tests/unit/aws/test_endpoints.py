"""Every endpoint is the one that botocore finds by the same rules, for all regions and settings."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import botocore.auth
import botocore.loaders
import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointResolutionError

from awsidecar_server.aws.endpoints import SERVICES, Endpoint, EndpointResolver
from awsidecar_server.config import AwsConfig, BadConfig
from awsidecar_server.errors import InvalidRequest

MODES = ("preferred", "disabled", "required")
ACCOUNT = "123456789012"
# Which parameters of the rules may hold what a call names.
RESOURCE_PARAMETERS = {
    "dynamodb": ("ResourceArn", "ResourceArnList"),
    "dynamodbstreams": ("StreamArn", "ShardIterator"),
}
SIGNING_NAMES = {"dynamodb": "dynamodb", "dynamodbstreams": "dynamodb"}
Answer = tuple[str, str, str] | str


@pytest.fixture(scope="module")
def loader() -> Any:
    loader = botocore.loaders.create_loader()
    loader.search_paths.insert(0, str(resources.files("awsidecar_server.aws") / "models"))
    return loader


def provider(loader: Any, service: str) -> Any:
    rules = loader.load_service_model(service, "endpoint-rule-set-1")
    return EndpointProvider(rules, loader.load_data("partitions"))


def regions(loader: Any) -> list[str]:
    """All regions that AWS lists, and some that it does not."""
    partitions = loader.load_data("partitions")["partitions"]
    known = [region for partition in partitions for region in partition["regions"]]
    assert len(known) > 40
    return [*known, "local", "eu-west-99", "us-gov-north-7", "cn-east-3", "nowhere-1"]


def resources_in(region: str) -> Iterator[str | None]:
    """What a call may name, ARNs of the region and others."""
    yield None
    yield "films"
    yield f"arn:aws:dynamodb:{region}:999999999999:table/films"
    yield f"arn:aws:dynamodb:{region}:999999999999:table/films/stream/2030-01-01T00:00:00.000|1|AAAA"
    yield "arn:aws:dynamodb:eu-nowhere-1:999999999999:table/films"
    yield f"arn:aws:sqs:{region}:999999999999:films"
    yield f"arn:aws:dynamodb:{region}:not_a_label:table/films"
    yield f"arn:aws:dynamodb:{region}::table/films"
    yield f"arn:aws:dynamodb:{region}:999999999999:"
    yield f"arn:aws:dynamodb:{region}"


def expected(reference: Any, service: str, region: str, parameters: dict[str, Any]) -> Answer:
    known = reference.ruleset.parameters
    given = {name: value for name, value in parameters.items() if name in known and value is not None}
    try:
        found = reference.resolve_endpoint(Region=region, **given)
    except EndpointResolutionError as refusal:
        return str(refusal)
    scheme: Mapping[str, str] = next(iter(found.properties.get("authSchemes", ())), {})
    url = found.url if found.url.count("/") > 2 else f"{found.url}/"
    signing_name = SIGNING_NAMES.get(service, service)
    return url, scheme.get("signingName", signing_name), scheme.get("signingRegion", region)


def found(resolver: EndpointResolver, service: str, region: str, **call: Any) -> Answer:
    try:
        endpoint = resolver.resolve(service, region, **call)
    except InvalidRequest as refusal:
        return refusal.message.partition(": ")[2]
    assert endpoint.host == botocore.auth._host_from_url(endpoint.url)
    return endpoint.url, endpoint.signing_name, endpoint.signing_region


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("use_dualstack", [False, True])
@pytest.mark.parametrize("use_fips", [False, True])
@pytest.mark.parametrize("service", sorted(SERVICES))
def test_endpoint_is_that_of_botocore(
    loader: Any, service: str, use_fips: bool, use_dualstack: bool, mode: str
) -> None:
    reference = provider(loader, service)
    resolver = EndpointResolver(
        AwsConfig(use_fips=use_fips, use_dualstack=use_dualstack, account_id_endpoint_mode=mode)
    )
    settings = {"UseFIPS": use_fips, "UseDualStack": use_dualstack, "AccountIdEndpointMode": mode}
    searches = (False, True) if service == "dynamodb" else (False,)
    accounts = (None, ACCOUNT, "no label")
    names = RESOURCE_PARAMETERS.get(service, ("",))
    for region, is_search, account in itertools.product(regions(loader), searches, accounts):
        for resource, name in itertools.product(resources_in(region), names):
            answer = found(
                resolver,
                service,
                region,
                is_search=is_search,
                account_id=account,
                resource_arns=() if resource is None else (resource, "arn:aws:dynamodb:x:y:z"),
            )
            value = (resource, "other") if name == "ResourceArnList" and resource is not None else resource
            parameters = {**settings, "AccountId": account, "IsSearchOperation": is_search or None, name: value}
            assert answer == expected(reference, service, region, parameters), (region, parameters)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000",
        "http://127.0.0.1",
        "https://[::1]:4566",
        "https://Proxy.Example.com:443/dynamo/../aws//x y~é",
        "https://dynamodb.eu-central-1.api.aws",
    ],
)
@pytest.mark.parametrize("service", sorted(SERVICES))
def test_custom_endpoint_wins_as_in_botocore(loader: Any, service: str, url: str) -> None:
    reference = provider(loader, service)
    resolver = EndpointResolver(AwsConfig(endpoint_url=url, account_id_endpoint_mode="required"))
    arn = f"arn:aws:dynamodb:eu-central-1:{ACCOUNT}:table/films"
    answer = found(resolver, service, "eu-central-1", account_id=ACCOUNT, resource_arns=[arn])
    assert answer == expected(reference, service, "eu-central-1", {"Endpoint": url})


@pytest.mark.parametrize("path", ["", "/", "/a", "/a/", "/a//b/./c/../d", "/..", "/a b~é%20", "//"])
def test_path_is_signed_as_botocore_signs_it(path: str) -> None:
    endpoint = EndpointResolver(AwsConfig(endpoint_url=f"http://localhost:8000{path}")).resolve(
        "sts", "eu-central-1"
    )
    reference = botocore.auth.SigV4Auth(None, "sts", "eu-central-1")
    assert endpoint.path == reference._normalize_url_path(path)


def test_endpoint_of_one_service_wins_over_that_of_all() -> None:
    resolver = EndpointResolver(
        AwsConfig(endpoint_url="http://all:4566", endpoint_url_dynamodb_streams="http://streams:8000")
    )
    assert resolver.resolve("dynamodbstreams", "eu-central-1") == Endpoint(
        "http://streams:8000/", "streams:8000", "/", "eu-central-1", "dynamodb"
    )
    assert resolver.resolve("sts", "eu-central-1").host == "all:4566"


@pytest.mark.parametrize(
    ("config", "variable"),
    [
        (AwsConfig(endpoint_url="http://localhost:8000", use_fips=True), "AWS_USE_FIPS_ENDPOINT: "),
        (AwsConfig(endpoint_url_sts="http://localhost:8000", use_dualstack=True), "AWS_USE_DUALSTACK_ENDPOINT: "),
        (AwsConfig(endpoint_url="http://localhost:8000/?a=b"), "AWS_ENDPOINT_URL: "),
    ],
)
def test_settings_that_no_rule_could_serve_are_refused_at_the_start(config: AwsConfig, variable: str) -> None:
    with pytest.raises(BadConfig, match=f"^{variable}.*for example"):
        EndpointResolver(config)


def test_refusal_of_the_rules_says_which_endpoint_is_missing() -> None:
    resolver = EndpointResolver(AwsConfig(account_id_endpoint_mode="required"))
    with pytest.raises(
        InvalidRequest, match=r"no endpoint of dynamodb in eu-central-1: .* no AccountID was provided"
    ):
        resolver.resolve("dynamodb", "eu-central-1")


def test_tables_of_one_account_share_what_is_cached() -> None:
    resolver = EndpointResolver(AwsConfig())
    for number in range(100):
        resolver.resolve("dynamodb", "eu-central-1", resource_arns=[f"table-{number}"])
        arn = f"arn:aws:dynamodb:eu-central-1:{ACCOUNT}:table/{number}"
        assert resolver.resolve("dynamodb", "eu-central-1", resource_arns=[arn]).host.startswith(ACCOUNT)
    assert repr(resolver) == "<EndpointResolver 2 endpoints>"


def test_cache_is_bounded() -> None:
    resolver = EndpointResolver(AwsConfig())
    for number in range(2000):
        resolver.resolve("dynamodb", "eu-central-1", account_id=f"{number:012}")
    assert repr(resolver) == "<EndpointResolver 1024 endpoints>"


def test_an_endless_arn_is_no_key_of_the_cache() -> None:
    resolver = EndpointResolver(AwsConfig())
    for number in range(3):
        resolver.resolve(
            "dynamodb", "eu-central-1", resource_arns=[f"arn:aws:dynamodb:{number}:{'1' * 9999}:table/x"]
        )
    assert repr(resolver) == "<EndpointResolver 1 endpoints>"


def test_rules_look_at_nothing_else_that_a_call_says() -> None:
    """A parameter that AWS adds has to be handed in, and to be a part of the key of the cache."""
    models = resources.files("awsidecar_server.aws") / "models"
    for service, names in RESOURCE_PARAMETERS.items():
        rules = json.loads(
            (models / service / "2012-08-10" / "endpoint-rule-set-1.json").read_text(encoding="utf-8")
        )
        assert {name for name in rules["parameters"] if "builtIn" not in rules["parameters"][name]} == {
            *names,
            *(["IsSearchOperation"] if service == "dynamodb" else []),
        }
