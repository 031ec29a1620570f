"""What a failed call means for the entries that were in it."""

from __future__ import annotations

from enum import Enum

from awsidecar_server.aws.retries import THROTTLING
from awsidecar_server.dynamodb.batches.entries import Failure
from awsidecar_server.errors import AwsRejected, InvalidRequest, Unavailable

# One item of a batch is enough for AWS to refuse all of it with these.
_OF_ONE_ITEM = frozenset(
    {
        "ItemCollectionSizeLimitExceededException",
        "RequestEntityTooLarge",
        "SerializationException",
        "ValidationException",
    }
)
_TOO_LARGE = 413
# AWS says of a write that it cannot have been meant for a table with this key.
_OF_ANOTHER_KEY = ("does not match the schema", "Missing the key", "contains duplicates")
# There is no table: the next one of its name may have another key.
_NO_TABLE = "ResourceNotFoundException"


class Meaning(Enum):
    """What to do with the entries of a call that failed."""

    # Nothing was done; slow down, and try again.
    THROTTLED = "throttled"
    # Try again, some times.
    PASSING = "passing"
    # Find out which of them it is about.
    OF_ONE = "of_one"
    # Likewise, unless the whole table is denied.
    DENIED = "denied"
    # It is about all of them.
    OF_ALL = "of_all"


def meaning_of(failure: Failure) -> Meaning:
    if isinstance(failure, AwsRejected):
        return _of_aws(failure)
    if isinstance(failure, InvalidRequest):
        return Meaning.OF_ONE
    return Meaning.PASSING if isinstance(failure, Unavailable) else Meaning.OF_ALL


def speaks_of_another_key(failure: Failure) -> bool:
    """Whether the table may have been made anew, or be so soon, with another key."""
    if not isinstance(failure, AwsRejected):
        return False
    return failure.code == _NO_TABLE or any(part in failure.message for part in _OF_ANOTHER_KEY)


def _of_aws(failure: AwsRejected) -> Meaning:
    if failure.code in THROTTLING:
        return Meaning.THROTTLED
    if failure.http_status >= 500 or failure.code == "ReplicatedWriteConflictException":
        return Meaning.PASSING
    if failure.is_denial:
        # One item that a policy does not allow is enough, too
        # (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html).
        return Meaning.DENIED
    if failure.code in _OF_ONE_ITEM or failure.http_status == _TOO_LARGE:
        return Meaning.OF_ONE
    return Meaning.OF_ALL
