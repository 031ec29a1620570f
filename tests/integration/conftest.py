"""A sidecar for real: `awsidecar serve --embedded` as a process of its own, and the demo account that it serves."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import grpc
import pytest
from tests import dynamodb_local as local
from tests.integration import backends, life_line
from tests.integration.backends import ANY_KEY, BACKENDS, DYNAMODB_LOCAL, MINISTACK, ROOT_KEY, Backend

from awsidecar_server.config import BadConfig, EmbeddedConfig
from awsidecar_server.embedded.location import find_python
from awsidecar_server.embedded.seed.people import PEOPLE
from awsidecar_server.embedded.tokens import id_token

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_ROOT = Path(__file__).parents[2]
_FIXTURES_OF_BACKENDS = {
    "dynamodb_local": {"dynamodb_local"},
    "ministack": {"embedded_environment", "embedded_python"},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what runs on one backend alone by the fixture that it uses; what runs on each is marked by `BACKENDS`."""
    for item in items:
        for mark, fixtures in _FIXTURES_OF_BACKENDS.items():
            if fixtures & set(getattr(item, "fixturenames", ())):
                item.add_marker(mark)


@dataclass
class Sidecar:
    """A running sidecar process. `log` grows while it runs."""

    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)
    target: str = ""
    admin: str = ""
    endpoint: str = ""
    client_id: str = ""
    reader: threading.Thread = field(default_factory=threading.Thread, repr=False)
    # Secrets that went through it, none of which may be found in what it writes.
    canaries: set[str] = field(default_factory=set, repr=False)

    def read(self, stopped: threading.Event) -> None:
        """Follows standard error; runs in a thread until the process ends."""
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.log.append(line)
                self._notice(line)
        stopped.set()

    def let_go(self) -> None:
        """Ends it at once, if it has not ended."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.reader.join()

    def _notice(self, line: str) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        if event.get("event") == "embedded aws":
            self.endpoint, self.client_id = event["endpoint"], event["client_id"]
        if event.get("event") == "serving" and "admin" in event:  # workers say it, too
            self.admin, self.target = event["admin"], event["grpc"][0]

    def token(self, person: int = 0) -> str:
        """A fresh ID token of one of the demo's people."""
        someone = PEOPLE[person]
        token = asyncio.run(id_token(self.endpoint, self.client_id, someone.username, someone.password))
        self.canaries.add(token)
        return token

    def leaks(self) -> list[str]:
        """The lines of the log that hold a secret in any of its forms."""
        forms = {form for secret in self.canaries for form in _forms(secret)}
        return [line for line in self.log if any(form in line for form in forms)]


def _forms(secret: str) -> set[str]:
    """A secret as it is, in base64, and as it stands in a URL or in JSON."""
    raw = secret.encode()
    return {
        secret,
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
    }


def start_sidecar(arguments: list[str], environment: Mapping[str, str]) -> Sidecar:
    """Starts `awsidecar serve` and returns when it serves."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("AWS_", "COGNITO_"))}
    process = subprocess.Popen(
        life_line.command(life_line.SERVER, "serve", *arguments),
        env={
            **inherited,
            "PYTHONPATH": f"{_ROOT / 'server'}{os.pathsep}{_ROOT / 'clients/python'}",
            "AWSIDECAR_LISTEN_PORT": "0",
            "AWSIDECAR_ADMIN_PORT": "0",
            "AWSIDECAR_LOG_FORMAT": "json",
            **environment,
        },
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    sidecar, stopped = Sidecar(process), threading.Event()
    sidecar.reader = threading.Thread(target=sidecar.read, args=(stopped,), daemon=True)
    sidecar.reader.start()
    deadline = time.monotonic() + _START_SECONDS
    while not sidecar.target:
        if stopped.wait(0.02) or time.monotonic() > deadline:
            sidecar.let_go()
            pytest.fail("the sidecar did not start:\n" + "".join(sidecar.log[-40:]), pytrace=False)
    return sidecar


def stop_sidecar(sidecar: Sidecar) -> int:
    """Ends it as Kubernetes would; returns its exit code."""
    sidecar.process.terminate()
    try:
        return sidecar.process.wait(_STOP_SECONDS)
    finally:
        sidecar.let_go()


@pytest.fixture(scope="session")
def embedded_environment() -> Mapping[str, str]:
    """What makes a sidecar find MiniStack; a skip with one line where there is none."""
    try:
        python = find_python(EmbeddedConfig(python=os.environ.get("AWSIDECAR_EMBEDDED_PYTHON") or None))
    except BadConfig as problem:
        leave_out(str(problem))
    return {"AWSIDECAR_EMBEDDED_PYTHON": python}


def leave_out(reason: str) -> NoReturn:
    """Skips what needs something that this machine has not; fails it where everything is required."""
    if os.environ.get("AWSIDECAR_REQUIRE_ALL") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[str]:
    """The endpoint URL of AWS's own emulator of DynamoDB; a skip with one line where there is none.

    At first it has the demo's tables and items.

    It takes any keys and any region, and has the same tables for all of them.
    """
    with ExitStack() as closing:
        try:
            endpoint = closing.enter_context(local.running())
        except local.Unavailable as reason:
            leave_out(str(reason))
        backends.put_sample_data(endpoint)
        yield endpoint


@pytest.fixture(scope="session")
def sidecar_on_dynamodb_local(dynamodb_local: str) -> Iterator[Sidecar]:
    """One sidecar on AWS's own emulator for all tests, with a service account, whose end must be orderly."""
    running = start_sidecar([], backends.settings(dynamodb_local))
    yield running
    assert stop_sidecar(running) == 0


