"""Transactions on real backends: why one was cancelled, and that each is applied once, whatever is lost on the way."""

from __future__ import annotations

import os
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import pytest
from tests.integration.backends import Backend
from tests.integration.conftest import start_sidecar, stop_sidecar

import awsidecar
from awsidecar import errors

_PATIENCE_SECONDS = 20.0


@pytest.fixture
def client(backend: Backend) -> Iterator[awsidecar.Client]:
    with awsidecar.connect(backend.sidecar.target) as connected:
        yield connected


def new_table(client: awsidecar.Client) -> str:
    name = f"transactions-{uuid.uuid4()}"
    client.dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    return name


def count_of(client: awsidecar.Client, table: str) -> Any:
    return client.dynamodb.get_item(TableName=table, Key={"id": "counter"}, ConsistentRead=True).get("Item", {})


def increment(table: str) -> Any:
    update = {
        "TableName": table,
        "Key": {"id": "counter"},
        "UpdateExpression": "ADD n :one",
        "ExpressionAttributeValues": {":one": 1},
    }
    return [{"Update": update}]


def test_cancelled_transaction_has_a_reason_for_each_action_and_the_old_item_where_asked(
    client: awsidecar.Client,
) -> None:
    table = new_table(client)
    client.dynamodb.put_item(TableName=table, Item={"id": "taken", "owner": "ann"})
    unless_there = {"TableName": table, "ConditionExpression": "attribute_not_exists(id)"}
    again = {**unless_there, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    check = {"TableName": table, "Key": {"id": "nobody"}, "ConditionExpression": "attribute_exists(id)"}
    actions: Any = [
        {"Put": {"Item": {"id": "free"}, **unless_there}},
        {"Put": {"Item": {"id": "taken", "owner": "bob"}, **again}},
        {"ConditionCheck": check},
    ]
    with pytest.raises(errors.TransactionCanceledException) as canceled:
        client.dynamodb.transact_write_items(TransactItems=actions)
    reasons = canceled.value.reasons
    assert [reason.code for reason in reasons] == ["None", "ConditionalCheckFailed", "ConditionalCheckFailed"]
    assert [reason.item for reason in reasons] == [None, {"id": "taken", "owner": "ann"}, None]
    assert "Item" not in client.dynamodb.get_item(TableName=table, Key={"id": "free"})


def test_condition_of_a_delete_in_a_transaction_counts(client: awsidecar.Client) -> None:
    table = new_table(client)
    client.dynamodb.put_item(TableName=table, Item={"id": "kept", "version": 2})
    delete: Any = {
        "TableName": table,
        "Key": {"id": "kept"},
        "ConditionExpression": "version = :old",
        "ExpressionAttributeValues": {":old": 1},
    }
    with pytest.raises(errors.TransactionCanceledException) as canceled:
        client.dynamodb.transact_write_items(TransactItems=[*increment(table), {"Delete": delete}])
    assert canceled.value.code is grpc.StatusCode.ABORTED
    assert [reason.code for reason in canceled.value.reasons] == ["None", "ConditionalCheckFailed"]
    assert count_of(client, table) == {}


def test_two_actions_on_one_item_are_refused_and_neither_is_dropped(client: awsidecar.Client) -> None:
    table = new_table(client)
    with pytest.raises(errors.ValidationException):
        client.dynamodb.transact_write_items(TransactItems=[*increment(table), *increment(table)])
    assert count_of(client, table) == {}


def test_transaction_sent_twice_with_one_token_is_applied_once(client: awsidecar.Client) -> None:
    table, token = new_table(client), str(uuid.uuid4())
    for _ in range(2):
        client.dynamodb.transact_write_items(TransactItems=increment(table), ClientRequestToken=token)
    assert count_of(client, table) == {"id": "counter", "n": 1}


def test_token_with_other_actions_is_refused(client: awsidecar.Client) -> None:
    table, token = new_table(client), str(uuid.uuid4())
    client.dynamodb.transact_write_items(TransactItems=increment(table), ClientRequestToken=token)
    other: Any = [{"Put": {"TableName": table, "Item": {"id": "other"}}}]
    with pytest.raises(errors.IdempotentParameterMismatchException):
        client.dynamodb.transact_write_items(TransactItems=other, ClientRequestToken=token)


def test_token_of_a_cancelled_transaction_is_good_for_another_try(client: awsidecar.Client) -> None:
    """What retries of conflicts stand on: only what was done is remembered."""
    table, token = new_table(client), str(uuid.uuid4())
    client.dynamodb.put_item(TableName=table, Item={"id": "taken"})
    put: Any = {"TableName": table, "Item": {"id": "taken"}, "ConditionExpression": "attribute_not_exists(id)"}
    actions: Any = [{"Put": put}, *increment(table)]
    with pytest.raises(errors.TransactionCanceledException):
        client.dynamodb.transact_write_items(TransactItems=actions, ClientRequestToken=token)
    client.dynamodb.delete_item(TableName=table, Key={"id": "taken"})
    client.dynamodb.transact_write_items(TransactItems=actions, ClientRequestToken=token)
    assert count_of(client, table) == {"id": "counter", "n": 1}


class Relay:
    """Carries connections to whichever sidecar `upstream` names, and can keep to itself what the sidecar answers."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.silent = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self._threads = ThreadPoolExecutor(16)
        self._threads.submit(self._accept)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        _shut(*self._sockets)
        self._threads.shutdown()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the end of the listener
            while True:
                near, _ = self._listener.accept()
                self._sockets.append(near)
                host, _, port = self.upstream.rpartition(":")
                try:
                    far = socket.create_connection((host, int(port)))
                except OSError:
                    _shut(near)
                    continue
                self._sockets.append(far)
                self._threads.submit(self._carry, near, far)
                self._threads.submit(self._carry, far, near, is_answer=True)

    def _carry(self, source: socket.socket, sink: socket.socket, is_answer: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not (is_answer and self.silent.is_set()):
                    sink.sendall(data)
        _shut(source, sink)


def _shut(*sockets: socket.socket) -> None:
    """Ends connections, and wakes who waits for them."""
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def test_transaction_is_applied_once_though_the_sidecar_died_before_it_could_answer(backend: Backend) -> None:
    first, second = start_sidecar([], backend.settings), start_sidecar([], backend.settings)
    relay = Relay(first.target)
    try:
        with awsidecar.connect(second.target) as observer, awsidecar.connect(relay.target) as client:
            table = new_table(observer)
            client.dynamodb.list_tables()  # the connection is there
            relay.silent.set()
            with ThreadPoolExecutor(1) as threads:
                call = threads.submit(client.dynamodb.transact_write_items, TransactItems=increment(table))
                _until(lambda: count_of(observer, table) != {})
                relay.upstream = second.target
                os.kill(first.process.pid, signal.SIGKILL)
                relay.silent.clear()
                reply = call.result(_PATIENCE_SECONDS)
            assert reply["ResponseMetadata"]["RequestId"]
            assert count_of(observer, table) == {"id": "counter", "n": 1}
    finally:
        relay.close()
        first.let_go()
        assert stop_sidecar(second) == 0


def _until(condition: Any) -> None:
    patience = threading.Event()
    for _ in range(int(_PATIENCE_SECONDS / 0.02)):
        if condition():
            return
        patience.wait(0.02)
    raise AssertionError("it never happened")
