from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from awsidecar_server.config import BadConfig, CognitoConfig, Config, ListenConfig, Setting, settings

ALL = list(settings())
# What AWS's own tools call these, and Cognito's samples.
AWS_NAMES = {
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_DYNAMODB_STREAMS",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_COGNITO_IDENTITY",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_ACCOUNT_ID_ENDPOINT_MODE",
    "AWS_DISABLE_CLOCK_SKEW_CORRECTION",
    "AWS_CA_BUNDLE",
}
COGNITO_NAMES = {"COGNITO_USER_POOL_ID", "COGNITO_IDENTITY_POOL_ID", "COGNITO_CLIENT_ID"}
COGNITO = {
    "COGNITO_USER_POOL_ID": "us-east-1_AbCdEfGhI",
    "COGNITO_IDENTITY_POOL_ID": "us-east-1:12345678-1234-1234-1234-123456789012",
    "COGNITO_CLIENT_ID": "one,two",
}
REGION = {"AWS_REGION": "eu-central-1"}

# A text that each setting refuses; those that take any text are not here.
BAD: dict[str, str] = {
    leaf.env: "-1"
    if leaf.env.endswith(("PORT", "BYTES", "IN_FLIGHT", "SIZE", "ATTEMPTS", "SESSIONS", "SECONDS"))
    else "?"
    for leaf in ALL
    if leaf.parse.__name__ != "text"
}
BAD["COGNITO_CLIENT_ID"] = ","
BAD["AWSIDECAR_LISTEN_UNIX_SOCKET"] = "/nonesuch/awsidecar.sock"


def name(leaf: Setting) -> str:
    return leaf.env


def load(environment: dict[str, str] | None = None, file: Path | None = None) -> Config:
    return Config.load({**REGION, **(environment or {})}, str(file) if file else None)


def refusal(environment: dict[str, str], file: Path | None = None) -> str:
    with pytest.raises(BadConfig) as refused:
        Config.load(environment, str(file) if file else None)
    line = str(refused.value)
    assert "\n" not in line
    return line


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "awsidecar.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("leaf", ALL, ids=name)
def test_variable_is_awss_or_cognitos_or_named_for_its_place(leaf: Setting) -> None:
    assert leaf.env in AWS_NAMES | COGNITO_NAMES | {f"AWSIDECAR_{leaf.section}_{leaf.name}".upper()}


@pytest.mark.parametrize("leaf", ALL, ids=name)
def test_setting_is_documented_with_an_example_that_works(leaf: Setting, ca_bundle: Path) -> None:
    assert leaf.help
    assert leaf.help[-1] != "."
    example = leaf.example
    if leaf.env == "AWS_CA_BUNDLE":
        example = str(ca_bundle)
    together = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", **COGNITO}
    config = load({**together, leaf.env: example})
    assert getattr(getattr(config, leaf.section), leaf.name) == leaf.parse(example)


def test_variables_are_distinct() -> None:
    assert len({leaf.env for leaf in ALL}) == len({leaf.file_key for leaf in ALL}) == len(ALL) > 30
    assert {leaf.env for leaf in ALL} >= AWS_NAMES | COGNITO_NAMES


@pytest.mark.parametrize(("variable", "text"), BAD.items())
def test_bad_value_gives_one_line_with_variable_problem_and_example(variable: str, text: str) -> None:
    line = refusal({**REGION, variable: text})
    example = next(leaf.example for leaf in ALL if leaf.env == variable)
    assert line.startswith(f"{variable}: ")
    assert line.endswith(f"; for example {variable}={example}")


def test_nothing_but_the_region_is_needed() -> None:
    assert load() == Config(aws=load().aws)
    assert load().aws.region == "eu-central-1"
    assert load().listen == ListenConfig()
    assert not load().cognito.enabled


def test_region_is_needed_unless_aws_is_embedded() -> None:
    assert refusal({}).startswith("AWS_REGION: is not set; for example AWS_REGION=eu-central-1")
    assert Config.load({"AWSIDECAR_EMBEDDED_ENABLED": "true"}).aws.region is None


def test_default_region_is_read_when_no_region_is_named(tmp_path: Path) -> None:
    default = {"AWS_DEFAULT_REGION": "us-east-1"}
    assert Config.load(default).aws.region == "us-east-1"
    assert Config.load({**default, **REGION}).aws.region == "eu-central-1"
    file = toml(tmp_path, '[aws]\nregion = "eu-west-1"')
    assert Config.load(default, str(file)).aws.region == "us-east-1", "the environment wins over the file"
    assert refusal({"AWS_DEFAULT_REGION": "?"}).startswith("AWS_DEFAULT_REGION: ")


def test_empty_variable_counts_as_unset() -> None:
    assert load(dict.fromkeys(["AWSIDECAR_LISTEN_PORT", "AWS_ENDPOINT_URL", *COGNITO], "")) == load()