@pytest.fixture(scope="session")
def sidecar(embedded_environment: Mapping[str, str]) -> Iterator[Sidecar]:
    """One sidecar on the embedded AWS for all tests, at debug level, whose end must be orderly."""
    running = start_sidecar(["--embedded"], {**embedded_environment, "AWSIDECAR_LOG_LEVEL": "debug"})
    running.token()  # one secret at least to be looked for, whichever tests run
    yield running
    assert stop_sidecar(running) == 0
    assert not running.leaks()


# Of the module, for its order to stay as it is written: each has its tests on one backend, then on the other.
@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn; for all tests of what DynamoDB does."""
    if request.param == MINISTACK:
        embedded: Sidecar = request.getfixturevalue("sidecar")
        return Backend(MINISTACK, embedded, embedded.endpoint, access_key_id=ROOT_KEY)
    served: Sidecar = request.getfixturevalue("sidecar_on_dynamodb_local")
    return Backend(DYNAMODB_LOCAL, served, request.getfixturevalue("dynamodb_local"), access_key_id=ANY_KEY)


@pytest.fixture(scope="module")
def sidecar_target(backend: Backend) -> str:
    return backend.sidecar.target


@dataclass(frozen=True)
class Demo:
    """What an application of the demo has in its hands."""

    sidecar: Sidecar = field(repr=False)

    def id_token(self, person: int = 0) -> str:
        return self.sidecar.token(person)


@pytest.fixture(scope="session")
def demo(sidecar: Sidecar) -> Demo:
    return Demo(sidecar)


@pytest.fixture
def channel(sidecar_target: str) -> Iterator[grpc.Channel]:
    # Its own connection each: a test may break it.
    options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
    with grpc.insecure_channel(sidecar_target, options=[*options, ("grpc.use_local_subchannel_pool", 1)]) as opened:
        yield opened


@pytest.fixture
def scrape(sidecar: Sidecar) -> Callable[[], dict[str, float]]:
    """Reads `/metrics` as {sample with its labels: value}."""

    def read() -> dict[str, float]:
        import urllib.request

        with urllib.request.urlopen(f"http://{sidecar.admin}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        samples: dict[str, float] = {}
        for line in lines:
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    return read


def details_of(failure: grpc.RpcError) -> Any:
    """The `google.rpc.Status` of a failure."""
    from google.rpc import status_pb2

    return status_pb2.Status.FromString(trailers_of(failure)["grpc-status-details-bin"])


def trailers_of(call: Any) -> dict[str, Any]:
    """The trailing metadata of a finished call."""
    return dict(call.trailing_metadata())


def error_info(failure: grpc.RpcError) -> Any:
    """The one `ErrorInfo` of a failure."""
    from google.rpc import error_details_pb2

    found = error_details_pb2.ErrorInfo()
    (packed,) = (detail for detail in details_of(failure).details if detail.Is(found.DESCRIPTOR))
    packed.Unpack(found)
    return found


def violated_fields(failure: grpc.RpcError) -> list[str]:
    """The fields that a failure's `BadRequest` names."""
    from google.rpc import error_details_pb2

    found = error_details_pb2.BadRequest()
    for detail in details_of(failure).details:
        if detail.Is(found.DESCRIPTOR):
            detail.Unpack(found)
    return [violation.field for violation in found.field_violations]


@pytest.fixture(scope="session")
def grpcurl() -> str:
    # The environment of the tests has one, from its wrapper on PyPI.
    found = shutil.which("grpcurl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        leave_out("grpcurl is not installed")
    return found
