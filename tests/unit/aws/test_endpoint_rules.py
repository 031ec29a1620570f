"""The functions of endpoint rules do what botocore's do, and rules are read as the specification says."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.endpoint_provider import RuleSetStandardLibrary
from hypothesis import example, given
from hypothesis import strategies as st

from awsidecar_server.aws.endpoint_rules import FUNCTIONS, Partitions, RuleError, RuleSet

REFERENCE = RuleSetStandardLibrary({})
PARTITIONS = Partitions(
    {
        "partitions": [
            {
                "id": "aws",
                "outputs": {"dnsSuffix": "one"},
                "regionRegex": r"^us-\w+-\d+$",
                "regions": {"aws-global": {}},
            },
            {"id": "other", "outputs": {"dnsSuffix": "two"}, "regionRegex": "^xx-", "regions": {}},
        ]
    }
)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


def rule_set(*rules: dict[str, Any]) -> RuleSet:
    parameters = {
        "Region": {"type": "string"},
        "UseFIPS": {"type": "boolean", "required": True, "default": False},
        "Names": {"type": "stringArray"},
    }
    return RuleSet({"parameters": parameters, "rules": list(rules)}, PARTITIONS)


def endpoint(url: Any, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"type": "endpoint", "conditions": list(conditions), "endpoint": {"url": url}}


def call(fn: str, *argv: Any, **assign: str) -> dict[str, Any]:
    return {"fn": fn, "argv": list(argv), **assign}


@given(TEXT | st.from_regex(r"arn:[a-z]{0,3}:[a-z]{0,3}:[a-z]{0,3}:[0-9]{0,3}:[a-z:/]{0,8}", fullmatch=True))
def test_arns_are_parsed_as_botocore_parses_them(text: str) -> None:
    assert FUNCTIONS["aws.parseArn"](text) == REFERENCE.aws_parse_arn(text)


@given(TEXT | st.from_regex(r"[a-z0-9.-]{1,70}", fullmatch=True), st.booleans())
def test_host_labels_are_those_of_botocore(text: str, allow_subdomains: bool) -> None:
    assert FUNCTIONS["isValidHostLabel"](text, allow_subdomains) == REFERENCE.is_valid_host_label(
        text, allow_subdomains
    )


@given(
    st.from_regex(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,4})?(/[a-z /]{0,9})?(\?q)?", fullmatch=True)
)
@example("ftp://example.com")
@example("https://example.com:port/")
@example("https://example.com")
def test_urls_are_parsed_as_botocore_parses_them(url: str) -> None:
    assert FUNCTIONS["parseURL"](url) == REFERENCE.parse_url(url)


@given(TEXT | st.text(max_size=8), st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_substrings_are_those_of_botocore(text: str, start: int, stop: int, reverse: bool) -> None:
    assert FUNCTIONS["substring"](text, start, stop, reverse) == REFERENCE.substring(text, start, stop, reverse)


@given(st.text(max_size=20))
def test_text_is_encoded_as_botocore_encodes_it(text: str) -> None:
    assert FUNCTIONS["uriEncode"](text) == REFERENCE.uri_encode(text)


@pytest.mark.parametrize("path", ["[0]", "[2]", "name", "inner.name", "inner.list[1]", "inner.list[7]"])
def test_attributes_are_found_where_botocore_finds_them(path: str) -> None:
    value: Any = ["a", "b"] if path.startswith("[") else {"name": 1, "inner": {"name": 2, "list": [3, 4]}}
    assert FUNCTIONS["getAttr"](value, path) == REFERENCE.get_attr(value, path)


def test_what_is_not_there_has_no_attributes_and_is_no_url_arn_or_label() -> None:
    assert FUNCTIONS["getAttr"]({}, "inner.name") is None
    assert FUNCTIONS["parseURL"](None) is None
    assert FUNCTIONS["aws.parseArn"](None) is None
    assert FUNCTIONS["uriEncode"](None) is None
    assert not FUNCTIONS["isValidHostLabel"](None, False)


@pytest.mark.parametrize(
    ("region", "name"),
    [("us-east-1", "aws"), ("aws-global", "aws"), ("xx-1", "other"), ("?", "aws"), (None, "aws")],
)
def test_region_is_of_the_partition_that_lists_or_matches_it_or_of_the_first(region: str | None, name: str) -> None:
    assert PARTITIONS.of(region)["name"] == name


def test_first_rule_whose_conditions_hold_answers() -> None:
    rules = rule_set(
        endpoint("https://fips", call("booleanEquals", {"ref": "UseFIPS"}, True)),
        endpoint("https://{Region}.{P#dnsSuffix}", call("aws.partition", {"ref": "Region"}, assign="P")),
    )
    assert rules.resolve({"Region": "us-east-1"}).url == "https://us-east-1.one"
    assert rules.resolve({"Region": "us-east-1", "UseFIPS": True}).url == "https://fips"


def test_what_a_rule_assigns_is_not_seen_by_the_next() -> None:
    rules = rule_set(
        endpoint(
            "https://never",
            call("getAttr", {"ref": "Names"}, "[0]", assign="First"),
            call("isSet", {"ref": "Region"}),
        ),
        endpoint("https://seen", call("isSet", {"ref": "First"})),
        endpoint("https://unseen"),
    )
    assert rules.resolve({"Names": ("one",)}).url == "https://unseen"


def test_tree_in_which_nothing_matches_leaves_it_to_the_next_rule() -> None:
    tree = {
        "type": "tree",
        "conditions": [],
        "rules": [endpoint("https://inner", call("isSet", {"ref": "Region"}))],
    }
    assert rule_set(tree, endpoint("https://outer")).resolve({}).url == "https://outer"


def test_error_rule_refuses_in_its_own_words() -> None:
    rules = rule_set({"type": "error", "conditions": [], "error": "not in {Region}"})
    with pytest.raises(RuleError, match=r"^not in us-east-1$"):
        rules.resolve({"Region": "us-east-1"})


def test_parameters_that_no_rule_serves_are_refused() -> None:
    with pytest.raises(RuleError):
        rule_set(endpoint("https://x", call("isSet", {"ref": "Region"}))).resolve({"Unknown": "us-east-1"})


def test_rule_set_that_needs_an_unknown_function_is_refused_when_it_is_read() -> None:
    with pytest.raises(ValueError, match=r"aws\.isVirtualHostableS3Bucket"):
        rule_set(endpoint("https://x", call("not", call("aws.isVirtualHostableS3Bucket", "a", True))))
