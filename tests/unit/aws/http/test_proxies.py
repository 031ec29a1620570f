"""Which origin is behind which proxy."""

from __future__ import annotations

import pytest

from awsidecar_server.aws.http.proxies import Proxies, Proxy
from awsidecar_server.config import BadConfig

AWS = ("https", "dynamodb.eu-central-1.amazonaws.com", 443)


def host_of(proxy: Proxy | None) -> str | None:
    return None if proxy is None else proxy.host


def test_each_scheme_has_a_proxy_of_its_own() -> None:
    proxies = Proxies({"HTTPS_PROXY": "http://secure:3128", "HTTP_PROXY": "plain:8080"})
    assert proxies.of(*AWS) == Proxy("secure", 3128, is_secure=False, authorization=None)
    assert proxies.of("http", "emulator", 4566) == Proxy("plain", 8080, is_secure=False, authorization=None)
    assert repr(proxies) == "<Proxies http, https>"


def test_without_variables_the_way_is_direct() -> None:
    assert Proxies({"HTTPS_PROXY": ""}).of(*AWS) is None


def test_lower_case_wins() -> None:
    assert host_of(Proxies({"https_proxy": "http://lower", "HTTPS_PROXY": "http://upper"}).of(*AWS)) == "lower"


def test_a_cgi_server_cannot_be_given_a_proxy_by_its_clients() -> None:
    assert Proxies({"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}).of("http", "emulator", 80) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_what_listens_on_this_host_is_behind_no_proxy(host: str) -> None:
    assert Proxies({"HTTP_PROXY": "http://proxy"}).of("http", host, 4566) is None


@pytest.mark.parametrize(
    ("without", "is_direct"),
    [
        ("*", True),
        ("amazonaws.com", True),
        (".amazonaws.com", True),
        ("other, .AMAZONAWS.com", True),
        ("dynamodb.eu-central-1.amazonaws.com", True),
        ("dynamodb.eu-central-1.amazonaws.com:443", True),
        ("amazonaws.com:443", True),
        ("amazonaws.com:8443", False),
        ("aws.com", False),
        ("sts.amazonaws.com", False),
        ("", False),
    ],
)
def test_no_proxy_excepts_hosts_and_their_domains(without: str, is_direct: bool) -> None:
    proxies = Proxies({"HTTPS_PROXY": "http://proxy", "NO_PROXY": without})
    assert (proxies.of(*AWS) is None) is is_direct


def test_the_password_of_a_proxy_is_sent_and_never_shown() -> None:
    proxy = Proxies({"HTTPS_PROXY": "https://user:p%40ss@proxy"}).of(*AWS)
    assert proxy is not None
    assert (proxy.port, proxy.is_secure) == (443, True)
    assert proxy.headers == {"Proxy-Authorization": "Basic dXNlcjpwQHNz"}
    assert "dXNlcjpwQHNz" not in repr(proxy)


@pytest.mark.parametrize("url", ["socks5://user:secret@proxy", "http://", "http://user:secret@proxy:port"])
def test_a_proxy_of_no_use_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadConfig, match="HTTPS_PROXY") as caught:
        Proxies({"HTTPS_PROXY": url})
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
