"""The one place where gRPC statuses are made: a table from AWS's codes, and one from the sidecar's own errors."""

from __future__ import annotations

import re
from typing import NamedTuple

from grpc import StatusCode

from awsidecar_server import errors

_CODES_BY_HTTP_STATUS = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    409: StatusCode.ABORTED,
    413: StatusCode.RESOURCE_EXHAUSTED,
    429: StatusCode.RESOURCE_EXHAUSTED,
}

_CODES_BY_MEANING: dict[StatusCode, str] = {
    StatusCode.NOT_FOUND: """
        BackupNotFoundException ExportNotFoundException GlobalTableNotFoundException ImportNotFoundException
        IndexNotFoundException PolicyNotFoundException ReplicaNotFoundException ResourceNotFoundException
        TableNotFoundException
        """,
    StatusCode.FAILED_PRECONDITION: """
        BackupInUseException ConditionalCheckFailedException ContinuousBackupsUnavailableException
        InvalidIdentityPoolConfigurationException PointInTimeRecoveryUnavailableException ResourceInUseException
        TableInUseException RegionDisabledException
        """,
    StatusCode.ALREADY_EXISTS: """
        DuplicateItem DuplicateItemException ExportConflictException GlobalTableAlreadyExistsException
        ImportConflictException ReplicaAlreadyExistsException TableAlreadyExistsException
        """,
    StatusCode.ABORTED: """
        ConcurrentModificationException ReplicatedWriteConflictException ResourceConflictException
        TransactionCanceledException TransactionConflictException TransactionInProgressException
        """,
    StatusCode.INVALID_ARGUMENT: """
        DeveloperUserAlreadyRegisteredException IdempotentParameterMismatchException InvalidExportTimeException
        InvalidParameterException InvalidParameterValue InvalidRestoreTimeException MalformedPolicyDocument
        MalformedPolicyDocumentException PackedPolicyTooLarge PackedPolicyTooLargeException SerializationException
        ValidationError ValidationException InvalidEndpointException
        """,
    StatusCode.OUT_OF_RANGE: """
        ExpiredIteratorException TrimmedDataAccessException
        """,
    StatusCode.RESOURCE_EXHAUSTED: """
        BandwidthLimitExceeded EC2ThrottledException ItemCollectionSizeLimitExceededException LimitExceededException
        ProvisionedThroughputExceededException RequestEntityTooLarge RequestLimitExceeded RequestThrottled
        RequestThrottledException SlowDown ThrottledException Throttling ThrottlingException
        TooManyRequestsException
        """,
    StatusCode.PERMISSION_DENIED: """
        AccessDenied AccessDeniedException NotAuthorized OptInRequired UnauthorizedOperation
        """,
    StatusCode.UNAUTHENTICATED: """
        ExpiredToken ExpiredTokenException IDPRejectedClaim IDPRejectedClaimException IncompleteSignature
        IncompleteSignatureException InvalidAccessKeyId InvalidClientTokenId InvalidIdentityToken
        InvalidIdentityTokenException InvalidSignatureException MissingAuthenticationToken
        MissingAuthenticationTokenException NotAuthorizedException RequestExpired SignatureDoesNotMatch
        UnrecognizedClientException InvalidAuthorizationMessageException
        """,
    StatusCode.UNAVAILABLE: """
        ExternalServiceException IDPCommunicationError IDPCommunicationErrorException InternalError
        InternalErrorException InternalFailure InternalServerError PriorRequestNotComplete RequestTimeout
        RequestTimeoutException ServiceUnavailable ServiceUnavailableException
        """,
    StatusCode.UNIMPLEMENTED: """
        UnknownOperationException InvalidAction
        """,
}

AWS_CODES: dict[str, StatusCode] = {
    code: status for status, codes in _CODES_BY_MEANING.items() for code in codes.split()
}

# The most specific first.
_OWN_CODES: tuple[tuple[type[errors.SidecarError], StatusCode], ...] = (
    (errors.InvalidRequest, StatusCode.INVALID_ARGUMENT),
    (errors.NumberNotExact, StatusCode.FAILED_PRECONDITION),
    (errors.Unauthenticated, StatusCode.UNAUTHENTICATED),
    (errors.Forbidden, StatusCode.PERMISSION_DENIED),
    (errors.LimitReached, StatusCode.RESOURCE_EXHAUSTED),
    (errors.DeadlineSpent, StatusCode.DEADLINE_EXCEEDED),
    (errors.StateUnreachable, StatusCode.FAILED_PRECONDITION),
    (errors.HistoryLost, StatusCode.OUT_OF_RANGE),
    (errors.NothingToWatch, StatusCode.FAILED_PRECONDITION),
    (errors.Unavailable, StatusCode.UNAVAILABLE),
)

# AWS services by the domain that their `ErrorInfo` names.
_DOMAINS = {
    "dynamodb": "dynamodb.amazonaws.com",
    "dynamodbstreams": "streams.dynamodb.amazonaws.com",
    "cognito-identity": "cognito-identity.amazonaws.com",
    "sts": "sts.amazonaws.com",
}
OWN_DOMAIN = "awsidecar"

_LONGEST_REASON = 63
_NO_WORD = re.compile(r"[^A-Za-z0-9]+")
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Verdict(NamedTuple):
    """How an error appears to the caller."""

    code: StatusCode
    domain: str
    reason: str


def verdict(failure: errors.SidecarError | errors.AwsRejected) -> Verdict:
    """The canonical code, domain and reason of an error."""
    if isinstance(failure, errors.AwsRejected):
        domain = _DOMAINS.get(failure.service, f"{failure.service}.amazonaws.com")
        return Verdict(_aws_code(failure), domain, upper_snake(failure.code))
    code = next((code for kind, code in _OWN_CODES if isinstance(failure, kind)), StatusCode.INTERNAL)
    return Verdict(code, OWN_DOMAIN, failure.reason)


def upper_snake(code: str) -> str:
    """`ResourceNotFoundException` -> `RESOURCE_NOT_FOUND_EXCEPTION`, as `ErrorInfo.reason` wants it."""
    words = _WORD_START.sub("_", _NO_WORD.sub("_", code)).upper().strip("_")
    if words[:1].isdecimal():  # an answer without a code is known by its HTTP status
        words = f"HTTP_{words}"
    return words[:_LONGEST_REASON].rstrip("_") or "UNKNOWN"


def _aws_code(failure: errors.AwsRejected) -> StatusCode:
    known = AWS_CODES.get(failure.code)
    if known is not None:
        return known
    if failure.http_status >= 500:
        return StatusCode.UNAVAILABLE
    return _CODES_BY_HTTP_STATUS.get(failure.http_status, StatusCode.FAILED_PRECONDITION)
