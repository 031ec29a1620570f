"""Which calls may be sent once more after an attempt that AWS may have carried out.

A call is repeatable when a second execution changes nothing that the first has not, *and* its answer is the one that
the first would have had. What that means, operation by operation:

- `PutItem` and `DeleteItem` leave the item as the call says, however often. Not so their answers: with a condition, the
  second may find the condition broken by the first (`attribute_not_exists(id)` after the item was put); and
  `ReturnValues=ALL_OLD` would return as old what the first has written. They are repeatable without both. Between the
  two executions another writer's change may be undone; so it may be by a single execution that was slow on its way.
- `UpdateItem` depends on what it computes from. `SET a = :v`, `REMOVE a` and `DELETE a :set` are repeatable;
  `ADD`, `a + :v`, `list_append`, a copy of another attribute (`SET a = b, b = a`) and `if_not_exists` are not, and
  nothing with an index of a list is: `REMOVE a[0]` removes another element each time, and `SET a[9] = :v` appends to
  a shorter list each time.
- `BatchWriteItem` is puts and deletes that have neither conditions nor old values.
- Transactions, exports, imports and bulk puts are repeatable by their token: AWS answers a repetition as it answered the
  first, and does nothing more. That of an import it answers so while the import runs, and refuses it afterwards as
  `ResourceInUseException`: its table exists, which AWS looks at before it looks at the token. (Measured against AWS:
  test/alternator/test_import.py of https://github.com/scylladb/scylladb.)
- PartiQL statements that write are not: an INSERT finds its own item, and an UPDATE may compute. One that reads is told
  by its first word, behind white space, comments and opening parentheses.
- Of the settings, those are repeatable that AWS lets be set to what they are: tags, resource policies (unless a
  revision is expected), point-in-time recovery. The others answer a repetition with an error of their own
  (`ResourceInUseException`; "TimeToLive is already enabled"), and `CreateBackup` makes a second backup.

What is not listed is taken for a write that must happen once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

Parameters = Mapping[str, Any]


class Nature(Enum):
    """What a second execution of a call does."""

    READ = "read"
    REPEATABLE = "repeatable"
    ONCE = "once"


_READS = """
    BatchGetItem DescribeBackup DescribeBulkOperation DescribeContinuousBackups DescribeContributorInsights
    DescribeEndpoints DescribeExport DescribeGlobalTable DescribeGlobalTableSettings DescribeImport
    DescribeKinesisStreamingDestination DescribeLimits DescribeTable DescribeTableReplicaAutoScaling DescribeTimeToLive
    GetItem GetResourcePolicy ListBackups ListBulkOperations ListContributorInsights ListExports ListGlobalTables
    ListImports ListTables ListTagsOfResource Query Scan SearchVectors TransactGetItems
    DescribeStream GetRecords GetShardIterator ListStreams
    GetCallerIdentity GetCredentialsForIdentity GetId GetOpenIdToken
    """
# Those of DynamoDB, of its streams (the contract marks the same ones `NO_SIDE_EFFECTS`), and of STS and Cognito.
READS = frozenset(_READS.split())
_REPEATABLE = frozenset({"BatchWriteItem", "TagResource", "UntagResource", "UpdateContinuousBackups"})

_CONDITIONS = ("ConditionExpression", "Expected", "ConditionalOperator")
_NEW_VALUES = frozenset({None, "", "NONE", "ALL_NEW", "UPDATED_NEW"})
# DynamoDB takes no longer ones, so nobody makes us look at one.
_LONGEST_EXPRESSION = 4096
_NAME, _SPACE = r"[#\w.]++", r"\s*+"
_ASSIGNMENT, _DELETION = rf"{_NAME}{_SPACE}={_SPACE}:\w++", rf"{_NAME}\s++:\w++"


def _clause(keyword: str, action: str) -> str:
    return rf"{keyword}\s++{action}(?:{_SPACE},{_SPACE}{action})*+{_SPACE}"


_PLAIN_UPDATE = re.compile(
    rf"{_SPACE}(?:{_clause('SET', _ASSIGNMENT)}|{_clause('REMOVE', _NAME)}|{_clause('DELETE', _DELETION)})++",
    re.ASCII | re.IGNORECASE,
)

# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ExecuteStatement.html
_LONGEST_STATEMENT = 8192
# What may stand before a statement's first word, by PartiQL's grammar; of white space, that is spaces, tabs and line
# ends (PartiQLTokens.g4 of https://github.com/partiql/partiql-lang-kotlin). A comment that could be read in two ways is
# not seen through, since the first word would be another: one that has the beginning of another inside, as comments that
# nest have; and one with a character inside that may end a line, or not.
_LINE_COMMENT = r"--[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]*+\r?\n"
_BLOCK_COMMENT = r"/\*(?:[^*/]|\*(?!/)|/(?!\*))*+\*/"
# A write may stand in parentheses, too: it is the first word that tells, which is all of a word.
_SELECT = re.compile(rf"(?:[ \t\n\r(]|{_LINE_COMMENT}|{_BLOCK_COMMENT})*+(?ai:SELECT)(?=[^\w$])")


def nature_of(operation: str, parameters: Callable[[], Parameters]) -> Nature:
    """The nature of a call. Its parameters (in AWS's names) are asked for where they decide, so failures only."""
    if operation in READS:
        return Nature.READ
    if operation in _REPEATABLE:
        return Nature.REPEATABLE
    rule = _BY_PARAMETERS.get(operation)
    return Nature.ONCE if rule is None else rule(parameters())


def _if(repeatable: bool) -> Nature:
    return Nature.REPEATABLE if repeatable else Nature.ONCE


def _put_or_delete(parameters: Parameters) -> Nature:
    return _if(not _has_condition(parameters) and parameters.get("ReturnValues") in {None, "", "NONE"})


def _update(parameters: Parameters) -> Nature:
    return _if(
        not _has_condition(parameters)
        and parameters.get("ReturnValues") in _NEW_VALUES
        and _is_plain(parameters.get("UpdateExpression") or "")
        and all(one.get("Action", "PUT") != "ADD" for one in (parameters.get("AttributeUpdates") or {}).values())
    )


def _has_condition(parameters: Parameters) -> bool:
    return any(parameters.get(name) for name in _CONDITIONS)


def _is_plain(expression: str) -> bool:
    if len(expression) > _LONGEST_EXPRESSION:
        return False
    return not expression or _PLAIN_UPDATE.fullmatch(expression) is not None


def _with(token: str) -> Callable[[Parameters], Nature]:
    return lambda parameters: _if(bool(parameters.get(token)))


def _without(member: str) -> Callable[[Parameters], Nature]:
    return lambda parameters: _if(not parameters.get(member))


def _is_select(statement: Parameters) -> bool:
    return _SELECT.match(str(statement.get("Statement", "")), 0, _LONGEST_STATEMENT) is not None


def _statement(parameters: Parameters) -> Nature:
    return Nature.READ if _is_select(parameters) else Nature.ONCE


def _statements(parameters: Parameters) -> Nature:
    statements = parameters.get("Statements") or ()
    return Nature.READ if all(map(_is_select, statements)) else Nature.ONCE


def _transaction_of_statements(parameters: Parameters) -> Nature:
    if all(map(_is_select, parameters.get("TransactStatements") or ())):
        return Nature.READ
    return _if(bool(parameters.get("ClientRequestToken")))


_BY_PARAMETERS: Mapping[str, Callable[[Parameters], Nature]] = {
    "PutItem": _put_or_delete,
    "DeleteItem": _put_or_delete,
    "UpdateItem": _update,
    "TransactWriteItems": _with("ClientRequestToken"),
    "ExecuteTransaction": _transaction_of_statements,
    "ExecuteStatement": _statement,
    "BatchExecuteStatement": _statements,
    "ExportTableToPointInTime": _with("ClientToken"),
    "ImportTable": _with("ClientToken"),
    "StartBulkPutItems": _with("ClientToken"),
    "PutResourcePolicy": _without("ExpectedRevisionId"),
    "DeleteResourcePolicy": _without("ExpectedRevisionId"),
}
