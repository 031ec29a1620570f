from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.config import readers

Reader = Callable[[str], Any]
CHOICE = readers.one_of("off", "all")


@pytest.mark.parametrize(
    ("reader", "text", "value"),
    [
        (readers.text, " as it is ", " as it is "),
        (readers.flag, "true", True),
        (readers.flag, " ON ", True),
        (readers.flag, "0", False),
        (readers.flag, "No", False),
        (readers.whole(1, 3), "3", 3),
        (readers.port, "0", 0),
        (readers.port, "65535", 65_535),
        (readers.seconds(0.5, 10), "0.5", 0.5),
        (CHOICE, "ALL", "all"),
        (readers.words, "a, b,,c ", ("a", "b", "c")),
        (readers.host, "127.0.0.1", "127.0.0.1"),
        (readers.host, "::1", "::1"),
        (readers.host, "localhost", "localhost"),
        (readers.socket_path, "awsidecar.sock", "awsidecar.sock"),
        (readers.socket_path, "/tmp/awsidecar.sock", "/tmp/awsidecar.sock"),
        (readers.region, "eu-central-1", "eu-central-1"),
        (readers.region, "us-gov-west-1", "us-gov-west-1"),
        (readers.region, "ap-southeast-10", "ap-southeast-10"),
        (readers.region, "us-isob-east-1", "us-isob-east-1"),
        (readers.region, "eusc-de-east-1", "eusc-de-east-1"),
        (readers.region, "local", "local"),
        (readers.regions, "eu-central-1, us-east-1", ("eu-central-1", "us-east-1")),
        (readers.url, "http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        (readers.url, "https://[::1]:8000", "https://[::1]:8000"),
        (readers.user_pool_id, "us-east-1_AbCdEfGhI", "us-east-1_AbCdEfGhI"),
        (readers.identity_pool_id, "us-east-1:1234-abcd", "us-east-1:1234-abcd"),
    ],
)
def test_good_value_is_read(reader: Reader, text: str, value: object) -> None:
    assert reader(text) == value


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (readers.flag, "maybe"),
        (readers.flag, ""),
        (readers.whole(1, 3), "0"),
        (readers.whole(1, 3), "4"),
        (readers.whole(1, 3), "two"),
        (readers.whole(1, 3), "1.0"),
        (readers.port, "65536"),
        (readers.port, "-1"),
        (readers.seconds(0.5, 10), "nan"),
        (readers.seconds(0.5, 10), "inf"),
        (readers.seconds(0.5, 10), "0.4"),
        (readers.seconds(0.5, 10), "soon"),
        (CHOICE, "some"),
        (readers.words, " , ,"),
        (readers.host, "0"),
        (readers.host, "example.com"),
        (readers.socket_path, "/tmp/" + "x" * 103),
        (readers.socket_path, "/nonesuch/awsidecar.sock"),
        (readers.region, "Frankfurt"),
        (readers.region, "eu-central-1\n"),
        (readers.region, "eu-central-1.evil.example"),
        (readers.region, "eu-central-१"),
        (readers.regions, "eu-central-1,nowhere"),
        (readers.url, "127.0.0.1:8000"),
        (readers.url, "ftp://127.0.0.1"),
        (readers.url, "http://"),
        (readers.url, "http://[::1"),
        (readers.url, "http://host:99999"),
        (readers.url, "http://host:0"),
        (readers.url, "http://host:port"),
        (readers.url, "http://ho st"),
        (readers.url, "http://host\n"),
        (readers.user_pool_id, "us-east-1"),
        (readers.user_pool_id, "us-east-1_Ab/../x"),
        (readers.identity_pool_id, "us-east-1"),
        (readers.identity_pool_id, "us-east-1:xyz"),
        (readers.ca_bundle, "/nonesuch/ca.pem"),
    ],
)
def test_bad_value_is_refused_in_one_line(reader: Reader, text: str) -> None:
    with pytest.raises(ValueError) as refused:
        reader(text)
    assert str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["http://user:canary@host", "htp://user:canary@host", "http://canary@host", "user:canary@host:99999"]
)
def test_password_in_a_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        readers.url(text)
    assert "canary" not in str(refused.value)


def test_file_of_certificates_is_taken(ca_bundle: Path) -> None:
    assert readers.ca_bundle(str(ca_bundle)) == str(ca_bundle)


def test_file_without_certificates_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("x")
    with pytest.raises(ValueError, match="holds no certificates"):
        readers.ca_bundle(str(path))


@given(
    st.text(max_size=40),
    st.sampled_from(
        [
            readers.flag, readers.port, readers.seconds(0, 1), CHOICE, readers.words, readers.region, readers.url,
            readers.user_pool_id, readers.identity_pool_id, readers.ca_bundle,
        ]
    ),
)  # fmt: skip
def test_reader_refuses_with_nothing_but_a_value_error(text: str, reader: Reader) -> None:
    with suppress(ValueError):
        reader(text)
