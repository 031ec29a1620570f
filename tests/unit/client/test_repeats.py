"""What is sent again after the sidecar has gone, and what is not."""

from __future__ import annotations

import re

import grpc
import pytest

import awsidecar
from awsidecar import aio, errors, shapes
from awsidecar.dynamodb.v1 import transactions_pb2
from awsidecar.exceptions import Unavailable
from awsidecar.operations import snake_case
from awsidecar.refusal import Refusal
from awsidecar.repeats import Repeats

from .fake_sidecar import FakeSidecar, Refused, details_of

PUT: shapes.TransactWriteItem = {"Put": {"TableName": "users", "Item": {"id": "ann"}}}
DONE = transactions_pb2.TransactWriteItemsResponse()
LOST = Refused(grpc.StatusCode.UNAVAILABLE, "Socket closed")
DRAINING = Refused(grpc.StatusCode.UNAVAILABLE, "going", details_of("DRAINING", "awsidecar"))
OF_AWS = Refused(
    grpc.StatusCode.UNAVAILABLE, "sorry", details_of("INTERNAL_SERVER_ERROR", "dynamodb.amazonaws.com")
)


def gone(reason: str = "") -> Unavailable:
    return Unavailable(Refusal(code=grpc.StatusCode.UNAVAILABLE, message="", operation="Op", reason=reason))


class FakeClock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("answer", [LOST, DRAINING])
def test_a_transaction_whose_sidecar_went_is_sent_again_with_its_token(
    sidecar: FakeSidecar, client: awsidecar.Client, answer: Refused
) -> None:
    sidecar.answer("TransactWriteItems", answer, answer, DONE)
    client.dynamodb.transact_write_items(TransactItems=[PUT])
    tokens = [received.message.client_request_token for received in sidecar.received]
    assert len(tokens) == 3
    assert len(set(tokens)) == 1
    assert tokens[0]


async def test_the_same_holds_for_asyncio(sidecar: FakeSidecar) -> None:
    sidecar.answer("TransactWriteItems", LOST, DONE)
    async with aio.connect(sidecar.target) as client:
        await client.dynamodb.transact_write_items(TransactItems=[PUT])
    first, second = (received.message for received in sidecar.received)
    assert first == second


