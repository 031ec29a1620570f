"""Where the Python of the embedded AWS is looked for."""

import os
import sys
from pathlib import Path

import pytest

from awsidecar_server.config import BadConfig, EmbeddedConfig
from awsidecar_server.embedded import location


def _executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(sys.executable)
    return path


def test_the_configured_python_wins_and_is_not_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _executable(tmp_path / ".venv-embedded" / "bin" / "python")
    own = _executable(tmp_path / "own" / "python")
    monkeypatch.chdir(tmp_path)
    assert location.find_python(EmbeddedConfig(python=str(own))) == str(own)
    assert location.find_python(EmbeddedConfig(python="own/python")) == str(own)


def test_a_configured_python_that_cannot_be_run_is_bad_configuration(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"^AWSIDECAR_EMBEDDED_PYTHON: .*nowhere.* cannot be run; for example .*$"):
        location.find_python(EmbeddedConfig(python=str(tmp_path / "nowhere")))


def test_the_environment_in_the_current_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv = _executable(tmp_path / ".venv-embedded" / "bin" / "python")
    monkeypatch.chdir(tmp_path)
    assert location.find_python(EmbeddedConfig()) == str(venv)


def test_the_environment_at_the_repository_root_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv = _executable(tmp_path / "repository" / ".venv-embedded" / "bin" / "python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(location, "_REPOSITORY", tmp_path / "repository")
    assert location.find_python(EmbeddedConfig()) == str(venv)


def test_without_one_the_error_is_one_line_that_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(location, "_REPOSITORY", tmp_path)
    with pytest.raises(BadConfig) as raised:
        location.find_python(EmbeddedConfig())
    assert "pip install ministack==1.5.33 cryptography" in str(raised.value)
    assert "AWSIDECAR_EMBEDDED_PYTHON" in str(raised.value)
    assert os.linesep not in str(raised.value)
