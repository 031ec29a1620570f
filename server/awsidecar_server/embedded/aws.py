"""The embedded AWS as the sidecar has it: started, filled, and described by the settings that point at it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from awsidecar_server.config import BadConfig, EmbeddedConfig
from awsidecar_server.embedded.location import find_python
from awsidecar_server.embedded.process import EmulatorFailed, EmulatorProcess
from awsidecar_server.embedded.seed.account import REGION, DemoAccount, seed
from awsidecar_server.embedded.seed.people import PEOPLE, Person


class EmbeddedAws:
    """A local AWS with a demo account in it."""

    def __init__(self, process: EmulatorProcess, account: DemoAccount) -> None:
        self._process = process
        self._account = account
        self.people: tuple[Person, ...] = PEOPLE

    def __repr__(self) -> str:
        return f"<EmbeddedAws at {self.endpoint_url}>"

    @classmethod
    async def start(cls, config: EmbeddedConfig) -> Self:
        """Starts the emulator and fills it; raises `BadConfig` or `EmulatorFailed`, and then leaves nothing."""
        process = await EmulatorProcess.start(find_python(config), data_dir=_data_dir(config))
        try:
            account = await seed(process.endpoint_url)
        except BaseException:
            await process.stop()
            raise
        return cls(process, account)

    @property
    def endpoint_url(self) -> str:
        return self._process.endpoint_url

    @property
    def client_id(self) -> str:
        """The app client that the people sign in to."""
        return self._account.client_id

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings that point a sidecar at it, the keys of its service account among them."""
        account = self._account
        return MappingProxyType(
            {
                "AWS_REGION": REGION,
                "AWS_ENDPOINT_URL": self.endpoint_url,
                "AWS_ACCESS_KEY_ID": account.service_account.access_key_id,
                "AWS_SECRET_ACCESS_KEY": account.service_account.secret_access_key,
                "COGNITO_USER_POOL_ID": account.user_pool_id,
                "COGNITO_IDENTITY_POOL_ID": account.identity_pool_id,
                "COGNITO_CLIENT_ID": account.client_id,
                "AWSIDECAR_COGNITO_JWKS_URL": f"{self.endpoint_url}/{account.user_pool_id}/.well-known/jwks.json",
            }
        )

    async def wait_failed(self) -> EmulatorFailed | None:
        """Returns why the emulator ended by itself; None when `stop` ended it."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Ends the emulator; what a data directory keeps is saved. May be called again."""
        await self._process.stop()


def _data_dir(config: EmbeddedConfig) -> Path | None:
    if config.data_dir is None:
        return None
    path = Path(config.data_dir).absolute()
    try:
        # It will hold keys and passwords, even if only a demo's.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise BadConfig(
            f"AWSIDECAR_EMBEDDED_DATA_DIR: {config.data_dir!r} cannot be used ({exc.strerror}); "
            "for example AWSIDECAR_EMBEDDED_DATA_DIR=./data"
        ) from exc
    return path
