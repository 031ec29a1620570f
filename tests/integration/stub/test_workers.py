"""Several worker processes behind one port: what is true of one sidecar is true of all of them together."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.stub.by_hand import opened_and_given_up
from tests.integration.stub.process import SidecarProcess, launched, served
from tests.integration.stub.sidecar import Client, connected, read_refusal, refusal_of, settings_for
from tests.integration.stub_aws import Answer, StubAws, held

import awsidecar.aio
from awsidecar.credentials.v1 import credentials_pb2 as pb
from awsidecar.dynamodb.v1 import tables_pb2
from awsidecar_server.api.listeners import bind_unix

pytestmark = pytest.mark.asyncio(loop_scope="session")

_PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.02
EX_USAGE = 64  # sysexits.h: the command was used incorrectly
SESSION = "x-awsidecar-session"


def settings(aws: StubAws, **changes: str) -> dict[str, str]:
    return settings_for(aws.url, AWSIDECAR_LISTEN_WORKERS="2", **changes)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sidecar(stub_aws: StubAws) -> AsyncIterator[SidecarProcess]:
    """Of two workers; for tests that leave both alive."""
    async with served(settings(stub_aws)) as process:
        yield process


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A socket's path has at most 107 characters."""
    with TemporaryDirectory(prefix="awsidecar-") as directory:
        yield Path(directory)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what other processes do, which no clock of ours can be set for."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(_POLL_SECONDS)


def pids(sidecar: SidecarProcess) -> dict[int, int]:
    """The newest process of each worker."""
    return {event["worker"]: event["pid"] for event in sidecar.events("worker serves")}


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before it was looked for, or while it was
        return False


