"""What is measured, in which order, and for how long: the quick run and the full one."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.backends import DELAYED, DYNAMODB_LOCAL, INSTANT, TLS
from benchmarks.cells import Cell
from benchmarks.operations import (
    BATCH_GET,
    BATCH_WRITE,
    EMPTY,
    GET_LARGE,
    GET_SMALL,
    PUT,
    QUERY_100,
    QUERY_FULL,
    Operation,
)

SIDECAR, SDK_SIDECAR = "sidecar", "sidecar on aioboto3"
STUBS, SDK_STUBS = f"{SIDECAR}, stubs", f"{SDK_SIDECAR}, stubs"
AIOBOTO3, AIOBOTO3_WIRE, BOTO3, AIODYNAMO = "aioboto3", "aioboto3, wire form", "boto3", "aiodynamo"
# On grpc.aio, and on the gRPC server of the sidecar.
EMPTY_RPC, OUR_EMPTY_RPC = "empty RPC", "empty RPC, ours"
# What an application would choose from; the same with the rows of those that take values unconverted; all of them.
_MAIN = (SIDECAR, SDK_SIDECAR, AIOBOTO3, BOTO3, AIODYNAMO)
_MORE = (SIDECAR, STUBS, SDK_SIDECAR, AIOBOTO3, AIOBOTO3_WIRE, BOTO3, AIODYNAMO)
_ALL = (SIDECAR, STUBS, SDK_SIDECAR, SDK_STUBS, AIOBOTO3, AIOBOTO3_WIRE, BOTO3, AIODYNAMO)
_OPERATIONS = (GET_SMALL, GET_LARGE, PUT, QUERY_FULL, BATCH_GET, BATCH_WRITE)
IN_FLIGHT = (1, 32, 256)
OPEN_RATES = (200.0, 800.0)


@dataclass(frozen=True)
class Part:
    """Cells that are run one after the other, round by round: A B C, A B C, ..."""

    name: str
    backend: str
    cells: tuple[Cell, ...]
    rounds: int
    seconds: float
    warm_seconds: float


def parts(*, quick: bool, exhaustive: bool) -> list[Part]:
    """The plan of a run. Parts on the same backend stand together."""
    if quick:
        return [Part("bars", INSTANT, _bar_cells(), rounds=5, seconds=0.5, warm_seconds=0.1)]
    return [
        Part("bars", INSTANT, _bar_cells(SDK_SIDECAR), rounds=7, seconds=0.8, warm_seconds=0.15),
        Part("operations", INSTANT, _matrix(exhaustive=exhaustive), rounds=1, seconds=0.4, warm_seconds=0.1),
        Part("operations", TLS, _tls_cells(), rounds=5, seconds=0.4, warm_seconds=0.1),
        Part("operations", DELAYED, _delayed_cells(), rounds=1, seconds=0.5, warm_seconds=0.1),
        Part("latency", DELAYED, _latency_cells(), rounds=3, seconds=1.5, warm_seconds=0.1),
        Part("operations", DYNAMODB_LOCAL, _local_cells(), rounds=1, seconds=0.4, warm_seconds=0.1),
    ]


def _bar_cells(*others: str) -> tuple[Cell, ...]:
    """What the bars are made of; paths that are compared stand side by side."""
    get, page = GET_SMALL.name, QUERY_FULL.name
    return (
        *(Cell(INSTANT, path, EMPTY.name, 32) for path in (EMPTY_RPC, OUR_EMPTY_RPC)),
        *(Cell(INSTANT, path, get, 32) for path in (SIDECAR, AIOBOTO3)),
        *(Cell(INSTANT, path, get, 1) for path in (SIDECAR, AIOBOTO3)),
        *(Cell(INSTANT, path, page, 1) for path in (SIDECAR, AIOBOTO3)),
        Cell(INSTANT, SIDECAR, QUERY_100.name, 1),
        # Of no bar: the same without conversion of values.
        *(Cell(INSTANT, path, get, 32) for path in (STUBS, AIOBOTO3_WIRE, *others)),
    )


def _matrix(*, exhaustive: bool) -> tuple[Cell, ...]:
    return tuple(
        Cell(INSTANT, path, operation.name, load)
        for operation in _OPERATIONS
        for load in IN_FLIGHT
        # 256 pages of 1 MB at once are a measurement of memory and patience: gigabytes, and minutes for each path.
        if exhaustive or operation is not QUERY_FULL or load <= 32
        for path in (_ALL if load == 32 else _MORE)
    )


def _tls_cells() -> tuple[Cell, ...]:
    return _cells(TLS, (SIDECAR, SDK_SIDECAR, AIOBOTO3, AIODYNAMO), (GET_SMALL,), (1, 32))


def _delayed_cells() -> tuple[Cell, ...]:
    return _cells(DELAYED, _MAIN, (GET_SMALL, PUT), IN_FLIGHT)


def _local_cells() -> tuple[Cell, ...]:
    """Few: the emulator is slower than any path to it."""
    paths = (SIDECAR, SDK_SIDECAR, AIOBOTO3, AIODYNAMO)
    many = _cells(DYNAMODB_LOCAL, paths, (GET_SMALL, PUT, BATCH_GET, BATCH_WRITE), (1, 32))
    return many + _cells(DYNAMODB_LOCAL, paths, (GET_LARGE, QUERY_FULL), (1,))


def _latency_cells() -> tuple[Cell, ...]:
    return tuple(Cell(DELAYED, path, GET_SMALL.name, rate=rate) for rate in OPEN_RATES for path in _MORE)


def _cells(
    backend: str, paths: tuple[str, ...], operations: tuple[Operation, ...], loads: tuple[int, ...]
) -> tuple[Cell, ...]:
    """Every combination; the paths side by side."""
    return tuple(
        Cell(backend, path, operation.name, load) for operation in operations for load in loads for path in paths
    )