def test_file_is_read_a_table_per_section(tmp_path: Path) -> None:
    file = toml(
        tmp_path,
        """
        [aws]
        region = "eu-west-1"
        allowed_regions = ["eu-west-1", "us-east-1"]
        use_fips = true
        connect_timeout_seconds = 2.5
        [listen]
        port = 0
        [identity]
        service_account = false
        """,
    )
    config = Config.load({}, str(file))
    assert (config.aws.region, config.aws.allowed_regions) == ("eu-west-1", ("eu-west-1", "us-east-1"))
    assert (config.aws.use_fips, config.aws.connect_timeout_seconds) == (True, 2.5)
    assert (config.listen.port, config.identity.service_account) == (0, False)
    assert Config.load({"AWSIDECAR_CONFIG_FILE": str(file)}) == config


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, "[listen]\nport = 1\nmax_in_flight = 7")
    config = load({"AWSIDECAR_LISTEN_PORT": "2"}, file)
    assert (config.listen.port, config.listen.max_in_flight) == (2, 7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[listen]\nprot = 1", "unknown setting 'listen.prot'"),
        ("[lisen]\nport = 1", "unknown setting 'lisen.port'"),
        ('[listen]\n"a\\nb" = 1', r"unknown setting 'listen.a\nb'"),
        ("port = 1", "'port' stands outside a table"),
        ("[listen", "is not TOML"),
        ("[listen]\nport = 70000", "listen.port (AWSIDECAR_LISTEN_PORT): 70000 is not between"),
        ('[listen.tls]\ncert = "x"', "unknown setting 'listen.tls'"),
    ],
)
def test_bad_file_gives_one_line_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    file = toml(tmp_path, text)
    line = refusal(REGION, file)
    assert str(file) in line
    assert said in line


def test_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    assert "cannot read" in refusal(REGION, tmp_path / "nonesuch.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    assert "is not TOML" in refusal(REGION, binary)


@pytest.mark.parametrize("missing", COGNITO)
def test_half_of_cognito_is_refused_naming_what_is_missing(missing: str) -> None:
    line = refusal({**REGION, **{name: text for name, text in COGNITO.items() if name != missing}})
    assert line.startswith(f"{missing}: ")
    assert f"for example {missing}=" in line


@pytest.mark.parametrize("lonely", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_of_a_key_pair_is_refused_and_not_shown(lonely: str) -> None:
    line = refusal({**REGION, lonely: "canary"})
    assert "canary" not in line
    assert re.match(r"AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY): is not set although", line)


@pytest.mark.parametrize(
    "endpoint",
    [
        {},
        {"AWS_ENDPOINT_URL": "https://cognito-identity.us-east-1.amazonaws.com"},
        {"AWS_ENDPOINT_URL": "https://cognito-identity.us-east-1.AMAZONAWS.com."},
        {"AWS_ENDPOINT_URL": "https://cognito-identity.cn-north-1.amazonaws.com.cn"},
        {"AWS_ENDPOINT_URL": "https://cognito-identity.eusc-de-east-1.amazonaws.eu"},
        {"AWS_ENDPOINT_URL": "https://cognito-identity.us-east-1.api.aws"},
        {"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:8000"},
        {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
            "AWS_ENDPOINT_URL_COGNITO_IDENTITY": "https://cognito-identity.us-east-1.amazonaws.com",
        },
    ],
)
def test_other_keys_for_tokens_are_refused_while_aws_is_real(endpoint: dict[str, str]) -> None:
    """Whoever may set the keys could otherwise make tokens that real credentials are given for."""
    jwks = {"AWSIDECAR_COGNITO_JWKS_URL": "http://127.0.0.1/jwks.json"}
    assert refusal({**REGION, **COGNITO, **endpoint, **jwks}).startswith("AWSIDECAR_COGNITO_JWKS_URL: is refused")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.1.2.3", "localhost", "localstack", "aws.localhost"])
def test_other_keys_for_tokens_are_taken_with_an_emulator(host: str) -> None:
    emulated = {
        "AWS_ENDPOINT_URL": f"http://{host}:4566",
        "AWSIDECAR_COGNITO_JWKS_URL": "http://127.0.0.1/jwks.json",
    }
    config = load({**COGNITO, **emulated})
    assert config.cognito.jwks_url == "http://127.0.0.1/jwks.json"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1"])
def test_network_is_served_only_when_that_is_said(host: str) -> None:
    assert refusal({**REGION, "AWSIDECAR_LISTEN_HOST": host}).startswith("AWSIDECAR_LISTEN_HOST: ")
    allowed = load({"AWSIDECAR_LISTEN_HOST": host, "AWSIDECAR_LISTEN_ALLOW_NETWORK": "true"})
    assert allowed.listen.host == host


@pytest.mark.parametrize(
    ("pool", "issuer"),
    [
        ("us-east-1_AbC", "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_AbC"),
        ("cn-north-1_AbC", "https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_AbC"),
        ("us-gov-west-1_AbC", "https://cognito-idp.us-gov-west-1.amazonaws.com/us-gov-west-1_AbC"),
        ("eusc-de-east-1_AbC", "https://cognito-idp.eusc-de-east-1.amazonaws.eu/eusc-de-east-1_AbC"),
    ],
)
def test_issuer_and_login_key_follow_from_the_pool(pool: str, issuer: str) -> None:
    config = CognitoConfig(user_pool_id=pool, identity_pool_id="eu-west-1:1", client_ids=("one",))
    assert config.issuer == issuer
    assert config.login_key == issuer.removeprefix("https://")
    assert config.identity_region == "eu-west-1"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.com", False),
    ],
)
def test_loopback_is_what_only_this_host_reaches(host: str, loopback: bool) -> None:
    assert ListenConfig(host=host).is_loopback is loopback


def test_configuration_cannot_be_changed() -> None:
    config: Any = load()
    with pytest.raises(AttributeError):
        config.listen.port = 1
