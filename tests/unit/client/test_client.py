"""The client for threads, against a real server."""

from __future__ import annotations

import socket
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import grpc
import pytest

import awsidecar
from awsidecar.credentials.v1 import credentials_pb2
from awsidecar.dynamodb.v1 import items_pb2, query_pb2, streams_pb2, tables_pb2

from .fake_sidecar import FakeSidecar, Refused

ITEM: dict[str, awsidecar.Value] = {
    "id": "user-123",
    "age": 42,
    "score": Decimal("1.5"),
    "tags": {"a", "b"},
    "raw": b"\x00",
    "none": None,
}


def query_page(*names: str, last: str | None = None) -> query_pb2.QueryResponse:
    page = query_pb2.QueryResponse(count=len(names))
    for name in names:
        page.items.add().attributes["id"].s = name
    if last is not None:
        page.last_evaluated_key.attributes["id"].s = last
    return page


def test_an_item_goes_there_and_back_as_plain_values(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    def stored(_: items_pb2.GetItemRequest) -> items_pb2.GetItemResponse:
        response = items_pb2.GetItemResponse()
        response.item.SetInParent()
        for name, value in sidecar.received[0].message.item.items():
            response.item.attributes[name].CopyFrom(value)
        return response

    sidecar.answer("GetItem", stored)
    client.dynamodb.put_item(TableName="users", Item=ITEM)
    response = client.dynamodb.get_item(TableName="users", Key={"id": "user-123"}, ConsistentRead=True)

    assert response["Item"] == ITEM
    assert type(response["Item"]["age"]) is int
    request = sidecar.received[1].message
    assert (request.table_name, request.key["id"].s, request.consistent_read) == ("users", "user-123", True)


def test_a_missing_item_is_absent(client: awsidecar.Client) -> None:
    assert "Item" not in client.dynamodb.get_item(TableName="users", Key={"id": "nobody"})


def test_an_empty_list_of_a_reply_is_there(client: awsidecar.Client) -> None:
    assert client.dynamodb.query(TableName="users")["Items"] == []
    assert client.dynamodb.batch_get_item(RequestItems={})["UnprocessedKeys"] == {}
    assert "ConsumedCapacity" not in client.dynamodb.batch_get_item(RequestItems={})


def test_the_trailers_become_response_metadata(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("ListTables", tables_pb2.ListTablesResponse(table_names=["users"]))
    response = client.dynamodb.list_tables()
    assert response["ResponseMetadata"] == {"RequestId": "REQUEST", "Tier": "service_account", "Attempts": 2}
    assert client.dynamodb.describe_limits()["ResponseMetadata"] == {}


def test_a_bad_parameter_is_named_before_anything_is_sent(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    with pytest.raises(TypeError, match=r"^Item\.tags\[1\]: DynamoDB has no type for object$"):
        client.dynamodb.put_item(TableName="users", Item={"tags": ["a", object()]})  # type: ignore[list-item]
    with pytest.raises(TypeError, match="did you mean TableName"):
        client.dynamodb.get_item(Tablename="users", Key={"id": "1"})  # type: ignore[call-arg]
    assert sidecar.received == []


def test_each_call_has_a_deadline(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    client.dynamodb.list_tables()
    client.dynamodb.list_tables(timeout=2)
    default, own = (received.seconds_left for received in sidecar.received)
    assert default is not None
    assert 25 < default < 31
    assert own is not None
    assert 0 < own < 3


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_call_without_end_is_refused(client: awsidecar.Client, timeout: float) -> None:
    with pytest.raises(ValueError, match="positive number of seconds"):
        client.dynamodb.list_tables(timeout=timeout)


def test_a_passed_deadline_is_an_exception_of_its_own(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    released = threading.Event()

    def stall(_: object) -> tables_pb2.ListTablesResponse:
        released.wait(10)
        return tables_pb2.ListTablesResponse()

    sidecar.answer("ListTables", stall)
    try:
        with pytest.raises(awsidecar.errors.DeadlineExceeded) as caught:
            client.dynamodb.list_tables(timeout=0.05)
    finally:
        released.set()
    assert caught.value.operation == "ListTables"


def test_a_sidecar_that_is_not_there_is_unavailable() -> None:
    started = time.monotonic()
    with (
        awsidecar.connect("127.0.0.1:1", timeout=5) as client,
        pytest.raises(awsidecar.errors.Unavailable),
    ):
        client.dynamodb.put_item(TableName="users", Item={"id": "1"})
    assert time.monotonic() - started < 5


def test_a_sidecar_that_turns_connections_away_is_tried_again_soon() -> None:
    """The pauses of gRPC itself are 1 and 1.6 seconds, and grow to two minutes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        moments: list[float] = []

        def turn_away() -> None:
            while len(moments) < 3:
                listening.accept()[0].close()
                moments.append(time.monotonic())

        turning_away = threading.Thread(target=turn_away, daemon=True)
        turning_away.start()
        with awsidecar.connect(f"127.0.0.1:{listening.getsockname()[1]}", timeout=5) as client:
            while turning_away.is_alive():
                with pytest.raises(awsidecar.errors.Unavailable):
                    client.credentials.who_am_i()
                turning_away.join(0.01)
    assert moments[2] - moments[0] < 1.5


def test_reads_are_tried_again_when_the_sidecar_is_unavailable(
    sidecar: FakeSidecar, client: awsidecar.Client
) -> None:
    sidecar.answer("GetItem", Refused(grpc.StatusCode.UNAVAILABLE, "draining"), items_pb2.GetItemResponse())
    client.dynamodb.get_item(TableName="users", Key={"id": "1"})
    assert len(sidecar.received) == 2


def test_writes_are_never_tried_again(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("PutItem", Refused(grpc.StatusCode.UNAVAILABLE, "draining"), items_pb2.PutItemResponse())
    with pytest.raises(awsidecar.errors.Unavailable):
        client.dynamodb.put_item(TableName="users", Item={"id": "1"})
    assert len(sidecar.received) == 1


def test_an_idempotency_token_is_made_once_a_call(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    client.dynamodb.transact_write_items(TransactItems=[])
    client.dynamodb.transact_write_items(TransactItems=[])
    client.dynamodb.transact_write_items(TransactItems=[], ClientRequestToken="mine")
    client.dynamodb.export_table_to_point_in_time(TableArn="arn", S3Bucket="bucket")
    first, second, own = (received.message.client_request_token for received in sidecar.received[:3])
    assert len(first) == len(second) == 36
    assert first != second
    assert own == "mine"
    assert len(sidecar.received[3].message.client_token) == 36


def test_pages_follow_until_the_last(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("Query", query_page("a", last="a"), query_page(last="b"), query_page("c"))
    pages = list(client.dynamodb.query_pages(TableName="users", Limit=1))
    assert [page["Count"] for page in pages] == [1, 0, 1]
    starts = [received.message.exclusive_start_key["id"].s for received in sidecar.received]
    assert starts == ["", "a", "b"]
    assert {received.message.limit for received in sidecar.received} == {1}


def test_items_run_through_all_pages(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("Query", query_page("a", "b", last="b"), query_page("c"))
    assert [item["id"] for item in client.dynamodb.query_items(TableName="users")] == ["a", "b", "c"]


def test_items_stop_at_the_limit_without_another_page(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("Scan", query_pb2.ScanResponse.FromString(query_page("a", "b", last="b").SerializeToString()))
    assert len(list(client.dynamodb.scan_items(TableName="users", limit_items=2))) == 2
    assert len(sidecar.received) == 1
    assert list(client.dynamodb.scan_items(TableName="users", limit_items=0)) == []
    assert len(sidecar.received) == 1
    with pytest.raises(ValueError, match="must not be negative"):
        list(client.dynamodb.scan_items(TableName="users", limit_items=-1))


def test_a_page_that_leads_to_itself_ends_in_an_error(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("ListTables", tables_pb2.ListTablesResponse(table_names=["a"], last_evaluated_table_name="a"))
    with pytest.raises(RuntimeError, match="ExclusiveStartTableName"):
        list(client.dynamodb.list_tables_items())


def test_shards_are_found_inside_the_description(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    first, second = streams_pb2.DescribeStreamResponse(), streams_pb2.DescribeStreamResponse()
    first.stream_description.shards.add(shard_id="1")
    first.stream_description.last_evaluated_shard_id = "1"
    second.stream_description.shards.add(shard_id="2")
    sidecar.answer("DescribeStream", first, second)
    shards = list(client.streams.describe_stream_items(StreamArn="arn"))
    assert [shard["ShardId"] for shard in shards] == ["1", "2"]


def test_the_metadata_says_whose_call_it_is(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    client.dynamodb.list_tables()
    client.with_token("TOKEN").dynamodb.list_tables()
    with awsidecar.connect(sidecar.target, session="HANDLE", region="eu-west-1") as other:
        other.dynamodb.list_tables()
    anonymous, token, session = (received.metadata for received in sidecar.received)
    assert anonymous["x-awsidecar-max-details-bytes"] == "1048576"
    assert "authorization" not in anonymous
    assert token["authorization"] == "Bearer TOKEN"
    assert session["x-awsidecar-session"] == "HANDLE"
    assert session["x-awsidecar-region"] == "eu-west-1"
    assert "authorization" not in session


def test_a_session_is_closed_when_its_block_ends(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("OpenSession", credentials_pb2.OpenSessionResponse(session="HANDLE"))
    credentials = awsidecar.AwsCredentials("AKID", "SECRET", "TOKEN", datetime(2030, 1, 1, tzinfo=UTC))
    with client.open_session(aws_credentials=credentials) as session_client:
        session_client.dynamodb.list_tables()
    client.dynamodb.list_tables()

    opened, used, closed, after = sidecar.received
    assert opened.message.aws_credentials.secret_access_key == "SECRET"
    assert opened.message.aws_credentials.expiration.seconds == 1893456000
    assert used.metadata["x-awsidecar-session"] == "HANDLE"
    assert (closed.method, closed.metadata["x-awsidecar-session"]) == ("CloseSession", "HANDLE")
    assert "x-awsidecar-session" not in after.metadata


def test_a_session_that_cannot_be_closed_hides_no_error(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("CloseSession", Refused(grpc.StatusCode.INTERNAL, "no"))
    sidecar.answer("OpenSession", credentials_pb2.OpenSessionResponse(session="HANDLE"))
    with pytest.raises(KeyError), client.open_session(id_token="TOKEN"):
        raise KeyError
    with pytest.raises(awsidecar.SidecarError), client.open_session(id_token="TOKEN"):
        pass


def test_a_session_of_a_token_is_opened_without_the_callers_own_session(
    sidecar: FakeSidecar, client: awsidecar.Client
) -> None:
    sidecar.answer("OpenSession", credentials_pb2.OpenSessionResponse(session="HANDLE"))
    client.with_token("OLD").open_session(id_token="NEW")
    (opened,) = sidecar.received
    assert opened.message.id_token == "NEW"
    assert "authorization" not in opened.metadata


def test_one_identity_is_asked_for(client: awsidecar.Client) -> None:
    with pytest.raises(ValueError, match="either id_token or aws_credentials"):
        client.open_session()
    with pytest.raises(ValueError, match="either session or token"):
        awsidecar.connect(session="a", token="b")


def test_the_credentials_service_answers_in_plain_values(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    caller = credentials_pb2.WhoAmIResponse(tier=credentials_pb2.TIER_COGNITO, subject="alice", region="us-east-1")
    caller.expiration.seconds = 1893456000
    sidecar.answer("WhoAmI", caller)
    sidecar.answer("ValidateCredentials", credentials_pb2.ValidateCredentialsResponse(reason="ExpiredToken"))
    response = credentials_pb2.GetCredentialsResponse()
    response.credentials.access_key_id = "AKID"
    response.credentials.secret_access_key = "SECRET"
    sidecar.answer("GetCredentials", response)

    who = client.credentials.who_am_i()
    assert (who.tier, who.subject, who.region) == (awsidecar.Tier.COGNITO, "alice", "us-east-1")
    assert who.expiration == datetime(2030, 1, 1, tzinfo=UTC)
    validity = client.credentials.validate_credentials()
    assert not validity
    assert validity.reason == "ExpiredToken"
    credentials = client.credentials.get_credentials()
    assert credentials == awsidecar.AwsCredentials("AKID", "SECRET")


def test_no_secret_is_in_a_repr(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("OpenSession", credentials_pb2.OpenSessionResponse(session="HANDLE"))
    shown = [
        repr(client),
        repr(client.with_token("SECRET")),
        repr(client.with_token("SECRET")._calls.settings),
        repr(client.open_session(id_token="SECRET")),
        repr(awsidecar.AwsCredentials("AKID", "SECRET", "SECRET")),
    ]
    assert not any("SECRET" in text or "HANDLE" in text for text in shown)
    assert shown[0] == f"<Client of {sidecar.target}, as service account>"


@pytest.mark.parametrize("token", ["", "SECRET\n", "SECRET X", "SECRETé"])
def test_a_token_that_is_none_is_refused_without_repeating_it(client: awsidecar.Client, token: str) -> None:
    with pytest.raises(ValueError, match="no token has") as caught:
        client.with_token(token)
    assert "SECRET" not in str(caught.value)


def test_the_generated_stubs_are_within_reach(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    bound = client.with_token("TOKEN")
    bound.stubs.dynamodb.ListTables(tables_pb2.ListTablesRequest(limit=3), metadata=bound.metadata, timeout=5)
    (received,) = sidecar.received
    assert received.message.limit == 3
    assert received.metadata["authorization"] == "Bearer TOKEN"


def test_a_unix_socket_is_a_target(tmp_path: Path) -> None:
    fake = FakeSidecar(address=f"unix:{tmp_path}/sidecar.sock")
    fake.start()
    try:
        with awsidecar.connect(fake.target) as client:
            assert client.dynamodb.list_tables()["TableNames"] == []
    finally:
        fake.stop()


def test_an_http_proxy_of_the_environment_is_not_used(
    sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:1")
    with awsidecar.connect(sidecar.target, timeout=5) as client:
        assert client.dynamodb.list_tables()["TableNames"] == []


def test_large_messages_pass_both_ways(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    response = query_page("x" * 16_000_000)
    sidecar.answer("Query", response)
    value = "y" * 8_000_000
    reply = client.dynamodb.query(TableName="users", ExpressionAttributeValues={":v": value})
    assert len(reply["Items"][0]["id"]) == 16_000_000
    assert sidecar.received[0].message.expression_attribute_values[":v"].s == value


def test_conflicts_are_tried_again_by_a_client_that_asks_for_it(
    sidecar: FakeSidecar, client: awsidecar.Client
) -> None:
    client.with_conflict_attempts().dynamodb.list_tables()
    client.with_token("a.b.c").with_conflict_attempts(3).dynamodb.list_tables()
    client.dynamodb.list_tables()
    said = [received.metadata.get("x-awsidecar-retry-conflicts") for received in sidecar.received]
    assert said == ["10", "3", None]
    assert sidecar.received[1].metadata["authorization"] == "Bearer a.b.c"


@pytest.mark.parametrize("attempts", [0, 101])
def test_a_number_of_attempts_that_the_sidecar_would_refuse_is_refused(
    client: awsidecar.Client, attempts: int
) -> None:
    with pytest.raises(ValueError, match="from 1 to 100"):
        client.with_conflict_attempts(attempts)
