"""The DynamoDBs of a run, and the servers and clients on each of them."""

from __future__ import annotations

import datetime as dt
import ipaddress
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.cells import Cell, Sample
from benchmarks.paths import Target
from benchmarks.processes import ClientProcess, Failed, Process, Sidecar

INSTANT, DELAYED, TLS = "fake, 0 ms", "fake, 3 ms", "fake, 0 ms, TLS"
DYNAMODB_LOCAL = "DynamoDB Local"


@dataclass(frozen=True)
class Fake:
    """The fake DynamoDB, with its three doors."""

    targets: dict[str, Target]
    process_id: int

    @classmethod
    def start(cls, directory: Path, closing: ExitStack) -> Fake:
        certificate, private_key = _self_signed(directory)
        process = Process("benchmarks.fake_dynamodb", str(certificate), str(private_key), closing=closing)
        doors = process.hear()
        targets = {
            INSTANT: Target(endpoint=doors["instant"]),
            DELAYED: Target(endpoint=doors["delayed"]),
            TLS: Target(endpoint=doors["tls"], ca_file=str(certificate)),
        }
        return cls(targets, process.process_id)


class Stage:
    """One backend with whatever runs on it; servers and clients are started when a cell first needs them."""

    def __init__(self, target: Target, backend: int, closing: ExitStack) -> None:
        self._target = target
        self._backend = backend
        self._closing = closing
        self._clients: dict[str, ClientProcess] = {}
        self.sidecars: dict[str, Sidecar] = {}

    def run(self, cell: Cell, *, seconds: float, warm_seconds: float) -> Sample:
        """Measures a cell. A client that fails is replaced by the next cell that needs it."""
        try:
            return self._client(cell).run(cell, seconds=seconds, warm_seconds=warm_seconds)
        except Failed:
            self._clients.pop(cell.path, None)
            raise

    def _client(self, cell: Cell) -> ClientProcess:
        found = self._clients.get(cell.path)
        if found is None:
            grpc, server = self._server(cell.path)
            target = replace(self._target, grpc=grpc)
            found = self._clients[cell.path] = ClientProcess(
                cell.path, target, server=server, backend=self._backend, closing=self._closing
            )
        return found

    def _server(self, path: str) -> tuple[str, int]:
        """The address and process of what stands between the client and the backend, if anything does."""
        if path.startswith("empty RPC"):
            which = "ours" if path.endswith("ours") else "grpc.aio"
            process = Process("benchmarks.empty_rpc", which, closing=self._closing)
            return process.hear()["target"], process.process_id
        if path.startswith("sidecar"):
            sidecar = self.sidecar("sdk" if "aioboto3" in path else "json")
            return sidecar.grpc, sidecar.process_id
        return "", 0

    def sidecar(self, lane: str) -> Sidecar:
        found = self.sidecars.get(lane)
        if found is None:
            found = self.sidecars[lane] = Sidecar(self._target, lane, self._closing)
        return found


def _self_signed(directory: Path) -> tuple[Path, Path]:
    """A certificate for this host that is its own authority."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate_file, key_file = directory / "fake.crt", directory / "fake.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate_file, key_file
