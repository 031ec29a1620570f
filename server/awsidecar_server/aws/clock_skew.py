"""How far AWS's clock is from ours, learnt from the answers that refuse a signature for its time.

The rule is that of all AWS SDKs since 2026 (https://github.com/aws/aws-sdk-go-v2/pull/3472), but for what is believed.
A refusal may be forged by whoever stands between us and AWS, to have us sign for a time to come and use it then. So the
sender asks only about answers that came over TLS, no clock is believed that is far off, and what one refusal says holds
for the call that it refused, until AWS has taken a request that was signed so.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

# Refusals that a wrong clock can be the reason of.
CODES = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "InvalidSignatureException",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
# AWS refuses signatures that are 5 minutes off; a smaller difference has nothing to do with the refusal.
_LEAST_SKEW_SECONDS = 240.0
# A time zone taken for another makes 14 hours. What is further off is for the operator to set right.
_MOST_SKEW_SECONDS = 86_400.0
# An answer that took longer says too little of when AWS wrote its date.
_LONGEST_ROUND_TRIP_SECONDS = 900.0
# Hosts are per service, region and account.
_MAX_HOSTS = 1024


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of AWS, as far as clocks are concerned. The times are ours, uncorrected, in seconds since 1970."""

    sent_at: float
    received_at: float
    # The headers `Date` and `Age`; None where the answer has none.
    date: str | None
    age: str | None = None


class ClockSkew:
    """The offset of each host, bounded: that of the host that was corrected longest ago goes first."""

    def __init__(self, *, is_enabled: bool = True, max_hosts: int = _MAX_HOSTS) -> None:
        self._is_enabled = is_enabled
        self._max_hosts = max_hosts
        self._offsets: OrderedDict[str, float] = OrderedDict()

    def __repr__(self) -> str:
        return f"<ClockSkew {len(self._offsets)} hosts>"

    def offset_seconds(self, host: str) -> float:
        """What to add to our clock when a request to the host is signed."""
        return self._offsets.get(host, 0.0)

    def correction(self, code: str, answered: Answered, signed_with: float = 0.0) -> float | None:
        """The offset that a refusal speaks for; None when it is that of the attempt (`signed_with`), or it tells none.

        Signing with it and sending again may help. AWS refused before it did anything, so that is safe for every
        operation.
        """
        if not self._is_enabled or code not in CODES:
            return None
        skew = measured_skew_seconds(answered)
        if skew is None or abs(skew) > _MOST_SKEW_SECONDS or abs(skew - signed_with) <= _LEAST_SKEW_SECONDS:
            return None
        return skew

    def confirm(self, host: str, offset_seconds: float) -> None:
        """AWS has taken a request that was signed with this correction: from now on, others are, too."""
        self._offsets[host] = offset_seconds
        self._offsets.move_to_end(host)
        if len(self._offsets) > self._max_hosts:
            self._offsets.popitem(last=False)


def measured_skew_seconds(answered: Answered) -> float | None:
    """How much AWS's clock is ahead of ours; None when the answer does not tell."""
    if answered.date is None or answered.age is not None:  # with an age it was kept by a cache, and so was its date
        return None
    if not 0 <= answered.received_at - answered.sent_at <= _LONGEST_ROUND_TRIP_SECONDS:
        return None
    try:
        date = parsedate_to_datetime(answered.date)
        # Without a zone, or with the unknown one, it is UTC all the same (RFC 9110, section 5.6.7).
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds - (answered.sent_at + answered.received_at) / 2
