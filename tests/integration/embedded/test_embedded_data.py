"""What a data directory keeps, and that nothing is kept without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from awsidecar_server.config import BadConfig, EmbeddedConfig
from awsidecar_server.embedded import EmbeddedAws, id_token
from awsidecar_server.embedded.seed.items import all_items

_KEY = {"id": {"S": "user-kept"}}
_SEEDED_KEY = {"id": {"S": "user-123"}}


@asynccontextmanager
async def _running(python: str, data_dir: Path | None) -> AsyncIterator[EmbeddedAws]:
    config = EmbeddedConfig(python=python, data_dir=str(data_dir) if data_dir else None)
    embedded = await EmbeddedAws.start(config)
    try:
        yield embedded
    finally:
        await embedded.stop()


async def _write(embedded: EmbeddedAws, client_of: Any) -> None:
    async with client_of(embedded.environment, "dynamodb") as client:
        await client.put_item(TableName="users", Item=_KEY | {"name": {"S": "Kept"}})
        await client.delete_item(TableName="users", Key=_SEEDED_KEY)


async def _read(embedded: EmbeddedAws, client_of: Any, key: Any) -> Any:
    async with client_of(embedded.environment, "dynamodb") as client:
        return (await client.get_item(TableName="users", Key=key)).get("Item")


async def test_a_written_item_outlives_a_restart_and_a_deleted_one_does_not_come_back(
    embedded_python: str, tmp_path: Path, client_of: Any
) -> None:
    async with _running(embedded_python, tmp_path / "data") as embedded:
        await _write(embedded, client_of)
    async with _running(embedded_python, tmp_path / "data") as embedded:
        assert (await _read(embedded, client_of, _KEY))["name"] == {"S": "Kept"}
        assert await _read(embedded, client_of, _SEEDED_KEY) is None
        async with client_of(embedded.environment, "dynamodb") as client:
            count = (await client.scan(TableName="users", Select="COUNT"))["Count"]
        assert count == len(all_items()["users"])


async def test_a_second_run_has_the_same_pools_and_a_whole_environment(
    embedded_python: str, tmp_path: Path, client_of: Any
) -> None:
    async with _running(embedded_python, tmp_path / "data") as embedded:
        first = dict(embedded.environment)
    async with _running(embedded_python, tmp_path / "data") as embedded:
        second = dict(embedded.environment)
        for person in embedded.people:
            token = await id_token(embedded.endpoint_url, embedded.client_id, person.username, person.password)
            login = f"cognito-idp.us-east-1.amazonaws.com/{second['COGNITO_USER_POOL_ID']}"
            async with client_of(second, "cognito-identity") as client:
                await client.get_id(IdentityPoolId=second["COGNITO_IDENTITY_POOL_ID"], Logins={login: token})
        assert await _read(embedded, client_of, _SEEDED_KEY) is not None
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] == second[name]} >= {
        "COGNITO_USER_POOL_ID",
        "COGNITO_IDENTITY_POOL_ID",
        "COGNITO_CLIENT_ID",
    }
    assert first["AWS_SECRET_ACCESS_KEY"] != second["AWS_SECRET_ACCESS_KEY"]


async def test_without_a_data_directory_nothing_is_kept(embedded_python: str, client_of: Any) -> None:
    async with _running(embedded_python, None) as embedded:
        await _write(embedded, client_of)
    async with _running(embedded_python, None) as embedded:
        assert await _read(embedded, client_of, _KEY) is None
        assert await _read(embedded, client_of, _SEEDED_KEY) is not None


async def test_the_next_run_waits_until_the_last_one_has_saved(
    embedded_python: str, tmp_path: Path, client_of: Any
) -> None:
    """As after a killed sidecar: its emulator is told by the closed pipe only, and nobody waits for it."""
    async with _running(embedded_python, tmp_path / "data") as embedded:
        await _write(embedded, client_of)
        stdin = embedded._process._child.stdin
        assert stdin is not None
        stdin.close()
        async with _running(embedded_python, tmp_path / "data") as following:
            assert await _read(following, client_of, _KEY) is not None


async def test_a_data_directory_that_cannot_be_is_bad_configuration(embedded_python: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(BadConfig, match=r"^AWSIDECAR_EMBEDDED_DATA_DIR: "):
        await EmbeddedAws.start(EmbeddedConfig(python=embedded_python, data_dir=str(file)))


async def test_what_is_kept_is_for_its_owner_only(embedded_python: str, tmp_path: Path) -> None:
    async with _running(embedded_python, tmp_path / "data"):
        pass
    for path in (tmp_path / "data", *(tmp_path / "data").rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
