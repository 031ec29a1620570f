"""How far a call has come with AWS, for whoever has to tell its caller when it ends in the middle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from awsidecar_server.aws.idempotency import Nature
from awsidecar_server.aws.retries import Failure, is_ambiguous


@dataclass(frozen=True, slots=True)
class Awaited:
    """A state that a call waits for, and the last one that it has seen: empty before the first answer."""

    state: str
    last: str = ""


class Progress:
    """The attempts of one call, renewals of credentials included; and whether one of them may have had an effect.

    Whoever sends changes it. It outlives the sending, which a deadline may cut anywhere, and whatever comes after.
    """

    __slots__ = ("_is_out", "_nature", "_was_ambiguous", "attempts", "awaited", "has_answered")

    def __init__(self) -> None:
        self.attempts = 0
        # None: the call does not wait for a state.
        self.awaited: Awaited | None = None
        # The caller has been sent a message of the answer.
        self.has_answered = False
        self._nature: Callable[[], Nature] = _unknown
        # A request has left us, and nobody knows that it did nothing: no answer has come yet, or a favourable one.
        self._is_out = False
        # An earlier one may have had an effect.
        self._was_ambiguous = False

    def __repr__(self) -> str:
        return f"<Progress {self.attempts} attempts>"

    @property
    def is_ambiguous(self) -> bool:
        """True when AWS may have carried out the call, and it is a write."""
        return self._was_ambiguous or (self._is_out and self._nature() is not Nature.READ)

    @property
    def was_ambiguous(self) -> bool:
        """True when an attempt before the last one may have had an effect."""
        return self._was_ambiguous

    def begin(self, nature: Callable[[], Nature]) -> None:
        """One more attempt; nothing of it has been sent yet."""
        self.attempts += 1
        self._nature = nature

    def sent(self) -> None:
        """From now on, AWS may have got the request."""
        self._is_out = True

    def absorb(self, part: Progress) -> None:
        """Adds the attempts of a call that has ended, and was made for this one."""
        self.attempts += part.attempts
        self._was_ambiguous = self._was_ambiguous or part.is_ambiguous

    def leave_open(self) -> None:
        """Something was done, or may have been, that the caller has not been told of."""
        self._was_ambiguous = True

    def failed(self, failure: Failure) -> None:
        self._is_out = False
        self._was_ambiguous = self._was_ambiguous or is_ambiguous(self._nature, failure)


def _unknown() -> Nature:
    return Nature.ONCE
