"""What is the same: the members of a reply, or the code, message, status and items of an error.

Each rule below is one way in which the two outcomes may differ; there are no others.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.descriptor import Descriptor
from tests.differential.contract import without_empty_lists
from tests.differential.paths import OF_SIDECAR, RPCS, Outcome, Refusal

# The sidecar refuses what lacks a required member, or has a value of no kind, before AWS is asked. AWS must refuse it,
# too; its words are others, and emulators call some of it a failure of their own.
REFUSED_BEFORE = "refused by the sidecar before AWS is asked, and by AWS"
# Where AWS says nothing, the status has its code for a message.
WORDLESS = "message of AWS's that says nothing, for which its code stands"
# Of several faults AWS names the one it meets first, and the entries of a map have no order in protobuf. The same
# request with its entries in another order must be refused in the very same words without the sidecar.
OTHER_ORDER = "another of several faults named, as the SDK is told with the entries of maps in another order"
# Members of the sidecar's own that no request to AWS has: `item_limit`, `segments`, `positions`.
OWN_MEMBER = "refused by the sidecar for a member of its own, which AWS is never told"
# AWS would perform it, each time that the stream is resumed.
NO_SELECT = "statement that is no SELECT, refused by its stream before AWS is asked"
# Plain JSON has doubles; the caller may ask for text instead.
NOT_EXACT = "plain JSON refused for a number that a double does not hold, as the caller has it"
# The sidecar tells no account number, not even one that the caller has sent.
MASKED = "account number masked in an ARN that a message quotes"
# What a header of a reply can hold.
CUT = "message cut to what a status holds"

_RULES = (REFUSED_BEFORE, OTHER_ORDER, CUT, WORDLESS, OWN_MEMBER, NO_SELECT, NOT_EXACT, MASKED)
_OWN_WORDS = (": is required", "has no value; set exactly one of S, N, B, BOOL, NULL, L, M, SS, NS, BS")
# Each way has an account of its own.
_ACCOUNT = re.compile(r"(arn:[\w-]+:[\w-]+:[\w-]*:)\d{12}")
# A message is cut at 896 bytes, or, where it is not ASCII, at 448.
_CUT_BYTES = 440
# What differs from one creation of a table to the next.
_OF_ITS_OWN = {
    "CreationDateTime",
    "LastUpdateToPayPerRequestDateTime",
    "LastIncreaseDateTime",
    "LastDecreaseDateTime",
    "LastUpdateDateTime",
    "TableId",
    "LatestStreamLabel",
    "LatestStreamArn",
}
_DESCRIPTIONS = ("Table", "TableDescription")


class Comparison:
    """Compares outcomes, and counts which rules it took."""

    def __init__(self) -> None:
        self.rules_used: dict[str, int] = dict.fromkeys(_RULES, 0)

    def agrees(self, operation: str, direct: Outcome, sidecar: Outcome) -> bool:
        if isinstance(direct, Refusal) and isinstance(sidecar, Refusal):
            return self.refusals_agree(direct, sidecar)
        if isinstance(direct, Refusal) or isinstance(sidecar, Refusal):
            return False
        reply = RPCS[operation].response
        return bool(comparable(reply, direct) == comparable(reply, sidecar))

    def agrees_in_another_order(self, direct: Outcome, sidecar: Outcome) -> bool:
        """Like `agrees`, of an error with the entries of the request's maps in another order."""
        is_same = (
            isinstance(direct, Refusal) and isinstance(sidecar, Refusal) and self.refusals_agree(direct, sidecar)
        )
        self.rules_used[OTHER_ORDER] += is_same
        return is_same

    def is_own_refusal(self, rule: str, path: str, sidecar: Refusal | None) -> bool:
        """Whether the sidecar has refused what AWS is not asked for, and named it."""
        is_its_own = (
            sidecar is not None
            and sidecar.refused_by == OF_SIDECAR
            and sidecar.code == "INVALID_REQUEST"
            and sidecar.message.startswith(f"{path}: ")
        )
        self.rules_used[rule] += is_its_own
        return is_its_own

    def is_inexact(self, sidecar: Refusal | None) -> bool:
        """Whether the sidecar has refused to show a number that a double does not hold."""
        is_refused = sidecar is not None and (sidecar.refused_by, sidecar.code) == (OF_SIDECAR, "NUMBER_NOT_EXACT")
        self.rules_used[NOT_EXACT] += is_refused
        return is_refused

    def refusals_agree(self, direct: Refusal, sidecar: Refusal) -> bool:
        if sidecar.refused_by == OF_SIDECAR:
            is_its_own = sidecar.code == "INVALID_REQUEST" and sidecar.message.endswith(_OWN_WORDS)
            if not is_its_own or direct.http_status not in {400, 500}:
                return False
            self.rules_used[REFUSED_BEFORE] += 1
            return True
        return (
            (direct.code, direct.http_status) == (sidecar.code, sidecar.http_status)
            and (self._messages_agree(direct.message, sidecar.message) or self._is_wordless(direct, sidecar))
            and unordered_sets(direct.item) == unordered_sets(sidecar.item)
            and len(direct.reasons) == len(sidecar.reasons)
            and all(map(self._reasons_agree, direct.reasons, sidecar.reasons))
        )

    def _is_wordless(self, direct: Refusal, sidecar: Refusal) -> bool:
        is_wordless = not direct.message and sidecar.message.replace("_", "") == direct.code.upper()
        self.rules_used[WORDLESS] += is_wordless
        return is_wordless

    def _reasons_agree(self, direct: Any, sidecar: Any) -> bool:
        return (
            direct["Code"] == sidecar["Code"]
            and self._messages_agree(direct["Message"], sidecar["Message"])
            and unordered_sets(direct["Item"]) == unordered_sets(sidecar["Item"])
        )

    def _messages_agree(self, direct: str, sidecar: str) -> bool:
        if direct == sidecar:
            return True
        if _ACCOUNT.sub(r"\g<1>************", direct) == sidecar:
            self.rules_used[MASKED] += 1
            return True
        kept = sidecar.removesuffix("…")
        if kept != sidecar and len(kept.encode()) >= _CUT_BYTES and direct.startswith(kept):
            self.rules_used[CUT] += 1
            return True
        return False


def comparable(reply: Descriptor, members: Any) -> Any:
    """A reply in a form in which equal replies are equal values."""
    found = without_empty_lists(reply, members)
    if "NextToken" in found:
        found["NextToken"] = "a token"  # sealed: two of the same place differ
    if isinstance(found.get("ConsumedCapacity"), list):
        # One for each table, in the order of the request's map, which has none in protobuf.
        found["ConsumedCapacity"] = sorted(found["ConsumedCapacity"], key=lambda one: str(one["TableName"]))
    for name in _DESCRIPTIONS:
        if name in found:
            found[name] = _without_what_is_its_own(found[name])
    return unordered_sets(found)


def _without_what_is_its_own(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_what_is_its_own(one) for one in value]
    if isinstance(value, str):
        return _ACCOUNT.sub(r"\g<1>", value)
    if not isinstance(value, dict):
        return value
    return {
        name: type(one) if name in _OF_ITS_OWN else _without_what_is_its_own(one) for name, one in value.items()
    }


def unordered_sets(value: Any) -> Any:
    """The value with its sets in one order."""
    if isinstance(value, list):
        return [unordered_sets(one) for one in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((kind, held),) = value.items()
        if kind in {"SS", "NS", "BS"} and isinstance(held, list):
            return {kind: sorted(held)}
    return {name: unordered_sets(one) for name, one in value.items()}
