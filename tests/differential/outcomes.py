"""What comparing one request gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.differential.paths import Refusal


@dataclass(frozen=True)
class Compared:
    """The outcomes of a request on both ways, and whether they are the same."""

    is_same: bool
    direct: Any
    sidecar: Any
    # Of the request; None where it was answered.
    refusal: Refusal | None = None
    # Messages of pages, beyond the first where these are calls of their own.
    pages: int = 0
    # Elements of a stream of batches.
    elements: int = 0
