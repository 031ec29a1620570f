"""What the emulator's process is given of the environment."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.embedded.environment import emulator_environment

_SCRATCH = Path("/scratch")
_SECRET = "do-not-tell"


def _environment(ours: dict[str, str], data_dir: Path | None = None) -> dict[str, str]:
    return emulator_environment(ours, port=4000, scratch=_SCRATCH, data_dir=data_dir, instance="one")


@given(name=st.one_of(st.sampled_from(["AWS_SECRET_ACCESS_KEY", "DOCKER_HOST", "LOCALSTACK_API_KEY"]), st.text()))
def test_nothing_of_ours_passes_but_what_is_named(name: str) -> None:
    named = {"PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ"}
    assert (_SECRET in _environment({name: _SECRET}).values()) == (name in named)


def test_it_listens_on_loopback_only_and_checks_signatures() -> None:
    environment = _environment({})
    assert environment["BIND_HOST"] == "127.0.0.1"
    assert environment["GATEWAY_PORT"] == "4000"
    assert environment["AUTH"] == "true"
    assert environment["IOT_MTLS_ENABLED"] == environment["SFTP_ENABLED"] == "0"


def test_all_its_files_are_in_the_temporary_folder() -> None:
    environment = _environment({"HOME": "/home/me", "TMPDIR": "/elsewhere"})
    for name in ("HOME", "TMPDIR", "STATE_DIR", "S3_DATA_DIR"):
        assert environment[name].startswith("/scratch"), name
    assert "PERSIST_STATE" not in environment


def test_only_what_is_kept_goes_to_the_data_directory() -> None:
    environment = _environment({}, Path("/data"))
    assert environment["PERSIST_STATE"] == "1"
    assert environment["STATE_DIR"].startswith("/data")
    assert environment["HOME"] == environment["TMPDIR"] == "/scratch"
