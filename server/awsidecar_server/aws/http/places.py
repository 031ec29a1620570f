"""The connections to all origins together: how many there may be, and which origin gets a place that comes free."""

from __future__ import annotations

from typing import Protocol


class Claimant(Protocol):
    """Whoever opens connections to one origin."""

    @property
    def wanted(self) -> int:
        """How many more it has a use for now, and may open by its own bound."""

    @property
    def idle_since(self) -> float | None:
        """When its longest idle connection became so, on the event loop's clock; None when none is idle."""

    def close_longest_idle(self) -> None:
        """Closes that connection; its place comes back when it is closed."""

    def offer_places(self) -> None:
        """Takes as many places as it has a use for."""


class Places:
    """A bound over all pools, and fair: no origin waits for ever while another has more than its share.

    The state is who has how many places, and who is short of one. It changes only where nothing is awaited. Nobody is
    short of a place while one is free.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken: dict[Claimant, int] = {}
        self._total = 0
        # Those that wait for a place, the one that has done so for longest first; some may have no use for it any more.
        self._short: dict[Claimant, None] = {}
        # Connections that are being closed for their places.
        self._leaving = 0

    def __repr__(self) -> str:
        return f"<Places {self._total} of {self._size} taken, {len(self._short)} origins short>"

    def take(self, claimant: Claimant) -> bool:
        """Takes a place; False when all are taken."""
        if self._total >= self._size:
            return False
        self._total += 1
        self._taken[claimant] = self._taken.get(claimant, 0) + 1
        return True

    def ask(self, claimant: Claimant) -> None:
        """The claimant, for which there was no place, waits for one; what somebody else keeps idle is closed for it."""
        self._short.setdefault(claimant)
        if self._leaving >= sum(one.wanted for one in self._in_need()):
            return
        idle = [(since, one) for one in self._taken if (since := one.idle_since) is not None]
        if idle:
            _, longest = min(idle, key=lambda pair: pair[0])
            self._leaving += 1
            longest.close_longest_idle()

    def put_back(self, claimant: Claimant) -> None:
        """Takes a place back, and offers it to who has the fewest; of several, to who has waited longest."""
        self._total -= 1
        self._taken[claimant] -= 1
        if not self._taken[claimant]:
            del self._taken[claimant]
        self._leaving = max(0, self._leaving - 1)
        while self._total < self._size and (needy := self._in_need()):
            next_one = min(needy, key=self._count)
            del self._short[next_one]
            next_one.offer_places()

    def are_due_from(self, claimant: Claimant, *, is_of_use: bool) -> bool:
        """True when a connection that the claimant has got back must be closed, for somebody else to have its place.

        One that is of no use to the claimant always; else when it has at least two more than somebody else, so that
        shares become equal and stay as they are, or when somebody else has none at all.
        """
        if not self._short:  # the usual case
            return False
        needy = self._in_need()
        if self._leaving >= sum(one.wanted for one in needy):
            return False
        fewest = min((self._count(one) for one in needy if one is not claimant), default=None)
        if fewest is None or (is_of_use and fewest and fewest + 1 >= self._count(claimant)):
            return False
        self._leaving += 1
        return True

    def _count(self, claimant: Claimant) -> int:
        return self._taken.get(claimant, 0)

    def _in_need(self) -> list[Claimant]:
        for one in [one for one in self._short if not one.wanted]:
            del self._short[one]
        return list(self._short)
