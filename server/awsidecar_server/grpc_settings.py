"""What gRPC reads from the environment, once, when it is imported: the one place for its switches.

Measured with grpcio 1.85 (GetItem, 32 in flight, both ends on one machine): without its newer event engine in the
transport, a call costs the server some 6 % and the client some 17 % less CPU. Measure again at every upgrade with
`make bench`, with and without these, and drop what no longer helps.
"""

from __future__ import annotations

from collections.abc import MutableMapping

_EXPERIMENTS = "-event_engine_client,-event_engine_listener,-event_engine_callback_cq"


def apply_to(environment: MutableMapping[str, str]) -> None:
    """Sets what the operator has not set."""
    # gRPC writes lines of its own to standard error, a second one for each of ours.
    environment.setdefault("GRPC_VERBOSITY", "NONE")
    environment.setdefault("GRPC_EXPERIMENTS", _EXPERIMENTS)
