from __future__ import annotations

from pathlib import Path

import pytest

from awsidecar_server.cli import main
from awsidecar_server.config import settings
from awsidecar_server.version import VERSION


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the developer's own settings."""
    for leaf in settings():
        for name in leaf.variables:
            monkeypatch.delenv(name, raising=False)
    for name in ("AWSIDECAR_CONFIG_FILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        code = main(arguments)
    except SystemExit as left:
        code = int(left.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "serve", "--help")
    assert code == 0
    for leaf in settings():
        assert f"\n  {leaf.env} ({leaf.name}" in out
        assert f"{leaf.help}; for example {leaf.example}" in out
        assert f"\n  [{leaf.section}]\n" in out
    assert "AWSIDECAR_CONFIG_FILE" in out
    assert "default None" not in out
    assert "default true" in out


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--version") == (0, f"awsidecar {VERSION}\n", "")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_REGION", "nowhere"),
        ("AWSIDECAR_LISTEN_PORT", "http"),
        ("COGNITO_CLIENT_ID", "one"),
        ("AWSIDECAR_COGNITO_JWKS_URL", "http://127.0.0.1"),
    ],
)
def test_bad_configuration_exits_64_with_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv(variable, value)
    code, out, err = said(capsys, "serve")
    assert (code, out) == (64, "")
    assert err.startswith("awsidecar: ")
    assert "; for example " in err
    assert err.count("\n") == 1


def test_region_that_is_missing_exits_64(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "serve")
    assert code == 64
    assert err.startswith("awsidecar: AWS_REGION: is not set")


def test_bad_file_exits_64(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "awsidecar.toml"
    file.write_text("[listen]\nprot = 1")
    code, _, err = said(capsys, "serve", "--config", str(file))
    assert code == 64
    assert "unknown setting 'listen.prot'" in err


@pytest.mark.parametrize("number", ["0", "65", "many"])
def test_number_of_workers_that_cannot_be_exits_64(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    code, _, err = said(capsys, "serve", "--workers", number)
    assert code == 64
    assert err.startswith("awsidecar: AWSIDECAR_LISTEN_WORKERS: ")


@pytest.mark.parametrize(
    ("command", "option"),
    [("serve", "--config"), ("serve", "--workers"), ("serve", "--data-dir"), ("health", "--target")],
)
def test_option_that_is_given_and_empty_exits_64(
    capsys: pytest.CaptureFixture[str], command: str, option: str
) -> None:
    code, out, err = said(capsys, command, option, "")
    assert (code, out) == (64, "")
    assert err.startswith(f"awsidecar: {option}: is empty; for example {option} ")


@pytest.mark.parametrize("arguments", [(), ("nonesuch",), ("serve", "--nonesuch"), ("health", "--timeout", "soon")])
def test_wrong_use_shows_the_usage(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    code, out, err = said(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert "usage: awsidecar" in err


def test_sidecar_that_is_not_there_does_not_serve(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = said(capsys, "health", "--target", f"unix:{tmp_path}/none.sock", "--timeout", "0.2")
    assert (code, out) == (1, "not serving\n")