async def get(sidecar: SidecarProcess, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(f"http://{sidecar.admin}{path}") as answer:
        return answer.status, await answer.text()


async def samples(sidecar: SidecarProcess, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by those of its labels."""
    _, page = await get(sidecar, "/metrics")
    found = (sample for family in text_string_to_metric_families(page) for sample in family.samples)
    return {tuple(sample.labels.values()): sample.value for sample in found if sample.name == name}


async def ready(sidecar: SidecarProcess) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        status = 0
        while status != 200:
            await asyncio.sleep(_POLL_SECONDS)
            status, _ = await get(sidecar, "/readyz")


@asynccontextmanager
async def one_client_each(sidecar: SidecarProcess) -> AsyncIterator[dict[int, Client]]:
    """A connection to each worker, by its number: the kernel deals them out, so it takes as many as it takes."""
    async with AsyncExitStack() as closing:
        clients: dict[int, Client] = {}
        while len(clients) < 2:
            client = await closing.enter_async_context(connected(sidecar.target))
            before = await samples(sidecar, "awsidecar_worker_rpc_total")
            await client.credentials.WhoAmI(pb.WhoAmIRequest())
            after = await samples(sidecar, "awsidecar_worker_rpc_total")
            (worker,) = (int(labels[0]) for labels, count in after.items() if count > before[labels])
            clients.setdefault(worker, client)
        yield clients


async def tier(client: Client, handle: str) -> Any:
    return (await client.credentials.WhoAmI(pb.WhoAmIRequest(), metadata=((SESSION, handle),))).tier


async def test_session_is_known_to_every_worker_when_it_has_been_opened(sidecar: SidecarProcess) -> None:
    async with one_client_each(sidecar) as clients:
        for number in range(20):
            handle = await clients[number % 2].open_session(f"AKIAWORKERS{number:02}")
            assert await tier(clients[1 - number % 2], handle) == pb.TIER_SESSION
            assert await tier(clients[number % 2], handle) == pb.TIER_SESSION


async def test_session_is_over_in_every_worker_when_it_has_been_closed(sidecar: SidecarProcess) -> None:
    async with one_client_each(sidecar) as clients:
        for number in range(20):
            handle = await clients[0].open_session("AKIACLOSING")
            closed = await clients[number % 2].credentials.CloseSession(pb.CloseSessionRequest(session=handle))
            assert closed.closed
            for client in clients.values():
                assert (await refusal_of(tier(client, handle))).info.reason == "SESSION_NOT_FOUND"
            again = await clients[0].credentials.CloseSession(pb.CloseSessionRequest(session=handle))
            assert not again.closed


async def test_session_whose_caller_has_left_before_its_answer_came_is_closed_in_every_worker(
    sidecar: SidecarProcess,
) -> None:
    async with one_client_each(sidecar) as clients:
        before = await samples(sidecar, "awsidecar_sessions_open")
        handles = [await opened_and_given_up(sidecar.target) for _ in range(4)]
        async with asyncio.timeout(_PATIENCE_SECONDS):
            now: dict[tuple[str, ...], float] = {}
            while now != before:
                await asyncio.sleep(_POLL_SECONDS)
                now = await samples(sidecar, "awsidecar_sessions_open")
        for client in clients.values():
            for handle in handles:
                assert (await refusal_of(tier(client, handle))).info.reason == "SESSION_NOT_FOUND"


async def test_session_signs_in_the_other_worker_with_what_it_was_opened_with(
    sidecar: SidecarProcess, aws: StubAws
) -> None:
    async with one_client_each(sidecar) as clients:
        handle = await clients[0].open_session("AKIASIGNING", token="a-session-token")
        await clients[1].dynamodb.ListTables(tables_pb2.ListTablesRequest(), metadata=((SESSION, handle),))
    (request,) = aws.requests
    assert (request.key_id, request.security_token) == ("AKIASIGNING", "a-session-token")


async def test_metrics_are_the_sums_of_the_workers(sidecar: SidecarProcess) -> None:
    what = ("OK", "WhoAmI", "awsidecar.credentials.v1.CredentialsService")
    async with one_client_each(sidecar) as clients:
        before = (await samples(sidecar, "awsidecar_rpc_total"))[what]
        for client in (clients[0], clients[0], clients[1]):
            await client.credentials.WhoAmI(pb.WhoAmIRequest())
        assert (await samples(sidecar, "awsidecar_rpc_total"))[what] == before + 3
        assert (await samples(sidecar, "awsidecar_rpc_duration_seconds_count"))[what] == before + 3
        sessions = (await samples(sidecar, "awsidecar_sessions_open"))[()]
        await clients[0].open_session("AKIACOUNTED")
        assert (await samples(sidecar, "awsidecar_sessions_open"))[()] == sessions + 1
    assert set(await samples(sidecar, "process_resident_memory_bytes")) == {("0",), ("1",), ("supervisor",)}
    assert await samples(sidecar, "awsidecar_workers_serving") == {(): 2}


async def test_log_lines_name_the_worker_and_no_process_shows_a_secret(sidecar: SidecarProcess) -> None:
    async with one_client_each(sidecar) as clients:
        await clients[0].open_session("AKIACANARY", secret="canary-secret", token="canary-token")
    assert {event.get("worker") for event in sidecar.events("serving")} == {0, 1, None}
    shown = sidecar.errors + sidecar.output
    for pid in (sidecar.pid, *pids(sidecar).values()):
        shown += Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
    assert "canary" not in shown


async def test_stuck_worker_makes_openings_fail_until_it_goes_on(sidecar: SidecarProcess) -> None:
    async with one_client_each(sidecar) as clients:
        open_before = await samples(sidecar, "awsidecar_sessions_open")
        kept = await clients[0].open_session("AKIAKEPT")
        os.kill(pids(sidecar)[1], signal.SIGSTOP)
        try:
            refused = await refusal_of(clients[0].open_session("AKIASTUCK"))
            assert (refused.code, refused.info.reason) == (grpc.StatusCode.UNAVAILABLE, "SESSION_NOT_SHARED")
            closing = clients[0].credentials.CloseSession(pb.CloseSessionRequest(session=kept))
            assert (await refusal_of(closing)).info.reason == "SESSION_NOT_SHARED"
            # The other goes on with what it has.
            await clients[0].credentials.WhoAmI(pb.WhoAmIRequest())
        finally:
            os.kill(pids(sidecar)[1], signal.SIGCONT)
        handle = await clients[0].open_session("AKIAGOESON")
        assert await tier(clients[1], handle) == pb.TIER_SESSION
        assert (await refusal_of(tier(clients[1], kept))).info.reason == "SESSION_NOT_FOUND"
        await clients[0].credentials.CloseSession(pb.CloseSessionRequest(session=handle))
        # What could not be opened takes no room.
        assert await samples(sidecar, "awsidecar_sessions_open") == open_before


async def test_stuck_worker_is_told_of_before_a_probe_is_given_up(sidecar: SidecarProcess) -> None:
    counted = await samples(sidecar, "awsidecar_rpc_total")
    os.kill(pids(sidecar)[1], signal.SIGSTOP)
    try:
        for path, status in (("/readyz", 503), ("/metrics", 200), ("/livez", 200)):
            # Kubernetes waits 1 s for a probe, which takes half of that; the rest is for a busy machine.
            async with asyncio.timeout(1.5):
                assert (await get(sidecar, path))[0] == status
        assert await samples(sidecar, "awsidecar_workers_serving") == {(): 1}
        assert await samples(sidecar, "awsidecar_rpc_total") == counted
    finally:
        os.kill(pids(sidecar)[1], signal.SIGCONT)
    await ready(sidecar)


async def test_killed_worker_comes_back_and_knows_the_sessions(aws: StubAws) -> None:
    what = ("OK", "WhoAmI", "awsidecar.credentials.v1.CredentialsService")
    async with served(settings(aws)) as sidecar:
        async with one_client_each(sidecar) as clients:
            handles = [await client.open_session("AKIASURVIVOR") for client in clients.values()]
            counted = (await samples(sidecar, "awsidecar_rpc_total"))[what]
            dead = pids(sidecar)[1]
            os.kill(dead, signal.SIGKILL)
            await until(lambda: not runs(dead))
            # The one that is left goes on, and opens sessions.
            assert await tier(clients[0], handles[1]) == pb.TIER_SESSION
            handles.append(await opened_at_last(clients[0]))
            await until(lambda: pids(sidecar)[1] != dead)
        await ready(sidecar)
        async with one_client_each(sidecar) as clients:
            assert [await tier(clients[1], handle) for handle in handles] == [pb.TIER_SESSION] * 3
        assert (await samples(sidecar, "awsidecar_rpc_total"))[what] > counted
        assert await samples(sidecar, "awsidecar_worker_deaths_total") == {("1",): 1}
        (death,) = sidecar.events("worker died")
        assert (death["worker"], death["how"]) == (1, "signal SIGKILL")


async def worker_of(sidecar: SidecarProcess, client: awsidecar.aio.Client) -> int:
    """The number of the worker that has the client's connection."""
    before = await samples(sidecar, "awsidecar_worker_rpc_total")
    await client.credentials.who_am_i()
    after = await samples(sidecar, "awsidecar_worker_rpc_total")
    (worker,) = (int(labels[0]) for labels, count in after.items() if count > before[labels])
    return worker


async def test_write_whose_worker_is_killed_is_told_of_as_unknown_and_not_repeated(aws: StubAws) -> None:
    aws.on("PutItem", held())
    async with served(settings(aws)) as sidecar, awsidecar.aio.connect(sidecar.target) as client:
        worker = await worker_of(sidecar, client)
        writing = asyncio.ensure_future(client.dynamodb.put_item(TableName="users", Item={"id": "1"}))
        await aws.until(lambda: aws.count("PutItem") == 1)
        os.kill(pids(sidecar)[worker], signal.SIGKILL)
        with pytest.raises(awsidecar.errors.Unavailable) as lost:
            await writing
        assert (lost.value.reason, lost.value.ambiguous) == ("", True)
        await client.credentials.who_am_i()  # another worker takes over at once
        assert aws.count("PutItem") == 1


async def test_transaction_whose_worker_is_killed_is_sent_again_under_its_token(aws: StubAws) -> None:
    aws.on("TransactWriteItems", held(), Answer())
    put: Any = {"Put": {"TableName": "users", "Item": {"id": "1"}}}
    async with served(settings(aws)) as sidecar, awsidecar.aio.connect(sidecar.target) as client:
        worker = await worker_of(sidecar, client)
        writing = asyncio.ensure_future(client.dynamodb.transact_write_items(TransactItems=[put]))
        await aws.until(lambda: aws.count("TransactWriteItems") == 1)
        os.kill(pids(sidecar)[worker], signal.SIGKILL)
        await writing
    tokens = [request.parameters["ClientRequestToken"] for request in aws.requests]
    assert len(tokens) == 2
    assert tokens[0] == tokens[1]


async def opened_at_last(client: Client) -> str:
    """Until the supervisor has noticed the death of a worker, nothing is opened."""
    while True:
        try:
            return await client.open_session("AKIASURVIVOR")
        except grpc.aio.AioRpcError as failed:
            if read_refusal(failed).info.reason != "SESSION_NOT_SHARED":
                raise


async def test_sessions_of_all_workers_together_are_limited(aws: StubAws) -> None:
    async with (
        served(settings(aws, AWSIDECAR_IDENTITY_MAX_SESSIONS="3")) as sidecar,
        one_client_each(sidecar) as clients,
    ):
        handles = [await clients[number % 2].open_session("AKIALIMITED") for number in range(3)]
        for handle in handles:  # of use, so that they do not give way
            await clients[0].dynamodb.ListTables(tables_pb2.ListTablesRequest(), metadata=((SESSION, handle),))
        for client in clients.values():
            refused = await refusal_of(client.open_session("AKIAONEMORE"))
            assert (refused.info.reason, refused.info.metadata["limit"]) == ("TOO_MANY_SESSIONS", "3")
        await clients[0].credentials.CloseSession(pb.CloseSessionRequest(session=handles[0]))
        await clients[1].open_session("AKIAROOM")


async def test_drain_lets_the_calls_of_every_worker_finish(aws: StubAws, short_directory: Path) -> None:
    aws.on("ListTables", held(Answer({"TableNames": ["late"]})))
    path = short_directory / "grpc.sock"
    sidecar = await launched(settings(aws, AWSIDECAR_LISTEN_UNIX_SOCKET=str(path)))
    try:
        async with one_client_each(sidecar) as clients:
            calls = [client.dynamodb.ListTables(tables_pb2.ListTablesRequest()) for client in clients.values()]
            await until(lambda: len(aws.requests) == 2)
            sidecar.signal()
            await until(lambda: len(sidecar.events("draining")) == 3)
            assert (await get(sidecar, "/readyz"))[0] == 503
            await until(lambda: not path.exists())  # nobody shall wait there for an answer
            with bind_unix(str(path)):
                aws.release()
                assert [list((await call).table_names) for call in calls] == [["late"]] * 2
                assert await sidecar.ended() == 0
                assert path.is_socket()  # the successor's
        assert len(sidecar.events("stopped")) == 3
    finally:
        await sidecar.killed()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_nothing_outlives_a_supervisor_that_is_killed_or_in_a_hurry(
    aws: StubAws, number: signal.Signals
) -> None:
    aws.on("ListTables", held())
    sidecar = await launched(settings(aws, AWSIDECAR_SHUTDOWN_GRACE_SECONDS="3600"))
    try:
        async with connected(sidecar.target) as client:
            call = client.dynamodb.ListTables(tables_pb2.ListTablesRequest())
            await until(lambda: len(aws.requests) == 1)
            sidecar.signal(signal.SIGTERM)
            await until(lambda: len(sidecar.events("draining")) == 3)
            sidecar.signal(number)
            assert await sidecar.ended() in {-signal.SIGKILL, 128 + signal.SIGTERM}
            workers = pids(sidecar).values()
            await until(lambda: not any(map(runs, workers)))
            call.cancel()
    finally:
        await sidecar.killed()


async def test_workers_that_die_again_and_again_end_the_sidecar_with_the_reason(aws: StubAws) -> None:
    sidecar = await launched(settings(aws))
    try:
        for death in range(5):
            await until(lambda: len(sidecar.events("worker serves")) == 2 + death)  # noqa: B023 - at once
            os.kill(pids(sidecar)[0], signal.SIGKILL)
        assert await sidecar.ended() == 1
        (end,) = sidecar.events("ended")
        assert end["reason"] == "worker 0 dies again and again (the last time: signal SIGKILL)"
        assert not any(map(runs, pids(sidecar).values()))
    finally:
        await sidecar.killed()


@pytest.mark.parametrize(("first", "second"), [("2", "1"), ("1", "2"), ("2", "2")])
async def test_port_of_another_sidecar_is_refused(aws: StubAws, first: str, second: str) -> None:
    async with served(settings_for(aws.url, AWSIDECAR_LISTEN_WORKERS=first)) as serving:
        port = serving.target.rpartition(":")[2]
        settings = settings_for(aws.url, AWSIDECAR_LISTEN_WORKERS=second, AWSIDECAR_LISTEN_PORT=port)
        refused = await launched(settings)
        assert await refused.ended() == EX_USAGE
        (line,) = refused.errors.splitlines()
        assert line.startswith(f"awsidecar: AWSIDECAR_LISTEN_PORT: 127.0.0.1:{port} cannot be served on")


async def test_unix_socket_is_served_by_all_workers_and_survives_one_of_them(
    aws: StubAws, short_directory: Path
) -> None:
    path = short_directory / "grpc.sock"
    async with served(settings(aws, AWSIDECAR_LISTEN_UNIX_SOCKET=str(path))) as sidecar:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        handle = await opened_by(f"unix:{path}")
        stopped = pids(sidecar)[0]
        os.kill(stopped, signal.SIGTERM)  # it drains, and closes what it listens on
        await until(lambda: not runs(stopped))
        async with connected(f"unix:{path}") as client:
            assert await tier(client, handle) == pb.TIER_SESSION
        await until(lambda: pids(sidecar)[0] != stopped)
        # Only the one that has been started again is left to answer.
        os.kill(pids(sidecar)[1], signal.SIGSTOP)
        try:
            async with connected(f"unix:{path}") as client:
                assert await tier(client, handle) == pb.TIER_SESSION
        finally:
            os.kill(pids(sidecar)[1], signal.SIGCONT)
    assert not path.exists()


async def opened_by(target: str) -> str:
    async with connected(target) as client:
        return await client.open_session("AKIAUNIX")


async def test_unix_socket_that_is_served_on_is_not_taken_over(aws: StubAws, short_directory: Path) -> None:
    path = short_directory / "grpc.sock"
    async with served(settings(aws, AWSIDECAR_LISTEN_UNIX_SOCKET=str(path))):
        refused = await launched(settings(aws, AWSIDECAR_LISTEN_UNIX_SOCKET=str(path)))
        assert await refused.ended() == EX_USAGE
        assert refused.errors.startswith("awsidecar: AWSIDECAR_LISTEN_UNIX_SOCKET: ")
        await opened_by(f"unix:{path}")
