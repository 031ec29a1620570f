"""How one leaf of the configuration is declared: its variable, how its text is read, its default and its help."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple


class BadConfig(Exception):
    """One line that names the variable, what is wrong with its value, and an example."""


class Setting(NamedTuple):
    """How one leaf of the tree is read."""

    env: str
    parse: Callable[[str], Any]
    help: str
    example: str
    section: str = ""
    name: str = ""
    default: Any = None
    # Another variable that is read where `env` is not set.
    alias: str | None = None

    @property
    def file_key(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that may name it, the first that does wins."""
        return (self.env, self.alias) if self.alias else (self.env,)


def setting(
    env: str, parse: Callable[[str], Any], default: Any, help: str, *, example: str, alias: str | None = None
) -> Any:
    """Declares a leaf. `default` is its value when neither the environment nor the file names it."""
    declared = Setting(env, parse, help, example, alias=alias)
    return dataclasses.field(default=default, metadata={"setting": declared})