def test_what_has_no_token_is_not_sent_again(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("PutItem", LOST)
    with pytest.raises(errors.Unavailable):
        client.dynamodb.put_item(TableName="users", Item={"id": "ann"})
    assert len(sidecar.received) == 1


def test_what_the_sidecar_tried_itself_is_not_sent_again(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("TransactWriteItems", OF_AWS)
    with pytest.raises(errors.InternalServerError):
        client.dynamodb.transact_write_items(TransactItems=[PUT])
    assert len(sidecar.received) == 1


def test_a_transaction_through_the_stubs_is_not_sent_again(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    """It may have no token, and would be carried out twice."""
    sidecar.answer("TransactWriteItems", LOST)
    with pytest.raises(grpc.RpcError):
        client.stubs.dynamodb.TransactWriteItems(transactions_pb2.TransactWriteItemsRequest(), timeout=10)
    assert len(sidecar.received) == 1


OVERLOADED = Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many", details_of("OVERLOADED", "awsidecar"))


@pytest.mark.parametrize("last", [OVERLOADED, Refused(grpc.StatusCode.ABORTED, "by no sidecar")])
@pytest.mark.parametrize(("first", "is_ambiguous"), [(LOST, True), (DRAINING, False)])
async def test_a_write_is_ambiguous_when_one_of_its_attempts_was(
    sidecar: FakeSidecar, client: awsidecar.Client, first: Refused, last: Refused, is_ambiguous: bool
) -> None:
    sidecar.answer("TransactWriteItems", first, DRAINING, last)
    with pytest.raises(awsidecar.SidecarError) as caught:
        client.dynamodb.transact_write_items(TransactItems=[PUT])
    assert (caught.value.message, caught.value.ambiguous) == (last.message, is_ambiguous)
    assert ("ambiguous" in repr(caught.value)) is is_ambiguous
    sidecar.answer("TransactWriteItems", first, DRAINING, last)
    async with aio.connect(sidecar.target) as aio_client:
        with pytest.raises(awsidecar.SidecarError) as caught:
            await aio_client.dynamodb.transact_write_items(TransactItems=[PUT])
    assert (caught.value.message, caught.value.ambiguous) == (last.message, is_ambiguous)


def of_aws(code: str) -> Refused:
    reason = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", code).upper()
    details = details_of(reason, "dynamodb.amazonaws.com", aws_error_code=code)
    return Refused(grpc.StatusCode.FAILED_PRECONDITION, code, details)


@pytest.mark.parametrize(
    ("last", "is_ambiguous"),
    [
        (of_aws("TransactionCanceledException"), False),
        (of_aws("ValidationException"), False),
        (of_aws("TransactionInProgressException"), True),
        (of_aws("IdempotentParameterMismatchException"), True),
        # By a successor with other rights, or credentials that have expired meanwhile.
        (of_aws("AccessDeniedException"), True),
        (of_aws("ExpiredTokenException"), True),
        (of_aws("ThrottlingException"), True),
    ],
)
async def test_a_transaction_that_aws_itself_refused_at_last_is_open_only_if_aws_did_not_look_for_its_token(
    sidecar: FakeSidecar, client: awsidecar.Client, last: Refused, is_ambiguous: bool
) -> None:
    sidecar.answer("TransactWriteItems", LOST, last)
    with pytest.raises(awsidecar.SidecarError) as caught:
        client.dynamodb.transact_write_items(TransactItems=[PUT])
    assert (caught.value.aws_error_code, caught.value.ambiguous) == (last.message, is_ambiguous)
    sidecar.answer("TransactWriteItems", LOST, last)
    async with aio.connect(sidecar.target) as aio_client:
        with pytest.raises(awsidecar.SidecarError) as caught:
            await aio_client.dynamodb.transact_write_items(TransactItems=[PUT])
    assert (caught.value.aws_error_code, caught.value.ambiguous) == (last.message, is_ambiguous)


@pytest.mark.parametrize(
    ("operation", "code", "is_ambiguous"),
    [
        ("ExecuteTransaction", "TransactionCanceledException", False),
        ("ExecuteTransaction", "ValidationException", False),
        ("ExportTableToPointInTime", "ValidationException", True),
        ("ImportTable", "ValidationException", True),
        ("ImportTable", "ResourceInUseException", True),
        ("StartBulkPutItems", "ValidationException", True),
    ],
)
async def test_of_all_that_has_a_token_only_a_transaction_is_settled_by_a_refusal(
    sidecar: FakeSidecar, client: awsidecar.Client, operation: str, code: str, is_ambiguous: bool
) -> None:
    """An import that was carried out is refused, too: its table exists."""
    sidecar.answer(operation, LOST, of_aws(code))
    with pytest.raises(awsidecar.SidecarError) as caught:
        getattr(client.dynamodb, snake_case(operation))()
    assert (caught.value.aws_error_code, caught.value.ambiguous) == (code, is_ambiguous)
    sidecar.answer(operation, LOST, of_aws(code))
    async with aio.connect(sidecar.target) as aio_client:
        with pytest.raises(awsidecar.SidecarError) as caught:
            await getattr(aio_client.dynamodb, snake_case(operation))()
    assert (caught.value.aws_error_code, caught.value.ambiguous) == (code, is_ambiguous)


def test_what_the_sidecar_says_of_its_own_attempts_stands(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    details = details_of(
        "TRANSACTION_CANCELED_EXCEPTION",
        "dynamodb.amazonaws.com",
        aws_error_code="TransactionCanceledException",
        ambiguous="true",
    )
    sidecar.answer("TransactWriteItems", LOST, Refused(grpc.StatusCode.ABORTED, "cancelled", details))
    with pytest.raises(errors.TransactionCanceledException) as caught:
        client.dynamodb.transact_write_items(TransactItems=[PUT])
    assert caught.value.ambiguous


def test_pauses_double_and_end() -> None:
    repeats = Repeats(100, clock=FakeClock(), jitter=lambda: 1.0)
    assert [repeats.pause_after(gone()) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.6, None]


def test_pauses_are_shortened_by_up_to_half() -> None:
    assert Repeats(100, clock=FakeClock(), jitter=lambda: 0.0).pause_after(gone()) == 0.05


def test_the_time_limit_bounds_the_pauses_and_what_is_left() -> None:
    clock = FakeClock()
    repeats = Repeats(1.0, clock=clock, jitter=lambda: 1.0)
    clock.now += 0.75
    assert repeats.seconds_left() == 0.25
    assert repeats.pause_after(gone()) == 0.1
    assert repeats.pause_after(gone()) == 0.2
    assert repeats.pause_after(gone()) is None
    clock.now += 10
    assert 0 < repeats.seconds_left() < 0.01


def test_nothing_is_sent_again_after_its_token_may_be_forgotten() -> None:
    clock = FakeClock()
    repeats = Repeats(1000, within_seconds=300, clock=clock)
    clock.now += 299
    assert repeats.pause_after(gone()) is not None
    clock.now += 1
    assert repeats.pause_after(gone()) is None


def test_a_call_that_came_through_has_all_its_repeats_again() -> None:
    repeats = Repeats(100, clock=FakeClock(), jitter=lambda: 1.0)
    for _ in range(5):
        repeats.pause_after(gone())
    repeats.came_through()
    assert repeats.pause_after(gone()) == 0.1


def test_a_refusal_is_no_reason_to_repeat() -> None:
    assert Repeats(100).pause_after(gone("AWS_UNREACHABLE")) is None
