"""Whether what was sent has come to the peer: what lies in the system's buffer is lost with a connection that is reset."""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios


def is_unacknowledged(transport: asyncio.BaseTransport) -> bool:
    """Whether the system still keeps something that was sent; False where it does not tell (`man 7 tcp`, SIOCOUTQ)."""
    bound = transport.get_extra_info("socket")
    if bound is None:
        return False
    try:
        # On Linux, SIOCOUTQ has the number of TIOCOUTQ.
        kept = fcntl.ioctl(bound.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:  # closed, or another system
        return False
    return int.from_bytes(kept, sys.byteorder) > 0
