"""The lines that a person types, with the real grpcurl."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.conftest import Sidecar

from awsidecar_server.contract import SERVICES, rpcs

_SERVICE = "awsidecar.dynamodb.v1.DynamoDbService"
_AS_IN_THE_AWS_DOCUMENTATION = '{"TableName":"users","Key":{"id":{"S":"user-123"}}}'


def run(grpcurl: str, *arguments: str) -> str:
    done = subprocess.run(
        [grpcurl, "-plaintext", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_list_names_every_service(grpcurl: str, sidecar: Sidecar) -> None:
    assert run(grpcurl, sidecar.target, "list").split() == [
        "awsidecar.credentials.v1.CredentialsService",
        "awsidecar.documents.v1.DocumentService",
        "awsidecar.dynamodb.v1.DynamoDbService",
        "awsidecar.dynamodb.v1.DynamoDbStreamsService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    ]


def test_list_names_every_rpc_of_a_service(grpcurl: str, sidecar: Sidecar) -> None:
    for service in SERVICES:
        names = run(grpcurl, sidecar.target, "list", service.full_name).split()
        assert sorted(names) == sorted(f"{rpc.service}.{rpc.method}" for rpc in rpcs(service))


def test_describe_shows_aws_names(grpcurl: str, sidecar: Sidecar) -> None:
    shown = run(grpcurl, sidecar.target, "describe", "awsidecar.dynamodb.v1.GetItemRequest")
    assert 'json_name = "TableName"' in shown


def test_json_of_the_aws_documentation_can_be_pasted(grpcurl: str, sidecar_target: str) -> None:
    answer = run(grpcurl, "-d", _AS_IN_THE_AWS_DOCUMENTATION, sidecar_target, f"{_SERVICE}/GetItem")
    assert json.loads(answer)["Item"]["attributes"]["email"] == {"S": "user@example.com"}


def test_json_of_the_aws_documentation_can_be_pasted_for_a_user(grpcurl: str, sidecar: Sidecar) -> None:
    token = ["-H", f"authorization: Bearer {sidecar.token()}"]
    answer = run(grpcurl, *token, "-d", _AS_IN_THE_AWS_DOCUMENTATION, sidecar.target, f"{_SERVICE}/GetItem")
    assert json.loads(answer)["Item"]["attributes"]["email"] == {"S": "user@example.com"}


def test_a_refusal_shows_its_details(grpcurl: str, sidecar_target: str) -> None:
    done = subprocess.run(
        [grpcurl, "-plaintext", "-d", '{"TableName":"users"}', sidecar_target, f"{_SERVICE}/GetItem"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "Code: InvalidArgument" in done.stderr
    assert "Message: Key: is required" in done.stderr


def test_the_lines_of_the_banner_work_as_they_stand(grpcurl: str, sidecar: Sidecar) -> None:
    shown = "".join(sidecar.log)
    script = "\n".join(
        line.strip() for line in shown.splitlines() if re.match(r"\s+(grpcurl |TOKEN=|\S*python\S* )", line)
    )
    assert script.count("grpcurl") == 2
    path = [str(Path(sys.executable).parent), str(Path(grpcurl).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(path)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2] / "clients/python")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("user@example.com") == 3


def test_the_lines_of_the_page_on_streams_of_pages_work_as_they_stand(grpcurl: str, sidecar_target: str) -> None:
    page = (Path(__file__).parents[2] / "docs/page-streams.md").read_text(encoding="utf-8")
    lines = [
        block.replace("127.0.0.1:50051", sidecar_target)
        for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    ]
    assert len(lines) == 4
    path = os.pathsep.join([str(Path(grpcurl).parent), os.environ["PATH"]])
    for line in lines:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PATH": path},
        )
        assert done.returncode == 0, done.stderr
        assert '"page"' in done.stdout


def test_a_session_can_be_opened_used_and_closed_by_hand(grpcurl: str, sidecar: Sidecar) -> None:
    credentials = "awsidecar.credentials.v1.CredentialsService"

    def call(method: str, data: dict[str, Any], *headers: str) -> dict[str, Any]:
        answer = run(grpcurl, *headers, "-d", json.dumps(data), sidecar.target, f"{credentials}/{method}")
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    opened = call("OpenSession", {"id_token": sidecar.token()})
    session = ("-H", f"x-awsidecar-session: {opened['session']}")
    assert call("WhoAmI", {}, *session)["tier"] == "TIER_COGNITO"
    assert call("CloseSession", {}, *session) == {"closed": True}
