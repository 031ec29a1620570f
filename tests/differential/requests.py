"""Requests of every kind that reads or writes items, most of them good."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from tests.differential.expressions import Expressions
from tests.differential.legacy import Legacy
from tests.differential.mischief import spoilt
from tests.differential.partiql import Statements
from tests.differential.schema import ORDERS, PAGES, TABLES, Index, Table
from tests.differential.stream_requests import StreamRequests
from tests.differential.tables import TableRequests
from tests.differential.values import Values

Parameters = dict[str, Any]

_CAPACITY = ("NONE", "TOTAL", "INDEXES")
_ON_FAILURE = "ReturnValuesOnConditionCheckFailure"
# What may be asked of the table of large items, which is not written to.
_OF_PAGES = {"Query", "Scan", "ExecuteStatement", "QueryStream", "ScanStream", "ExecuteStatementStream"}
# Those about whole tables; what is wrong with them is their maker's.
_OF_TABLES = {"CreateTable", "UpdateTable", "DeleteTable", "UpdateTimeToLive"}

_Maker = tuple[int, str, Callable[[Table], Parameters]]


class Request(NamedTuple):
    """One call, in the parameters of the AWS SDK for Python; or one stream of the sidecar's own, with its members."""

    operation: str
    parameters: Parameters


class Requests:
    """Makes the requests of one seed. A sixth of them is spoilt in one place, and some have values that are bad."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._values = Values(rng)
        self._statements = Statements(self._values)
        # How often each kind of request is made.
        self._makers: list[_Maker] = [
            (14, "PutItem", self._put),
            (12, "GetItem", self._get),
            (22, "UpdateItem", self._update),
            (8, "DeleteItem", self._delete),
            (14, "Query", self._query),
            (10, "Scan", self._scan),
            (4, "BatchGetItem", self._batch_get),
            (4, "BatchWriteItem", self._batch_write),
            (4, "TransactWriteItems", self._transact_write),
            (3, "TransactGetItems", self._transact_get),
            (6, "ExecuteStatement", self._statement),
            (2, "BatchExecuteStatement", self._batch_statement),
            (2, "ExecuteTransaction", self._statement_transaction),
            (1, "DescribeTable", self._describe),
            (1, "DescribeTimeToLive", self._describe),
            (1, "ListTables", self._list_tables),
            *self._of_tables(),
            *self._of_streams(),
        ]

    def _of_tables(self) -> list[_Maker]:
        tables = TableRequests(self._values)
        return [
            (4, "CreateTable", lambda _: tables.create()),
            (4, "UpdateTable", lambda _: tables.update()),
            (3, "DeleteTable", lambda _: tables.named()),
            (2, "UpdateTimeToLive", lambda _: tables.time_to_live()),
            (1, "DescribeTable", lambda _: tables.named()),
            (1, "DescribeTimeToLive", lambda _: tables.named()),
            (1, "ListTables", lambda _: tables.listed()),
        ]

    def _of_streams(self) -> list[_Maker]:
        streams = StreamRequests(
            self._values, query=self._query, scan=self._scan, statement=self._statement_of_stream
        )
        return [
            (3, "QueryStream", streams.query),
            (3, "ScanStream", streams.scan),
            (2, "ExecuteStatementStream", streams.statement),
            (2, "BatchWriteStream", streams.writes),
            (2, "BatchGetStream", streams.gets),
            (2, "DocumentService/Get", self._plain(self._get)),
            (2, "DocumentService/Put", self._plain(self._put)),
            (3, "DocumentService/Update", self._plain(self._update)),
            (1, "DocumentService/Delete", self._plain(self._delete)),
            (2, "DocumentService/Query", self._plain(self._query)),
            (1, "DocumentService/Scan", self._plain(self._scan)),
        ]

    def _plain(self, make: Callable[[Table], Parameters]) -> Callable[[Table], Parameters]:
        """What DocumentService is asked: a request of AWS's, without what it never has."""

        def made(table: Table) -> Parameters:
            asked = make(table)
            asked.pop("ReturnItemCollectionMetrics", None)
            return {"asked": asked, **self._maybe("LargeNumbers", "STRING", "STRING", "ERROR")}

        return made

    def seed(self, table: Table, items: int = 20) -> list[Request]:
        """What fills a table at first, all of it good."""
        values = Values(self._rng, mischief=0)
        return [Request("PutItem", {"TableName": table.name, "Item": values.item(table)}) for _ in range(items)]

    def tables(self) -> list[Request]:
        """What makes the tables that requests change and delete; not all of it good."""
        return [Request("CreateTable", parameters) for parameters in TableRequests(self._values).seed()]

    def next(self) -> Request:
        weights = [weight for weight, _, _ in self._makers]
        (_, operation, make), *_ = self._rng.choices(self._makers, weights)
        is_large = operation in _OF_PAGES and self._values.chance(0.03)
        parameters = make(PAGES if is_large else self._values.one_of([ORDERS, ORDERS, *TABLES]))
        if operation not in _OF_TABLES and "elements" not in parameters and self._values.chance(0.16):
            spoilt(parameters.get("asked", parameters), operation, self._values)
        return Request(operation, parameters)

    # --- one item --------------------------------------------------------------------------------------------------

    def _put(self, table: Table) -> Parameters:
        parameters = {"TableName": table.name, "Item": self._values.item(table), **self._returns("NONE", "ALL_OLD")}
        return {**parameters, **self._write_condition(table)}

    def _get(self, table: Table) -> Parameters:
        parameters = {"TableName": table.name, "Key": self._values.primary_key(table.primary)}
        return {
            **parameters,
            **self._projection(table),
            **self._maybe("ConsistentRead", True, False),
            **self._capacity(),
        }

    def _delete(self, table: Table) -> Parameters:
        parameters = {"TableName": table.name, "Key": self._values.primary_key(table.primary)}
        return {**parameters, **self._returns("NONE", "ALL_OLD"), **self._write_condition(table)}

    def _update(self, table: Table) -> Parameters:
        chance, legacy = self._values.chance, Legacy(self._values, table)
        parameters = {"TableName": table.name, "Key": self._values.primary_key(table.primary)}
        parameters |= self._returns("NONE", "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW")
        if chance(0.12):
            return {**parameters, **legacy.updates(), **(legacy.expected() if chance(0.3) else {})}
        if chance(0.03):
            return parameters
        expressions = Expressions(self._values, table)
        parameters["UpdateExpression"] = expressions.update()
        if chance(0.25):
            parameters["ConditionExpression"] = expressions.condition()
            parameters |= self._on_failure()
        return {**parameters, **expressions.placeholders(), **self._capacity(), **self._metrics()}

    def _write_condition(self, table: Table) -> Parameters:
        more = {**self._capacity(), **self._metrics()}
        if self._values.chance(0.08):
            return {**Legacy(self._values, table).expected(), **more}
        if self._values.chance(0.6):
            return more
        expressions = Expressions(self._values, table)
        condition = {"ConditionExpression": expressions.condition(), **self._on_failure()}
        return {**condition, **expressions.placeholders(), **more}

    # --- pages -----------------------------------------------------------------------------------------------------

    def _query(self, table: Table) -> Parameters:
        index: Index = self._values.one_of([table.primary, *table.indexes])
        parameters = self._page(table, index)
        parameters |= self._maybe("ScanIndexForward", True, False)
        if self._values.chance(0.12):
            legacy = Legacy(self._values, table)
            more = legacy.filter("QueryFilter") if self._values.chance(0.4) else {}
            return {**parameters, **legacy.key_conditions(index), **more}
        expressions = Expressions(self._values, table)
        parameters["KeyConditionExpression"] = expressions.key_condition(index)
        return {**parameters, **self._filter_and_projection(expressions), **expressions.placeholders()}

    def _scan(self, table: Table) -> Parameters:
        index: Index = self._values.one_of([table.primary, table.primary, *table.indexes])
        parameters = self._page(table, index)
        if self._values.chance(0.2):
            segments = self._rng.randint(1, 4)
            parameters |= {"TotalSegments": segments, "Segment": self._rng.randrange(segments)}
        if self._values.chance(0.1):
            return {**parameters, **Legacy(self._values, table).filter("ScanFilter")}
        expressions = Expressions(self._values, table)
        return {**parameters, **self._filter_and_projection(expressions), **expressions.placeholders()}

    def _page(self, table: Table, index: Index) -> Parameters:
        chance = self._values.chance
        parameters: Parameters = {"TableName": table.name, **self._capacity()}
        if index.name:
            parameters["IndexName"] = index.name
        if chance(0.5):
            parameters["Limit"] = self._rng.randint(1, 8)
        if not index.is_global or chance(0.05):
            parameters |= self._maybe("ConsistentRead", True, False)
        if chance(0.15):
            parameters["Select"] = self._values.one_of(
                ["ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES", "COUNT", "SPECIFIC_ATTRIBUTES"]
            )
        if chance(0.1):
            keys = {*table.primary.keys, *index.keys}
            parameters["ExclusiveStartKey"] = {key.name: self._values.key(key) for key in sorted(keys)}
        return parameters

    def _filter_and_projection(self, expressions: Expressions) -> Parameters:
        parameters: Parameters = {}
        if self._values.chance(0.35):
            parameters["FilterExpression"] = expressions.condition()
        if self._values.chance(0.2):
            parameters["ProjectionExpression"] = expressions.projection()
        return parameters

    # --- batches and transactions ----------------------------------------------------------------------------------

    def _batch_get(self, table: Table) -> Parameters:
        items: Parameters = {}
        for one in {table.name: table, ORDERS.name: ORDERS}.values():
            many = 101 if self._values.chance(0.01) else self._rng.randint(1, 5)
            keys = [self._values.primary_key(one.primary) for _ in range(many)]
            items[one.name] = {
                "Keys": self._mostly_distinct(keys),
                **self._projection(one),
                **self._maybe("ConsistentRead", True),
            }
        return {"RequestItems": items, **self._capacity()}

    def _batch_write(self, table: Table) -> Parameters:
        items: Parameters = {}
        for one in {table.name: table, ORDERS.name: ORDERS}.values():
            many = 26 if self._values.chance(0.01) else self._rng.randint(1, 5)
            keys = self._mostly_distinct([self._values.primary_key(one.primary) for _ in range(many)])
            items[one.name] = [
                {"DeleteRequest": {"Key": key}}
                if self._values.chance(0.3)
                else {"PutRequest": {"Item": {**self._values.item(one), **key}}}
                for key in keys
            ]
        return {"RequestItems": items, **self._capacity(), **self._metrics()}

    def _mostly_distinct(self, keys: list[Any]) -> list[Any]:
        """A batch must not name a key twice; some do."""
        if self._values.chance(0.05):
            return keys
        return [key for place, key in enumerate(keys) if key not in keys[:place]]

    def _transact_write(self, table: Table) -> Parameters:
        many = 101 if self._values.chance(0.01) else self._rng.randint(1, 5)
        actions = [self._action(self._values.one_of([table, ORDERS])) for _ in range(many)]
        token = {"ClientRequestToken": f"token-{self._rng.randrange(20)}"} if self._values.chance(0.2) else {}
        return {"TransactItems": actions, **self._capacity(), **self._metrics(), **token}

    def _action(self, table: Table) -> Parameters:
        kind = self._values.one_of(["Put", "Update", "Delete", "ConditionCheck"])
        expressions = Expressions(self._values, table)
        action: Parameters = {"TableName": table.name}
        if kind == "Put":
            action["Item"] = self._values.item(table)
        else:
            action["Key"] = {
                key.name: self._values.key(key, of=self._values.one_of([6, 20])) for key in table.primary.keys
            }
        if kind == "Update":
            action["UpdateExpression"] = f"SET {expressions.name('n')} = {expressions.value(self._values.of('N'))}"
        if kind == "ConditionCheck" or self._values.chance(0.2):
            action["ConditionExpression"] = expressions.condition(depth=2)
            action |= self._on_failure()
        return {kind: {**action, **expressions.placeholders()}}

    def _transact_get(self, table: Table) -> Parameters:
        tables = [self._values.one_of([table, ORDERS]) for _ in range(self._rng.randint(1, 5))]
        actions = []
        for one in tables:
            get = {"TableName": one.name, "Key": self._values.primary_key(one.primary)}
            expressions = Expressions(self._values, one)
            if self._values.chance(0.3):
                get["ProjectionExpression"] = expressions.projection()
            actions.append({"Get": {**get, **expressions.placeholders()}})
        return {"TransactItems": actions, **self._capacity()}

    # --- PartiQL, tables -------------------------------------------------------------------------------------------

    def _statement(self, table: Table) -> Parameters:
        statement = self._statements.select(table) if table is PAGES else self._statements.any()
        return self._asked_once(statement)

    def _statement_of_stream(self, table: Table) -> Parameters:
        """A SELECT; now and then a statement of another kind, which a stream does not take."""
        is_select = table is PAGES or self._values.chance(0.9)
        return self._asked_once(self._statements.select(table) if is_select else self._statements.any())

    def _asked_once(self, statement: Parameters) -> Parameters:
        parameters = {**statement, **self._maybe("ConsistentRead", True, False), **self._capacity()}
        if self._values.chance(0.2):
            parameters["Limit"] = self._rng.randint(1, 4)
        return {**parameters, **self._maybe(_ON_FAILURE, "ALL_OLD")}

    def _batch_statement(self, table: Table) -> Parameters:
        return {"Statements": self._statements.several(), **self._capacity()}

    def _statement_transaction(self, table: Table) -> Parameters:
        return {"TransactStatements": self._statements.several(), **self._capacity()}

    def _describe(self, table: Table) -> Parameters:
        return {"TableName": table.name}

    def _list_tables(self, table: Table) -> Parameters:
        start = {"ExclusiveStartTableName": table.name} if self._values.chance(0.3) else {}
        return {**self._maybe("Limit", 1, 2, 100), **start}

    # --- members that many have ------------------------------------------------------------------------------------

    def _maybe(self, member: str, *choices: Any) -> Parameters:
        return {member: self._values.one_of(choices)} if self._values.chance(0.3) else {}

    def _on_failure(self) -> Parameters:
        if self._values.chance(0.4):
            return {}
        return {_ON_FAILURE: self._values.one_of(["ALL_OLD", "ALL_OLD", "NONE"])}

    def _returns(self, *choices: str) -> Parameters:
        return {"ReturnValues": self._values.one_of(choices)} if self._values.chance(0.6) else {}

    def _capacity(self) -> Parameters:
        return self._maybe("ReturnConsumedCapacity", *_CAPACITY)

    def _metrics(self) -> Parameters:
        return self._maybe("ReturnItemCollectionMetrics", "SIZE", "NONE")

    def _projection(self, table: Table) -> Parameters:
        if self._values.chance(0.1):
            return {"AttributesToGet": Legacy(self._values, table).attributes_to_get()}
        if self._values.chance(0.7):
            return {}
        expressions = Expressions(self._values, table)
        return {"ProjectionExpression": expressions.projection(), **expressions.placeholders()}
